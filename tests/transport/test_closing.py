"""Closing a client from elsewhere ends its calls at once; nothing is sent any more, until it is used again."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import anyio
import pytest
import trustme

from paradigm_transport import (
    APIConnectionError,
    AsyncParadigmClient,
    ParadigmClient,
    RetryPolicy,
    ServerError,
    Timeout,
)
from paradigm_transport.http import pool
from paradigm_transport.http.responses import AsyncResponse, Response
from tests.transport.conftest import KEY, MODEL, Api
from tests.wire import STALL, Script, WireServer, chunk, completion, head, reply, sse, texts

pytestmark = pytest.mark.usefixtures("collected")

CLOSED = "The client was closed before the call had ended"


class Threads:
    """Calls of a sync client, in threads."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor()

    def client(self, url: str, **options: Any) -> Any:
        return ParadigmClient(api_key=KEY, base_url=url, chance=Chance(), **options)

    def begin(self, client: Any, streams: bool) -> Any:
        return self._executor.submit(self._read, client, streams)

    @staticmethod
    def _read(client: Any, streams: bool) -> str:
        return texts(client.stream("Hi", model=MODEL)) if streams else client.complete("Hi", model=MODEL).text

    def until(self, is_true: Callable[[], object]) -> None:
        while not is_true():
            time.sleep(0.001)

    def result(self, call: Future[str]) -> str:
        return call.result(30)

    def close(self, client: Any) -> None:
        client.close()

    def end(self) -> None:
        self._executor.shutdown()


class Tasks:
    """Calls of an async client, in tasks."""

    def __init__(self) -> None:
        self._runner = asyncio.new_event_loop()
        self._runner.set_debug(True)
        self._runner.slow_callback_duration = 60
        self.run = self._runner.run_until_complete

    def client(self, url: str, **options: Any) -> Any:
        return AsyncParadigmClient(api_key=KEY, base_url=url, chance=Chance(), **options)

    def begin(self, client: Any, streams: bool) -> Any:
        return self._runner.create_task(self._read(client, streams))

    @staticmethod
    async def _read(client: Any, streams: bool) -> str:
        if streams:
            return "".join([piece.text async for piece in client.stream("Hi", model=MODEL)])
        return (await client.complete("Hi", model=MODEL)).text

    def until(self, is_true: Callable[[], object]) -> None:
        while not is_true():
            self.run(asyncio.sleep(0.001))

    def result(self, call: asyncio.Task[str]) -> str:
        return self.run(asyncio.wait_for(call, 30))

    def close(self, client: Any) -> None:
        self.run(client.aclose())

    def end(self) -> None:
        self.run(self._runner.shutdown_asyncgens())
        self.run(self._runner.shutdown_default_executor())
        self._runner.close()


@pytest.fixture(params=[Threads, Tasks], ids=["sync", "async"])
def calls(request: pytest.FixtureRequest) -> Iterator[Any]:
    calls = request.param()
    yield calls
    calls.end()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The reads of bodies that have begun."""
    found: list[object] = []
    next_part, anext_part = Response.next_part, AsyncResponse.next_part

    def noted(self: Response) -> bytes | None:
        found.append(self)
        return next_part(self)

    async def anoted(self: AsyncResponse) -> bytes | None:
        found.append(self)
        return await anext_part(self)

    monkeypatch.setattr(Response, "next_part", noted)
    monkeypatch.setattr(AsyncResponse, "next_part", anoted)
    return found


def pool_of(client: Any) -> Any:
    """Return the only pool of a client; None if it has none."""
    pools = getattr(client._connections, "_by_process", None) or client._connections._by_loop
    return next(iter(pools.values()), None)


def waiting(client: Any) -> int:
    """Count what waits: calls that use a connection, wait for one or wait before a retry."""
    pool = pool_of(client)
    return len(pool.scope._interrupts) if pool is not None else 0


def waits_for_retry(client: Any) -> bool:
    """Whether its only call waits before a retry, which begins with a random number."""
    return client.policy.chance.calls > 0 and waiting(client) == 1


class Chance:
    """A random number that is always the same."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> float:
        self.calls += 1
        return 1.0


STAGES: dict[str, Script] = {
    "head": [STALL],
    "body": [head(200, {"Content-Length": "100"}), b"{", STALL],
    "text": sse(chunk("a"), STALL),
}


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "complete"])
@pytest.mark.parametrize("at", STAGES)
@pytest.mark.parametrize("is_warm", [True, False], ids=["warm", "cold"])
def test_closing_ends_calls_that_wait_for_the_server(
    calls: Any, wire: WireServer, reads: list[object], at: str, streams: bool, is_warm: bool
) -> None:
    client = calls.client(wire.url)
    if is_warm:  # the connection is one that served before
        wire.script(reply(completion("a")))
        calls.result(calls.begin(client, streams=False))
        reads.clear()
    wire.always(STAGES[at])
    before = len(wire.requests)
    call = calls.begin(client, streams)
    calls.until(lambda: len(wire.requests) > before and len(reads) >= (0 if at == "head" else 2))
    calls.close(client)
    with pytest.raises(APIConnectionError, match=CLOSED) as caught:
        calls.result(call)
    assert caught.value.partial_text == ("a" if at == "text" and streams else "")
    assert wire.requests[-1].left.wait(30)
    assert len(wire.requests) == before + 1


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "complete"])
def test_closing_ends_calls_that_wait_before_a_retry(calls: Any, wire: WireServer, streams: bool) -> None:
    wire.always(reply({"detail": "busy"}, 503, {"Retry-After": "50"}))
    client = calls.client(wire.url)
    call = calls.begin(client, streams)
    calls.until(lambda: waits_for_retry(client))
    calls.close(client)
    with pytest.raises(APIConnectionError, match=CLOSED):
        calls.result(call)
    assert len(wire.requests) == 1


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "complete"])
def test_closing_ends_calls_that_wait_for_a_connection(
    calls: Any, wire: WireServer, streams: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MAX_CONNECTIONS", 2)
    wire.always([STALL])
    client = calls.client(wire.url)
    begun = [calls.begin(client, streams) for _ in range(6)]
    calls.until(lambda: waiting(client) >= 6 and len(wire.requests) == 2)
    calls.close(client)
    for call in begun:
        with pytest.raises(APIConnectionError, match=CLOSED):
            calls.result(call)
    assert len(wire.requests) == 2


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_closing_while_connecting_sends_nothing(
    calls: Any, wire: WireServer, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that connects cannot be stopped, but what it was to send is not sent."""
    client = calls.client(wire.url.replace("http", scheme))
    closing: list[asyncio.Task[None]] = []
    connect, aconnect = socket.create_connection, anyio.connect_tcp

    def closing_connect(*args: Any, **options: Any) -> socket.socket:
        connection = connect(*args, **options)
        client.close()
        return connection

    async def closing_aconnect(*args: Any, **options: Any) -> Any:
        stream = await aconnect(*args, **options)
        closing.append(asyncio.create_task(client.aclose()))
        return stream

    monkeypatch.setattr(socket, "create_connection", closing_connect)
    monkeypatch.setattr(anyio, "connect_tcp", closing_aconnect)
    call = calls.begin(client, streams=False)
    with pytest.raises(APIConnectionError, match=CLOSED):
        calls.result(call)
    assert wire.requests == []
    monkeypatch.undo()
    if scheme == "http":
        wire.always(reply(completion("a")))
        assert calls.result(calls.begin(client, streams=False)) == "a"
    calls.close(client)


@pytest.mark.parametrize("has_been_connected", [False, True])
def test_closing_ends_async_calls_that_connect(has_been_connected: bool) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as waiting:
        address = listener.getsockname()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply(completion("a"), headers={"Connection": "close"})[0])

        async def main() -> None:
            timeout = Timeout(connect=60)
            client = AsyncParadigmClient(api_key=KEY, base_url=f"http://{address[0]}:{address[1]}", timeout=timeout)
            if has_been_connected:
                await asyncio.gather(asyncio.to_thread(answer), client.complete("Hi", model=MODEL))
            for _ in range(3):  # from now on nobody is accepted
                each = waiting.enter_context(socket.socket())
                each.setblocking(False)
                each.connect_ex(address)
            call = asyncio.create_task(client.complete("Hi", model=MODEL))
            await asyncio.sleep(0.05)
            await client.aclose()
            with pytest.raises(APIConnectionError, match=CLOSED):
                await asyncio.wait_for(call, 30)

        asyncio.run(main(), debug=True)


def test_closed_client_can_be_used_again(calls: Any, wire: WireServer) -> None:
    client = calls.client(wire.url)
    for _ in range(3):
        wire.script([STALL], reply(completion("a")))
        before = len(wire.requests)
        call = calls.begin(client, streams=False)
        calls.until(lambda before=before: len(wire.requests) > before)
        calls.close(client)
        with pytest.raises(APIConnectionError, match=CLOSED):
            calls.result(call)
        assert calls.result(calls.begin(client, streams=False)) == "a"
    calls.close(client)


def test_stream_begun_after_its_client_was_closed_opens_a_connection(calls: Any, wire: WireServer) -> None:
    wire.always(sse(chunk("a", "stop")))
    client = calls.client(wire.url)
    calls.close(client)
    assert calls.result(calls.begin(client, streams=True)) == "a"
    calls.close(client)


def test_closing_spares_the_calls_of_other_clients(calls: Any, wire: WireServer) -> None:
    wire.always([STALL, *reply(completion("a"))])
    one, other = calls.client(wire.url), calls.client(wire.url)
    ended, going_on = calls.begin(one, streams=False), calls.begin(other, streams=False)
    calls.until(lambda: len(wire.requests) == 2)
    calls.close(one)
    with pytest.raises(APIConnectionError, match=CLOSED):
        calls.result(ended)
    wire.release()
    assert calls.result(going_on) == "a"
    assert len(wire.requests) == 2
    calls.close(other)


def test_refusal_that_is_not_retried_stays_the_error_of_a_closed_call(api: Api, wire: WireServer) -> None:
    """The server has answered; that the client was closed at the same time is not the reason."""
    client = api.client(wire, retry=RetryPolicy(max_retries=0))
    wire.always(reply({"detail": "busy"}, 503))
    with pytest.raises(ServerError, match="busy"):
        client.complete("Hi", model=MODEL)


# Injected clients stay open; the calls over them end all the same.


@pytest.fixture(params=["httpx", "httpx2"])
def borrowing(request: pytest.FixtureRequest, calls: Any, wire: WireServer) -> Iterator[Any]:
    module = pytest.importorskip(request.param)
    if isinstance(calls, Tasks):
        borrowed = module.AsyncClient()
        yield calls.client(wire.url, http_async_client=borrowed, timeout=30)
        assert not borrowed.is_closed
        calls.run(borrowed.aclose())
    else:
        with module.Client() as borrowed:
            yield calls.client(wire.url, http_client=borrowed, timeout=30)
            assert not borrowed.is_closed


@pytest.mark.parametrize(("at", "streams"), [("head", True), ("body", False), ("text", True)])
def test_closing_ends_calls_over_an_injected_client(
    calls: Any, wire: WireServer, borrowing: Any, reads: list[object], at: str, streams: bool
) -> None:
    wire.always([STALL, *sse(chunk("a"), STALL)] if at == "head" else STAGES[at])
    call = calls.begin(borrowing, streams)
    calls.until(lambda: wire.requests and len(reads) >= (0 if at == "head" else 2))
    calls.close(borrowing)
    if at == "head" and isinstance(calls, Threads):
        # Which of its connections it uses is the client's secret until the response begins.
        wire.release()
    with pytest.raises(APIConnectionError, match=CLOSED):
        calls.result(call)
    assert wire.requests[0].left.wait(30)
    assert len(wire.requests) == 1


def test_closing_ends_retries_over_an_injected_client(calls: Any, wire: WireServer, borrowing: Any) -> None:
    wire.always(reply({"detail": "busy"}, 503, {"Retry-After": "50"}))
    call = calls.begin(borrowing, streams=False)
    calls.until(lambda: waits_for_retry(borrowing))
    calls.close(borrowing)
    with pytest.raises(APIConnectionError, match=CLOSED):
        calls.result(call)
    assert len(wire.requests) == 1


# Streams that are closed from elsewhere


@pytest.mark.parametrize("at", ["head", "retry", "text"])
def test_closing_a_stream_ends_what_it_waits_for(calls: Any, wire: WireServer, reads: list[object], at: str) -> None:
    busy = reply({"detail": "busy"}, 503, {"Retry-After": "50"})
    wire.always(busy if at == "retry" else STAGES[at])
    client = calls.client(wire.url)
    stream = client.stream("Hi", model=MODEL)

    class Same:
        def stream(self, *_: Any, **__: Any) -> Any:
            return stream

    call = calls.begin(Same(), streams=True)
    calls.until(lambda: wire.requests and len(reads) >= {"head": 0, "retry": 1, "text": 2}[at])
    calls.until(lambda: at != "retry" or waits_for_retry(client))
    calls.close(stream)
    assert calls.result(call) == ("a" if at == "text" else "")
    assert len(wire.requests) == 1
    calls.close(client)


def test_slots_pass_from_thread_to_thread(wire: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_CONNECTIONS", 3)
    wire.always(reply(completion("a")))
    most, now, lock = 0, 0, threading.Lock()
    with ParadigmClient(api_key=KEY, base_url=wire.url) as client, ThreadPoolExecutor(24) as threads:
        acquire, release = client._connections.pool().slots.acquire, client._connections.pool().slots.release

        def counted_acquire(scope: Any) -> None:
            nonlocal most, now
            acquire(scope)
            with lock:
                now += 1
                most = max(most, now)

        def counted_release() -> None:
            nonlocal now
            with lock:
                now -= 1
            release()

        client._connections.pool().slots.acquire = counted_acquire  # type: ignore[method-assign]
        client._connections.pool().slots.release = counted_release  # type: ignore[method-assign]
        assert set(threads.map(lambda _: client.complete("Hi", model=MODEL).text, range(200))) == {"a"}
        slots = client._connections.pool().slots
    assert (most, now) == (3, 0)
    assert (len(slots._free), len(slots._waiting)) == (3, 0)


@pytest.mark.parametrize(("at", "streams"), [("head", False), ("body", False), ("text", True)])
def test_closing_does_not_end_the_encryption_first(
    calls: Any, reads: list[object], at: str, streams: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that sends at that moment would send the key and the prompt in clear."""
    authority, trusting = trustme.CA(), ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(trusting)
    with WireServer(tls=context) as server:
        server.always(STAGES[at])
        client = calls.client(server.url, verify=trusting)
        call = calls.begin(client, streams)
        calls.until(lambda: server.requests and len(reads) >= (0 if at == "head" else 2))
        # This method forgets the encryption, then shuts the socket down.
        monkeypatch.setattr(ssl.SSLSocket, "shutdown", lambda *_: pytest.fail("it would go on in clear"))
        calls.close(client)
        monkeypatch.undo()
        with pytest.raises(APIConnectionError, match=CLOSED):
            calls.result(call)
        assert server.requests[0].left.wait(30)
        assert len(server.requests) == 1
