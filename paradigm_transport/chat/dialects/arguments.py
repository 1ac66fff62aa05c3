"""The arguments of one call, read from pieces of text and written on as JSON: what readers of them share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from paradigm_transport.chat.dialects.call_writer import CallWriter

# Lookahead is bounded, so that a text in small pieces is not read over and over.
GAP = re.compile(r"\s{0,200}")
SPACE = re.compile(r"\s*")
SPACE_AND_COMMAS = re.compile(r"[\s,]*")


def word_at(text: str, at: int, words: tuple[str, ...]) -> str | None:
    """Return which of some words stands at a place of a text.

    Returns:
        The word; an empty string if it is missing, None if the text ends before that is known.
    """
    for word in words:
        if text.startswith(word, at):
            return word
    rest = text[at : at + max(map(len, words), default=0)]
    return None if any(word.startswith(rest) for word in words) else ""


def end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where a pattern ends that matches at a place; the place itself if it does not match."""
    found = pattern.match(text, at)
    return found.end() if found else at


class Arguments:
    """Reads the arguments of one call, and writes them on as JSON, from pieces of text.

    A state is a method that reads some of a text from a place on, and returns where it has read to; None if more text
    is needed. Any split of the text gives the same arguments.

    Args:
        call: takes the arguments.
        first: the first state.

    Attributes:
        is_complete: the arguments have ended.
        is_broken: the text does not continue them.
        is_strict: the mark that ends calls ends values, too.
    """

    def __init__(self, call: CallWriter, first: Callable[[Any, str, int], int | None]) -> None:
        self.is_complete = False
        self.is_broken = False
        self.is_strict = False
        self._call = call
        self._is_last = False
        self._read = first

    @property
    def in_value(self) -> bool:
        """Whether what follows is inside a value, where marks are data."""
        raise NotImplementedError

    def feed(self, text: str, at: int, *, is_last: bool) -> int:
        """Read a piece of the text.

        Args:
            text: holds the piece.
            at: where in `text` the piece begins.
            is_last: no more follows.

        Returns:
            Where reading ended: behind the arguments, where they break, or where more text is needed.
        """
        self._is_last = is_last
        while at < len(text) and not (self.is_complete or self.is_broken):
            end = self._read(self, text, at)
            if end is None:
                break
            at = end
        return at

    def _break(self, at: int) -> int:
        """Note that the text does not continue the arguments; return the place."""
        self.is_broken = True
        return at
