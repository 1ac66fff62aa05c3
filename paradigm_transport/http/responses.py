"""Responses whose body is still to be read, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

from typing_extensions import Self

from paradigm_transport.errors import APIResponseError, ParadigmError
from paradigm_transport.http.bodies import join_chunks, read_to_end
from paradigm_transport.http.closing import close_on_loop, finish_closing
from paradigm_transport.http.leases import AsyncLease, Lease
from paradigm_transport.http.protocols import AsyncHTTPResponse, HTTPResponse, ResponseHead
from paradigm_transport.http.translate import translate_errors

DRAIN_SECONDS = 0.5
"""The most seconds to wait for the end of a response after its last event."""

DRAIN_BYTES = 64 * 1024
"""The most bytes to read for it."""

ERROR_BYTES = 1024 * 1024
"""The most bytes of a refusal that are read."""


class BaseResponse:
    """What sync and async responses share.

    Args:
        response: the response of the HTTP library.
        reading: translates the errors of reading it.
        max_bytes: the most bytes of its body, decompressed.

    Attributes:
        status: the HTTP status.
        is_success: whether the status is 2xx.
        headers: the headers, names in lower case.
    """

    def __init__(self, response: ResponseHead, reading: translate_errors, max_bytes: int) -> None:
        self._reading = reading
        self._max_bytes = max_bytes
        self._size = 0
        self.status = response.status_code
        self.is_success = 200 <= self.status < 300
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    def _too_large(self) -> APIResponseError:
        return APIResponseError(f"The response has more than {self._max_bytes:,} bytes (max_response_bytes).")


class Response(BaseResponse):
    """A response whose headers have arrived. Close it, or use `with`; one that is dropped closes itself.

    Args:
        response: the response of the HTTP library.
        reading: translates the errors of reading it.
        lease: the use of the client, released when the response closes.
        max_bytes: the most bytes of its body, decompressed.
    """

    def __init__(self, response: HTTPResponse, reading: translate_errors, lease: Lease, max_bytes: int) -> None:
        self._lease = lease
        self._response = response
        self._parts: Iterator[bytes] | None = None
        super().__init__(response, reading, max_bytes)

    def read(self, check_time: Callable[[], None]) -> bytes:
        """Read the body: all of it, or of a refusal the first `ERROR_BYTES`, or what can be read.

        Args:
            check_time: called whenever bytes arrive; raises an error if they arrive too late.

        Raises:
            APIResponseError: it has more than `max_bytes`.
        """
        parts = []
        while (part := self._next_part_if_any()) is not None:
            parts.append(part)
            check_time()
            if self._size >= ERROR_BYTES and not self.is_success:  # a refusal is read only as far as people will
                break
        return b"".join(parts)

    def _next_part_if_any(self) -> bytes | None:
        """Read the next part; None also for a refusal that cannot be read, whose status says enough."""
        try:
            return self.next_part()
        except ParadigmError:
            if self.is_success or self._lease.scope.error is not None:
                raise
            return None

    def next_part(self) -> bytes | None:
        """Read the next part of the body; None at its end.

        Raises:
            APIResponseError: the body has more than `max_bytes`.
        """
        try:  # not `with`: this runs for every chunk
            if self._parts is None:
                join_chunks(self._response)
                self._parts = self._response.iter_bytes()
            part = next(self._parts, None)
        except BaseException as error:
            self._reading.translate(error)
            raise
        if part is not None:
            self._size += len(part)
            if self._size > self._max_bytes:
                raise self._too_large()
        return part

    def drain(self) -> None:
        """Read the few bytes after the last event, so that the connection can be used again.

        The connection of a server that does not end the response within DRAIN_SECONDS and DRAIN_BYTES is lost.
        """
        if read_to_end(self._response, DRAIN_SECONDS, DRAIN_BYTES):
            self._response.close()
        elif self._lease.network_stream is None:  # a client written by hand, which no time-out could interrupt
            self._read_rest()

    def _read_rest(self) -> None:
        left = DRAIN_BYTES
        try:
            while left > 0 and (part := self.next_part()) is not None:
                left -= len(part)
        except ParadigmError:
            pass  # the text is complete; only the connection is lost

    def close(self) -> None:
        """Return the connection to the pool, or close it if it cannot be used again."""
        if not self._response.is_closed:
            self._lease.interrupt()  # closing alone does not wake a thread that reads
        with self._reading:
            _close(self._response, self._lease)

    def abandon(self) -> None:
        """End the response after an interrupt, which may have broken the client: it is not used again."""
        self._lease.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is None or issubclass(kind, Exception):
            self.close()
        else:
            self.abandon()

    def __del__(self) -> None:
        if not self._lease.is_released:
            self.close()


class AsyncResponse(BaseResponse):
    """As `Response`."""

    def __init__(
        self, response: AsyncHTTPResponse, reading: translate_errors, lease: AsyncLease, max_bytes: int
    ) -> None:
        self._lease = lease
        self._response = response
        self._parts: AsyncIterator[bytes] | None = None
        self._loop = asyncio.get_running_loop()
        super().__init__(response, reading, max_bytes)

    async def read(self, check_time: Callable[[], None]) -> bytes:
        """As `Response.read`."""
        parts = []
        while (part := await self._next_part_if_any()) is not None:
            parts.append(part)
            check_time()
            if self._size >= ERROR_BYTES and not self.is_success:  # a refusal is read only as far as people will
                break
        return b"".join(parts)

    async def _next_part_if_any(self) -> bytes | None:
        """Read the next part; None also for a refusal that cannot be read, whose status says enough."""
        try:
            return await self.next_part()
        except ParadigmError:
            if self.is_success or self._lease.scope.error is not None:
                raise
            return None

    async def next_part(self) -> bytes | None:
        """As `Response.next_part`."""
        try:
            if self._parts is None:
                join_chunks(self._response)
                self._parts = self._response.aiter_bytes()
            part = await anext(self._parts, None)
        except BaseException as error:
            self._reading.translate(error)
            raise
        if part is not None:
            self._size += len(part)
            if self._size > self._max_bytes:
                raise self._too_large()
        return part

    async def drain(self) -> None:
        """As `Response.drain`."""
        import anyio  # sync calls do without

        with anyio.move_on_after(DRAIN_SECONDS):  # asyncio.wait_for of Python 3.10 and 3.11 loses cancellations
            await self._read_rest()

    async def _read_rest(self) -> None:
        left = DRAIN_BYTES
        try:
            while left > 0 and (part := await self.next_part()) is not None:
                left -= len(part)
        except ParadigmError:
            pass  # the text is complete; only the connection is lost

    async def aclose(self) -> None:
        """As `Response.close`."""
        with self._reading:
            if self._response.is_closed:
                await _aclose(self._response, self._lease)  # which has nothing to wait for
            else:
                await finish_closing(partial(_aclose, self._response, self._lease))

    async def abandon(self) -> None:
        """As `Response.abandon`."""
        await self._lease.discard()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is None or issubclass(kind, Exception):
            await self.aclose()
        else:
            await self.abandon()

    def __del__(self) -> None:
        if not self._lease.is_released:
            close_on_loop(self._loop, partial(_aclose, self._response, self._lease))


def _close(response: HTTPResponse, lease: Lease) -> None:
    try:
        response.close()
    except BaseException:
        lease.discard()
        raise
    lease.release()


async def _aclose(response: AsyncHTTPResponse, lease: AsyncLease) -> None:
    try:
        await response.aclose()
    except BaseException:
        await lease.discard()
        raise
    await lease.release()
