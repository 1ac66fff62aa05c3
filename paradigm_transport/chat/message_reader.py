"""Reads the messages of the chat endpoint, whose thoughts and calls come apart from the text, as events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from paradigm_transport.chat.dialects.base import Reader
from paradigm_transport.chat.dialects.call_json import CUT_OFF, CallReader, new_call_id
from paradigm_transport.chat.events import CallEnd, Event, Text, Thought
from paradigm_transport.chat.json_repair import NOT_JSON
from paradigm_transport.endpoints.completions.reply import CallPart, Choice, CompletionChunk
from paradigm_transport.messages import InvalidToolCall

_SEVERAL = "the arguments are more than one JSON object"


class MessageReader:
    """Reads one message, whole or in parts; any split gives the same events, once parts of one text are joined.

    Args:
        make_text_reader: makes what reads the text, where a server without a parser leaves thoughts and calls; it is
            given whether thoughts arrived separately.
        parallel: read more than the first call.
        make_id: makes the ids of calls that come without one.
    """

    def __init__(
        self,
        make_text_reader: Callable[[bool], Reader],
        *,
        parallel: bool = True,
        make_id: Callable[[], str] = new_call_id,
    ) -> None:
        self._make_text_reader = make_text_reader
        self._text_reader: Reader | None = None
        self._has_thoughts = False
        self._parallel = parallel
        self._make_id = make_id
        self._calls: list[_StreamedCall] = []
        self._by_index: dict[int | None, _StreamedCall] = {}
        self._places: dict[int, int] = {}  # of calls in the text

    @property
    def count(self) -> int:
        """The number of calls so far, invalid ones included."""
        return len(self._calls) + len(self._places)

    def feed(self, part: Choice | CompletionChunk) -> list[Event]:
        """Read the next part of the message; return what is certain by now and has not been returned before."""
        events: list[Event] = [Thought(part.thoughts)] if part.thoughts else []
        self._has_thoughts = self._has_thoughts or bool(part.thoughts)
        if part.text:
            self._text_reader = self._text_reader or self._make_text_reader(self._has_thoughts)
            events += self._placed(self._text_reader.feed(part.text))
        for each in part.calls:
            call = self._find(each)
            if call is not None:
                events += call.feed(each)
        return events

    def finish(self, *, cut_off: bool = False) -> list[Event]:
        """End the message; return the remaining events.

        Args:
            cut_off: the message ended by its length.
        """
        rest = self._text_reader.finish(cut_off=cut_off) if self._text_reader is not None else []
        events = list(self._placed(rest))
        for call in self._calls:
            events += call.finish()
        return events

    def _find(self, part: CallPart) -> _StreamedCall | None:
        """Return the call that a part belongs to, perhaps a new one; None if no other call is wanted."""
        last = self._calls[-1] if self._calls else None
        known = last if part.index is None else self._by_index.get(part.index)
        if known is None or known.is_followed_by(part):
            if self.count and not self._parallel:
                self._by_index[part.index] = _StreamedCall(-1, self._make_id)  # whose further parts come here, too
                return None
            known = self._by_index[part.index] = _StreamedCall(self.count, self._make_id)
            self._calls.append(known)
        return known if known.place >= 0 else None

    def _placed(self, events: Iterable[Event]) -> Iterator[Event]:
        """Number the calls in the text together with the others; leave out those that are not wanted."""
        for event in events:
            if isinstance(event, Text | Thought):
                yield event
            elif event.index in self._places or self._parallel or not self.count:
                place = self._places.setdefault(event.index, self.count)
                yield event if place == event.index else replace(event, index=place)


class _StreamedCall:
    """One call: what has arrived of it.

    Args:
        place: its place among the calls of the message.
        make_id: makes an id if none arrives.
    """

    def __init__(self, place: int, make_id: Callable[[], str]) -> None:
        self.place = place
        self._make_id = make_id
        self._id = self._name = ""
        self._begins_with_name = False  # alone, which then did not arrive again
        self._texts: list[str] = []
        self._reader: CallReader | None = None
        self._rest: list[str] = []  # what follows the whole arguments

    def is_followed_by(self, part: CallPart) -> bool:
        """Whether a part begins another call.

        Some servers repeat the name with every part, some send another id with every part, and some use one index for
        all calls.
        """
        if not part.name or part.id == self._id != "":
            return False
        if part.name == self._name and not (part.id or part.arguments or self._begins_with_name):
            return False  # the name once more, with nothing new
        is_complete = self._reader is not None and self._reader.is_complete
        return is_complete or bool(part.id and self._id and self._name and part.name != self._name)

    def feed(self, part: CallPart) -> list[Event]:
        """Read the next part; return the new events."""
        self._id = self._id or part.id
        if part.name:
            self._begins_with_name = not (self._name or part.arguments)
        if self._reader is None and part.name != self._name:
            self._name = part.name if part.name.startswith(self._name) else self._name + part.name
        if not part.arguments:
            return []
        self._texts.append(part.arguments)
        return self._read(part.arguments) if self._name else []

    def _read(self, arguments: str) -> list[Event]:
        if self._reader is None:
            self._reader = CallReader(self.place, self._id or self._make_id(), self._name)
            arguments = "".join(self._texts)  # some may have come before the name
        end = self._reader.feed(arguments)
        if self._reader.is_complete:
            self._rest.append(arguments[end:])
        return [] if self._reader.is_broken else self._reader.new_events()

    def finish(self) -> list[Event]:
        """End the call; return the remaining events."""
        text = "".join(self._texts)
        if not self._name:
            call = InvalidToolCall(self._id or self._make_id(), None, text, "the call names no tool")
            return [CallEnd(self.place, call)]
        reader = self._reader or CallReader(self.place, self._id or self._make_id(), self._name)
        reader.finish()
        if reader.is_broken:
            return reader.refuse(text, NOT_JSON)
        rest = "".join(self._rest)
        first = text[: len(text) - len(rest)].strip()
        if "{" in rest.replace(first, ""):  # some servers send the same arguments again
            return reader.refuse(text, _SEVERAL)
        is_whole = reader.is_complete or reader.has_arguments or not text.strip()
        return [*reader.new_events(), *reader.end()] if is_whole else reader.refuse(text, CUT_OFF)
