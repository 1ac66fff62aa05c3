"""A cancelled call ends its connection, however often it is cancelled, on the event loops of asyncio and of uvloop."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, suppress
from typing import Any

import anyio
import httpx
import pytest

from paradigm_transport import AsyncParadigmClient
from paradigm_transport.http import pool
from paradigm_transport.http.closing import _closing
from paradigm_transport.http.responses import AsyncResponse
from tests.transport.conftest import KEY, MODEL
from tests.transport.test_protocols import EVENTS, AsyncClient, AsyncReply
from tests.wire import STALL, Script, WireServer, chunk, completion, event, head, pause, reply, sse, to_json

pytestmark = pytest.mark.usefixtures("collected")

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine in a new event loop; fails if the loop has something to report."""
    module = pytest.importorskip(request.param)
    loop = module.new_event_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 60  # on a busy machine much is slow
    noise: list[Any] = []
    loop.set_exception_handler(lambda _, context: noise.append(context))
    yield loop.run_until_complete
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    # Python's own: nested generators that are collected together are closed one by another, and each by the loop.
    assert [each for each in noise if "generator is already running" not in str(each.get("exception"))] == []


# Ways to cancel

Cancel = Callable[["asyncio.Task[Any]"], Awaitable[None]]


async def once(task: asyncio.Task[Any]) -> None:
    task.cancel()


async def twice(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()


async def at_every_turn(task: asyncio.Task[Any]) -> None:
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)


async def after(turns: int, task: asyncio.Task[Any]) -> None:
    """Cancel again after a number of turns of the event loop."""
    task.cancel()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()


CANCELS: dict[str, Cancel] = {"once": once, "twice": twice, "at every turn": at_every_turn} | {
    f"again after {turns}": lambda task, turns=turns: after(turns, task)  # type: ignore[misc]
    for turns in (2, 3, 4, 6)
}

ENDLESS = sse(chunk("a"), *[pause(0.001), chunk("a")] * 5000, STALL)


async def read(client: AsyncParadigmClient, streams: bool) -> None:
    if streams:
        async for _ in client.stream("Hi", model=MODEL):
            pass
    else:
        await client.complete("Hi", model=MODEL)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[AsyncResponse]:
    """The responses that are read, one entry for each read that begins."""
    found: list[AsyncResponse] = []
    next_part = AsyncResponse.next_part

    async def noted(self: AsyncResponse) -> bytes | None:
        found.append(self)
        return await next_part(self)

    monkeypatch.setattr(AsyncResponse, "next_part", noted)
    return found


async def turn_until(is_true: Callable[[], object]) -> None:
    while not is_true():  # noqa: ASYNC110  # what it waits for has no event
        await asyncio.sleep(0.001)


async def nothing_is_left(client: AsyncParadigmClient, wire: WireServer) -> None:
    """The server has seen the connection close, and the client is as new."""
    assert await asyncio.to_thread(wire.requests[0].left.wait, 30)
    await asyncio.gather(*_closing)
    assert getattr(client._connections.pool(), "in_use", set()) == set()
    wire.always(reply(completion("b")))
    assert (await client.complete("Hi", model=MODEL)).text == "b"


async def collected(wire: WireServer) -> None:
    """Collect a generator that was cancelled between two pieces, which hangs on the traceback of its task."""
    for _ in range(100):
        gc.collect()
        if await asyncio.to_thread(wire.requests[0].left.wait, 0.05):
            break


CASES = [
    *((name, None) for name in CANCELS),
    *((name, library) for name in ("twice", "at every turn") for library in ("httpx", "httpx2")),
]
STAGES = {
    "head": [STALL],
    "body": [head(200, {"Content-Length": "100"}), b"{", STALL],
    "refusal": [head(400, {"Content-Length": "100"}), b"{", STALL],
    "text": sse(chunk("a"), STALL),
    "drain": sse(chunk("a", "stop"), event("[DONE]"), STALL, done=False),
}


@pytest.mark.parametrize(("cancel", "library"), CASES)
@pytest.mark.parametrize(
    ("at", "streams"), [*((at, True) for at in STAGES), *((at, False) for at in ("head", "body", "refusal"))]
)
def test_cancelled_call_ends_its_connection(
    run: Run,
    wire: WireServer,
    reads: list[AsyncResponse],
    at: str,
    streams: bool,
    cancel: str,
    library: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("paradigm_transport.http.responses.DRAIN_SECONDS", 60)
    wire.always(STAGES[at])

    async def main() -> None:
        borrowed = pytest.importorskip(library).AsyncClient() if library is not None else None
        client = AsyncParadigmClient(api_key=KEY, base_url=wire.url, http_async_client=borrowed)
        task = asyncio.create_task(read(client, streams))
        await asyncio.to_thread(wire.wait_for, 1)
        await turn_until(lambda: len(reads) >= (0 if at == "head" else 2))
        await asyncio.sleep(0.005)  # for it to wait for the server
        await CANCELS[cancel](task)
        with pytest.raises(asyncio.CancelledError):
            await task
        await nothing_is_left(client, wire)
        await client.aclose()
        if borrowed is not None:
            await borrowed.aclose()
        assert len(wire.requests) == 2

    run(main())


@pytest.mark.parametrize("turns", range(6))
def test_request_over_an_injected_client_is_cancelled_at_any_turn(run: Run, turns: int) -> None:
    responses: list[httpx.Response] = []

    async def body() -> AsyncIterator[bytes]:
        yield to_json(completion("a"))

    async def respond(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        responses.append(httpx.Response(200, content=body()))
        return responses[0]

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as borrowed:
            client = AsyncParadigmClient(api_key=KEY, base_url="https://host", http_async_client=borrowed)
            task = asyncio.create_task(client.complete("Hi", model=MODEL))
            for _ in range(turns):
                await asyncio.sleep(0)
            was_done = task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled() != was_done
            await asyncio.gather(*_closing)
            assert all(response.is_closed for response in responses)
            gc.collect()  # what was never awaited warns

    run(main())


async def connect(client: AsyncParadigmClient, connected: asyncio.Event, cancel: Cancel) -> None:
    task = asyncio.create_task(client.complete("Hi", model=MODEL))
    await connected.wait()
    await asyncio.sleep(0.005)
    await cancel(task)
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("cancel", CANCELS)
def test_call_cancelled_in_the_tls_handshake_ends_its_connection(run: Run, cancel: str) -> None:
    async def main() -> None:
        connected, left = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while await reader.read(1000):
                    connected.set()
            left.set()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = AsyncParadigmClient(api_key=KEY, base_url=url)
        await connect(client, connected, CANCELS[cancel])
        await asyncio.wait_for(left.wait(), 30)
        await client.aclose()
        server.close()

    run(main())


# Cancel scopes, which cancel again at every await


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "complete"])
@pytest.mark.parametrize("at", ["head", "body"])
def test_call_in_a_cancel_scope_ends_its_connection(
    run: Run, wire: WireServer, reads: list[AsyncResponse], at: str, streams: bool
) -> None:
    wire.always(STAGES[at])

    async def main() -> None:
        client = AsyncParadigmClient(api_key=KEY, base_url=wire.url)
        async with anyio.create_task_group() as group:
            group.start_soon(read, client, streams)
            await asyncio.to_thread(wire.wait_for, 1)
            await turn_until(lambda: len(reads) >= (0 if at == "head" else 2))
            group.cancel_scope.cancel()
        await nothing_is_left(client, wire)
        await client.aclose()

    run(main())


def test_stream_left_in_a_cancelled_scope_ends_its_connection(run: Run, wire: WireServer) -> None:
    """Every await of closing it is cancelled."""
    wire.always(STAGES["text"])

    async def main() -> None:
        client = AsyncParadigmClient(api_key=KEY, base_url=wire.url)
        with anyio.CancelScope() as scope:
            async with client.stream("Hi", model=MODEL) as stream:
                await stream.__anext__()
                scope.cancel()
        await nothing_is_left(client, wire)
        await client.aclose()

    run(main())


class SlowReply(AsyncReply):
    """A response that is closed when the test says so."""

    def __init__(self, status: int, parts: list[bytes]) -> None:
        super().__init__(status, parts)
        self.is_closing, self.may_close = asyncio.Event(), asyncio.Event()

    async def aclose(self) -> None:
        self.is_closing.set()
        await self.may_close.wait()
        self.is_closed = True


class SlowClient(AsyncClient):
    """A client that is written by hand: only its responses can close their connections."""

    async def send(self, request: Any, *, stream: bool) -> SlowReply:
        self.replies.append(SlowReply(self.status, self.answer()))
        return self.replies[-1]  # type: ignore[no-any-return]


def test_response_of_a_client_written_by_hand_is_closed_to_the_end_if_closing_is_cancelled(run: Run) -> None:
    async def main() -> None:
        by_hand = SlowClient(lambda: EVENTS)
        client = AsyncParadigmClient(api_key=KEY, base_url="https://host", http_async_client=by_hand)
        stream = client.stream("Hi", model=MODEL)
        await stream.__anext__()
        (response,) = by_hand.replies
        closing = asyncio.create_task(stream.aclose())
        await response.is_closing.wait()
        closing.cancel()
        with suppress(asyncio.CancelledError):
            await closing
        response.may_close.set()
        await asyncio.gather(*_closing)
        assert response.is_closed
        await client.aclose()

    run(main())


Texts = Callable[[AsyncParadigmClient], AsyncIterator[str]]


async def plain(client: AsyncParadigmClient) -> AsyncIterator[str]:
    async for piece in client.stream("Hi", model=MODEL):
        yield piece.text


async def closed(client: AsyncParadigmClient) -> AsyncIterator[str]:
    async with client.stream("Hi", model=MODEL) as stream:
        async for piece in stream:
            yield piece.text


async def nested(client: AsyncParadigmClient) -> AsyncIterator[str]:
    async def upper(texts: AsyncIterator[str]) -> AsyncIterator[str]:
        async for text in texts:
            yield text.upper()

    async for text in upper(upper(plain(client))):
        yield text


async def nested_and_closed(client: AsyncParadigmClient) -> AsyncIterator[str]:
    async with aclosing(closed(client)) as texts:
        async for text in texts:
            yield text.upper()


@pytest.mark.parametrize("texts", [plain, closed, nested, nested_and_closed])
@pytest.mark.parametrize("script", [STAGES["text"], ENDLESS], ids=["silent", "talking"])
def test_client_that_leaves_a_streaming_response_ends_the_stream(
    run: Run, wire: WireServer, texts: Texts, script: Script
) -> None:
    """Starlette, and so FastAPI, runs the generator in a cancel scope."""
    responses = pytest.importorskip("starlette.responses")
    wire.always(script)

    async def main() -> None:
        client = AsyncParadigmClient(api_key=KEY, base_url=wire.url)
        is_gone, has_text = asyncio.Event(), asyncio.Event()

        async def receive() -> dict[str, str]:
            await is_gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message.get("body"):
                has_text.set()
            await asyncio.sleep(0)

        scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}}
        serving = asyncio.create_task(responses.StreamingResponse(texts(client))(scope, receive, send))
        await asyncio.wait_for(has_text.wait(), 30)
        is_gone.set()
        await serving
        del serving  # with it goes the response, which holds the generator
        await collected(wire)
        await nothing_is_left(client, wire)
        await client.aclose()

    run(main())


@pytest.mark.parametrize("texts", [plain, nested_and_closed])
def test_browser_that_leaves_a_web_server_ends_the_stream(run: Run, wire: WireServer, texts: Texts) -> None:
    """The same over a socket, with uvicorn."""
    uvicorn, responses = pytest.importorskip("uvicorn"), pytest.importorskip("starlette.responses")
    wire.always(ENDLESS)

    async def main() -> None:
        client = AsyncParadigmClient(api_key=KEY, base_url=wire.url)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await responses.StreamingResponse(texts(client))(scope, receive, send)

        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve([listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        await reader.readuntil(b"\r\n1\r\n")  # the first text
        writer.close()
        await collected(wire)
        await nothing_is_left(client, wire)
        server.should_exit = True
        await serving
        await client.aclose()

    run(main())


def test_connections_close_although_the_loop_ends_at_once(wire: WireServer, reads: list[AsyncResponse]) -> None:
    """`asyncio.run` cancels the tasks that close them, too."""
    wire.always(STAGES["text"])

    async def main() -> None:
        client = AsyncParadigmClient(api_key=KEY, base_url=wire.url)
        tasks = [asyncio.create_task(read(client, True)) for _ in range(3)]
        await turn_until(lambda: len(reads) >= 6)
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()

    asyncio.run(main(), debug=True)
    for request in wire.requests:
        assert request.left.wait(30)
    assert not pool._open_pools
