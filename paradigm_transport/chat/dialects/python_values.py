"""Arguments written as Python: keywords with literals as values, written on as JSON while they are read.

Mistakes that are simple to repair are repaired: line breaks and unescaped quotes in strings, leading zeros, JSON's
words, and brackets that are missing at the end.
"""

from __future__ import annotations

import re
import unicodedata
from math import isfinite

from paradigm_transport.chat.dialects.arguments import GAP, SPACE, SPACE_AND_COMMAS, Arguments, end_of, word_at
from paradigm_transport.chat.dialects.call_writer import CallWriter
from paradigm_transport.messages import to_json

# All bounded, so that a text in small pieces is not read over and over.
CALL = re.compile(r"(?P<name>[^\W\d][\w.\-]{0,200})\s{0,200}\(")
PART_OF_CALL = re.compile(r"[^\W\d][\w.\-]{0,200}\s{0,200}\Z")
# JSON schemas have names that Python has not: `start-date`, `$top`.
_KEY = re.compile(r"(?P<name>[$@]?[^\W\d][\w.\-]{0,200})\s{0,200}=(?!=)")
_PART_OF_KEY = re.compile(r"(?:[$@]|[$@]?[^\W\d][\w.\-]{0,200}\s{0,200}=?)\Z")
_STRING = re.compile(r"""(?P<prefix>[rRbBuUfF]{0,2})(?P<quote>["'])""")
_PART_OF_PREFIX = re.compile(r"[rRbBuUfF]{1,2}\Z")
_WORD = re.compile(r"[\w.+\-]{1,400}")

_WORDS = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}
_DIGITS = re.compile(r"[+-]?\d[\d_]*")
_BASED = re.compile(r"[+-]?0[xXoObB][\da-fA-F_]+")
_FRACTION = re.compile(r"[+-]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?")

_ESCAPE = re.compile(
    r"""\\(?:(?P<newline>\r?\n)|(?P<char>[\\'"abfnrtv])|(?P<octal>[0-7]{1,3})|x(?P<x>[\da-fA-F]{2})"""
    r"""|u(?P<u>[\da-fA-F]{4})|U(?P<U>[\da-fA-F]{8})|N\{(?P<name>[^{}\n]{1,100})\})"""
)
_PART_OF_ESCAPE = re.compile(
    r"\\(?:\r|[0-7]{1,2}|x[\da-fA-F]?|u[\da-fA-F]{0,3}|U[\da-fA-F]{0,7}|N(?:\{[^{}\n]{0,100})?)?\Z"
)
_CHARS = dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True))

# What closes a bracket. Braces are a dict or a set: the first element decides.
_CLOSING = {"call": ")", "[": "]", "(": ")", "{": "}", "dict": "}", "set": "}"}


class PythonArguments(Arguments):
    """Reads the arguments of one call, with its closing bracket; see `Arguments`.

    Args:
        call: takes the arguments as JSON.
        end: the mark behind the calls, if there is one.
        is_list: calls are a list; else each is on a separate line.
    """

    def __init__(self, call: CallWriter, end: str, *, is_list: bool) -> None:
        super().__init__(call, PythonArguments._read_argument)
        self._end = end
        self._is_list = is_list
        self._open = ["call"]
        self._quote = ""
        self._is_raw = False
        self._has_quotes = False  # in the string there are quotes that do not end it
        self._key: list[str] | None = None  # a string that is one, or may be
        self._element: object = None  # the first in braces, before it is known whether it is a key
        self._surrogate = 0  # the first half of a pair

    @property
    def in_value(self) -> bool:
        """As `Arguments.in_value`: in a string."""
        return self._quote != ""

    # States

    def _read_argument(self, text: str, at: int) -> int | None:
        """Read a keyword, or the end."""
        at = end_of(SPACE_AND_COMMAS, text, at)
        found = _KEY.match(text, at)
        if found is not None and found.end() < len(text):  # not the half of `==`
            self._call.key(found["name"])
            self._read = PythonArguments._read_value
            return found.end()
        return self._read_closing(text, at, _PART_OF_KEY)

    def _read_closing(self, text: str, at: int, part: re.Pattern[str] | None = None) -> int | None:
        """Read the bracket that closes the innermost value, or the end mark if brackets are missing.

        Args:
            text: holds the bracket.
            at: its place.
            part: matches the beginning of what else might be there.
        """
        if at == len(text):
            return at
        if text[at] == _CLOSING[self._open[-1]]:
            return self._close(at)
        is_end = word_at(text, at, (self._end,)) if self._end else ""
        if is_end or (text[at] == "]" and self._open == ["call"]):
            self.is_complete = True
            return at
        if is_end is None or (part and part.match(text, at)):
            return None
        self.is_broken = True
        return at

    def _close(self, at: int) -> int:
        opened = self._open.pop()
        self.is_complete = opened == "call"
        if opened == "{":  # with nothing in it
            self._call.open("{")
        if not self.is_complete:
            self._call.close()
        self._read = PythonArguments._read_behind_value
        return at + 1

    def _read_value(self, text: str, at: int) -> int | None:
        at = end_of(SPACE, text, at)
        if at == len(text):
            return at
        if _PART_OF_PREFIX.match(text, at) and not self._is_last:
            return None
        string = _STRING.match(text, at)
        if string is not None:
            self._call.begin_text()
            return self._begin_string(string)
        if text[at : at + 1] in ("[", "(", "{"):
            return self._open_bracket(text[at], at)
        word = _WORD.match(text, at)
        if word is None:
            is_element = self._open[-1] != "call"
            return self._read_closing(text, at) if is_element else self._break(at)
        if word.end() == len(text):
            return None if len(word[0]) < 400 else self._break(at)
        return self._read_word(word[0], at)

    def _open_bracket(self, bracket: str, at: int) -> int:
        self._open.append(bracket)
        if bracket == "{":
            self._read = PythonArguments._read_item
        else:
            self._call.open("[")
        return at + 1

    def _read_word(self, word: str, at: int) -> int:
        try:
            self._call.value(_literal(word))
        except ValueError:
            return self._break(at)
        self._read = PythonArguments._read_behind_value
        return at + len(word)

    def _read_behind_value(self, text: str, at: int) -> int | None:
        at = end_of(SPACE, text, at)
        if text[at : at + 1] != ",":
            return self._read_closing(text, at)
        states = {"call": PythonArguments._read_argument, "dict": PythonArguments._read_item}
        self._read = states.get(self._open[-1], PythonArguments._read_value)
        return at + 1

    def _read_item(self, text: str, at: int) -> int | None:
        """Read the key of a dict, or the first element of a set."""
        at = end_of(SPACE, text, at)
        if at == len(text):
            return at
        if _PART_OF_PREFIX.match(text, at) and not self._is_last:
            return None
        string = _STRING.match(text, at)
        if string is not None:
            self._key = []
            return self._begin_string(string)
        word = _WORD.match(text, at)
        if word is None:
            return self._read_closing(text, at)
        if word.end() == len(text):
            return None if len(word[0]) < 400 else self._break(at)
        try:
            self._element = _literal(word[0])
        except ValueError:
            return self._break(at)
        self._read = PythonArguments._read_colon
        return word.end()

    def _read_colon(self, text: str, at: int) -> int | None:
        at = end_of(SPACE, text, at)
        if at == len(text):
            return at
        is_first, is_key = self._open[-1] == "{", text[at] == ":"
        if not is_key and not (is_first and text[at] in ",}"):
            return self._break(at)
        if is_first:
            self._open[-1] = "dict" if is_key else "set"
            self._call.open("{" if is_key else "[")
        if is_key:
            key = self._element
            self._call.key(key if isinstance(key, str) else to_json(key))
            self._read = PythonArguments._read_value
            return at + 1
        self._call.value(self._element)
        self._read = PythonArguments._read_behind_value
        return at

    # Strings

    def _begin_string(self, found: re.Match[str]) -> int:
        self._quote = found["quote"]
        self._is_raw = "r" in found["prefix"].lower()
        self._has_quotes = False
        self._read = PythonArguments._read_opening
        return found.end()

    def _read_opening(self, text: str, at: int) -> int | None:
        """Read two more quotes, if a string begins with three."""
        if text[at:] == self._quote and not self._is_last:
            return None
        self._read = PythonArguments._read_string
        if text.startswith(self._quote * 2, at):
            self._quote *= 3
            return at + 2
        return at

    def _read_string(self, text: str, at: int) -> int | None:
        char = text[at]
        if char == self._quote[0]:
            return self._read_quote(text, at)
        if char == "\\":
            return self._read_escape(text, at)
        if self.is_strict and char == self._end[0]:
            mark = word_at(text, at, (self._end,))
            if mark != "":
                return self._break(at) if mark else None
        run = _run(self._quote[0], self._end[:1])
        return self._write(text[at : max(end_of(run, text, at), at + 1)], at)

    def _read_quote(self, text: str, at: int) -> int | None:
        if len(self._quote) == 1:
            ends = self._ends_string(text, at + 1)
        elif text.startswith(self._quote, at):
            ends = True
        else:
            ends = None if self._quote.startswith(text[at:]) and not self._is_last else False
        if ends is None:
            return None
        if not ends:
            self._has_quotes = True
            return self._write(self._quote[0], at)
        behind = at + len(self._quote)
        follower = end_of(GAP, text, behind)
        joined = _STRING.match(text, follower)
        if joined is not None and not joined["prefix"] and not self._has_quotes:  # Python joins the two
            return self._begin_string(joined)
        if text[follower : follower + 1] == "+":
            return self._break(at)
        self._quote = ""
        if self._surrogate:
            return self._break(at)
        self._end_string()
        return behind

    def _end_string(self) -> None:
        if self._key is None:
            self._call.end_text()
            self._read = PythonArguments._read_behind_value
        else:
            self._element, self._key = "".join(self._key), None
            self._read = PythonArguments._read_colon

    def _ends_string(self, text: str, at: int) -> bool | None:
        """Return whether a quote before a place ends the string: what follows must fit. None if that is open."""
        at = end_of(GAP, text, at)
        if at == len(text):
            return True if self._is_last else None
        if self._end and (mark := word_at(text, at, (self._end,))) != "":
            return None if mark is None and not self._is_last else True
        char, inner = text[at], self._open[-1]
        if char in "'\"+" and not self._has_quotes:
            return True
        if self._key is not None:
            return char == ":" or (inner == "{" and char in ",}")
        if inner != "call":
            return char == "," or char == _CLOSING[inner]
        if char == ",":
            return self._begins_argument(text, at + 1)
        return self._ends_call(text, at + 1) if char in ")]" else False

    def _begins_argument(self, text: str, at: int) -> bool | None:
        at = end_of(GAP, text, at)
        if at == len(text) or _PART_OF_KEY.match(text, at):
            return None if not self._is_last else False
        return text[at] == ")" or _KEY.match(text, at) is not None

    def _ends_call(self, text: str, at: int) -> bool | None:
        """Return whether what follows a call can follow its closing bracket; None if that is open."""
        behind = end_of(GAP, text, at)
        if behind == len(text):
            return True if self._is_last else None
        if text[behind] in ",]":
            return True
        if not self._is_list and "\n" in text[at:behind] and CALL.match(text, behind):
            return True
        if not self._is_list and PART_OF_CALL.match(text, behind):
            return None
        mark = word_at(text, behind, (self._end,)) if self._end else ""
        return None if mark is None else mark != ""

    def _read_escape(self, text: str, at: int) -> int | None:
        if self._is_raw:
            return self._write(text[at : at + 2], at) if at + 1 < len(text) else None
        if _PART_OF_ESCAPE.match(text, at) and not self._is_last:
            return None
        found = _ESCAPE.match(text, at)
        char = "\\" if found is None else _unescape(found)
        if char is None:
            return self._break(at)
        self._write(char, at)
        return at + 1 if found is None else found.end()

    def _write(self, text: str, at: int) -> int:
        """Add to the string; return where the text ends if it begins at a place."""
        end = at + len(text)
        if self._surrogate or "\ud800" <= text[:1] < "\ue000":
            text = self._pair(text)
        if self._key is None:
            self._call.text(text)
        else:
            self._key.append(text)
        return end

    def _pair(self, text: str) -> str:
        """Put the halves of a surrogate pair together."""
        first, self._surrogate = self._surrogate, 0
        if first and "\udc00" <= text < "\ue000":
            return chr(0x10000 + ((first - 0xD800) << 10) + ord(text) - 0xDC00)
        if not first and text < "\udc00":
            self._surrogate = ord(text)
            return ""
        self.is_broken = True
        return ""


def _run(quote: str, mark: str) -> re.Pattern[str]:
    """Return the pattern of text in a string that is nothing but text; `re` caches it."""
    return re.compile(rf"[^\\{quote}{re.escape(mark)}]+")


def _unescape(found: re.Match[str]) -> str | None:
    """Return the character of an escape, or None if it is not one."""
    if found["newline"]:
        return ""
    if found["char"]:
        return _CHARS[found["char"]]
    if found["name"]:
        try:
            return unicodedata.lookup(found["name"])
        except KeyError:
            return None
    octal, code = found["octal"], found["x"] or found["u"] or found["U"]
    number = int(octal, 8) if octal else int(code, 16)
    return chr(number) if number < 0x110000 else None


def _literal(word: str) -> object:
    """Read a word or a number.

    Raises:
        ValueError: it is neither.
    """
    if word in _WORDS:
        return _WORDS[word]
    if _DIGITS.fullmatch(word):
        return int(word)
    if _BASED.fullmatch(word):
        return int(word, 0)
    number = float(word) if _FRACTION.fullmatch(word) else float("nan")
    if not isfinite(number):
        raise ValueError
    return number
