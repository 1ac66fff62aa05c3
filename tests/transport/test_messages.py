"""OpenAI's forms of tools, choices, response formats and messages."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from paradigm_transport import InvalidParameterError
from paradigm_transport.messages import (
    Message,
    NamedTool,
    Tool,
    ToolCall,
    ToolChoice,
    in_user_turns,
    read_response_format,
    read_tool_choice,
    read_tools,
    with_system,
)
from tests.growth import growth

CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
NONSENSE: list[Any] = [
    3,
    0,
    1,
    2.5,
    b"any",
    object(),
    [],
    ["auto"],
    {},
    {1: 2},
    set(),
    {"auto"},
    ("function", "weather"),
    {"function": 3},
    {"function": None},
    {"function": []},
    {"function": {}},
    {"function": {"name": 3}},
    {"function": {"name": ""}},
    {"function": {"name": ["weather"]}},
    {"function": "weather"},
    {"name": 3},
    {"type": "web_search"},
    {"type": []},
    {"type": "json_schema"},
    {"type": "json_schema", "json_schema": 3},
    {"type": "json_schema", "json_schema": {"schema": "object"}},
    {"type": "json_schema", "json_schema": {"schema": None}},
]


def check_error(raised: pytest.ExceptionInfo[InvalidParameterError], name: str) -> None:
    """It is one sentence that begins with the argument."""
    assert str(raised.value).startswith(name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "tool"),
    [
        ({"type": "function", "function": {"name": "weather"}}, Tool("weather")),
        ({"function": {"name": "weather", "description": None, "parameters": None}}, Tool("weather")),
        ({"function": {"name": "weather", "description": "", "parameters": {}}}, Tool("weather")),
        (
            {"type": "function", "function": {"name": "weather", "description": "Rain?", "parameters": CITY}},
            Tool("weather", "Rain?", CITY),
        ),
        (
            {"function": MappingProxyType({"name": "weather", "parameters": MappingProxyType(CITY), "strict": True})},
            Tool("weather", "", CITY),
        ),
    ],
)
def test_tool_is_read_from_its_openai_form(value: object, tool: Tool) -> None:
    assert Tool.from_openai(value) == tool
    assert Tool.from_openai(tool.to_openai()) == tool
    assert read_tools([value]) == [tool]


@pytest.mark.parametrize(
    "value",
    [
        *NONSENSE,
        None,
        "weather",
        {"function": {"name": "weather", "description": 3}},
        {"function": {"name": "weather", "description": ["Rain?"]}},
        {"function": {"name": "weather", "parameters": "object"}},
        {"function": {"name": "weather", "parameters": [CITY]}},
    ],
)
def test_tool_of_another_form_raises(value: object) -> None:
    with pytest.raises(InvalidParameterError) as raised:
        Tool.from_openai(value)
    check_error(raised, "tools: each must be")
    with pytest.raises(InvalidParameterError):
        read_tools([value])


@pytest.mark.parametrize("value", [3, 2.5, True, object(), "weather", {"function": {"name": "weather"}}])
def test_tools_that_are_not_a_list_raise(value: object) -> None:
    with pytest.raises(InvalidParameterError) as raised:
        read_tools(value)
    check_error(raised, "tools must be a list of tools, not ")


def test_no_tools_are_an_empty_list() -> None:
    assert read_tools(None) == read_tools(()) == []


@pytest.mark.parametrize(
    ("value", "choice"),
    [
        (None, "auto"),
        ("auto", "auto"),
        ("any", "any"),
        ("required", "any"),
        (True, "any"),
        ("none", "none"),
        (False, "none"),
        ("weather", NamedTool("weather")),
        ({"type": "function", "function": {"name": "weather"}}, NamedTool("weather")),
        ({"function": {"name": "any"}}, NamedTool("any")),
        ({"name": "any"}, NamedTool("any")),
        ({"type": "tool", "name": "weather"}, NamedTool("weather")),
        (MappingProxyType({"name": "weather"}), NamedTool("weather")),
    ],
)
def test_tool_choice_is_read_in_every_form(value: object, choice: ToolChoice) -> None:
    assert read_tool_choice(value) == choice


@pytest.mark.parametrize("value", [*NONSENSE, ""])
def test_tool_choice_of_another_form_raises(value: object) -> None:
    with pytest.raises(InvalidParameterError) as raised:
        read_tool_choice(value)
    check_error(raised, "tool_choice must be auto, any, none, or the name of a tool")


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (None, None),
        ("text", None),
        ({}, None),
        ({"type": "text"}, None),
        ("json_object", {"type": "object"}),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}, CITY),
        ({"type": "json_schema", "json_schema": MappingProxyType({"schema": MappingProxyType(CITY)})}, CITY),
    ],
)
def test_response_format_is_read_as_a_schema(value: object, schema: object) -> None:
    assert read_response_format(value) == schema


NOT_OF_A_TYPE = [value for value in NONSENSE if not isinstance(value, dict) or "type" in value]


GRAMMAR = {"type": "grammar", "json_schema": {"schema": CITY}}


@pytest.mark.parametrize("value", [*NOT_OF_A_TYPE, True, "", "json_schema", "xml", GRAMMAR])
def test_response_format_of_another_form_raises(value: object) -> None:
    with pytest.raises(InvalidParameterError) as raised:
        read_response_format(value)
    check_error(raised, "response_format must be")


def test_system_message_is_made_if_there_is_none() -> None:
    assert with_system([], "Be brief.") == [Message("system", "Be brief.")]
    assert with_system([Message("user", "Hi")], "Be brief.")[0] == Message("system", "Be brief.")


def test_message_is_written_in_the_openai_form_with_arguments_as_an_object() -> None:
    call = ToolCall("1", "weather", {"city": "Rome"})
    function = {"name": "weather", "arguments": {"city": "Rome"}}
    assert Message("assistant", "I look.", (call,)).to_openai() == {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [{"id": "1", "type": "function", "function": function}],
    }
    assert Message("tool", "Sunny.", tool_call_id="1", name="weather").to_openai() == {
        "role": "tool",
        "content": "Sunny.",
        "tool_call_id": "1",
        "name": "weather",
    }
    assert Message("user").to_openai() == {"role": "user", "content": ""}


def test_neighbours_of_one_role_are_one_turn() -> None:
    calls = [ToolCall("1", "f", {}), ToolCall("2", "g", {})]
    chat = [
        Message("developer", "Be brief."),
        Message("user", "A", name="Ann"),
        Message("user", ""),
        Message("user", "B"),
        Message("assistant", "", (calls[0],), thoughts="Hm."),
        Message("assistant", "C", (calls[1],), thoughts="So."),
        Message("tool", "1", tool_call_id="1"),
        Message("tool", "2", tool_call_id="2"),
    ]
    called = Message("assistant", "C", tuple(calls), thoughts="Hm.\n\nSo.")
    assert in_user_turns(chat, ()) == [chat[0], Message("user", "A\n\nB", name="Ann"), called, *chat[6:]]
    assert in_user_turns(chat, ("developer", "tool")) == [
        Message("user", "Be brief.\n\nA\n\nB"),
        called,
        Message("user", "1\n\n2"),
    ]
    assert in_user_turns([], ("tool",)) == []


def test_neighbours_are_joined_in_linear_time() -> None:
    def join(messages: int) -> None:
        in_user_turns([Message("user", "word " * 200)] * messages, ())

    assert growth(join, 250, 32) < 1.5
