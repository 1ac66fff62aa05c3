"""LightOn's Paradigm as an LLM for LangChain."""

try:
    from langchain_paradigm.llms import ParadigmLLM
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.split(".")[0] != "langchain_core":
        raise
    raise ModuleNotFoundError(
        "langchain_paradigm needs LangChain: pip install 'paradigm-llm[langchain]'", name=missing.name
    ) from None

from paradigm_transport import get_paradigm_usage

__all__ = ["ParadigmLLM", "get_paradigm_usage"]
