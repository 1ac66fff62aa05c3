"""Streams, sync and async: two mirrored shells that read a streamed response and hand out its events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic

from typing_extensions import Self

from paradigm_transport.calls import Event, PieceReader, StreamCall
from paradigm_transport.errors import ParadigmError
from paradigm_transport.http.attempts import AsyncAttempts, Attempts
from paradigm_transport.http.responses import AsyncResponse, Response

Reader = PieceReader[Any]


class Stream(Generic[Event]):
    """The events of a streamed response, as they arrive. Iterate over it; `close` or `with` ends it early.

    Args:
        begin: begins the attempts of the call.
        call: what is sent, and how the response is read.
    """

    def __init__(self, begin: Callable[[], Attempts], call: StreamCall[Any, Event]) -> None:
        self._begin = begin
        self._call = call
        self._attempts: Attempts | None = None
        self._response: Response | None = None
        self._reader: Reader | None = None
        self._ready: deque[Any] = deque()
        self._error: ParadigmError | None = None
        self._has_begun = False  # to hand out events: from then on nothing may be sent again
        self._ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while not self._ready:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._ended:
                self._disconnect()  # what arrived while it was closed from elsewhere
                raise StopIteration
            self._advance()
        self._has_begun = True
        return self._call.make_event(self._ready.popleft())

    def _advance(self) -> None:
        """Read once more, or end; an error waits until everything before it was handed out."""
        attempts = self._attempts = self._attempts or self._begin()
        try:
            if self._response is None or self._reader is None:
                self._open(attempts)
            elif self._reader.ended:
                self._end(self._response, self._reader)
            else:
                self._read(self._response, self._reader)
        except ParadigmError as error:
            if self._ended:  # closed from elsewhere while this one waited
                return
            self._disconnect()
            is_final = self._ready or self._has_begun or attempts.are_over
            delay = None if is_final else self._call.wait_before_retry(error)
            if delay is None:
                self._call.fail()
                self._error = error.bare()
                return
        except BaseException:  # an interrupt, a cancellation: the server must not go on
            self._abandon()
            raise
        else:
            return
        attempts.sleep(delay)
        self._ended = attempts.were_ended  # only now: an interrupt of the sleep is the end

    def _open(self, attempts: Attempts) -> None:
        self._call.begin()
        self._response = attempts.open(self._call)
        if not self._response.is_success:
            self._call.check(self._response, self._response.read(self._call.check_time))
        self._reader = self._call.reader(self._response)

    def _read(self, response: Response, reader: Reader) -> None:
        try:
            self._call.check_time()
            part = response.next_part()
        except ParadigmError as error:
            self._ready.extend(reader.interrupted(error))
            return
        self._ready.extend(reader.finish() if part is None else reader.feed(part))

    def _end(self, response: Response, reader: Reader) -> None:
        if reader.done:
            response.drain()
        self._disconnect()

    def _disconnect(self) -> None:
        self._ended = True
        response, self._response, self._reader = self._response, None, None
        if response is not None:
            response.close()

    def _abandon(self) -> None:
        self._ready.clear()
        self._ended = True
        response, self._response, self._reader = self._response, None, None
        if response is not None:
            response.abandon()

    def close(self) -> None:
        """End the stream; its connection is closed unless it can be used again."""
        self._ready.clear()
        self._error = None
        self._ended = True
        if self._response is None and self._attempts is not None:
            self._attempts.end()  # what waits for a response, or for the next attempt, ends
        self._disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class AsyncStream(Generic[Event]):
    """The events of a streamed response, as they arrive; as `Stream`.

    Args:
        begin: begins the attempts of the call.
        call: what is sent, and how the response is read.
    """

    def __init__(self, begin: Callable[[], AsyncAttempts], call: StreamCall[Any, Event]) -> None:
        self._begin = begin
        self._call = call
        self._attempts: AsyncAttempts | None = None
        self._response: AsyncResponse | None = None
        self._reader: Reader | None = None
        self._ready: deque[Any] = deque()
        self._error: ParadigmError | None = None
        self._has_begun = False
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._ready:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._ended:
                await self._disconnect()  # what arrived while it was closed from elsewhere
                raise StopAsyncIteration
            await self._advance()
        self._has_begun = True
        return self._call.make_event(self._ready.popleft())

    async def _advance(self) -> None:
        """Read once more, or end; an error waits until everything before it was handed out."""
        attempts = self._attempts = self._attempts or self._begin()
        try:
            if self._response is None or self._reader is None:
                await self._open(attempts)
            elif self._reader.ended:
                await self._end(self._response, self._reader)
            else:
                await self._read(self._response, self._reader)
        except ParadigmError as error:
            if self._ended:  # closed from elsewhere while this one waited
                return
            await self._disconnect()
            is_final = self._ready or self._has_begun or attempts.are_over
            delay = None if is_final else self._call.wait_before_retry(error)
            if delay is None:
                self._call.fail()
                self._error = error.bare()
                return
        except BaseException:  # an interrupt, a cancellation: the server must not go on
            await self._abandon()
            raise
        else:
            return
        await attempts.sleep(delay)
        self._ended = attempts.were_ended  # only now: an interrupt of the sleep is the end

    async def _open(self, attempts: AsyncAttempts) -> None:
        self._call.begin()
        self._response = await attempts.open(self._call)
        if not self._response.is_success:
            self._call.check(self._response, await self._response.read(self._call.check_time))
        self._reader = self._call.reader(self._response)

    async def _read(self, response: AsyncResponse, reader: Reader) -> None:
        try:
            self._call.check_time()
            part = await response.next_part()
        except ParadigmError as error:
            self._ready.extend(reader.interrupted(error))
            return
        self._ready.extend(reader.finish() if part is None else reader.feed(part))

    async def _end(self, response: AsyncResponse, reader: Reader) -> None:
        if reader.done:
            await response.drain()
        await self._disconnect()

    async def _disconnect(self) -> None:
        self._ended = True
        response, self._response, self._reader = self._response, None, None
        if response is not None:
            await response.aclose()

    async def _abandon(self) -> None:
        self._ready.clear()
        self._ended = True
        response, self._response, self._reader = self._response, None, None
        if response is not None:
            await response.abandon()

    async def aclose(self) -> None:
        """End the stream; as `Stream.close`."""
        self._ready.clear()
        self._error = None
        self._ended = True
        if self._response is None and self._attempts is not None:
            self._attempts.end()  # what waits for a response, or for the next attempt, ends
        await self._disconnect()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
