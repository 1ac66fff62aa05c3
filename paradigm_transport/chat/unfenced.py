"""Reads an answer that should be one JSON object, without the code fence that models like to put around it."""

from __future__ import annotations

import re

from paradigm_transport.chat.dialects.base import Reader
from paradigm_transport.chat.events import Event, Text, Thought

# Bounded, so that no more than a line is held back.
_OPENING = re.compile(r"\s{0,99}```\w{0,10}[ \t]{0,9}\r?\n")
_MAY_OPEN = re.compile(r"\s{0,99}(?:`{0,2}|```\w{0,10}[ \t]{0,9}\r?)")
_MAY_CLOSE = re.compile(r"\s{0,99}(?:`{1,3}\s{0,99})?\Z")
_LONGEST_CLOSING = 201


class UnfencedReader:
    """Reads an answer as another reader does, but leaves out a code fence around all of its text; see `Reader`.

    Args:
        inner: the other reader.
    """

    def __init__(self, inner: Reader) -> None:
        self._inner = inner
        self._held = ""  # what may be the opening or the closing line of a fence
        self._is_begun = self._is_fenced = False

    @property
    def in_value(self) -> bool:
        """As `Reader.in_value`."""
        return self._inner.in_value

    def feed(self, text: str) -> list[Event]:
        """As `Reader.feed`."""
        return self._read(self._inner.feed(text))

    def finish(self, *, cut_off: bool = False) -> list[Event]:
        """As `Reader.finish`."""
        events = self._read(self._inner.finish(cut_off=cut_off))
        is_closing = self._is_fenced and self._held.strip() in ("", "```")
        return events if is_closing else [*events, *self._release()]

    def _read(self, events: list[Event]) -> list[Event]:
        read: list[Event] = []
        for event in events:
            if isinstance(event, Text):
                read += self._add(event.text)
            else:  # an answer with calls is not an object
                read += [event] if isinstance(event, Thought) else [*self._release(), event]
        return read

    def _add(self, text: str) -> list[Event]:
        text, self._held = self._held + text, ""
        if not self._is_begun:
            opening = _OPENING.match(text)
            if opening is None and _MAY_OPEN.fullmatch(text):
                self._held = text
                return []
            self._is_begun, self._is_fenced = True, opening is not None
            text = text[opening.end() :] if opening else text
        if self._is_fenced:
            closing = _MAY_CLOSE.search(text, max(0, len(text) - _LONGEST_CLOSING))
            end = closing.start() if closing else len(text)
            text, self._held = text[:end], text[end:]
        return [Text(text)] if text else []

    def _release(self) -> list[Event]:
        self._is_begun = True
        held, self._held = self._held, ""
        return [Text(held)] if held else []
