"""Answers read whole and in pieces: any split must give the same events."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from paradigm_transport.chat.dialects.base import Reader
from paradigm_transport.chat.events import CallArguments, CallBegin, CallEnd, Event, Text
from paradigm_transport.messages import ToolCall

Call = tuple[str, dict[str, Any]]


@dataclass
class Answer:
    """What was read.

    Attributes:
        text: the text for the user.
        calls: the names and arguments of calls.
        invalid: the names and texts of invalid calls.
        reasons: why they are invalid.
    """

    text: str = ""
    calls: list[Call] = field(default_factory=list)
    invalid: list[tuple[str | None, str]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def random_splits(text: str) -> Iterable[Sequence[str]]:
    """Return an answer by characters, and in pieces of other lengths."""
    source = random.Random(len(text))
    for longest in (1, 3, 20):
        places = [0]
        while places[-1] < len(text):
            places.append(places[-1] + source.randint(1, longest))
        yield [text[begin:end] for begin, end in pairwise(places)]


def every_split(text: str) -> Iterable[Sequence[str]]:
    """Return an answer in two parts, for each place."""
    return ([text[:place], text[place:]] for place in range(len(text)))


def read(
    make_reader: Callable[[], Reader],
    text: str,
    *,
    cut_off: bool = False,
    split: Callable[[str], Iterable[Sequence[str]]] = random_splits,
) -> Answer:
    """Read an answer whole and in pieces, and check that all is the same."""
    whole = _events(make_reader(), [text], cut_off)
    for parts in split(text):
        assert _events(make_reader(), parts, cut_off) == whole, parts
    return _answer(whole)


def _events(reader: Reader, parts: Sequence[str], cut_off: bool) -> list[list[Any]]:
    """Return the events of an answer, those that belong together joined."""
    joined: list[list[Any]] = []
    events: list[Event] = [event for part in parts for event in reader.feed(part)]
    for event in [*events, *reader.finish(cut_off=cut_off)]:
        kind: list[Any] = [type(event), getattr(event, "index", None)]
        if isinstance(event, Text | CallArguments) and joined and joined[-1][:2] == kind:
            joined[-1][2] += event.text
        elif isinstance(event, Text | CallArguments):
            joined.append([*kind, event.text])
        elif isinstance(event, CallBegin):
            joined.append([*kind, event.name])
        elif isinstance(event, CallEnd) and isinstance(event.call, ToolCall):
            joined.append([*kind, event.call.name, event.call.arguments])
        elif isinstance(event, CallEnd):
            joined.append([*kind, event.call.name, event.call.text, event.call.reason])
    return joined


def _answer(events: list[list[Any]]) -> Answer:
    answer = Answer()
    arguments: dict[int, str] = {}
    ends = 0
    for kind, index, *values in events:
        if kind is Text:
            answer.text += values[0]
        elif kind is CallArguments:
            arguments[index] = values[0]
        elif kind is CallEnd:
            assert index == ends
            ends += 1
        if kind is CallEnd and isinstance(values[1], dict):
            assert json.loads(arguments[index]) == values[1]
            answer.calls.append((values[0], values[1]))
        elif kind is CallEnd:
            answer.invalid.append((values[0], values[1]))
            answer.reasons.append(values[2])
    return answer
