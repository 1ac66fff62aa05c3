"""The state machine of the readers of calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paradigm_transport.chat.dialects.base import TextAroundMarks
from paradigm_transport.chat.events import Event


class StateReader:
    """Reads one answer, state by state; see `Reader`.

    A state is a method that reads some of `_rest` from `_at` on, and returns False if it needs more text to go on.

    Args:
        first: the first state.
    """

    def __init__(self, first: Callable[[Any], bool]) -> None:
        self._rest = ""
        self._at = 0  # before it, `_rest` has been read
        self._events: list[Event] = []
        self._text = TextAroundMarks()
        self._count = 0  # of calls
        self._read = first

    def feed(self, text: str) -> list[Event]:
        """As `Reader.feed`."""
        self._rest, self._at, self._events = self._rest[self._at :] + text, 0, []
        self._read_on()
        return self._events

    def _read_on(self) -> None:
        while self._at < len(self._rest) and self._read(self):
            pass

    def _read_nothing(self) -> bool:
        """Drop what follows."""
        self._at = len(self._rest)
        return False

    def _skip_word(self, *words: str) -> str:
        """Skip one of some words; return it, or an empty string if none is here."""
        found = next((word for word in words if self._rest.startswith(word, self._at)), "")
        self._at += len(found)
        return found
