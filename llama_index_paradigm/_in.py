"""From LlamaIndex's messages and tools to plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llama_index.core.base.llms.types import ChatMessage
from pydantic_core import from_json

from llama_index_paradigm._compat import stored_tool_calls, text_blocks, tool_result
from paradigm_transport.messages import JsonObject, Message, ToolCall, to_json

_ROLES = {"developer": "system", "function": "tool", "chatbot": "assistant", "model": "assistant"}


@dataclass(slots=True)
class Call:
    """A tool call in a message, complete or still arriving in a stream.

    Attributes:
        id: the id that its result refers to.
        name: the tool's name.
        text: the arguments as JSON, as far as they have arrived.
        arguments: the arguments, once they are complete.
    """

    id: str
    name: str
    text: str = ""
    arguments: JsonObject | None = None

    def read(self) -> JsonObject:
        """Return the arguments, or those that have arrived so far."""
        if self.arguments is not None:
            return self.arguments
        try:
            arguments = from_json(self.text, allow_partial="trailing-strings")
        except ValueError:
            return {}
        return arguments if isinstance(arguments, dict) else {}


def text_only(message: ChatMessage) -> ChatMessage:
    """Return a copy of a message whose `content` is all its text, that of citable blocks and citations included.

    Raises:
        InvalidParameterError: a block holds something other than text; names its type.
    """
    return message.model_copy(update={"blocks": text_blocks(message.blocks)})


def plain_messages(messages: Iterable[ChatMessage]) -> list[Message]:
    """Return messages as plain data: their text and tool calls.

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
        read = tuple(ToolCall(call.id, call.name, call.read()) for call in calls)
        plain.append(Message(role, _content(message), read, call_id, name))
    return plain


def _content(message: ChatMessage) -> str:
    invalid = message.additional_kwargs.get("invalid_tool_calls") or ()  # as `_out.assistant_message` writes them
    return "\n".join(filter(None, [message.content, *(call["text"] for call in invalid)]))


def tool_calls_of(message: ChatMessage) -> list[Call]:
    """Return the tool calls of a message.

    Raises:
        InvalidParameterError: they have an unknown form.
    """
    return [_call(*stored) for stored in stored_tool_calls(message)]


def _call(call_id: str, name: str, arguments: str | JsonObject) -> Call:
    if isinstance(arguments, str):
        return Call(call_id, name, arguments)
    return Call(call_id, name, to_json(arguments), arguments)
