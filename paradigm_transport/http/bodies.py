"""Bodies in chunks (HTTP/1.1): chunks that arrived together are read as one, and the end is read in a bounded time.

A server sends each event of a stream as a chunk, and h11, httpcore and httpx pass on one chunk at a time, which takes
longer than all else that is done for an event. What is needed of h11 0.16 has no public access, as in `reuse.py`;
tests/transport/test_bodies.py fails if it moves. Then chunks are read one by one.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import Any

from paradigm_transport.http.protocols import ResponseHead
from paradigm_transport.http.reuse import connection_of

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_END = b"\r\n"
_STATE = ("_bytes_in_chunk", "_bytes_to_discard", "_reading_trailer")
"""What is read of h11's reader of chunks."""

JOINED_BYTES = 16 * 1024
"""No chunk is added to as many bytes or more."""

READ_BYTES = 64 * 1024
"""The most bytes of one read, as in httpcore."""


def join_chunks(response: ResponseHead) -> None:
    """Have the chunks of a response that arrived together read as one; nothing happens if it cannot be looked into.

    Chunks of a compressed body stay apart: those before one that cannot be decompressed would be lost.
    """
    if "content-encoding" in response.headers:
        return
    state: Any = getattr(connection_of(response), "_h11_state", None)
    reader: Any = getattr(state, "_reader", None)
    if type(reader).__name__ == "ChunkedReader" and all(hasattr(reader, name) for name in _STATE):
        state._reader = _JoinedChunks(reader)  # h11 makes another for the next response


class _JoinedChunks:
    """h11's reader of chunks, but for one thing: it returns all whole chunks that have arrived at once.

    The rest is the work of the reader: parts of chunks, extensions, the end, and what is malformed.
    """

    def __init__(self, reader: Any) -> None:
        from h11 import Data  # takes long to import, and is there once a request was sent

        self._reader = reader
        self._data = Data
        self.read_eof = reader.read_eof

    def __call__(self, buffer: Any) -> Any:
        reader = self._reader
        if reader._bytes_in_chunk or reader._reading_trailer:
            return reader(buffer)
        arrived = bytes(buffer)
        at = len(reader._bytes_to_discard)  # the end of the chunk before
        if arrived[:at] != reader._bytes_to_discard:
            return reader(buffer)
        parts = []
        while at < JOINED_BYTES and (size := _SIZE.match(arrived, at)):
            begin = size.end()
            end = begin + int(size[1], 16)
            if begin == end or arrived[end : end + 2] != _END:
                break
            parts.append(arrived[begin:end])
            at = end + 2
        if not parts:
            return reader(buffer)
        buffer.maybe_extract_at_most(at)
        reader._bytes_to_discard = b""
        return self._data(data=b"".join(parts))


def read_to_end(response: ResponseHead, seconds: float, max_bytes: int) -> bool:
    """Read the rest of a body in a thread; give up if it takes too long or is too large.

    httpx fixes its time-out, which is too long, when it begins to read; so this reads below it.

    Args:
        response: the response.
        seconds: the most seconds.
        max_bytes: the most bytes.

    Returns:
        Whether the response could be looked into. If not, nothing was read.
    """
    from h11 import NEED_DATA, SEND_BODY  # as above

    connection = connection_of(response)
    if connection is None:
        return False
    end = time.monotonic() + seconds
    state, left = connection._h11_state, max_bytes
    with suppress(Exception):  # the body is complete for its reader; only the connection is lost
        while state.their_state is SEND_BODY and left > 0:
            if state.next_event() is NEED_DATA:
                arrived = connection._network_stream.read(READ_BYTES, max(end - time.monotonic(), 0.001))
                left -= len(arrived)
                state.receive_data(arrived)
    return True
