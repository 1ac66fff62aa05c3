"""Limits on connections: their number, and the time that a client may take to send a request and to read a reply.

uvicorn limits only the time between two requests, so that clients that send a byte a minute, or never read, could
occupy the server for ever.
"""

import asyncio
import json
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with limits on slow clients and on the number of connections.

    A generation may take as long as it needs: no time limit applies between a request and its reply. uvicorn's own
    setting `limit_concurrency` limits the connections. As soon as there are that many, the newest is refused, without
    waiting for its request as uvicorn does.

    This uses attributes of `H11Protocol` that uvicorn does not document (`conn`, `connections`, `cycle`, `loop`,
    `limit_concurrency`, `logger`, `transport`); `tests/local/test_limits.py` fails if they change.

    Attributes:
        head_seconds: time limit for the head of a request, from the start of the connection or the previous reply.
        body_seconds: time limit for the body of a request.
        reader_seconds: time limit for reading what the server has sent: one piece of text in a stream, otherwise the
            whole reply.
    """

    head_seconds: float = 10
    body_seconds: float = 60
    reader_seconds: float = 300

    _awaited: object = None
    _sender_timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Refuse the connection if there are too many; otherwise wait for a request."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that `pause_writing` is called whenever data is left unread
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._refuse(503, "Too many connections are open. Close some, or try again later.")
        self._limit_sender()

    def data_received(self, data: bytes) -> None:
        """Process data, and wait for the rest of the request."""
        super().data_received(data)
        self._limit_sender()

    def on_response_complete(self) -> None:
        """Wait for the next request, of which a part may have arrived already."""
        super().on_response_complete()
        self._limit_sender()

    def pause_writing(self) -> None:
        """Start the time limit for reading."""
        super().pause_writing()
        self._reader_timer = self.loop.call_later(self.reader_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the time limit for reading."""
        super().resume_writing()
        _cancel(self._reader_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all time limits."""
        super().connection_lost(exc)
        _cancel(self._sender_timer)
        _cancel(self._reader_timer)

    def _limit_sender(self) -> None:
        """Start the time limit for the next part of the request, unless it is running already."""
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
            limits = f"{self.head_seconds:g} seconds for the head of a request and {self.body_seconds:g} for its body"
            self._refuse(408, f"The request arrived too slowly. The limits are {limits}.")

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
