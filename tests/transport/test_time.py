"""Time-outs: a slow server fails within its time-out; waiting for a free connection has none."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import inf
from typing import Any

import httpx
import pytest

from paradigm_transport import (
    APIConnectionError,
    APITimeoutError,
    AsyncParadigmClient,
    BadRequestError,
    CompletionChunk,
    CompletionParameters,
    InvalidParameterError,
    ParadigmClient,
    RateLimitError,
    Settings,
    Timeout,
)
from paradigm_transport.calls import Policy
from paradigm_transport.endpoints.completions.call import CompletionCall, CompletionStreamCall
from paradigm_transport.http.pacing import Turn
from paradigm_transport.http.timeouts import seconds_of, total_of
from paradigm_transport.refusals import Origin, status_error
from tests.transport.conftest import KEY, MODEL, Api
from tests.wire import STALL, WireServer, chunk, completion, head, models, pause, reply, sse, texts

SHORT = 0.1


@pytest.fixture
def full_backlog() -> Iterator[str]:
    """The address of a server that accepts no connection: clients wait."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        time.sleep(0.02)
        yield f"http://{address[0]}:{address[1]}"
        for each in waiting:
            each.close()


def connect(client: Any) -> None:
    """Open the connection that the next call uses: on a busy machine, to connect may take longer than SHORT."""
    while True:
        with suppress(APITimeoutError):
            client.models()
            return


@pytest.mark.parametrize(
    "script",
    [
        [STALL],
        [b"HTTP/1.1 200 OK\r\nContent-Len", STALL],
        [head(200, {"Content-Length": "100"}), b'{"choices"', STALL],
    ],
    ids=["no head", "half a head", "half a body"],
)
@pytest.mark.parametrize("timeout", [SHORT, httpx.Timeout(20, read=SHORT)], ids=["seconds", "httpx.Timeout"])
def test_silent_server_times_out(api: Api, wire: WireServer, script: list[Any], timeout: Any) -> None:
    wire.always(lambda request: script if request.body else reply(models()))
    client = api.client(wire, timeout=timeout, max_retries=0)
    for call in (lambda: client.complete("Hi", model=MODEL), lambda: list(client.stream("Hi", model=MODEL))):
        connect(client)
        begin = time.perf_counter()
        with pytest.raises(APITimeoutError, match=rf"^{wire.host} did not respond in time .*Raise timeout") as caught:
            call()
        assert time.perf_counter() - begin < 5
        assert caught.value.partial_text == ""
    for request in wire.requests:
        assert request.left.wait(30)


@pytest.mark.parametrize(
    "script", [sse(chunk("a"), STALL), sse(chunk("a"), b'data: {"choices', STALL)], ids=["whole event", "half an event"]
)
def test_stream_that_goes_silent_times_out_with_its_partial_text(api: Api, wire: WireServer, script: list[Any]) -> None:
    wire.always(script)
    chunks = api.client(wire, timeout=SHORT, max_retries=9).stream("Hi", model=MODEL)
    assert next(chunks).text == "a"
    sent = len(wire.requests)  # on a busy machine, the first text may take longer than SHORT and be retried
    with pytest.raises(APITimeoutError) as caught:
        next(chunks)
    assert caught.value.partial_text == "a"
    assert wire.requests[-1].left.wait(30)
    assert len(wire.requests) == sent
    assert list(chunks) == []


def test_slow_stream_does_not_time_out(api: Api, wire: WireServer) -> None:
    wire.script(sse(chunk("a"), *[pause(0.25), b": ping\n\n"] * 8, chunk("", "stop")))
    assert len(list(api.client(wire, timeout=1.5).stream("Hi", model=MODEL))) == 2


def test_server_that_accepts_no_connection_times_out(api: Api, full_backlog: str) -> None:
    client = api.client(base_url=full_backlog, timeout=httpx.Timeout(20, connect=SHORT), max_retries=0)
    begin = time.perf_counter()
    with pytest.raises(APITimeoutError, match="Check base_url"):
        client.complete("Hi", model=MODEL)
    assert time.perf_counter() - begin < 5


def test_connecting_has_its_own_shorter_timeout(api: Api, full_backlog: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from paradigm_transport.http import timeouts

    assert timeouts.CONNECT_SECONDS == 5
    monkeypatch.setattr(timeouts, "CONNECT_SECONDS", SHORT)
    begin = time.perf_counter()
    with pytest.raises(APITimeoutError):
        api.client(base_url=full_backlog, timeout=60, max_retries=0).complete("Hi", model=MODEL)
    assert time.perf_counter() - begin < 5


def test_server_that_does_not_read_times_out(api: Api) -> None:
    """The write bound: a request larger than all buffers on the way."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []
        thread = threading.Thread(target=lambda: accepted.append(listener.accept()[0]))
        thread.start()
        client = api.client(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
            timeout=httpx.Timeout(20, write=SHORT),
            max_retries=0,
        )
        with pytest.raises(APITimeoutError):
            client.complete("x" * (32 << 20), model=MODEL)
        thread.join()
        accepted[0].close()


@pytest.mark.parametrize("timeout", [None, 5, 0.5, httpx.Timeout(5)])
def test_timeout_may_be_none_a_number_or_an_httpx_timeout(api: Api, wire: WireServer, timeout: Any) -> None:
    wire.script(reply(completion("a")))
    assert api.client(wire, timeout=timeout).complete("Hi", model=MODEL).text == "a"


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), "5", True, (1, 2)])
def test_wrong_timeout_is_reported(api: Api, timeout: Any) -> None:
    with pytest.raises(InvalidParameterError, match="timeout"):
        api.client(timeout=timeout)


def hold(wire: WireServer, calls: int) -> None:
    """Answer once `calls` requests are at the server at the same time."""
    together = threading.Barrier(calls)

    def script(request: Any) -> list[Any]:
        together.wait(30)
        return reply(completion(request.body["prompt"]))

    wire.always(script)


def test_three_hundred_tasks_call_at_the_same_time(wire: WireServer) -> None:
    # All are at the server at once: a pool of fewer connections would stand still, or raise PoolTimeout.
    hold(wire, 300)

    async def main() -> list[str]:
        async with AsyncParadigmClient(api_key=KEY, base_url=wire.url, timeout=60) as client:
            answers = await asyncio.gather(*(client.complete(str(i), model=MODEL) for i in range(300)))
        return [answer.text for answer in answers]

    assert asyncio.run(main()) == [str(i) for i in range(300)]


def test_three_hundred_threads_call_at_the_same_time(wire: WireServer) -> None:
    hold(wire, 300)
    with ParadigmClient(api_key=KEY, base_url=wire.url, timeout=60) as client, ThreadPoolExecutor(300) as pool:
        answers = list(pool.map(lambda i: client.complete(str(i), model=MODEL).text, range(300)))
    assert answers == [str(i) for i in range(300)]


def test_calls_over_the_connection_limit_wait_without_a_timeout(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paradigm_transport.http.pool.MAX_CONNECTIONS", 2)
    wire.always(sse(chunk("a"), chunk("", "stop")))

    async def main(client: AsyncParadigmClient) -> int:
        async def call() -> int:
            return len([chunk async for chunk in client.stream("Hi", model=MODEL)])

        return sum(await asyncio.gather(*(call() for _ in range(40))))

    impatient = httpx.Timeout(30, pool=0.001)  # that time-out is ignored
    assert (
        asyncio.run(main(AsyncParadigmClient(api_key=KEY, base_url=wire.url, timeout=impatient, max_retries=0))) == 80
    )
    assert wire.connections == 2
    with ParadigmClient(api_key=KEY, base_url=wire.url) as client, ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(lambda _: len(list(client.stream("Hi", model=MODEL))), range(40))) == 80


class Timer:
    """Seconds that stand still for some looks, then jump beyond every deadline."""

    def __init__(self, looks: float) -> None:
        self.looks = looks

    def __call__(self) -> float:
        self.looks -= 1
        return 0.0 if self.looks >= 0 else 1000.0


@pytest.mark.parametrize("part", [chunk(" a"), b": ping\n\n", b" "], ids=["text", "pings", "bytes"])
def test_stream_that_never_ends_raises_at_its_deadline(api: Api, wire: WireServer, part: Any) -> None:
    wire.script(sse(chunk("Once"), part, STALL))
    client = api.client(wire, timeout=Timeout(total=100), timer=Timer(4))
    chunks: list[CompletionChunk] = []
    with pytest.raises(APITimeoutError, match=f"{wire.host} did not complete its response within 100 sec") as caught:
        chunks.extend(client.stream("Hi", model=MODEL))
    assert caught.value.partial_text == texts(chunks)
    assert caught.value.partial_text.startswith("Once")
    assert wire.requests[0].left.wait(30)


@pytest.mark.parametrize("status", [200, 500])
def test_reply_that_never_ends_raises_at_its_deadline(api: Api, wire: WireServer, status: int) -> None:
    wire.always([head(status, {"Content-Length": "1000"}) + b" ", STALL])
    for path in ("complete", "models"):
        client = api.client(wire, timeout=Timeout(total=100), timer=Timer(3), max_retries=0)
        arguments = {} if path == "models" else {"prompt": "Hi", "model": MODEL}
        with pytest.raises(APITimeoutError, match="within 100 seconds"):
            getattr(client, path)(**arguments)


@pytest.mark.parametrize(
    "part", [b"HTTP/1.1 200 OK\r\nX-A: 1\r\n", b"HTTP/1.1 102 Processing\r\n\r\n"], ids=["half a head", "102"]
)
@pytest.mark.parametrize("calls_before", [0, 1])
def test_head_that_never_ends_raises_at_its_deadline(
    api: Api, wire: WireServer, part: bytes, calls_before: int
) -> None:
    wire.script(*[reply(models())] * calls_before)
    wire.always([part, STALL])
    looks = 3  # to begin, to send, and before the one read of a whole head
    timer = Timer(inf)
    client = api.client(wire, timeout=Timeout(read=5, total=100), timer=timer, max_retries=0)
    for _ in range(calls_before):
        client.models()
    for call in (lambda: client.complete("Hi", model=MODEL), lambda: list(client.stream("Hi", model=MODEL))):
        timer.looks = looks
        with pytest.raises(APITimeoutError, match="within 100 seconds"):
            call()
        assert wire.requests[-1].left.wait(30)


def test_retry_that_would_begin_after_the_deadline_is_not_made(api: Api, wire: WireServer) -> None:
    wire.always(reply({}, 429, {"Retry-After": "50"}))
    for call in (
        lambda client: client.complete("Hi", model=MODEL),
        lambda client: list(client.stream("Hi", model=MODEL)),
    ):
        wire.requests.clear()
        api.slept.clear()
        client = api.client(wire, timeout=Timeout(total=70), timer=lambda: sum(api.slept), max_retries=5)
        with pytest.raises(RateLimitError):
            call(client)
        assert (api.slept, len(wire.requests)) == ([50.0], 2)


def test_silence_ends_with_the_deadline(api: Api, wire: WireServer) -> None:
    wire.always([STALL])
    client = api.client(wire, timeout=Timeout(total=SHORT), max_retries=3)
    with pytest.raises(APITimeoutError):
        client.complete("Hi", model=MODEL)
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("timeout", "seconds", "total"),
    [
        (7, (5.0, 7, 7, None), 3600),
        (7200.0, (5.0, 7200.0, 7200.0, None), 7200),
        (None, (None, None, None, None), inf),
        (Timeout(), (5.0, 120.0, 120.0, None), 3600),
        (Timeout(read=None, total=None), (5.0, None, 120.0, None), inf),
        (Timeout(total=3), (5.0, 120.0, 120.0, None), 3),
        (httpx.Timeout(9, connect=2), (2, 9, 9, None), 3600),
        (httpx.Timeout(None), (None, None, None, None), inf),
        (1e10, (5.0, None, None, None), 1e10),
        (Timeout(connect=sys.maxsize), (None, 120.0, 120.0, None), 3600),
    ],
)
def test_timeout_is_a_number_or_sets_each_phase(timeout: Any, seconds: tuple[float | None, ...], total: float) -> None:
    assert seconds_of(timeout) == seconds
    assert total_of(timeout) == total
    assert Settings(api_key="key", timeout=timeout).timeout == timeout


@pytest.mark.parametrize("timeout", [0, -1, inf, True, "3", Timeout(read=0), Timeout(total=-1), Timeout(connect="x")])  # type: ignore[arg-type]
def test_impossible_timeout_is_refused(timeout: Any) -> None:
    for construct in (Settings, lambda **fields: CompletionParameters(model="m", timeout=fields["timeout"])):
        with pytest.raises(InvalidParameterError, match="timeout: it must be"):
            construct(api_key="key", timeout=timeout)


def test_call_has_its_own_timeout(api: Api, wire: WireServer) -> None:
    wire.always([STALL])
    client = api.client(wire, max_retries=0)
    for call in (
        lambda: client.complete("Hi", model=MODEL, timeout=SHORT),
        lambda: list(client.stream("Hi", model=MODEL, timeout=httpx.Timeout(SHORT))),
        lambda: client.complete("Hi", CompletionParameters(model=MODEL, timeout=SHORT), max_tokens=5),
    ):
        with pytest.raises(APITimeoutError):
            call()


def test_call_has_its_own_headers(api: Api, wire: WireServer) -> None:
    wire.always(reply(completion("a")))
    client = api.client(wire, default_headers={"X-Team": "red", "X-Zone": "1"})
    client.complete("Hi", model=MODEL, extra_headers={"x-team": "blue"})
    list(client.stream("Hi", model=MODEL, extra_headers={"X-Team": "green"}))
    client.complete("Hi", model=MODEL)
    assert [request.headers["x-team"] for request in wire.requests] == ["blue", "green", "red"]
    assert all(request.headers["x-zone"] == "1" for request in wire.requests)
    assert all("extra_headers" not in body and "timeout" not in body for body in wire.bodies)
    with pytest.raises(InvalidParameterError, match="extra_headers"):
        client.complete("Hi", model=MODEL, extra_headers={"X": "a\nb"})


def test_headers_of_a_call_are_redacted(api: Api, wire: WireServer) -> None:
    wire.always(reply({"detail": "bad token tok-secret"}, 400))
    with pytest.raises(BadRequestError, match=r"bad token \[…\]"):
        api.client(wire).complete("Hi", model=MODEL, extra_headers={"X-Token": "tok-secret"})


def bound(call: CompletionCall[Any] | CompletionStreamCall[Any], times: list[float]) -> Any:
    """Begin a call whose clock shows the first of some times."""
    settings = Settings(api_key=KEY, base_url="https://host", timeout=Timeout(read=4, total=10))
    call.bind(Policy(settings, None, clock=lambda: 0.0, timer=lambda: times[0], chance=lambda: 1.0))
    call.begin()
    return call


def test_request_has_timeouts_of_its_own_if_those_of_the_settings_do_not_fit() -> None:
    times = [100.0]
    call = bound(CompletionCall("Hi", CompletionParameters(model=MODEL), lambda completion: completion), times)
    for now, left in [(100.0, None), (106.0, None), (107.0, 3.0), (200.0, 0.001)]:
        times[0] = now
        assert call.outgoing.timeouts == (None if left is None else (left, left, left, None))
    times = [100.0]
    own = CompletionParameters(model=MODEL, timeout=2)
    assert bound(CompletionCall("Hi", own, lambda completion: completion), times).outgoing.timeouts == (2, 2, 2, None)


def test_call_may_last_until_its_deadline() -> None:
    times = [100.0]
    call = bound(CompletionCall("Hi", CompletionParameters(model=MODEL), lambda completion: completion), times)
    times[0] = 110.0
    call.check_time()
    times[0] = 110.5
    with pytest.raises(APITimeoutError, match="within 10 seconds"):
        call.check_time()
    times[0] = 109.5
    assert call.wait_before_retry(APIConnectionError("broke")) == 0.5
    assert call.wait_before_retry(APIConnectionError("broke")) is None  # it would wait for one second


def test_call_waits_for_its_turn_until_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [100.0]
    call = bound(CompletionCall("Hi", CompletionParameters(model=MODEL), lambda completion: completion), times)
    monkeypatch.setattr(Turn, "ask", lambda _: 4.0)
    for now, seconds in [(100.0, 4.0), (109.5, 0.5)]:
        times[0] = now
        assert call.seconds_until_turn() == seconds
    times[0] = 110.0
    with pytest.raises(APITimeoutError, match="may take 10 seconds"):
        call.seconds_until_turn()


def test_failures_count_although_other_calls_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turn, "was_alone", lambda _: False)
    call = bound(CompletionCall("Hi", CompletionParameters(model=MODEL), lambda completion: completion), [100.0])
    assert [call.wait_before_retry(APIConnectionError("broke")) for _ in range(3)] == [0.5, 1.0, None]


def test_refusal_slows_other_calls_unless_it_asks_for_too_long() -> None:
    call = bound(CompletionCall("Hi", CompletionParameters(model=MODEL), lambda completion: completion), [100.0])
    for seconds, refusals in [("60", 1), ("61", 1)]:
        call.wait_before_retry(status_error(429, {}, Origin("host", {"retry-after": seconds})))
        assert call.turn.refusals == refusals


def test_only_failures_take_from_the_quota_of_retries() -> None:
    call = bound(CompletionCall("Hi", CompletionParameters(model=MODEL), lambda completion: completion), [100.0])
    full = call.policy.quota.left
    assert call.wait_before_retry(status_error(429, {}, Origin("host"))) == 0.5
    assert call.policy.quota.left == full
    assert call.wait_before_retry(APIConnectionError("broke")) == 1.0
    assert call.policy.quota.left < full


def test_optional_field_is_left_out_if_the_server_refuses_it_as_wrong() -> None:
    call = bound(CompletionStreamCall("Hi", CompletionParameters(model=MODEL), lambda chunk: chunk), [100.0])
    words = {"detail": "stream_options cannot be used"}
    for status, delay in [(503, 0.5), (404, None), (400, 0.0), (400, None)]:
        assert b"stream_options" in call.body or delay is None
        assert call.wait_before_retry(status_error(status, words, Origin("host"))) == delay
    assert b"stream_options" not in call.body
