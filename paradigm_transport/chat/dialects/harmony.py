"""The format of gpt-oss, which writes each part of an answer into a channel: thoughts, text, and calls of tools."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paradigm_transport.chat.dialects.base import JoinedText, Marks, is_half_mark
from paradigm_transport.chat.dialects.call_json import CUT_OFF, CallReader, new_call_id
from paradigm_transport.chat.dialects.marked import NOT_A_CALL
from paradigm_transport.chat.dialects.structural import among_text, one_of, parameters_of, tag
from paradigm_transport.chat.events import Event, Thought
from paradigm_transport.chat.json_repair import NOT_JSON
from paradigm_transport.chat.structured import closed
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Tool, ToolCall, to_json

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
END, CALL, RETURN = "<|end|>", "<|call|>", "<|return|>"

_MARKS = Marks(START, CHANNEL, CONSTRAIN, MESSAGE, END, CALL, RETURN)
_IN_HEADERS = re.compile("|".join(map(re.escape, (START, CHANNEL, CONSTRAIN))))
_CHANNEL_NAME = re.compile(rf"{re.escape(CHANNEL)}\s*([a-z]+)")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_BUILT_IN = re.compile(r"\bto=(browser|python|container)(?![\w-])")
_PERSON = re.compile(r"\bto=(user|assistant|all)(?![\w-])")
_TO = "to="
_MAX_HEADER = 200
# The words of a header, the last of which may be cut off. What stands behind them is text.
_ADDRESS = rf"(?:\bto=[^\s<]*)?\s*(?:{re.escape(CONSTRAIN)}\s*(?:json|code|\w*\Z)?)?"
_WORDS = re.compile(
    rf"\s*(?:{re.escape(START)}\s*(?:assistant|\w*\Z)?)?\s*{_ADDRESS}"
    rf"\s*(?:{re.escape(CHANNEL)}\s*(?:analysis|commentary|final|\w*\Z)?)?\s*{_ADDRESS}\s*(?:(?:json|code)\s*\Z)?"
)


@dataclass(frozen=True)
class HarmonyCalls:
    """Calls in gpt-oss' harmony format; its reader also reads thoughts and text. See `CallFormat`."""

    begins = ()
    stop = CALL
    make_id: Callable[[], str] = new_call_id

    def write(self, calls: Sequence[ToolCall]) -> str:
        """As `CallFormat.write`."""
        written = [f"{self.prefill(call.name)}{to_json(call.arguments)}{CALL}" for call in calls]
        return f"{START}assistant".join(written)

    def prefill(self, name: str | None) -> str:
        """As `CallFormat.prefill`."""
        begin = f"{CHANNEL}commentary to=functions."
        return begin if name is None else f"{begin}{name} {CONSTRAIN}json{MESSAGE}"

    def constraint(self, tools: Sequence[Tool], name: str | None, *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.constraint`."""
        if name is not None:
            return {"json": closed(parameters_of(tools, name))}
        begin = self.prefill(None)
        return one_of([tag(self.prefill(tool.name).removeprefix(begin), tool.parameters) for tool in tools])

    def offer(self, tools: Sequence[Tool], *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.offer`."""
        calls = [tag(self.prefill(tool.name), tool.parameters, CALL) for tool in tools]
        return among_text([self.prefill(None)], calls, parallel=parallel)

    def reader(
        self, *, tools: Sequence[Tool] = (), prefilled: bool = False, name: str | None = None, parallel: bool = True
    ) -> HarmonyReader:
        """As `CallFormat.reader`."""
        header = self.prefill(name) if prefilled else ""
        return HarmonyReader(header, parallel=parallel, make_id=self.make_id)


class HarmonyReader:
    """Reads an answer in channels; see `Reader`.

    Args:
        header: the beginning of the answer that the prompt holds.
        parallel: read more than the first call.
        make_id: makes the ids of calls.
    """

    def __init__(self, header: str = "", *, parallel: bool = True, make_id: Callable[[], str] = new_call_id) -> None:
        self._parallel, self._make_id = parallel, make_id
        self._rest = ""
        self._header = [header]
        self._may_be_plain = not header  # no mark was read yet
        self._text, self._thought = JoinedText(), JoinedText(Thought, after_mark=True)
        self._count = 0  # of calls
        self._call: CallReader | None = None
        self._unparsable: list[str] = []
        self._read: Callable[[HarmonyReader, str], list[Event]] = HarmonyReader._read_header
        if header.endswith(MESSAGE):
            self._header = [header.removesuffix(MESSAGE)]
            self._begin_body()

    @property
    def in_value(self) -> bool:
        """As `Reader.in_value`."""
        return self._call is not None and self._call.in_string

    def feed(self, text: str) -> list[Event]:
        """As `Reader.feed`."""
        text, at = self._rest + text, 0
        events: list[Event] = []
        while True:
            end, mark = _MARKS.next(text, at)
            if end > at:
                events += self._read(self, text[at:end])
            at = end + len(mark)
            if not mark:
                break
            events += self._read(self, mark) if self.in_value else self._read_mark(mark)
        self._rest = text[at:]
        return events

    def finish(self, *, cut_off: bool = False) -> list[Event]:
        """As `Reader.finish`."""
        rest, self._rest = self._rest, ""
        events = self._read(self, rest) if self.in_value or (rest and not is_half_mark(rest)) else []
        if self._may_be_plain:
            events += self._text.add("".join(self._header))
        elif self._read is HarmonyReader._read_header:
            events += self._end_header(CUT_OFF)
        return [*events, *self._end_call(is_last=True, cut_off=cut_off), *self._text.finish()]

    # Marks

    def _read_mark(self, mark: str) -> list[Event]:
        if self._read is HarmonyReader._read_nothing or (mark == RETURN and self._may_be_plain):
            return []
        self._may_be_plain = False
        if self._read is HarmonyReader._read_header and mark in (CHANNEL, CONSTRAIN):
            self._header.append(mark)
            return []
        if mark == MESSAGE:
            return self._begin_body() if self._read is HarmonyReader._read_header else []
        events = self._end_header() if self._read is HarmonyReader._read_header else self._end_call()
        if mark == RETURN:
            self._read = HarmonyReader._read_nothing
        elif self._read is not HarmonyReader._read_nothing:
            self._header = [mark]
            self._read = HarmonyReader._read_header if mark in (START, CHANNEL) else HarmonyReader._read_text
            self._text.mark()
        return events

    def _begin_body(self) -> list[Event]:
        header, self._header = "".join(self._header), []
        channel = _CHANNEL_NAME.search(header)
        self._text.mark()
        self._thought.mark()
        is_thought = channel is not None and channel[1] == "analysis"
        self._read = HarmonyReader._read_thought if is_thought else HarmonyReader._read_text
        events = self._read(self, _text_in(header))
        name = _tool_of(header)
        if name is not None:
            self._begin_call(name)
        elif _BUILT_IN.search(header):
            self._read = HarmonyReader._read_built_in
        return events

    def _end_header(self, reason: str = NOT_A_CALL) -> list[Event]:
        """End a header that no message follows: a call in it is invalid, and other words are the message."""
        header = "".join(self._header)
        name = _tool_of(header)
        if name is not None:
            return self._end(self._begin_call(name).refuse(header, reason))
        return self._begin_body()

    # The states. Each reads text without marks.

    def _read_header(self, text: str) -> list[Event]:
        self._header.append(text)
        if not self._may_be_plain:
            return []
        begin = "".join(self._header)
        if _TO.startswith(begin.lstrip()[: len(_TO)]) and len(begin) < _MAX_HEADER:
            return []
        self._may_be_plain = False
        self._read = HarmonyReader._read_text
        return self._text.add("".join(self._header))

    def _read_text(self, text: str) -> list[Event]:
        return self._text.add(text)

    def _read_thought(self, text: str) -> list[Event]:
        return self._thought.add(text)

    def _read_built_in(self, text: str) -> list[Event]:
        return []  # neither text nor a call of ours

    def _read_nothing(self, text: str) -> list[Event]:
        return []

    def _read_call(self, text: str) -> list[Event]:
        call = self._call
        if call is None:
            return self._text.add(text)
        at = 0 if self._unparsable else call.feed(text)
        events = call.new_events()
        if call.is_complete:
            events += self._end(call.end())
            return [*events, *(self._read(self, text[at:]) if at < len(text) else [])]
        if call.is_broken:
            self._unparsable.append(text[at:])
        return events

    # Calls

    def _begin_call(self, name: str) -> CallReader:
        self._call = CallReader(self._count, self._make_id(), name)
        self._count += 1
        self._unparsable = []
        self._read = HarmonyReader._read_call
        return self._call

    def _end_call(self, *, is_last: bool = False, cut_off: bool = False) -> list[Event]:
        """End the call that a mark or the end of the answer ends."""
        call = self._call
        if call is None:
            return []
        if not call.text.strip() and not cut_off:
            call.feed("null")
        call.finish()
        if call.is_complete:
            return self._end([*call.new_events(), *call.end()])
        reason = CUT_OFF if is_last and not self._unparsable else NOT_JSON
        return self._end(call.refuse("".join([call.text, *self._unparsable]), reason))

    def _end(self, events: list[Event]) -> list[Event]:
        is_last = self._call is not None and self._call.is_valid and not self._parallel
        self._call = None
        self._text.mark()
        self._read = HarmonyReader._read_nothing if is_last else HarmonyReader._read_text
        return events


def _tool_of(header: str) -> str | None:
    """Return the name of the tool that a header calls; None if it calls none of ours."""
    found = _RECIPIENT.search(header)
    if found is None or _BUILT_IN.search(header) or _PERSON.search(header):
        return None
    return found[1].removeprefix("functions.")


def _text_in(header: str) -> str:
    """Return the text in a header, behind its words; models write some of them twice."""
    at, words = 0, _WORDS.match(header)
    while words is not None and words.end() > at:
        at = words.end()
        words = _WORDS.match(header, at)
    return _IN_HEADERS.sub("", header[at:])
