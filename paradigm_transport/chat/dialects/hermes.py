"""The Hermes dialect, which Hermes, Qwen and many other models were trained on.

The system message lists the tools as JSON schemas, a model calls one in `<tool_call>…</tool_call>`, and the result
returns in `<tool_response>…</tool_response>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from paradigm_transport.chat.dialects.base import Marks, TextAroundMarks
from paradigm_transport.chat.dialects.call_json import CUT_OFF, CallReader, new_call_id
from paradigm_transport.chat.events import Event
from paradigm_transport.chat.json_repair import NOT_JSON
from paradigm_transport.chat.structured import call_schema
from paradigm_transport.messages import JsonObject, Message, Tool, ToolCall, to_json

CALL, END_OF_CALL = "<tool_call>", "</tool_call>"
RESULT, END_OF_RESULT = "<tool_response>", "</tool_response>"

_MARKS = Marks(CALL, END_OF_CALL, RESULT, END_OF_RESULT)
_LIKELY_MARK = len("<tool")  # an answer that ends in so much of a mark was cut off in it

# Models put calls in code fences and lists, and write a brace too many.
_FILLER = re.compile(r"[ \t\r\n`\[\],}]*")
_FILLER_BEFORE_ARGUMENTS = re.compile(r"[ \t\r\n`]*")
_FENCE = "json"


class Hermes:
    """The Hermes dialect; see `Dialect`."""

    name = "hermes"

    def describe(self, tools: Sequence[Tool]) -> str:
        """As `Dialect.describe`."""
        described = "\n".join(to_json(tool.to_openai()) for tool in tools)
        return (
            "You can call tools. Each line here describes one, with a JSON schema of its arguments:\n"
            f"<tools>\n{described}\n</tools>\n"
            "To call a tool, write its name and its arguments as a JSON object, once for each call:\n"
            f'{CALL}\n{{"name": <name>, "arguments": <object>}}\n{END_OF_CALL}\n'
            f"The results follow between {RESULT} and {END_OF_RESULT}: use them to answer."
        )

    def call(self, call: ToolCall) -> str:
        """As `Dialect.call`."""
        return f"{CALL}\n{to_json({'name': call.name, 'arguments': call.arguments})}\n{END_OF_CALL}"

    def result(self, message: Message) -> str:
        """As `Dialect.result`."""
        return f"{RESULT}\n{message.content}\n{END_OF_RESULT}"

    def prefill(self, name: str | None) -> str:
        """As `Dialect.prefill`."""
        # No space at the end: models write it as a part of the token that follows.
        return f"{CALL}\n" if name is None else f'{CALL}\n{{"name": {to_json(name)}, "arguments":'

    def stops(self, *, offered: bool, single: bool) -> list[str]:
        """As `Dialect.stops`."""
        if not offered:
            return [CALL]
        return [END_OF_CALL] if single else []

    def schema(self, tools: Sequence[Tool], name: str | None) -> JsonObject:
        """As `Dialect.schema`."""
        return call_schema(tools) if name is None else next(tool.parameters for tool in tools if tool.name == name)

    def reader(self, *, prefilled: bool = False, name: str | None = None, parallel: bool = True) -> HermesReader:
        """As `Dialect.reader`."""
        return HermesReader(prefilled=prefilled, name=name, parallel=parallel)


HERMES = Hermes()


class HermesReader:
    """Reads one answer in the Hermes dialect; see `Reader`.

    Mistakes that are simple to repair are repaired: those of `json_repair`, code fences, and a brace or an end mark
    too few or too many. No mark gets into the text.

    Args:
        prefilled: the prompt ends within a call.
        name: the tool of that call, if the prompt ends before the call's arguments.
        parallel: read more than the first call.
        make_id: makes the ids of calls.
    """

    def __init__(
        self,
        *,
        prefilled: bool = False,
        name: str | None = None,
        parallel: bool = True,
        make_id: Callable[[], str] = new_call_id,
    ) -> None:
        self._parallel = parallel
        self._make_id = make_id
        self._rest = ""
        self._at = 0  # before it, `_rest` has been read
        self._events: list[Event] = []
        self._text = TextAroundMarks()
        self._count = 0  # of calls
        self._call: CallReader | None = None
        self._is_mark_used = False  # a call was read after this mark
        self._unparsable: list[str] = []
        self._read: Callable[[HermesReader], bool] = HermesReader._read_text
        if name is not None:
            self._begin_call(name)
            self._read = HermesReader._read_before_arguments
        elif prefilled:
            self._read = HermesReader._read_between

    def feed(self, text: str) -> list[Event]:
        """As `Reader.feed`."""
        self._rest, self._at, self._events = self._rest[self._at :] + text, 0, []
        self._read_on()
        return self._events

    def finish(self, *, cut_off: bool = False) -> list[Event]:
        """As `Reader.finish`."""
        self._events = []
        while self._call is not None and self._read is HermesReader._read_call:
            call = self._call
            call.finish()
            if call.is_complete or call.has_arguments:
                self._end(call, call.end())
            else:  # a string without its end hides the end of the call, and text that follows it
                text, mark, rest = call.text.partition(END_OF_CALL)
                self._refuse(text, NOT_JSON if mark else CUT_OFF)
                self._rest, self._at = mark + rest, 0
            self._read_on()
        rest = self._rest[self._at :]
        if self._read is HermesReader._read_unparsable:
            self._refuse("".join([*self._unparsable, rest]), NOT_JSON)
        elif self._read is not HermesReader._read_text and not self._is_mark_used:
            self._refuse(rest, CUT_OFF)
        elif len(rest) < _LIKELY_MARK:
            self._events += self._text.add(rest) + self._text.finish()
        return self._events

    def _read_on(self) -> None:
        while self._at < len(self._rest) and self._read(self):
            pass

    # The states. Each reads some of the rest, and returns False if it needs more text to go on.

    def _read_text(self) -> bool:
        end, mark = _MARKS.next(self._rest, self._at)
        self._events += self._text.add(self._rest[self._at : end])
        self._at = end
        if not mark:
            return False
        self._text.mark()
        if mark == CALL:
            self._read = HermesReader._read_between
        elif mark == RESULT and self._count:
            self._read = HermesReader._read_nothing  # the model invents the result and what follows from it
        else:
            self._at += len(mark)
        return True

    def _read_nothing(self) -> bool:
        self._at = len(self._rest)
        return False

    def _read_between(self) -> bool:
        """Read what is between marks and calls."""
        self._skip(_FILLER)
        if self._rest.startswith("{", self._at):
            self._begin_call()
        elif self._skip_word(CALL):
            self._is_mark_used = False
        elif self._skip_word(END_OF_CALL):
            if not self._is_mark_used:
                self._refuse("", NOT_JSON)
            self._read = HermesReader._read_text
        elif _MARKS.may_begin(self._rest, self._at):
            return False
        elif self._is_mark_used:
            self._read = HermesReader._read_text
        elif self._may_become_fence():
            return False
        elif not self._skip_word(_FENCE):
            self._read = HermesReader._read_unparsable
        return True

    def _read_before_arguments(self) -> bool:
        """Read what may precede the arguments if the prompt ends before them."""
        self._skip(_FILLER_BEFORE_ARGUMENTS)
        if self._may_become_fence():
            return False
        self._skip_word(_FENCE)
        self._read = HermesReader._read_call
        return True

    def _read_unparsable(self) -> bool:
        """Read up to the next mark."""
        end, mark = _MARKS.next(self._rest, self._at)
        self._unparsable.append(self._rest[self._at : end])
        self._at = end
        if mark:
            self._refuse("".join(self._unparsable), NOT_JSON)
        return bool(mark)

    def _read_call(self) -> bool:
        call = self._call or self._begin_call()
        self._at = call.feed(self._rest, self._at)
        self._events += call.new_events()
        if call.is_broken:
            self._unparsable = [call.text]
            self._read = HermesReader._read_unparsable
        elif call.is_complete:
            self._end(call, call.end())
        return True

    def _skip(self, filler: re.Pattern[str]) -> None:
        found = filler.match(self._rest, self._at)
        self._at = found.end() if found else self._at

    def _skip_word(self, word: str) -> bool:
        found = self._rest.startswith(word, self._at)
        self._at += len(word) * found
        return found

    def _may_become_fence(self) -> bool:
        return _FENCE.startswith(self._rest[self._at : self._at + len(_FENCE) + 1])

    # The beginning and the end of calls

    def _begin_call(self, name: str | None = None) -> CallReader:
        self._call = CallReader(self._count, self._make_id(), name)
        self._count += 1
        self._read = HermesReader._read_call
        return self._call

    def _refuse(self, text: str, reason: str) -> None:
        call = self._call or self._begin_call()
        self._end(call, call.refuse(text, reason))

    def _end(self, call: CallReader, events: list[Event]) -> None:
        self._events += events
        self._call = None
        self._unparsable = []
        self._is_mark_used = True
        self._text.mark()
        is_last = call.is_valid and not self._parallel
        self._read = HermesReader._read_nothing if is_last else HermesReader._read_between
