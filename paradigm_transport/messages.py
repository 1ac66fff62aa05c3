"""Chats as plain data, and how tools are told of in a prompt: the Hermes convention.

Tools stand in the system turn as JSON schemas, a model calls one in `<tool_call>…</tool_call>`, and its result comes
back in `<tool_response>…</tool_response>`. `tool_calls.py` reads the answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Literal, cast

CALL, END_OF_CALL = "<tool_call>", "</tool_call>"
RESULT, END_OF_RESULT = "<tool_response>", "</tool_response>"

_MAY_LACK = ("description", "parameters")


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model may call.

    Attributes:
        name: what it is called by.
        description: what it does, for the model.
        parameters: a JSON schema of the object that its arguments make up.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    @classmethod
    def of_function(cls, function: Mapping[str, Any]) -> Tool:
        """The tool that OpenAI's API writes as `function`; its description and parameters may be left out."""
        return cls(function["name"], **{name: function[name] for name in _MAY_LACK if function.get(name)})

    def as_function(self) -> dict[str, Any]:
        """The tool as OpenAI's API writes it, which templates expect."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool.

    Attributes:
        id: what its result refers to.
        name: the tool's name.
        arguments: what the tool is called with.
    """

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat.

    Attributes:
        role: `system`, `user`, `assistant`, `tool`, or another that the template knows.
        content: its text.
        tool_calls: the calls that an assistant made in it.
        tool_call_id: of which call a tool's message is the result.
        name: the name of who speaks, or of the tool.
    """

    role: str
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    def as_openai(self) -> dict[str, Any]:
        """The message as templates expect it: OpenAI's form, arguments as an object."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self.tool_calls
            ]
        known = {"tool_call_id": self.tool_call_id, "name": self.name}
        return {**message, **{name: value for name, value in known.items() if value is not None}}


@dataclass(frozen=True, slots=True)
class OneTool:
    """The choice of one tool by its name; a type of its own, for a tool may be called `any`."""

    name: str


ToolChoice = Literal["auto", "any", "none"] | OneTool
"""Whether tools are called: as the model likes, at least one, none, or the one named."""


def as_turns(messages: Iterable[Message], tools: Sequence[Tool]) -> list[tuple[str, str]]:
    """Messages as turns of a role and a text, tools and calls written by the Hermes convention."""
    messages = in_order_of_calls(messages)
    if tools:
        messages = with_system(messages, _told(tools))
    return [(message.role, _content(message)) for message in messages]


def in_order_of_calls(messages: Iterable[Message]) -> list[Message]:
    """Messages with the results of tools in the order of the calls.

    Agents add a result when it is there; markup without ids tells by its place which call it belongs to.
    """
    ordered: list[Message] = []
    places: dict[str | None, int] = {}
    for is_result, group in groupby(messages, lambda message: message.role == "tool"):
        if is_result:
            ordered += sorted(group, key=lambda message: places.get(message.tool_call_id, len(places)))
        else:
            ordered += group
            places = {call.id: place for place, call in enumerate(ordered[-1].tool_calls)}
    return ordered


def with_system(messages: Iterable[Message], text: str) -> list[Message]:
    """Messages with a text at the end of their system message; one is made where there is none."""
    messages = list(messages)
    if messages and messages[0].role == "system":
        first = messages.pop(0)
        return [replace(first, content=f"{first.content}\n\n{text}"), *messages]
    return [Message("system", text), *messages]


def _content(message: Message) -> str:
    if message.role == "tool":
        return f"{RESULT}\n{message.content}\n{END_OF_RESULT}"
    calls = [f"{CALL}\n{_call(call.name, call.arguments)}\n{END_OF_CALL}" for call in message.tool_calls]
    return "\n".join([message.content] * bool(message.content) + calls)


def _told(tools: Sequence[Tool]) -> str:
    described = "\n".join(to_json(tool.as_function()) for tool in tools)
    return (
        "You can call tools. Each line here describes one, with a JSON schema of its arguments:\n"
        f"<tools>\n{described}\n</tools>\n"
        "To call a tool, write its name and its arguments as a JSON object, once for each call:\n"
        f'{CALL}\n{{"name": <name>, "arguments": <object>}}\n{END_OF_CALL}\n'
        f"The results follow between {RESULT} and {END_OF_RESULT}: use them to answer."
    )


def opened_call(name: str | None = None) -> str:
    """What an answer is begun with so that it is a call: of any tool, or of the one named, up to its arguments."""
    # No space at the end: models write it as a part of the token that follows.
    return f"{CALL}\n" if name is None else f'{CALL}\n{{"name": {to_json(name)}, "arguments":'


def _call(name: str, arguments: dict[str, Any]) -> str:
    return to_json({"name": name, "arguments": arguments})


def to_json(value: Any) -> str:
    """A value as JSON, as models see it in training: letters as they are."""
    return json.dumps(value, ensure_ascii=False)


def call_schema(tools: Sequence[Tool]) -> dict[str, Any]:
    """The JSON schema of a call of one of some tools."""
    definitions: dict[str, Any] = {}
    calls = []
    for tool in tools:
        parameters = closed(_renamed(tool.parameters, f"{tool.name}."))
        for part in ("$defs", "definitions"):
            own = parameters.pop(part, {})  # a reference leads from the root of the whole
            definitions.update({f"{tool.name}.{name}": schema for name, schema in own.items()})
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, "arguments": parameters},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**schema, "$defs": definitions} if definitions else schema


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema whose objects have the named properties alone, unless it says otherwise.

    Held to a schema that leaves it open, a small model goes on with properties of its own making.
    """
    # Of an object that several schemas make up, each leaves out what another names.
    return _closed(schema) if _makes_up(schema) else cast("dict[str, Any]", _all_closed(schema))


def _all_closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_all_closed(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    return _closed({keyword: _all_closed(value) for keyword, value in schema.items()})


def _makes_up(schema: Any) -> bool:
    """Some object is made up by several schemas."""
    if isinstance(schema, list):
        return any(map(_makes_up, schema))
    if not isinstance(schema, Mapping):
        return False
    parts = schema.get("allOf")
    count = sum(word in schema for word in _WORDS_OF_PARTS) + (len(parts) if isinstance(parts, list) else 0)
    return count > 1 or "not" in schema or "if" in schema or any(map(_makes_up, schema.values()))


_WORDS_OF_PARTS = ("properties", "anyOf", "oneOf", "$ref")


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    says_more = any(word in schema for word in ("$ref", "allOf", "anyOf", "oneOf", "patternProperties"))
    is_open = schema.get("type") == "object" and "properties" in schema and not says_more
    return {"additionalProperties": False, **schema} if is_open else dict(schema)


def _renamed(schema: Any, prefix: str) -> Any:
    """A schema whose references name their definitions with a prefix: two tools may use one name for two things."""
    if isinstance(schema, list):
        return [_renamed(part, prefix) for part in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {keyword: _renamed(value, prefix) for keyword, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith(("#/$defs/", "#/definitions/")):
        renamed["$ref"] = f"#/$defs/{prefix}{reference.split('/', 2)[2]}"
    return renamed
