"""What comes in with a chat: LangChain's messages and tools as the transport's."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from langchain_paradigm._base import AnyTool
from paradigm_transport import InvalidParameterError
from paradigm_transport import messages as chat
from paradigm_transport.chat.json_repair import parse
from paradigm_transport.chat.structured import tool_of
from paradigm_transport.json_object import JsonObject

logger = logging.getLogger("langchain_paradigm")

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "tool"}

_NOT_CONTENT = ("tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "reasoning", "thinking")
"""Blocks of an assistant that are not its text: its calls, which a message holds beside it, and its reasoning."""

_OF_A_FILE = frozenset(
    ("base64", "data", "file", "file_id", "image_url", "input_audio", "source", "source_type", "url", "value")
)
"""Where blocks of LangChain, OpenAI and Anthropic hold a file, or what only one provider knows."""

# Messages


def to_messages(messages: Iterable[BaseMessage], *, takes_images: bool = False) -> list[chat.Message]:
    """Messages as the transport's.

    Args:
        messages: the messages.
        takes_images: the endpoint takes images, too.

    Raises:
        InvalidParameterError: a message holds something other than text and images.
    """
    converted = []
    for message in messages:
        content, parts, thoughts = content_of(message, takes_images=takes_images), parts_of(message), ""
        calls: tuple[chat.ToolCall, ...] = ()
        if isinstance(message, AIMessage):
            calls = tuple(chat.ToolCall(call["id"] or "", call["name"], call["args"]) for call in message.tool_calls)
            calls = calls or _function_call(message)
            thoughts = _thoughts_of(message)
            # Calls that could not be read become text, so that the model sees what it wrote.
            content = "\n".join(filter(None, [content, *(call["args"] for call in message.invalid_tool_calls)]))
        role = role_of(message)
        result_of = getattr(message, "tool_call_id", None) if role == "tool" else None
        converted.append(chat.Message(role, content, calls, result_of, message.name, thoughts, parts))
    return converted


def _thoughts_of(message: AIMessage) -> str:
    """What the assistant thought before a message, in the forms of most providers."""
    thoughts = message.additional_kwargs.get("reasoning_content")
    if isinstance(thoughts, str):
        return thoughts
    blocks = [block for block in message.content if isinstance(block, dict)]
    found = (block.get(kind) for block in blocks for kind in ("reasoning", "thinking") if block.get("type") == kind)
    return "\n".join(text for text in found if isinstance(text, str))


def _function_call(message: AIMessage) -> tuple[chat.ToolCall, ...]:
    """The call of a message as OpenAI's older API wrote it, if there is one that can be read."""
    try:
        call = message.additional_kwargs["function_call"]
        name, arguments = call["name"], parse(call["arguments"])
    except (LookupError, TypeError, ValueError):
        return ()
    return (chat.ToolCall("", name, arguments),) if isinstance(arguments, dict) else ()


def role_of(message: BaseMessage) -> str:
    """The role that a message's turn is written in."""
    kind = message.type.removesuffix("MessageChunk").lower()  # of a streamed message: AIMessageChunk
    role = _ROLES.get(kind) or getattr(message, "role", None)
    return role if isinstance(role, str) else kind


def content_of(message: BaseMessage, *, takes_images: bool = False) -> str:
    """The text of a message, a line for each of its blocks.

    An assistant's message may come from another provider's model: blocks that only it knows are left out.

    Args:
        message: the message.
        takes_images: the endpoint takes images, which are not text.

    Raises:
        InvalidParameterError: a message that is not an assistant's holds something other than text and images.
    """
    if isinstance(message.content, str):
        return message.content
    role = role_of(message)
    is_assistant = role == "assistant"
    texts, others = [], []
    for block in message.content:
        kind = "text" if isinstance(block, str) else str(block.get("type", "unknown"))
        text = _text_of(block, role)
        if is_assistant and kind in _NOT_CONTENT:
            continue
        if text is not None:
            texts.append(text)
        elif not (takes_images and image_part(block)):
            others.append((kind, image_part(block) is not None))
    if others and not is_assistant:
        kind, is_image = others[0]
        accepted = "text and images by URL or base64" if takes_images else "text only"
        if is_image:
            accepted += "; for images, use ChatParadigm without chat_template"
        kinds = f"a block of type {kind}; the endpoint accepts {accepted}"
        raise InvalidParameterError(f"a message of type {message.type} contains {kinds}")
    if others:
        logger.debug("left out blocks of an assistant's message: %s", ", ".join(kind for kind, _ in others))
    return "\n".join(filter(None, texts))


def parts_of(message: BaseMessage) -> tuple[JsonObject, ...]:
    """The content of a message in OpenAI's form, if it holds images."""
    role = role_of(message)
    blocks = [] if isinstance(message.content, str) or role == "assistant" else message.content
    if not any(map(image_part, blocks)):
        return ()
    return tuple(image_part(block) or {"type": "text", "text": _text_of(block, role)} for block in blocks)


def _text_of(block: str | JsonObject, role: str) -> str | None:
    """The text of a block; None if it is not one.

    Rows that a tool returns are blocks for LangChain if they happen to have a `type` such as `file`: they are JSON.
    """
    if isinstance(block, str):
        return block
    kind = block.get("type", "text")
    text = block.get("refusal" if kind == "refusal" else "text")
    is_text = isinstance(text, str)
    if role == "tool" and not (is_text and kind in ("text", "text-plain")):
        keys = block.keys() - {"url"} if is_text else block.keys()  # beside a text, a URL is its source, not a file
        if _OF_A_FILE.isdisjoint(keys):
            return chat.to_json(block, default=str)
    return text if is_text else None


def image_part(block: object) -> JsonObject | None:
    """An image in OpenAI's form, from any form that LangChain knows; None if the block is not an image.

    An image that is only named by an id of another provider's is not one.
    """
    if not isinstance(block, dict) or block.get("type") not in ("image_url", "image"):
        return None
    inner = block.get("source")
    source = inner if isinstance(inner, dict) else block
    image, url, data = source.get("image_url"), source.get("url"), source.get("base64") or source.get("data")
    if isinstance(image, dict):
        return {"type": "image_url", "image_url": image}
    if data:
        url = f"data:{source.get('mime_type') or source.get('media_type') or 'image/png'};base64,{data}"
    url = image or url
    return {"type": "image_url", "image_url": {"url": url}} if url else None


# Tools


def openai_tools(tools: Iterable[AnyTool], strict: bool | None) -> list[JsonObject]:
    """Anything that LangChain takes for a tool, in OpenAI's form.

    Raises:
        InvalidParameterError: it is a tool that another provider runs itself.
    """
    converted = [convert_to_openai_tool(as_function(tool), strict=strict) for tool in tools]
    for tool in converted:
        if "function" not in tool:
            kind = tool.get("type")
            raise InvalidParameterError(f"tools: {kind} is not a function; Paradigm runs no tools on the server")
    return converted


def as_function(tool: AnyTool) -> Any:
    """What LangChain would not read whole, as a function in OpenAI's form; anything else as it is.

    LangChain drops the parts of a class that refer to the class itself, a JSON schema with a title but no properties,
    and the schema in the form of a `response_format`. It leaves functions in the form of the Responses API as they are.
    """
    if isinstance(tool, type) and issubclass(tool, BaseModel):
        return tool_of(tool).to_openai()["function"]
    if not isinstance(tool, dict):
        return tool
    function = dict(tool)
    if "title" in tool and _OTHER_FORMS.isdisjoint(tool):
        return {"name": function.pop("title"), "description": function.pop("description", ""), "parameters": function}
    if "name" in tool and "schema" in tool:
        function["parameters"] = function.pop("schema")
    if "name" in tool and tool.get("type") == "function":
        del function["type"]
    return function


_OTHER_FORMS = frozenset(("name", "function", "toolSpec", "properties"))
"""Keys of tools in the forms of OpenAI, Anthropic and Amazon, and of the schemas that LangChain keeps."""


def take_functions(arguments: dict[str, Any]) -> None:
    """Replace `functions` and `function_call` of OpenAI's older API by `tools` and `tool_choice`, in place.

    Raises:
        InvalidParameterError: `functions` is not a list.
    """
    functions, choice = arguments.pop("functions", None), arguments.pop("function_call", None)
    if functions is not None:
        if not isinstance(functions, (list, tuple)):
            raise InvalidParameterError(f"functions must be a list of functions, not {type(functions).__name__}")
        arguments["tools"] = [*(arguments.get("tools") or ()), *openai_tools(functions, None)]
        arguments.setdefault("parallel_tool_calls", False)  # that API knows one call
    if choice is not None:
        arguments["tool_choice"] = choice
