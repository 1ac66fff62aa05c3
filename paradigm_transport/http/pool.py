"""Connection pools, sync and async: each client in them holds one connection and serves one request at a time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, TypeVar

from paradigm_transport.http.protocols import AsyncHTTPClient, HTTPClient

MAX_CONNECTIONS = 512
"""The most connections per object. Further calls wait for a free one, without a time-out."""

MAX_IDLE = 256
"""The most idle connections that are kept."""

KEEPALIVE_SECONDS = 30.0
"""How long an idle connection is kept."""

Client = TypeVar("Client")


class _Pool(Generic[Client]):
    """Clients of one connection each. The one that was released last serves next.

    An httpx client of many connections scans all of them, several times, for each request: beside 64 idle ones a
    request took nearly 12 ms (benchmarks/README.md).
    """

    # There is no lock: `__del__` releases clients too, and may run in the middle of any of these methods in the
    # same thread.

    def __init__(self) -> None:
        self._idle: deque[tuple[float, Client]] = deque()
        self._is_closed = False
        self.in_use: set[_Lease[Client]] = set()
        """The leases that are not released."""

    def _check_out(self, make: Callable[[], Client]) -> Client:
        with suppress(IndexError):
            return self._idle.pop()[1]
        return make()

    def _check_in(self, lease: _Lease[Client]) -> Iterator[Client]:
        """Take a client back; return those to close: too many, idle for too long, or back after the pool closed."""
        now = time.monotonic()
        self._idle.append((now, lease.client))
        self.in_use.discard(lease)
        return self._surplus(now - KEEPALIVE_SECONDS)

    def _surplus(self, oldest: float) -> Iterator[Client]:
        # One at a time: a caller that is cancelled, or fails, between two leaves the rest in the pool.
        with suppress(IndexError):
            while self._is_closed or len(self._idle) > MAX_IDLE or self._idle[0][0] < oldest:
                yield self._idle.popleft()[1]

    def _remove_all(self) -> Iterator[Client]:
        """Close the pool: return all clients, also those in use, and keep none from now on."""
        self._is_closed = True
        yield from [lease.client for lease in list(self.in_use)]
        with suppress(IndexError):
            while True:
                yield self._idle.popleft()[1]


class SyncPool(_Pool[HTTPClient]):
    """The clients of one process, shared by its threads."""

    def __init__(self) -> None:
        super().__init__()
        self.slots: SimpleQueue[None] = SimpleQueue()  # a semaphore, but one that `__del__` may release
        for _ in range(MAX_CONNECTIONS):
            self.slots.put(None)

    def acquire(self, make: Callable[[], HTTPClient]) -> Lease:
        """Wait for a free slot, then check out a client.

        Args:
            make: makes a client if none is idle.
        """
        self.slots.get()
        try:
            lease = Lease(self._check_out(make), self)
        except BaseException:
            self.slots.put(None)
            raise
        self.in_use.add(lease)
        return lease

    def release(self, lease: Lease) -> None:
        """Take a client back and free its slot."""
        surplus = self._check_in(lease)
        self.slots.put(None)
        for client in surplus:
            client.close()

    def close(self) -> None:
        """Close the clients, also those in use; threads that wait for a response are woken."""
        for lease in list(self.in_use):
            lease.shut_down()
        for client in self._remove_all():
            client.close()


class AsyncPool(_Pool[AsyncHTTPClient]):
    """The clients of one event loop. They close with it, or with the object that owns them.

    Before an event loop closes, it runs the `finally` of each asynchronous generator that was started on it; no
    other hook runs in time. The generator is kept until then: one that is garbage collected is closed by a task,
    and a task that is cancelled before it starts, as at the end of `asyncio.run`, leaves it half closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._closing = asyncio.Lock()
        self._lifetime = self._live()

    async def acquire(self, make: Callable[[], AsyncHTTPClient]) -> AsyncLease:
        """As `SyncPool.acquire`."""
        await self.slots.acquire()
        try:
            lease = AsyncLease(self._check_out(make), self)
        except BaseException:
            self.slots.release()
            raise
        self.in_use.add(lease)
        return lease

    async def release(self, lease: AsyncLease) -> None:
        """As `SyncPool.release`."""
        surplus = self._check_in(lease)
        self.slots.release()
        for client in surplus:
            await client.aclose()

    async def bind(self) -> None:
        """Have the running event loop close this pool at its end."""
        await anext(self._lifetime)

    async def aclose(self) -> None:
        """As `SyncPool.close`."""
        await self._close_clients()
        with suppress(RuntimeError):  # the loop is ending, and has already begun to close the generator
            await self._lifetime.aclose()

    def forget(self) -> None:
        """Give up the clients: their event loop is closed, so nothing can close them any more."""
        _open_pools.discard(self)

    async def _live(self) -> AsyncGenerator[None, None]:
        loop = asyncio.get_running_loop()
        _open_pools.add(self)
        try:
            yield
        finally:
            if _is_running(loop):  # otherwise the garbage collector closes the generator, as with nest_asyncio's loops
                await self._close_clients()
            _open_pools.discard(self)

    async def _close_clients(self) -> None:
        async with self._closing:
            for client in self._remove_all():
                await client.aclose()


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    with suppress(RuntimeError):  # no loop is running
        return asyncio.get_running_loop() is loop
    return False


_open_pools: set[AsyncPool] = set()


class _Lease(Generic[Client]):
    """The use of a client for one request.

    Args:
        client: the client.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.is_released = False
        self.shut_down: Callable[[], None] = _nothing
        """Ends a read in progress; closing the client does not, in another thread."""


class Lease(_Lease[HTTPClient]):
    """The use of a client in a thread; a client that was passed in has no pool."""

    def __init__(self, client: HTTPClient, pool: SyncPool | None = None) -> None:
        super().__init__(client)
        self._pool = pool

    def release(self) -> None:
        """Return the client to its pool; once, further calls do nothing."""
        pool = None if self.is_released else self._pool
        self.is_released = True
        if pool is not None:
            pool.release(self)


class AsyncLease(_Lease[AsyncHTTPClient]):
    """As `Lease`, on an event loop."""

    def __init__(self, client: AsyncHTTPClient, pool: AsyncPool | None = None) -> None:
        super().__init__(client)
        self._pool = pool

    async def release(self) -> None:
        """As `Lease.release`."""
        pool = None if self.is_released else self._pool
        self.is_released = True
        if pool is not None:
            await pool.release(self)


def _nothing() -> None:
    pass
