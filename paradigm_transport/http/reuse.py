"""Whether a connection can be used again: nothing may have arrived beyond the end of its response.

Such bytes would be read as the response to the next request, to another prompt. What has not been received yet is
found by httpcore, which reuses no connection whose socket is readable. What was received lies in buffers that have no
public access. They are read here and nowhere else, as they are in httpcore 1.0, h11 0.16 and anyio 4;
tests/transport/test_reuse.py fails if they move. A connection whose buffers are not found is not used again.
"""

from __future__ import annotations

import ssl
from typing import Any, TypeAlias

from paradigm_transport.http.protocols import ResponseHead

Connection: TypeAlias = Any
"""httpcore's connection of HTTP/1.1."""


def connection_of(response: ResponseHead) -> Connection | None:
    """Return the connection under a response of httpx, or of a library built like it; None if it is not found."""
    # The streams of httpx's client, of its transport, of httpcore's pool and of its connection, if there are such.
    connection: Any = response
    for name in ("stream", "_stream", "_httpcore_stream", "_stream", "_connection"):
        connection = getattr(connection, name, connection)
    return connection if hasattr(connection, "_h11_state") else None


def connection_is_reusable(response: ResponseHead, otherwise: bool) -> bool:
    """Whether the connection of a response that is closed can be used again.

    Args:
        response: the response.
        otherwise: what to return for a connection that cannot be looked into, or is neither idle nor closed: others
            use it.
    """
    connection = connection_of(response)
    try:
        if connection is None or not (connection.is_idle() or connection.is_closed()):
            return otherwise
        if connection.is_closed():
            return True  # the client opens another
        return not connection._h11_state.trailing_data[0] and not _is_buffered(connection._network_stream)
    except AttributeError:
        return otherwise


def _is_buffered(stream: Any) -> bool:
    """Whether received bytes lie between the socket and the HTTP parser."""
    layer = getattr(stream, "_stream", None)
    if layer is None:  # of a thread: plain sockets and TLS hold nothing back, but TLS within TLS does
        return _has_records(getattr(stream, "ssl_obj", None))
    while hasattr(layer, "transport_stream"):
        if _has_records(layer._ssl_object):
            return True
        layer = layer.transport_stream
    return bool(layer._protocol.read_queue)


def _has_records(tls: ssl.SSLObject | None) -> bool:
    if tls is None:
        return False
    try:
        tls.read(1)
    except ssl.SSLWantReadError:  # nothing, or session tickets
        return False
    except ssl.SSLError:
        return True
    return True  # data, or the end of the connection
