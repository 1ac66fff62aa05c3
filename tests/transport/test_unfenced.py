"""An answer that should be one JSON object is read without a code fence around it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paradigm_transport.chat.dialects.base import TextReader, read_message
from paradigm_transport.chat.dialects.rows import HERMES, ROWS
from paradigm_transport.chat.events import ParsedMessage, Text
from paradigm_transport.chat.unfenced import UnfencedReader
from tests.growth import best_time


def read(pieces: list[str]) -> ParsedMessage:
    reader, message = UnfencedReader(TextReader()), ParsedMessage()
    for piece in pieces:
        message.add(reader.feed(piece))
    message.add(reader.finish())
    return message


ANSWERS = [
    ("```json\n{}\n```", "{}"),
    (" \n```\n{}\n```\n", "{}"),
    ('```json\r\n{"a": "`"}\r\n``` ', '{"a": "`"}'),
    ("```json\n{}", "{}"),
    ("```json\n{}\n", "{}"),
    ("{}", "{}"),
    (" {} ", " {} "),
    ("```", "```"),
    ("``", "``"),
    ("`{}`", "`{}`"),
    ("", ""),
    ("Here:\n```json\n{}\n```", "Here:\n```json\n{}\n```"),
    ("```json\n{}\n```\nThere.", "{}\n```\nThere."),
    ("```json {}", "```json {}"),
    ("```json\n{}````", "{}`"),
]


@pytest.mark.parametrize(("answer", "text"), ANSWERS)
def test_fence_around_the_answer_is_left_out(answer: str, text: str) -> None:
    assert read([answer]).text == text


@pytest.mark.parametrize("answer", [answer for answer, _ in ANSWERS])
def test_any_split_gives_the_same_text(answer: str) -> None:
    for size in (1, 2, 3):
        pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
        assert read(pieces).text == read([answer]).text


@given(st.lists(st.text("` \n{}js", max_size=4), max_size=30))
def test_any_split_of_any_text_gives_the_same_text(pieces: list[str]) -> None:
    assert read(pieces).text == read(["".join(pieces)]).text


def test_text_before_a_call_is_kept() -> None:
    answer = '```json\n{}\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    inner = read_message(HERMES.reader(), answer)
    message = read_message(UnfencedReader(HERMES.reader()), answer)
    assert [call.name for call in message.calls] == ["f"]
    assert message.text == inner.text.removeprefix("```json\n")


def test_fence_behind_thoughts_is_left_out() -> None:
    (qwen,) = (row for row in ROWS if row.name == "qwen3")
    answer = "<think>Hm.</think>\n```json\n{}\n```"
    assert read_message(UnfencedReader(qwen.reader()), answer) == ParsedMessage("{}", "Hm.")


def test_fence_behind_a_call_is_kept() -> None:
    answer = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>\n```json\n{}\n```'
    assert read_message(UnfencedReader(HERMES.reader()), answer).text == "```json\n{}\n```"


def test_text_that_opens_no_fence_is_shown_at_once() -> None:
    assert UnfencedReader(TextReader()).feed('{"a"') == [Text('{"a"')]


def test_long_space_is_not_held_back() -> None:
    reader = UnfencedReader(TextReader())
    reader.feed("```json\n{")
    shown = sum(len(event.text) for _ in range(1000) for event in reader.feed("    "))
    assert shown > 3000


def test_space_in_a_fence_is_read_in_a_short_time() -> None:
    def feed(char: str) -> None:
        reader = UnfencedReader(TextReader())
        reader.feed("```json\n{")
        for _ in range(3000):
            reader.feed(char)

    letters = best_time(lambda: feed("a"))
    assert best_time(lambda: feed(" ")) < 25 * letters  # it took 90 times the time
