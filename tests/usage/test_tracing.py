"""Callbacks get the usage of each run on every path; callers always get plain text."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any
from uuid import UUID

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk, LLMResult
from langchain_core.tracers import Run
from langchain_core.tracers.base import AsyncBaseTracer
from llama_index.core.base.llms.types import ChatMessage

import llama_index_paradigm
from tests.langchain.conftest import Calls, Make, Recorder
from tests.wire import Request, Script, WireServer, chunk, completion, reply, sse, usage

PATHS = ["invoke", "batch", "generate", "stream", "batch_as_completed"]


def answer(request: Request) -> Script:
    """Answer prompt `a` with a usage of 1 and 2 tokens, `bb` with 2 and 4, and so on."""
    prompt = request.body["prompt"]
    counted = usage(len(prompt), 2 * len(prompt))
    if request.body.get("stream"):
        return sse(
            chunk(prompt, id=f"cmpl-{prompt}"), chunk("", "stop"), chunk(usage=counted), headers={"X-Request-Id": "r"}
        )
    return reply(completion(prompt, id=f"cmpl-{prompt}", usage=counted), headers={"X-Request-Id": "r"})


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    return request.param


def go(calls: Calls, path: str, llm: Any, recorder: Recorder) -> list[str]:
    """Complete some prompts, and return the prompts."""
    if path == "generate":
        calls.generate(llm, ["a", "bb", "cccc"], callbacks=[recorder])
        return ["a", "bb", "cccc"]
    given: Any = ["a", "bb", "cccc"] if "batch" in path else "bb"
    getattr(calls, path)(llm, given, config={"callbacks": [recorder]})
    return given if isinstance(given, list) else [given]


def first(end: LLMResult) -> Any:
    ((generation,),) = end.generations
    return generation


def prompts_of(recorder: Recorder) -> dict[Any, str]:
    return {start["run_id"]: start["prompts"][0] for start in recorder.starts}


@pytest.mark.parametrize("as_chat", [True, False])
def test_each_run_gets_its_own_usage(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder, path: str, as_chat: bool
) -> None:
    wire.always(answer)
    prompts = go(calls, path, make(trace_as_chat=as_chat), recorder)
    by_run = prompts_of(recorder)
    assert sorted(by_run.values()) == prompts
    for run_id, end in zip(recorder.ended_runs, recorder.ends, strict=True):
        prompt = by_run[run_id]
        assert type(end) is LLMResult
        assert end.llm_output == {
            "model_name": "alfred-40b-1123",
            "ids": [f"cmpl-{prompt}"],
            "token_usage": usage(len(prompt), 2 * len(prompt)),
        }
        assert first(end).text == prompt
        assert first(end).generation_info["usage_metadata"]["output_tokens"] == 2 * len(prompt)


def test_each_run_has_model_metadata_for_tracers(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder, path: str
) -> None:
    # Tracers look up the price of a run by these.
    wire.always(answer)
    go(calls, path, make(), recorder)
    names = ("ls_model_name", "ls_model_type", "ls_provider")
    told = [[start["metadata"].get(name) for name in names] for start in recorder.starts]
    assert told
    assert told == [["alfred-4.2", "llm", "paradigm"]] * len(told)


@pytest.mark.parametrize("metadata", [None, [{"team": "a"}, {"team": "b"}]])
def test_each_prompt_has_its_own_callbacks_and_metadata(
    wire: WireServer, make: Make, calls: Calls, metadata: Any
) -> None:
    wire.always(answer)
    recorders = [Recorder(), Recorder()]
    options = {} if metadata is None else {"metadata": metadata}
    calls.generate(make(), ["a", "bb"], callbacks=[[each] for each in recorders], **options)
    told = [each.starts[0]["metadata"] for each in recorders]
    assert [each["ls_model_name"] for each in told] == ["alfred-4.2"] * 2
    assert [each.get("team") for each in told] == (["a", "b"] if metadata else [None, None])


def test_callbacks_get_chat_message(wire: WireServer, make: Make, calls: Calls, recorder: Recorder, path: str) -> None:
    wire.always(answer)
    go(calls, path, make(), recorder)
    for end in recorder.ends:
        message = first(end).message
        prompt = message.content
        assert isinstance(message, AIMessage)
        assert message.usage_metadata == {
            "input_tokens": len(prompt),
            "output_tokens": 2 * len(prompt),
            "total_tokens": 3 * len(prompt),
        }
        metadata = message.response_metadata
        assert metadata["model_name"] == "alfred-40b-1123"
        assert metadata["finish_reason"] == "stop"
        assert metadata["id"] == f"cmpl-{prompt}"
        assert metadata["request_id"] == "r"
        assert 0 < metadata["latency"] < 60
        assert "usage_metadata" not in metadata


def test_trace_as_chat_false_gives_plain_generations(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder, path: str
) -> None:
    wire.always(answer)
    go(calls, path, make(trace_as_chat=False), recorder)
    assert recorder.ends
    assert {type(first(end)) for end in recorder.ends} <= {Generation, GenerationChunk}
    assert {type(piece) for _, _, piece, _ in recorder.tokens} <= {GenerationChunk}


@pytest.mark.parametrize("as_chat", [True, False])
def test_caller_gets_plain_generations(wire: WireServer, make: Make, calls: Calls, as_chat: bool) -> None:
    wire.always(answer)
    llm = make(trace_as_chat=as_chat)
    result = calls.generate(llm, ["a", "bb"])
    assert [[type(each) for each in candidates] for candidates in result.generations] == [[Generation]] * 2
    assert (result.llm_output or {})["token_usage"] == usage(3, 6)
    assert calls.invoke(llm, "a") == "a"
    assert calls.stream(llm, "a") == ["a", ""]


def test_cache_holds_plain_generations_and_hits_count_no_usage(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder
) -> None:
    wire.always(answer)
    cache = InMemoryCache()
    llm = make(cache=cache)
    calls.generate(llm, ["a"])
    ((cached,),) = cache._cache.values()
    assert type(cached) is Generation
    with get_usage_metadata_callback() as counter:
        result = calls.generate(llm, ["a", "bb"], callbacks=[recorder])
    assert [type(candidate) for (candidate,) in result.generations] == [Generation, Generation]
    assert counter.usage_metadata == {"alfred-40b-1123": {"input_tokens": 2, "output_tokens": 4, "total_tokens": 6}}
    assert [(end.llm_output or {})["token_usage"] for end in recorder.ends] == [usage(2, 4)]


def test_usage_of_several_candidates_is_reported_once(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder
) -> None:
    wire.script(reply(completion("one", "two", usage=usage(3, 9))))
    calls.generate(make(n=2), ["x"], callbacks=[recorder])
    ((one, two),) = recorder.ends[0].generations
    assert isinstance(one, ChatGeneration)
    assert isinstance(two, ChatGeneration)
    assert [
        message.usage_metadata and message.usage_metadata["total_tokens"] for message in (one.message, two.message)
    ] == [12, None]


def test_missing_usage_is_omitted(wire: WireServer, make: Make, calls: Calls, recorder: Recorder, path: str) -> None:
    def silent(request: Request) -> Script:
        if request.body.get("stream"):
            return sse(chunk("a", model=None), chunk("", "stop", model=None))
        return reply(completion("a", usage=None, model=None))

    wire.always(silent)
    go(calls, path, make(), recorder)
    for end in recorder.ends:
        assert end.llm_output == {"model_name": "alfred-4.2", "ids": ["cmpl-1"]}
        assert first(end).message.usage_metadata is None
        assert first(end).message.response_metadata["model_name"] == "alfred-4.2"


def test_streaming_generate_reports_usage_once_per_prompt(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder
) -> None:
    wire.always(answer)
    with get_usage_metadata_callback() as counter:
        calls.generate(make(streaming=True), ["a", "bb", "cccc"], callbacks=[recorder])
    told = {first(end).text: (end.llm_output or {})["token_usage"]["total_tokens"] for end in recorder.ends}
    assert told == {"a": 3, "bb": 6, "cccc": 12}  # LangChain ends the runs of an async batch in any order
    assert counter.usage_metadata["alfred-40b-1123"]["total_tokens"] == 21


def test_failed_stream_reports_error_without_end(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder
) -> None:
    wire.script(sse(chunk("Hel"), done=False))
    with pytest.raises(Exception, match="ended"):
        calls.stream(make(), "x", config={"callbacks": [recorder]})
    assert (len(recorder.ends), len(recorder.errors)) == (0, 1)


def test_results_can_be_pickled_copied_and_dumped(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(answer)
    result = calls.generate(make(), ["a", "bb"])
    for copy in (pickle.loads(pickle.dumps(result)), result.model_copy(deep=True)):
        assert copy == result
        assert [run.llm_output for run in copy.flatten()] == [run.llm_output for run in result.flatten()]
        assert type(copy.flatten()[1].generations[0][0]) is ChatGeneration
    plain = LLMResult(generations=result.generations, llm_output=result.llm_output)
    assert result == plain
    assert result.model_dump(exclude={"run"}) == plain.model_dump(exclude={"run"})


class Books:
    """Keeps account of completions and of chats, as Chainlit's `LangchainCallbackHandler` does."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.texts: dict[UUID, str] = {}
        self.chats: dict[UUID, Any] = {}
        self.ended: list[str] = []

    def begin(self, run_id: UUID, prompt: str) -> None:
        self.texts[run_id] = prompt

    def end(self, run_id: UUID, message: Any, text: str) -> None:
        self.ended.append(self.chats[run_id] if message else f"{self.texts[run_id]} -> {text}")


class PlainBooks(Books, BaseCallbackHandler):
    raise_error = True

    def on_llm_start(self, serialized: Any, prompts: list[str], *, run_id: UUID, **kwargs: Any) -> None:
        self.begin(run_id, prompts[0])

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self.chats[run_id] = messages

    def on_llm_new_token(self, token: str, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        (self.chats if isinstance(chunk, ChatGenerationChunk) else self.texts)[run_id]

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        self.end(run_id, isinstance(first(response), ChatGeneration), first(response).text)


class TracingBooks(Books, AsyncBaseTracer):
    raise_error = True

    async def on_llm_start(self, serialized: Any, prompts: list[str], *, run_id: UUID, **kwargs: Any) -> None:  # type: ignore[override]
        await super().on_llm_start(serialized, prompts, run_id=run_id, **kwargs)
        self.begin(run_id, prompts[0])

    async def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any) -> Any:
        self.chats[run_id] = messages
        return await super().on_chat_model_start(serialized, messages, run_id=run_id, **kwargs)

    async def _persist_run(self, run: Run) -> None:
        pass

    async def _on_run_update(self, run: Run) -> None:
        if run.run_type == "llm":
            generation = (run.outputs or {})["generations"][0][0]
            self.end(run.id, generation.get("message"), generation["text"])


@pytest.mark.parametrize("kind", [PlainBooks, TracingBooks])
@pytest.mark.parametrize("streaming", [False, True])
def test_handler_that_keeps_account_of_completions_gets_text_and_others_a_message(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder, path: str, kind: Any, streaming: bool
) -> None:
    wire.always(answer)
    books, llm = kind(), make(streaming=streaming)
    with get_usage_metadata_callback() as counter:
        if path == "generate":
            calls.generate(llm, ["a", "bb"], callbacks=[recorder, books])
        else:
            given: Any = ["a", "bb"] if "batch" in path else "bb"
            getattr(calls, path)(llm, given, config={"callbacks": [recorder, books]})
    expected = ["a -> a", "bb -> bb"] if path == "generate" or "batch" in path else ["bb -> bb"]
    assert sorted(books.ended) == expected
    assert {type(first(end)) for end in recorder.ends} == {ChatGeneration}
    assert counter.usage_metadata["alfred-40b-1123"]["input_tokens"] == len(expected) + 1


@pytest.mark.parametrize("method", ["complete", "stream_complete", "chat", "stream_chat"])
def test_llama_index_responses_hold_metadata_for_traces(wire: WireServer, method: str) -> None:
    asyncio.set_event_loop(None)
    wire.always(answer)
    llm = llama_index_paradigm.ParadigmLLM(model="m", api_key="k", base_url=wire.url, context_window=99)
    given: Any = [ChatMessage("bb")] if "chat" in method else "bb"
    found = getattr(llm, method)(given)
    last = list(found)[-1] if "stream" in method else found
    assert last.raw["model"] == "alfred-40b-1123"
    assert last.raw["id"].startswith("cmpl-")
    assert last.additional_kwargs["finish_reason"] == "stop"
    assert last.additional_kwargs["request_id"] == "r"
    assert 0 < last.additional_kwargs["latency"] < 60
