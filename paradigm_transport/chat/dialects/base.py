"""What formats of calls are, and what their readers share: marks and the text around them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from paradigm_transport.chat.events import Event, ParsedMessage, Text, Thought
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Tool, ToolCall


class Reader(Protocol):
    """Reads one answer. Any split of its text gives the same events, once parts of one text are joined."""

    @property
    def in_value(self) -> bool:
        """Whether what follows is inside a value of a call's arguments, where marks are data."""

    def feed(self, text: str) -> list[Event]:
        """Read the next piece of the answer.

        Args:
            text: the piece.

        Returns:
            What is certain by now and has not been returned before.
        """

    def finish(self, *, cut_off: bool = False) -> list[Event]:
        """End the answer; return the remaining events.

        Args:
            cut_off: the answer ended by its length, so that a call without its end mark is not whole.
        """


class CallFormat(Protocol):
    """How a model family writes calls of tools."""

    @property
    def begins(self) -> tuple[str, ...]:
        """The marks that begin calls, none of which is the beginning of another; none if calls are bare."""

    @property
    def stop(self) -> str:
        """The stop sequence that ends an answer behind its first call; empty if the form has none."""

    def write(self, calls: Sequence[ToolCall]) -> str:
        """Write calls as the family's template writes them in earlier messages."""

    def prefill(self, name: str | None) -> str:
        """Begin an answer that must be a call.

        Args:
            name: the tool to call, and the beginning goes up to its arguments; None for any tool.
        """

    def constraint(self, tools: Sequence[Tool], name: str | None, *, parallel: bool) -> JsonObject | None:
        """Return vLLM's `structured_outputs` that enforces a forced call, from where the prefill ends.

        Args:
            tools: the tools that may be called.
            name: the tool in the prefill, one of them; None for any.
            parallel: several calls are allowed.

        Returns:
            The field's value; None if the call cannot be enforced.
        """

    def offer(self, tools: Sequence[Tool], *, parallel: bool) -> JsonObject | None:
        """Return vLLM's `structured_outputs` that holds calls to their schemas if the model chooses to call.

        Args:
            tools: the tools that may be called.
            parallel: several calls are allowed.

        Returns:
            The field's value; None if such calls cannot be enforced.
        """

    def reader(
        self, *, tools: Sequence[Tool] = (), prefilled: bool = False, name: str | None = None, parallel: bool = True
    ) -> Reader:
        """Return a reader of the text behind thoughts and wrappers: of text and calls.

        Args:
            tools: the tools that may be called, whose schemas give values their types.
            prefilled: the text begins where `prefill(name)` ends.
            name: the tool in the prefill.
            parallel: read more than the first call.
        """


class TextReader:
    """Reads an answer that is nothing but text."""

    in_value = False

    def feed(self, text: str) -> list[Event]:
        """Read the next piece of the answer; it is text."""
        return [Text(text)] if text else []

    def finish(self, *, cut_off: bool = False) -> list[Event]:
        """End the answer; nothing remains."""
        return []


def read_message(reader: Reader, text: str, *, cut_off: bool = False) -> ParsedMessage:
    """Read a whole answer.

    Args:
        reader: a new reader.
        text: the answer.
        cut_off: it ended by its length.
    """
    message = ParsedMessage()
    message.add(reader.feed(text))
    message.add(reader.finish(cut_off=cut_off))
    return message


_HALF = 5


@lru_cache(maxsize=256)
def marks_of(*marks: str) -> Marks:
    """Return what finds some marks; see `Marks`."""
    return Marks(*marks)


class Marks:
    """Finds marks in a text that arrives in pieces.

    Args:
        marks: the marks; none is the beginning of another. Without any, none is found.
    """

    def __init__(self, *marks: str) -> None:
        self._marks = marks
        beginnings = {mark[:length] for mark in marks for length in range(1, len(mark))}
        # One flat list of literals, so that the regex engine looks for their first characters alone.
        literals = [*map(re.escape, marks), *(rf"{re.escape(begin)}\Z" for begin in beginnings)]
        self._any = re.compile("|".join(literals) or "(?!)")

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

    def at(self, text: str, at: int) -> str | None:
        """Return the mark at a place; an empty string if what is left of the text may become one, None if not."""
        found = self._any.match(text, at)
        if found is None:
            return "" if at == len(text) else None
        return found[0] if found[0] in self._marks else ""


def is_half_mark(text: str) -> bool:
    """Whether the end of an answer that may have become a mark was cut off in one: it is long, and not a word."""
    return len(text) >= _HALF and not text[0].isalpha()


class JoinedText:
    """Text without the space next to marks; what stands before and after a mark is joined by a line break.

    Args:
        kind: the kind of its events.
        after_mark: a mark precedes the text.
    """

    def __init__(self, kind: type[Text | Thought] = Text, *, after_mark: bool = False) -> None:
        self._kind = kind
        self._space: list[str] = []  # held back, since a mark may follow
        self._is_after_mark = after_mark
        self._has_text = False

    def add(self, text: str) -> list[Event]:
        """Add text; return what of it is certain to be shown."""
        if self._is_after_mark:
            text = text.lstrip()
        shown = text.rstrip()
        events: list[Event] = []
        if shown:
            joint = "\n" if self._is_after_mark and self._has_text else "".join(self._space)
            events.append(self._kind(joint + shown))
            self._space.clear()
            self._is_after_mark, self._has_text = False, True
        if len(shown) < len(text):
            self._space.append(text[len(shown) :])
        return events

    def mark(self) -> list[Event]:
        """Note that a mark follows."""
        self._space.clear()
        self._is_after_mark = True
        return []

    def finish(self) -> list[Event]:
        """End the text; return the space at its end."""
        space = "".join(self._space)
        return [self._kind(space)] if space else []


_FENCE = "```"
_FENCE_AT_END = re.compile(r"(?:\A|(?<=\n))([ \t]*(?:```[\w+-]{0,20}|`{1,2}))(\s*)\Z")


class TextAroundMarks(JoinedText):
    """Text around calls: without the space next to their marks, and without a code fence that holds nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self._begins_line = True
        self._held: list[str] = []  # a last line that is or may become a fence, and space behind it
        self._fence = ""  # was opened right before a mark
        self._behind = ""  # what follows the marks in that fence, and may close it

    def add(self, text: str) -> list[Event]:
        """Add text; return what of it is certain to be shown."""
        if self._fence:
            return self._close_fence(text)
        begins_line = self._begins_line or bool(self._held)
        if self._held and text.strip():
            text = "".join([*self._held, text])
            self._held = []
        elif self._held:
            self._held.append(text)
            return []
        line = text.rstrip(" \t")
        self._begins_line = line[-1:] == "\n" if line else begins_line
        found = _FENCE_AT_END.search(text) if "`" in text else None
        if found is not None and (found.start() or begins_line):
            self._held = [found[1], found[2]]
            text = text[: found.start()]
        return super().add(text)

    def mark(self) -> list[Event]:
        """Note that a mark follows; return what was held back and is text."""
        held, self._held, self._begins_line = self._held, [], True
        events: list[Event] = []
        if held and _FENCE in held[0]:
            self._fence = held[0]
        elif held:
            events = super().add(held[0])
        super().mark()
        return events

    def finish(self) -> list[Event]:
        """End the text; return what was held back at its end."""
        return [*super().add("".join(self._held)), *super().finish()]

    def _close_fence(self, text: str) -> list[Event]:
        behind = (self._behind + text).lstrip()
        if len(behind) < len(_FENCE) and _FENCE.startswith(behind):
            self._behind = behind
            return []
        fence, self._fence, self._behind = self._fence, "", ""
        holds_only_calls = behind.startswith(_FENCE)
        return self.add(behind[len(_FENCE) :] if holds_only_calls else f"{fence}\n{behind}")
