"""Leases: the use of a client for one request, sync and async."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from paradigm_transport.http.closing import cancel_once, shut_down, start_closing
from paradigm_transport.http.protocols import AsyncHTTPClient, AsyncHTTPResponse, HTTPClient, HTTPResponse, Request
from paradigm_transport.http.reuse import connection_is_reusable
from paradigm_transport.http.scopes import CallScope, interruptible

_CONNECTED = ("connect_tcp.complete", "start_tls.complete")
"""How the names of httpcore's events end that report a connection, or TLS over one."""

_SENDING = "send_request_headers.started"
"""How the name of the event ends after which no connection is opened, unless it is the CONNECT of a proxy."""

Client = TypeVar("Client")
Reply = TypeVar("Reply", HTTPResponse, AsyncHTTPResponse)


class LeasePool(Protocol):
    """Where the client of a lease comes from: a `SyncPool`, or a client that was passed in."""

    @property
    def is_borrowed(self) -> bool:
        """Whether the client was passed in."""

    def release(self, lease: Lease) -> None:
        """Take the client back."""

    def discard(self, lease: Lease) -> None:
        """Take the client back and close its connection."""

    def disconnect(self, lease: Lease) -> None:
        """Close the connection."""


class AsyncLeasePool(Protocol):
    """As `LeasePool`, for an `AsyncPool`."""

    @property
    def is_borrowed(self) -> bool:
        """As `LeasePool.is_borrowed`."""

    async def release(self, lease: AsyncLease) -> None:
        """As `LeasePool.release`."""

    async def discard(self, lease: AsyncLease) -> None:
        """As `LeasePool.discard`."""

    async def disconnect(self, lease: AsyncLease) -> None:
        """As `LeasePool.disconnect`."""


class _Lease(Generic[Client, Reply]):
    """The use of a client for one request.

    Args:
        client: the client.
        scope: the scope of the call.
        network_stream: the connection that the client has or had, as httpx gives it out.

    Attributes:
        is_released: whether the use has ended.
        response: the response, once its headers have arrived.
    """

    def __init__(self, client: Client, scope: CallScope, network_stream: object = None) -> None:
        self.client = client
        self.scope = scope
        self.network_stream: Any = network_stream
        self.is_released = False
        self.response: Reply | None = None
        self._check_time: Callable[[], None]
        scope.add(self.interrupt)

    def interrupt(self) -> None:
        """End what is waited for on the connection."""
        raise NotImplementedError

    def _watch(self, stream: Any) -> None:
        """Take note of the connection; until `_unwatch`, the time of the call is checked before each read from it."""
        self._unwatch()
        self.network_stream = stream
        if stream is None:  # not yet open, or that of a client that was passed in
            return
        check_time, read = self._check_time, stream.read

        def read_in_time(max_bytes: int, timeout: float | None = None) -> Any:
            check_time()
            return read(max_bytes, timeout)

        stream.read = read_in_time

    def _unwatch(self) -> None:
        if self.network_stream is not None:
            vars(self.network_stream).pop("read", None)

    def _receive(self, response: Reply) -> Reply:
        self.response = response
        self.network_stream = response.extensions.get("network_stream")
        return response

    def _is_reusable(self, otherwise: bool) -> bool:
        if self.is_released or self.scope.error is not None:  # it may be closed
            return False
        return self.response is None or connection_is_reusable(self.response, otherwise)

    def _leave(self) -> bool:
        """End the use; return whether it had not ended before."""
        was_released, self.is_released = self.is_released, True
        self.scope.discard(self.interrupt)
        return not was_released


class Lease(_Lease[HTTPClient, HTTPResponse]):
    """The use of a client in a thread."""

    def __init__(self, client: HTTPClient, scope: CallScope, pool: LeasePool, network_stream: object = None) -> None:
        self._pool = pool
        self._process = os.getpid()
        super().__init__(client, scope, network_stream)

    def send(self, request: Request, check_time: Callable[[], None]) -> HTTPResponse:
        """Send a request; return its response once the headers have arrived.

        Args:
            request: the request.
            check_time: raises an error if the call has no time left; a client that was passed in does not call it.
        """
        self._check_time = check_time
        self._watch(self.network_stream)
        try:
            response = self.client.send(request, stream=True)
        finally:
            self._unwatch()
        return self._receive(response)

    def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Take note of a new connection; httpcore calls this at each of its steps.

        Raises:
            APIConnectionError: the calls of the scope have ended, so nothing may be sent on it.
        """
        if event.endswith(_CONNECTED):
            self._watch(info["return_value"])
            if self.scope.error is not None:
                self._pool.disconnect(self)
                self.scope.check()
        elif event.endswith(_SENDING):
            _stop_tracing(info["request"])

    def interrupt(self) -> None:
        """End what a thread waits for on the connection."""
        if self._process == os.getpid():  # in a fork the connection is the parent's
            shut_down(self.network_stream)

    def release(self) -> None:
        """Return the client to its pool, or close it if it cannot be used again; once, further calls do nothing."""
        is_reusable = self._is_reusable(otherwise=self._pool.is_borrowed)  # first, for it may be interrupted
        if self._leave():
            if is_reusable:
                self._pool.release(self)
            else:
                self._pool.discard(self)
            self.response = None  # it holds its request, which holds this object

    def discard(self) -> None:
        """Close the connection, and the client unless it was passed in; once."""
        if self._leave():
            self._pool.discard(self)


class AsyncLease(_Lease[AsyncHTTPClient, AsyncHTTPResponse]):
    """As `Lease`, on an event loop."""

    def __init__(
        self, client: AsyncHTTPClient, scope: CallScope, pool: AsyncLeasePool, network_stream: object = None
    ) -> None:
        self._pool = pool
        super().__init__(client, scope, network_stream)

    async def send(self, request: Request, check_time: Callable[[], None]) -> AsyncHTTPResponse:
        """As `Lease.send`."""
        send = partial(self.client.send, request, stream=True)
        if self._pool.is_borrowed:  # cancelled again while it ends a request, httpcore 1.0 leaves the connection open
            return self._receive(await cancel_once(send, self.scope, _close_response))
        self._check_time = check_time
        self._watch(self.network_stream)
        try:
            with interruptible(self.scope):  # what connects, `interrupt` does not reach
                response = await send()
        finally:
            self._unwatch()
        return self._receive(response)

    async def trace(self, event: str, info: Mapping[str, object]) -> None:
        """As `Lease.trace`."""
        if event.endswith(_CONNECTED):
            self._watch(info["return_value"])
            if self.scope.error is not None:
                await self._pool.disconnect(self)
                self.scope.check()
        elif event.endswith(_SENDING):
            _stop_tracing(info["request"])

    def interrupt(self) -> None:
        """Close the connection, in a task."""
        start_closing(partial(self._pool.disconnect, self))

    async def release(self) -> None:
        """As `Lease.release`."""
        is_reusable = self._is_reusable(otherwise=self._pool.is_borrowed)  # first, for it may be interrupted
        if self._leave():
            if is_reusable:
                await self._pool.release(self)
            else:
                await self._pool.discard(self)
            self.response = None  # it holds its request, which holds this object

    async def discard(self) -> None:
        """As `Lease.discard`."""
        if self._leave():
            await self._pool.discard(self)


async def _close_response(response: AsyncHTTPResponse) -> None:
    await response.aclose()


def _stop_tracing(request: Any) -> None:
    if request.method != b"CONNECT":
        request.extensions.pop("trace", None)
