"""Time-outs: a slow server fails within its time-out; waiting for a free connection has none."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from paradigm_transport import (
    APITimeoutError,
    AsyncParadigmClient,
    InvalidParameterError,
    ParadigmClient,
)
from tests.transport.conftest import KEY, MODEL, Api
from tests.wire import STALL, WireServer, chunk, completion, head, models, pause, reply, sse

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
        assert request.left.wait(5)


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
    assert wire.requests[-1].left.wait(5)
    assert len(wire.requests) == sent
    assert list(chunks) == []


def test_slow_stream_does_not_time_out(api: Api, wire: WireServer) -> None:
    wire.script(sse(chunk("a"), *[pause(0.1), b": ping\n\n"] * 8, chunk("", "stop")))
    assert len(list(api.client(wire, timeout=0.6).stream("Hi", model=MODEL))) == 2


def test_server_that_accepts_no_connection_times_out(api: Api, full_backlog: str) -> None:
    client = api.client(base_url=full_backlog, timeout=httpx.Timeout(20, connect=SHORT), max_retries=0)
    begin = time.perf_counter()
    with pytest.raises(APITimeoutError, match="Check base_url"):
        client.complete("Hi", model=MODEL)
    assert time.perf_counter() - begin < 5


def test_connecting_has_its_own_shorter_timeout(api: Api, full_backlog: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from paradigm_transport.http import connections

    assert connections.CONNECT_TIMEOUT == 5
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT", SHORT)
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
