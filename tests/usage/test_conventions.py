"""What `langchain_paradigm._tracing` takes for granted of `langchain_core`: a test for each convention.

A model of the frameworks' own kind is used throughout, without a server: these tests fail on the day on which the
framework changes, and for no other reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.language_models.llms import LLM
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation, GenerationChunk, LLMResult
from langchain_core.tracers import LangChainTracer, Run
from langchain_core.version import VERSION
from pydantic import PrivateAttr

from tests.langchain.conftest import Calls, Recorder

USAGE = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}


def chat(text: str) -> ChatGeneration:
    message = AIMessage(content=text, usage_metadata=USAGE, response_metadata={"model_name": "m"})
    return ChatGeneration(message=message)


class Marked(LLMResult):
    """A result that marks what it makes of each prompt."""

    def flatten(self) -> list[LLMResult]:
        return [
            LLMResult(generations=[[chat(f"run {index}")]], llm_output={"run": index})
            for index, _ in enumerate(self.generations)
        ]


class Plain(LLM):
    """A completion model as the framework's guide shows it, which notes the managers that it is given."""

    _managers: list[Any] = PrivateAttr(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "plain"

    @property
    def managers(self) -> list[Any]:
        return self._managers

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        return prompt

    def _generate(self, prompts: list[str], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> LLMResult:
        return Marked(generations=[[Generation(text=prompt)] for prompt in prompts], llm_output={"whole": True})

    async def _agenerate(
        self, prompts: list[str], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> LLMResult:
        return self._generate(prompts)

    def _stream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        self._managers.append(run_manager)
        run_manager.on_llm_end = marking(run_manager.on_llm_end)
        yield GenerationChunk(text="a", generation_info={"usage_metadata": USAGE})
        yield GenerationChunk(text="b")


class Native(Plain):
    """As `Plain`, with an async stream of its own."""

    async def _astream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[GenerationChunk]:
        for chunk in self._stream(prompt, stop, run_manager):
            yield chunk


def marking(on_llm_end: Any) -> Any:
    def mark(response: LLMResult, **kwargs: Any) -> Any:
        assert response.llm_output is None
        return on_llm_end(LLMResult(generations=[[chat("marked")]], llm_output={"marked": True}), **kwargs)

    return mark


# Runs end with what `flatten` makes of the result


def test_each_run_ends_with_its_element_of_flatten(calls: Calls, recorder: Recorder) -> None:
    calls.generate(Plain(), ["a", "b", "c"], callbacks=[recorder])
    # LangChain tells the starts and the ends of an async batch all at once, in any order.
    assert sorted(end.llm_output["run"] for end in recorder.ends) == [0, 1, 2]
    assert sorted(start["prompts"] for start in recorder.starts) == [["a"], ["b"], ["c"]]


def test_invoke_ends_with_it_too(calls: Calls, recorder: Recorder) -> None:
    assert calls.invoke(Plain(), "a", config={"callbacks": [recorder]}) == "a"
    assert [end.llm_output for end in recorder.ends] == [{"run": 0}]


def test_the_caller_gets_the_result_itself(calls: Calls, recorder: Recorder) -> None:
    result = calls.generate(Plain(), ["a", "b"], callbacks=[recorder])
    assert isinstance(result, Marked)
    assert result.generations == [[Generation(text="a")], [Generation(text="b")]]
    assert result.llm_output == {"whole": True}


def test_the_cache_gets_the_result_itself(calls: Calls, recorder: Recorder) -> None:
    cache = InMemoryCache()
    calls.generate(Plain(cache=cache), ["a", "b"], callbacks=[recorder])
    assert len(recorder.ends) == 2
    assert sorted(cache._cache.values(), key=str) == [[Generation(text="a")], [Generation(text="b")]]


def test_a_cached_prompt_is_no_run(calls: Calls, recorder: Recorder) -> None:
    llm = Plain(cache=InMemoryCache())
    calls.generate(llm, ["a"])
    calls.generate(llm, ["a", "b"], callbacks=[recorder])
    assert [start["prompts"] for start in recorder.starts] == [["b"]]


def test_langchains_own_flatten_shows_the_first_run_all_usage() -> None:
    # The day it does not, `RunResult` may go.
    output = {"token_usage": {"total_tokens": 9}, "other": 9}
    whole = LLMResult(generations=[[Generation(text="a")], [Generation(text="b")]], llm_output=output)
    assert [run.llm_output for run in whole.flatten()] == [output, {"token_usage": {}, "other": 9}]


# Streams end through the manager that the model was given


def test_a_stream_ends_through_the_manager_that_stream_was_given(recorder: Recorder) -> None:
    llm = Plain()
    assert list(llm.stream("x", config={"callbacks": [recorder]})) == ["a", "b"]
    assert [end.llm_output for end in recorder.ends] == [{"marked": True}]
    assert llm.managers[0].run_id == recorder.ended_runs[0]


def test_an_async_stream_does_so_where_the_model_has_its_own(recorder: Recorder) -> None:
    async def read(llm: Plain) -> list[str]:
        return [piece async for piece in llm.astream("x", config={"callbacks": [recorder]})]

    assert asyncio.run(read(Native())) == ["a", "b"]
    assert [end.llm_output for end in recorder.ends] == [{"marked": True}]
    # The inherited one gives `_stream` another manager: what is done to that one is lost.
    assert asyncio.run(read(Plain())) == ["a", "b"]
    assert recorder.ends[1].llm_output is None


def test_a_stream_keeps_the_information_of_one_chunk(recorder: Recorder) -> None:
    class Unmarked(Plain):
        def _stream(self, *args: Any, **kwargs: Any) -> Iterator[GenerationChunk]:
            yield GenerationChunk(text="a", generation_info={"usage_metadata": USAGE, "model_name": "m"})
            yield GenerationChunk(text="b", generation_info=None)

    list(Unmarked().stream("x", config={"callbacks": [recorder]}))
    (end,) = recorder.ends
    assert end.llm_output is None
    assert end.generations[0][0].generation_info == {"usage_metadata": USAGE, "model_name": "m"}


# Chat generations are known by their class


def test_langchains_own_counter_takes_a_chat_generation_of_any_run(calls: Calls) -> None:
    with get_usage_metadata_callback() as counter:
        calls.generate(Plain(), ["a", "b"])
    assert counter.usage_metadata == {"m": {"input_tokens": 2, "output_tokens": 4, "total_tokens": 6}}


@pytest.mark.skipif(VERSION.startswith("0."), reason="there LangSmith's server reads it, not the tracer")
def test_langsmiths_tracer_takes_a_chat_generation_of_any_run(calls: Calls) -> None:
    ended: list[Run] = []

    class Tracer(LangChainTracer):
        def _persist_run_single(self, run: Run) -> None:
            pass

        def _update_run_single(self, run: Run) -> None:
            ended.append(run)

    calls.invoke(Plain(), "a", config={"callbacks": [Tracer(client=object())]})
    (run,) = ended
    assert run.run_type == "llm"
    assert run.extra["metadata"]["usage_metadata"] == USAGE
