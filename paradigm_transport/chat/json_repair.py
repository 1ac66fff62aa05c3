"""JSON as models write it: read character by character, and mended where that is simple.

Mended are single quotes, trailing commas, Python's words, and line breaks in strings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

_WORDS = {"True": "true", "False": "false", "None": "null"}
_CLOSING = {"}": "{", "]": "["}
SPACE = " \t\r\n"
QUOTES = "\"'"
NO_JSON = "it is no JSON"


class NoJSONError(ValueError):
    """A text is no JSON, and cannot be mended."""

    def __init__(self, reason: str = NO_JSON) -> None:
        super().__init__(reason)


class LooseValue:
    """Reads one value: push its characters, the first of which is no space.

    Attributes:
        is_whole: it has ended.
    """

    def __init__(self) -> None:
        self.is_whole = False
        self._parts: list[str] = []
        self._open: list[str] = []
        self._quote = ""
        self._is_escaped = False
        self._word = ""
        self._held = ""  # a comma, which may be one too many, and space

    @property
    def text(self) -> str:
        """The value so far, as JSON should be written."""
        self._parts = ["".join(self._parts)]
        return self._parts[0]

    def push(self, char: str) -> bool:
        """Take a character; False where the value ended before it.

        Raises:
            NoJSONError: it cannot stand there.
        """
        if self._quote:
            self._push_in_string(char)
            return True
        if self._word and (char.isalnum() or char in "+-._"):
            self._word += char
            return True
        self._end_word()
        if self.is_whole:
            return False
        self._push_outside(char)
        return True

    def finish(self) -> None:
        """The text has ended, and so has a number or a word."""
        self._end_word()

    def _push_in_string(self, char: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
            self._parts.append(char if char == "'" else f"\\{char}")
        elif char == "\\":
            self._is_escaped = True
        elif char == self._quote:
            self._quote = ""
            self._parts.append('"')
            self.is_whole = not self._open
        elif char == '"' or char < " ":
            self._parts.append(json.dumps(char)[1:-1])
        else:
            self._parts.append(char)

    def _push_outside(self, char: str) -> None:
        if char in SPACE:
            self._held += char
        elif char in _CLOSING:
            self._close(char)
        else:
            self._parts.append(self._held)
            self._held = ""
            if char in QUOTES:
                self._quote = char
                self._parts.append('"')
            elif char in "{[":
                self._open.append(char)
                self._parts.append(char)
            elif char == "," and self._open:
                self._held = char
            elif char == ":" and self._open:
                self._parts.append(char)
            elif char.isalnum() or char == "-":
                self._word = char
            else:
                raise NoJSONError

    def _close(self, char: str) -> None:
        if not self._open or self._open.pop() != _CLOSING[char]:
            raise NoJSONError
        self._parts.append(self._held.removeprefix(",") + char)
        self._held = ""
        self.is_whole = not self._open

    def _end_word(self) -> None:
        if self._word:
            self._parts.append(_WORDS.get(self._word, self._word))
            self._word = ""
            self.is_whole = not self._open


def parse(text: str) -> Any:
    """Parse JSON.

    Raises:
        NoJSONError: it is none.
    """
    try:
        return from_json(text)
    except ValueError:
        raise NoJSONError from None


def first_object(text: str) -> str:
    """The first JSON object in a text, as JSON should be written.

    Raises:
        NoJSONError: there is none, or it does not end.
    """
    problem = NoJSONError("there is no JSON object in the answer")
    chars = iter(text)
    for char in chars:
        if char == "{":
            try:
                return _object(chars)
            except NoJSONError as error:  # perhaps a brace in the text before it
                problem = error
    raise problem


def _object(chars: Iterator[str]) -> str:
    """The object whose brace was just taken; what belongs to it, or breaks it, is taken too."""
    value = LooseValue()
    value.push("{")
    for char in chars:
        value.push(char)
        if value.is_whole:
            parse(value.text)
            return value.text
    raise NoJSONError("the JSON object in the answer does not end")


def partial_object(text: str) -> Any:
    """As much as has come of the first JSON object in a text; None where none has begun.

    Raises:
        ValueError: what has come is no JSON.
    """
    begin = text.find("{")
    return from_json(text[begin:], allow_partial="trailing-strings") if begin >= 0 else None


def explain(problem: ValueError) -> str:
    """What is wrong with an object, in words for the model that wrote it; without its values."""
    if not isinstance(problem, ValidationError):
        return str(problem)
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, error["loc"])), error["msg"])))
        for error in problem.errors(include_input=False, include_url=False)
    )
