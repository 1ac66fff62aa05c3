"""Tool calls, read out of what a model writes: a whole text, or a stream cut anywhere.

The invariant: any way of cutting an answer into pieces gives the same text and the same calls, and no markup is in
the text.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from string import ascii_letters, digits
from typing import Any

from paradigm_transport.chat.json_repair import NO_JSON, QUOTES, SPACE, LooseValue, NoJSONError, parse
from paradigm_transport.messages import CALL, END_OF_CALL, END_OF_RESULT, RESULT, ToolCall, to_json
from paradigm_transport.stops import StopScanner, find_stop

_TAGS = (CALL, END_OF_CALL, RESULT, END_OF_RESULT)
_FENCE = "json"
_FILLER = " \t\r\n`[],}"
"""What may stand around the JSON of calls: code fences, lists, a brace too many."""

_HALF_A_TAG = len("<tool")
_ARGUMENTS = ("arguments", "parameters")  # some models' word for them

CUT_OFF = "the answer ends before the call does"
NO_NAME = "it names no tool"
NO_OBJECT = "the arguments are no JSON object"


@dataclass(frozen=True, slots=True)
class InvalidToolCall:
    """What begins like a call and is none.

    Attributes:
        id: as of a call.
        name: the tool's name, where that much can be read.
        text: what the model wrote; the arguments alone where the prompt held the call's beginning.
        reason: what is wrong.
    """

    id: str
    name: str | None
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Text for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegin:
    """A call begins, and its tool is known.

    Attributes:
        index: which of the answer's calls it is, from 0.
        id: the call's id.
        name: the tool's name.
    """

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of a call's arguments.

    Attributes:
        index: the call's.
        text: more of their JSON text.
    """

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """A call ends.

    Attributes:
        index: the call's.
        call: the call as a whole; an invalid one may come without a `CallBegin`.
    """

    index: int
    call: ToolCall | InvalidToolCall


Piece = TextPiece | CallBegin | CallArguments | CallEnd


@dataclass(slots=True)
class Answer:
    """What has been read of an answer.

    Attributes:
        text: the text for the user.
        calls: the calls in it.
        invalid: what began like a call and is none.
    """

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    invalid: list[InvalidToolCall] = field(default_factory=list)

    def add(self, pieces: Iterable[Piece]) -> None:
        """Take what a reader gives."""
        for piece in pieces:
            if isinstance(piece, TextPiece):
                self.text += piece.text
            elif isinstance(piece, CallEnd):
                if isinstance(piece.call, ToolCall):
                    self.calls.append(piece.call)
                else:
                    self.invalid.append(piece.call)


def new_call_id() -> str:
    """An id that no other call has."""
    return "".join(
        secrets.choice(ascii_letters + digits) for _ in range(9)
    )  # the one form that Mistral's templates take


class AnswerReader:
    """Reads one answer: feed it the text as it comes, and call `finish` at its end.

    What can be mended is mended: JSON as `loose_json` mends it, code fences, a brace or an end tag too few or too many.

    Args:
        reads_calls: False where no tool can be called: all is text.
        opened: the prompt ends within a call.
        name: the tool of that call, where the prompt ends before the call's arguments.
        parallel: False where nothing after the first call counts.
        make_id: makes the ids of calls.
    """

    def __init__(
        self,
        *,
        reads_calls: bool = True,
        opened: bool = False,
        name: str | None = None,
        parallel: bool = True,
        make_id: Callable[[], str] = new_call_id,
    ) -> None:
        self._reads_calls = reads_calls
        self._parallel = parallel
        self._make_id = make_id
        self._rest = ""  # what has come and is not read yet
        self._pieces: list[Piece] = []
        self._count = 0  # of calls
        self._call: _Call | None = None
        self._is_tag_used = False  # a call was read after this tag
        self._is_after_tag = False
        self._has_text = False
        self._rubbish = ""
        self._read: Callable[[], bool] = self._read_between if opened else self._read_text
        if name is not None:
            self._begin_call(name)
            self._read = self._read_opening

    def feed(self, text: str) -> list[Piece]:
        """Take more of the answer; return what can be told of it."""
        if not self._reads_calls:
            return [TextPiece(text)] if text else []
        self._rest += text
        self._go_on()
        return self._take()

    def finish(self) -> list[Piece]:
        """The answer has ended: return what is left to tell."""
        while self._read == self._read_call:
            self._rest = self._cut_off(self._call or self._begin_call())
            self._go_on()
        if self._read == self._read_text:
            self._end_text()
        elif self._read == self._read_rubbish:
            self._refuse(self._rubbish + self._rest, NO_JSON)
        elif self._is_tag_used:
            self._end_text()
        else:
            self._refuse(self._rest, CUT_OFF)
        return self._take()

    def read(self, text: str) -> Answer:
        """Read a whole answer at once."""
        answer = Answer()
        answer.add(self.feed(text))
        answer.add(self.finish())
        return answer

    def _go_on(self) -> None:
        while self._rest and self._read():
            pass

    def _take(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces

    # Each of these reads some of the rest, and returns False where more must come before it can go on.

    def _read_text(self) -> bool:
        at = find_stop(self._rest, _TAGS)
        if at is None:
            text = _before_tag(self._rest).rstrip()  # space before a call is not for the user
            self._tell(text)
            self._rest = self._rest[len(text) :]
            return False
        self._tell(self._rest[:at].rstrip())
        self._rest = self._rest[at:]
        if self._rest.startswith(CALL):
            self._read = self._read_between
        elif self._rest.startswith(RESULT) and self._count:
            self._read = self._read_no_more  # the model makes up the call's result, and what follows from it
        else:
            tag = next(tag for tag in _TAGS if self._rest.startswith(tag))
            self._rest = self._rest[len(tag) :]
            self._is_after_tag = True
        return True

    def _read_no_more(self) -> bool:
        self._rest = ""
        return False

    def _read_between(self) -> bool:
        """Read what is within the tags and around the calls."""
        self._rest = self._rest.lstrip(_FILLER)
        if self._rest.startswith("{"):
            self._begin_call()
        elif self._rest.startswith(CALL):
            self._rest = self._rest[len(CALL) :]
            self._is_tag_used = False
        elif self._rest.startswith(END_OF_CALL):
            self._rest = self._rest[len(END_OF_CALL) :]
            if not self._is_tag_used:
                self._refuse("", NO_JSON)
            self._read = self._read_text
        elif any(tag.startswith(self._rest) for tag in _TAGS):
            return False
        elif self._is_tag_used:
            self._read = self._read_text
        elif _FENCE.startswith(self._rest):
            return False
        elif self._rest.startswith(_FENCE):
            self._rest = self._rest[len(_FENCE) :]
        else:
            self._read = self._read_rubbish
        return True

    def _read_opening(self) -> bool:
        """Read what may stand before the arguments that the prompt ends with."""
        self._rest = self._rest.lstrip(f"{SPACE}`")
        if _FENCE.startswith(self._rest):
            return False
        self._rest = self._rest.removeprefix(_FENCE)
        self._read = self._read_call
        return True

    def _read_rubbish(self) -> bool:
        """Read on to the next tag."""
        at = find_stop(self._rest, _TAGS)
        skipped = _before_tag(self._rest) if at is None else self._rest[:at]
        self._rubbish += skipped
        self._rest = self._rest[len(skipped) :]
        if at is not None:
            self._refuse(self._rubbish, NO_JSON)
            self._rubbish = ""
            self._read = self._read_between
        return at is not None

    def _read_call(self) -> bool:
        call = self._call or self._begin_call()
        before = len(call.text)
        try:
            call.feed(self._rest)
        except NoJSONError:
            self._read = self._read_rubbish
            self._rubbish = call.text
        self._rest = self._rest[len(call.text) - before :]
        self._tell_arguments(call)
        if call.is_whole:
            self._end_call(call)
        return bool(self._rest)

    # What is told

    def _tell(self, text: str) -> None:
        if self._is_after_tag:
            text = text.lstrip()
            if text and self._has_text:
                text = f"\n{text}"
        if text:
            self._is_after_tag = False
            self._has_text = True
            self._pieces.append(TextPiece(text))

    def _end_text(self) -> None:
        text = _before_tag(self._rest)
        is_tag = len(self._rest) - len(text) >= _HALF_A_TAG
        self._tell(text.rstrip() if is_tag else self._rest)
        self._rest = ""

    def _tell_arguments(self, call: _Call) -> None:
        text = call.new_arguments()
        if text:
            self._tell_begin(call)
            self._pieces.append(CallArguments(call.index, text))

    def _tell_begin(self, call: _Call) -> None:
        if call.name is not None and not call.is_told:
            call.is_told = True
            self._pieces.append(CallBegin(call.index, call.id, call.name))

    # Where a call begins and ends

    def _begin_call(self, name: str | None = None) -> _Call:
        self._call = _Call(self._count, self._make_id(), name)
        self._count += 1
        self._read = self._read_call
        return self._call

    def _end_call(self, call: _Call) -> None:
        try:
            arguments = call.arguments()
        except NoJSONError as problem:
            self._refuse(call.text, str(problem))
            return
        self._tell_begin(call)
        if not call.has_told_arguments:
            self._pieces.append(CallArguments(call.index, to_json(arguments)))
        self._end(call, ToolCall(call.id, call.name or "", arguments))

    def _refuse(self, text: str, reason: str) -> None:
        call = self._call or self._begin_call()
        self._end(call, InvalidToolCall(call.id, call.name, text, reason))

    def _end(self, call: _Call, told: ToolCall | InvalidToolCall) -> None:
        self._pieces.append(CallEnd(call.index, told))
        self._call = None
        self._is_tag_used = self._is_after_tag = True
        is_last = isinstance(told, ToolCall) and not self._parallel
        self._read = self._read_no_more if is_last else self._read_between

    def _cut_off(self, call: _Call) -> str:
        """End a call at the answer's end; return what was read as a part of it and is none."""
        call.finish()
        if call.is_whole or call.has_arguments:
            self._tell_arguments(call)
            self._end_call(call)
            return ""
        # A string without its end hides the end of the call.
        text, tag, rest = call.text.partition(END_OF_CALL)
        self._refuse(text, NO_JSON if tag else CUT_OFF)
        return tag + rest


class _Call:
    """Reads the JSON object of one call."""

    def __init__(self, index: int, call_id: str, name: str | None) -> None:
        self.index = index
        self.id = call_id
        self.name = name
        self.text = ""
        """What the model wrote."""
        self.is_whole = False
        self.is_told = False
        self._has_only_arguments = name is not None
        self._key = "arguments" if self._has_only_arguments else None
        self._next = "value" if self._has_only_arguments else "{"
        self._depth = 0  # of `function`, in OpenAI's form of a call
        self._value: LooseValue | None = None
        self._arguments: LooseValue | None = None
        self._told = 0

    @property
    def has_arguments(self) -> bool:
        """All that matters is there."""
        return self.name is not None and self._arguments is not None and self._arguments.is_whole

    @property
    def has_told_arguments(self) -> bool:
        return self._told > 0

    def new_arguments(self) -> str:
        """What has come of the arguments' text, if it is an object whose tool is known."""
        if self.name is None or self._arguments is None or not self._arguments.text.startswith("{"):
            return ""
        text = self._arguments.text[self._told :]
        self._told += len(text)
        return text

    def arguments(self) -> dict[str, Any]:
        """The arguments.

        Raises:
            NoJSONError: they are none, or no tool is named; it says so.
        """
        if self.name is None:
            raise NoJSONError(NO_NAME)
        arguments = parse(self._arguments.text) if self._arguments else None
        if isinstance(arguments, str):  # written as JSON twice over
            arguments = parse(arguments)
        if arguments is not None and not isinstance(arguments, dict):
            raise NoJSONError(NO_OBJECT)
        return arguments or {}

    def feed(self, text: str) -> None:
        """Take more of the answer, as far as it belongs to the call: `text` grows by that much.

        Raises:
            NoJSONError: there the object breaks.
        """
        count = 0
        try:
            for char in text:
                count += self._push(char)
                if self.is_whole:
                    break
        finally:
            self.text += text[:count]

    def finish(self) -> None:
        """The answer has ended, and so has a number or a word."""
        if self._value is not None:
            self._value.finish()
            if self._value.is_whole:
                self._end_value(self._value)

    def _push(self, char: str) -> bool:
        """Take a character; False where the call ended before it."""
        if self._value is not None:
            is_taken = self._value.push(char)
            if self._value.is_whole:
                self._end_value(self._value)
            if is_taken or self.is_whole:
                return is_taken
        return char in SPACE or self._push_between(char)

    def _push_between(self, char: str) -> bool:
        if self._next in "{:":
            if char != self._next:
                raise NoJSONError
            self._next = "key" if char == "{" else "value"
        elif self._next == "value" and self._key == "function" and char == "{":
            self._depth += 1
            self._key, self._next = None, "key"
        elif self._next == "value" or (self._next == "key" and char in QUOTES):
            self._begin_value(char)
        elif char == "}":
            self.is_whole = self._depth == 0
            self._depth, self._next = self._depth - 1, ","
        elif char == ",":
            self._next = "key"
        elif self._next == "," and self.has_arguments:  # a brace is missing
            self.is_whole = True
            return False
        else:
            raise NoJSONError
        return True

    def _begin_value(self, char: str) -> None:
        self._value = LooseValue()
        self._value.push(char)
        if self._key in _ARGUMENTS and self._arguments is None:
            self._arguments = self._value

    def _end_value(self, value: LooseValue) -> None:
        self._value = None
        self._next = ","
        if self._key is None:
            self._key, self._next = parse(value.text), ":"
            return
        if self._key == "name" and self.name is None:
            name = parse(value.text)
            self.name = name if isinstance(name, str) else None
        self._key = None
        self.is_whole = self._has_only_arguments


def _before_tag(text: str) -> str:
    """A text without what may become a tag at its end."""
    return StopScanner(_TAGS).feed(text)
