"""From LlamaIndex's messages and tools to plain data."""

from __future__ import annotations

from collections.abc import Iterable

from llama_index.core.llms import ChatMessage
from pydantic_core import from_json

from llama_index_paradigm._compat import openai_parts, stored_tool_calls, thoughts_of, tool_result
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import InvalidToolCall, Message, ToolCall

_ROLES = {"developer": "system", "function": "tool", "chatbot": "assistant", "model": "assistant"}


def plain_messages(messages: Iterable[ChatMessage]) -> list[Message]:
    """Return messages as plain data: their text, images and tool calls.

    Raises:
        InvalidParameterError: the tool calls of a message have an unknown form.
    """
    plain = []
    names: dict[str, str] = {}
    for message in messages:
        calls = tool_calls_of(message)
        names.update({call.id: call.name for call in calls})
        role = _ROLES.get(message.role.value, message.role.value)
        call_id, name = tool_result(message)
        if role == "tool":  # agents leave the name out, and some templates want it
            name = name or names.get(call_id or "")
        else:  # an agent repeats what a tool returned to the user as an answer, with the id
            call_id = None
        content = "\n".join(filter(None, [message.content, *(call.text for call in invalid_tool_calls_of(message))]))
        parts = tuple(openai_parts(message))
        plain.append(Message(role, content, calls, call_id, name, thoughts_of(message), parts))
    return plain


def tool_calls_of(message: ChatMessage) -> tuple[ToolCall, ...]:
    """Return the tool calls of a message, with the arguments so far if they are still arriving.

    Raises:
        InvalidParameterError: they have an unknown form.
    """
    return tuple(ToolCall(id_, name, _read(arguments)) for id_, name, arguments in stored_tool_calls(message))


def invalid_tool_calls_of(message: ChatMessage) -> list[InvalidToolCall]:
    """Return the malformed tool calls of a message of `_out.ChatReader`."""
    return [InvalidToolCall(**call) for call in message.additional_kwargs.get("invalid_tool_calls") or ()]


def _read(arguments: object) -> JsonObject:
    if isinstance(arguments, str):
        try:
            arguments = from_json(arguments, allow_partial="trailing-strings")
        except ValueError:
            return {}
    return arguments if isinstance(arguments, dict) else {}
