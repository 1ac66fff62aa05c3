"""What callbacks and tracers are shown of a run, so that each finds the run's own usage where it looks.

LangChain's handlers were made for chat models first: many read usage off a chat message alone, and none is told of
usage when a completion was streamed. This module leans on four conventions of `langchain_core`, each pinned by a
test in `tests/usage/test_conventions.py`:

- `BaseLLM.generate` ends each run with one element of `LLMResult.flatten()`;
- `BaseLLM.stream` hands `_stream` the very run manager whose `on_llm_end` it calls, with `llm_output=None`;
- handlers look for chat generations by their class, not by the kind of the run;
- what the caller and the cache get is the result itself, never what `flatten()` makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from pydantic import PrivateAttr

from langchain_paradigm._results import llm_output


class RunResult(LLMResult):
    """All prompts' generations; it shows each run its own usage, where LangChain's would show the first run all."""

    _model: str = PrivateAttr(default="")
    _as_chat: bool = PrivateAttr(default=False)

    def flatten(self) -> list[LLMResult]:
        """What the callbacks of each prompt's run are told."""
        return [told(candidates, self._model, self._as_chat) for candidates in self.generations]


def result(by_prompt: Sequence[list[Generation]], model: str, as_chat: bool) -> LLMResult:
    """All prompts' generations, with the sum of the usage that the server gave.

    Args:
        by_prompt: the generations of each prompt.
        model: the model that was asked, where the server does not say which one answered.
        as_chat: callbacks are told of chat messages; the result itself holds plain text.
    """
    whole = RunResult(generations=list(by_prompt), llm_output=llm_output(by_prompt, model))
    whole._model, whole._as_chat = model, as_chat
    return whole


def told(candidates: Sequence[Generation], model: str, as_chat: bool) -> LLMResult:
    """What callbacks are told of one prompt's generations.

    Args:
        candidates: the generations; the usage is on the first.
        model: the model that was asked.
        as_chat: tell of chat messages.
    """
    output = llm_output([candidates], model)
    shown = [_chat(each, output["model_name"]) for each in candidates] if as_chat else list(candidates)
    return LLMResult(generations=[shown], llm_output=output)


def tell_stream_end(
    manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None, model: str, as_chat: bool
) -> None:
    """Have the end of a stream told as the end of any other run is.

    Args:
        manager: the run's; from now on its `on_llm_end` adds what LangChain leaves out of a stream's.
        model: the model that was asked.
        as_chat: tell of a chat message.
    """
    if manager is None:
        return
    on_llm_end = manager.on_llm_end

    @wraps(on_llm_end)
    def on_stream_end(response: LLMResult, **kwargs: Any) -> Any:
        if response.generations:  # those of a stream inside `invoke` have been through this already: the same comes out
            response = told(response.generations[0], model, as_chat)
        return on_llm_end(response, **kwargs)

    manager.on_llm_end = on_stream_end  # type: ignore[method-assign]


def _chat(generation: Generation, model: str) -> ChatGeneration:
    info = generation.generation_info or {}
    message = AIMessage(
        content=generation.text,
        response_metadata={"model_name": model, **_metadata(info)},
        usage_metadata=info.get("usage_metadata"),
    )
    return ChatGeneration(message=message, generation_info=generation.generation_info)


def _metadata(info: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in info.items() if name != "usage_metadata" and value is not None}
