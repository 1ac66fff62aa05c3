"""Time-outs: for silence, by phase, and for a whole call."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from paradigm_transport.http.protocols import TimeoutLike, Timeouts

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 3600.0
"""The most seconds of a call, unless it is chosen: a server that sends a byte now and then must not hold it forever."""

LONGEST_SECONDS = 2e6
"""A longer wait, of more than three weeks, has no limit: sockets count milliseconds in 32 bits."""


@dataclass(frozen=True)
class Timeout:
    """How long to wait, in seconds, each more than 0; None for no limit.

    Attributes:
        read: for the next bytes of the response.
        connect: for a connection.
        write: for the next bytes of the request to be sent.
        total: for the whole call, with all its retries; checked whenever bytes arrive.
    """

    read: float | None = 120.0
    connect: float | None = CONNECT_SECONDS
    write: float | None = 120.0
    total: float | None = TOTAL_SECONDS


def check_timeout(timeout: object) -> object:
    """Check an argument `timeout`.

    Raises:
        ValueError: it is not a time-out, or not more than 0 seconds.
    """
    parts = [timeout]
    if hasattr(timeout, "connect"):
        parts = [getattr(timeout, name, None) for name in ("connect", "read", "write", "total")]
    for part in parts:
        if part is not None and (isinstance(part, bool) or not isinstance(part, (int, float))):
            raise ValueError("it must be a number of seconds, a Timeout, an httpx.Timeout or None")
        if part is not None and not 0 < part < inf:
            raise ValueError("it must be more than 0 seconds")
    return timeout


def seconds_of(timeout: float | TimeoutLike | None, left: float = inf) -> Timeouts:
    """Return the seconds to connect, read and write, of which none is more than a number of seconds.

    Calls that wait for a free connection have no limit.
    """
    if timeout is None:
        parts: tuple[float | None, ...] = None, None, None
    elif isinstance(timeout, (int, float)):
        parts = min(timeout, CONNECT_SECONDS), timeout, timeout
    else:
        parts = timeout.connect, timeout.read, timeout.write
    connect, read, write = (left if part is None or left < part else part for part in parts)
    return _limit(connect), _limit(read), _limit(write), None


def _limit(seconds: float) -> float | None:
    return None if seconds > LONGEST_SECONDS else seconds


def total_of(timeout: float | TimeoutLike | None) -> float:
    """Return the most seconds of a whole call; infinity for no limit."""
    if timeout is None:
        return inf
    if isinstance(timeout, (int, float)):
        return max(timeout, TOTAL_SECONDS)
    total = getattr(timeout, "total", TOTAL_SECONDS if timeout.read is not None else None)
    return inf if total is None else total
