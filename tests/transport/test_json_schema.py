"""JSON schemas of calls and of pydantic classes, closed to properties that they do not name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel, Field

from paradigm_transport.chat.dialects.choosing import TOOL_PARSERS
from paradigm_transport.chat.dialects.dialect import Dialect
from paradigm_transport.chat.message_route import MessageRoute
from paradigm_transport.chat.prompt_route import PromptRoute
from paradigm_transport.chat.routes import ChatRequest
from paradigm_transport.chat.structured import MAX_DEPTH, call_schema, closed, schema_of, tool_of
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Message, Tool

WEATHER = Tool("weather", "The weather of a city.", {"type": "object", "properties": {"city": {"type": "string"}}})
TIME = Tool("time")


def test_call_schema_holds_the_name_and_the_closed_arguments() -> None:
    assert call_schema([TIME]) == {
        "type": "object",
        "properties": {"name": {"const": "time"}, "arguments": closed(TIME.parameters)},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
    first, second = call_schema([TIME, WEATHER])["anyOf"]
    assert first == call_schema([TIME])
    assert second["properties"]["arguments"] == closed(WEATHER.parameters)


def test_schema_is_closed_unless_it_allows_more() -> None:
    assert closed(TIME.parameters) == {"type": "object", "properties": {}, "additionalProperties": False}
    for says in (
        {"type": "object"},
        {"properties": {}},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "properties": {}, "allOf": []},
        {"$ref": "#/$defs/a"},
    ):
        assert closed(says) == says


def test_objects_within_a_schema_are_closed_unless_several_schemas_make_them_up() -> None:
    def thing(**more: Any) -> dict[str, Any]:
        return {"type": "object", "properties": {"a": {"type": "integer"}}, **more}

    def around(inner: dict[str, Any], **more: Any) -> dict[str, Any]:
        properties = {"all": {"type": "array", "items": inner}, "one": {"anyOf": [inner, {"type": "null"}]}}
        return {"$defs": {"A": inner}, "type": "object", "properties": properties, **more}

    shut = thing(additionalProperties=False)
    assert closed(around(thing())) == around(shut, additionalProperties=False)
    assert closed(around(thing(additionalProperties=True))) == around(
        thing(additionalProperties=True), additionalProperties=False
    )
    for made_up in (
        {"allOf": [thing(), {"$ref": "#/$defs/A"}]},
        thing(anyOf=[thing(), thing()]),
        thing(**{"$ref": "#/$defs/A"}),
        {"not": thing()},
        {"if": thing(), "then": thing()},
    ):
        assert closed(around(made_up)) == around(made_up, additionalProperties=False)
        only_there = {"type": "object", "properties": {"one": {"anyOf": [made_up, {"type": "null"}]}}}
        assert closed(only_there) == {**only_there, "additionalProperties": False}
    described = {"allOf": [thing()], "description": "As an older pydantic writes it."}
    assert closed(around(described)) == around({**described, "allOf": [shut]}, additionalProperties=False)


def test_definitions_of_two_tools_with_one_name_stay_apart() -> None:
    def of(kind: str, place: str) -> dict[str, object]:
        list_of = {"type": "array", "items": {"$ref": f"#/{place}/Item"}}
        return {"properties": {"all": list_of}, place: {"Item": {"type": kind, "not": {"$ref": "#"}}}}

    parameters = of("string", "$defs"), of("integer", "definitions")
    schema = call_schema([Tool("a", "", parameters[0]), Tool("b", "", parameters[1])])
    refs = [call["properties"]["arguments"]["properties"]["all"]["items"]["$ref"] for call in schema["anyOf"]]
    assert refs == ["#/$defs/a.Item", "#/$defs/b.Item"]
    assert {name: kept["type"] for name, kept in schema["$defs"].items()} == {"a.Item": "string", "b.Item": "integer"}
    assert parameters == (of("string", "$defs"), of("integer", "definitions"))  # left as they were


def test_reference_at_the_root_of_a_tools_schema_is_prefixed() -> None:
    parameters = {"$ref": "#/$defs/Item", "$defs": {"Item": {"type": "object"}}}
    assert call_schema([Tool("a", "", parameters)])["properties"]["arguments"] == {"$ref": "#/$defs/a.Item"}


def nested(levels: int) -> JsonObject:
    """Return a schema that is nested so many levels deep."""
    schema: JsonObject = {} if levels % 2 else {"properties": {}}
    for _ in range((levels - 1) // 2):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def holding_itself() -> JsonObject:
    """Return a schema that holds itself twice, as one whose references were replaced by what they refer to."""
    schema: JsonObject = {"type": "object", "properties": {}}
    schema["properties"] |= {"left": schema, "right": schema}
    return schema


def constrain(row: Dialect, schema: JsonObject) -> object:
    return row.calls.constraint([Tool("f", "", schema)], None, parallel=True)


CHAT = partial(ChatRequest, [Message("user", "x")])
USES: dict[str, Callable[[JsonObject], object]] = {
    "schema of messages": lambda schema: MessageRoute().call(CHAT(schema=schema), {"model": "m"}),
    "schema in the chat": lambda schema: MessageRoute("prompt").call(CHAT(schema=schema), {"model": "m"}),
    "schema of a prompt": lambda schema: PromptRoute("chatml", "vllm").call(CHAT(schema=schema), {"model": "m"}),
    "tool of a prompt": lambda schema: PromptRoute("chatml").call(CHAT(tools=[Tool("f", "", schema)]), {"model": "m"}),
}
for _name, _row in TOOL_PARSERS.items():
    if _row.calls.constraint([TIME], None, parallel=True) is not None:
        USES[f"calls of {_name}"] = partial(constrain, _row)


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_schema_that_is_nested_too_deeply_raises(use: Callable[[JsonObject], object]) -> None:
    use(nested(MAX_DEPTH - 10))  # with a call around it
    for schema in (nested(MAX_DEPTH + 1), nested(10_000), holding_itself()):
        with pytest.raises(InvalidParameterError, match=f"^the schema is nested more than {MAX_DEPTH} levels deep"):
            use(schema)


class Part(BaseModel):
    """A part."""

    name: str = Field(description="Its name.")
    parts: list[Part] = []


def test_schema_of_a_class_that_refers_to_itself_has_its_properties_at_the_root() -> None:
    schema = schema_of(Part)
    assert schema["properties"]["name"] == {"type": "string", "description": "Its name."}
    assert schema["properties"]["parts"]["items"] == {"$ref": "#/$defs/Part"}


def test_tool_of_a_class_has_its_name_and_docstring() -> None:
    tool = tool_of(Part)
    assert (tool.name, tool.description) == ("Part", "A part.")
    assert "title" not in tool.parameters
