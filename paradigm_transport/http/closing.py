"""Closing connections: from other threads, and on an event loop whatever happens to the caller."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar, runtime_checkable

from paradigm_transport.http.protocols import NetworkStream
from paradigm_transport.http.scopes import CallScope

T = TypeVar("T")

_closing: set[asyncio.Future[None]] = set()


@runtime_checkable
class Closable(Protocol):
    """A connection of a thread."""

    def close(self) -> None:
        """Close it."""


@runtime_checkable
class AsyncClosable(Protocol):
    """A connection of an event loop."""

    async def aclose(self) -> None:
        """Close it."""


def close_stream(stream: object) -> None:
    """Close a connection; do nothing if it is None."""
    if isinstance(stream, Closable):
        stream.close()


async def aclose_stream(stream: object) -> None:
    """As `close_stream`."""
    if isinstance(stream, AsyncClosable):
        await stream.aclose()


def shut_down(stream: object) -> None:
    """Shut down the socket of a connection, which wakes the thread that waits for it.

    Closing alone does not wake the thread, nor does it reach the server while a fork has the socket too.

    Args:
        stream: a `NetworkStream`; nothing happens if it is anything else.
    """
    connection = stream.get_extra_info("socket") if isinstance(stream, NetworkStream) else None
    if isinstance(connection, socket.socket):
        with suppress(OSError):  # it is closed already
            # Not SSLSocket's own method, which ends TLS first: what a thread is about to send would go unencrypted.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


def close_on_loop(loop: asyncio.AbstractEventLoop, aclose: Callable[[], Awaitable[None]]) -> None:
    """Close something on its event loop, from any thread; nothing happens if the loop is closed.

    Args:
        loop: the event loop.
        aclose: closes it.
    """
    with suppress(RuntimeError):  # the loop is closed, perhaps by another thread just now
        loop.call_soon_threadsafe(start_closing, aclose)


def start_closing(aclose: Callable[[], Awaitable[None]]) -> asyncio.Future[None]:
    """Close something in a task of the running event loop.

    Args:
        aclose: closes it.

    Returns:
        The task. It is kept until it is done, and need not be awaited.
    """
    task = asyncio.ensure_future(aclose())
    _keep(task)
    return task


async def finish_closing(aclose: Callable[[], Awaitable[None]]) -> None:
    """Close something to the end, however often the caller is cancelled.

    Cancelled in the middle of closing a connection, httpcore 1.0 marks it as closed and leaves it open.

    Args:
        aclose: closes it, in a task that cancellations of the caller do not reach.
    """
    await asyncio.shield(start_closing(aclose))


async def cancel_once(begin: Callable[[], Awaitable[T]], scope: CallScope, undo: Callable[[T], Awaitable[None]]) -> T:
    """Await something that is cancelled once, however often the caller is; how it then ends is not waited for.

    Args:
        begin: returns what is awaited, in a task.
        scope: the scope of the call, whose end cancels it, too.
        undo: takes back its result if it was cancelled in the meantime.

    Raises:
        APIConnectionError: the calls of the scope have ended.
    """
    outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(_settle(begin, outcome, undo))

    def end() -> None:
        if not outcome.done() and (error := scope.error) is not None:
            outcome.set_exception(error)

    scope.add(end)
    try:
        return await outcome  # rather than the task: that would take another turn of the event loop
    except asyncio.CancelledError:
        if not outcome.cancelled():  # it came in the turn of the cancellation
            start_closing(partial(_undo, outcome, undo))
        raise
    finally:
        scope.discard(end)
        if not task.done():
            task.cancel()
            _keep(task)


async def _settle(
    begin: Callable[[], Awaitable[T]], outcome: asyncio.Future[T], undo: Callable[[T], Awaitable[None]]
) -> None:
    try:
        result = await begin()
    except asyncio.CancelledError:
        outcome.cancel()
    except BaseException as error:  # noqa: BLE001  # the caller raises it
        if not outcome.done():
            outcome.set_exception(error)
    else:
        if outcome.done():
            await undo(result)
        else:
            outcome.set_result(result)
    finally:
        del outcome  # it holds an error, which holds this frame


async def _undo(outcome: asyncio.Future[T], undo: Callable[[T], Awaitable[None]]) -> None:
    await undo(await outcome)


def _keep(task: asyncio.Future[None]) -> None:
    """Keep a task until it is done: its event loop has only weak references."""
    _closing.add(task)
    task.add_done_callback(_closed)


def _closed(task: asyncio.Future[None]) -> None:
    _closing.discard(task)
    if not task.cancelled():
        task.exception()  # retrieved, or asyncio would report it
