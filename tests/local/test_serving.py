"""Streams, clients that disconnect, concurrent requests, usage counts and the end of the server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import httpx
import pytest

from paradigm_local import LocalParadigm
from paradigm_local.contract import Usage
from paradigm_local.server import _EventStream
from tests.local.conftest import DEADLINE_SECONDS, Caller, eventually
from tests.local.fake import FakeEngine

Serve = Callable[..., Caller]

STREAMS = 50


@pytest.fixture
def held_back() -> Iterator[FakeEngine]:
    """An engine that generates nothing until its gate is set."""
    engine = FakeEngine()
    engine.gate.clear()
    yield engine
    engine.gate.set()


def test_health_needs_no_key(serve: Serve) -> None:
    response = httpx.get(serve().paradigm.base_url.removesuffix("/api/v2") + "/health", timeout=60)
    assert response.json() == {"status": "ok"}


def test_stream_consists_of_events_and_done(serve: Serve) -> None:
    response = serve().post(stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    *events, done, rest = response.text.split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert [chunk["choices"] for chunk in chunks] == [
        [{"index": 0, "text": "Hello", "logprobs": None, "finish_reason": None}],
        [{"index": 0, "text": " world", "logprobs": None, "finish_reason": None}],
        [{"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}],
    ]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert (done, rest) == ("data: [DONE]", "")


def test_unicode_line_separators_are_not_escaped_in_events(serve: Serve) -> None:
    body = serve(FakeEngine(["a\u2028b\u0085c"])).post(stream=True).content
    assert "a\u2028b\u0085c".encode() in body


def test_silent_stream_sends_pings_until_there_is_text(serve: Serve, held_back: FakeEngine) -> None:
    caller = serve(held_back, ping_seconds=0.02)
    with caller.http.stream("POST", "/completions", json=caller.body(stream=True)) as response:
        lines = response.iter_lines()
        assert [next(lines) for _ in range(4)] == [": ping", "", ": ping", ""]
        held_back.gate.set()
        assert list(lines)[-2:] == ["data: [DONE]", ""]


def test_reply_without_a_stream_has_no_pings(serve: Serve) -> None:
    caller = serve(ping_seconds=0.001)
    assert caller.text() == "Hello world"


def test_disconnecting_from_a_stream_stops_its_generation(caller: Caller) -> None:
    engine = caller.paradigm._engine
    body = caller.body(stream=True, max_tokens=4000, ignore_eos=True)
    with caller.http.stream("POST", "/completions", json=body) as response:
        parts = response.iter_bytes()  # which would close the connection if it were dropped
        next(parts)
        assert engine.running == 1
    eventually(lambda: engine.running == 0)


def test_stream_closes_its_sources_before_it_ends() -> None:
    closed: list[str] = []

    async def source(name: str) -> AsyncGenerator[Any, None]:
        try:
            while True:
                yield b": ping"
        finally:
            closed.append(name)

    async def disconnect(events: AsyncGenerator[Any, None], deltas: AsyncGenerator[Any, None]) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(_: Any) -> None:
            await asyncio.sleep(0)

        await anext(events)
        await anext(deltas)
        await _EventStream(events, deltas)({"type": "http"}, receive, send)
        assert closed == ["events", "deltas"]

    # Referenced here, so that they are not garbage collected.
    events, deltas = source("events"), source("deltas")
    asyncio.run(disconnect(events, deltas))


def test_disconnecting_stops_all_completions_of_a_request(caller: Caller) -> None:
    engine = caller.paradigm._engine
    body = caller.body(stream=True, max_tokens=4000, ignore_eos=True, n=6, temperature=1)
    with caller.http.stream("POST", "/completions", json=body) as response:
        parts = response.iter_bytes()  # as above
        next(parts)
        eventually(lambda: engine.running > 1)
    eventually(lambda: engine.running == 0)


def test_disconnecting_before_the_reply_stops_the_generation(caller: Caller) -> None:
    engine = caller.paradigm._engine
    with pytest.raises(httpx.ReadTimeout):
        caller.http.post("/completions", json=caller.body(max_tokens=4000, ignore_eos=True), timeout=0.2)
    eventually(lambda: engine.running == 0)


def test_disconnecting_while_the_prompt_is_processed_stops_it(caller: Caller) -> None:
    engine = caller.paradigm._engine
    for stream in (True, False):
        body = caller.body(prompt="left alone " * 1500, stream=stream)
        with pytest.raises(httpx.ReadTimeout):
            caller.http.post("/completions", json=body, timeout=0.2)
        eventually(lambda: engine.running == 0)


def test_request_that_leaves_the_queue_is_not_generated(serve: Serve) -> None:
    engine = FakeEngine(parallel=1)
    engine.gate.clear()
    caller = serve(engine)
    first = threading.Thread(target=caller.post)
    first.start()
    eventually(lambda: engine.running == 1)
    with pytest.raises(httpx.ReadTimeout):
        caller.http.post("/completions", json=caller.body(), timeout=0.05)
    eventually(lambda: len(caller.paradigm._endpoint._running) == 1)
    engine.gate.set()
    first.join()
    assert caller.text() == "Hello world"
    assert len(engine.bodies) == 2


def test_usage_of_disconnected_clients_is_counted(local_paradigm: LocalParadigm, caller: Caller) -> None:
    before = len(local_paradigm.usage)
    body = caller.body(stream=True, max_tokens=4000, ignore_eos=True)
    with caller.http.stream("POST", "/completions", json=body) as response:
        next(response.iter_bytes())
    eventually(lambda: len(local_paradigm.usage) > before)
    assert local_paradigm.usage[-1].prompt_tokens == 5
    assert 0 < local_paradigm.usage[-1].completion_tokens < 4000


def test_ledger_counts_the_reported_usage(serve: Serve) -> None:
    caller = serve()
    reported = [Usage(**caller.complete()["usage"]), Usage(**caller.complete(n=2, temperature=1)["usage"])]
    caller.post(stream=True)
    caller.refused(temperature=3)
    assert caller.paradigm.usage[:2] == reported
    assert caller.paradigm.usage[2:] == [reported[0]]
    assert caller.paradigm.total_usage == Usage(prompt_tokens=9, completion_tokens=8, total_tokens=17)


def test_fifty_concurrent_streams_get_their_own_texts(local_paradigm: LocalParadigm, caller: Caller) -> None:
    async def one(http: httpx.AsyncClient, number: int) -> str:
        body = caller.body(stream=True, structured_outputs={"choice": [f"stream {number}"]}, max_tokens=8)
        async with http.stream("POST", "/completions", json=body) as response:
            *lines, done = [line async for line in response.aiter_lines() if line not in ("", ": ping")]
        assert done == "data: [DONE]"
        return "".join(json.loads(line.removeprefix("data: "))["choices"][0]["text"] for line in lines)

    async def all_of_them() -> list[str]:
        limits = httpx.Limits(max_connections=STREAMS)
        async with httpx.AsyncClient(
            base_url=local_paradigm.base_url, headers=dict(caller.http.headers), timeout=60, limits=limits
        ) as http:
            return await asyncio.gather(*(one(http, number) for number in range(STREAMS)))

    counted = len(local_paradigm.usage)
    assert asyncio.run(all_of_them()) == [f"stream {number}" for number in range(STREAMS)]
    assert len(local_paradigm.usage) == counted + STREAMS


def test_completions_of_one_request_are_generated_in_parallel(caller: Caller) -> None:
    engine = caller.paradigm._engine
    most = 0
    body = caller.body(stream=True, n=4, temperature=1, max_tokens=30, ignore_eos=True)
    with caller.http.stream("POST", "/completions", json=body) as response:
        for _ in response.iter_bytes():
            most = max(most, engine.running)
    assert most == 4


def test_stop_waits_for_running_requests(serve: Serve, held_back: FakeEngine) -> None:
    caller = serve(held_back, grace_seconds=DEADLINE_SECONDS)
    replies: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: replies.append(caller.post()))
    asking.start()
    eventually(lambda: held_back.running == 1)
    ending = threading.Thread(target=caller.paradigm.stop)
    ending.start()
    held_back.gate.set()
    ending.join()
    asking.join()
    assert replies[0].json()["choices"][0]["text"] == "Hello world"


def test_requests_beyond_the_grace_time_end_with_an_error(serve: Serve, held_back: FakeEngine) -> None:
    caller = serve(held_back, grace_seconds=0.01, ping_seconds=0.01)
    replies: dict[bool, httpx.Response] = {}
    asking = [
        threading.Thread(target=lambda stream=stream: replies.update({stream: caller.post(stream=stream)}))
        for stream in (True, False)
    ]
    for thread in asking:
        thread.start()
    eventually(lambda: held_back.running == 2)
    caller.paradigm.stop()
    for thread in asking:
        thread.join()
    assert replies[False].status_code == 503
    assert replies[False].json() == {"detail": "The server is shutting down."}
    if replies[True].status_code == 200:  # its first ping was sent before the end
        assert '"The server is shutting down."' in replies[True].text
        assert replies[True].text.endswith("data: [DONE]\n\n")
    assert held_back.running == 0


def test_stopped_server_refuses_connections(serve: Serve) -> None:
    caller = serve()
    assert caller.paradigm.is_running
    caller.paradigm.stop()
    assert not caller.paradigm.is_running
    with pytest.raises(httpx.ConnectError):
        caller.post()
    caller.paradigm.stop()
