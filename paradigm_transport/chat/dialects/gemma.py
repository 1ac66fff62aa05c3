"""Calls as Gemma writes them: `call:get_weather{city:<|"|>Oslo<|"|>,days:3}` between marks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from paradigm_transport.chat.dialects.argument_grammar import ArgumentGrammar, Notation
from paradigm_transport.chat.dialects.arguments import GAP, SPACE, SPACE_AND_COMMAS, Arguments, end_of, word_at
from paradigm_transport.chat.dialects.base import Marks
from paradigm_transport.chat.dialects.call_writer import CallWriter
from paradigm_transport.chat.dialects.marked import MarkedReader
from paradigm_transport.chat.dialects.structural import among_text
from paradigm_transport.chat.dialects.typed import Schema, read_json
from paradigm_transport.chat.json_repair import QUOTES, RepairedValue
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Tool, ToolCall, to_json

_CALL = "call:"

# All bounded, so that a text in small pieces is not read over and over.
_BRACKET = re.compile(r"\s{0,200}[{(]")
_PART_OF_BRACKET = re.compile(r"\s{0,200}\Z")
_NAME = re.compile(r"\s{0,200}(?:call)?:\s{0,200}(?P<name>[^\s{}()\[\],:<>\"]{1,200})\s{0,200}(?=[{(])")
_PART_OF_NAME = re.compile(r"\s{0,200}(?:c(?:a(?:ll?)?)?|(?:call)?:\s{0,200}[^\s{}()\[\],:<>\"]{0,200}\s{0,200})?\Z")
_CLOSERS = re.compile(r"[\s})\]]*")  # one too many
_CLOSING = {"{": "}", "(": ")", "[": "]"}


@dataclass(frozen=True)
class GemmaCalls:
    """Calls as Gemma writes them; see `CallFormat`.

    Attributes:
        begin: begins a call.
        end: ends it.
        quote: stands on both sides of a string, in which nothing is escaped.
    """

    begin: str
    end: str
    quote: str

    @property
    def begins(self) -> tuple[str, ...]:
        """As `CallFormat.begins`."""
        return (self.begin,)

    @property
    def stop(self) -> str:
        """As `CallFormat.stop`: a stop sequence is cut off, but the end mark must be there."""
        return ""

    def write(self, calls: Sequence[ToolCall]) -> str:
        """As `CallFormat.write`."""
        return "".join(f"{self.begin}{_CALL}{call.name}{self._write(call.arguments)}{self.end}" for call in calls)

    def _write(self, value: object) -> str:
        if isinstance(value, dict):
            return f"{{{','.join(f'{key}:{self._write(part)}' for key, part in value.items())}}}"
        if isinstance(value, list):
            return f"[{','.join(map(self._write, value))}]"
        return f"{self.quote}{value}{self.quote}" if isinstance(value, str) else to_json(value)

    def prefill(self, name: str | None) -> str:
        """As `CallFormat.prefill`."""
        return f"{self.begin}{_CALL}{name or ''}"

    def constraint(self, tools: Sequence[Tool], name: str | None, *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.constraint`."""
        grammar = ArgumentGrammar(self._notation)
        offered = [tool for tool in tools if name in (None, tool.name)]
        first = grammar.calls(offered, f"{_CALL}NAME{{", f"}}{self.end}", len(f"{_CALL}{name or ''}"))
        more = f" {grammar.calls(tools, f'{self.begin}{_CALL}NAME{{', f'}}{self.end}')}*" if parallel else ""
        return {"grammar": grammar.write(f"{first}{more}")}

    def offer(self, tools: Sequence[Tool], *, parallel: bool) -> JsonObject | None:
        """As `CallFormat.offer`."""
        grammar = ArgumentGrammar(self._notation)
        calls = grammar.calls(tools, f"{_CALL}NAME{{", "}")
        content = {"type": "grammar", "grammar": grammar.write(calls)}
        call = {"type": "tag", "begin": self.begin, "content": content, "end": self.end}
        return among_text([self.begin], [call], parallel=parallel)

    @property
    def _notation(self) -> Notation:
        quote, second = to_json(self.quote), self.quote[1]
        return Notation(
            string=f'{quote} ([^<] | "<" [^{second}])* {quote}',
            write=self._write,
            write_key=str,
            comma=",",
            assign=":",
            colon=":",
            key="name",
        )

    def reader(
        self, *, tools: Sequence[Tool] = (), prefilled: bool = False, name: str | None = None, parallel: bool = True
    ) -> GemmaReader:
        """As `CallFormat.reader`."""
        return GemmaReader(self, tools=tools, prefilled=prefilled, name=name, parallel=parallel)


class GemmaReader(MarkedReader):
    """Reads one answer with calls as Gemma writes them; see `Reader`.

    Args:
        form: how calls are written.
        tools: the tools whose schemas type bare values.
        prefilled: the prompt ends within a call.
        name: the tool of that call, if the prompt ends before the call's arguments.
        parallel: read more than the first call.
    """

    def __init__(
        self,
        form: GemmaCalls,
        *,
        tools: Sequence[Tool] = (),
        prefilled: bool = False,
        name: str | None = None,
        parallel: bool = True,
    ) -> None:
        super().__init__(Marks(form.begin, form.end, form.quote), form.end, parallel=parallel)
        self._call_marks = Marks(form.begin, form.end)
        self._form = form
        self._tools = tools
        if name is not None:
            self._open_call(name)
        elif prefilled:
            self._rest = _CALL
            self._read = GemmaReader._read_name

    def _new_arguments(self, call: CallWriter) -> GemmaArguments:
        return GemmaArguments(call, self._form, Schema.of_tool(self._tools, call.name))

    def _read_mark(self, mark: str) -> bool:
        if mark == self._form.begin:
            self._begin_block(GemmaReader._read_name)
        return super()._read_mark(mark)

    def _read_name(self) -> bool:
        self._skip_space()
        if self._rest[self._at : self._at + 1] in ("{", "["):
            self._read = MarkedReader._read_json_calls
            return True
        found = _NAME.match(self._rest, self._at)
        if found is not None:
            self._take(found.end())
            self._open_call(found["name"])
        elif _PART_OF_NAME.match(self._rest, self._at):
            return False
        else:
            self._break()
        return True

    def _read_behind_arguments(self) -> None:
        self._read = GemmaReader._read_end

    def _read_end(self) -> bool:
        """Read the end mark, which makes the call a whole one; the beginning of another does so, too."""
        self._take(end_of(_CLOSERS, self._rest, self._at))
        word = self._take_word(self._form.end, self._form.begin)
        if word is None:
            return False
        if word == "":
            self._break()
        elif self._end_call():
            self._at -= len(word) * (word == self._form.begin)
            self._read = MarkedReader._read_text
        return True


class GemmaArguments(Arguments):
    """Reads the arguments of one call, with the brackets around them; see `Arguments`.

    Brackets that are missing before the end mark are added.

    Args:
        call: takes the arguments as JSON.
        form: how calls are written.
        schema: types bare values.
    """

    def __init__(self, call: CallWriter, form: GemmaCalls, schema: Schema) -> None:
        super().__init__(call, GemmaArguments._read_bracket)
        self._quote = form.quote
        self._end = form.end
        self._in_string = Marks(form.quote, form.end)
        quote = f'(?:{re.escape(form.quote)}|")'
        self._key = re.compile(
            rf"{quote}?(?P<key>[^\s:,{{}}\[\]<>\"][^:,{{}}\[\]<>\"\n]{{0,200}}?){quote}?\s{{0,200}}:"
        )
        self._part_of_key = re.compile(r"[^:,{}\[\]\n]{0,300}\Z")
        self._closing: list[str] = []
        self._schemas = [schema]  # of the values that are open
        self._bare: list[str] = []
        self._quoted = RepairedValue()

    @property
    def in_value(self) -> bool:
        """As `Arguments.in_value`: in a string."""
        return self._read is GemmaArguments._read_string or self._quoted.in_string

    # States

    def _read_bracket(self, text: str, at: int) -> int | None:
        """Read the bracket before the arguments."""
        found = _BRACKET.match(text, at)
        if found is None:
            self.is_broken = _PART_OF_BRACKET.match(text, at) is None
            return None
        self._closing.append(_CLOSING[text[found.end() - 1]])
        self._read = GemmaArguments._read_item
        return found.end()

    def _read_item(self, text: str, at: int) -> int | None:
        """Read a key, or what ends an object."""
        at = end_of(SPACE_AND_COMMAS, text, at)
        found = self._key.match(text, at)
        if found is None:
            return self._read_closing(text, at, self._part_of_key)
        self._call.key(found["key"].strip())
        self._schemas.append(self._schemas[-1].property(found["key"].strip()))
        self._read = GemmaArguments._read_value
        return found.end()

    def _read_value(self, text: str, at: int) -> int | None:
        at = end_of(SPACE, text, at)
        if at == len(text):
            return at
        quote = word_at(text, at, (self._quote,))
        if quote is None:
            return None
        if quote:
            self._call.begin_text()
            self._read = GemmaArguments._read_string
            return at + len(quote)
        if text[at] in "{[":
            self._call.open(text[at])
            self._closing.append(_CLOSING[text[at]])
            self._begin_part()
            return at + 1
        if text[at] == "]" and self._closing[-1] == "]":  # the list is empty, or has a comma too many
            self._schemas.pop()
            return self._read_closing(text, at)
        self._bare, self._quoted = [], RepairedValue()
        is_quoted = text[at] in QUOTES and not self.is_strict
        self._read = GemmaArguments._read_quoted if is_quoted else GemmaArguments._read_bare
        return at

    def _begin_part(self) -> None:
        """Begin the next part of an object or a list."""
        if self._closing[-1] == "]":
            self._schemas.append(self._schemas[-1].items())
            self._read = GemmaArguments._read_value
        else:
            self._read = GemmaArguments._read_item

    def _end_value(self) -> None:
        self._schemas.pop()
        self._read = GemmaArguments._read_behind_value

    def _read_behind_value(self, text: str, at: int) -> int | None:
        at = end_of(SPACE, text, at)
        if text[at : at + 1] == ",":
            self._begin_part()
            return at + 1
        return self._read_closing(text, at)

    def _read_closing(self, text: str, at: int, part: re.Pattern[str] | None = None) -> int | None:
        """Read the bracket that ends an object or a list, or the end mark if brackets are missing.

        Args:
            text: holds the bracket.
            at: its place.
            part: matches the beginning of what else might be there.
        """
        if at == len(text):
            return at
        if text[at] == self._closing[-1]:
            self._closing.pop()
            self.is_complete = not self._closing
            if self._closing:
                self._call.close()
                self._end_value()
            return at + 1
        mark = word_at(text, at, (self._end,))
        self.is_complete = bool(mark)
        self.is_broken = mark == "" and not (part and part.match(text, at))
        return at if self.is_complete else None

    def _read_string(self, text: str, at: int) -> int | None:
        end, mark = self._in_string.next(text, at)
        self._call.text(text[at:end])
        if end > at:
            return end
        is_end = self._ends_string(text, at + len(mark)) if mark == self._quote else False
        if not mark or is_end is None:
            return None
        if is_end:
            self._call.end_text()
            self._end_value()
        elif self.is_strict and mark == self._end:
            self.is_broken = True
            return None
        else:
            self._call.text(mark)
        return at + len(mark)

    def _ends_string(self, text: str, at: int) -> bool | None:
        """Whether a quote before a place ends a string: what follows must fit. None if that is open."""
        at = end_of(GAP, text, at)
        if at == len(text):
            return True if self._is_last else None
        mark = word_at(text, at, (self._end,))
        return True if text[at] in ",}])" else None if mark is None else mark != ""

    def _read_quoted(self, text: str, at: int) -> int | None:
        """Read a string between plain quotes; with more behind it, they belong to a value without quotes."""
        end = self._quoted.feed(text, at)
        self._bare.append(text[at:end])
        is_end = self._ends_string(text, end) if self._quoted.is_complete else None
        if is_end:
            self._call.value(read_json(self._quoted.text))
            self._end_value()
        elif is_end is False:
            self._read = GemmaArguments._read_bare
        return end if end > at or is_end is not None else None

    def _read_bare(self, text: str, at: int) -> int | None:
        """Read a value without quotes, up to where another part of the arguments can begin."""
        end = end_of(re.compile(rf"[^,<}}{re.escape(self._closing[-1])}]+"), text, at)
        if end == at:
            is_end = self._ends_bare(text, at)
            if is_end is None:
                return None
            if is_end:
                self._call.value(_bare_value(self._schemas[-1], "".join(self._bare).strip()))
                self._end_value()
                return at
            end = at + 1
        self._bare.append(text[at:end])
        return end

    def _ends_bare(self, text: str, at: int) -> bool | None:
        """Whether a character ends a bare value. None if that is open."""
        if text[at] == "<":
            mark = word_at(text, at, (self._end,))
            return None if mark is None else mark != ""
        if text[at] != "," or self._closing[-1] == "]":
            return True
        at = end_of(GAP, text, at + 1)
        if at == len(text) or self._part_of_key.match(text, at):
            return True if self._is_last else None
        return text[at] == self._closing[-1] or self._key.match(text, at) is not None


def _bare_value(schema: Schema, text: str) -> object:
    """Read a value without quotes: where the schema does not say what it is, it is not a string."""
    return schema.read(text) if schema.types else read_json(text, repair=False)
