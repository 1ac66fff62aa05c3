"""Limits on connections: how many there may be, and how long a client may take to send a request and to read a reply.

uvicorn limits only the time between two requests. Without more, clients that send a byte a minute, or that never read,
would keep their connections for ever.
"""

import asyncio
import json
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with limits on slow clients and on the number of connections.

    No limit runs between the end of a request and its reply, so that a generation may take as long as it needs.
    uvicorn's own `limit_concurrency` bounds the number of connections: at this number a new one is refused at once,
    not only when its request has arrived.

    Attributes:
        head_seconds: longest time for the head of a request, from the connection's start or the last reply's end.
        body_seconds: longest time for the body of a request.
        reader_seconds: longest time in which a client may leave unread what has been sent to it. In a stream this is
            one piece of text, otherwise the whole reply.
    """

    head_seconds: float = 10
    body_seconds: float = 60
    reader_seconds: float = 300

    _awaited: object = None
    _sender_timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Accept a connection, or refuse it if there are too many."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # writing pauses whenever the client has not read everything
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._refuse(503, "Too many connections are open: close some, or try again later.")
        self._limit_sender()

    def data_received(self, data: bytes) -> None:
        """Take in what the client sent."""
        super().data_received(data)
        self._limit_sender()

    def on_response_complete(self) -> None:
        """Go on to the next request, of which a part may have arrived already."""
        super().on_response_complete()
        self._limit_sender()

    def pause_writing(self) -> None:
        """Start the time limit for a client that has not read everything."""
        super().pause_writing()
        self._reader_timer = self.loop.call_later(self.reader_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """End the time limit for a client that has read everything."""
        super().resume_writing()
        _cancel(self._reader_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        _cancel(self._sender_timer)
        _cancel(self._reader_timer)

    def _limit_sender(self) -> None:
        """Start the time limit for the part of the request that comes next, if it is not running already."""
        awaited = self.conn.their_state, self.cycle
        if awaited == self._awaited:
            return
        self._awaited = awaited
        _cancel(self._sender_timer)
        seconds = {h11.IDLE: self.head_seconds, h11.SEND_BODY: self.body_seconds}.get(self.conn.their_state)
        if seconds is not None:
            self._sender_timer = self.loop.call_later(seconds, self._end_slow_request)

    def _end_slow_request(self) -> None:
        is_unused = self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
        if is_unused or self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
        else:
            limits = f"{self.head_seconds:g} seconds for the head of a request, {self.body_seconds:g} for its body"
            self._refuse(408, f"The request arrived too slowly: there are {limits}.")

    def _refuse(self, status: int, detail: str) -> None:
        self.logger.warning(detail)
        body = json.dumps({"detail": detail}).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        response = h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase)
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
