"""Retries: the policy's decisions, and how the clients follow them."""

from __future__ import annotations

import logging
import random
import time
from email.utils import formatdate
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
from paradigm_transport.refusals import Origin, status_error
from tests.transport.conftest import MODEL, Api
from tests.wire import CUT, RESET, STALL, WireServer, chunk, completion, head, reply, sse, texts, to_json


def refusal(status: int, **headers: str) -> list[Any]:
    return reply({"detail": "no"}, status, {name.replace("_", "-"): value for name, value in headers.items()})


CHANCES = st.floats(0, 1)
RETRIES = st.integers(0, 2000)


def kind_of(status: int, retry_after: str | None = None) -> APIStatusError:
    return status_error(status, {}, Origin("host", {} if retry_after is None else {"retry-after": retry_after}))


@given(RETRIES, RETRIES, CHANCES, st.sampled_from([408, 409, 429, 500, 502, 503, 504, 529, 599]))
def test_backoff_doubles_within_its_bounds(max_retries: int, retries: int, chance: float, status: int) -> None:
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
def test_policy_does_not_retry_permanent_failures(retries: int, chance: float, status: int) -> None:
    policy = RetryPolicy(max_retries=10_000)
    for error in (kind_of(status), kind_of(status, "1"), APIResponseError("a"), ParadigmError("a"), kind_of(307)):
        assert policy.delay(retries, error, chance) is None


@given(st.integers(0, 9), CHANCES, st.floats(0, 1e6))
def test_policy_obeys_retry_after_up_to_its_maximum(retries: int, chance: float, asked: float) -> None:
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
def test_transient_failures_are_retried_with_the_same_body(api: Api, wire: WireServer, fault: list[Any]) -> None:
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
def test_stream_that_fails_before_its_first_text_is_retried(api: Api, wire: WireServer, fault: list[Any]) -> None:
    wire.script(fault, fault, sse(chunk("Hello", "stop")))
    assert texts(api.client(wire).stream("Hi", model=MODEL)) == "Hello"
    assert api.slept == [0.5, 1.0]
    wire.script(fault, fault, fault)
    with pytest.raises((StreamInterruptedError, ServerError)) as caught:
        list(api.client(wire).stream("Hi", model=MODEL))
    assert caught.value.partial_text == ""
    assert len(wire.requests) == 6


@pytest.mark.parametrize("stop", [None, "ab"])
def test_stream_is_not_retried_after_its_first_text(api: Api, wire: WireServer, stop: str | None) -> None:
    for fault in (CUT, {"error": {"message": "oh", "code": 503}}):
        wire.script(sse(chunk("a"), fault))
        with pytest.raises((StreamInterruptedError, ServerError)) as caught:
            list(api.client(wire).stream("Hi", model=MODEL, stop=stop))
        assert caught.value.partial_text == "a"
    assert len(wire.requests) == 2
    assert api.slept == []


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 418, 422])
def test_permanent_refusals_are_not_retried(api: Api, wire: WireServer, status: int) -> None:
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
def test_client_waits_as_retry_after_says(api: Api, wire: WireServer, asked: str, slept: list[float]) -> None:
    wire.script(refusal(429, retry_after=asked), reply(completion("a")))
    assert api.client(wire).complete("Hi", model=MODEL).text == "a"
    assert api.slept == slept


@pytest.mark.parametrize("asked", ["61", "3600", "Tue, 14 Nov 2023 23:00:00 GMT"])
def test_retry_after_over_the_maximum_raises_at_once(api: Api, wire: WireServer, asked: str) -> None:
    wire.always(refusal(429, retry_after=asked))
    client = api.client(wire)
    for call in (lambda: client.complete("Hi", model=MODEL), lambda: list(client.stream("Hi", model=MODEL))):
        with pytest.raises(RateLimitError) as caught:
            call()
        assert caught.value.retry_after is not None
        assert caught.value.retry_after > 60
    assert api.slept == []
    assert len(wire.requests) == 2


def test_max_retries_is_the_number_of_retries(api: Api, wire: WireServer) -> None:
    wire.always(refusal(503))
    for options, sent in (({}, 3), ({"max_retries": 0}, 1), ({"max_retries": 5}, 6)):
        before = len(wire.requests)
        with pytest.raises(ServerError):
            api.client(wire, **options).complete("Hi", model=MODEL)
        assert len(wire.requests) - before == sent
    assert api.slept[-5:] == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_default_policy_has_the_documented_values() -> None:
    assert RetryPolicy() == RetryPolicy(max_retries=2, initial_delay=0.5, max_delay=8.0, max_retry_after=60.0)


def test_custom_policy_sets_the_delays(api: Api, wire: WireServer) -> None:
    wire.always(refusal(503))
    with pytest.raises(ServerError):
        api.client(wire, retry=RetryPolicy(max_retries=3, initial_delay=1, max_delay=2)).complete("Hi", model=MODEL)
    assert api.slept == [1.0, 2.0, 2.0]


def test_listing_models_is_retried(api: Api, wire: WireServer) -> None:
    wire.script(refusal(503), reply({"data": [{"id": "a"}]}))
    assert [model.id for model in api.client(wire).models()] == ["a"]


def test_clients_use_the_real_clock_and_random_numbers_by_default() -> None:
    for client in (ParadigmClient(api_key="k"), AsyncParadigmClient(api_key="k")):
        assert client.policy.clock is time.time
        assert client.policy.chance == random.random


def test_response_that_times_out_is_retried(api: Api, wire: WireServer) -> None:
    wire.script([STALL], reply(completion("a")), sse(STALL), sse(chunk("b", "stop")))
    client = api.client(wire, timeout=1)
    assert client.complete("Hi", model=MODEL).text == "a"
    assert texts(client.stream("Hi", model=MODEL)) == "b"
    assert api.slept == [0.5, 0.5]
    assert wire.requests[0].left.wait(30)


def test_retries_are_logged_and_counted(api: Api, wire: WireServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "paradigm_transport")
    client = api.client(wire)
    wire.always(reply(completion("a")))
    for call in (
        lambda: client.complete("a secret prompt", model=MODEL),
        lambda: list(client.stream("a secret prompt", model=MODEL))[-1],
    ):
        caplog.clear()
        wire.script(reply({"detail": "a secret prompt"}, 503), [CUT])
        assert call().retries == 2
        assert [record.getMessage() for record in caplog.records] == [
            f"Retrying completions of {wire.host} after 0.50 s (retry 1 of 2): ServerError 503",
            f"Retrying completions of {wire.host} after 1.00 s (retry 2 of 2): APIConnectionError",
        ]
        assert call().retries == 0
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"Retry-After-Ms": "250"}, [0.25]),
        ({"Retry-After-Ms": "250", "Retry-After": "9"}, [0.25]),
        ({"Retry-After-Ms": "soon", "Retry-After": "9"}, [9.0]),
        ({"X-Should-Retry": "false"}, []),
        ({"X-Should-Retry": "perhaps"}, [0.5]),
    ],
)
def test_headers_say_whether_and_when_to_retry(
    api: Api, wire: WireServer, headers: dict[str, str], waits: list[float]
) -> None:
    wire.always(reply({}, 429, headers))
    with pytest.raises(RateLimitError):
        api.client(wire, max_retries=1).complete("Hi", model=MODEL)
    assert api.slept == waits


def test_error_inside_a_response_is_retried_at_the_date_it_says(api: Api, wire: WireServer) -> None:
    error = {"error": {"message": "busy", "code": 503}}
    headers = {"Retry-After": formatdate(api.now + 7, usegmt=True)}
    client = api.client(wire)
    wire.script(reply(error, 200, headers), reply(completion("a")))
    assert client.complete("Hi", model=MODEL).retries == 1
    wire.script(sse(error, headers=headers), sse(chunk("a", "stop")))
    assert texts(client.stream("Hi", model=MODEL)) == "a"
    assert api.slept == [7.0, 7.0]


def test_refusal_is_retried_if_the_server_says_so(api: Api, wire: WireServer) -> None:
    wire.script(reply({}, 400, {"X-Should-Retry": "true"}), reply(completion("a")))
    assert api.client(wire).complete("Hi", model=MODEL).retries == 1


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}},
        {"error": {"message": "Budget has been exceeded! Current cost: 3", "type": "budget_exceeded"}},
        {"detail": "Check your billing details."},
    ],
)
def test_spent_budget_is_not_retried(api: Api, wire: WireServer, body: dict[str, Any]) -> None:
    wire.always(reply(body, 429))
    with pytest.raises(RateLimitError):
        api.client(wire).complete("Hi", model=MODEL)
    assert len(wire.requests) == 1


def test_word_of_a_budget_counts_only_in_a_429_and_below_the_header() -> None:
    body = {"detail": "The billing service is down."}
    assert status_error(503, body, Origin("host")).should_retry is None
    assert status_error(429, body, Origin("host")).should_retry is False
    assert status_error(429, body, Origin("host", {"x-should-retry": "true"})).should_retry is True
