"""Chats as plain data: messages, tools and calls, and OpenAI's forms of them. No markup is known here."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Literal, TypeGuard

from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.json_object import JsonObject


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model may call.

    Attributes:
        name: the name it is called by.
        description: what it does, for the model.
        parameters: the JSON schema of its arguments, an object.
        strict: whether OpenAI's API is asked to enforce the schema; None for its default.
    """

    name: str
    description: str = ""
    parameters: JsonObject = field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = field(default=None, compare=False)

    @classmethod
    def from_openai(cls, value: object) -> Tool:
        """Read a tool from `{"type": "function", "function": {…}}`, of which only the function's name is required.

        Raises:
            InvalidParameterError: it has another form.
        """
        function = value.get("function") if isinstance(value, Mapping) else None
        if isinstance(function, Mapping):
            name, description, parameters = (function.get(key) for key in ("name", "description", "parameters"))
            if _is_name(name) and isinstance(description or "", str) and isinstance(parameters or {}, Mapping):
                strict = function.get("strict")
                tool = cls(name, description or "", strict=strict if isinstance(strict, bool) else None)
                return replace(tool, parameters=dict(parameters)) if parameters else tool
        raise InvalidParameterError(
            'tools: each must be {"type": "function", "function": {"name": ..., "description": ..., "parameters": ...}}'
        )

    def to_openai(self) -> JsonObject:
        """Write the tool as OpenAI's API does, which is what templates expect; they do not know `strict`."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool.

    Attributes:
        id: the id that its result refers to.
        name: the tool's name.
        arguments: the arguments, by name.
    """

    id: str
    name: str
    arguments: JsonObject

    def to_openai(self, *, text_arguments: bool = False) -> JsonObject:
        """Write the call in OpenAI's form; see `Message.to_openai`."""
        arguments = to_json(self.arguments) if text_arguments else self.arguments
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": arguments}}


@dataclass(frozen=True, slots=True)
class InvalidToolCall:
    """An attempt at a call of a tool that could not be read.

    Attributes:
        id: an id, as a call has.
        name: the tool's name, if it could be read.
        text: what the model wrote; the arguments alone if the prompt held the beginning of the call.
        reason: what is wrong.
    """

    id: str
    name: str | None
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a chat.

    Attributes:
        role: `system`, `user`, `assistant`, `tool`, or another that the template knows.
        content: its text.
        tool_calls: the calls that an assistant made in it.
        tool_call_id: the id of the call that a tool's message is the result of.
        name: the name of the speaker or of the tool.
        thoughts: what the assistant thought before it.
        parts: the whole content in OpenAI's form if it holds more than text, such as images; `content` is its text.
            Only the chat endpoint takes it.
    """

    role: str
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    thoughts: str = ""
    parts: tuple[JsonObject, ...] = ()

    def to_openai(self, *, text_arguments: bool = False) -> JsonObject:
        """Write the message in OpenAI's form, without its thoughts, which have no place there.

        Args:
            text_arguments: write the arguments of calls as JSON texts, as OpenAI's API does; else as objects, as
                templates expect them.
        """
        message: JsonObject = {"role": self.role, "content": self.content}
        if self.tool_calls:
            message["tool_calls"] = [call.to_openai(text_arguments=text_arguments) for call in self.tool_calls]
        optional = {"tool_call_id": self.tool_call_id, "name": self.name}
        return {**message, **{key: value for key, value in optional.items() if value is not None}}


@dataclass(frozen=True, slots=True)
class NamedTool:
    """The choice of one tool by its name. A string would not do: a tool may be called `any`.

    Attributes:
        name: the tool's name.
    """

    name: str


ToolChoice = Literal["auto", "any", "none"] | NamedTool
"""Whether the model calls tools: if it likes, at least one, none, or the named one."""

_CHOICES: dict[str, ToolChoice] = {"auto": "auto", "any": "any", "required": "any", "none": "none"}


def read_tools(value: object) -> list[Tool]:
    """Read a list of tools in OpenAI's form; None is an empty one.

    Raises:
        InvalidParameterError: it is not a list, or a tool has another form.
    """
    if value is None:
        return []
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise InvalidParameterError(f"tools must be a list of tools, not {type(value).__name__}")
    return [Tool.from_openai(tool) for tool in value]


def read_tool_choice(value: object) -> ToolChoice:
    """Read any form of `tool_choice` that the frameworks and OpenAI's API know.

    Args:
        value: None or `auto`; `any`, `required` or True; `none` or False; a tool's name, by itself or in `{"name": …}`
            or `{"type": "function", "function": {"name": …}}`.

    Raises:
        InvalidParameterError: it has another form.
    """
    if value is None:
        return "auto"
    if isinstance(value, bool):
        return "any" if value else "none"
    if isinstance(value, str) and value in _CHOICES:
        return _CHOICES[value]
    function = value.get("function", value) if isinstance(value, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else value
    if _is_name(name):
        return NamedTool(name)
    raise InvalidParameterError(
        'tool_choice must be auto, any, none, or the name of a tool, also as {"type": "function", "function": '
        '{"name": ...}}'
    )


def read_response_format(value: object) -> JsonObject | None:
    """Read the JSON schema from OpenAI's `response_format`.

    Returns:
        The schema; None if any text will do.

    Raises:
        InvalidParameterError: it has another form.
    """
    kind = value.get("type") if isinstance(value, Mapping) else value
    if kind is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    described = value.get("json_schema") if isinstance(value, Mapping) else None
    schema = described.get("schema") if isinstance(described, Mapping) else None
    if kind == "json_schema" and isinstance(schema, Mapping):
        return dict(schema)
    raise InvalidParameterError('response_format must be {"type": "json_schema", "json_schema": {"schema": ...}}')


def in_order_of_calls(messages: Iterable[Message]) -> list[Message]:
    """Return messages with the results of tools in the order of the calls.

    Agents add a result when the tool is done; in markup without ids its place alone says which call it belongs to.
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


def can_be_continued(messages: Sequence[Message]) -> bool:
    """Return whether a model can continue the last message: an assistant's without calls."""
    return bool(messages) and messages[-1].role == "assistant" and not messages[-1].tool_calls


def with_system(messages: Iterable[Message], text: str) -> list[Message]:
    """Return messages with a text added to the system message; without one, it becomes the system message."""
    messages = list(messages)
    if messages and messages[0].role == "system":
        first = messages.pop(0)
        parts = (*first.parts, {"type": "text", "text": text}) if first.parts else ()
        return [replace(first, content=f"{first.content}\n\n{text}", parts=parts), *messages]
    return [Message("system", text), *messages]


def in_user_turns(messages: Iterable[Message], roles: Collection[str]) -> list[Message]:
    """Return messages with those of some roles as a user's, and neighbours of one role joined by a blank line.

    Args:
        messages: the chat.
        roles: the roles of messages that a user says instead.
    """
    turns: list[Message] = []
    changed = (
        replace(message, role="user", tool_call_id=None, name=None) if message.role in roles else message
        for message in messages
    )
    for role, run in groupby(changed, lambda message: message.role):
        if role == "tool":
            turns += run
        else:
            turns.append(_joined(list(run)))
    return turns


def _joined(run: Sequence[Message]) -> Message:
    """Return messages of one role as one."""
    if len(run) == 1:
        return run[0]
    content = "\n\n".join(message.content for message in run if message.content)
    thoughts = "\n\n".join(message.thoughts for message in run if message.thoughts)
    calls = tuple(call for message in run for call in message.tool_calls)
    return replace(run[0], content=content, thoughts=thoughts, tool_calls=calls)


def to_json(value: object, default: Callable[[object], object] | None = None) -> str:
    """Write a value as JSON with letters as they are, which is how models saw it in training.

    Args:
        value: the value.
        default: converts a part that JSON cannot hold; without it, such a part raises a TypeError.
    """
    return json.dumps(value, ensure_ascii=False, default=default)


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""
