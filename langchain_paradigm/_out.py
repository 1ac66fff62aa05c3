"""LangChain's tools as the transport's, and its answers as LangChain's messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCallChunk, invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.json import parse_partial_json
from pydantic import BaseModel

from langchain_paradigm._results import of_whole
from paradigm_transport import Choice, Completion, CompletionChunk, InvalidParameterError, Usage
from paradigm_transport.chat.dialects.hermes import CallArguments, CallBegin, CallEnd, InvalidToolCall, Piece, TextPiece
from paradigm_transport.chat.routes import ChatRequest, tool_of
from paradigm_transport.messages import OneTool, Tool, ToolChoice

# What goes out


def to_tools(tools: Iterable[Mapping[str, Any]]) -> list[Tool]:
    """Tools in OpenAI's form as the transport's."""
    return [Tool.of_function(tool["function"]) for tool in tools]


def openai_tools(tools: Iterable[Any], strict: bool | None) -> list[dict[str, Any]]:
    """Whatever LangChain takes for tools, in OpenAI's form.

    Raises:
        InvalidParameterError: one is a tool that some other provider runs.
    """
    converted = [convert_to_openai_tool(as_function(tool), strict=strict) for tool in tools]
    for tool in converted:
        if "function" not in tool:
            raise InvalidParameterError(f"tools: {tool.get('type')} is no function: Paradigm runs no tools of its own")
    return converted


def as_function(tool: Any) -> Any:
    """A pydantic class in OpenAI's form, which LangChain leaves as it is: it forgets what refers to itself."""
    is_pydantic = isinstance(tool, type) and issubclass(tool, BaseModel)
    return tool_of(tool).as_function()["function"] if is_pydantic else tool


_CHOICES: dict[Any, ToolChoice] = {
    None: "auto",
    "auto": "auto",
    "any": "any",
    "required": "any",
    True: "any",
    "none": "none",
    False: "none",
}


def to_choice(choice: Any) -> ToolChoice:
    """Any form of LangChain's and OpenAI's `tool_choice`.

    Raises:
        InvalidParameterError: it is none of them.
    """
    if isinstance(choice, dict):
        told = choice.get("function", choice)
        if isinstance(told, dict) and isinstance(told.get("name"), str):
            return OneTool(told["name"])
    elif choice is None or isinstance(choice, (str, bool)):
        return _CHOICES.get(choice) or OneTool(str(choice))
    raise InvalidParameterError("tool_choice must be auto, any, none, or the name of a tool")


def to_schema(response_format: Any) -> dict[str, Any] | None:
    """The JSON schema in OpenAI's `response_format`; None where any text will do.

    Raises:
        InvalidParameterError: it is of another form.
    """
    kind = response_format.get("type") if isinstance(response_format, dict) else response_format
    if kind is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    schema = response_format.get("json_schema") if kind == "json_schema" else None
    if isinstance(schema, dict) and isinstance(schema.get("schema"), dict):
        return dict(schema["schema"])
    raise InvalidParameterError('response_format must be {"type": "json_schema", "json_schema": {"schema": ...}}')


# What comes back


def chat_result(completion: Completion, request: ChatRequest) -> ChatResult:
    """A whole reply; its usage is on the first message alone, for whoever counts adds up over messages."""
    made = [_message(choice, request, completion) for choice in completion.choices]
    made[0].usage_metadata = _usage(completion.usage)
    return ChatResult(generations=[ChatGeneration(message=each, generation_info=_info(each)) for each in made])


def _message(choice: Choice, request: ChatRequest, completion: Completion) -> AIMessage:
    answer = request.reader().read(choice.text)
    return AIMessage(
        content=answer.text,
        tool_calls=[tool_call(name=call.name, args=call.arguments, id=call.id) for call in answer.calls],
        invalid_tool_calls=[
            invalid_tool_call(name=call.name, args=call.text, id=call.id, error=call.reason) for call in answer.invalid
        ],
        response_metadata={**_logprobs(choice), **_details(choice, completion)},
    )


class ChunkWriter:
    """Writes the pieces of a stream as chunks of a message.

    Merging them glues texts and adds up numbers, so that what is known of the whole is on the last alone.

    Args:
        request: what is answered.
        as_blocks: write content as LangChain's `output_version` v1 has it. Its own way of making blocks of chunks
            merges the first call into a text before it.
    """

    def __init__(self, request: ChatRequest, as_blocks: bool = False) -> None:
        self._reader = request.reader()
        self._as_blocks = as_blocks
        self._arguments = ""  # of the call that is being told

    def write(self, piece: CompletionChunk) -> ChatGenerationChunk | None:
        """A piece as a chunk; None where nothing can be told yet."""
        told = self._reader.feed(piece.text)
        last: dict[str, Any] = {}
        metadata = _logprobs(piece)
        if piece.is_last:
            told += self._reader.finish()
            metadata.update(_details(piece, piece))
            last = {"chunk_position": "last", "usage_metadata": _usage(piece.usage)}
        text = "".join(each.text for each in told if isinstance(each, TextPiece))
        calls = self._calls(told)
        if not (text or calls or metadata):
            return None
        content: Any = text
        if self._as_blocks:
            content = _blocks(text, calls)
            metadata["output_version"] = "v1"
        message = AIMessageChunk(content=content, tool_call_chunks=calls, response_metadata=metadata, **last)
        return ChatGenerationChunk(message=message, generation_info=_info(message))

    def _calls(self, told: Iterable[Piece]) -> list[ToolCallChunk]:
        """One chunk a call: LangChain merges them by index, but not within a message."""
        chunks: dict[int, ToolCallChunk] = {}
        for piece in told:
            if isinstance(piece, TextPiece):
                continue
            chunk = chunks.setdefault(piece.index, tool_call_chunk(index=piece.index))
            if isinstance(piece, CallBegin):
                chunk["id"], chunk["name"] = piece.id, piece.name
            elif isinstance(piece, CallArguments):
                self._add(chunk, piece.text)
            elif isinstance(piece.call, InvalidToolCall):
                self._spoil(chunk, piece.call)
            if isinstance(piece, CallEnd):
                self._arguments = ""
        return [chunk for chunk in chunks.values() if chunk["name"] or chunk["args"] is not None]

    def _add(self, chunk: ToolCallChunk, text: str) -> None:
        self._arguments += text
        chunk["args"] = (chunk["args"] or "") + text

    def _spoil(self, chunk: ToolCallChunk, call: InvalidToolCall) -> None:
        """End a call so that LangChain, which mends what is cut off, takes it for the invalid one that it is."""
        if not self._arguments:
            chunk["id"], chunk["name"] = call.id, call.name
            self._add(chunk, call.text)
        for end in _MISFITS:
            if not _is_mended(self._arguments + end):
                self._add(chunk, end)
                return


def _blocks(text: str, calls: Iterable[ToolCallChunk]) -> list[dict[str, Any]]:
    texts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    return texts + [
        {"type": "tool_call_chunk", "id": c["id"], "name": c["name"], "args": c["args"], "index": f"lc_tc_{c['index']}"}
        for c in calls
    ]


_MISFITS = ("", "]", "}", '"]', '"}', '\\"]', '\\"}')
"""One of these closes what was not opened, whatever the text before it is."""


def _is_mended(arguments: str) -> bool:
    try:
        return not arguments or isinstance(parse_partial_json(arguments), dict)
    except (ValueError, RecursionError):
        return False


def _logprobs(answer: Choice | CompletionChunk) -> dict[str, Any]:
    return {} if answer.logprobs is None else {"logprobs": answer.logprobs.as_dict()}


def _details(choice: Choice | CompletionChunk, answer: Completion | CompletionChunk) -> dict[str, Any]:
    return {"finish_reason": choice.finish_reason, "model_provider": "paradigm", **of_whole(answer)}


def _info(message: AIMessage) -> dict[str, Any] | None:
    return dict(message.response_metadata) or None


def _usage(usage: Usage | None) -> UsageMetadata | None:
    if usage is None:
        return None
    counts: UsageMetadata = {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
    if usage.cached_tokens is not None:
        counts["input_token_details"] = {"cache_read": usage.cached_tokens}
    return counts
