"""What goes out of a chat: answers as LangChain's messages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from langchain_core.messages.ai import AIMessage, AIMessageChunk
from langchain_core.messages.base import BaseMessage
from langchain_core.messages.tool import ToolCallChunk, invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult

from langchain_paradigm._compat import content_blocks, unrepairable_end
from langchain_paradigm._texts import COUNTS, Info, details, usage_metadata
from paradigm_transport import Choice, Completion, CompletionChunk
from paradigm_transport.chat.events import CallArguments, CallBegin, Event, Text, Thought
from paradigm_transport.chat.routes import ChatChunk, ChatCompletion
from paradigm_transport.endpoints.completions.logprobs import as_entries
from paradigm_transport.messages import InvalidToolCall, to_json


def chat_result(reply: ChatCompletion, *, as_functions: bool = False) -> ChatResult:
    """The messages of a chat; the usage is on the first alone, because readers sum it over messages.

    Args:
        reply: the answer.
        as_functions: write calls as OpenAI's older API does, too.
    """
    made: list[ChatGeneration] = []
    for parsed, choice in zip(reply.messages, reply.completion.choices, strict=True):
        more: Info = {"reasoning_content": parsed.thoughts} if parsed.thoughts else {}
        if as_functions and parsed.calls:
            more["function_call"] = {"name": parsed.calls[0].name, "arguments": to_json(parsed.calls[0].arguments)}
        message = AIMessage(
            content=parsed.text,
            additional_kwargs=more,
            tool_calls=[tool_call(name=call.name, args=call.arguments, id=call.id) for call in parsed.calls],
            invalid_tool_calls=[
                invalid_tool_call(name=call.name, args=call.text, id=call.id, error=call.reason)
                for call in parsed.invalid_calls
            ],
            response_metadata={**_chat_logprobs(choice), **_end(choice, reply.completion)},
            usage_metadata=None if made else usage_metadata(reply.completion.usage),
        )
        made.append(ChatGeneration(message=message, generation_info=dict(message.response_metadata)))
    return ChatResult(generations=made, llm_output=_llm_output([each.message for each in made]))


def with_llm_output(result: LLMResult, model: str) -> LLMResult:
    """The result of chats, streamed or not, with `llm_output` as LangChain's other chat models fill it.

    Args:
        result: the result; the usage is on the messages.
        model: the model asked, which stands in for one that the server does not name.
    """
    messages = [each.message for candidates in result.generations for each in candidates if hasattr(each, "message")]
    result.llm_output = {"model_name": model, **_llm_output(messages)}
    return result


def _llm_output(messages: Iterable[BaseMessage]) -> Info:
    answers = [each for each in messages if isinstance(each, AIMessage)]
    names = [each.response_metadata["model_name"] for each in answers if "model_name" in each.response_metadata]
    found = filter(None, (each.usage_metadata for each in answers))
    usages = [usage for usage in found if "input_tokens" in usage]  # LangChain's cache adds a cost to missing usage
    output: Info = {"model_name": names[0]} if names else {}
    if usages:
        output["token_usage"] = {name: sum(usage[key] for usage in usages) for name, key in COUNTS.items()}
    return output


class ChunkWriter:
    """Writes the chunks of a streamed message as LangChain's.

    Merging chunks concatenates texts and sums numbers, so details of the whole are on the last chunk alone.

    Args:
        as_blocks: write content as LangChain's `output_version` v1 has it.
        as_functions: write calls as OpenAI's older API does, too.
    """

    def __init__(self, as_blocks: bool = False, *, as_functions: bool = False) -> None:
        self._as_blocks, self._as_functions = as_blocks, as_functions
        self._arguments: defaultdict[int, list[str]] = defaultdict(list)  # of each call that is being written

    def write(self, streamed: ChatChunk) -> ChatGenerationChunk | None:
        """A chunk as LangChain's; None if there is nothing to write yet."""
        piece = streamed.chunk
        metadata = {**_chat_logprobs(piece), **(_end(piece, piece) if piece.is_last else {})}
        text = "".join([event.text for event in streamed.events if isinstance(event, Text)])
        thoughts = "".join([event.text for event in streamed.events if isinstance(event, Thought)])
        calls = self._calls(streamed.events)
        if not (text or thoughts or calls or metadata):
            return None
        more: Info = {"reasoning_content": thoughts} if thoughts else {}
        if self._as_functions and calls and calls[0]["index"] == 0:
            more["function_call"] = {"name": calls[0]["name"] or "", "arguments": calls[0]["args"] or ""}
        if self._as_blocks:
            metadata["output_version"] = "v1"
        message = AIMessageChunk(
            content=content_blocks(thoughts, text, calls) if self._as_blocks else text,
            additional_kwargs=more,
            tool_call_chunks=calls,
            response_metadata=metadata,
            usage_metadata=usage_metadata(piece.usage) if piece.is_last else None,
            chunk_position="last" if piece.is_last else None,
        )
        return ChatGenerationChunk(message=message, generation_info=dict(metadata) or None)

    def _calls(self, events: Iterable[Event]) -> list[ToolCallChunk]:
        """One chunk a call: LangChain merges chunks by index, but not those within a message."""
        chunks: dict[int, ToolCallChunk] = {}
        for event in events:
            if isinstance(event, (Text, Thought)):
                continue
            chunk = chunks.setdefault(event.index, tool_call_chunk(index=event.index))
            if isinstance(event, CallBegin):
                chunk["id"], chunk["name"] = event.id, event.name
            elif isinstance(event, CallArguments):
                self._arguments[event.index].append(event.text)
                chunk["args"] = (chunk["args"] or "") + event.text
            else:
                arguments = self._arguments.pop(event.index, [])
                if isinstance(event.call, InvalidToolCall):
                    _spoil(chunk, event.call, arguments)
        return [chunk for chunk in chunks.values() if chunk["name"] or chunk["args"] is not None]


def _spoil(chunk: ToolCallChunk, call: InvalidToolCall, arguments: list[str]) -> None:
    """End an invalid call so that LangChain, which repairs arguments that are cut off, takes it for invalid too.

    Args:
        chunk: the last chunk of the call.
        call: the call.
        arguments: those that were written before.
    """
    if not arguments:
        arguments = [call.text]
        chunk["id"], chunk["name"], chunk["args"] = call.id, call.name, call.text
    chunk["args"] = (chunk["args"] or "") + unrepairable_end("".join(arguments))


def _chat_logprobs(answer: Choice | CompletionChunk) -> Info:
    """Log-probabilities in the form of OpenAI's chats."""
    if answer.logprobs is None:
        return {}
    return {"logprobs": {"content": as_entries(answer.logprobs)}}


def _end(choice: Choice | CompletionChunk, answer: Completion | CompletionChunk) -> Info:
    """What a message holds that is whole."""
    return {"finish_reason": choice.finish_reason, "model_provider": "paradigm", **details(answer)}
