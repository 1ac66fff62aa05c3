"""Connection pools, sync and async: each client in them holds one connection and serves one request at a time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

from paradigm_transport.http.closing import aclose_stream, close_stream, finish_closing
from paradigm_transport.http.leases import AsyncLease, Lease
from paradigm_transport.http.protocols import AsyncHTTPClient, HTTPClient
from paradigm_transport.http.scopes import CallScope
from paradigm_transport.http.slots import AsyncSlots, Slots

MAX_CONNECTIONS = 512
"""The most connections per object. Further calls wait for a free one, without a time-out."""

MAX_IDLE = 256
"""The most idle connections that are kept."""

KEEPALIVE_SECONDS = 30.0
"""How long an idle connection is kept."""

CLOSED = "The client was closed before the call had ended."

Client = TypeVar("Client")


class _Pool(Generic[Client]):
    """Clients of one connection each. The one that was released last serves next.

    An httpx client of many connections scans all of them, several times, for each request: beside 64 idle ones a
    request took nearly 12 ms (benchmarks/README.md).

    Args:
        make: makes a client if none is idle.

    Attributes:
        scope: the calls of this pool; they end when it closes.
    """

    is_borrowed = False

    # There is no lock: `__del__` releases clients too, and may run in the middle of any of these methods in the
    # same thread.

    def __init__(self, make: Callable[[], Client]) -> None:
        self._make = make
        self._idle: deque[tuple[float, Client, object]] = deque()
        self._is_closed = False
        self.scope = CallScope(CLOSED)

    def _check_out(self) -> tuple[Client, object]:
        """Return a client, and the network stream that it has or had."""
        with suppress(IndexError):
            return self._idle.pop()[1:]
        return self._make(), None

    def _check_in(self, client: Client, network_stream: object) -> Iterator[Client]:
        """Take a client back; return those to close: too many, idle for too long, or back after the pool closed."""
        now = time.monotonic()
        self._idle.append((now, client, network_stream))
        return self._surplus(now - KEEPALIVE_SECONDS)

    def _surplus(self, oldest: float) -> Iterator[Client]:
        # One at a time: a caller that is cancelled, or fails, between two leaves the rest in the pool.
        with suppress(IndexError):
            while self._is_closed or len(self._idle) > MAX_IDLE or self._idle[0][0] < oldest:
                yield self._idle.popleft()[1]

    def _remove_idle(self) -> Iterator[Client]:
        """Return all idle clients, and keep none from now on."""
        self._is_closed = True
        with suppress(IndexError):
            while True:
                yield self._idle.popleft()[1]


class SyncPool(_Pool[HTTPClient]):
    """The clients of one process, shared by its threads."""

    def __init__(self, make: Callable[[], HTTPClient]) -> None:
        super().__init__(make)
        self.slots = Slots(MAX_CONNECTIONS)
        self.in_use: set[Lease] = set()
        """The leases whose clients are neither back in the pool nor closed."""

    def acquire(self, scope: CallScope) -> Lease:
        """Wait for a free slot, then check out a client.

        Args:
            scope: the scope of the call.

        Raises:
            APIConnectionError: the calls of the scope have ended.
        """
        self.slots.acquire(scope)
        try:
            client, network_stream = self._check_out()
            lease = Lease(client, scope, self, network_stream)
        except BaseException:
            self.slots.release()
            raise
        self.in_use.add(lease)
        return lease

    def release(self, lease: Lease) -> None:
        """Take a client back and free its slot."""
        surplus = self._check_in(lease.client, lease.network_stream)
        self.in_use.discard(lease)
        self.slots.release()
        for client in surplus:
            client.close()

    def discard(self, lease: Lease) -> None:
        """Close a client that is not to be used again, and free its slot."""
        self.disconnect(lease)
        self.in_use.discard(lease)
        self.slots.release()

    def disconnect(self, lease: Lease) -> None:
        """Close the connection of a lease."""
        # Not the client: an interrupt may have left its locks closed for ever.
        lease.interrupt()
        close_stream(lease.network_stream)

    def close(self) -> None:
        """End the calls in progress and close all clients; what threads wait for ends."""
        self.scope.cancel()
        for lease in list(self.in_use):
            lease.discard()
        for client in self._remove_idle():
            client.close()


class AsyncPool(_Pool[AsyncHTTPClient]):
    """The clients of one event loop. They close with it, or with the object that owns them.

    Before an event loop closes, it runs the `finally` of each asynchronous generator that was started on it; no
    other hook runs in time. The generator is kept until then: one that is garbage collected is closed by a task,
    and a task that is cancelled before it starts, as at the end of `asyncio.run`, leaves it half closed.
    """

    def __init__(self, make: Callable[[], AsyncHTTPClient]) -> None:
        super().__init__(make)
        self.slots = AsyncSlots(MAX_CONNECTIONS)
        self.in_use: set[AsyncLease] = set()
        self._closing = asyncio.Lock()
        self._lifetime = self._live()
        self._is_bound = False

    async def acquire(self, scope: CallScope) -> AsyncLease:
        """As `SyncPool.acquire`."""
        if not self._is_bound:
            self._is_bound = True
            await anext(self._lifetime)  # from now on the event loop closes the pool at its end
        await self.slots.acquire(scope)
        try:
            client, network_stream = self._check_out()
            lease = AsyncLease(client, scope, self, network_stream)
        except BaseException:
            self.slots.release()
            raise
        self.in_use.add(lease)
        return lease

    async def release(self, lease: AsyncLease) -> None:
        """As `SyncPool.release`."""
        surplus = self._check_in(lease.client, lease.network_stream)
        self.in_use.discard(lease)
        self.slots.release()
        for client in surplus:
            await client.aclose()

    async def discard(self, lease: AsyncLease) -> None:
        """As `SyncPool.discard`."""
        await finish_closing(partial(self._discard, lease))

    async def _discard(self, lease: AsyncLease) -> None:
        await self.disconnect(lease)
        self.in_use.discard(lease)  # not if that was cancelled: then the end of the event loop closes it
        self.slots.release()

    async def disconnect(self, lease: AsyncLease) -> None:
        """As `SyncPool.disconnect`."""
        with suppress(Exception):
            await aclose_stream(lease.network_stream)
            await lease.client.aclose()

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
        self.scope.cancel()
        async with self._closing:
            for lease in list(self.in_use):  # also those whose closing was cancelled
                await self.disconnect(lease)
                self.in_use.discard(lease)
            for client in self._remove_idle():
                await client.aclose()


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    with suppress(RuntimeError):  # no loop is running
        return asyncio.get_running_loop() is loop
    return False


_open_pools: set[AsyncPool] = set()
