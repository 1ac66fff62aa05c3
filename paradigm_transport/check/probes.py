"""Requests as they are written, and replies as they arrive: nothing is checked, left out, cut or retried on the way.

The calls of the endpoints make up for what servers lack. Here it must be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from paradigm_transport.arguments import encode_body
from paradigm_transport.calls import Call, Request, StreamCall
from paradigm_transport.errors import ParadigmError, StreamInterruptedError
from paradigm_transport.http.responses import BaseResponse
from paradigm_transport.http.retry import RetryPolicy, is_limit
from paradigm_transport.http.sse import Event, SSEDecoder
from paradigm_transport.http.timeouts import Timeout
from paradigm_transport.json_object import JsonObject
from paradigm_transport.refusals import Origin, parse_reply


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is sent to.

    Attributes:
        path: the path below the base URL.
        method: the HTTP method.
        version: the version of the API in place of that of the base URL; empty for none, None for that one.
    """

    path: str
    method: str = "POST"
    version: str | None = None


@dataclass(slots=True)
class Reply:
    """A reply, or a stream.

    Attributes:
        body: the parsed reply; of a stream, None.
        headers: those of the response, names in lower case.
        events: the events of a stream, each with the seconds since the request.
        is_stream: whether it came as events.
        is_done: whether a stream ended in `[DONE]`.
    """

    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    events: list[tuple[float, JsonObject]] = field(default_factory=list)
    is_stream: bool = False
    is_done: bool = False


class _Probe(Request):
    """A request with a body as it is given."""

    def __init__(self, target: Target, fields: Mapping[str, object] | None, timeout: Timeout) -> None:
        self.method, self.path, self.version = target.method, target.path, target.version
        self.fields = fields
        self.timeout = timeout
        self.reply = Reply()

    def encode(self) -> bytes | None:
        """Return the body; see `Request.encode`."""
        return None if self.fields is None else encode_body(self.fields)

    def accept(self, response: BaseResponse) -> None:
        """Keep the headers; see `Request.accept`."""
        self.reply.headers = response.headers
        super().accept(response)


class ProbeCall(_Probe, Call[Reply]):
    """A request that is answered by one reply."""

    def read(self, body: object, origin: Origin) -> Reply:
        """Return the reply as it is; see `Call.read`."""
        self.reply.body = body
        return self.reply


class ProbeStream(_Probe, StreamCall[JsonObject, JsonObject]):
    """A request that is answered by a stream of events."""

    def make_reader(self, origin: Origin) -> EventReader:
        """Return what reads a response; see `StreamCall.make_reader`."""
        return EventReader(origin, self.reply)

    def make_event(self, piece: JsonObject) -> JsonObject:
        """Return an event as it is; see `StreamCall.make_event`."""
        return piece


class EventReader:
    """Reads the events of a stream; see `PieceReader`. One JSON reply in its place is one event.

    Args:
        origin: where the response comes from.
        reply: learns whether it was a stream, and whether it ended.
    """

    def __init__(self, origin: Origin, reply: Reply) -> None:
        self._origin = origin
        self._reply = reply
        self._decoder = SSEDecoder()
        self._whole: list[bytes] = []
        self._has_begun = False
        self.ended = False
        self.done = False

    def feed(self, data: bytes) -> Iterator[JsonObject]:
        """Take the bytes of one read."""
        if not self._has_begun:
            data = data.lstrip()
            self._has_begun = bool(data)
            self._reply.is_stream = data[:1] not in (b"", b"{", b"[", b"<")
        if self._reply.is_stream:
            for event in self._decoder.feed(data):
                yield from self._read(event)
        elif data:
            self._whole.append(data)

    def finish(self) -> Iterator[JsonObject]:
        """Take the regular end of the bytes."""
        for event in self._decoder.finish():
            yield from self._read(event)
        if self._whole:
            yield from _objects(parse_reply(b"".join(self._whole), self._origin))
        self.ended = True

    def interrupted(self, error: ParadigmError) -> Iterator[JsonObject]:
        """Take the error that broke off the bytes."""
        raise StreamInterruptedError(f"The stream broke off: {error}")
        yield {}

    def _read(self, event: Event) -> Iterator[JsonObject]:
        if self.done:
            return
        if event.data.strip() == b"[DONE]":
            self.done = self.ended = self._reply.is_done = True
        else:
            yield from _objects(parse_reply(event.data, self._origin, is_error=event.name == b"error"))


def _objects(body: object) -> list[JsonObject]:
    return [body] if isinstance(body, dict) else []


class LimitsOnly(RetryPolicy):
    """Retries what a rate limit refused, and nothing else: any other failure is a finding."""

    def delay(self, retries: int, error: ParadigmError, chance: float) -> float | None:
        """Decide whether to retry; see `RetryPolicy.delay`."""
        return super().delay(retries, error, chance) if is_limit(error) else None


def timed(events: Iterator[JsonObject], timer: Callable[[], float]) -> list[tuple[float, JsonObject]]:
    """Return all events, each with the seconds from now to its arrival."""
    began = timer()
    return [(timer() - began, event) for event in events]
