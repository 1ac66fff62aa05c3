"""Tool calls in the Hermes dialect, read from what a model writes: repaired or refused, and alike for any split."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paradigm_transport import ChatTemplate
from paradigm_transport.chat.dialects.base import TextReader, read_message
from paradigm_transport.chat.dialects.json_reader import JsonCallsReader
from paradigm_transport.chat.dialects.rows import HERMES
from paradigm_transport.chat.events import CallArguments, CallBegin, CallEnd, Event, ParsedMessage, Text, Thought
from paradigm_transport.messages import InvalidToolCall, Message, ToolCall
from tests.growth import growth

ADD = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": [2]}}\n</tool_call>'
TIME = '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'


def reader(**options: Any) -> JsonCallsReader:
    numbers = itertools.count()
    return replace(HERMES.calls, make_id=lambda: f"id{next(numbers)}").reader(**options)


def read(text: str, **options: Any) -> ParsedMessage:
    return read_message(reader(**options), text)


def events_of(parts: list[str], **options: Any) -> list[Event]:
    reading = reader(**options)
    return [*itertools.chain.from_iterable(map(reading.feed, parts)), *reading.finish()]


def parsed(text: str = "", calls: Sequence[ToolCall] = ()) -> ParsedMessage:
    return ParsedMessage(text, calls=list(calls))


def calls(*named: tuple[str, dict[str, Any]]) -> list[ToolCall]:
    return [ToolCall(f"id{number}", name, arguments) for number, (name, arguments) in enumerate(named)]


def test_call_is_read() -> None:
    assert read(ADD) == parsed("", calls(("add", {"a": 1, "b": [2]})))


def test_parallel_calls_and_the_text_around_them_are_read() -> None:
    answer = read(f"Let me see.\n{ADD}\n{TIME}\n\nDone. \n")
    assert answer.text == "Let me see.\nDone. \n"
    assert answer.calls == calls(("add", {"a": 1, "b": [2]}), ("time", {}))


@pytest.mark.parametrize("text", ["", " Paris\n", "a < b", "x </", "<b>bold</b>", '{"name": "add"}', "tool_call>"])
def test_text_without_calls_is_unchanged(text: str) -> None:
    assert read(text) == parsed(text)


def test_text_reader_reads_marks_as_text() -> None:
    assert read_message(TextReader(), ADD) == parsed(ADD)
    assert TextReader().feed("") == []


def test_thoughts_of_a_message_are_apart_from_its_text() -> None:
    message = ParsedMessage()
    message.add([Thought("Hm"), Thought("m."), Text("Yes.")])
    assert message == ParsedMessage("Yes.", "Hmm.")


def test_calls_have_different_ids() -> None:
    first, second = read_message(HERMES.reader(), ADD + ADD).calls
    assert first.id != second.id
    assert re.fullmatch("[a-zA-Z0-9]{9}", first.id)  # the form that Mistral's templates want


@pytest.mark.parametrize(
    "written",
    [
        "<tool_call>{'name': 'add', 'arguments': {'a': 1, 'b': [2,],},}</tool_call>",
        '<tool_call>\n```json\n{"name": "add", "arguments": {"a": 1, "b": [2]}}\n```\n</tool_call>',
        '<tool_call>```\n{"name": "add", "arguments": {"a": 1, "b": [2]}}```</tool_call>',
        '<tool_call>{"arguments": {"a": 1, "b": [2]}, "name": "add"}</tool_call>',
        '<tool_call>{"id": 7, "name": "add", "parameters": {"a": 1, "b": [2]}, "more": [{}]}</tool_call>',
        '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1, \\"b\\": [2]}"}</tool_call>',
        '<tool_call>{"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": [2]}}}</tool_call>',
        '<tool_call>{"name": "add", "arguments": {"a": 1, "b": [2]}}}</tool_call>',
        '<tool_call>{"name": "add", "arguments": {"a": 1, "b": [2]}</tool_call>',
        '<tool_call>[{"name": "add", "arguments": {"a": 1, "b": [2]}}]</tool_call>',
        '<tool_call>{"name": "add", "arguments": {"a": 1, "b": [2]}}',
        '<tool_call>{"name": "add", "arguments": {"a": 1, "b": [2]}',
        '<tool_call>{"name": "add", "arguments": {"a": 1, "b": [2]}}</tool_call></tool_call>',
        '<tool_call><tool_call>{"name": "add", "arguments": {"a": 1, "b": [2]}}</tool_',
    ],
)
def test_simple_mistakes_are_repaired(written: str) -> None:
    assert read(written) == parsed("", calls(("add", {"a": 1, "b": [2]})))


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ('{"a": True, "b": None, "c": -1.5e3}', {"a": True, "b": None, "c": -1500.0}),
        ("""{'a': 'say "hi"', 'b': 'it\\'s'}""", {"a": 'say "hi"', "b": "it's"}),
        ('{"a": "x\n\ty", "b": "\\u00e9\\n\\\\"}', {"a": "x\n\ty", "b": "é\n\\"}),
        ('{"a": "</tool_call><tool_call>", "b": "{[\'"}', {"a": "</tool_call><tool_call>", "b": "{['"}),
        ("null", {}),
        (r'{"a": "\d+\.\w \(x\)", "b": "C:\Users\u12"}', {"a": r"\d+\.\w \(x\)", "b": r"C:\Users\u12"}),
        (r"""{'a': '\d\'', "b": "\u00e9\u00E9\/\\d"}""", {"a": r"\d'", "b": r"éé/\d"}),
        ('{"a": "x\\\ny"}', {"a": "x\\\ny"}),
    ],
)
def test_arguments_are_parsed(written: str, arguments: dict[str, Any]) -> None:
    answer = read(f'<tool_call>{{"name": "f", "arguments": {written}}}</tool_call>')
    assert answer == parsed("", calls(("f", arguments)))


@pytest.mark.parametrize(
    ("written", "name", "text", "reason"),
    [
        ("<tool_call>add 1, 2</tool_call>", None, "add 1, 2", "not valid JSON"),
        ("<tool_call></tool_call>", None, "", "not valid JSON"),
        ('<tool_call>{"arguments": {}}</tool_call>', None, '{"arguments": {}}', "the call names no tool"),
        ('<tool_call>{"name": 3}</tool_call>', None, '{"name": 3}', "the call names no tool"),
        (
            '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
            "f",
            '{"name": "f", "arguments": [1]}',
            "the arguments are not a JSON object",
        ),
        ('<tool_call>{"name": "f", "arguments": {a: 1}}</tool_call>', "f", None, "not valid JSON"),
        ('<tool_call>{"name": "f", "arguments": {"a": 1]}</tool_call>', "f", None, "not valid JSON"),
        ('<tool_call>{"name": "f", "arguments": "{1"}</tool_call>', "f", None, "not valid JSON"),
        ('<tool_call>{"name": "f", "arguments": {"a": "b}}\n</tool_call>', "f", None, "not valid JSON"),
        ('<tool_call>{"name" "f"}</tool_call>', None, '{"name" "f"}', "not valid JSON"),
    ],
)
def test_unreadable_call_is_reported_with_its_reason(
    written: str, name: str | None, text: str | None, reason: str
) -> None:
    answer = read(f"Well: {written} And\n{TIME}")
    text = written.removeprefix("<tool_call>").removesuffix("</tool_call>") if text is None else text
    assert answer.invalid_calls == [InvalidToolCall("id0", name, text, reason)]
    assert answer.calls == [ToolCall("id1", "time", {})]
    assert answer.text == "Well:\nAnd"


@pytest.mark.parametrize(
    "written",
    [
        "<tool_call>",
        "<tool_call>\n",
        "<tool_call>```js",
        '<tool_call>{"name": "f", "arguments": {"a": "b',
        '<tool_call>{"name": f',
    ],
)
def test_call_cut_off_by_the_end_is_invalid(written: str) -> None:
    (invalid,) = read(f"Hi {written}").invalid_calls
    assert invalid.reason == "the answer ends before the call does"
    assert read(f"Hi {written}").text == "Hi"


def test_mark_cut_off_by_the_end_is_not_text() -> None:
    assert read("Hi <tool_ca") == parsed("Hi")
    assert read(f"{ADD} </tool_c") == read(ADD)


def test_each_unreadable_call_is_reported() -> None:
    answer = read('<tool_call>foo</tool_call>A<tool_call>bar</tool_call>B<tool_call>{"a": 1, b')
    assert [invalid.text for invalid in answer.invalid_calls] == ["foo", "bar", '{"a": 1, b']
    assert answer.text == "A\nB"


def test_results_that_the_model_invents_are_dropped() -> None:
    invented = "<tool_response>\n3\n</tool_response>\nIt is 3."
    assert read(f"I add.\n{ADD}\n{invented}") == parsed("I add.", read(ADD).calls)
    assert read(f"<tool_call>add</tool_call>{invented}").text == ""
    assert read("<tool_response>\nIt is 3.</tool_response> So.") == parsed("It is 3.\nSo.")


def test_answer_to_a_prefilled_mark_begins_within_a_call() -> None:
    rest = ADD.removeprefix("<tool_call>\n")
    assert read(rest, prefilled=True) == read(ADD)
    assert read(rest + TIME, prefilled=True).calls == read(ADD + TIME).calls


def test_answer_to_a_prefilled_name_begins_with_arguments() -> None:
    for written in (
        ' {"a": 1, "b": [2]}',
        '{"a": 1, "b": [2]}}\n</tool_call>',
        '\n```json\n{"a": 1, "b": [2]}\n```\n}',
        '```{"a": 1, "b": [2]}```',
    ):
        assert read(written, prefilled=True, name="add") == read(ADD)
    assert read("```js", prefilled=True, name="add").invalid_calls[0].reason == "the answer ends before the call does"
    assert read("null", prefilled=True, name="add").calls == calls(("add", {}))
    (invalid,) = read("Paris", prefilled=True, name="add").invalid_calls
    assert (invalid.name, invalid.text, invalid.reason) == ("add", "Paris", "not valid JSON")
    assert read("", prefilled=True, name="add").invalid_calls[0].reason == "the answer ends before the call does"


@pytest.mark.parametrize(
    "written",
    [
        '{"name": "add", "arguments": {"a": 1, "b": [2]}}',
        '{"name": "add", "parameters": "{\\"a\\": 1, \\"b\\": [2]}"}',
        '{"arguments": {"a": 1, "b": [2]}, "name": "add"}',
    ],
)
def test_call_repeated_as_its_arguments_is_unwrapped(written: str) -> None:
    for text, options in (
        (f" {written}}}\n</tool_call>", {"prefilled": True, "name": "add"}),
        (f'<tool_call>{{"name": "add", "arguments": {written}}}</tool_call>', {}),
    ):
        assert read(text, **options) == read(ADD)
        events = events_of(list(text), **options)
        check_events(events)
        assert joined(events) == joined(events_of([text], **options))


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "sub", "arguments": {"a": 1}},
        {"name": "add", "arguments": 3},
        {"name": "add", "more": {}},
        {"name": "add", "arguments": {}, "more": 1},
        {"name": "add"},
        {"arguments": {"a": 1}},
    ],
)
def test_arguments_that_only_look_like_a_call_are_unchanged(arguments: dict[str, Any]) -> None:
    for text in (json.dumps(arguments), json.dumps(json.dumps(arguments))):
        events = events_of(list(text), prefilled=True, name="add")
        check_events(events)
        assert events[-1] == CallEnd(0, ToolCall("id0", "add", arguments))


def test_name_is_what_stands_behind_its_key() -> None:
    for first, last in (("type", "name"), ("id", "tool_name")):
        events = events_of(
            [f'<tool_call>{{"{first}": "f", "arguments": {{}}, "{last}": "add", "name": "g"}}</tool_call>']
        )
        check_events(events)
        assert events[-1] == CallEnd(0, ToolCall("id0", "add", {}))


def test_arguments_that_begin_with_a_name_are_streamed() -> None:
    parts = [' {"name": ', '"Oslo", ', '"more": 1}']
    events = events_of(parts, prefilled=True, name="City")
    assert [event.text for event in events if isinstance(event, CallArguments)] == [
        "{",
        '"name": "Oslo"',
        ', "more": 1}',
    ]


@pytest.mark.parametrize(
    "call",
    [
        '{"name": "f\ud800", "arguments": {}}',
        '{"name": "f", "arguments": {"a\ud800": "\udc00"}}',
        "\ud800",
        '{"\ud800": 1}',
    ],
)
def test_call_with_half_a_surrogate_pair_is_invalid(call: str) -> None:
    text = f"<tool_call>{call}</tool_call>"
    (invalid,) = read(text).invalid_calls
    assert (invalid.text, invalid.reason) == (call, "not valid JSON")
    assert joined(events_of(list(text))) == joined(events_of([text]))
    (invalid,) = read('{"a": "\ud800"}', prefilled=True, name="add").invalid_calls
    assert (invalid.name, invalid.reason) == ("add", "not valid JSON")


def test_stream_emits_what_is_certain() -> None:
    assert events_of(["Hi ", "\n<to", 'ol_call>{"name": "a', 'dd", "argum', 'ents": {"a"', ": 1,", "}", "}"]) == [
        Text("Hi"),
        CallBegin(0, "id0", "add"),
        CallArguments(0, '{"a"'),
        CallArguments(0, ": 1"),  # the next character decides whether the comma is a trailing one
        CallArguments(0, "}"),
        CallEnd(0, ToolCall("id0", "add", {"a": 1})),
    ]


unhurried = settings(deadline=None)  # on a busy machine any example may take long

CHARACTERS = "ab<>/\"'\\{}[],: \n\té😀"
ANY_CHARACTERS = CHARACTERS + "\ud800\udc00u0d8"
WORDS = [
    "<tool_response>",
    "</tool_response>",
    "<tool_call>",
    "</tool_call>",
    "<tool",
    '{"name": "f", "arguments": ',
    '{"a": "b"}',
    '{"name": ',
    "nope",
    '{"name": "g", "arguments":',
    "}",
    ADD,
    TIME,
    "null",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(CHARACTERS) | st.just("</tool_call>"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(CHARACTERS), inner, max_size=3),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.text(CHARACTERS), VALUES, max_size=4)


def cut(text: str, data: st.DataObject) -> list[str]:
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=12)))
    return [text[begin:end] for begin, end in zip([0, *places], [*places, len(text)], strict=True)]


@unhurried
@given(st.lists(st.sampled_from(WORDS) | st.text(ANY_CHARACTERS, max_size=6), max_size=8).map("".join), st.data())
def test_any_split_gives_the_same_message(text: str, data: st.DataObject) -> None:
    opened = data.draw(st.booleans())
    name = data.draw(st.none() | st.just("g")) if opened else None
    whole = read(text, prefilled=opened, name=name)
    events = events_of(cut(text, data), prefilled=opened, name=name)
    assert joined(events) == joined(events_of([text], prefilled=opened, name=name))
    answer = ParsedMessage()
    answer.add(events)
    assert answer == whole
    assert "<tool_call>" not in answer.text
    assert "</tool_call>" not in answer.text
    assert "tool_response>" not in answer.text
    check_events(events)


def joined(events: list[Event]) -> list[Event]:
    """The events with the parts of each text joined."""
    whole: list[Event] = []
    for event in events:
        last = whole[-1] if whole else None
        if isinstance(event, Text | Thought | CallArguments) and type(event) is type(last):
            whole[-1] = replace(event, text=last.text + event.text)
        else:
            whole.append(event)
    return whole


def check_events(events: list[Event]) -> None:
    """Calls follow each other: begin, arguments and end, which agree."""
    count = 0
    begin, arguments = None, ""
    for event in events:
        if isinstance(event, Text | Thought):
            assert event.text
            assert begin is None
            continue
        assert event.index == count
        if isinstance(event, CallBegin):
            assert begin is None
            begin = event
        elif isinstance(event, CallArguments):
            assert begin is not None
            arguments += event.text
        else:
            if isinstance(event.call, ToolCall):
                assert begin is not None
                assert (begin.id, begin.name) == (event.call.id, event.call.name)
                assert json.loads(arguments) == event.call.arguments
            begin, arguments, count = None, "", count + 1
    assert begin is None


@unhurried
@given(st.text(st.characters()) | st.text(ANY_CHARACTERS), st.data())
def test_call_of_any_text_is_read_or_invalid(text: str, data: st.DataObject) -> None:
    for begin in ("<tool_call>", '<tool_call>{"name": ', '<tool_call>{"name": "f", "arguments": {"a": "'):
        for written in (begin + text, f"{begin}{text}</tool_call>"):
            answer = ParsedMessage()
            answer.add(events_of(cut(written, data)))
            assert answer.calls or answer.invalid_calls
            assert answer == read(written)


@unhurried
@given(
    st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"])),
    st.lists(st.tuples(st.text(min_size=1), ARGUMENTS), min_size=1, max_size=3),
    st.data(),
)
def test_written_calls_are_read_back(text: str, named: list[tuple[str, dict[str, Any]]], data: st.DataObject) -> None:
    written = tuple(calls(*named))
    turn = ChatTemplate(turn="{content}", opening="", stop=".").render_chat([Message("assistant", text, written)])
    answer = ParsedMessage()
    answer.add(events_of(cut(turn, data)))
    assert answer == parsed(text.rstrip(), list(written))


@pytest.mark.parametrize(
    ("arguments", "char"), [('{"name": "NAME', "f"), ('{"name": "NAME', " "), ('{"NAME', " ")], ids=repr
)
def test_time_is_linear_in_the_length_of_a_name_that_the_arguments_repeat(arguments: str, char: str) -> None:
    def stream(length: int) -> None:
        text = f'<tool_call>{{"name": "NAME", "arguments": {arguments}'.replace("NAME", char * length)
        events_of([text[at : at + 4] for at in range(0, len(text), 4)])

    assert growth(stream, 2_000, 20) < 1.5


@pytest.mark.parametrize("length", [400, 480, 500, 1000])
def test_arguments_that_repeat_a_call_with_a_long_name_are_read_alike_in_any_split(length: int) -> None:
    name = "f" * length
    call = {"name": name, "arguments": {"a": 1}}
    text = f"<tool_call>{json.dumps({'name': name, 'arguments': call})}</tool_call>"
    whole = [event.call.arguments for event in events_of([text]) if isinstance(event, CallEnd)]
    assert whole == [{"a": 1} if length < 480 else call]
    for size in (1, 7, 300):
        parts = [text[at : at + size] for at in range(0, len(text), size)]
        assert [event.call.arguments for event in events_of(parts) if isinstance(event, CallEnd)] == whole


@pytest.mark.parametrize("repeated", ['}{"name": "time"}', '{"name": "time", "arguments": {}'])
def test_time_is_linear_in_the_number_of_calls_behind_one_mark(repeated: str) -> None:
    def read_calls(length: int) -> None:
        read("<tool_call>" + repeated * (length // len(repeated)))

    assert growth(read_calls, 20_000, 20) < 1.5


CALL = '<tool_call>{"name": "write", "arguments": {"text": '


@pytest.mark.parametrize(
    ("begin", "repeated"),
    [
        (CALL + '"', "word "),
        (CALL + '"', "\\n"),
        (CALL, "1, "),
        ("", "<tool"),
        ("Hi", "  "),
        ("", "</tool_call>x"),
    ],
)
def test_time_is_linear_in_the_length_of_a_stream(begin: str, repeated: str) -> None:
    def stream(length: int) -> None:
        text = begin + repeated * (length // len(repeated))
        events_of([text[at : at + 4] for at in range(0, length, 4)])

    assert growth(stream, 20_000, 40) < 1.5
