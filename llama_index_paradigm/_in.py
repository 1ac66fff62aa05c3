"""LlamaIndex's messages and tools as plain data, and calls of tools as LlamaIndex's messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms import types
from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock
from pydantic import BaseModel
from pydantic_core import from_json

from paradigm_transport import InvalidParameterError
from paradigm_transport.chat.dialects.hermes import InvalidToolCall
from paradigm_transport.messages import Message, OneTool, Tool, ToolCall, ToolChoice, to_json

ToolCallBlock: Any = getattr(types, "ToolCallBlock", None)  # newer than the oldest LlamaIndex that is supported

_ROLES = {"developer": "system", "function": "tool", "chatbot": "assistant", "model": "assistant"}
_WORDS: dict[str, ToolChoice] = {"auto": "auto", "none": "none", "any": "any", "required": "any"}


@dataclass(slots=True)
class Call:
    """A call in a message, perhaps one that is still coming.

    Attributes:
        id: what its result refers to.
        name: the tool's name.
        text: the arguments as JSON, as much as has come.
        arguments: the arguments, once all have come.
    """

    id: str
    name: str
    text: str = ""
    arguments: dict[str, Any] | None = None

    def read(self) -> dict[str, Any]:
        """The arguments; of a call that is still coming, those that have come."""
        if self.arguments is not None:
            return self.arguments
        try:
            arguments = from_json(self.text, allow_partial="trailing-strings")
        except ValueError:
            return {}
        return arguments if isinstance(arguments, dict) else {}


def text_alone(message: ChatMessage) -> ChatMessage:
    """The message with all its text where `content` finds it, that of citable blocks and citations too.

    Raises:
        InvalidParameterError: it holds more than text; names the kind of it.
    """
    return message.model_copy(update={"blocks": [each for block in message.blocks for each in _unfolded(block)]})


def _unfolded(block: Any) -> list[Any]:
    kind = block.block_type
    if kind in ("citable", "citation"):
        inner = block.content if kind == "citable" else [block.cited_content]
        return [each for part in inner for each in _unfolded(part)]
    if kind not in ("text", "tool_call", "thinking", "cache"):
        raise InvalidParameterError(f"a message holds {kind}: the endpoint takes text alone")
    return [block]


def plain_messages(messages: Iterable[ChatMessage]) -> list[Message]:
    """Messages as plain data; what they hold besides text and calls is left out.

    Raises:
        InvalidParameterError: the calls of one are of a form that nobody knows.
    """
    plain = []
    names: dict[str, str] = {}
    for message in messages:
        calls = [ToolCall(call.id, call.name, call.read()) for call in calls_of(message)]
        names.update({call.id: call.name for call in calls})
        told = message.additional_kwargs
        call_id = told.get("tool_call_id")
        role = _ROLES.get(message.role.value, message.role.value)
        called = names.get(call_id or "") if role == "tool" else None  # agents leave it out, some templates want it
        name = told.get("name") or called
        plain.append(Message(role, _content(message), tuple(calls), call_id, name))
    return plain


def _content(message: ChatMessage) -> str:
    invalid = message.additional_kwargs.get("invalid_tool_calls") or ()  # as `answer_message` writes them
    return "\n".join(filter(None, [message.content, *(call["text"] for call in invalid)]))


def calls_of(message: ChatMessage) -> list[Call]:
    """The calls in a message.

    Raises:
        InvalidParameterError: they are of a form that nobody knows.
    """
    blocks: list[Any] = [block for block in message.blocks if block.block_type == "tool_call"]
    if blocks:
        return [_call(block.tool_call_id, block.tool_name, block.tool_kwargs) for block in blocks]
    try:
        return [_read_call(told) for told in message.additional_kwargs.get("tool_calls") or ()]
    except (KeyError, TypeError):
        raise InvalidParameterError("tool_calls of a message are not written as OpenAI writes them") from None


def _read_call(told: Any) -> Call:
    told = told.model_dump() if isinstance(told, BaseModel) else told
    return _call(told["id"], told["function"]["name"], told["function"]["arguments"])


def _call(call_id: str | None, name: str, arguments: str | dict[str, Any]) -> Call:
    if isinstance(arguments, str):
        return Call(call_id or "", name, arguments)
    return Call(call_id or "", name, to_json(arguments), arguments)


def answer_message(text: str, calls: Sequence[Call], invalid: Sequence[InvalidToolCall]) -> ChatMessage:
    """An assistant's message.

    Its calls are in `additional_kwargs["tool_calls"]`, where LlamaIndex's programs and tracers look for them, and are
    blocks of it where LlamaIndex has such blocks. What is none is in `additional_kwargs["invalid_tool_calls"]`.
    """
    blocks: list[Any] = [TextBlock(text=text)] if text or not calls else []
    if ToolCallBlock is not None:
        blocks += map(_block, calls)
    told = {"tool_calls": list(map(_told, calls)), "invalid_tool_calls": list(map(_told_invalid, invalid))}
    known = {name: value for name, value in told.items() if value}
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=known)


def _block(call: Call) -> Any:
    arguments = call.text if call.arguments is None else call.arguments
    return ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=arguments)


def _told(call: Call) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}}


def _told_invalid(call: InvalidToolCall) -> dict[str, Any]:
    return {"id": call.id, "name": call.name, "text": call.text, "reason": call.reason}


def plain_tool(told: Any) -> Tool:
    """A tool that is written as OpenAI writes it, as `ToolMetadata.to_openai_tool` does.

    Raises:
        InvalidParameterError: it is written otherwise.
    """
    try:
        return Tool.of_function(told["function"])
    except (AttributeError, KeyError, TypeError):
        raise InvalidParameterError("tools: one is not written as ToolMetadata.to_openai_tool writes it") from None


def plain_choice(choice: Any) -> ToolChoice:
    """`auto`, `none`, `any` or `required`, a tool's name, or OpenAI's `{"type": "function", "function": …}`.

    Raises:
        InvalidParameterError: it is none of them.
    """
    if choice is None:
        return "auto"
    if isinstance(choice, str):
        return _WORDS.get(choice) or OneTool(choice)
    try:
        return OneTool(choice["function"]["name"])
    except (KeyError, TypeError):
        raise InvalidParameterError("tool_choice is neither a word nor a tool's name nor of OpenAI's form") from None
