"""Tool calls out of what a model writes: mended, refused, told piece by piece, the same however the text is cut."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paradigm_transport.chat.dialects.hermes import (
    Answer,
    AnswerReader,
    CallArguments,
    CallBegin,
    CallEnd,
    InvalidToolCall,
    Piece,
    TextPiece,
)
from paradigm_transport.chat.json_repair import NoJSONError, first_object
from paradigm_transport.messages import Message, ToolCall, as_turns

ADD = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": [2]}}\n</tool_call>'
TIME = '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'


def reader(**options: Any) -> AnswerReader:
    numbers = itertools.count()
    return AnswerReader(make_id=lambda: f"id{next(numbers)}", **options)


def read(text: str, **options: Any) -> Answer:
    return reader(**options).read(text)


def pieces_of(parts: list[str], **options: Any) -> list[Piece]:
    reading = reader(**options)
    return [*itertools.chain.from_iterable(map(reading.feed, parts)), *reading.finish()]


def calls(*named: tuple[str, dict[str, Any]]) -> list[ToolCall]:
    return [ToolCall(f"id{number}", name, arguments) for number, (name, arguments) in enumerate(named)]


def test_a_call() -> None:
    assert read(ADD) == Answer("", calls(("add", {"a": 1, "b": [2]})))


def test_parallel_calls_and_the_text_around_them() -> None:
    answer = read(f"Let me see.\n{ADD}\n{TIME}\n\nDone. \n")
    assert answer.text == "Let me see.\nDone. \n"
    assert answer.calls == calls(("add", {"a": 1, "b": [2]}), ("time", {}))


@pytest.mark.parametrize("text", ["", " Paris\n", "a < b", "x </", "<b>bold</b>", '{"name": "add"}', "tool_call>"])
def test_text_alone_stays_as_it_is(text: str) -> None:
    assert read(text) == Answer(text)
    assert read(ADD, reads_calls=False) == Answer(ADD)


def test_two_calls_have_two_ids() -> None:
    first, second = AnswerReader().read(ADD + ADD).calls
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
def test_what_is_simple_is_mended(written: str) -> None:
    assert read(written) == Answer("", calls(("add", {"a": 1, "b": [2]})))


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ('{"a": True, "b": None, "c": -1.5e3}', {"a": True, "b": None, "c": -1500.0}),
        ("""{'a': 'say "hi"', 'b': 'it\\'s'}""", {"a": 'say "hi"', "b": "it's"}),
        ('{"a": "x\n\ty", "b": "\\u00e9\\n\\\\"}', {"a": "x\n\ty", "b": "é\n\\"}),
        ('{"a": "</tool_call><tool_call>", "b": "{[\'"}', {"a": "</tool_call><tool_call>", "b": "{['"}),
        ("null", {}),
    ],
)
def test_arguments(written: str, arguments: dict[str, Any]) -> None:
    answer = read(f'<tool_call>{{"name": "f", "arguments": {written}}}</tool_call>')
    assert answer == Answer("", calls(("f", arguments)))


@pytest.mark.parametrize(
    ("written", "name", "text", "reason"),
    [
        ("<tool_call>add 1, 2</tool_call>", None, "add 1, 2", "it is no JSON"),
        ("<tool_call></tool_call>", None, "", "it is no JSON"),
        ('<tool_call>{"arguments": {}}</tool_call>', None, '{"arguments": {}}', "it names no tool"),
        ('<tool_call>{"name": 3}</tool_call>', None, '{"name": 3}', "it names no tool"),
        (
            '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
            "f",
            '{"name": "f", "arguments": [1]}',
            "the arguments are no JSON object",
        ),
        ('<tool_call>{"name": "f", "arguments": {a: 1}}</tool_call>', "f", None, "it is no JSON"),
        ('<tool_call>{"name": "f", "arguments": {"a": 1]}</tool_call>', "f", None, "it is no JSON"),
        ('<tool_call>{"name": "f", "arguments": "{1"}</tool_call>', "f", None, "it is no JSON"),
        ('<tool_call>{"name": "f", "arguments": {"a": "b}}\n</tool_call>', "f", None, "it is no JSON"),
        ('<tool_call>{"name" "f"}</tool_call>', None, '{"name" "f"}', "it is no JSON"),
    ],
)
def test_what_cannot_be_mended_is_told(written: str, name: str | None, text: str | None, reason: str) -> None:
    answer = read(f"Well: {written} And\n{TIME}")
    text = written.removeprefix("<tool_call>").removesuffix("</tool_call>") if text is None else text
    assert answer.invalid == [InvalidToolCall("id0", name, text, reason)]
    assert answer.calls == [ToolCall("id1", "time", {})]
    assert answer.text == "Well:\nAnd"


@pytest.mark.parametrize("written", ["<tool_call>", "<tool_call>\n", '<tool_call>{"name": "f", "arguments": {"a": "b'])
def test_an_answer_that_is_cut_off(written: str) -> None:
    (invalid,) = read(f"Hi {written}").invalid
    assert invalid.reason == "the answer ends before the call does"
    assert read(f"Hi {written}").text == "Hi"


def test_a_tag_that_is_cut_off_is_not_shown() -> None:
    assert read("Hi <tool_ca") == Answer("Hi")
    assert read(f"{ADD} </tool_c") == read(ADD)


def test_two_that_cannot_be_read() -> None:
    answer = read('<tool_call>foo</tool_call>A<tool_call>bar</tool_call>B<tool_call>{"a": 1, b')
    assert [invalid.text for invalid in answer.invalid] == ["foo", "bar", '{"a": 1, b']
    assert answer.text == "A\nB"


def test_results_are_not_the_models_to_write() -> None:
    invented = "<tool_response>\n3\n</tool_response>\nIt is 3."
    assert read(f"I add.\n{ADD}\n{invented}") == Answer("I add.", read(ADD).calls)
    assert read(f"<tool_call>add</tool_call>{invented}").text == ""
    assert read("<tool_response>\nIt is 3.</tool_response> So.") == Answer("It is 3.\nSo.")


def test_an_answer_begun_within_a_call() -> None:
    rest = ADD.removeprefix("<tool_call>\n")
    assert read(rest, opened=True) == read(ADD)
    assert read(rest + TIME, opened=True).calls == read(ADD + TIME).calls


def test_an_answer_begun_with_a_calls_arguments() -> None:
    for written in (
        ' {"a": 1, "b": [2]}',
        '{"a": 1, "b": [2]}}\n</tool_call>',
        '\n```json\n{"a": 1, "b": [2]}\n```\n}',
        '```{"a": 1, "b": [2]}```',
    ):
        assert read(written, opened=True, name="add") == read(ADD)
    assert read("```js", opened=True, name="add").invalid[0].reason == "the answer ends before the call does"
    assert read("null", opened=True, name="add").calls == calls(("add", {}))
    (invalid,) = read("Paris", opened=True, name="add").invalid
    assert (invalid.name, invalid.text, invalid.reason) == ("add", "Paris", "it is no JSON")
    assert read("", opened=True, name="add").invalid[0].reason == "the answer ends before the call does"


def test_a_stream_tells_what_it_knows() -> None:
    assert pieces_of(["Hi ", "\n<to", 'ol_call>{"name": "a', 'dd", "argum', 'ents": {"a"', ": 1,", "}", "}"]) == [
        TextPiece("Hi"),
        CallBegin(0, "id0", "add"),
        CallArguments(0, '{"a"'),
        CallArguments(0, ": 1"),  # whether the comma is one too many, the next character tells
        CallArguments(0, "}"),
        CallEnd(0, ToolCall("id0", "add", {"a": 1})),
    ]


unhurried = settings(deadline=None)  # on a busy machine any example may take long

CHARACTERS = "ab<>/\"'\\{}[],: \n\té😀"
WORDS = [
    "<tool_response>",
    "</tool_response>",
    "<tool_call>",
    "</tool_call>",
    "<tool",
    '{"name": "f", "arguments": ',
    '{"a": "b"}',
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
@given(st.lists(st.sampled_from(WORDS) | st.text(CHARACTERS, max_size=6), max_size=8).map("".join), st.data())
def test_however_a_text_is_cut_the_same_is_read(text: str, data: st.DataObject) -> None:
    opened = data.draw(st.booleans())
    name = data.draw(st.none() | st.just("g")) if opened else None
    whole = read(text, opened=opened, name=name)
    pieces = pieces_of(cut(text, data), opened=opened, name=name)
    answer = Answer()
    answer.add(pieces)
    assert answer == whole
    assert "<tool_call>" not in answer.text
    assert "</tool_call>" not in answer.text
    assert "tool_response>" not in answer.text
    check_pieces(pieces)


def check_pieces(pieces: list[Piece]) -> None:
    """Calls come one after the other: its begin, its arguments, its end, which say the same."""
    count = 0
    begin, arguments = None, ""
    for piece in pieces:
        if isinstance(piece, TextPiece):
            assert piece.text
            assert begin is None
            continue
        assert piece.index == count
        if isinstance(piece, CallBegin):
            assert begin is None
            begin = piece
        elif isinstance(piece, CallArguments):
            assert begin is not None
            arguments += piece.text
        else:
            if isinstance(piece.call, ToolCall):
                assert begin is not None
                assert (begin.id, begin.name) == (piece.call.id, piece.call.name)
                assert json.loads(arguments) == piece.call.arguments
            begin, arguments, count = None, "", count + 1
    assert begin is None


@unhurried
@given(
    st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"])),
    st.lists(st.tuples(st.text(min_size=1), ARGUMENTS), min_size=1, max_size=3),
    st.data(),
)
def test_calls_as_they_are_written_are_read_back(
    text: str, named: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    written = tuple(calls(*named))
    ((_, turn),) = as_turns([Message("assistant", text, written)], ())
    answer = Answer()
    answer.add(pieces_of(cut(turn, data)))
    assert answer == Answer(text.rstrip(), list(written))


def test_the_first_object_in_a_text() -> None:
    assert json.loads(first_object("Here: ```json\n{'a': {'b': [1,]}}\n``` and {}")) == {"a": {"b": [1]}}
    assert first_object('Of {x} and {y]: {"name": "P"}') == '{"name": "P"}'
    for text, reason in (("none", "there is no"), ('{"a": 1', "does not end"), ("{a]", "it is no JSON")):
        with pytest.raises(NoJSONError, match=reason):
            first_object(text)
