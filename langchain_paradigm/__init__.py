"""LightOn's Paradigm as an LLM and as a chat model for LangChain."""

from typing import TYPE_CHECKING

try:
    from langchain_paradigm.llms import ParadigmLLM
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.split(".")[0] != "langchain_core":
        raise
    raise ModuleNotFoundError(
        "langchain_paradigm needs LangChain: pip install 'paradigm-llm[langchain]'", name=missing.name
    ) from None

from paradigm_transport import get_paradigm_usage

if TYPE_CHECKING:
    from langchain_paradigm.chat_models import ChatParadigm

__all__ = ["ChatParadigm", "ParadigmLLM", "get_paradigm_usage"]


def __getattr__(name: str) -> object:
    if name == "ChatParadigm":  # on first use: ParadigmLLM alone imports faster
        from langchain_paradigm.chat_models import ChatParadigm

        return ChatParadigm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
