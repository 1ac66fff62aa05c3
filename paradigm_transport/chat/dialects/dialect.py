"""A dialect: all that is known of how a model family writes, as one row of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from paradigm_transport.chat.dialects.base import CallFormat, Reader, TextReader
from paradigm_transport.chat.dialects.layers import NO_MARKS, Turn, TurnLayer, WrapperLayer
from paradigm_transport.chat.dialects.thoughts import Thoughts, ThoughtsLayer
from paradigm_transport.chat.structured import check_depth
from paradigm_transport.messages import Message, Tool, ToolCall, to_json


@dataclass(frozen=True)
class Dialect:
    """How a model family writes calls and thoughts, and what is written for it.

    Attributes:
        name: the family's name.
        calls: how it writes calls.
        sign: a pattern of calls of it in a rendered chat, with `NAME` and `KEY` for those of the tool; empty if it is
            found by its thoughts alone.
        listed: a pattern of a rendered list of tools, if it identifies the family better than a call.
        tool_parsers: its names as in vLLM's `--tool-call-parser`.
        reasoning_parsers: its names as in vLLM's `--reasoning-parser`.
        thoughts: how it writes thoughts; None if it has none.
        wrapper: words around its answers; empty for none.
        turn: what begins and ends its answers.
        dropped: marks of its answers that mean nothing.
        stops: the stop sequences that the server must know of.
        results: what is written before and behind a tool's result.
        form: the instruction to the model on how to write calls.
        example: an example of a call, with placeholders; one that `calls` writes by default.
        has_channels: even a plain answer is written in marks, which the reader of calls knows.
    """

    name: str
    calls: CallFormat
    sign: str = ""
    listed: str = ""
    tool_parsers: tuple[str, ...] = ()
    reasoning_parsers: tuple[str, ...] = ()
    thoughts: Thoughts | None = None
    wrapper: tuple[str, str] | tuple[()] = ()
    turn: Turn = NO_MARKS
    dropped: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    results: tuple[str, str] = ("<tool_response>\n", "\n</tool_response>")
    form: str = "in this form, once for each call"
    example: str = ""
    has_channels: bool = False

    # Writing, for templates that know of no tools

    def describe(self, tools: Sequence[Tool]) -> str:
        """Describe tools for the system message, and how to call them.

        Raises:
            InvalidParameterError: as `check_depth`.
        """
        for tool in tools:
            check_depth(tool.parameters)
        described = "\n".join(to_json(tool.to_openai()) for tool in tools)
        before, behind = (mark.strip() for mark in self.results)
        example = self.example or self.calls.write([ToolCall("call00001", "NAME", {"KEY": "VALUE"})]).strip()
        return (
            "You can call tools. Each line here describes one, with a JSON schema of its arguments:\n"
            f"<tools>\n{described}\n</tools>\n"
            f"To call a tool, write its name and its arguments {self.form}:\n"
            f"{example}\n"
            f"The results follow between {before} and {behind}: use them to answer."
        )

    def write(self, calls: Sequence[ToolCall]) -> str:
        """Write the calls of a message."""
        return self.calls.write(calls)

    def result(self, message: Message) -> str:
        """Write a tool's result."""
        return message.content.join(self.results)

    # Asking

    def stop_sequences(self, *, offered: bool, single: bool) -> list[str]:
        """Return the stop sequences that end an answer besides the end of its turn.

        Args:
            offered: the model may call tools.
            single: the answer ends with its first call.
        """
        if not offered:
            return [*self.stops, *self.calls.begins]
        return [*self.stops, *filter(None, [self.calls.stop] * single)]

    def without_thoughts(self, prompt: str) -> str:
        """Return a prompt behind which the model does not think."""
        return prompt if self.thoughts is None else self.thoughts.closed(prompt)

    @cached_property
    def reads_plain_answers(self) -> bool:
        """Whether an answer that calls no tools has marks, too."""
        return self.has_channels or self.thoughts is not None or bool(self.wrapper)

    # Reading

    def reader(
        self,
        *,
        prompt: str = "",
        tools: Sequence[Tool] = (),
        calls: bool = True,
        continued: bool = False,
        prefilled: bool = False,
        name: str | None = None,
        parallel: bool = True,
    ) -> Reader:
        """Return a reader of one answer.

        Args:
            prompt: what is answered, which may have opened thoughts.
            tools: the tools that may be called.
            calls: the answer may hold calls.
            continued: the prompt ends within a message, which the answer continues.
            prefilled: the prompt ends with `prefill(name)`.
            name: the tool in the prefill.
            parallel: read more than the first call.
        """
        if not calls and not self.reads_plain_answers:
            return TextReader()
        make: Callable[[], Reader] = partial(self._inner, tools, calls or self.has_channels, False, None, parallel)
        reader = self._inner(tools, calls or self.has_channels, prefilled, name, parallel)
        dropped = self.dropped
        if self.thoughts is not None:
            dropped = tuple(mark for mark in dropped if mark not in self.thoughts.ends)
            begins = self.calls.begins if calls else ()
            are_opened = self.thoughts.are_begun_by if continued else self.thoughts.are_opened_by
            opened = not prefilled and are_opened(prompt)
            reader = ThoughtsLayer(self.thoughts, reader, make, call_begins=begins, opened=opened)
        return TurnLayer(reader, self.turn, dropped) if self.turn.ends or dropped else reader

    def _inner(self, tools: Sequence[Tool], calls: bool, prefilled: bool, name: str | None, parallel: bool) -> Reader:
        """Return a reader of what is behind thoughts."""
        reader: Reader = TextReader()
        if calls:
            reader = self.calls.reader(tools=tools, prefilled=prefilled, name=name, parallel=parallel)
        return WrapperLayer(reader, *self.wrapper, self.calls.begins) if self.wrapper else reader
