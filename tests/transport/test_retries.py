"""Again, and after how long? One decision, and what the clients make of it."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paradigm_transport import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    AsyncParadigmClient,
    ParadigmClient,
    ParadigmError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    StreamInterruptedError,
)
from paradigm_transport.errors import Origin, status_error
from tests.transport.conftest import MODEL, Api
from tests.wire import CUT, RESET, STALL, WireServer, chunk, completion, head, reply, sse, texts, to_json


def refusal(status: int, **headers: str) -> list[Any]:
    return reply({"detail": "no"}, status, {name.replace("_", "-"): value for name, value in headers.items()})


CHANCES = st.floats(0, 1)
RETRIES = st.integers(0, 2000)


def kind_of(status: int, retry_after: str | None = None) -> APIStatusError:
    return status_error(status, {}, Origin("host", {} if retry_after is None else {"retry-after": retry_after}))


@given(RETRIES, RETRIES, CHANCES, st.sampled_from([408, 409, 429, 500, 502, 503, 504, 529, 599]))
def test_the_backoff_grows_within_its_bounds(max_retries: int, retries: int, chance: float, status: int) -> None:
    policy = RetryPolicy(max_retries=max_retries)
    for error in (kind_of(status), APIConnectionError("a"), APITimeoutError("a"), StreamInterruptedError("a")):
        delay = policy.delay(retries, error, chance)
        if retries >= max_retries:
            assert delay is None
        else:
            full = min(8.0, 0.5 * 2.0 ** min(retries, 100))
            assert delay is not None
            assert full / 2 <= delay <= full
            assert delay == full * (0.5 + chance / 2)


@given(RETRIES, CHANCES, st.integers(400, 499).filter(lambda status: status not in (408, 409, 429)))
def test_what_would_fail_again_is_not_sent_again(retries: int, chance: float, status: int) -> None:
    policy = RetryPolicy(max_retries=10_000)
    for error in (kind_of(status), kind_of(status, "1"), APIResponseError("a"), ParadigmError("a"), kind_of(307)):
        assert policy.delay(retries, error, chance) is None


@given(st.integers(0, 9), CHANCES, st.floats(0, 1e6))
def test_retry_after_is_obeyed_up_to_the_ceiling(retries: int, chance: float, asked: float) -> None:
    for status in (429, 503):
        delay = RetryPolicy(max_retries=10).delay(retries, kind_of(status, repr(asked)), chance)
        assert delay == (asked if asked <= 60 else None)


@pytest.mark.parametrize(
    "fault",
    [
        refusal(408),
        refusal(409),
        refusal(429),
        refusal(500),
        refusal(503),
        [CUT],
        [RESET],
        [b"nonsense"],
        [head(200, {"Content-Length": "100"}), b"{", CUT],
        [head(200, {"Connection": "close"}), to_json(completion("Hello"))[:-9], CUT],
        reply({"error": {"message": "oh", "code": 503}}),
    ],
    ids=repr,
)
def test_what_fails_in_passing_is_sent_again(api: Api, wire: WireServer, fault: list[Any]) -> None:
    fault = [*fault, CUT] if fault == [b"nonsense"] else fault
    wire.script(fault, fault, reply(completion("Hello")), fault, fault, sse(chunk("Hello", "stop")))
    client = api.client(wire)
    assert client.complete("Hi", model=MODEL).text == "Hello"
    assert texts(client.stream("Hi", model=MODEL)) == "Hello"
    assert len({to_json(body) for body in wire.bodies}) == 2  # the same body each time
    assert api.slept == [0.5, 1.0, 0.5, 1.0]


STREAM_FAULTS = [
    sse(done=False),
    sse(CUT),
    sse(RESET),
    sse(b": ping\n\n", CUT),
    sse({"choices": []}, CUT),
    sse(chunk(""), CUT),
    sse({"error": {"message": "overloaded", "code": 503}}),
    sse(b'error: {"message": "oh"}\n\n', done=False),
    sse(b'data: {"choices": [{"text": "a', CUT),
    reply(b""),
]


@pytest.mark.parametrize("fault", STREAM_FAULTS, ids=repr)
def test_a_stream_that_fails_before_its_first_text_is_sent_again(api: Api, wire: WireServer, fault: list[Any]) -> None:
    wire.script(fault, fault, sse(chunk("Hello", "stop")))
    assert texts(api.client(wire).stream("Hi", model=MODEL)) == "Hello"
    assert api.slept == [0.5, 1.0]
    wire.script(fault, fault, fault)
    with pytest.raises((StreamInterruptedError, ServerError)) as caught:
        list(api.client(wire).stream("Hi", model=MODEL))
    assert caught.value.partial_text == ""
    assert len(wire.requests) == 6


@pytest.mark.parametrize("stop", [None, "ab"])
def test_nothing_is_sent_again_once_text_is_out(api: Api, wire: WireServer, stop: str | None) -> None:
    for fault in (CUT, {"error": {"message": "oh", "code": 503}}):
        wire.script(sse(chunk("a"), fault))
        with pytest.raises((StreamInterruptedError, ServerError)) as caught:
            list(api.client(wire).stream("Hi", model=MODEL, stop=stop))
        assert caught.value.partial_text == "a"
    assert len(wire.requests) == 2
    assert api.slept == []


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 418, 422])
def test_what_would_fail_again_is_sent_once(api: Api, wire: WireServer, status: int) -> None:
    wire.always(refusal(status, retry_after="1"))
    client = api.client(wire)
    for call in (lambda: client.complete("Hi", model=MODEL), lambda: list(client.stream("Hi", model=MODEL))):
        with pytest.raises(APIStatusError):
            call()
    assert len(wire.requests) == 2
    assert api.slept == []


@pytest.mark.parametrize(
    ("asked", "slept"),
    [
        ("3", [3.0]),
        ("0", [0.0]),
        ("60", [60.0]),
        ("Tue, 14 Nov 2023 22:13:30 GMT", [10.0]),
        ("Tue, 14 Nov 2023 20:00:00 GMT", [0.0]),
        ("nonsense", [0.5]),
        ("-5", [0.5]),
    ],
)
def test_retry_after_is_waited_for(api: Api, wire: WireServer, asked: str, slept: list[float]) -> None:
    wire.script(refusal(429, retry_after=asked), reply(completion("a")))
    assert api.client(wire).complete("Hi", model=MODEL).text == "a"
    assert api.slept == slept


@pytest.mark.parametrize("asked", ["61", "3600", "Tue, 14 Nov 2023 23:00:00 GMT"])
def test_a_server_that_asks_for_too_much_gets_no_retry(api: Api, wire: WireServer, asked: str) -> None:
    wire.always(refusal(429, retry_after=asked))
    client = api.client(wire)
    for call in (lambda: client.complete("Hi", model=MODEL), lambda: list(client.stream("Hi", model=MODEL))):
        with pytest.raises(RateLimitError) as caught:
            call()
        assert caught.value.retry_after is not None
        assert caught.value.retry_after > 60
    assert api.slept == []
    assert len(wire.requests) == 2


def test_the_number_of_retries(api: Api, wire: WireServer) -> None:
    wire.always(refusal(503))
    for options, sent in (({}, 3), ({"max_retries": 0}, 1), ({"max_retries": 5}, 6)):
        before = len(wire.requests)
        with pytest.raises(ServerError):
            api.client(wire, **options).complete("Hi", model=MODEL)
        assert len(wire.requests) - before == sent
    assert api.slept[-5:] == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_the_usual_policy() -> None:
    assert RetryPolicy() == RetryPolicy(max_retries=2, initial_delay=0.5, max_delay=8.0, max_retry_after=60.0)


def test_a_policy_of_ones_own(api: Api, wire: WireServer) -> None:
    wire.always(refusal(503))
    with pytest.raises(ServerError):
        api.client(wire, retry=RetryPolicy(max_retries=3, initial_delay=1, max_delay=2)).complete("Hi", model=MODEL)
    assert api.slept == [1.0, 2.0, 2.0]


def test_models_are_asked_for_again_too(api: Api, wire: WireServer) -> None:
    wire.script(refusal(503), reply({"data": [{"id": "a"}]}))
    assert [model.id for model in api.client(wire).models()] == ["a"]


def test_by_default_the_real_clock_and_chance_are_used() -> None:
    for client in (ParadigmClient(api_key="k"), AsyncParadigmClient(api_key="k")):
        assert client.clock is time.time
        assert client.chance == random.random


def test_an_answer_that_hangs_is_sent_again(api: Api, wire: WireServer) -> None:
    wire.script([STALL], reply(completion("a")), sse(STALL), sse(chunk("b", "stop")))
    client = api.client(wire, timeout=0.4)
    assert client.complete("Hi", model=MODEL).text == "a"
    assert texts(client.stream("Hi", model=MODEL)) == "b"
    assert api.slept == [0.5, 0.5]
    assert wire.requests[0].left.wait(5)
