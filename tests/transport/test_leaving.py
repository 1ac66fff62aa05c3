"""Leaving a call or a stream before its end makes the server stop, and leaves nothing open."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from paradigm_transport import AsyncParadigmClient, ParadigmClient
from tests.transport.conftest import KEY, MODEL, Api
from tests.wire import STALL, WireServer, chunk, completion, event, pause, reply, sse, texts, to_json

pytestmark = pytest.mark.usefixtures("collected")

WAITING = [[pause(0.2), *sse(chunk("a"), STALL)], sse(STALL), sse(chunk("a"), STALL)]
ENDLESS = sse(chunk("a"), *[pause(0.001), chunk("b")] * 5000, STALL)


def by_close(chunks: Any) -> None:
    chunks.close()


def by_with(chunks: Any) -> None:
    with chunks:
        pass


def by_with_and_error(chunks: Any) -> None:
    with suppress(ZeroDivisionError), chunks:
        raise ZeroDivisionError


def by_dropping(_: Any) -> None:
    """As `break` does if the loop has the only reference."""


@pytest.mark.parametrize("leave", [by_close, by_with, by_with_and_error, by_dropping])
@pytest.mark.parametrize("script", [sse(chunk("a"), STALL), ENDLESS], ids=["silent", "talking"])
def test_leaving_a_stream_ends_its_connection(
    api: Api, wire: WireServer, leave: Callable[[Any], None], script: list[Any]
) -> None:
    wire.script(script, sse(chunk("c", "stop")))
    client = api.client(wire)
    chunks = client.stream("Hi", model=MODEL)
    assert next(chunks).text == "a"
    leave(chunks)
    del chunks
    api.turn()
    assert wire.requests[0].left.wait(30)
    assert texts(client.stream("Hi", model=MODEL)) == "c"
    assert wire.connections == 2
    assert api.slept == []


def test_stream_in_a_reference_cycle_closes_when_collected(api: Api, wire: WireServer) -> None:
    wire.script(sse(chunk("a"), STALL))
    chunks = api.client(wire).stream("Hi", model=MODEL)
    next(chunks)
    cycle: list[Any] = [chunks]
    cycle.append(cycle)
    del chunks, cycle
    gc.collect()
    api.turn()
    assert wire.requests[0].left.wait(30)


def test_stream_goes_on_after_its_client_is_dropped(api: Api, wire: WireServer) -> None:
    wire.script(sse(chunk("a"), chunk("b", "stop")))
    client = api.client(wire)
    api.made.clear()
    chunks = client.stream("Hi", model=MODEL)
    next(chunks)
    del client
    gc.collect()
    assert texts(chunks) == "b"


@pytest.mark.parametrize("script", WAITING, ids=["asked", "open", "reading"])
def test_closing_a_stream_ends_the_thread_that_reads_it(wire: WireServer, script: list[Any]) -> None:
    wire.script(script)
    with ParadigmClient(api_key=KEY, base_url=wire.url) as client:
        chunks = client.stream("Hi", model=MODEL)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(texts, chunks)
            assert wire.wait_for(1)
            time.sleep(0.05)
            chunks.close()
            assert reading.result(30) in ("", "a")
        assert wire.requests[0].left.wait(30)
    assert len(wire.requests) == 1


@pytest.mark.parametrize("script", WAITING, ids=["asked", "open", "reading"])
def test_closing_a_stream_ends_the_task_that_reads_it(wire: WireServer, script: list[Any]) -> None:
    wire.script(script)

    async def main() -> str:
        client = AsyncParadigmClient(api_key=KEY, base_url=wire.url)
        chunks = client.stream("Hi", model=MODEL)

        async def read() -> str:
            return "".join([chunk.text async for chunk in chunks])

        task = asyncio.create_task(read())
        await asyncio.to_thread(wire.wait_for, 1)
        await asyncio.sleep(0.05)
        await chunks.aclose()
        text = await asyncio.wait_for(task, 30)
        assert await asyncio.to_thread(wire.requests[0].left.wait, 30)
        return text

    assert asyncio.run(main(), debug=True) in ("", "a")
    assert len(wire.requests) == 1


def test_closing_a_client_ends_its_streams(api: Api, wire: WireServer) -> None:
    wire.script(sse(chunk("a"), STALL))
    client = api.client(wire)
    chunks = client.stream("Hi", model=MODEL)
    next(chunks)
    client.close()
    assert wire.requests[0].left.wait(30)
    chunks.close()


def test_dropped_client_closes_its_connections(api: Api, wire: WireServer) -> None:
    wire.script(reply(completion("a")))
    client = api.client(wire)
    api.made.clear()
    client.complete("Hi", model=MODEL)
    assert not wire.requests[0].left.is_set()
    del client
    gc.collect()
    api.turn()
    assert wire.requests[0].left.wait(30)


@pytest.mark.parametrize("at", ["head", "body", "text", "backoff", "drain"])
@pytest.mark.parametrize("streams", [True, False])
def test_cancelled_task_ends_its_connection_at_once(wire: WireServer, at: str, streams: bool) -> None:
    script: Any = {
        "head": [STALL],
        "body": [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", STALL],
        "text": sse(chunk("a"), STALL),
        "backoff": reply({"detail": "no"}, 503),
        "drain": sse(chunk("a", "stop"), event("[DONE]"), STALL, done=False),
    }[at]
    wire.always(script)
    sleeping = asyncio.Event()

    async def sleep(_: float) -> None:
        sleeping.set()
        await asyncio.Event().wait()

    async def call(client: AsyncParadigmClient) -> None:
        if streams:
            async for _ in client.stream("Hi", model=MODEL):
                pass
        else:
            await client.complete("Hi", model=MODEL)

    async def main() -> None:
        noise: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
        async with AsyncParadigmClient(api_key=KEY, base_url=wire.url, sleep=sleep) as client:
            task = asyncio.create_task(call(client))
            await asyncio.to_thread(wire.wait_for, 1)
            await asyncio.wait_for(sleeping.wait(), 30) if at == "backoff" else await asyncio.sleep(0.05)
            task.cancel()
            begin = time.perf_counter()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.perf_counter() - begin < 5
            left = await asyncio.to_thread(wire.requests[0].left.wait, 0 if at == "backoff" else 5)
            assert left == (at != "backoff")
        assert noise == []
        assert len(wire.requests) == 1

    asyncio.run(main(), debug=True)


@pytest.mark.parametrize("by", ["timeout", "group"])
def test_timeouts_and_task_groups_cancel_a_stream(wire: WireServer, by: str) -> None:
    anyio = pytest.importorskip("anyio")
    wire.always(sse(chunk("a"), STALL))

    async def main() -> None:
        chunks = AsyncParadigmClient(api_key=KEY, base_url=wire.url).stream("Hi", model=MODEL)
        await chunks.__anext__()
        if by == "timeout":
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(chunks.__anext__(), 0.05)
        else:
            async with anyio.create_task_group() as group:
                group.start_soon(chunks.__anext__)
                await anyio.sleep(0.05)
                group.cancel_scope.cancel()
        assert await asyncio.to_thread(wire.requests[0].left.wait, 30)

    asyncio.run(main(), debug=True)


def test_stream_dropped_as_its_loop_ends_closes_its_connection(wire: WireServer) -> None:
    wire.always(sse(chunk("a"), STALL))
    client = AsyncParadigmClient(api_key=KEY, base_url=wire.url)

    async def main() -> None:
        async for _ in client.stream("Hi", model=MODEL):
            break

    asyncio.run(main(), debug=True)
    assert wire.requests[0].left.wait(30)


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Restore the handler: a process that was started in the background ignores interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_keyboard_interrupt_ends_a_stream(wire: WireServer) -> None:
    wire.script(sse(chunk("a"), STALL))
    client = ParadigmClient(api_key=KEY, base_url=wire.url)
    chunks = client.stream("Hi", model=MODEL)
    next(chunks)
    timer = threading.Timer(0.05, signal.pthread_kill, [threading.get_ident(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        next(chunks)
    timer.join()
    assert wire.requests[0].left.wait(30)
    assert list(chunks) == []
    client.close()


def test_interrupted_backoff_ends_a_stream(api: Api, wire: WireServer) -> None:
    wire.always(reply({"detail": "no"}, 503))
    client = api.client(wire)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    async def cancel(_: float) -> None:
        raise asyncio.CancelledError

    if api.is_async:
        client.real._sleep = cancel
    else:
        client._sleep = interrupt
    chunks = client.stream("Hi", model=MODEL)
    with pytest.raises((KeyboardInterrupt, asyncio.CancelledError)):
        next(chunks)
    assert list(chunks) == []
    assert len(wire.requests) == 1


# Each in its own process, which cleans nothing up.

PROGRAMS = {
    "break, then the end of the program": """
        for piece in client.stream("Hi", model="m"):
            break
    """,
    "a stream that is kept to the end of the program": """
        stream = client.stream("Hi", model="m")
        next(stream)
    """,
    "a client that is never closed": """
        client.models()
    """,
    "an exception in the loop": """
        try:
            for piece in client.stream("Hi", model="m"):
                raise ValueError
        except ValueError:
            pass
    """,
    "three loops, without closing the client": """
        async def main():
            await aclient.models()
            async for piece in aclient.stream("Hi", model="m"):
                break
        for _ in range(3):
            asyncio.run(main(), debug=True)
    """,
    "a stream that is kept beyond its loop": """
        async def main():
            global kept
            kept = aclient.stream("Hi", model="m")
            await kept.__anext__()
        asyncio.run(main(), debug=True)
        del kept
    """,
    "a task that is cancelled by the end of its loop": """
        async def read(reading):
            async for piece in aclient.stream("Hi", model="m"):
                reading.set()
        async def main():
            reading = asyncio.Event()
            asyncio.create_task(read(reading)).set_name("reader")
            await reading.wait()
        asyncio.run(main(), debug=True)
    """,
    "a stream dropped while others read": """
        async def read():
            async for piece in aclient.stream("Hi", model="m"):
                break
            await asyncio.sleep(0.02)
            gc.collect()
        async def main():
            await asyncio.gather(*(read() for _ in range(5)))
        asyncio.run(main(), debug=True)
    """,
    "a client that is dropped while its loop runs": """
        async def main():
            global aclient
            await aclient.models()
            del aclient
            gc.collect()
            await asyncio.sleep(0.02)
        asyncio.run(main(), debug=True)
    """,
    "a client of several connections that is dropped as its loop ends": """
        del aclient
        async def main():
            client = AsyncParadigmClient(api_key="k", base_url=client_url)
            await asyncio.gather(*(client.models() for _ in range(5)))
        asyncio.run(main(), debug=True)
    """,
    "an async client that is never used": """
        del aclient
        gc.collect()
    """,
    "a fork with connections open": """
        client.models()
        asyncio.run(aclient.models(), debug=True)
        pid = os.fork()
        client.models()
        asyncio.run(aclient.models(), debug=True)
        if not pid:
            os._exit(0)  # as workers do; a full exit would warn of the connections it inherited
        assert os.waitpid(pid, 0)[1] == 0
    """,
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_program_leaves_nothing_open_and_prints_nothing(wire: WireServer, program: str) -> None:
    first = sse(chunk("a"), STALL)
    wire.always(lambda request: first if request.body else reply({"data": []}))
    code = f"""
import asyncio, gc, os, warnings
if hasattr(os, "fork"):  # a warning of newer Pythons, about threads that this program does not have
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
from paradigm_transport import AsyncParadigmClient, ParadigmClient
client = ParadigmClient(api_key="{KEY}", base_url="{wire.url}")
aclient = AsyncParadigmClient(api_key="{KEY}", base_url="{wire.url}")
client_url = "{wire.url}"
{textwrap.dedent(program)}
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # On a slow machine asyncio reports slow callbacks; these are not our output.
    printed = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, done.stdout, printed) == (0, "", [])
    for request in wire.requests:
        assert request.left.wait(30)


def test_stop_found_by_the_client_ends_a_stream_without_a_drain(
    api: Api, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server would go on generating, so there is nothing to drain."""
    monkeypatch.setattr("paradigm_transport.http.responses.DRAIN_SECONDS", 30)
    wire.script(sse(event(to_json(chunk("a END"))), STALL))
    begin = time.perf_counter()
    assert texts(api.client(wire).stream("Hi", model=MODEL, stop="END")) == "a "
    assert time.perf_counter() - begin < 10
