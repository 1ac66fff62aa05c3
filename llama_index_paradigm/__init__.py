"""LightOn's Paradigm as an LLM for LlamaIndex."""

try:
    from llama_index_paradigm.chat import ChatParadigm
    from llama_index_paradigm.llms import ParadigmLLM
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.split(".")[0] != "llama_index":
        raise
    raise ModuleNotFoundError(
        "llama_index_paradigm needs LlamaIndex: pip install 'paradigm-llm[llama-index]'", name=missing.name
    ) from None

from paradigm_transport import get_paradigm_usage

__all__ = ["ChatParadigm", "ParadigmLLM", "get_paradigm_usage"]
