"""`llama_index.llms.paradigm`, the name of this module in the wheel, which users of LlamaHub import."""

from llama_index_paradigm import ChatParadigm, ParadigmLLM

__all__ = ["ChatParadigm", "ParadigmLLM"]
