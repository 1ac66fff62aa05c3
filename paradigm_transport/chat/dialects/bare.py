"""Bare calls: JSON objects without marks; an object is a call only if it names a known tool."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from paradigm_transport.chat.dialects.base import Marks, Reader
from paradigm_transport.chat.dialects.call_json import CUT_OFF, CallReader, new_call_id
from paradigm_transport.chat.dialects.call_marks import CallMarks
from paradigm_transport.chat.dialects.json_calls import OBJECTS, JsonObjects
from paradigm_transport.chat.dialects.json_reader import JsonCallsReader
from paradigm_transport.chat.dialects.state_reader import StateReader
from paradigm_transport.chat.dialects.structural import one_of, parameters_of, tag
from paradigm_transport.chat.events import Event
from paradigm_transport.chat.structured import closed
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Tool, ToolCall

_FENCE = "```"
_STARTS = Marks(_FENCE, "{", "[")
_BEHIND_CALLS = re.compile(r"[\s,;}\]]+")
_BEFORE_CALLS = re.compile(r"\[\s*")
_CUT_NAME = re.compile(r'"name"\s*:\s*"([^"]*)\Z')
_FORCED = CallMarks(("<tool_call>",))


@dataclass(frozen=True)
class BareCalls:
    """Calls as JSON objects without marks; see `CallFormat`.

    Such an object is a call if it names a known tool and stands alone: on separate lines, or at the end of the
    answer. In a code fence it is one only if the answer begins with the fence.

    Attributes:
        objects: how a call is written.
        is_list: all calls are elements of one list.
        separator: what is written between calls.
        any_fence: calls in any code fence count.
    """

    objects: JsonObjects = OBJECTS
    is_list: bool = False
    separator: str = "; "
    any_fence: bool = False
    make_id: Callable[[], str] = new_call_id

    begins = ()
    stop = ""

    def write(self, calls: Sequence[ToolCall]) -> str:
        """As `CallFormat.write`."""
        written = self.separator.join(self.objects.write(call, index) for index, call in enumerate(calls))
        return f"[{written}]" if self.is_list else written

    def prefill(self, name: str | None) -> str:
        """As `CallFormat.prefill`."""
        begin = "[" * self.is_list
        return f'{begin}{{"{self.objects.name}": "' if name is None else f"{begin}{self.objects.open(name)}"

    def constraint(self, tools: Sequence[Tool], name: str | None, *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.constraint`."""
        if name is not None:
            return {"json": closed(parameters_of(tools, name))}
        begin, end = self.prefill(None), "}" + "]" * self.is_list
        return one_of([tag(self.prefill(tool.name).removeprefix(begin), tool.parameters, end) for tool in tools])

    def offer(self, tools: Sequence[Tool], *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.offer`; calls have no marks."""
        return None

    def reader(
        self, *, tools: Sequence[Tool] = (), prefilled: bool = False, name: str | None = None, parallel: bool = True
    ) -> Reader:
        """As `CallFormat.reader`."""
        if not prefilled:
            names = frozenset(tool.name for tool in tools)
            return BareCallsReader(names, any_fence=self.any_fence, parallel=parallel, make_id=self.make_id)
        reader = JsonCallsReader(
            _FORCED, prefilled=True, name=name, in_list=True, parallel=parallel, make_id=self.make_id
        )
        if name is None:
            reader.feed(self.prefill(None).lstrip("["))
        return reader


class BareCallsReader(StateReader):
    """Reads text with bare calls; see `Reader` and `BareCalls`.

    Args:
        names: the names of the known tools.
        any_fence: calls in any code fence count.
        parallel: read more than the first call.
        make_id: makes the ids of calls.
    """

    def __init__(
        self,
        names: Collection[str],
        *,
        any_fence: bool = False,
        parallel: bool = True,
        make_id: Callable[[], str] = new_call_id,
    ) -> None:
        super().__init__(BareCallsReader._read_text)
        self._names, self._any_fence = names, any_fence
        self._parallel, self._make_id = parallel, make_id
        self._last = ""  # character of the text
        self._is_start = self._begins_line = True
        self._in_fence = self._fence_counts = False
        # A candidate, which may turn out to be text:
        self._held: list[str] = []
        self._calls: list[CallReader] = []
        self._call: CallReader | None = None
        self._is_alone = False  # on its lines, as far as it was read
        self._is_closed = self._ends_line = False

    @property
    def in_value(self) -> bool:
        """As `Reader.in_value`."""
        return self._call is not None and self._call.in_string

    def finish(self, *, cut_off: bool = False) -> list[Event]:
        """As `Reader.finish`."""
        self._events = []
        rest, self._rest, self._at = self._rest[self._at :], "", 0
        call = self._call
        if call is not None:
            call.finish()
            if call.is_complete or (call.has_arguments and not cut_off):
                self._calls.append(call)
                self._call = None
        cut = self._call
        if self._calls and cut is None and cut_off and not (self._is_closed or self._ends_line):
            cut = self._calls.pop()
        if self._calls or (cut is not None and self._begins_like_call(cut)):
            self._accept(cut)
        else:
            self._reject()
        self._say(rest)
        return [*self._events, *self._text.finish()]

    def _begins_like_call(self, call: CallReader) -> bool:
        """Whether an object that the end of the answer cuts off begins like a call of a known tool."""
        cut = _CUT_NAME.search(call.text)
        return call.name in self._names or (cut is not None and any(name.startswith(cut[1]) for name in self._names))

    # The states

    def _read_text(self) -> bool:
        end, mark = _STARTS.next(self._rest, self._at)
        self._say(self._rest[self._at : end])
        self._at = end
        if not mark:
            return False
        if mark != _FENCE and self._may_begin():
            self._is_alone = self._begins_line
            self._read = BareCallsReader._read_before_calls
        else:
            self._at += len(mark)
            self._say(mark)
        return True

    def _read_before_calls(self) -> bool:
        """Read up to the first object, in a list or not."""
        found = _BEFORE_CALLS.match(self._rest, self._at)
        if found is not None:
            self._hold(found.end())
        elif self._rest[self._at] == "{":
            self._begin_call()
        elif self._rest[self._at].isspace():
            self._hold(self._at + 1)
        else:
            self._reject()
        return True

    def _read_call(self) -> bool:
        call = self._call
        if call is None:
            return False
        at = self._at
        end = call.feed(self._rest, at)
        self._hold(end)
        is_other = call.name is not None and call.name not in self._names
        if call.is_broken or is_other or (call.is_complete and call.name is None):
            self._reject()
        elif call.is_complete:
            self._calls.append(call)
            self._call = None
            self._read = BareCallsReader._read_behind_calls
        return True

    def _read_behind_calls(self) -> bool:
        """Read what is behind an object, up to the next one; what follows decides whether all are calls."""
        found = _BEHIND_CALLS.match(self._rest, self._at)
        if found is not None:
            self._ends_line = self._ends_line or "\n" in found[0]
            self._is_closed = self._is_closed or "]" in found[0]
            self._hold(found.end())
        elif self._rest[self._at] == "{":
            self._begin_call()
        elif self._in_fence and _FENCE.startswith(self._rest[self._at : self._at + len(_FENCE)]):
            if not self._rest.startswith(_FENCE, self._at):
                return False
            self._accept()
        elif self._is_alone and self._ends_line:
            self._accept()
        else:
            self._reject()
        return True

    # Text

    def _say(self, text: str) -> None:
        """Take text for text."""
        if not text:
            return
        self._events += self._text.add(text)
        if text == _FENCE:
            self._in_fence = not self._in_fence
            self._fence_counts = self._is_start or self._any_fence
        blank = not text.rpartition("\n")[2].strip()
        self._begins_line = blank and (self._begins_line or "\n" in text)
        self._is_start = self._is_start and not text.strip()
        self._last = text[-1]

    def _may_begin(self) -> bool:
        """Whether a call may begin here."""
        return self._fence_counts if self._in_fence else self._last != "`"

    # Candidates

    def _hold(self, end: int) -> None:
        self._held.append(self._rest[self._at : end])
        self._at = end

    def _begin_call(self) -> None:
        self._call = CallReader(self._count + len(self._calls), self._make_id())
        self._is_closed = self._ends_line = False
        self._read = BareCallsReader._read_call

    def _reset(self) -> str:
        held = "".join(self._held)
        self._held, self._calls, self._call = [], [], None
        self._read = BareCallsReader._read_text
        return held

    def _reject(self) -> None:
        """Take the candidate for text."""
        self._say(self._reset())

    def _accept(self, cut: CallReader | None = None) -> None:
        """Take the candidate for calls, the last of which is perhaps cut off."""
        calls = self._calls
        self._reset()
        self._events += self._text.mark()
        self._begins_line, self._is_start, self._last = True, False, ""
        for call in calls:
            self._events += [*call.new_events(), *call.end()]
            self._count += 1
            if call.is_valid and not self._parallel:
                self._read = BareCallsReader._read_nothing
                return
        if cut is not None:
            self._events += cut.refuse(cut.text, CUT_OFF)
            self._count += 1
        self._events += self._text.mark()
