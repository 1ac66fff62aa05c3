"""Calls between marks, each a JSON object or a name before one: the reader of all families that write them so."""

from __future__ import annotations

import re
from collections.abc import Callable

from paradigm_transport.chat.dialects.arguments import end_of
from paradigm_transport.chat.dialects.base import is_half_mark, marks_of
from paradigm_transport.chat.dialects.call_json import CUT_OFF, CallReader, new_call_id
from paradigm_transport.chat.dialects.call_marks import CallMarks
from paradigm_transport.chat.dialects.state_reader import StateReader
from paradigm_transport.chat.events import Event
from paradigm_transport.chat.json_repair import NOT_JSON

# Models put calls in code fences and lists, and write a brace too many.
_FILLER = re.compile(r"[ \t\r\n`\[\],})]*")
_SPACE = re.compile(r"[ \t\r\n]*")
_BETWEEN_ELEMENTS = re.compile(r"[ \t\r\n,;}]*")
_FILLER_BEFORE_ARGUMENTS = re.compile(r"[ \t\r\n`]*")
_CLOSERS = re.compile(r"[}\])]*")
_LONGEST_GAP = 100
_VALUE = re.compile(r"[{\"]")


class JsonCallsReader(StateReader):
    """Reads text with calls between marks; see `Reader`.

    Mistakes that are simple to repair are repaired: those of `json_repair`, code fences, and a brace or an end mark
    too few or too many. No mark gets into the text.

    Args:
        marks: the marks.
        prefilled: the text begins within a call.
        name: the tool of that call, if the text begins with the call's arguments.
        call_id: the id of that call, if the prompt holds it.
        in_list: the text begins within a list of calls.
        parallel: read more than the first call.
        make_id: makes the ids of calls.
    """

    def __init__(
        self,
        marks: CallMarks,
        *,
        prefilled: bool = False,
        name: str | None = None,
        call_id: str | None = None,
        in_list: bool = False,
        parallel: bool = True,
        make_id: Callable[[], str] = new_call_id,
    ) -> None:
        super().__init__(JsonCallsReader._read_text)
        self._marks = marks
        self._any = marks_of(*marks.all)
        self._parallel = parallel
        self._make_id = make_id
        self._ids: set[str] = set()
        self._call: CallReader | None = None
        self._is_whole = False  # the call; only whether its end mark follows is not known yet
        self._is_list = in_list
        self._is_mark_used = False  # a call was read after this mark
        self._is_prefilled = prefilled  # the end of its first call may be missing
        self._header: list[str] = []
        self._unparsable: list[str] = []
        if name is not None:
            self._begin_call(name, call_id)
            self._read = JsonCallsReader._read_before_arguments
        elif prefilled:
            self._read = JsonCallsReader._read_between

    @property
    def in_value(self) -> bool:
        """As `Reader.in_value`."""
        return self._call is not None and self._call.in_string

    def finish(self, *, cut_off: bool = False) -> list[Event]:
        """As `Reader.finish`."""
        self._events = []
        header = "".join([*self._header, self._rest[self._at :]])
        if self._read is JsonCallsReader._read_header and not cut_off and header.rstrip().endswith("null"):
            self._header, self._at = [], len(self._rest)
            self._begin_named(header, no_arguments=True)
        while self._call is not None and self._read is JsonCallsReader._read_call:
            self._finish_call(self._call, cut_off=cut_off)
            self._read_on()
        if self._is_whole:
            self._end_whole(is_certain=not cut_off and (self._is_prefilled or not self._marks.needs_end))
        rest = "".join([*self._header, self._rest[self._at :]])
        if self._read in (JsonCallsReader._read_unparsable, JsonCallsReader._read_broken):
            self._refuse("".join([*self._unparsable, rest]), NOT_JSON)
        elif self._read is JsonCallsReader._read_closers:
            self._events += self._text.finish()
        elif self._read is not JsonCallsReader._read_text and not self._is_mark_used:
            self._refuse(rest, CUT_OFF)
        elif not is_half_mark(rest):
            self._events += self._text.add(rest) + self._text.finish()
        return self._events

    def _finish_call(self, call: CallReader, *, cut_off: bool) -> None:
        call.finish()
        if call.is_complete or (call.has_arguments and not cut_off):
            self._hold_or_end(call)
            return
        # A string without its end hides the end of the call, and text that follows it.
        places = [place for place in (call.text.find(mark) for mark in self._marks.ends) if place >= 0]
        end = min(places, default=len(call.text))
        self._rest, self._at = call.text[end:], 0
        self._refuse(call.text[:end], NOT_JSON if places else CUT_OFF)

    # The states

    def _read_text(self) -> bool:
        end, mark = self._any.next(self._rest, self._at)
        self._events += self._text.add(self._rest[self._at : end])
        self._at = end
        if not mark:
            return False
        self._at += len(mark)
        self._read_mark(mark)
        return True

    def _read_mark(self, mark: str) -> None:
        """Read a mark in text."""
        self._events += self._text.mark()
        if mark in self._marks.named:
            self._begin_call(self._marks.named[mark])
            self._read = JsonCallsReader._read_before_arguments
        elif mark in self._marks.begins:
            self._is_mark_used, self._is_list = False, mark.endswith("[")
            self._read = JsonCallsReader._read_between
        elif mark == self._marks.result and self._count:
            self._read = JsonCallsReader._read_nothing  # the model invents the result and what follows from it

    def _read_between(self) -> bool:
        """Read what is between marks and calls."""
        if not self._skip_between():
            return True
        if self._is_at_part_of_mark():
            return False
        if self._is_whole:
            self._end_whole()
        elif self._rest.startswith("{", self._at):
            self._begin_call()
        elif mark := self._skip_word(*self._marks.begins):
            self._is_mark_used, self._is_list = False, mark.endswith("[")
        elif self._skip_word(*self._marks.ends):
            if not self._is_mark_used:
                self._refuse("", NOT_JSON)
            self._read = JsonCallsReader._read_text
        elif self._is_mark_used:
            self._read = JsonCallsReader._read_text
        else:
            return self._read_word()
        return True

    def _read_word(self) -> bool:
        """Read a word between a mark and a call."""
        if self._may_become_word():
            return False
        if not self._skip_word(*self._marks.words):
            self._read = JsonCallsReader._read_header if self._marks.header else JsonCallsReader._read_unparsable
        return True

    def _skip_between(self) -> bool:
        """Skip what is between marks and calls and means nothing; return False if that ends the calls."""
        if self._marks.ends:
            self._at = end_of(_FILLER, self._rest, self._at)
            return True
        self._at = end_of(_BETWEEN_ELEMENTS if self._is_list else _SPACE, self._rest, self._at)
        if self._any.at(self._rest, self._at) is not None:
            return True  # at a mark, which may begin like a list
        if not self._is_list and not self._is_mark_used and self._skip_word("["):
            self._is_list = True
            return False
        if self._is_list and self._skip_word("]"):
            self._is_list = False
            self._end_without_mark()
            return False
        return True

    def _read_header(self) -> bool:
        """Read the name, up to the arguments."""
        end, mark = self._any.next(self._rest, self._at)
        value = _VALUE.search(self._rest, self._at, end)
        end = value.start() if value else end
        self._header.append(self._rest[self._at : end])
        self._at = end
        if not (value or mark):
            return False
        header, self._header = "".join(self._header), []
        self._begin_named(header, no_arguments=value is None)
        return True

    def _begin_named(self, header: str, *, no_arguments: bool) -> None:
        """Begin the call that a header names; without arguments, which null also stands for, it is whole."""
        found = self._marks.header.fullmatch(" ".join(header.split())) if self._marks.header else None
        if found is None:
            self._unparsable = [header]
            self._read = JsonCallsReader._read_unparsable
            return
        groups = found.groupdict()
        call = self._begin_call(groups["name"], groups.get("id"))
        if no_arguments:
            call.feed("null")
            call.finish()
            self._hold_or_end(call)

    def _read_before_arguments(self) -> bool:
        """Read what may precede the arguments if the prompt ends before them."""
        self._at = end_of(_FILLER_BEFORE_ARGUMENTS, self._rest, self._at)
        if self._at == len(self._rest) or self._may_become_word():
            return False
        self._skip_word(*self._marks.words)
        self._read = JsonCallsReader._read_call
        return True

    def _read_unparsable(self) -> bool:
        """Read up to the next mark."""
        end, mark = self._any.next(self._rest, self._at)
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
            self._read = JsonCallsReader._read_broken
        elif call.is_complete:
            self._hold_or_end(call)
        return True

    def _read_broken(self) -> bool:
        """Read what does not continue the JSON; if it is the end mark, only brackets are missing."""
        end, mark = self._any.next(self._rest, self._at)
        gap = self._rest[self._at : end]
        if gap.strip(" \t\r\n`") or len(gap) > _LONGEST_GAP:
            self._read = JsonCallsReader._read_unparsable
        elif not mark:
            return False
        elif self._call is not None and mark in self._marks.ends and self._call.close():
            self._at = end
            self._events += self._call.new_events()
            self._hold_or_end(self._call)
        else:
            self._read = JsonCallsReader._read_unparsable
        return True

    def _read_closers(self) -> bool:
        """Read a brace or a bracket too many, behind calls without an end mark."""
        self._at = end_of(_CLOSERS, self._rest, self._at)
        if self._at < len(self._rest):
            self._read = JsonCallsReader._read_text
        return True

    def _is_at_part_of_mark(self) -> bool:
        """Whether all that remains may become a mark."""
        return self._any.at(self._rest, self._at) == ""

    def _may_become_word(self) -> bool:
        """Whether all that remains is a beginning of a word, or one that may be longer."""
        return any(word.startswith(self._rest[self._at : self._at + len(word) + 1]) for word in self._marks.words)

    # The beginning and the end of calls

    def _begin_call(self, name: str | None = None, call_id: str | None = None) -> CallReader:
        call_id = self._make_id() if call_id is None or call_id in self._ids else call_id
        self._ids.add(call_id)
        self._call = CallReader(self._count, call_id, name, name_is_key=self._marks.name_is_key)
        self._count += 1
        self._read = JsonCallsReader._read_call
        return self._call

    def _hold_or_end(self, call: CallReader) -> None:
        """End a call whose text is whole; if an end mark should follow, only with what follows."""
        self._is_whole = True
        self._read = JsonCallsReader._read_between
        if not self._marks.ends and not self._is_list:
            self._end_without_mark()

    def _end_without_mark(self) -> None:
        self._end_whole()
        if self._read is JsonCallsReader._read_between:
            self._read = JsonCallsReader._read_closers

    def _end_whole(self, *, is_certain: bool = True) -> None:
        """End a call that was whole, if there is one."""
        call = self._call
        if not self._is_whole or call is None:
            return
        self._end(call, call.end() if is_certain else call.refuse(call.text, CUT_OFF))

    def _refuse(self, text: str, reason: str) -> None:
        call = self._call or self._begin_call()
        self._end(call, call.refuse(text, reason))

    def _end(self, call: CallReader, events: list[Event]) -> None:
        self._events += events
        self._call = None
        self._is_whole = self._is_prefilled = False
        self._unparsable = []
        self._is_mark_used = True
        self._events += self._text.mark()
        is_last = call.is_valid and not self._parallel
        self._read = JsonCallsReader._read_nothing if is_last else JsonCallsReader._read_between
