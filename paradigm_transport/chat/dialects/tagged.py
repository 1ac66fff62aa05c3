"""Calls with tagged arguments: Qwen's coders, Seed, GLM, MiniMax, DeepSeek's DSML, Step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from paradigm_transport.chat.dialects.arguments import SPACE, end_of, word_at
from paradigm_transport.chat.dialects.call_writer import CallWriter
from paradigm_transport.chat.dialects.marked import MarkedReader
from paradigm_transport.chat.dialects.structural import among_text, constant, either, repeated, sequence, tag
from paradigm_transport.chat.dialects.tagged_arguments import (
    IS_TEXT,
    KEY,
    NAME,
    TaggedArguments,
    TagMarks,
    Trim,
    name_in,
)
from paradigm_transport.chat.dialects.typed import Schema
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Tool, ToolCall, to_json


@dataclass(frozen=True)
class TaggedCalls:
    """Calls with tagged arguments; see `CallFormat`.

    All marks are as templates write them, with the space around them, which readers ignore.

    Attributes:
        begin: begins a block of calls; empty if calls stand by themselves.
        end: ends it.
        call: begins a call, with NAME for the tool's name.
        call_end: ends it; empty if the end of the block does.
        parameter: begins an argument, with KEY for its name, and with IS_TEXT if it says whether the value is text or
            JSON.
        parameter_end: ends its value.
        value: begins its value, if the argument's name has a separate end mark.
        lead: words before a call.
        tail: words behind it.
        trim: the space around a value that is not a part of it: none, one line break on each side, or all.
        is_shared: one block holds several calls.
        style: what vLLM's `structural_tag` calls this form; None if it does not know it.
    """

    begin: str
    end: str
    call: str
    call_end: str
    parameter: str
    parameter_end: str
    value: str = ""
    lead: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
    trim: Trim = "nothing"
    is_shared: bool = False
    style: str | None = None

    @property
    def begins(self) -> tuple[str, ...]:
        """As `CallFormat.begins`."""
        return _marks_of(self).begins

    @property
    def stop(self) -> str:
        """As `CallFormat.stop`."""
        return self.end if self.call_end else ""  # a stop sequence is cut off, and some end mark must be there

    # Writing

    def write(self, calls: Sequence[ToolCall]) -> str:
        """As `CallFormat.write`."""
        written = [self._write_call(call) for call in calls]
        blocks = ["".join(written)] if self.is_shared else written
        return "\n".join(f"{self.begin}{block}{self.end}" for block in blocks)

    def _write_call(self, call: ToolCall) -> str:
        arguments = "".join(self._write_argument(key, value) for key, value in call.arguments.items())
        return f"{self._opening(call.name)}{arguments}{self._closing}"

    def _write_argument(self, key: str, value: object) -> str:
        is_text = isinstance(value, str)
        begin = self.parameter.replace(KEY, key).replace(IS_TEXT, to_json(is_text))
        return f"{begin}{self.value}{value if is_text else to_json(value)}{self.parameter_end}"

    def _opening(self, name: str) -> str:
        return "".join(self.lead) + self.call.replace(NAME, name)

    @property
    def _closing(self) -> str:
        return self.call_end + "".join(self.tail)

    # Forced calls

    def prefill(self, name: str | None) -> str:
        """As `CallFormat.prefill`."""
        opening = self.begin + self._opening(NAME if name is None else name)
        return opening if name is not None else opening.partition(NAME)[0]

    def constraint(self, tools: Sequence[Tool], name: str | None, *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.constraint`."""
        if self.style is None:
            return None
        tools = [tool for tool in tools if name in (None, tool.name)]
        parts = [either([self._tag(tool, self.style, self.begin, len(self.prefill(name))) for tool in tools])]
        if parallel:
            more = [self._tag(tool, self.style, "" if self.is_shared else f"\n{self.begin}") for tool in tools]
            parts.append(repeated(more))
        return sequence([*parts, constant(self.end)] if self.is_shared else parts)

    def offer(self, tools: Sequence[Tool], *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.offer`."""
        if self.style is None or not self.begin:
            return None
        begin = self.begin.lstrip()
        if not self.is_shared:
            return among_text([begin], [self._tag(tool, self.style, begin) for tool in tools], parallel=parallel)
        calls = repeated([self._tag(tool, self.style) for tool in tools], at_least_one=True, parallel=parallel)
        block = {"type": "tag", "begin": begin, "content": calls, "end": self.end}
        return among_text([begin], [block], parallel=parallel)

    def _tag(self, tool: Tool, style: str, begin: str = "", begun: int = 0) -> JsonObject:
        """Return the structure of a call, without its first characters."""
        end = self._closing if self.is_shared else f"{self._closing}{self.end}"
        return tag(f"{begin}{self._opening(tool.name)}"[begun:], tool.parameters, end, style=style)

    # Reading

    def reader(
        self, *, tools: Sequence[Tool] = (), prefilled: bool = False, name: str | None = None, parallel: bool = True
    ) -> TaggedReader:
        """As `CallFormat.reader`."""
        return TaggedReader(self, tools=tools, prefilled=prefilled, name=name, parallel=parallel)


@lru_cache(maxsize=64)
def _marks_of(form: TaggedCalls) -> TagMarks:
    return TagMarks(
        begin=form.begin,
        end=form.end,
        call=form.call,
        call_end=form.call_end,
        parameter=form.parameter,
        parameter_end=form.parameter_end,
        value=form.value,
        lead=form.lead,
        tail=form.tail,
    )


class TaggedReader(MarkedReader):
    """Reads one answer with tagged calls; see `Reader`.

    Args:
        form: how calls are written.
        tools: the tools whose schemas type the values.
        prefilled: the prompt ends within a call.
        name: the tool of that call, if the prompt ends before the call's arguments.
        parallel: read more than the first call.
    """

    def __init__(
        self,
        form: TaggedCalls,
        *,
        tools: Sequence[Tool] = (),
        prefilled: bool = False,
        name: str | None = None,
        parallel: bool = True,
    ) -> None:
        self._tags = _marks_of(form)
        super().__init__(self._tags.in_text, self._tags.end, parallel=parallel)
        self._form = form
        self._tools = tools
        if name is not None:
            self._open_call(name)
        elif prefilled:
            self._rest = '"' * form.prefill(None).endswith('"')  # the name's, which the prompt has begun
            self._read = TaggedReader._read_name if self._tags.call.mark else TaggedReader._read_block

    def _new_arguments(self, call: CallWriter) -> TaggedArguments:
        schema = Schema.of_tool(self._tools, call.name)
        return TaggedArguments(call, self._tags, schema, self._form.trim, is_marked=IS_TEXT in self._form.parameter)

    def _read_mark(self, mark: str) -> bool:
        if mark == self._tags.call.mark:
            return self._read_bare_call(mark)
        if mark in self._tags.begins:
            self._begin_block(TaggedReader._read_block)
        return super()._read_mark(mark)

    def _read_bare_call(self, mark: str) -> bool:
        """Read the mark of a call that no block holds; without a name and arguments behind it, it is text."""
        behind = self._at + len(mark)
        is_call = not self._tags.may_be_text or self._is_call(behind)
        if is_call is None and not self._is_last:
            return False
        if is_call is not False:
            self._begin_block(TaggedReader._read_name, mark)
            return super()._read_mark(mark)
        self._show(mark)
        self._at = behind
        return True

    def _is_call(self, at: int) -> bool | None:
        """Whether a call goes on at a place, behind its mark; None if the text ends before that is known."""
        found = self._tags.call.match(self._rest, at)
        if found is None:
            return None if self._tags.call.may_match(self._rest, at) else False
        follows = word_at(self._rest, end_of(SPACE, self._rest, found.end()), (*self._tags.behind_value, "{"))
        return None if follows is None else follows != ""

    def _read_block(self) -> bool:
        """Read what is around calls."""
        tags = self._tags
        self._skip_space()
        if self._rest[self._at : self._at + 1] in ("{", "[") and not self._has_call:
            self._read = MarkedReader._read_json_calls
            return True
        word = self._take_word(*filter(None, (tags.call.mark, *tags.around)))
        if word == tags.call.mark and not (word == "" and self._has_call):
            self._raw = [word]
            self._read = TaggedReader._read_name
        elif word == "" and self._has_call:
            self._read = MarkedReader._read_text
        elif word == "":
            self._break()
        elif word == tags.end:
            self._end_block()
        elif word == tags.begin:
            self._has_call = False
        return word is not None

    def _read_name(self) -> bool:
        opening = self._tags.call
        found = opening.match(self._rest, self._at)
        if found is not None:
            self._take(found.end())
            self._open_call(name_in(found))
        elif opening.may_match(self._rest, self._at):
            return False
        else:
            self._break()
        return True

    def _read_behind_arguments(self) -> None:
        if self._end_call():
            self._has_call = True
            self._read = TaggedReader._read_block
