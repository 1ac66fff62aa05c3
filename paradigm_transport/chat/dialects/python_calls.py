"""Calls written as Python: `[get_weather(city='Oslo'), time()]`. They are read, never run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from paradigm_transport.chat.dialects.argument_grammar import ArgumentGrammar, Notation
from paradigm_transport.chat.dialects.arguments import end_of, word_at
from paradigm_transport.chat.dialects.base import Marks, TextAroundMarks
from paradigm_transport.chat.dialects.call_writer import CallWriter
from paradigm_transport.chat.dialects.marked import MarkedReader
from paradigm_transport.chat.dialects.python_values import CALL, PART_OF_CALL, PythonArguments
from paradigm_transport.chat.dialects.structural import among_text
from paradigm_transport.chat.events import CallEnd, Event, Text
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Tool, ToolCall, to_json

_NOTATION = Notation(
    string=r'''"'" ([^'\\\n] | "\\" [^\n])* "'" | "\"" ([^"\\\n] | "\\" [^\n])* "\""''',
    write=repr,
    write_key=repr,
    comma=", ",
    assign="=",
    colon=": ",
    key="string",
)
_SEPARATORS = re.compile(r"[\s,;]*")


@dataclass(frozen=True)
class PythonCalls:
    """Calls written as Python; see `CallFormat`.

    All marks are as templates write them, with the space around them, which readers ignore.

    Attributes:
        begin: begins the calls; empty if they are always bare.
        end: ends them.
        is_list: the calls are a list; else each is on a separate line.
        may_be_bare: the marks may be missing. Then the whole answer must be a list of calls, one of a known tool.
        has_echo: models repeat the calls behind the end mark, and the end mark again.
    """

    begin: str = ""
    end: str = ""
    is_list: bool = True
    may_be_bare: bool = False
    has_echo: bool = False

    @property
    def begins(self) -> tuple[str, ...]:
        """As `CallFormat.begins`."""
        return (self.begin.strip(),) if self.begin else ()

    @property
    def stop(self) -> str:
        """As `CallFormat.stop`."""
        return self.end.strip()

    def write(self, calls: Sequence[ToolCall]) -> str:
        """As `CallFormat.write`."""
        written = [f"{call.name}({_write_arguments(call.arguments)})" for call in calls]
        body = f"[{', '.join(written)}]" if self.is_list else "\n".join(written)
        return f"{self.begin}{body}{self.end}"

    def prefill(self, name: str | None) -> str:
        """As `CallFormat.prefill`."""
        return f"{self.begin}{'[' * self.is_list}{'' if name is None else f'{name}('}"

    def constraint(self, tools: Sequence[Tool], name: str | None, *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.constraint`."""
        grammar = ArgumentGrammar(_NOTATION)
        offered = [tool for tool in tools if name in (None, tool.name)]
        first = grammar.calls(offered, "NAME(", ")", len(f"{name}(") if name else 0)
        calls = self._several(grammar, first, tools, parallel=parallel)
        return {"grammar": grammar.write(f"{calls} {to_json(self._closing)}" if self._closing else calls)}

    def offer(self, tools: Sequence[Tool], *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.offer`; a bare list cannot be distinguished from text beforehand."""
        if not self.begin:
            return None
        grammar = ArgumentGrammar(_NOTATION)
        calls = self._several(grammar, grammar.calls(tools, "NAME(", ")"), tools, parallel=parallel)
        content = {"type": "grammar", "grammar": grammar.write(calls)}
        block = {"type": "tag", "begin": self.prefill(None), "content": content, "end": self._closing}
        return among_text([self.prefill(None)], [block], parallel=False)

    @property
    def _closing(self) -> str:
        return f"{']' * self.is_list}{self.end}"

    def _several(self, grammar: ArgumentGrammar, first: str, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Return the expression of a call and those that follow it."""
        separator = to_json(", " if self.is_list else "\n")
        return f"{first} ({separator} {grammar.calls(tools, 'NAME(', ')')})*" if parallel else first

    def reader(
        self, *, tools: Sequence[Tool] = (), prefilled: bool = False, name: str | None = None, parallel: bool = True
    ) -> PythonReader:
        """As `CallFormat.reader`."""
        return PythonReader(self, tools=tools, prefilled=prefilled, name=name, parallel=parallel)


def _write_arguments(arguments: JsonObject) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())


class PythonReader(MarkedReader):
    """Reads one answer with calls in Python; see `Reader`.

    Args:
        form: how calls are written.
        tools: the tools that may be called.
        prefilled: the prompt ends within the calls.
        name: the tool of the first call, if the prompt ends before its arguments.
        parallel: read more than the first call.
    """

    def __init__(
        self,
        form: PythonCalls,
        *,
        tools: Sequence[Tool] = (),
        prefilled: bool = False,
        name: str | None = None,
        parallel: bool = True,
    ) -> None:
        begin, end = form.begin.strip(), form.end.strip()
        super().__init__(Marks(*filter(None, (begin, end))), end, parallel=parallel)
        self._begin = begin
        self._is_list = form.is_list
        self._has_echo = form.has_echo
        self._names = {tool.name for tool in tools}
        self._is_list_begun = prefilled
        self._echo: list[str] | None = None  # text that may turn out to be one
        self._bare: list[str] | None = None  # all the text, if it may be a bare list
        self._held: list[Event] = []  # what it holds, if it is one
        self._is_single = not parallel
        if name is not None:
            self._open_call(name)
        elif prefilled:
            self._read = PythonReader._read_calls
        elif form.may_be_bare or not form.begin:
            self._read = PythonReader._read_first

    def feed(self, text: str) -> list[Event]:
        """As `Reader.feed`."""
        return self._hold(super().feed(text))

    def finish(self, *, cut_off: bool = False) -> list[Event]:
        """As `Reader.finish`."""
        if self._read is PythonReader._read_first:
            self._give_up()
        events = self._hold(super().finish(cut_off=cut_off))
        return self._decide(cut_off) if self._bare is not None else events

    # States

    def _read_first(self) -> bool:
        """Read the beginning of the answer, which says whether it is a bare list."""
        self._bare = self._bare or []
        self._skip_space()
        if not self._rest.startswith("[", self._at):
            return self._at < len(self._rest) and self._give_up()
        self._parallel = True  # so that all of the list is read, for it may be text
        self._read = PythonReader._read_calls
        return True

    def _read_mark(self, mark: str) -> bool:
        if mark == self._begin:
            self._end_echo()
            self._is_list_begun = False
            self._begin_block(PythonReader._read_calls)
        elif self._echo is not None:
            self._echo = []
        return super()._read_mark(mark)

    def _read_calls(self) -> bool:
        """Read what is between calls."""
        self._take(end_of(_SEPARATORS, self._rest, self._at))
        self._raw = []
        at, rest = self._at, self._rest
        mark = word_at(rest, at, (self._end,)) if self._end else ""
        found = CALL.match(rest, at)
        if at == len(rest) or mark is None:
            return False
        if mark:
            self._take(at + len(mark))
            self._end_block()
        elif rest[at] == "{" and self._bare is None:
            self._read = MarkedReader._read_json_calls
        elif rest[at] == ("]" if self._is_list_begun else "["):
            self._take(at + 1)
            self._read = PythonReader._read_behind_list if self._is_list_begun else self._read
            self._is_list_begun = True
        elif found is not None:
            self._take(found.end())
            self._open_call(found["name"])
        elif PART_OF_CALL.match(rest, at):
            self._has_call = False  # but the half of one
            return False
        else:
            self._break()
        return True

    def _end_block(self) -> None:
        super()._end_block()
        self._echo = [] if self._has_echo else None

    def _read_behind_list(self) -> bool:
        self._skip_space()
        if self._at == len(self._rest):
            return False
        if self._bare is not None:
            return self._give_up()
        mark = word_at(self._rest, self._at, (self._end,)) if self._end else ""
        if mark:
            self._take(self._at + len(mark))
            self._end_block()
        elif mark == "":
            self._read = MarkedReader._read_text
        return mark is not None

    def _new_arguments(self, call: CallWriter) -> PythonArguments:
        return PythonArguments(call, self._end, is_list=self._is_list)

    def _read_behind_arguments(self) -> None:
        if self._end_call():
            self._read = PythonReader._read_calls

    def _break(self) -> None:
        if self._bare is None:
            super()._break()
        else:
            self._give_up()

    # Echoes

    def _show(self, text: str) -> None:
        if self._echo is None:
            super()._show(text)
        else:
            self._echo.append(text)

    def _end_echo(self) -> None:
        echo, self._echo = self._echo, None
        for text in echo or ():
            self._show(text)

    def _end_text(self) -> None:
        self._end_echo()
        super()._end_text()

    # Bare lists

    def _take(self, end: int) -> str:
        text = super()._take(end)
        if self._bare is not None:
            self._bare.append(text)
        return text

    def _hold(self, events: list[Event]) -> list[Event]:
        if self._bare is None:
            return events
        self._held += events
        return []

    def _give_up(self) -> bool:
        """Show what is not a bare list as text."""
        text = "".join(self._bare or [])
        self._bare, self._held, self._events = None, [], []
        self._call, self._raw, self._count, self._parallel = None, [], 0, not self._is_single
        self._text = TextAroundMarks()
        self._show(text)
        self._arguments, self._read = None, MarkedReader._read_text
        return True

    def _decide(self, cut_off: bool) -> list[Event]:
        """Return what the answer is at its end: calls if it is a list of known ones, or else text."""
        text = "".join(self._bare or [])
        names = {event.call.name for event in self._held if isinstance(event, CallEnd)}
        begun = text.strip().removeprefix("[").lstrip()
        is_cut = cut_off and begun != "" and any(name.startswith(begun) for name in self._names)
        if not names & self._names and not is_cut:
            return [Text(text)] if text else []
        return self._first(self._held) if self._is_single else self._held

    def _first(self, events: list[Event]) -> list[Event]:
        """Return the events up to the first valid call."""
        ends = (
            place
            for place, event in enumerate(events, 1)
            if isinstance(event, CallEnd) and isinstance(event.call, ToolCall)
        )
        return events[: next(ends, len(events))]
