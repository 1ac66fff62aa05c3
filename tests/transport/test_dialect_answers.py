"""Answers of every model family: read alike whole and in pieces, without marks in the text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from paradigm_transport.chat.dialects.base import Reader
from paradigm_transport.chat.dialects.dialect import Dialect
from paradigm_transport.chat.dialects.rows import ROWS
from paradigm_transport.chat.events import CallBegin, CallEnd, Event, ParsedMessage
from tests.transport.answers import ANSWERS, TOOLS, Answer
from tests.transport.test_tool_calls import check_events, joined

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
