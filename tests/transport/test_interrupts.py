"""An interrupt inside the HTTP library throws the client away: it may be broken, and a later call would hang."""

from __future__ import annotations

import asyncio
import linecache
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import httpcore
import httpx
import pytest

from paradigm_transport import AsyncParadigmClient, InvalidParameterError, ParadigmClient
from paradigm_transport.http import pool
from paradigm_transport.http.closing import _closing
from tests.transport.conftest import KEY, MODEL
from tests.wire import Request, Script, WireServer, chunk, completion, reply, sse, texts

pytestmark = [
    pytest.mark.usefixtures("collected"),
    # Python reports, and drops, what is raised while a generator is thrown away, an interrupt, too.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <(async_)?generator:pytest.PytestUnraisableExceptionWarning"
    ),
]

LIBRARIES = tuple(str(Path(module.__file__ or "").parent) for module in (httpx, httpcore))


class Interrupt(BaseException):
    """As a `KeyboardInterrupt`, but no test runner stops at it."""


class Tracer:
    """Interrupts at one line of the HTTP library, counted from the start; where, is noted."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.place = ""

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._call)

    def __exit__(self, *exc_info: object) -> None:
        sys.settrace(self._before)

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(LIBRARIES) else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        name = frame.f_code.co_filename
        # Interrupted in leaving its lock, httpcore hangs in that very call, which nobody else can help.
        leaves_lock = "_synchronization" in name or "_lock:" in linecache.getline(name, frame.f_lineno)
        if event == "line" and not self.place and not leaves_lock:
            self.left -= 1
            if self.left < 0:
                self.place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise Interrupt
        return self._line


def answer(request: Request) -> Script:
    return sse(chunk("a", "stop")) if request.body.get("stream") else reply(completion("a"))


def read(client: ParadigmClient, streams: bool) -> str:
    return texts(client.stream("Hi", model=MODEL)) if streams else client.complete("Hi", model=MODEL).text


async def aread(client: AsyncParadigmClient, streams: bool) -> str:
    if streams:
        return "".join([piece.text async for piece in client.stream("Hi", model=MODEL)])
    return (await client.complete("Hi", model=MODEL)).text


LINES = range(0, 2000, 23)
"""Of about 1,900 lines of httpx and httpcore that run in a call over an open connection."""


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "complete"])
def test_client_works_after_an_interrupt_at_any_line(wire: WireServer, streams: bool) -> None:
    wire.always(answer)
    for line in LINES:
        tracer = Tracer(line)
        with ParadigmClient(api_key=KEY, base_url=wire.url, timeout=20) as client:
            client.complete("Hi", model=MODEL)
            with suppress(Interrupt), tracer:
                read(client, streams)
            first = wire.requests[-1] if tracer.place else None
            assert read(client, streams) == "a", tracer.place
            slots = client._connections.pool().slots
            assert len(slots._free) == pool.MAX_CONNECTIONS, tracer.place
        assert first is None or first.left.wait(30), tracer.place


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "complete"])
def test_async_client_works_after_an_interrupt_at_any_line(wire: WireServer, streams: bool) -> None:
    wire.always(answer)

    async def main(line: int) -> None:
        tracer = Tracer(line)
        async with AsyncParadigmClient(api_key=KEY, base_url=wire.url, timeout=20) as client:
            await client.complete("Hi", model=MODEL)
            with suppress(Interrupt), tracer:
                await aread(client, streams)
            assert await aread(client, streams) == "a", tracer.place
            await asyncio.gather(*_closing)
            slots = client._connections.pool().slots
            assert slots._free._value == pool.MAX_CONNECTIONS, tracer.place

    for line in LINES:
        asyncio.run(main(line))
    for request in wire.requests:
        assert request.left.wait(30)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # what connects belongs to nobody yet
@pytest.mark.parametrize("streams", [True, False], ids=["stream", "complete"])
def test_client_works_after_an_interrupt_while_connecting(wire: WireServer, streams: bool) -> None:
    wire.always(answer)
    for line in LINES:
        tracer = Tracer(line)
        with ParadigmClient(api_key=KEY, base_url=wire.url, timeout=20) as client:
            with suppress(Interrupt), tracer:
                read(client, streams)
            assert read(client, streams) == "a", tracer.place


class Locking:
    """A client as one whose lock an interrupt left closed: it hangs if it is touched again."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.build_request = client.build_request

    def send(self, request: httpx.Request, *, stream: bool) -> httpx.Response:
        self.__dict__ |= {"send": self._hang, "close": self._hang}
        response = self._client.send(request, stream=stream)
        response.close = self._hang  # type: ignore[method-assign]
        response.iter_bytes = self._interrupted  # type: ignore[method-assign]
        return response

    def _interrupted(self) -> Iterator[bytes]:
        raise Interrupt
        yield b""

    def _hang(self, *_: Any, **__: Any) -> Any:
        pytest.fail("it hangs for ever")


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "complete"])
def test_interrupted_client_is_not_touched_again(
    wire: WireServer, streams: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.always(answer)
    client = ParadigmClient(api_key=KEY, base_url=wire.url)
    make, kinds = client._connections._factory.make, iter([Locking, lambda made: made])
    monkeypatch.setattr(client._connections._factory, "make", lambda kind: next(kinds)(make(kind)))
    with pytest.raises(Interrupt):
        read(client, streams)
    assert wire.requests[0].left.wait(30)
    assert read(client, streams) == "a"
    client.close()


# Without asyncio


@pytest.mark.parametrize("use", ["complete", "stream", "aclose"])
@pytest.mark.parametrize("is_borrowed", [True, False], ids=["injected", "own"])
def test_event_loops_other_than_asyncio_are_reported(use: str, is_borrowed: bool) -> None:
    """As trio would drive it: without an event loop of asyncio."""
    borrowed = httpx.AsyncClient() if is_borrowed else None
    client = AsyncParadigmClient(api_key=KEY, base_url="http://127.0.0.1:1", http_async_client=borrowed)
    coroutine: Any = {
        "complete": lambda: client.complete("Hi", model=MODEL),
        "stream": lambda: client.stream("Hi", model=MODEL).__anext__(),
        "aclose": client.aclose,
    }[use]()
    with pytest.raises(InvalidParameterError, match=r"AsyncParadigmClient needs .* asyncio .*trio is not supported"):
        coroutine.send(None)
    if borrowed is not None:
        asyncio.run(borrowed.aclose())
