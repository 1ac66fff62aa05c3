"""The marks of a dialect, found in a stream, and the text around them."""

from __future__ import annotations

import re

from paradigm_transport.chat.events import Event, Text


class Marks:
    """Finds marks in a text that arrives in pieces.

    Args:
        marks: the marks; none is the beginning of another.
    """

    def __init__(self, *marks: str) -> None:
        self._marks = marks
        beginnings = {mark[:length] for mark in marks for length in range(1, len(mark))}
        # One flat list of literals, so that the regex engine looks for their first characters alone.
        self._any = re.compile("|".join([*map(re.escape, marks), *(rf"{re.escape(begin)}\Z" for begin in beginnings)]))

    def next(self, text: str, at: int) -> tuple[int, str]:
        """Find the first mark from a place on.

        Returns:
            Where it begins, and the mark. If there is none, where the end of the text begins that may become one (or
            the text's length), and an empty string.
        """
        found = self._any.search(text, at)
        if found is None:
            return len(text), ""
        return found.start(), found[0] if found[0] in self._marks else ""

    def may_begin(self, text: str, at: int) -> bool:
        """Whether all that a text holds from a place on is a mark or the beginning of one."""
        return at == len(text) or self._any.fullmatch(text, at) is not None


class TextAroundMarks:
    """Text without the space next to marks; what stands before and after a mark is joined by a line break."""

    def __init__(self) -> None:
        self._space: list[str] = []  # held back, since a mark may follow
        self._is_after_mark = False
        self._has_text = False

    def add(self, text: str) -> list[Event]:
        """Add text; return what of it is certain to be shown."""
        if self._is_after_mark:
            text = text.lstrip()
        shown = text.rstrip()
        events: list[Event] = []
        if shown:
            joint = "\n" if self._is_after_mark and self._has_text else "".join(self._space)
            events.append(Text(joint + shown))
            self._space.clear()
            self._is_after_mark, self._has_text = False, True
        if len(shown) < len(text):
            self._space.append(text[len(shown) :])
        return events

    def mark(self) -> None:
        """Note that a mark follows."""
        self._space.clear()
        self._is_after_mark = True

    def finish(self) -> list[Event]:
        """End the text; return the space at its end."""
        space = "".join(self._space)
        return [Text(space)] if space else []
