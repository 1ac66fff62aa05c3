"""LightOn's Paradigm for LangChain: an LLM, a chat model, embeddings, a retriever."""

from importlib import import_module
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
    from langchain_paradigm.embeddings import ParadigmEmbeddings
    from langchain_paradigm.retrievers import ParadigmRetriever

__all__ = ["ChatParadigm", "ParadigmEmbeddings", "ParadigmLLM", "ParadigmRetriever", "get_paradigm_usage"]

_ON_FIRST_USE = {
    "ChatParadigm": "chat_models",
    "ParadigmEmbeddings": "embeddings",
    "ParadigmRetriever": "retrievers",
}


def __getattr__(name: str) -> object:
    if name in _ON_FIRST_USE:  # ParadigmLLM alone imports faster
        return getattr(import_module(f"{__name__}.{_ON_FIRST_USE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
