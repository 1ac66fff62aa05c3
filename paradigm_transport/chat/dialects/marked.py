"""Answers with calls between marks: what readers share whose calls are not JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from paradigm_transport.chat.dialects.arguments import SPACE, Arguments, end_of, word_at
from paradigm_transport.chat.dialects.base import Marks
from paradigm_transport.chat.dialects.call_json import CUT_OFF, CallReader, new_call_id
from paradigm_transport.chat.dialects.call_writer import CallWriter
from paradigm_transport.chat.dialects.state_reader import StateReader
from paradigm_transport.chat.events import CallEnd, Event
from paradigm_transport.chat.json_repair import NOT_JSON, InvalidJSONError
from paradigm_transport.messages import InvalidToolCall, ToolCall

NOT_A_CALL = "not written as the model writes calls"

_LIKELY_MARK = 5  # an answer that ends in so much of a mark was cut off in it
_AROUND_JSON = re.compile(r"[\s\[\],;}]*")


class MarkedReader(StateReader):
    """Reads one answer; see `Reader`. A subclass knows what is between the marks, unless it is JSON.

    Args:
        marks: texts that are always marks.
        end: the mark that ends calls.
        parallel: read more than the first call.
        make_id: makes the ids of calls.
    """

    def __init__(
        self, marks: Marks, end: str, *, parallel: bool = True, make_id: Callable[[], str] = new_call_id
    ) -> None:
        super().__init__(MarkedReader._read_text)
        self._marks = marks
        self._call_marks = marks  # those at which a call ends that cannot be read
        self._end = end
        self._parallel = parallel
        self._make_id = make_id
        self._call: CallWriter | CallReader | None = None
        self._arguments: Arguments | None = None
        self._json: CallReader | None = None  # the call, if it is written as JSON
        self._raw: list[str] = []  # what the model wrote of the call
        self._has_call = False  # since the last mark that begins calls
        self._is_last = False  # no more text follows
        self._is_strict = False  # an end mark ends values, too

    @property
    def in_value(self) -> bool:
        """As `Reader.in_value`."""
        if self._json is not None:
            return self._json.in_string
        return self._arguments is not None and self._arguments.in_value

    def finish(self, *, cut_off: bool = False) -> list[Event]:
        """As `Reader.finish`."""
        self._events, self._is_last = [], True
        self._read_on()
        while self._is_inside_call:
            self._end_unfinished(cut_off)
            self._read_on()
        if self._read is MarkedReader._read_text:
            rest = self._rest[self._at :]
            self._show(rest if len(rest) < _LIKELY_MARK else "")
            self._end_text()
        return self._events

    @property
    def _is_inside_call(self) -> bool:
        return self._call is not None or not (self._has_call or self._read in _OUTSIDE)

    def _end_unfinished(self, cut_off: bool) -> None:
        """Refuse a call that the answer ends in.

        A value without its end hides the end of the call, and text that follows it.
        """
        if self._json is not None:
            self._json.finish()
            if self._json.is_complete or (self._json.has_arguments and not cut_off):
                self._end_json()
                return
        self._take(len(self._rest))
        written, mark, rest = "".join(self._raw).partition(self._end) if self._end else ("", "", "")
        is_hidden = bool(mark) and not self._is_strict and not cut_off
        if is_hidden:
            self._is_strict = True  # so that no text is read more than twice
            self._raw = [written]
            self._rest, self._at = mark + rest, 0
        is_broken = is_hidden or self._read is MarkedReader._read_unparsable
        self._refuse(NOT_A_CALL if is_broken else CUT_OFF)
        self._read = MarkedReader._read_text

    # States

    def _read_text(self) -> bool:
        end, mark = self._marks.next(self._rest, self._at)
        self._show(self._rest[self._at : end])
        self._at = end
        return bool(mark) and self._read_mark(mark)

    def _read_arguments(self) -> bool:
        arguments = self._arguments
        if arguments is None:
            return False
        self._take(arguments.feed(self._rest, self._at, is_last=self._is_last))
        if self._call is not None:
            self._events += self._call.new_events()
        if arguments.is_complete:
            self._arguments = None
            self._read_behind_arguments()
        elif arguments.is_broken:
            self._break()
        return arguments.is_complete or arguments.is_broken

    def _read_json_calls(self) -> bool:
        """Read what is around calls that are written as JSON."""
        self._take(end_of(_AROUND_JSON, self._rest, self._at))
        mark = word_at(self._rest, self._at, (self._end,)) if self._end else ""
        if self._at == len(self._rest) or mark is None:
            return False
        if self._rest[self._at] == "{":
            self._json = self._call = CallReader(self._count, self._make_id())
            self._count += 1
            self._raw = []
            self._read = MarkedReader._read_json
        elif mark:
            self._take(self._at + len(mark))
            self._end_block()
        elif self._has_call:
            self._read = MarkedReader._read_text
        else:
            self._break()
        return True

    def _read_json(self) -> bool:
        call = self._json
        if call is None:
            return False
        self._take(call.feed(self._rest, self._at))
        self._events += call.new_events()
        if call.is_complete:
            self._end_json()
        elif call.is_broken:
            self._break()
        return True

    def _end_json(self) -> None:
        if self._end_call():
            self._read = MarkedReader._read_json_calls

    def _read_unparsable(self) -> bool:
        """Read up to the next mark."""
        end, mark = self._call_marks.next(self._rest, self._at)
        self._take(end)
        if mark:
            self._refuse(NOT_A_CALL)
            self._read = MarkedReader._read_text
        return bool(mark)

    # What a subclass decides

    def _read_mark(self, mark: str) -> bool:
        """Read a mark in the text, as a state does."""
        self._at += len(mark)
        self._events += self._text.mark()
        return True

    def _read_behind_arguments(self) -> None:
        """Go on behind a call's arguments."""
        self._end_call()

    def _break(self) -> None:
        """Go on at what does not continue a call."""
        self._json = None
        self._has_call = False  # but an invalid one
        self._read = MarkedReader._read_unparsable

    def _show(self, text: str) -> None:
        self._events += self._text.add(text)

    def _end_text(self) -> None:
        self._events += self._text.finish()

    # Reading

    def _take(self, end: int) -> str:
        """Read up to a place."""
        text = self._rest[self._at : end]
        self._at = end
        self._raw.append(text)
        return text

    def _skip_space(self) -> None:
        self._take(end_of(SPACE, self._rest, self._at))

    def _take_word(self, *words: str) -> str | None:
        """Read one of some words, and the space before it.

        Returns:
            The word; an empty string if another text follows, None if more text is needed.
        """
        self._skip_space()
        word = word_at(self._rest, self._at, words)
        self._take(self._at + len(word or ""))
        return word

    # The beginning and the end of calls

    def _begin_block(self, state: Callable[[Any], bool], mark: str = "") -> None:
        """Begin the calls behind a mark.

        Args:
            state: reads them.
            mark: the mark, if it is a part of the first call.
        """
        self._raw, self._has_call = [mark], False
        self._read = state

    def _end_block(self) -> None:
        """End the calls at a mark, which has been read."""
        self._raw = []
        if not self._has_call:
            self._refuse("there is no call between the marks")
        self._events += self._text.mark()
        self._read = MarkedReader._read_text

    def _open_call(self, name: str) -> None:
        """Begin a call whose arguments follow."""
        self._call = CallWriter(self._count, self._make_id(), name)
        self._count += 1
        self._arguments = self._new_arguments(self._call)
        self._arguments.is_strict = self._is_strict
        self._read = MarkedReader._read_arguments

    def _new_arguments(self, call: CallWriter) -> Arguments:
        """Return a reader of the arguments of a call."""
        raise NotImplementedError

    def _end_call(self) -> bool:
        """End the call; return whether more may be read."""
        if self._call is None:
            return True
        try:
            events = self._call.end()
        except InvalidJSONError:
            events = self._call.refuse("".join(self._raw), NOT_JSON)
        self._leave_call(events)
        is_valid = any(isinstance(event, CallEnd) and isinstance(event.call, ToolCall) for event in events)
        if is_valid and not self._parallel:
            self._read = MarkedReader._read_nothing
            return False
        return True

    def _refuse(self, reason: str) -> None:
        text = "".join(self._raw).strip()
        if self._call is not None:
            self._leave_call(self._call.refuse(text, reason))
        else:
            self._leave_call([CallEnd(self._count, InvalidToolCall(self._make_id(), None, text, reason))])
            self._count += 1

    def _leave_call(self, events: list[Event]) -> None:
        self._events += events
        self._call = self._arguments = self._json = None
        self._raw = []
        self._has_call = True
        self._events += self._text.mark()


_OUTSIDE = (MarkedReader._read_text, MarkedReader._read_nothing)  # of calls
