"""Formats whose calls are JSON: objects between marks, and a name before its arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from paradigm_transport.chat.dialects.call_json import new_call_id
from paradigm_transport.chat.dialects.call_marks import CallMarks
from paradigm_transport.chat.dialects.json_reader import JsonCallsReader
from paradigm_transport.chat.dialects.structural import among_text, one_of, parameters_of, tag
from paradigm_transport.chat.structured import call_schema, closed
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Tool, ToolCall, to_json


@dataclass(frozen=True)
class JsonObjects:
    """How a call is written as one JSON object.

    Attributes:
        name: the key of the tool's name.
        arguments: the key of its arguments.
        number: a key before them, of the call's place among the calls of the answer, as a string.
        name_is_key: the object is the name with the arguments, without other keys.
    """

    name: str = "name"
    arguments: str = "arguments"
    number: str = ""
    name_is_key: bool = False

    def write(self, call: ToolCall, index: int = 0) -> str:
        """Write a call."""
        number = {self.number: str(index)} if self.number else {}
        if self.name_is_key:
            return to_json({call.name: call.arguments})
        return to_json({**number, self.name: call.name, self.arguments: call.arguments})

    def open(self, name: str) -> str:
        """Begin the object of a call, up to the arguments."""
        # No space at the end: models write it as a part of the token that follows.
        if self.name_is_key:
            return f"{{{to_json(name)}:"
        number = f'"{self.number}": "0", ' if self.number else ""
        return f'{{{number}"{self.name}": {to_json(name)}, "{self.arguments}":'

    def schema(self, tools: Sequence[Tool]) -> JsonObject:
        """Return the JSON schema of a call of one of some tools."""
        return call_schema(
            tools, name=self.name, arguments=self.arguments, number=self.number, name_is_key=self.name_is_key
        )


OBJECTS = JsonObjects()
"""Objects with the keys `name` and `arguments`."""


@dataclass(frozen=True)
class JsonCalls:
    """Calls as JSON objects between marks; see `CallFormat`.

    Attributes:
        begin: the mark before a call, or before a list of calls; it may include the list's bracket.
        end: the mark behind it; without one, the JSON ends it.
        opening: what is written between the mark and the object or list.
        closing: what is written behind it, before the end mark.
        is_list: all calls are elements of one list.
        objects: how a call is written.
        others: further marks that begin calls.
        dropped: further marks that mean nothing.
        words: words that may stand between a mark and the object.
        header: a name may stand before the object; see `CallMarks`.
        result: a mark that begins a result.
        has_stop: the end mark may be sent as a stop sequence.
    """

    begin: str
    end: str = ""
    opening: str = ""
    closing: str = ""
    is_list: bool = False
    objects: JsonObjects = OBJECTS
    others: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    words: tuple[str, ...] = ("json",)
    header: re.Pattern[str] | None = None
    result: str = ""
    make_id: Callable[[], str] = new_call_id

    @property
    def begins(self) -> tuple[str, ...]:
        """As `CallFormat.begins`."""
        return (self.begin, *self.others)

    @property
    def stop(self) -> str:
        """As `CallFormat.stop`."""
        return self.end

    @cached_property
    def _marks(self) -> CallMarks:
        ends = (self.end,) if self.end else ()
        key = self.objects.name_is_key
        return CallMarks(self.begins, ends, self.dropped, self.words, self.header, self.result, name_is_key=key)

    @property
    def _opened(self) -> str:
        return f"{self.begin.removesuffix('[')}{self.opening}"

    def write(self, calls: Sequence[ToolCall]) -> str:
        """As `CallFormat.write`."""
        written = [self.objects.write(call, index) for index, call in enumerate(calls)]
        if self.is_list:
            return f"{self._opened}[{', '.join(written)}]{self.closing}{self.end}"
        return "\n".join(f"{self._opened}{call}{self.closing}{self.end}" for call in written)

    def prefill(self, name: str | None) -> str:
        """As `CallFormat.prefill`."""
        return self._opened if name is None else f"{self._opened}{'[' * self.is_list}{self.objects.open(name)}"

    def constraint(self, tools: Sequence[Tool], name: str | None, *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.constraint`."""
        schema = self._schema(tools, parallel=parallel) if name is None else parameters_of(tools, name)
        return {"json": closed(schema)}

    def offer(self, tools: Sequence[Tool], *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.offer`."""
        if self.begin.endswith("["):
            return None  # without the bracket, which is the value's, the mark is a word
        calls = tag(self._opened, self._schema(tools, parallel=parallel), f"{self.closing}{self.end}")
        return among_text([self.begin], [calls], parallel=parallel and not self.is_list)

    def _schema(self, tools: Sequence[Tool], *, parallel: bool) -> JsonObject:
        call = self.objects.schema(tools)
        if not self.is_list:
            return call
        definitions = {"$defs": call.pop("$defs")} if "$defs" in call else {}
        most = {} if parallel else {"maxItems": 1}
        return {"type": "array", "items": call, "minItems": 1, **most, **definitions}

    def reader(
        self, *, tools: Sequence[Tool] = (), prefilled: bool = False, name: str | None = None, parallel: bool = True
    ) -> JsonCallsReader:
        """As `CallFormat.reader`."""
        return JsonCallsReader(
            self._marks,
            prefilled=prefilled,
            name=name,
            in_list=name is not None and self.is_list,
            parallel=parallel,
            make_id=self.make_id,
        )


@dataclass(frozen=True)
class NamedCalls:
    """Calls as a name and then the JSON object of the arguments; see `CallFormat`.

    Attributes:
        begin: the mark before a call.
        header: reads what stands between the mark and the arguments; see `CallMarks`.
        before_name: what is written between the mark and the name.
        after_name: what is written between the name and the arguments.
        after_arguments: what is written behind the arguments, before the end mark.
        end: the mark behind a call; without one, the JSON ends it.
        section: the marks around all calls.
        separator: what is written between calls.
        dropped: further marks that mean nothing.
        id: how ids are written, with `{name}` and `{index}`; empty if the model writes none.
        id_mark: what is written before a new id, between the name and `after_name`.
        end_may_miss: a call without its end mark is whole.
    """

    begin: str
    header: re.Pattern[str]
    before_name: str = ""
    after_name: str = ""
    after_arguments: str = ""
    end: str = ""
    section: tuple[str, str] = ("", "")
    separator: str = ""
    dropped: tuple[str, ...] = ()
    id: str = ""
    id_mark: str = ""
    end_may_miss: bool = False
    make_id: Callable[[], str] = new_call_id

    @property
    def begins(self) -> tuple[str, ...]:
        """As `CallFormat.begins`."""
        return tuple(filter(None, (self.section[0], self.begin)))

    @property
    def stop(self) -> str:
        """As `CallFormat.stop`."""
        return ""

    @cached_property
    def _marks(self) -> CallMarks:
        ends = (self.end,) if self.end else ()
        needs_end = bool(self.end) and not self.end_may_miss
        wraps = (*filter(None, self.section), *self.dropped)
        return CallMarks((self.begin,), ends, wraps, (), self.header, needs_end=needs_end)

    def write(self, calls: Sequence[ToolCall]) -> str:
        """As `CallFormat.write`."""
        written = self.separator.join(self._write(call, index) for index, call in enumerate(calls))
        return written.join(self.section)

    def _write(self, call: ToolCall, index: int) -> str:
        call_id = f"{self.id_mark}{call.id}" if self.id_mark else ""
        arguments = f"{to_json(call.arguments)}{self.after_arguments}{self.end}"
        return f"{self.begin}{self._name(call.name, index)}{call_id}{self.after_name}{arguments}"

    def _name(self, name: str, index: int) -> str:
        return self.id.format(name=name, index=index) if self.id else f"{self.before_name}{name}"

    def prefill(self, name: str | None) -> str:
        """As `CallFormat.prefill`."""
        begin = f"{self.section[0]}{self.begin}"
        return f"{begin}{self._name('NAME', 0).partition('NAME')[0]}" if name is None else f"{begin}{self._open(name)}"

    def _open(self, name: str) -> str:
        """Write what stands between the mark and the arguments."""
        call_id = f"{self.id_mark}{self.make_id()}" if self.id_mark else ""
        return f"{self._name(name, 0)}{call_id}{self.after_name}"

    def constraint(self, tools: Sequence[Tool], name: str | None, *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.constraint`."""
        if name is not None:
            return {"json": closed(parameters_of(tools, name))}
        opened = self.prefill(None)
        whole = f"{self.section[0]}{self.begin}"
        return one_of([tag(f"{whole}{self._open(tool.name)}".removeprefix(opened), tool.parameters) for tool in tools])

    def offer(self, tools: Sequence[Tool], *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.offer`."""
        if self.id or self.id_mark:
            return None  # the text before the arguments is another one in each call
        end = f"{self.after_arguments}{self.end}"
        calls = [tag(f"{self.begin}{self._open(tool.name)}", tool.parameters, end) for tool in tools]
        return among_text([self.begin], calls, parallel=parallel)

    def reader(
        self, *, tools: Sequence[Tool] = (), prefilled: bool = False, name: str | None = None, parallel: bool = True
    ) -> JsonCallsReader:
        """As `CallFormat.reader`."""
        call_id = self.id.format(name=name, index=0) if name is not None and self.id else None
        return JsonCallsReader(
            self._marks, prefilled=prefilled, name=name, call_id=call_id, parallel=parallel, make_id=self.make_id
        )
