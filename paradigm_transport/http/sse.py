"""Server-sent events: bytes in, events out.

The invariant: any split of the bytes gives the same events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from paradigm_transport.errors import APIResponseError

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""The most bytes of one event; a server that never ends its event must not fill the memory."""

BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event: its data, lines joined by LF, and its name (`message` if the server gave none)."""

    data: bytes
    name: bytes = b"message"


class SSEDecoder:
    r"""A push decoder for a stream of server-sent events.

    Lines are split on bytes, at LF, CRLF and CR only: some servers send U+2028, U+2029 and U+0085 unescaped in
    their JSON, and these end no line.

    Args:
        max_event_bytes: the most bytes of one event.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._line: list[bytes] = []  # the parts of the current line
        self._data: list[bytes] = []
        self._name = b""
        self._size = 0  # of the current line and the data before it
        self._after_cr = False
        self._at_start = True

    def feed(self, data: bytes) -> Iterator[Event]:
        """Decode the bytes of one read.

        Args:
            data: the bytes.

        Yields:
            The events that they complete.

        Raises:
            APIResponseError: one event is larger than `max_event_bytes`.
        """
        if self._after_cr and data:  # the CR ended the line; an LF right after it belongs to it
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *ended, rest = data.split(b"\n")
        for line in ended:
            event = self._end_line(line)
            if event is not None:
                yield event
        if rest:
            self._size += len(rest)
            if self._size > self._max_event_bytes:
                raise self._too_large()
            self._line.append(rest)

    def finish(self) -> Iterator[Event]:
        """End the stream: yield a last event that had no blank line after it."""
        # The current line, then the blank one that is missing.
        yield from filter(None, (self._end_line(b""), self._end_line(b"")))

    def _too_large(self) -> APIResponseError:
        return APIResponseError(f"The stream contains an event of more than {self._max_event_bytes:,} bytes.")

    def _end_line(self, line: bytes) -> Event | None:
        self._size += len(line)
        if self._size > self._max_event_bytes:
            raise self._too_large()
        if self._line:
            line = b"".join([*self._line, line])
            self._line.clear()
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(BOM)
        if not line:
            data, name = self._data, self._name
            self._data, self._name, self._size = [], b"", 0
            return Event(b"\n".join(data), name or b"message") if data else None
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            return None
        self._size -= len(line)  # only data is kept
        if field == b"event":
            self._name = value
        # Older versions of llama.cpp send an error as a line without an event around it.
        return Event(value, b"error") if field == b"error" else None
