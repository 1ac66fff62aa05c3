"""`llama_index.embeddings.paradigm`, the name of this module in the wheel, which users of LlamaHub import."""

from llama_index_paradigm import ParadigmEmbedding

__all__ = ["ParadigmEmbedding"]
