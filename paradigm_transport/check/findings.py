"""Questions to a server, and what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from paradigm_transport.check.server import Server

Status = Literal["works", "honoured", "ignored", "refused", "missing", "failed", "unknown"]

QUESTION_SECONDS = 15.0
"""How long one question may take, unless it says otherwise."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out.

    Attributes:
        status: `works` or `missing` for an endpoint or something that a server has; `honoured`, `ignored` or `refused`
            for a field of a request; `failed` for an error that says nothing of the field; `unknown` if it could not
            be found out.
        detail: a few words more, fit for a report: without key, host, prompt or generated text.
        value: what is computed with: a number, a name; None for nothing.
    """

    status: Status
    detail: str = ""
    value: Any = None

    @property
    def is_good(self) -> bool:
        """Whether it is there, or does what it says."""
        return self.status in ("works", "honoured")


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a server.

    Attributes:
        name: names it in the report; a field's name if it is about a field.
        group: the part of the report that it belongs to.
        asks: what it asks, in a sentence.
        ask: asks it. Errors of the server's responses are findings, too: see `runner`.
        is_quick: one of the few that `--quick` asks.
        seconds: how long it may take.
    """

    name: str
    group: str
    asks: str
    ask: Callable[[Server], Finding]
    is_quick: bool = False
    seconds: float = QUESTION_SECONDS


def question(
    name: str, group: str, *, is_quick: bool = False, seconds: float = QUESTION_SECONDS
) -> Callable[[Callable[[Server], Finding]], Question]:
    """Make a question of a function; what it asks is the first line of its docstring. See `Question`."""

    def make(ask: Callable[[Server], Finding]) -> Question:
        return Question(name, group, (ask.__doc__ or name).partition("\n")[0], ask, is_quick, seconds)

    return make


class UnclearError(Exception):
    """A question cannot be answered; the message says why."""
