"""Events: what a reader makes of a model's answer, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from paradigm_transport.messages import InvalidToolCall, ToolCall


@dataclass(frozen=True, slots=True)
class Text:
    """Text for the user.

    Attributes:
        text: the new part of it.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """What the model thinks before it answers.

    Attributes:
        text: the new part of it.
    """

    text: str


@dataclass(frozen=True, slots=True)
class CallBegin:
    """The beginning of a call whose tool is known.

    Attributes:
        index: the call's place among the calls of the answer, from 0.
        id: the call's id.
        name: the tool's name.
    """

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A part of a call's arguments.

    Attributes:
        index: the call's place among the calls of the answer, from 0.
        text: the new part of the arguments' JSON.
    """

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The end of a call.

    Attributes:
        index: the call's place among the calls of the answer, from 0.
        call: the whole call; an invalid one may come without a `CallBegin`.
    """

    index: int
    call: ToolCall | InvalidToolCall


Event = Text | Thought | CallBegin | CallArguments | CallEnd


@dataclass(slots=True)
class ParsedMessage:
    """An answer, put together from its events.

    Attributes:
        text: the text for the user.
        thoughts: what the model thought.
        calls: the calls of tools.
        invalid_calls: the attempts at a call that could not be read.
    """

    text: str = ""
    thoughts: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    invalid_calls: list[InvalidToolCall] = field(default_factory=list)

    def add(self, events: Iterable[Event]) -> None:
        """Add the next events of the answer."""
        for event in events:
            if isinstance(event, Text):
                self.text += event.text
            elif isinstance(event, Thought):
                self.thoughts += event.text
            elif isinstance(event, CallEnd):
                if isinstance(event.call, ToolCall):
                    self.calls.append(event.call)
                else:
                    self.invalid_calls.append(event.call)
