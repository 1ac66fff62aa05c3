"""LangChain's messages, written as a prompt."""

from __future__ import annotations

from collections.abc import Iterable

from langchain_core.messages import AIMessage, BaseMessage, ToolCall
from langchain_core.prompt_values import ChatPromptValue, PromptValue, StringPromptValue

from paradigm_transport import InvalidParameterError
from paradigm_transport import messages as chat
from paradigm_transport.chat.templates.named import Template

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "tool"}

_NOT_CONTENT = ("tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "reasoning", "thinking")
"""Blocks that are no part of an assistant's text: its calls, which a message holds beside it, and its thoughts."""


class RenderedPrompt(str):
    """A prompt that already is in the model's markup."""

    __slots__ = ()


def rendered(value: PromptValue, template: Template | None) -> PromptValue:
    """A prompt value in the model's markup: a turn for each message, or one turn for a plain text."""
    if template is None:
        return value
    if isinstance(value, ChatPromptValue):
        text: str = RenderedPrompt(template.render_chat(to_messages(value.messages)))
    else:
        (text,) = rendered_texts([value.to_string()], template)
    return StringPromptValue.model_construct(text=text)  # validation would make it a plain str


def rendered_texts(prompts: list[str], template: Template | None) -> list[str]:
    """Plain prompts, each as the one turn of a user; those that are in the model's markup as they are."""
    if not isinstance(prompts, list):  # LangChain's async methods would take a text for its characters
        raise InvalidParameterError(f"prompts must be a list of texts, not {type(prompts).__name__}")
    if template is None:
        return prompts
    return [
        prompt if isinstance(prompt, RenderedPrompt) else RenderedPrompt(template.render_prompt(prompt))
        for prompt in prompts
    ]


def to_messages(messages: Iterable[BaseMessage]) -> list[chat.Message]:
    """LangChain's messages as the transport's.

    Raises:
        InvalidParameterError: a message holds something other than text.
    """
    return [
        chat.Message(
            role_of(message),
            _content_with_failed_calls(message),
            tuple(map(_to_call, message.tool_calls)) if isinstance(message, AIMessage) else (),
            getattr(message, "tool_call_id", None),
            message.name,
        )
        for message in messages
    ]


def _to_call(call: ToolCall) -> chat.ToolCall:
    return chat.ToolCall(call["id"] or "", call["name"], call["args"])


def _content_with_failed_calls(message: BaseMessage) -> str:
    """The text of a message, and what was meant to be calls in it, for the model to see what it wrote."""
    failed = message.invalid_tool_calls if isinstance(message, AIMessage) else []
    return "\n".join(filter(None, [content_of(message), *(call["args"] for call in failed)]))


def role_of(message: BaseMessage) -> str:
    """The role that a message's turn is written in."""
    role = getattr(message, "role", None)
    if isinstance(role, str):
        return role
    kind = message.type.removesuffix("MessageChunk").lower()  # of a streamed message: AIMessageChunk
    return _ROLES.get(kind, kind)


def content_of(message: BaseMessage) -> str:
    """The text of a message.

    Raises:
        InvalidParameterError: it holds something else.
    """
    if isinstance(message.content, str):
        return message.content
    blocks = [block for block in message.content if isinstance(block, str) or block.get("type") not in _NOT_CONTENT]
    texts = [block if isinstance(block, str) else block.get("text") for block in blocks]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidParameterError(f"a message of type {message.type} holds something other than text")
    return "".join(map(str, texts))
