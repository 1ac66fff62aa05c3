"""What goes out: the transport's completions as LangChain's generations and messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import ToolCallChunk, invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation, GenerationChunk
from typing_extensions import Required, TypedDict

from langchain_paradigm._compat import content_blocks, unrepairable_end
from paradigm_transport import Choice, Completion, CompletionChunk, Usage
from paradigm_transport.chat.events import CallArguments, CallBegin, Event, ParsedMessage, Text, Thought
from paradigm_transport.chat.routes import ChatChunk, ChatCompletion
from paradigm_transport.messages import InvalidToolCall

Info = dict[str, object]
"""What LangChain keeps beside a text or a message, under the names its users know."""


class LLMOutput(TypedDict, total=False):
    """`LLMResult.llm_output`, by the names that LangChain's counters and tracers read."""

    model_name: str
    ids: Required[list[str | None]]
    token_usage: dict[str, int]


# Texts

_COUNTS = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens", "total_tokens": "total_tokens"}
"""The endpoint's names of token counts, and those of LangChain's `usage_metadata`."""


def generations(completion: Completion) -> list[Generation]:
    """The generations of a prompt; the usage is on the first alone, because readers sum it over generations."""
    shared = _details(completion)
    made = [Generation(text=choice.text, generation_info=_text_info(choice, shared)) for choice in completion.choices]
    made[0].generation_info = {**(made[0].generation_info or {}), **_text_usage(completion.usage)}
    return made


def to_chunk(piece: CompletionChunk) -> GenerationChunk:
    """A piece of a stream. Details of the whole are on the last alone, because merging concatenates and sums them."""
    info: Info = {}
    if piece.logprobs is not None:
        info["logprobs"] = piece.logprobs.as_dict()
    if piece.is_last:
        info.update(finish_reason=piece.finish_reason, **_details(piece), **_text_usage(piece.usage))
    return GenerationChunk(text=piece.text, generation_info=info or None)


def joined(chunks: Iterable[GenerationChunk]) -> Generation:
    """The chunks of a stream as one generation."""
    whole = reduce(add, chunks)
    return Generation(text=whole.text, generation_info={"logprobs": None, **(whole.generation_info or {})})


def llm_output(candidates: Sequence[Generation]) -> LLMOutput:
    """`LLMResult.llm_output` of one prompt; without `model_name` if the server does not say which model answered."""
    info = candidates[0].generation_info or {}
    output: LLMOutput = {"ids": [info.get("id")]}
    if "model_name" in info:
        output["model_name"] = info["model_name"]
    if "usage_metadata" in info:
        output["token_usage"] = {name: info["usage_metadata"][key] for name, key in _COUNTS.items()}
    return output


def summed(outputs: Sequence[LLMOutput], model: str) -> LLMOutput:
    """`LLMResult.llm_output` of several prompts, with the sum of the usage that the server reported.

    Args:
        outputs: that of each prompt.
        model: the model asked, which stands in for one that the server does not name.
    """
    total: LLMOutput = {
        "model_name": next((each["model_name"] for each in outputs if "model_name" in each), model),
        "ids": [id_ for each in outputs for id_ in each["ids"]],
    }
    usages = [each["token_usage"] for each in outputs if "token_usage" in each]
    if usages:
        total["token_usage"] = {name: sum(usage[name] for usage in usages) for name in _COUNTS}
    return total


def _text_info(choice: Choice, shared: Info) -> Info:
    logprobs = choice.logprobs.as_dict() if choice.logprobs else None
    return {"finish_reason": choice.finish_reason, "logprobs": logprobs, **shared}


def _text_usage(usage: Usage | None) -> Info:
    if usage is None:
        return {}
    counts = usage.as_dict()
    return {"usage_metadata": {key: counts[name] for name, key in _COUNTS.items()}}


def _details(answer: Completion | CompletionChunk) -> Info:
    known = {"id": answer.id, "model_name": answer.model, "request_id": answer.request_id, "latency": answer.latency}
    retries = {"retries": answer.retries} if answer.retries else {}
    return {**{name: value for name, value in known.items() if value is not None}, **retries}


# Messages


def chat_result(reply: ChatCompletion) -> ChatResult:
    """The messages of a chat; the usage is on the first alone, because readers sum it over messages."""
    completion = reply.completion
    made = [_message(*each, completion) for each in zip(reply.messages, completion.choices, strict=True)]
    made[0].usage_metadata = _usage(completion.usage)
    return ChatResult(generations=[ChatGeneration(message=each, generation_info=_info(each)) for each in made])


def _message(parsed: ParsedMessage, choice: Choice, completion: Completion) -> AIMessage:
    return AIMessage(
        content=parsed.text,
        additional_kwargs=_thoughts(parsed.thoughts),
        tool_calls=[tool_call(name=call.name, args=call.arguments, id=call.id) for call in parsed.calls],
        invalid_tool_calls=[
            invalid_tool_call(name=call.name, args=call.text, id=call.id, error=call.reason)
            for call in parsed.invalid_calls
        ],
        response_metadata={**_logprobs(choice), **_end(choice, completion)},
    )


class ChunkWriter:
    """Writes the chunks of a streamed message as LangChain's.

    Merging chunks concatenates texts and sums numbers, so details of the whole are on the last chunk alone.

    Args:
        as_blocks: write content as LangChain's `output_version` v1 has it.
    """

    def __init__(self, as_blocks: bool = False) -> None:
        self._as_blocks = as_blocks
        self._arguments: list[str] = []  # of the call that is being written

    def write(self, streamed: ChatChunk) -> ChatGenerationChunk | None:
        """A chunk as LangChain's; None if there is nothing to write yet."""
        piece = streamed.chunk
        metadata = {**_logprobs(piece), **(_end(piece, piece) if piece.is_last else {})}
        text = thoughts = ""
        for event in streamed.events:
            if isinstance(event, Text):
                text += event.text
            elif isinstance(event, Thought):
                thoughts += event.text
        calls = self._calls(streamed.events)
        if not (text or thoughts or calls or metadata):
            return None
        if self._as_blocks:
            metadata["output_version"] = "v1"
        message = AIMessageChunk(
            content=content_blocks(text, calls) if self._as_blocks else text,
            additional_kwargs=_thoughts(thoughts),
            tool_call_chunks=calls,
            response_metadata=metadata,
            usage_metadata=_usage(piece.usage) if piece.is_last else None,
            chunk_position="last" if piece.is_last else None,
        )
        return ChatGenerationChunk(message=message, generation_info=_info(message))

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
                self._add(chunk, event.text)
            else:
                if isinstance(event.call, InvalidToolCall):
                    self._spoil(chunk, event.call)
                self._arguments.clear()
        return [chunk for chunk in chunks.values() if chunk["name"] or chunk["args"] is not None]

    def _add(self, chunk: ToolCallChunk, text: str) -> None:
        self._arguments.append(text)
        chunk["args"] = (chunk["args"] or "") + text

    def _spoil(self, chunk: ToolCallChunk, call: InvalidToolCall) -> None:
        """End an invalid call so that LangChain, which repairs arguments that are cut off, takes it for invalid too."""
        if not self._arguments:
            chunk["id"], chunk["name"] = call.id, call.name
            self._add(chunk, call.text)
        self._add(chunk, unrepairable_end("".join(self._arguments)))


def _thoughts(text: str) -> Info:
    return {"reasoning_content": text} if text else {}


def _logprobs(answer: Choice | CompletionChunk) -> Info:
    return {} if answer.logprobs is None else {"logprobs": answer.logprobs.as_dict()}


def _end(choice: Choice | CompletionChunk, answer: Completion | CompletionChunk) -> Info:
    """What a message holds that is whole."""
    return {"finish_reason": choice.finish_reason, "model_provider": "paradigm", **_details(answer)}


def _info(message: AIMessage) -> Info | None:
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
