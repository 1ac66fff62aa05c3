"""Pools of clients, sync and async: each client serves one request at a time, over one connection.

What a client is does not matter here, as long as it closes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

MAX_CONNECTIONS = 512
"""The most connections of one object. Further calls wait for one, without a time-out of their own."""

MAX_IDLE = 256
"""The most connections that wait for a request."""

KEEPALIVE_SECONDS = 30.0
"""How long a connection waits for a request."""


class _Pool:
    """Clients of one connection each. The one that was given back last is the first to serve again.

    An httpx client of many connections looks through all of them, several times, for each request: beside 64 idle
    ones a request took nearly 12 ms (benchmarks/README.md).
    """

    # Without a lock: clients come back from `__del__` too, which may run amid any of these methods in the same thread.

    def __init__(self) -> None:
        self._idle: deque[tuple[float, Any]] = deque()
        self._is_closed = False
        self.at_work: set[Any] = set()
        """The leases that have not ended."""

    def take(self, make: Callable[[], Any]) -> Any:
        """A client for one request; a new one where none is idle."""
        with suppress(IndexError):
            return self._idle.pop()[1]
        return make()

    def give(self, lease: Lease | AsyncLease) -> Iterator[Any]:
        """Take a client back; give those that are to be closed: too many, idle for too long, or too late."""
        now = time.monotonic()
        self._idle.append((now, lease.client))
        self.at_work.discard(lease)
        return self._surplus(now - KEEPALIVE_SECONDS)

    def _surplus(self, latest: float) -> Iterator[Any]:
        # One at a time: whoever is cancelled, or fails, between two leaves the others where they were.
        with suppress(IndexError):
            while self._is_closed or len(self._idle) > MAX_IDLE or self._idle[0][0] < latest:
                yield self._idle.popleft()[1]

    def take_all(self) -> Iterator[Any]:
        """All clients, also those at work, to be closed. The pool keeps none from now on."""
        self._is_closed = True
        yield from [lease.client for lease in list(self.at_work)]
        with suppress(IndexError):
            while True:
                yield self._idle.popleft()[1]


class SyncPool(_Pool):
    """The clients of one process; its threads share them."""

    def __init__(self) -> None:
        super().__init__()
        self.free: SimpleQueue[None] = SimpleQueue()  # a semaphore, but one that `__del__` may release
        for _ in range(MAX_CONNECTIONS):
            self.free.put(None)

    def lease(self, make: Callable[[], Any]) -> Lease:
        """Wait for leave to connect; then take a client."""
        self.free.get()
        try:
            lease = Lease(self.take(make), self)
        except BaseException:
            self.free.put(None)
            raise
        self.at_work.add(lease)
        return lease

    def close(self) -> None:
        """Close the clients, also those at work; whoever reads an answer is woken."""
        for lease in list(self.at_work):
            lease.shut_down()
        for client in self.take_all():
            client.close()


class AsyncPool(_Pool):
    """The clients of one event loop. They close with it, or with the object that owns them.

    An event loop, before it closes, sees to it that the `finally` of an asynchronous generator runs on it.
    Nothing else runs there in time. The generator has to be kept until then: one that is collected is closed by a
    task, and a task that is cancelled before it began, as at the end of `asyncio.run`, leaves it half closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Semaphore(MAX_CONNECTIONS)
        self._closing = asyncio.Lock()
        self._lifetime = self._live()

    async def lease(self, make: Callable[[], Any]) -> AsyncLease:
        """As `SyncPool.lease`."""
        await self.free.acquire()
        try:
            lease = AsyncLease(self.take(make), self)
        except BaseException:
            self.free.release()
            raise
        self.at_work.add(lease)
        return lease

    async def bind(self) -> None:
        """Have the running event loop close this pool at its end."""
        await anext(self._lifetime)

    async def aclose(self) -> None:
        """As `SyncPool.close`."""
        await self._close_clients()
        with suppress(RuntimeError):  # the loop is at its end, has begun the same, and waited for the clients
            await self._lifetime.aclose()

    def forget(self) -> None:
        """The event loop is closed: nobody can close anything on it any more."""
        _open.discard(self)

    async def _live(self) -> AsyncGenerator[None, None]:
        loop = asyncio.get_running_loop()
        _open.add(self)
        try:
            yield
        finally:
            if _is_running(loop):  # or the garbage collector is here, for nobody saw to it: nest_asyncio's loops
                await self._close_clients()
            _open.discard(self)

    async def _close_clients(self) -> None:
        async with self._closing:
            for client in self.take_all():
                await client.aclose()


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    with suppress(RuntimeError):  # none runs
        return asyncio.get_running_loop() is loop
    return False


_open: set[AsyncPool] = set()


class _AnyLease:
    """The use of a client for one request; one that was passed in has no pool.

    Args:
        client: the client.
        pool: where it came from.
    """

    def __init__(self, client: Any, pool: Any = None) -> None:
        self.client = client
        self.ended = False
        self.shut_down: Callable[[], None] = _nothing
        """Ends a read under way, which closing alone does not do in threads."""
        self._pool = pool


class Lease(_AnyLease):
    """The use of a client in a thread."""

    def end(self) -> None:
        """Give the client back, once."""
        pool = None if self.ended else self._pool
        self.ended = True
        if pool is not None:
            surplus = pool.give(self)
            pool.free.put(None)
            for client in surplus:
                client.close()


class AsyncLease(_AnyLease):
    """The use of a client on an event loop."""

    async def end(self) -> None:
        """Give the client back, once."""
        pool = None if self.ended else self._pool
        self.ended = True
        if pool is not None:
            surplus = pool.give(self)
            pool.free.release()
            for client in surplus:
                await client.aclose()


def _nothing() -> None:
    pass
