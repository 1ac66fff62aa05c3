"""Tagged arguments: the marks of a family, and the values between them, typed by the tool's schema.

A value may hold marks itself: code that a model writes into a file is full of tags. So the end mark of a value is one
only where a mark that may follow stands behind it.
"""

from __future__ import annotations

import re
from typing import Literal

from paradigm_transport.chat.dialects.arguments import GAP, SPACE, Arguments, end_of, word_at
from paradigm_transport.chat.dialects.base import Marks
from paradigm_transport.chat.dialects.call_writer import CallWriter
from paradigm_transport.chat.dialects.typed import Schema, read_json
from paradigm_transport.json_object import JsonObject

NAME, KEY, IS_TEXT = "NAME", "KEY", "IS_TEXT"
Trim = Literal["nothing", "line", "space"]

_WRAPPERS = ("arguments", "input")  # models put all arguments into one of these

# All bounded, so that a text in small pieces is not read over and over. Several repetitions that match the same
# characters take long, so the end of a mark is looked for first.
_TAG = re.compile(
    r"""(?=[^<>\n]{0,500}>)"""
    r"""[ \t]*(?:"(?P<a>[^"<>\n]{1,200})"|'(?P<b>[^'<>\n]{1,200})'|(?P<c>[^\s"'<>][^"'<>\n]{0,200}?))"""
    r"""(?P<more>(?:[ \t]+\w+=(?:"[^"<>\n]*"|'[^'<>\n]*'|\w+))*)[ \t]*>"""
)
_PART_OF_TAG = re.compile(r"[^<>\n]{0,500}\Z")
_PART_OF_KEY = re.compile(r"[^<>]{0,500}(?:<[^<>\n]{0,50})?\Z")
_BARE_NAME = re.compile(r"\s{0,200}(?P<c>[^\s<>{}\"']{1,200})\s{0,200}(?=<)")
_PART_OF_NAME = re.compile(r"\s{0,200}[^\s<>{}\"']{0,200}\s{0,200}\Z")
_MARKED_AS_TEXT = re.compile(r"""string=["']?true""")


class Opening:
    """A mark that holds a name.

    Args:
        written: the mark.
        name: what stands in it for the name.

    Attributes:
        mark: what it begins with.
    """

    def __init__(self, written: str, name: str) -> None:
        before, _, behind = written.strip().partition(name)
        self.mark = before.rstrip('"')
        if not before:
            self._rest, self._part = _BARE_NAME, _PART_OF_NAME
        elif "=" in before:
            self._rest, self._part = _TAG, _PART_OF_TAG
        else:
            self._rest = re.compile(rf"(?P<c>[^<>]{{1,500}}){re.escape(behind)}")
            self._part = _PART_OF_KEY

    def match(self, text: str, at: int) -> re.Match[str] | None:
        """Match the rest of the mark at a place."""
        return self._rest.match(text, at)

    def may_match(self, text: str, at: int) -> bool:
        """Whether what a text holds from a place on is the beginning of the rest."""
        return self._part.match(text, at) is not None


def name_in(found: re.Match[str]) -> str:
    """Return the name that a mark holds."""
    groups = found.groupdict()
    return next(filter(None, (groups.get(group) for group in "abc")), "").strip()


class TagMarks:
    """The marks of a family without the space around them, and what may stand where.

    Args:
        begin: begins a block of calls.
        end: ends it.
        call: begins a call.
        call_end: ends it.
        parameter: begins an argument.
        parameter_end: ends its value.
        value: begins its value.
        lead: words before a call.
        tail: words behind it.
    """

    def __init__(
        self,
        *,
        begin: str,
        end: str,
        call: str,
        call_end: str,
        parameter: str,
        parameter_end: str,
        value: str,
        lead: tuple[str, ...],
        tail: tuple[str, ...],
    ) -> None:
        self.begin, self.end, self.call_end = begin.strip(), end.strip(), call_end.strip()
        self.parameter_end, self.value = parameter_end.strip(), value.strip()
        self.call, self.parameter = Opening(call, NAME), Opening(parameter, KEY)
        self.begins = _marks(self.begin, *lead[:1], self.call.mark)
        self.around = _marks(self.begin, *lead, *tail, self.call_end, self.parameter_end, self.end)
        self.last_end = self.call_end or self.end
        self.behind_last_end = _marks(*tail, self.begin, self.call.mark, self.end if self.call_end else "")
        self.behind_arguments = _marks(self.call_end, *tail, self.end)
        self.behind_value = _marks(self.parameter.mark, *self.behind_arguments)
        self.in_value = Marks(*_marks(self.parameter_end, self.parameter.mark, self.call_end, self.end))
        # A family's special tags are never text; tags of plain XML may be.
        self.in_text = Marks(*_marks(self.begin, self.end, self.call.mark, *filter(_is_own, self.around)))
        self.may_be_text = not _is_own(self.call.mark)


def _is_own(mark: str) -> bool:
    return ":" in mark or not mark.isascii()


def _marks(*marks: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, marks)))


class TaggedArguments(Arguments):
    """Reads the arguments of one call, up to its end mark; see `Arguments`.

    Args:
        call: takes the arguments as JSON.
        marks: the marks around them.
        schema: types them.
        trim: the space around a value that is not a part of it.
        is_marked: each argument says whether its value is text.
    """

    def __init__(self, call: CallWriter, marks: TagMarks, schema: Schema, trim: Trim, *, is_marked: bool) -> None:
        super().__init__(call, TaggedArguments._read_between)
        self._marks = marks
        self._schema = schema
        self._known = schema.keys
        self._trim = trim
        self._is_marked = is_marked
        self._keys: set[str] = set()  # so far
        self._value_schema = schema
        self._is_text = False
        self._value: list[str] = []
        self._space: list[str] = []  # of the value, held back since it may be the end
        self._is_begun = False
        self._nested = 0  # tags in the value that look like the beginning of an argument

    @property
    def in_value(self) -> bool:
        """As `Arguments.in_value`."""
        return self._read is TaggedArguments._read_value

    # States

    def _read_between(self, text: str, at: int) -> int | None:
        """Read up to an argument or the end of the call; that mark is left."""
        at = end_of(SPACE, text, at)
        word = word_at(text, at, self._marks.behind_value)
        if word == self._marks.parameter.mark:
            self._read = TaggedArguments._read_key
            return at + len(word)
        self.is_complete = bool(word)
        self.is_broken = word == ""
        return at if word is not None or at == len(text) else None

    def _read_key(self, text: str, at: int) -> int | None:
        found = self._marks.parameter.match(text, at)
        if found is None:
            self.is_broken = not self._marks.parameter.may_match(text, at)
            return None
        key = name_in(found)
        if not self._keys and self._known and key in _WRAPPERS and key not in self._known:
            self._call.hold(self._unwrap)
        self._keys.add(key)
        self._call.key(key)
        self._value_schema = self._schema.property(key)
        if self._is_marked:
            self._is_text = _MARKED_AS_TEXT.search(found["more"]) is not None
        else:
            self._is_text = self._value_schema.types <= {"string"}
        if self._marks.value:
            self._read = TaggedArguments._read_mark_of_value
        else:
            self._begin_value()
        return found.end()

    def _read_mark_of_value(self, text: str, at: int) -> int | None:
        at = end_of(SPACE, text, at)
        word = word_at(text, at, (self._marks.value,))
        self.is_broken = word == ""
        if not word:
            return at if at == len(text) else None
        self._begin_value()
        return at + len(word)

    def _begin_value(self) -> None:
        self._value, self._space, self._is_begun, self._nested = [], [], False, 0
        if self._is_text:
            self._call.begin_text()
        self._read = TaggedArguments._read_value

    def _read_value(self, text: str, at: int) -> int | None:
        end, mark = self._marks.in_value.next(text, at)
        self._add(text[at:end])
        if end > at:
            return end
        is_end = self._ends_value(text, mark, at + len(mark)) if mark else None
        self.is_broken = self.is_strict and mark == self._marks.end and not is_end
        if is_end:
            self._end_value()
            return at + len(mark) * (mark == self._marks.parameter_end)
        if is_end is None or self.is_broken:
            return None
        self._add(mark)
        return at + len(mark)

    # Where a value ends. None always says that more text is needed to know.

    def _ends_value(self, text: str, mark: str, behind: int) -> bool | None:
        """Whether a mark in a value ends it."""
        if mark == self._marks.parameter.mark:
            return self._begins_argument(text, behind)
        if mark == self._marks.parameter_end:
            is_end = self._is_followed(text, behind, self._marks.behind_value, at_end=True)
            self._nested -= is_end is False and self._nested > 0
            return is_end
        if mark == self._marks.last_end and not self._nested:  # the end mark of the value is missing
            return self._is_followed(text, behind, self._marks.behind_last_end, at_end=False)
        return False

    def _is_followed(self, text: str, at: int, words: tuple[str, ...], *, at_end: bool) -> bool | None:
        """Whether one of some words follows; and what holds at the end of the answer."""
        at = end_of(GAP, text, at)
        if at == len(text):
            return at_end if self._is_last else None
        word = word_at(text, at, words)
        if word == self._marks.parameter.mark and self._nested:
            key = self._key_at(text, at + len(word))
            return None if key is None else key in self._known
        return None if word is None else word != ""

    def _begins_argument(self, text: str, at: int) -> bool | None:
        """Whether an argument begins, although the one before has no end mark."""
        key = self._key_at(text, at)
        if key is None:
            return None
        if key and (not self._known or (key in self._known and key not in self._keys)):
            return True
        self._nested += key != ""
        return False

    def _key_at(self, text: str, at: int) -> str | None:
        """Return the name of the argument whose mark ends at a place, or an empty string."""
        found = self._marks.parameter.match(text, at)
        if found is None:
            return None if self._marks.parameter.may_match(text, at) else ""
        return name_in(found)

    # Values

    def _add(self, text: str) -> None:
        """Add to the value."""
        text = self._trimmed(text)
        if self._is_text:
            self._call.text(text)
        else:
            self._value.append(text)

    def _trimmed(self, text: str) -> str:
        """Return the next of a value without the space around the whole of it, which is held back."""
        if self._trim == "nothing" or not text:
            return text
        if not self._is_begun:
            text = text.removeprefix("\n") if self._trim == "line" else text.lstrip()
            self._is_begun = self._trim == "line" or text != ""
        kept = text.removesuffix("\n") if self._trim == "line" else text.rstrip()
        held = [text[len(kept) :]]
        if not text or (self._trim == "space" and not kept):
            self._space += held
            return ""
        kept, self._space = "".join(self._space) + kept, held
        return kept

    def _end_value(self) -> None:
        if self._is_text:
            self._call.end_text()
        else:
            self._call.value(self._typed("".join(self._value)))
        self._read = TaggedArguments._read_between

    def _typed(self, text: str) -> object:
        if not self._is_marked:
            return self._value_schema.read(text)
        value = read_json(text)
        if isinstance(value, str):
            return self._value_schema.read(text) if value == text else value
        return text if self._value_schema.types == {"string"} else value

    def _unwrap(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments within the only one, if they fit the schema."""
        inner = next(iter(arguments.values()))
        inner = read_json(inner) if isinstance(inner, str) else inner
        if len(arguments) == 1 and isinstance(inner, dict) and set(inner) <= set(self._known):
            return inner
        return arguments
