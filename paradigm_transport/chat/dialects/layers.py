"""Layers around the reader of calls: each reads its own marks and hands on the text between them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

from paradigm_transport.chat.dialects.base import JoinedText, Reader, is_half_mark, marks_of
from paradigm_transport.chat.events import Event, Text


@lru_cache(maxsize=256)
def _pattern_of(marks: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, marks)) or r"(?!)")


class Layer(ABC):
    """Reads an answer up to the marks of a layer, and has the text between them read by the next one.

    Args:
        marks: the marks.
        inner: reads the text between them.
        words: further marks, which are text in other places.
    """

    def __init__(self, marks: tuple[str, ...], inner: Reader, words: tuple[str, ...] = ()) -> None:
        self._marks = marks_of(*marks, *words)
        self._never_text = _pattern_of(marks)
        self._inner = inner
        self._rest = ""  # the beginning of a mark, perhaps
        self._text = JoinedText()

    @property
    def in_value(self) -> bool:
        """As `Reader.in_value`."""
        return self._inner.in_value

    def feed(self, text: str) -> list[Event]:
        """As `Reader.feed`."""
        text, at = self._rest + text, 0
        events: list[Event] = []
        while True:
            end, mark = self._marks.next(text, at)
            if end > at:
                events += self._read(text[at:end])
            at = end + len(mark)
            if not mark:
                break
            events += self._read(mark) if self._inner.in_value else self._read_mark(mark)
        self._rest = text[at:]
        return events

    def finish(self, *, cut_off: bool = False) -> list[Event]:
        """As `Reader.finish`."""
        rest, self._rest = self._rest, ""
        events: list[Event] = []
        if self._inner.in_value or not is_half_mark(rest):
            events = self._read(rest) if rest else []
        else:
            self._text.mark()
        return [*events, *self._finish(cut_off=cut_off)]

    @abstractmethod
    def _read(self, text: str) -> list[Event]:
        """Read text between marks."""

    @abstractmethod
    def _read_mark(self, mark: str) -> list[Event]:
        """Read a mark."""

    @abstractmethod
    def _finish(self, *, cut_off: bool) -> list[Event]:
        """End the answer."""

    def _show(self, events: list[Event]) -> list[Event]:
        """Join the text of the next layer with that before the last mark."""
        shown: list[Event] = []
        for event in events:
            if isinstance(event, Text):
                # It may hold a mark, if it looked like a value and turned out to be text.
                shown += self._text.add(self._never_text.sub("", event.text))
            else:
                shown.append(event)
        return shown


@dataclass(frozen=True)
class Turn:
    """The marks around an answer.

    Attributes:
        ends: what ends it, if the server shows it.
        begin: the mark that the prompt ends in, before the answer. Models repeat it at times.
        role: what the prompt writes behind that mark.
    """

    ends: tuple[str, ...] = ()
    begin: str = ""
    role: str = ""


NO_MARKS = Turn()


class TurnLayer(Layer):
    """Reads what begins and ends an answer, and marks that mean nothing.

    Behind what ends the answer, all is dropped; but with nothing before it, it does not end the answer.

    Args:
        inner: reads the rest.
        turn: the marks around the answer.
        dropped: marks that mean nothing.
    """

    def __init__(self, inner: Reader, turn: Turn, dropped: tuple[str, ...]) -> None:
        begins = (turn.begin,) if turn.begin else ()
        super().__init__(tuple(dict.fromkeys((*turn.ends, *begins, *dropped))), inner)
        self._turn = turn
        self._is_begun = self._is_ended = False
        self._reads_role = False
        self._role = ""  # as far as it was read

    def _read(self, text: str) -> list[Event]:
        if self._reads_role:
            text = self._without_role(text)
        if not self._is_begun:
            self._is_begun = text.strip() != ""
        return [] if self._is_ended or not text else self._show(self._inner.feed(text))

    def _without_role(self, text: str) -> str:
        text, role = (self._role + text).lstrip(), self._turn.role
        self._reads_role = not text or (len(text) < len(role) and role.startswith(text))
        self._role = text if self._reads_role else ""
        return "" if self._reads_role else text.removeprefix(role)

    def _read_mark(self, mark: str) -> list[Event]:
        held, self._role = self._role, ""
        self._reads_role = False
        events = self._read(held) if held != self._turn.role.rstrip() else []
        self._reads_role = mark == self._turn.begin
        if mark in self._turn.ends and self._is_begun and not self._is_ended:
            self._is_ended = True
            events += self._show(self._inner.finish())
        return [*events, *self._text.mark()]

    def _finish(self, *, cut_off: bool) -> list[Event]:
        events = [] if self._is_ended else self._show(self._inner.finish(cut_off=cut_off))
        return [*events, *self._text.finish()]


class WrapperLayer(Layer):
    """Reads the words in which a model wraps its answer; elsewhere they are text.

    Args:
        inner: reads the answer.
        begin: stands before the answer; it may be missing.
        end: stands behind it, or before a call.
        call_begins: the marks that begin calls.
    """

    def __init__(self, inner: Reader, begin: str, end: str, call_begins: tuple[str, ...] = ()) -> None:
        super().__init__((), inner, (begin, end))
        self._begin, self._end, self._call_begins = begin, end, call_begins
        self._is_begun = self._is_wrapped = False
        self._closing: list[str] = []  # the end and what follows it, unless it is more than the beginning of a call
        self._behind = ""  # what follows it, without the space before it

    def _read(self, text: str) -> list[Event]:
        self._is_begun = self._is_begun or not text.isspace()
        if not self._closing:
            return self._show(self._inner.feed(text))
        self._closing.append(text)
        behind = self._behind = (self._behind + text).lstrip()
        if any(mark.startswith(behind) and mark != behind for mark in self._call_begins or (" ",)):
            return []
        return self._close(behind) if behind.startswith(self._call_begins) else self._reopen()

    def _read_mark(self, mark: str) -> list[Event]:
        if mark == self._end and self._is_wrapped:
            events = self._reopen()
            self._closing = [mark]
            return events
        if mark == self._end or self._is_begun:
            return self._read(mark)
        self._is_begun = self._is_wrapped = True
        return self._text.mark()

    def _reopen(self) -> list[Event]:
        """Take what looked like the end for text."""
        closing, self._closing, self._behind = "".join(self._closing), [], ""
        return self._show(self._inner.feed(closing)) if closing else []

    def _close(self, behind: str) -> list[Event]:
        """Take the end for what it is, with what is behind it."""
        self._closing, self._behind = [], ""
        self._text.mark()
        return self._show(self._inner.feed(behind))

    def _finish(self, *, cut_off: bool) -> list[Event]:
        events = self._close(self._behind) if self._closing else []
        return [*events, *self._show(self._inner.finish(cut_off=cut_off)), *self._text.finish()]
