"""Structured answers: the first object of a text, partial objects, and the request to repair one."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, Field, ValidationError

from paradigm_transport.chat import json_repair
from paradigm_transport.chat.json_repair import InvalidJSONError, RepairedValue, find_objects, partial_object
from paradigm_transport.chat.structured import explain, read_object, repair_messages, repair_prompt, schema_instruction
from paradigm_transport.messages import Message
from tests.growth import growth


@pytest.mark.parametrize("char", [",", ":", "]", "}", "?"])
def test_value_does_not_begin_with_what_only_continues_one(char: str) -> None:
    value = RepairedValue()
    assert (value.feed(f"{char} 1"), value.is_broken, value.text) == (0, True, "")


@pytest.mark.parametrize(
    ("text", "closed", "is_complete"),
    [
        ('{"a": [1, {"b": "c"}, </call>', '{"a": [1, {"b": "c"}]}', True),
        ('{"a": [1, {"b": "c"}, ', '{"a": [1, {"b": "c"}', False),  # more may follow
        ("</call>", "", False),
    ],
)
def test_brackets_are_added_only_where_a_value_breaks_off(text: str, closed: str, is_complete: bool) -> None:
    value = RepairedValue()
    at = value.feed(text)
    value.close()
    assert (value.text, value.is_complete, value.is_broken) == (closed, is_complete, at == 0)


def test_value_knows_whether_it_is_in_a_string() -> None:
    value = RepairedValue()
    for text, in_string in [('{"a', True), ('": ', False), ("'b", True), ("'", False), ("}", False)]:
        value.feed(text)
        assert value.in_string is in_string


def texts(answer: str) -> list[str]:
    return [text for text, _ in find_objects(answer)]


def test_trailing_comma_is_left_out_with_or_without_space() -> None:
    assert texts('{"a": [1,], "b": [2, ],}') == ['{"a": [1], "b": [2 ]}']


def test_objects_are_found_and_repaired() -> None:
    assert texts("Here: ```json\n{'a': {'b': [1,]}}\n``` and {}") == ['{"a": {"b": [1]}}', "{}"]
    assert texts('Of {x} and {y]: {"name": "P"}') == ['{"name": "P"}']
    assert texts('{so? {"name": "P"}') == ['{"name": "P"}']
    assert texts('{"a": -1}') == ['{"a": -1}']


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("none", "there is no JSON object in the answer"),
        ('{"a": 1', "the JSON object in the answer does not end"),
        ("{a]", "not valid JSON"),
        ("{a}", "not valid JSON"),
        ('{"a": "\ud800"}', "not valid JSON"),
    ],
)
def test_text_without_an_object_raises(text: str, reason: str) -> None:
    with pytest.raises(InvalidJSONError, match=f"^{reason}$"):
        find_objects(text)


@pytest.mark.parametrize("repeated", ["{", "{a]", '{"a" ', "{x} ", '{"a": ', "{'"])
def test_time_to_find_no_object_is_linear(repeated: str) -> None:
    def find(length: int) -> None:
        with pytest.raises(InvalidJSONError):
            find_objects(repeated * (length // len(repeated)))

    assert growth(find, 10_000, 16) < 1.5


DRAFT = '{"type": "object", "properties": {"name": {"type": "string"}}}'


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Rome", "people": 3}',
        DRAFT + '\n```json\n{"name": "Rome", "people": 3}\n```',
        '{"name": "Rome", "people": 0} No: {"name": "Rome", "people": 3}. {"people": 3}',
        '{"name": "Paris", "people": 2} No: {"name": "Rome", "people": 3}, {}',
        '{x} {"name": "Rome", "people": 3} {y',
    ],
)
def test_last_object_that_fits_is_read(text: str) -> None:
    assert read_object(text, City.model_validate_json) == City(name="Rome", people=3)


def test_each_object_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    parse = json_repair.parse
    monkeypatch.setattr(json_repair, "parse", lambda text: parsed.append(text) or parse(text))
    read_object('{"a": 1} {"name": "Rome"}', json.loads, schema={"properties": {"name": {}}})
    assert parsed == ['{"a": 1}', '{"name": "Rome"}']


def test_object_that_lacks_the_keys_of_the_schema_is_left_out() -> None:
    schema = City.model_json_schema()
    answer = {"name": "Rome", "people": 0}
    text = f"{DRAFT} {json.dumps(answer)} {{}}"
    assert read_object(text, json.loads, schema=schema) == answer
    with pytest.raises(ValidationError, match="greater than 0"):
        read_object(text, City.model_validate_json, schema=schema)
    assert read_object('{"a": 1} {"b": 2}', json.loads, schema=schema) == {"a": 1}
    assert read_object(f'{json.dumps(answer)} {{"name": "Rome"}}', json.loads, schema=schema) == answer
    assert read_object(text, json.loads, schema={"properties": {"people": {}}}) == answer


def test_first_object_is_explained_if_none_fits() -> None:
    with pytest.raises(ValidationError) as raised:
        read_object('{"name": "Rome", "people": 0}, {"name": 3}', City.model_validate_json)
    assert explain(raised.value) == "people: Input should be greater than 0"


@pytest.mark.parametrize("text", ["none", '{"a": 1', "{a]", '{"a": "\ud800"}'])
def test_answer_without_an_object_raises(text: str) -> None:
    with pytest.raises(InvalidJSONError):
        read_object(text, City.model_validate_json)
    with pytest.raises(InvalidJSONError, match=r" does not end: it was cut off at max_tokens; raise max_tokens$"):
        read_object(f"{text} {{", City.model_validate_json, is_cut=True)


def test_backslashes_that_are_no_escape_are_text() -> None:
    ((_, value),) = find_objects(r'{"pattern": "\d+\s", "path": "C:\Users\x"}')
    assert value == {
        "pattern": r"\d+\s",
        "path": r"C:\Users\x",
    }


def test_partial_object_holds_what_has_arrived() -> None:
    assert partial_object("No") is None
    assert partial_object('Here: {"name": "Ro') == {"name": "Ro"}
    with pytest.raises(ValueError, match="key must be a string"):
        partial_object("{no}")
    with pytest.raises(ValueError, match="not valid JSON"):
        partial_object('{"a": "\ud800')


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
