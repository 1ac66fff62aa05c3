"""Thoughts: what a model writes before it answers, and how to separate it from the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from paradigm_transport.chat.dialects.base import JoinedText, Reader
from paradigm_transport.chat.dialects.layers import Layer
from paradigm_transport.chat.events import CallArguments, CallBegin, CallEnd, Event, Text, Thought
from paradigm_transport.messages import ToolCall


@dataclass(frozen=True)
class Thoughts:
    """How a model family writes what it thinks before it answers.

    Attributes:
        begins: the marks that begin thoughts.
        ends: the marks that end them.
        none: thoughts that are empty, which keep the model from thinking where a prompt ends in them.
        close: what ends thoughts that the prompt has opened.
        are_open: an answer begins in thoughts, unless the prompt shows otherwise.
        may_end_in_calls: calls at the end of thoughts that do not end are made; else the model only thinks of them.
        are_phrases: the marks are words, which are text in other places.
    """

    begins: tuple[str, ...]
    ends: tuple[str, ...]
    none: str
    close: str
    are_open: bool = False
    may_end_in_calls: bool = False
    are_phrases: bool = False

    def are_opened_by(self, prompt: str) -> bool:
        """Whether an answer to a prompt begins in thoughts."""
        tail = prompt.rstrip()
        return not tail.endswith(self.ends) and (self.are_open or self.are_begun_by(tail))

    def are_begun_by(self, prompt: str) -> bool:
        """Whether a prompt ends in the beginning of thoughts."""
        return prompt.rstrip().endswith(tuple(mark.rstrip() for mark in self.begins))

    def closed(self, prompt: str) -> str:
        """Return a prompt behind which the model does not think."""
        tail = prompt.rstrip()
        if tail.endswith(self.ends):
            return prompt
        return prompt + (self.close if self.are_begun_by(tail) else self.none)


def tagged(
    begin: str, end: str, none: str, close: str, *, are_open: bool = False, may_end_in_calls: bool = False
) -> Thoughts:
    """Return thoughts between two marks; see `Thoughts`."""
    return Thoughts((begin,), (end,), none, close, are_open, may_end_in_calls)


class ThoughtsLayer(Layer):
    """Reads thoughts.

    A call in thoughts is held back until it is known whether the thoughts end behind it, and it was only thought of.

    Args:
        thoughts: how they are written.
        inner: reads the answer.
        make_inner: makes another reader of calls.
        call_begins: the marks that begin calls.
        opened: the answer begins in thoughts.
    """

    def __init__(
        self,
        thoughts: Thoughts,
        inner: Reader,
        make_inner: Callable[[], Reader],
        *,
        call_begins: tuple[str, ...],
        opened: bool,
    ) -> None:
        call_begins = call_begins if thoughts.may_end_in_calls else ()
        marks = (*thoughts.begins, *thoughts.ends)
        words = marks if thoughts.are_phrases else ()
        super().__init__(() if words else marks, inner, (*words, *call_begins))
        self._thoughts, self._make_inner, self._call_begins = thoughts, make_inner, call_begins
        self._thought = JoinedText(Thought, after_mark=True)
        self._is_thinking = opened
        self._is_begun = opened
        self._count = 0  # of calls
        self._is_in_call = False
        self._attempt: Reader | None = None  # at calls in thoughts
        self._held: list[str] = []  # what it has read
        self._attempted: list[Event] = []

    @property
    def in_value(self) -> bool:
        """As `Reader.in_value`."""
        return self._inner.in_value or (self._attempt is not None and self._attempt.in_value)

    def _read(self, text: str) -> list[Event]:
        self._is_begun = self._is_begun or not text.isspace()
        if not self._is_thinking:
            return self._show(self._inner.feed(text))
        if self._attempt is None:
            return self._thought.add(text)
        events = self._attempt.feed(text)
        self._held.append(text)
        self._attempted += events
        return [] if _are_calls(events) else self._give_up()

    def _read_mark(self, mark: str) -> list[Event]:
        if mark in self._call_begins:
            return self._begin_attempt(mark)
        if self._thoughts.are_phrases and not self._is_phrase_in_place(mark):
            return self._read(mark)
        if mark in self._thoughts.begins and (
            self._is_in_call or (self._attempt is not None and self._attempt.in_value)
        ):
            return self._read(mark)
        events = self._give_up() if mark in self._thoughts.ends else []
        self._is_thinking = mark in self._thoughts.begins
        self._is_begun = True
        self._thought.mark()
        self._text.mark()
        return events

    def _is_phrase_in_place(self, mark: str) -> bool:
        return self._is_thinking if mark in self._thoughts.ends else not self._is_begun

    def _begin_attempt(self, mark: str) -> list[Event]:
        if self._is_thinking and self._attempt is None:
            self._attempt = self._make_inner()
        return self._read(mark)

    def _give_up(self) -> list[Event]:
        """Take an attempt at calls for thoughts."""
        text = self._never_text.sub("", "".join(self._held))
        self._attempt, self._held, self._attempted = None, [], []
        return self._thought.add(text)

    def _show(self, events: list[Event]) -> list[Event]:
        for event in events:
            self._count += isinstance(event, CallEnd)
            self._is_in_call = isinstance(event, CallBegin | CallArguments)
        return super()._show(events)

    def _finish(self, *, cut_off: bool) -> list[Event]:
        attempted = self._finish_attempt(cut_off=cut_off)
        thought = [] if attempted or self._attempt is None else self._give_up()
        events = [*thought, *self._show(self._inner.finish(cut_off=cut_off)), *self._text.finish()]
        return [*events, *_renumbered(attempted, self._count)]

    def _finish_attempt(self, *, cut_off: bool) -> list[Event]:
        """Return the calls that the thoughts end in; none if they are only thoughts."""
        if self._attempt is None:
            return []
        events = [*self._attempted, *self._attempt.finish(cut_off=cut_off)]
        are_calls = _are_calls(events) and any(isinstance(event, CallEnd) for event in events)
        return events if are_calls else []


def _are_calls(events: Iterable[Event]) -> bool:
    """Whether events have nothing but calls, all of them valid."""
    return not any(
        (isinstance(event, Text) and not event.text.isspace())
        or (isinstance(event, CallEnd) and not isinstance(event.call, ToolCall))
        for event in events
    )


def _renumbered(events: Iterable[Event], first: int) -> list[Event]:
    """Return the events of calls, numbered from another one than 0."""
    return [replace(event, index=event.index + first) for event in events if not isinstance(event, Text | Thought)]
