"""The import path that is customary on LlamaHub; the wheel carries this file as `llama_index.llms.paradigm`."""

from llama_index_paradigm import ChatParadigm, ParadigmLLM

__all__ = ["ChatParadigm", "ParadigmLLM"]
