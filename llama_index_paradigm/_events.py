"""LlamaIndex's decorators for what calls an LLM; its own make type checkers forget the method's types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback

Method = TypeVar("Method", bound=Callable[..., Any])


def chat_event(method: Method) -> Method:
    """Tell LlamaIndex's callbacks and event handlers of each call of a chat method."""
    told: Method = llm_chat_callback()(method)
    return told


def completion_event(method: Method) -> Method:
    """Tell LlamaIndex's callbacks and event handlers of each call of a completion method."""
    told: Method = llm_completion_callback()(method)
    return told
