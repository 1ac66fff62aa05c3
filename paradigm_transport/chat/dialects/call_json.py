"""Calls written as a JSON object with the tool's name and arguments: the reader that such dialects share."""

from __future__ import annotations

import secrets
from string import ascii_letters, digits

from paradigm_transport.chat.events import CallArguments, CallBegin, CallEnd, Event
from paradigm_transport.chat.json_repair import QUOTES, SPACE, InvalidJSONError, RepairedValue, parse
from paradigm_transport.messages import InvalidToolCall, ToolCall, to_json

CUT_OFF = "the answer ends before the call does"

_NAMES = ("name", "tool_name")
_ARGUMENTS = ("arguments", "parameters")  # models trained on several dialects mix the two

_LONGEST_BEGIN = 500  # characters of arguments that decide whether they repeat the call: each piece reads them again


def new_call_id() -> str:
    """Return a new id of nine letters and digits, the only form that Mistral's templates take."""
    characters = ascii_letters + digits
    return "".join(characters[byte % len(characters)] for byte in secrets.token_bytes(9))


class CallReader:
    """Reads the JSON object of one call from pieces of text, and reports the call as events.

    Args:
        index: the call's place among the calls of the answer, from 0.
        call_id: its id.
        name: the tool, if the text begins with the arguments.
        name_is_key: the object is the name with the arguments: `{"add": {"a": 1}}`.

    Attributes:
        is_complete: the object has ended.
        is_broken: the text does not continue the object.
        is_valid: `end` has found a valid call.
    """

    def __init__(self, index: int, call_id: str, name: str | None = None, *, name_is_key: bool = False) -> None:
        self.is_complete = False
        self.is_broken = False
        self.is_valid = False
        self._index = index
        self._id = call_id
        self._name = name
        self._has_only_arguments = name is not None
        self._name_is_key = name_is_key
        self._key = "arguments" if self._has_only_arguments else None
        self._expects = "value" if self._has_only_arguments else "{"
        self._depth = 0  # of `function` in OpenAI's form of a call
        self._value: RepairedValue | None = None
        self._arguments: RepairedValue | None = None
        self._texts: list[str] = []
        self._is_announced = False
        self._is_repeated: bool | None = None  # not known yet

    @property
    def text(self) -> str:
        """What the model wrote."""
        return "".join(self._texts)

    @property
    def name(self) -> str | None:
        """The tool's name, once it has been read."""
        return self._name

    @property
    def in_string(self) -> bool:
        """Whether what follows is inside a string."""
        return self._value is not None and self._value.in_string

    @property
    def has_arguments(self) -> bool:
        """Whether the name and the whole arguments have been read."""
        return self._name is not None and self._arguments is not None and self._arguments.is_complete

    # Reading

    def feed(self, text: str, at: int = 0) -> int:
        """Read a piece of the text.

        Args:
            text: holds the piece.
            at: where in `text` the piece begins.

        Returns:
            Where reading ended: behind the piece, the tool's name or the object, or where it breaks.
        """
        begin, name = at, self._name
        while at < len(text) and self._name == name and not (self.is_complete or self.is_broken):
            if self._value is not None:
                at = self._value.feed(text, at)
                self.is_broken = self._value.is_broken
                if self._value.is_complete:
                    self._end_value(self._value)
            elif text[at] in SPACE:
                at += 1
            else:
                at += self._read_mark(text[at])
        self._texts.append(text[begin:at])
        return at

    def finish(self) -> None:
        """End the text, and with it a number or a word."""
        if self._value is not None:
            self._value.finish()
            if self._value.is_complete:
                self._end_value(self._value)

    def close(self) -> bool:
        """Add the brackets that are missing at the end of the arguments; return whether that makes the object whole."""
        if self._value is not None and self._value is self._arguments:
            self._value.close()
            if self._value.is_complete:
                self._end_value(self._value)
        self.is_complete = self.has_arguments
        self.is_broken = not self.is_complete
        return self.is_complete

    def _read_mark(self, char: str) -> bool:
        """Read a character around keys and values; return False if it remains to be read."""
        if self._expects in ("{", ":"):
            self.is_broken = char != self._expects
            self._expects = "key" if char == "{" else "value"
        elif self._expects == "value" and self._key == "function" and char == "{":
            self._depth += 1
            self._key, self._expects = None, "key"
        elif self._expects == "value" or (self._expects == "key" and char in QUOTES):
            self._value = RepairedValue()
            if self._key in _ARGUMENTS and self._arguments is None:
                self._arguments = self._value
            return False
        elif char == "}":
            self.is_complete = self._depth == 0
            self._depth, self._expects = self._depth - 1, ","
        elif char == ",":
            self._expects = "key"
        else:  # perhaps only the last brace is missing
            self.is_complete = self._expects == "," and self.has_arguments
            self.is_broken = not self.is_complete
            return False
        return not self.is_broken

    def _end_value(self, value: RepairedValue) -> None:
        key, self._key = self._key, None
        self._value, self._expects = None, ","
        self.is_complete = self._has_only_arguments
        try:
            if key is None:
                self._key, self._expects = str(parse(value.text)), ":"
                if self._name_is_key and self._name is None:
                    self._name, self._key = self._key, "arguments"
            elif key in _NAMES and self._name is None:
                name = parse(value.text)
                self._name = name if isinstance(name, str) else None
        except InvalidJSONError:
            self.is_broken = True

    # Reporting

    def new_events(self) -> list[Event]:
        """Return the call's beginning and its arguments, as far as they are known and new."""
        if self._name is None or self._arguments is None or not self._arguments.is_object:
            return []
        text = self._arguments.take(1 if self._may_repeat_call(self._name) else None)
        return self._report(self._name, text) if text else []

    def _may_repeat_call(self, name: str) -> bool:
        """Whether the arguments begin like the whole call: `{"name": "f", "arguments": …` as arguments of `f`."""
        if self._is_repeated is None:
            text = self._arguments.text[:_LONGEST_BEGIN] if self._arguments else ""
            begin = "".join(text.split())
            named = f'"name":{"".join(to_json(name).split())},'
            wholes = [f'{{{first}"{key}":' for key in _ARGUMENTS for first in (named, "")]
            if len(text) < _LONGEST_BEGIN and any(whole.startswith(begin) for whole in wholes):
                return True
            self._is_repeated = begin.startswith(tuple(wholes))
        return self._is_repeated

    def end(self) -> list[Event]:
        """End the call; return the remaining events."""
        if self._name is None:
            return self.refuse(self.text, "the call names no tool")
        try:
            arguments = _read_string(parse(self._arguments.text) if self._arguments else None)
            if self._is_repeated is not False:
                arguments = _read_string(_unwrap(arguments, self._name))
        except InvalidJSONError as problem:
            return self.refuse(self.text, str(problem))
        if not isinstance(arguments, dict | None):
            return self.refuse(self.text, "the arguments are not a JSON object")
        self.is_valid = True
        call = ToolCall(self._id, self._name, arguments or {})
        # Arguments that are null, missing or JSON in a string have not been reported; of a repeated call, a brace has.
        missing = "" if self._is_repeated is False else to_json(call.arguments)[self._is_announced :]
        events = self._report(call.name, missing) if missing else []
        return [*events, CallEnd(self._index, call)]

    def refuse(self, text: str, reason: str) -> list[Event]:
        """End the call as an invalid one.

        Args:
            text: what the model wrote.
            reason: what is wrong.
        """
        return [CallEnd(self._index, InvalidToolCall(self._id, self._name, text, reason))]

    def _report(self, name: str, arguments: str) -> list[Event]:
        begin = [] if self._is_announced else [CallBegin(self._index, self._id, name)]
        self._is_announced = True
        return [*begin, CallArguments(self._index, arguments)]


def _read_string(arguments: object) -> object:
    """Return the arguments in a string, which may be empty; others as they are."""
    return parse(arguments.strip() or "null") if isinstance(arguments, str) else arguments


def _unwrap(arguments: object, name: str) -> object:
    """Return the arguments within a whole call of the same tool that was written in their place."""
    if isinstance(arguments, dict) and len(arguments) == 2 and arguments.get("name") == name:
        inner = next((arguments[key] for key in _ARGUMENTS if key in arguments), None)
        return inner if isinstance(inner, dict | str) else arguments
    return arguments
