"""Answers of every model family: read alike whole and in pieces, without marks in the text."""

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

from paradigm_transport.chat.dialects.base import Reader
from paradigm_transport.chat.dialects.call_json import CUT_OFF
from paradigm_transport.chat.dialects.dialect import Dialect
from paradigm_transport.chat.dialects.rows import ROWS
from paradigm_transport.chat.events import CallBegin, CallEnd, Event, ParsedMessage, Text
from paradigm_transport.chat.json_repair import NOT_JSON
from paradigm_transport.messages import ToolCall
from tests.growth import best_time, growth
from tests.transport.answers import ANSWERS, NOW, ROME, TOOLS, Answer
from tests.transport.splits import every_split, read
from tests.transport.test_tool_calls import CHARACTERS, check_events, cut, joined, unhurried

BY_NAME = {row.name: row for row in ROWS}
CASES = [
    pytest.param(BY_NAME[name], answer, id=f"{name}-{number}")
    for name, answers in ANSWERS.items()
    for number, answer in enumerate(answers)
]


def new_reader(row: Dialect, prompt: str = "", **options: Any) -> Reader:
    return row.reader(prompt=prompt, tools=TOOLS, **options)


def read_parts(row: Dialect, answer: Answer, parts: Sequence[str]) -> list[Event]:
    reader = new_reader(row, answer.prompt)
    events = [*itertools.chain.from_iterable(map(reader.feed, parts)), *reader.finish(cut_off=answer.cut_off)]
    check_events(events)
    return [without_id(event) for event in joined(events)]


def without_id(event: Event) -> Event:
    if isinstance(event, CallBegin):
        return replace(event, id="")
    return replace(event, call=replace(event.call, id="")) if isinstance(event, CallEnd) else event


def test_each_row_has_answers() -> None:
    assert set(ANSWERS) == set(BY_NAME)


@pytest.mark.parametrize(("row", "answer"), CASES)
def test_answer_is_read(row: Dialect, answer: Answer) -> None:
    message = ParsedMessage()
    message.add(read_parts(row, answer, [answer.written]))
    assert message.text == answer.text
    assert message.thoughts == answer.thoughts
    assert [(call.name, call.arguments) for call in message.calls] == answer.calls
    assert len(message.invalid_calls) == answer.invalid


@pytest.mark.parametrize(("row", "answer"), CASES)
def test_answer_in_pieces_is_read_alike(row: Dialect, answer: Answer) -> None:
    written = answer.written
    whole = read_parts(row, answer, [written])
    assert read_parts(row, answer, list(written)) == whole
    for place in range(1, len(written)):
        assert read_parts(row, answer, [written[:place], written[place:]]) == whole


MARK = re.compile(r"<[｜|]?/?[\w:｜|▁=]+[|｜]?>|\[/?[A-Z_]+\]")
FILLERS = [
    "Hi",
    " ",
    "\n",
    "a < b",
    "<",
    "[",
    "{",
    "}",
    "]",
    '"',
    "'",
    "`",
    "```",
    "é😀",
    "null",
    "time",
    ">>>",
    "\\",
    ",",
]


def fragments(row: Dialect) -> list[str]:
    """Marks of a row, parts of its calls, and text."""
    written = row.calls.write([ToolCall("call00001", name, arguments) for name, arguments in (ROME, NOW)])
    thoughts = (*row.thoughts.begins, *row.thoughts.ends) if row.thoughts is not None else ()
    turn = [*row.turn.ends, *filter(None, (row.turn.begin, row.turn.role))]
    marks = [*MARK.findall(written), *turn, *row.dropped, *row.wrapper, *thoughts, *row.calls.begins]
    halves = [mark[: len(mark) // 2] for mark in marks]
    parts = [part for part in re.split(r"(?<=[>\]}\n])", written) if part]
    return [*dict.fromkeys([*marks, *halves, *parts, written, *FILLERS])]


def marks_of(row: Dialect) -> list[str]:
    """The marks that are never text."""
    thoughts = row.thoughts
    never = () if thoughts is None or thoughts.are_phrases else (*thoughts.begins, *thoughts.ends)
    begins = [mark for mark in row.calls.begins if mark.endswith((">", "]"))]
    return [*row.turn.ends, *row.dropped, *never, *begins]


@settings(unhurried, max_examples=20)
@given(st.data())
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_any_split_of_any_text_is_read_alike(row: Dialect, data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.sampled_from(fragments(row)) | st.text(CHARACTERS, max_size=4), max_size=12))
    prompt = data.draw(st.sampled_from(["", "<think>\n", "<think>\n\n</think>\n\n"]))
    answer = Answer("".join(texts), prompt=prompt, cut_off=data.draw(st.booleans()))
    whole = read_parts(row, answer, [answer.written])
    assert read_parts(row, answer, cut(answer.written, data)) == whole
    message = ParsedMessage()
    message.add(whole)
    assert not [mark for mark in marks_of(row) if mark in message.text]


# Behind these marks a model invents what follows: its next turn, results, what it has written already.
ENDS = ("<tool_response>", "<|return|>", "<|tool_call_end|>")


@settings(unhurried, max_examples=20)
@given(st.data())
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_no_word_of_an_answer_is_lost(row: Dialect, data: st.DataObject) -> None:
    parts = st.sampled_from(fragments(row)) | st.sampled_from(["(", ")", '"', "=", "json", "final", "analysis"])
    texts = [f"{data.draw(parts)} w{number} " for number in range(data.draw(st.integers(1, 8)))]
    written = "".join(texts)
    message = read_calls(new_reader(row), written, cut_off=data.draw(st.booleans()))
    calls = [f"{call.id} {call.name} {json.dumps(call.arguments)}" for call in message.calls]
    invalid = [f"{call.id} {call.name} {call.text}" for call in message.invalid_calls]
    found = re.findall(r"\bw\d\b", " ".join([message.text, message.thoughts, *calls, *invalid]))
    end = min((written.find(mark) for mark in (*row.turn.ends, *ENDS) if mark in written), default=len(written))
    assert set(re.findall(r"\bw\d\b", written[:end])) <= set(found)


BY_ROW = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
CALLS = [ToolCall("a1b2c3d4e", name, arguments) for name, arguments in (ROME, NOW)]


def read_calls(reader: Reader, *parts: str, cut_off: bool = False) -> ParsedMessage:
    message = ParsedMessage()
    for part in parts:
        message.add(reader.feed(part))
    message.add(reader.finish(cut_off=cut_off))
    return message


@BY_ROW
def test_written_calls_are_read_back(row: Dialect) -> None:
    prompt = row.without_thoughts("")
    message = read_calls(new_reader(row, prompt), row.calls.write(CALLS))
    assert [(call.name, call.arguments) for call in message.calls] == [ROME, NOW]
    assert (message.text, message.thoughts, message.invalid_calls) == ("", "", [])


@BY_ROW
def test_value_may_begin_and_end_with_any_mark_of_a_turn(row: Dialect) -> None:
    marks = [*row.turn.ends, row.turn.begin, *row.dropped, *row.wrapper]
    marks += [*row.thoughts.begins, *row.thoughts.ends] if row.thoughts is not None else []
    for mark in filter(None, marks):
        for value in (mark, f"{mark}x{mark}"):
            written = row.calls.write([ToolCall("a1b2c3d4e", "get_weather", {"city": value})])
            found = read(lambda: new_reader(row, row.without_thoughts("")), written)
            assert (found.text, found.calls) == ("", [("get_weather", {"city": value})])


@BY_ROW
@pytest.mark.parametrize("name", ["get_weather", None])
def test_forced_call_is_read_from_where_the_prompt_ends(row: Dialect, name: str | None) -> None:
    written, begin = row.calls.write(CALLS[:1]).removeprefix(">>>"), row.calls.prefill(name)
    if "[CALL_ID]" in begin:  # which is another one each time
        begin = written[: len(begin)]
    assert written.startswith(begin)
    rest = written[len(begin) :]
    for parts in ([rest], list(rest)):
        message = read_calls(new_reader(row, prefilled=True, name=name, parallel=False), *parts)
        assert [(call.name, call.arguments) for call in message.calls] == [ROME]
        assert (message.text, message.thoughts, message.invalid_calls) == ("", "", [])


@BY_ROW
@pytest.mark.parametrize("name", ["get_weather", None])
def test_forced_call_that_is_cut_off_is_invalid(row: Dialect, name: str | None) -> None:
    written, begin = row.calls.write(CALLS[:1]).removeprefix(">>>"), row.calls.prefill(name)
    rest = written[len(begin) : written.index("Rome") + 2]
    message = read_calls(new_reader(row, prefilled=True, name=name, parallel=False), rest, cut_off=True)
    assert (message.text, message.calls, len(message.invalid_calls)) == ("", [], 1)


@pytest.mark.parametrize("name", ["glm-4.5", "glm-4.7", "lfm2", "olmo-3", "mistral-v11", "kimi-k2"])
def test_forced_call_of_any_tool_may_be_written_as_json(name: str) -> None:
    tool, arguments = ROME
    written = json.dumps({"name": tool, "arguments": arguments}) + "So."
    found = read(lambda: new_reader(BY_NAME[name], prefilled=True), written)
    assert (found.text, found.calls, found.invalid) == ("So.", [ROME], [])


@BY_ROW
def test_call_that_is_cut_off_anywhere_is_neither_a_call_nor_markup(row: Dialect) -> None:
    written = row.calls.write(CALLS[:1]).removeprefix(">>>")
    for end in range(1, written.index("Rome") + 5):
        message = read_calls(new_reader(row, row.without_thoughts("")), written[:end], cut_off=True)
        assert message.calls == []
        assert not [mark for mark in marks_of(row) if mark in message.text]
        if end > written.index("Rome"):
            assert (message.text, len(message.invalid_calls)) == ("", 1)


@BY_ROW
def test_only_the_first_call_is_read_if_calls_are_not_parallel(row: Dialect) -> None:
    message = read_calls(new_reader(row, row.without_thoughts(""), parallel=False), row.calls.write(CALLS))
    assert [(call.name, call.arguments) for call in message.calls] == [ROME]


@BY_ROW
def test_answer_without_marks_is_text(row: Dialect) -> None:
    text = '  a < b, [x] {y} `z`\n```json\n{"a": 1}\n```\n> é😀 <b>bold</b> \n'
    for parts in ([text], list(text)):
        assert read_calls(new_reader(row, row.without_thoughts("")), *parts).text == text


@pytest.mark.parametrize("cut_off", [False, True])
@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("llama3-json", '{"name": "unknown", "parameters": {"x": "y"<|eom_id|>\n"'),
        ("lfm2", " ```<|tool_call_start|>[f()]"),
        ("lfm2", "<|tool_call_start|>[f(), g h()]"),
        ("qwen3-coder", "<tool_call><function=f></function><function=g h=></tool_call>"),
        ("qwen3-coder", "<tool_call><function=f></function><function=>"),
        (
            "llama3-json",
            '{"name": "unknown", "parameters": {"x: "y"}}{{"name": "get_weather", "parameters": {"city": "Rome"}}',
        ),
        ("deepseek-v4", "</th<｜Assistant｜>\t\t'  x"),
        ("hermes", "<|im_start|>\n assistant\n\nHi"),
        ("gemma-4", "<|tool_call>call:f{}<tool_call|><|tool_call><|channel>thought<|tool_call>call:f{}<tool_call|>"),
    ],
)
def test_answer_in_disorder_is_read_alike_in_any_split(name: str, written: str, cut_off: bool) -> None:
    read(lambda: new_reader(BY_NAME[name]), written, cut_off=cut_off, split=every_split)
    read(lambda: new_reader(BY_NAME[name]), written, cut_off=cut_off)


@pytest.mark.parametrize(
    "name", ["hermes", "deepseek-v3", "deepseek-v3.1", "kimi-k2", "functionary-v3.1", "jamba", "apertus", "command-r7b"]
)
def test_brackets_that_are_missing_before_the_end_mark_are_added(name: str) -> None:
    row = BY_NAME[name]
    written = row.calls.write([ToolCall("id", "get_weather", {"cities": ["Rome", {"a": 1}]})])
    begin, end = written.index("}]}"), written.rindex("}") + 1
    for missing in range(1, end - begin + 1):
        for comma in ("", ", "):
            answer = written[: end - missing] + comma + written[end:].lstrip("]\n ")
            found = read(lambda: new_reader(row, row.without_thoughts("")), answer)
            assert (found.text, found.calls) == ("", [("get_weather", {"cities": ["Rome", {"a": 1}]})]), answer


TO_TIME = "<|channel|>commentary to=time<|message|>"


@pytest.mark.parametrize(
    ("written", "text", "reason"),
    [
        ('{"a": <|call|>', '{"a": ', NOT_JSON),
        ('{"a": 1] 2<|call|>', '{"a": 1] 2', NOT_JSON),
        ('{"a": "<|en', '{"a": "<|en', CUT_OFF),
        ("{1", "{1", CUT_OFF),
        ("{]", "{]", NOT_JSON),
    ],
)
def test_call_in_a_channel_that_cannot_be_read_is_quoted(written: str, text: str, reason: str) -> None:
    found = read(lambda: new_reader(BY_NAME["gpt-oss"]), TO_TIME + written)
    assert (found.text, found.invalid, found.reasons) == ("", [("time", text)], [reason])


def test_invalid_call_in_a_channel_is_not_the_only_one() -> None:
    found = read(
        lambda: new_reader(BY_NAME["gpt-oss"], parallel=False), f"{TO_TIME}{{1}}<|call|>{TO_TIME}{{}}<|call|>{TO_TIME}"
    )
    assert (found.calls, len(found.invalid)) == ([NOW], 1)


@pytest.mark.parametrize("text", ["Hello", "to be", f"to={'x' * 200}"])
def test_plain_text_in_place_of_channels_is_shown_at_once(text: str) -> None:
    assert new_reader(BY_NAME["gpt-oss"]).feed(text) == [Text(text)]


@BY_ROW
@pytest.mark.parametrize("behind", ["a", 'a {"b": "'])
def test_time_is_linear_in_the_length_of_an_answer(row: Dialect, behind: str) -> None:
    begin = "".join(row.calls.begins[-1:]) + behind

    def read(length: int) -> None:
        for repeated in (" ", "\n", "a", '"'):
            reader = new_reader(row)
            for _ in range(length // 8):
                reader.feed(repeated * 8)
            reader.feed("!")
            reader.finish()
            new_reader(row).feed(f"{begin}{repeated * length}!")

    assert growth(read, 800, 10) < 1.5


@pytest.mark.parametrize("name", ["gemma-4", "qwen3-coder", "lfm2", "hermes"])
def test_time_is_linear_in_the_number_of_values_without_an_end(name: str) -> None:
    call = BY_NAME[name].calls.write([ToolCall("a1b2c3d4e", "get_weather", {"city": "Rome"})])
    unended = re.sub(r"(?<=Rome)\s*(<\|\"\|>|</parameter>|'|\")", "", call).replace("</function>", "")

    def read(count: int) -> None:
        reader = new_reader(BY_NAME[name])
        reader.feed(unended * count)
        reader.finish()

    assert growth(read, 30, 20) < 1.5


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("glm-4.5", "<tool_call>f\n<arg_key>"),
        ("qwen3-coder", "<tool_call>\n<function=f>\n<parameter=a"),
        ("qwen3-coder", "<tool_call>\n<function=f"),
    ],
)
def test_white_space_in_a_mark_is_read_about_as_fast_as_letters(name: str, begin: str) -> None:
    def feed(filler: str) -> None:
        reader = new_reader(BY_NAME[name])
        for char in f"{begin}{filler * 400}x":
            reader.feed(char)

    letters = best_time(lambda: feed("a"))
    assert best_time(lambda: feed(" ")) < 15 * letters  # it took 40 to 1000 times the time


@pytest.mark.parametrize("name", ["glm-4.5", "glm-4.7"])
def test_white_space_around_the_name_of_an_argument_is_left_out(name: str) -> None:
    written = BY_NAME[name].calls.write([ToolCall("a1b2c3d4e", *ROME)]).replace("city", " \ncity \n")
    assert read(lambda: new_reader(BY_NAME[name]), written).calls == [ROME]


def test_time_is_linear_in_the_length_of_space_behind_a_wrapper() -> None:
    def stream(length: int) -> None:
        reader = new_reader(BY_NAME["hunyuan-a13b"])
        reader.feed("<answer>Hi</answer>")
        for _ in range(length // 4):
            reader.feed(" " * 4)

    assert growth(stream, 5_000, 20) < 1.5


@pytest.mark.parametrize("name", ["deepseek-v3.1", "functionary-v3.1", "kimi-k2", "mistral-v11", "llama-pythonic"])
@pytest.mark.parametrize("written", ["``", "```", "\n ", "``{[", "), g h()]"])
def test_forced_call_in_disorder_is_read_alike_in_any_split(name: str, written: str) -> None:
    read(lambda: new_reader(BY_NAME[name], prefilled=True, name="get_weather"), written)
