"""Structured answers: the first object of a text, partial objects, and the request to repair one."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, Field, ValidationError

from paradigm_transport.chat.json_repair import InvalidJSONError, first_object, partial_object
from paradigm_transport.chat.structured import explain, repair_messages, repair_prompt, schema_instruction
from paradigm_transport.messages import Message
from tests.transport.test_tool_calls import cpu_time


def test_first_object_is_read_and_repaired() -> None:
    assert json.loads(first_object("Here: ```json\n{'a': {'b': [1,]}}\n``` and {}")) == {"a": {"b": [1]}}
    assert first_object('Of {x} and {y]: {"name": "P"}') == '{"name": "P"}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("none", "there is no JSON object in the answer"),
        ('{"a": 1', "the JSON object in the answer does not end"),
        ("{a]", "not valid JSON"),
        ("{a}", "not valid JSON"),
    ],
)
def test_text_without_an_object_raises(text: str, reason: str) -> None:
    with pytest.raises(InvalidJSONError, match=f"^{reason}$"):
        first_object(text)


@pytest.mark.parametrize("repeated", ["{", "{a]", '{"a" ', "{x} ", '{"a": ', "{'"])
def test_time_to_find_no_object_is_linear(repeated: str) -> None:
    def find(length: int) -> None:
        with pytest.raises(InvalidJSONError):
            first_object(repeated * (length // len(repeated)))

    short = min(cpu_time(lambda: find(10_000)) for _ in range(3))
    assert cpu_time(lambda: find(160_000)) < 64 * short  # 16 times the text; quadratic would be 256 times the time


def test_partial_object_holds_what_has_arrived() -> None:
    assert partial_object("No") is None
    assert partial_object('Here: {"name": "Ro') == {"name": "Ro"}
    with pytest.raises(ValueError, match="key must be a string"):
        partial_object("{no}")


class City(BaseModel):
    name: str
    people: int = Field(gt=0)


def test_problem_is_explained_without_the_values() -> None:
    with pytest.raises(ValidationError) as raised:
        City.model_validate({"people": -7})
    assert explain(raised.value) == "name: Field required; people: Input should be greater than 0"
    assert explain(ValueError("not valid JSON")) == "not valid JSON"


def test_schema_instruction_holds_the_schema() -> None:
    assert schema_instruction({"type": "object"}).endswith('JSON schema:\n{"type": "object"}')


def test_repair_uses_the_same_words_in_a_chat_and_in_a_prompt() -> None:
    answer, request = repair_messages("Rome", "not valid JSON")
    assert answer == Message("assistant", "Rome")
    assert request == Message("user", "That cannot be used: not valid JSON. Correct this and answer again.")
    prompt = repair_prompt("A city?", "Rome", "not valid JSON")
    assert prompt.startswith("A city?\n\n")
    assert "\nRome\n" in prompt
    assert prompt.endswith(f"\n\n{request.content}")
