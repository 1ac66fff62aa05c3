"""Faults on demand, for testing how client code handles them."""

import asyncio
import math
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Literal, NamedTuple, TypeVar, cast, get_args

T = TypeVar("T")

HEADER = "X-Paradigm-Fault"

Kind = Literal["429", "503", "cut", "error", "slow"]

_WRITTEN = re.compile(rf"({'|'.join(get_args(Kind))})(?:=([0-9]{{1,3}}(?:\.[0-9]{{1,3}})?))?")


class FaultInjected(Exception):  # noqa: N818  requested
    """The model fails because a fault was requested."""


class ConnectionCut(Exception):  # noqa: N818  requested
    """The connection breaks because a fault was requested."""


class Fault(NamedTuple):
    """What goes wrong with one reply.

    Attributes:
        kind: `429` and `503` reply with that status; `cut` breaks the connection; `error` makes the model fail, in a
            stream by an event; `slow` delays the first token.
        amount: for `429` the seconds of `Retry-After`, for `slow` those of the delay; for `cut` and `error` the number
            of text pieces that are sent first.
    """

    kind: Kind
    amount: float = 1


def read_fault(text: str) -> Fault:
    """Read a fault as the header writes it: a kind, optionally with an amount, as in `slow=2.5`.

    Raises:
        ValueError: the text is not a fault.
    """
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"A fault is one of {', '.join(get_args(Kind))}, optionally with an amount, as in slow=2.5.")
    return Fault(cast("Kind", match[1]), float(match[2] or 1))


class RateLimit:
    """A limit on requests: a token bucket that holds the requests of one second.

    Args:
        per_second: the number of requests that are accepted a second.
        clock: returns seconds that only grow.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most = per_second, max(per_second, 1)
        self._clock = clock
        self._left, self._at = self._most, clock()

    def take(self) -> Fault | None:
        """Accept a request, or return the refusal."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return Fault("429", math.ceil((1 - self._left) / self._rate))
        self._left -= 1
        return None


class Faults:
    """The faults of the next replies: a queue, and a limit on requests.

    Args:
        by_header: whether clients may request faults by header.

    Attributes:
        limit: refuses requests that come too fast; None for no limit.
    """

    def __init__(self, by_header: bool) -> None:
        self._by_header = by_header
        self._queue: deque[Fault] = deque()
        self.limit: RateLimit | None = None

    def add(self, fault: Fault, times: int) -> None:
        """Queue a fault for the next ``times`` replies."""
        self._queue.extend([fault] * times)

    def clear(self) -> None:
        """Empty the queue."""
        self._queue.clear()

    def next(self, header: str | None) -> Fault | None:
        """Return the fault for the current reply, if any; one from the header comes before the queue.

        Raises:
            ValueError: the header is not a fault.
        """
        if header is not None and self._by_header:
            return read_fault(header)
        if self._queue:
            return self._queue.popleft()
        return self.limit.take() if self.limit is not None else None


async def inject_fault_at_once(fault: Fault) -> None:
    """Do what a fault asks for to a reply without pieces; `429` and `503` are the server's to answer.

    Raises:
        ConnectionCut: for the fault `cut`.
        FaultInjected: for the fault `error`.
    """
    if fault.kind == "slow":
        await asyncio.sleep(fault.amount)
    if fault.kind == "cut":
        raise ConnectionCut
    if fault.kind == "error":
        raise FaultInjected


async def inject_fault(
    pieces: AsyncGenerator[T | None, None], fault: Fault, silence: float
) -> AsyncGenerator[T | None, None]:
    """Pass the pieces of a reply on, with a fault.

    Args:
        pieces: the pieces; None stands for a period of silence.
        fault: what goes wrong.
        silence: seconds without a piece after which a None is yielded.

    Raises:
        ConnectionCut: for the fault `cut`.
        FaultInjected: for the fault `error`.
    """
    if fault.kind == "slow":
        waited = 0.0
        while waited < fault.amount:
            await asyncio.sleep(min(silence, fault.amount - waited))
            waited += silence
            yield None
    passed = 0
    async with aclosing(pieces):
        async for piece in pieces:
            if fault.kind == "cut" and passed >= fault.amount:
                raise ConnectionCut
            if fault.kind == "error" and passed >= fault.amount:
                raise FaultInjected
            yield piece
            passed += piece is not None
