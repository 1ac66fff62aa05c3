"""A rate limiter is acquired once before each HTTP request, on every path."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from langchain_core.rate_limiters import BaseRateLimiter, InMemoryRateLimiter

import paradigm_transport.http.retry
from tests.langchain.conftest import Calls, Make
from tests.langchain.test_results import by_prompt
from tests.wire import Request, Script, WireServer, chunk, completion, reply, sse


class Counter(BaseRateLimiter):
    """Records the number of requests so far at each acquisition."""

    def __init__(self, wire: WireServer) -> None:
        self.wire = wire
        self.asked: list[int] = []
        self.on_loop: list[bool] = []

    def acquire(self, *, blocking: bool = True) -> bool:
        assert blocking
        self.asked.append(len(self.wire.requests))
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        asyncio.get_running_loop()
        return self.acquire(blocking=blocking)


def answer(request: Request) -> Script:
    return sse(chunk("Hi", "stop")) if request.body.get("stream") else by_prompt(request)


WAYS: dict[str, Any] = {
    "invoke": lambda calls, llm: calls.invoke(llm, "x"),
    "stream": lambda calls, llm: calls.stream(llm, "x"),
    "streaming": lambda calls, llm: calls.invoke(llm.model_copy(update={"streaming": True}), "x"),
    "batch": lambda calls, llm: calls.batch(llm, ["x", "y", "z"]),
    "as completed": lambda calls, llm: calls.batch_as_completed(llm, ["x", "y", "z"]),
    "generate": lambda calls, llm: calls.generate(llm, ["x", "y", "z"]),
    "bind": lambda calls, llm: calls.invoke(llm.bind(temperature=1), "x"),
    "tokens": lambda calls, llm: llm.get_num_tokens("x"),
}


@pytest.mark.parametrize("way", WAYS)
def test_limiter_is_acquired_once_per_request(wire: WireServer, make: Make, calls: Calls, way: str) -> None:
    wire.always(answer)
    counter = Counter(wire)
    WAYS[way](calls, make(rate_limiter=counter))
    assert len(counter.asked) == len(wire.requests) in (1, 3)


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_limiter_is_acquired_before_each_retry(
    wire: WireServer, make: Make, calls: Calls, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paradigm_transport.http.retry.RetryPolicy, "delay", lambda *_: 0.0)
    wire.script(
        reply("", 503), reply("", 429), sse(chunk("Hi", "stop")) if way == "stream" else reply(completion("Hi"))
    )
    counter = Counter(wire)
    assert "".join(getattr(calls, way)(make(rate_limiter=counter), "x")) == "Hi"
    assert counter.asked == [0, 1, 2]


def test_limiter_is_acquired_again_after_refused_stream_options(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply({"error": {"message": "unknown field stream_options"}}, 400), sse(chunk("Hi", "stop")))
    counter = Counter(wire)
    assert "".join(calls.stream(make(rate_limiter=counter), "x")) == "Hi"
    assert counter.asked == [0, 1]


def test_copy_with_another_limiter_uses_it(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply("", 503, {"Retry-After": "0"}), reply(completion("Hi")))
    first, second = Counter(wire), Counter(wire)
    llm = make(rate_limiter=first)
    _ = llm.client
    calls.invoke(llm.model_copy(update={"rate_limiter": second}), "x")
    assert (first.asked, second.asked) == ([], [0, 1])


def test_limiter_of_langchain_slows_requests(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(answer)
    limiter = InMemoryRateLimiter(requests_per_second=20, check_every_n_seconds=0.005, max_bucket_size=1)
    began = time.perf_counter()
    calls.batch(make(rate_limiter=limiter), ["x"] * 5)
    assert time.perf_counter() - began > 0.18


def test_cached_prompt_does_not_acquire_limiter(wire: WireServer, make: Make, calls: Calls) -> None:
    from langchain_core.caches import InMemoryCache

    wire.always(answer)
    counter = Counter(wire)
    llm = make(rate_limiter=counter, cache=InMemoryCache())
    calls.batch(llm, ["x"])
    calls.batch(llm, ["x"])
    assert counter.asked == [0]
