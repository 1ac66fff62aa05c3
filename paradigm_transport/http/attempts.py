"""The attempts of one call: all are sent over the connections that the client had when the call began."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from paradigm_transport.errors import APIConnectionError
from paradigm_transport.http.borrowed import AsyncBorrowedPool, BorrowedPool
from paradigm_transport.http.connections import AsyncConnections, Connections
from paradigm_transport.http.pacing import Turn
from paradigm_transport.http.pool import AsyncPool, SyncPool
from paradigm_transport.http.protocols import Outgoing
from paradigm_transport.http.responses import AsyncResponse, Response
from paradigm_transport.http.scopes import CallScope, current_batch, interruptible
from paradigm_transport.http.translate import CONNECTION_HINT, translate_errors

_ENDED = "The call was ended."


class Outbound(Protocol):
    """A call that is sent, once or more often."""

    @property
    def turn(self) -> Turn:
        """Its place in the pace of the client."""

    @property
    def outgoing(self) -> Outgoing:
        """What is sent now."""

    def check_time(self) -> None:
        """Check that the call may go on.

        Raises:
            APITimeoutError: it has taken longer than it may in all.
        """

    def seconds_until_turn(self) -> float:
        """Return the seconds to sleep before asking again; 0 if it may be sent now.

        Raises:
            APITimeoutError: it has waited for as long as it may.
        """


class BaseAttempts:
    """What sync and async attempts share: the scope of the call, and how its errors read.

    Args:
        connections: those of the client; kept open while the call goes on.
        scope: the scope of the call.
        redact: makes the words of an HTTP library fit for a message.
    """

    def __init__(
        self, connections: Connections | AsyncConnections, scope: CallScope, redact: Callable[[str], str]
    ) -> None:
        host, is_borrowed = connections.host, connections.is_borrowed
        self._scope = scope
        self._opening = translate_errors(host, is_borrowed, scope, redact, "could not be reached", CONNECTION_HINT)
        self._reading = translate_errors(host, is_borrowed, scope, redact, "ended its response early")

    @property
    def are_over(self) -> bool:
        """Whether nothing may be sent any more: the client was closed, the batch stopped, or the call ended."""
        return self._scope.error is not None

    @property
    def were_ended(self) -> bool:
        """Whether the call itself was ended by `end`."""
        return self._scope.is_cancelled

    def end(self) -> None:
        """End the call, from another thread or task."""
        self._scope.cancel()


class Attempts(BaseAttempts):
    """The attempts of a sync call.

    Args:
        connections: those of the client.
        redact: makes the words of an HTTP library fit for a message.
        sleep: waits for a number of seconds, for a turn or before a retry; by default, a wait that ends with the call.
        before_retry: called after the wait before a retry.
    """

    def __init__(
        self,
        connections: Connections,
        redact: Callable[[str], str],
        sleep: Callable[[float], object] | None = None,
        before_retry: Callable[[], object] | None = None,
    ) -> None:
        self._connections = connections
        self._pool: SyncPool | BorrowedPool = connections.pool()
        batch = current_batch.get()
        parents = (self._pool.scope,) if batch is None else (self._pool.scope, batch)
        super().__init__(connections, CallScope(_ENDED, *parents), redact)
        self._sleep = sleep or self._scope.wait
        self._before_retry = before_retry

    def open(self, call: Outbound) -> Response:
        """Send a request, once it is the call's turn.

        Args:
            call: the call.

        Returns:
            The response, whose body is still to be read.

        Raises:
            APIConnectionError: the server cannot be reached, or the calls of the scope have ended.
            APITimeoutError: it does not respond in time, or the call's turn does not come in time.
            InvalidParameterError: the proxy, a TLS file or the client that was passed in cannot be used.
        """
        if call.turn.pace.limits:
            self._wait_for_turn(call)
        lease = self._pool.acquire(self._scope)
        try:
            self._scope.check()
            with self._opening:
                response = lease.send(self._connections.request(lease, call.outgoing), call.check_time)
            self._scope.check()
        except BaseException:
            lease.discard()
            raise
        return Response(response, self._reading, lease, self._connections.settings.max_response_bytes)

    def _wait_for_turn(self, call: Outbound) -> None:
        try:
            while not self.are_over and (seconds := call.seconds_until_turn()):
                call.turn.sleeps(seconds)
                self._sleep(seconds)
        finally:
            call.turn.leave()

    def sleep(self, seconds: float) -> None:
        """Wait before a retry."""
        self._sleep(seconds)
        if self._before_retry is not None and not self.are_over:
            self._before_retry()


class AsyncAttempts(BaseAttempts):
    """As `Attempts`, for an async call."""

    def __init__(
        self,
        connections: AsyncConnections,
        redact: Callable[[str], str],
        sleep: Callable[[float], Awaitable[object]] | None = None,
        before_retry: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._connections = connections
        self._pool: AsyncPool | AsyncBorrowedPool = connections.pool()
        super().__init__(connections, CallScope(_ENDED, self._pool.scope), redact)
        self._sleep = sleep or asyncio.sleep
        self._before_retry = before_retry

    async def open(self, call: Outbound) -> AsyncResponse:
        """As `Attempts.open`."""
        if call.turn.pace.limits:
            await self._wait_for_turn(call)
        lease = await self._pool.acquire(self._scope)
        try:
            self._scope.check()
            with self._opening:
                response = await lease.send(self._connections.request(lease, call.outgoing), call.check_time)
            self._scope.check()
        except BaseException:
            await lease.discard()
            raise
        return AsyncResponse(response, self._reading, lease, self._connections.settings.max_response_bytes)

    async def _wait_for_turn(self, call: Outbound) -> None:
        try:
            while not self.are_over and (seconds := call.seconds_until_turn()):
                call.turn.sleeps(seconds)
                with interruptible(self._scope):
                    await self._sleep(seconds)
        finally:
            call.turn.leave()

    async def sleep(self, seconds: float) -> None:
        """As `Attempts.sleep`."""
        with suppress(APIConnectionError), interruptible(self._scope):  # raised as the next attempt begins
            await self._sleep(seconds)
            if self._before_retry is not None:
                await self._before_retry()
