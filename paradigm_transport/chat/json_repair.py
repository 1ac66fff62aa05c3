"""JSON as models write it: read piece by piece, with simple mistakes repaired.

Repaired are single quotes, trailing commas, Python's words, and in strings control characters and backslashes that
are not part of an escape: they are text.
"""

from __future__ import annotations

import json
import re

from pydantic_core import from_json

SPACE = " \t\r\n"
QUOTES = "\"'"
NOT_JSON = "not valid JSON"
_UNENDED = "the JSON object in the answer does not end"
_CUT = ": it was cut off at max_tokens; raise max_tokens"

_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
_CLOSING = {"}": "{", "]": "["}
_BEGINNINGS = "{[-" + QUOTES  # of values, beside letters and digits

_ESCAPE = r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'
_WHOLE_ESCAPE = re.compile(f"{_ESCAPE}|\\\\'")
_BEGINNING_OF_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{0,3}")

# Most of a long answer is plain text and escapes in strings: a run of them is taken at once. Its length is bounded
# because the regex engine keeps each repetition, 65 bytes for a character of the worst text.
_STRING_RUNS = {
    '"': re.compile(rf'(?:[^"\\\x00-\x1f]+|{_ESCAPE}){{1,500}}'),
    "'": re.compile(rf"(?:[^'\"\\\x00-\x1f]+|{_ESCAPE}){{1,500}}"),
}
_WORD_RUN = re.compile(r"[\w+\-.]+")
_SPACE_RUN = re.compile(r"[ \t\r\n]+")


class InvalidJSONError(ValueError):
    """A text is not JSON, not even after repair."""


class RepairedValue:
    """Reads one JSON value from pieces of a text, the first of which begins with the value.

    Any split of the text gives the same result. It checks no more than brackets and strings; `parse` checks the rest.

    Attributes:
        is_complete: the value has ended.
        is_broken: the text does not continue the value.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self.is_broken = False
        self._parts: list[str] = []
        self._taken = 0  # parts that `take` has returned
        self._open: list[str] = []
        self._quote = ""
        self._escape = ""  # the beginning of one
        self._word: list[str] = []
        self._gap: list[str] = []  # a comma, which may be one too many, and space

    @property
    def text(self) -> str:
        """The value so far, as valid JSON writes it."""
        return "".join(self._parts)

    @property
    def is_object(self) -> bool:
        """Whether the value is an object, or the beginning of one."""
        return self._parts[:1] == ["{"]

    @property
    def in_string(self) -> bool:
        """Whether what follows is inside a string."""
        return self._quote != ""

    def take(self, end: int | None = None) -> str:
        """Return what has been added to `text` since the last call.

        Args:
            end: leave what follows this many parts, of which the first bracket is one; None for all.
        """
        new = "".join(self._parts[self._taken : end])
        self._taken = len(self._parts) if end is None else end
        return new

    def feed(self, text: str, at: int = 0) -> int:
        """Read a piece of the text.

        Args:
            text: holds the piece.
            at: where in `text` the piece begins.

        Returns:
            Where reading ended: behind the piece or the value, or at the character that does not fit.
        """
        while at < len(text) and not (self.is_complete or self.is_broken):
            if self._quote:
                at = self._read_string(text, at)
            elif self._word:
                at = self._read_word(text, at)
            else:
                at = self._read_outside(text, at)
        return at

    def finish(self) -> None:
        """End the text, and with it a number or a word."""
        if self._word:
            word = "".join(self._word)
            self._word.clear()
            self._parts.append(_PYTHON_WORDS.get(word, word))
            self.is_complete = not self._open

    def close(self) -> None:
        """Add the brackets that are missing at the end, if the text breaks off between values."""
        if self.is_broken and self._open:  # which never happens within a string
            closing = {opening: bracket for bracket, opening in _CLOSING.items()}
            self._parts += [closing[opening] for opening in reversed(self._open)]
            self._gap.clear()
            self._open.clear()
            self.is_broken, self.is_complete = False, True

    def _read_string(self, text: str, at: int) -> int:
        char = text[at]
        if self._escape:
            return self._read_escape(char, at)
        run = _STRING_RUNS[self._quote].match(text, at)
        if run is not None:
            self._parts.append(run[0])
            return run.end()
        if char == "\\":
            self._escape = char
        elif char == self._quote:
            self._quote = ""
            self._parts.append('"')
            self.is_complete = not self._open
        else:
            self._parts.append(json.dumps(char)[1:-1])
        return at + 1

    def _read_escape(self, char: str, at: int) -> int:
        escape, self._escape = self._escape, ""
        if _WHOLE_ESCAPE.fullmatch(escape + char):
            self._parts.append(char if char == "'" else escape + char)
        elif _BEGINNING_OF_ESCAPE.fullmatch(escape + char):
            self._escape = escape + char
        else:  # the backslash is text
            self._parts.append(f"\\{escape}")
            return at
        return at + 1

    def _read_outside(self, text: str, at: int) -> int:
        char = text[at]
        space = _SPACE_RUN.match(text, at) if char in SPACE else None
        if space is not None:
            self._gap.append(space[0])
            return space.end()
        if char in _CLOSING:
            return self._close(char, at)
        if not (char.isalnum() or char in _BEGINNINGS or (char in ",:" and self._open)):
            self.is_broken = True
            return at
        self._parts += self._gap
        self._gap.clear()
        if char == ",":
            self._gap.append(char)
        elif char in QUOTES:
            self._quote = char
            self._parts.append('"')
        elif char in "{[":
            self._open.append(char)
            self._parts.append(char)
        elif char == ":":
            self._parts.append(char)
        else:
            return self._read_word(text, at)
        return at + 1

    def _close(self, char: str, at: int) -> int:
        if not self._open or self._open.pop() != _CLOSING[char]:
            self.is_broken = True
            return at
        self._parts += self._gap[1:] if self._gap[:1] == [","] else self._gap
        self._gap.clear()
        self._parts.append(char)
        self.is_complete = not self._open
        return at + 1

    def _read_word(self, text: str, at: int) -> int:
        run = _WORD_RUN.match(text, at)
        if run is not None:
            self._word.append(run[0])
            at = run.end()
        if at < len(text):
            self.finish()
        return at


def parse(text: str) -> object:
    """Parse JSON.

    Raises:
        InvalidJSONError: the text is not JSON.
    """
    try:
        value: object = from_json(text)
    except (ValueError, TypeError):  # a TypeError for half a surrogate pair
        raise InvalidJSONError(NOT_JSON) from None
    return value


def find_objects(text: str, *, is_cut: bool = False) -> list[tuple[str, object]]:
    """Return the JSON objects in a text, each repaired and as its value; at least one.

    Args:
        text: the answer.
        is_cut: it was cut off at `max_tokens`.

    Raises:
        InvalidJSONError: the text holds no object, or one that does not end.
    """
    objects = []
    problem = "there is no JSON object in the answer"
    at = text.find("{")
    while at >= 0:
        value = RepairedValue()
        end = value.feed(text, at)
        try:
            objects.append((value.text, parse(value.text)))
        except InvalidJSONError as error:  # perhaps a brace in the text before the object
            problem = str(error) if value.is_complete or value.is_broken else _UNENDED + _CUT * is_cut
        at = text.find("{", end)  # not from `at`: each character is read once
    if not objects:
        raise InvalidJSONError(problem)
    return objects


def partial_object(text: str) -> object:
    """Return as much of the first JSON object as a text holds; None if none has begun.

    Raises:
        ValueError: the text so far is not JSON.
    """
    begin = text.find("{")
    try:
        return from_json(text[begin:], allow_partial="trailing-strings") if begin >= 0 else None
    except TypeError:
        raise InvalidJSONError(NOT_JSON) from None
