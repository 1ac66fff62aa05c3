"""LightOn's Paradigm for LlamaIndex: an LLM, a chat model, embeddings, a retriever."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

try:
    from llama_index_paradigm.llms import ParadigmLLM
except ModuleNotFoundError as missing:
    is_installed = sys.modules.get("llama_index.core") is not None  # then it lacks a module, which is another problem
    if is_installed or (missing.name or "").partition(".")[0] != "llama_index":
        raise
    problem = "llama_index_paradigm needs LlamaIndex: pip install 'paradigm-llm[llama-index]'"
    raise ModuleNotFoundError(problem, name=missing.name) from None

from paradigm_transport import get_paradigm_usage

if TYPE_CHECKING:
    from llama_index_paradigm.chat import ChatParadigm
    from llama_index_paradigm.embeddings import ParadigmEmbedding
    from llama_index_paradigm.retrievers import ParadigmRetriever

__all__ = ["ChatParadigm", "ParadigmEmbedding", "ParadigmLLM", "ParadigmRetriever", "get_paradigm_usage"]

_ON_FIRST_USE = {
    "ChatParadigm": "chat",
    "ParadigmEmbedding": "embeddings",
    "ParadigmRetriever": "retrievers",
}


def __getattr__(name: str) -> object:
    if name in _ON_FIRST_USE:  # ParadigmLLM alone imports faster
        return getattr(import_module(f"{__name__}.{_ON_FIRST_USE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
