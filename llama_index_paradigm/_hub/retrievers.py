"""`llama_index.retrievers.paradigm`, the name of this module in the wheel, which users of LlamaHub import."""

from llama_index_paradigm import ParadigmRetriever

__all__ = ["ParadigmRetriever"]
