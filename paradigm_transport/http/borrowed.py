"""Clients that were passed in, each in the place of a pool: their connections are their own; they stay open."""

from __future__ import annotations

from functools import partial

from paradigm_transport.http.closing import finish_closing
from paradigm_transport.http.leases import AsyncLease, Lease
from paradigm_transport.http.pool import CLOSED
from paradigm_transport.http.protocols import AsyncHTTPClient, HTTPClient
from paradigm_transport.http.reuse import connection_of
from paradigm_transport.http.scopes import CallScope


class BorrowedPool:
    """A sync client that was passed in.

    Args:
        client: the client.

    Attributes:
        scope: the calls over it; they end when `close` is called.
    """

    is_borrowed = True

    def __init__(self, client: HTTPClient) -> None:
        self._client = client
        self.scope = CallScope(CLOSED)

    def acquire(self, scope: CallScope) -> Lease:
        """Return a lease of the client."""
        return Lease(self._client, scope, self)

    def release(self, lease: Lease) -> None:
        """The client is the user's: nothing to do."""

    def discard(self, lease: Lease) -> None:
        """Close the connection of a response."""
        self.disconnect(lease)

    def disconnect(self, lease: Lease) -> None:
        """Close the connection of a response, unless another request may use it."""
        response = lease.response
        if response is None:
            return
        connection = connection_of(response)
        if not response.is_closed:
            lease.interrupt()
            response.close()
        elif connection is None or not connection.is_idle():
            return
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """End the calls in progress."""
        self.scope.cancel()


class AsyncBorrowedPool:
    """As `BorrowedPool`, on an event loop."""

    is_borrowed = True

    def __init__(self, client: AsyncHTTPClient) -> None:
        self._client = client
        self.scope = CallScope(CLOSED)

    async def acquire(self, scope: CallScope) -> AsyncLease:
        """As `BorrowedPool.acquire`."""
        return AsyncLease(self._client, scope, self)

    async def release(self, lease: AsyncLease) -> None:
        """As `BorrowedPool.release`."""

    async def discard(self, lease: AsyncLease) -> None:
        """As `BorrowedPool.discard`."""
        await finish_closing(partial(self.disconnect, lease))

    async def disconnect(self, lease: AsyncLease) -> None:
        """As `BorrowedPool.disconnect`."""
        response = lease.response
        if response is None:
            return
        connection = connection_of(response)
        if not response.is_closed:
            await response.aclose()
        elif connection is None or not connection.is_idle():
            return
        if connection is not None:
            await connection.aclose()

    def forget(self) -> None:
        """The client may outlive its event loop: nothing to do."""

    async def aclose(self) -> None:
        """As `BorrowedPool.close`."""
        self.scope.cancel()
