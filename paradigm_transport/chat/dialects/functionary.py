"""The format of Functionary v3.2, in which a line with a recipient precedes each part of an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paradigm_transport.chat.dialects.call_json import new_call_id
from paradigm_transport.chat.dialects.call_marks import CallMarks
from paradigm_transport.chat.dialects.json_reader import JsonCallsReader
from paradigm_transport.chat.dialects.structural import among_text, one_of, parameters_of, tag
from paradigm_transport.chat.events import Event
from paradigm_transport.chat.structured import closed
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Tool, ToolCall, to_json

_NEXT = ">>>"
_TEXT = "all\n"


@dataclass(frozen=True)
class FunctionaryCalls:
    """Calls behind lines with the tool's name, the first of which follows the prompt's `>>>`; see `CallFormat`."""

    make_id: Callable[[], str] = new_call_id
    begins = ()
    stop = ""

    def write(self, calls: Sequence[ToolCall]) -> str:
        """As `CallFormat.write`."""
        return "".join(f"{_NEXT}{call.name}\n{to_json(call.arguments)}" for call in calls)

    def prefill(self, name: str | None) -> str:
        """As `CallFormat.prefill`."""
        return "" if name is None else f"{name}\n"

    def constraint(self, tools: Sequence[Tool], name: str | None, *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.constraint`."""
        if name is not None:
            return {"json": closed(parameters_of(tools, name))}
        return one_of([tag(self.prefill(tool.name), tool.parameters) for tool in tools])

    def offer(self, tools: Sequence[Tool], *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.offer`, of the calls that follow text."""
        calls = [tag(f"{_NEXT}{tool.name}\n", tool.parameters) for tool in tools]
        return among_text([_NEXT], calls, parallel=parallel)

    def reader(
        self, *, tools: Sequence[Tool] = (), prefilled: bool = False, name: str | None = None, parallel: bool = True
    ) -> FunctionaryReader:
        """As `CallFormat.reader`."""
        return FunctionaryReader(
            [tool.name for tool in tools], name=name if prefilled else None, parallel=parallel, make_id=self.make_id
        )


class FunctionaryReader(JsonCallsReader):
    """Reads text and calls; see `Reader`.

    Args:
        names: the names of the known tools.
        name: the tool whose line the prompt ends with.
        parallel: read more than the first call.
        make_id: makes the ids of calls.
    """

    def __init__(self, names: Sequence[str], *, name: str | None, parallel: bool, make_id: Callable[[], str]) -> None:
        named = {f"{_NEXT}{each}\n": each for each in names}
        marks = CallMarks(tuple(named), wraps=(f"{_NEXT}{_TEXT}",), named=named)
        super().__init__(marks, prefilled=name is not None, name=name, parallel=parallel, make_id=make_id)
        if name is None:
            self._read = FunctionaryReader._read_start

    def _read_start(self) -> bool:
        """Read the first line, which has no mark before it."""
        lines = {mark.removeprefix(_NEXT): mark for mark in self._marks.all}
        if any(line.startswith(self._rest) and line != self._rest for line in lines):
            return False
        self._read = JsonCallsReader._read_text
        line = next((line for line in lines if self._rest.startswith(line)), "")
        if line:
            self._at = len(line)
            self._read_mark(lines[line])
        return True

    def finish(self, *, cut_off: bool = False) -> list[Event]:
        """As `Reader.finish`."""
        if self._read is FunctionaryReader._read_start:
            self._read = JsonCallsReader._read_text
        return super().finish(cut_off=cut_off)
