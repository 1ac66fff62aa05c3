"""Callbacks, instrumentation, rate limits: once for each call, also where it fails."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, EventPayload, TokenCountingHandler

from llama_index_paradigm import ParadigmLLM
from paradigm_transport import RateLimitError, StreamInterruptedError
from tests.llama_index.conftest import (
    KEY,
    MODEL,
    Callbacks,
    Events,
    Limiter,
    Method,
    Spans,
    needs_rate_limiter,
    text_of,
)
from tests.wire import CUT, WireServer, chunk, completion, reply, sse

Make = Callable[..., ParadigmLLM]


def kind(method: Method) -> str:
    return "Chat" if method.is_chat else "Completion"


def test_each_call_reports_one_callback_start_and_end(
    wire: WireServer, method: Method, make_llm: Make, callbacks: Callbacks
) -> None:
    wire.script(method.answer("Hel", "lo"))
    responses = method(make_llm(callback_manager=callbacks.manager), temperature=0.5)
    (start,), (end,) = callbacks.starts, callbacks.ends
    assert start[EventPayload.ADDITIONAL_KWARGS] == {"temperature": 0.5}
    assert start[EventPayload.SERIALIZED]["class_name"] == "ParadigmLLM"
    assert MODEL in start[EventPayload.SERIALIZED].values()
    asked, answered = (
        (EventPayload.MESSAGES, EventPayload.RESPONSE)
        if method.is_chat
        else (EventPayload.PROMPT, EventPayload.COMPLETION)
    )
    assert start[asked] == end[asked] == method.input("Hi")
    assert end[answered] is responses[-1]


def test_each_call_reports_its_events_once_and_in_order(
    wire: WireServer, method: Method, llm: ParadigmLLM, events: Events
) -> None:
    wire.script(method.answer("Hel", "lo"))
    responses = method(llm)
    progress = [f"LLM{kind(method)}InProgressEvent"] * len(responses) if method.is_stream else []
    assert events.names == [f"LLM{kind(method)}StartEvent", *progress, f"LLM{kind(method)}EndEvent"]
    assert text_of(events.seen[-1].response) == "Hello"
    assert events.seen[-1].response.raw["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    if method.is_stream:
        assert [text_of(event.response) for event in events.seen[1:-1]] == ["Hel", "Hello", "Hello"]


def _home(method: str) -> str:
    """The class that defines a method, by which spans went before llama-index-core 0.13."""
    return next(each.__name__ for each in ParadigmLLM.__mro__ if method in vars(each))


def test_each_call_opens_one_span(
    wire: WireServer, method: Method, llm: ParadigmLLM, events: Events, spans: Spans
) -> None:
    wire.script(method.answer("Hello"))
    method(llm)
    (span,) = spans.entered
    assert span.split("-")[0] in (f"ParadigmLLM.{method.name}", f"{_home(method.name)}.{method.name}")
    assert spans.ended == [(span, "exit")]
    assert {event.span_id for event in events.seen} == {span}


def test_refused_call_reports_its_error_once(
    wire: WireServer, method: Method, make_llm: Make, callbacks: Callbacks, events: Events, spans: Spans
) -> None:
    wire.script(reply({"error": {"message": "slow down"}}, 429))
    with pytest.raises(RateLimitError):
        method(make_llm(callback_manager=callbacks.manager, max_retries=0))
    assert len(callbacks.starts) == 1
    (end,) = callbacks.ends
    assert isinstance(end[EventPayload.EXCEPTION], RateLimitError)
    failed = "ExceptionEvent" if method.is_stream else "SpanDropEvent"  # a stream outlives its span
    assert events.names == [f"LLM{kind(method)}StartEvent", failed]
    assert [how for _, how in spans.ended] == ["exit" if method.is_stream else "drop"]


def test_broken_stream_reports_its_error_once(
    wire: WireServer, stream_method: Method, make_llm: Make, callbacks: Callbacks, events: Events
) -> None:
    wire.script(sse(chunk("Hel"), CUT))
    with pytest.raises(StreamInterruptedError):
        stream_method(make_llm(callback_manager=callbacks.manager))
    (end,) = callbacks.ends
    assert isinstance(end[EventPayload.EXCEPTION], StreamInterruptedError)
    name = kind(stream_method)
    assert events.names == [f"LLM{name}StartEvent", f"LLM{name}InProgressEvent", "ExceptionEvent"]
    assert isinstance(events.seen[-1].exception, StreamInterruptedError)
    assert events.seen[-1].span_id == events.seen[0].span_id


def test_closed_stream_reports_its_end_once(
    wire: WireServer, stream_method: Method, make_llm: Make, callbacks: Callbacks, events: Events
) -> None:
    wire.script(stream_method.answer("Hel", "lo"))
    llm = make_llm(callback_manager=callbacks.manager)
    prompt = stream_method.input("Hi")
    if stream_method.is_async:

        async def drop() -> None:
            stream = await getattr(llm, stream_method.name)(prompt)
            await anext(stream)
            await stream.aclose()

        asyncio.run(drop())
    else:
        stream = getattr(llm, stream_method.name)(prompt)
        next(stream)
        stream.close()
    (end,) = callbacks.ends
    assert isinstance(end[EventPayload.EXCEPTION], GeneratorExit)
    name = kind(stream_method)
    assert events.names == [f"LLM{name}StartEvent", f"LLM{name}InProgressEvent", "ExceptionEvent"]


def test_events_and_callbacks_do_not_contain_secrets(
    wire: WireServer, method: Method, make_llm: Make, callbacks: Callbacks, events: Events
) -> None:
    wire.script(method.answer("Hello"))
    method(make_llm(callback_manager=callbacks.manager, default_headers={"X-Tenant": "hush-hush"}))
    told = repr([callbacks.starts, callbacks.ends, [event.model_dump() for event in events.seen]])
    assert KEY not in told
    assert "hush-hush" not in told


@needs_rate_limiter
def test_each_call_acquires_the_rate_limiter_once(wire: WireServer, method: Method, make_llm: Make) -> None:
    wire.script(method.answer("Hello"))
    limiter = Limiter()
    method(make_llm(rate_limiter=limiter))
    assert limiter.acquired == ["async" if method.is_async else "sync"]


def count(text: str) -> list[str]:
    return text.split()


def test_token_counter_counts_the_servers_tokens(wire: WireServer, method: Method, make_llm: Make) -> None:
    counter = TokenCountingHandler(tokenizer=count)
    llm = make_llm(callback_manager=CallbackManager([counter]))
    for _ in range(2):
        wire.script(method.answer("Hel", "lo"))
        method(llm)
    assert counter.prompt_llm_token_count == 6
    assert counter.completion_llm_token_count == 10
    assert counter.total_llm_token_count == 16


def test_token_counter_estimates_if_the_server_reports_no_usage(wire: WireServer, make_llm: Make) -> None:
    """As the docs say."""
    counter = TokenCountingHandler(tokenizer=count)
    wire.script(reply(completion("one two three", usage=None)))
    make_llm(callback_manager=CallbackManager([counter])).complete("one two")
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (2, 3)


def test_abandoned_async_stream_leaves_no_warning(wire: WireServer, llm: ParadigmLLM, recwarn: Any) -> None:
    wire.script(sse(chunk("Hel"), chunk("lo", "stop")))

    async def begin() -> None:
        stream = await llm.astream_complete("Hi")
        await anext(stream)
        del stream
        gc.collect()
        await asyncio.sleep(0.05)

    asyncio.run(begin())
    gc.collect()
    assert not recwarn.list
