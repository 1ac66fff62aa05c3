"""Faults on request, for people who test how their own code takes them."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal, NamedTuple, TypeVar, cast, get_args

T = TypeVar("T")

HEADER = "X-Paradigm-Fault"

Kind = Literal["429", "503", "cut", "error", "slow"]

_WRITTEN = re.compile(rf"({'|'.join(get_args(Kind))})(?:=([0-9]{{1,3}}(?:\.[0-9]{{1,3}})?))?")


class FaultInjected(Exception):  # noqa: N818  made to order
    """The model fails, as was asked for."""


class ConnectionCut(Exception):  # noqa: N818  made to order
    """The connection breaks, as was asked for."""


class Fault(NamedTuple):
    """What goes wrong with one answer.

    Attributes:
        kind: `429` and `503` answer with that status; `cut` breaks the connection; `error` makes the model fail, in a
            stream by an event; `slow` holds the first token back.
        amount: the seconds of `Retry-After` for `429`, and of the wait for `slow`; the pieces of text that still come
            for `cut` and `error`.
    """

    kind: Kind
    amount: float = 1


def read_fault(text: str) -> Fault:
    """Read a fault as the header writes it: a kind, or a kind and an amount as in `slow=2.5`.

    Raises:
        ValueError: there is no such fault.
    """
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"A fault is one of {', '.join(get_args(Kind))}, also with an amount as in slow=2.5.")
    return Fault(cast("Kind", match[1]), float(match[2] or 1))


class Faults:
    """The faults that wait for the next answers.

    Args:
        by_header: whether clients may ask for faults by header.
    """

    def __init__(self, by_header: bool) -> None:
        self._by_header = by_header
        self._waiting: deque[Fault] = deque()

    def add(self, fault: Fault, times: int) -> None:
        """Let the next answers have this fault."""
        self._waiting.extend([fault] * times)

    def clear(self) -> None:
        """Forget the faults that wait."""
        self._waiting.clear()

    def next(self, header: str | None) -> Fault | None:
        """Give the fault of the answer that is due; the header's comes first.

        Raises:
            ValueError: the header names no fault.
        """
        if header is not None and self._by_header:
            return read_fault(header)
        return self._waiting.popleft() if self._waiting else None


async def faulty(
    pieces: AsyncGenerator[T | None, None], fault: Fault, silence: float
) -> AsyncGenerator[T | None, None]:
    """Let the pieces of an answer come as the fault has it.

    Args:
        pieces: the pieces; a None among them stands for a silence.
        fault: what goes wrong.
        silence: seconds without a piece after which a None is given.

    Raises:
        ConnectionCut: by the fault `cut`.
        FaultInjected: by the fault `error`.
    """
    if fault.kind == "slow":
        waited = 0.0
        while waited < fault.amount:
            await asyncio.sleep(min(silence, fault.amount - waited))
            waited += silence
            yield None
    seen = 0
    async with aclosing(pieces):
        async for piece in pieces:
            if fault.kind == "cut" and seen >= fault.amount:
                raise ConnectionCut
            if fault.kind == "error" and seen >= fault.amount:
                raise FaultInjected
            yield piece
            seen += piece is not None
