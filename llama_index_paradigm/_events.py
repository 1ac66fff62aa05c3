"""LlamaIndex's decorators for methods that call an LLM, with the methods' types, which LlamaIndex's own lose."""

from __future__ import annotations

from llama_index_paradigm._compat import Method, llm_callback


def chat_event(method: Method) -> Method:
    """Report each call of a chat method: its messages, its responses, its error."""
    return llm_callback("chat")(method)


def completion_event(method: Method) -> Method:
    """Report each call of a completion method: its prompt, its responses, its error."""
    return llm_callback("completion")(method)
