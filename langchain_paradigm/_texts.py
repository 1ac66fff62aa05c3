"""What goes out as text: completions as LangChain's generations; and what messages have in common with them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add
from typing import Literal

from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import Generation, GenerationChunk

from paradigm_transport import Choice, Completion, CompletionChunk, Usage

Info = dict[str, object]
"""What LangChain keeps beside a text or a message, under the names its users know."""


COUNTS: dict[str, Literal["input_tokens", "output_tokens", "total_tokens"]] = {
    "prompt_tokens": "input_tokens", "completion_tokens": "output_tokens", "total_tokens": "total_tokens",
}  # fmt: skip
"""The names of token counts in `LLMResult.llm_output`, and in `usage_metadata`."""


def generations(completion: Completion) -> list[Generation]:
    """The generations of a prompt; the usage is on the first alone, because readers sum it over generations."""
    shared = details(completion)
    made: list[Generation] = []
    for choice in completion.choices:
        logprobs = choice.logprobs.as_dict() if choice.logprobs else None
        info = {"finish_reason": choice.finish_reason, "logprobs": logprobs, **shared, **_reasoning(choice)}
        if not made:
            info.update(_text_usage(completion.usage))
        made.append(Generation(text=choice.text, generation_info=info))
    return made


def to_chunk(piece: CompletionChunk) -> GenerationChunk:
    """A piece of a stream. Details of the whole are on the last alone, because merging concatenates and sums them."""
    info = {**_text_logprobs(piece), **_reasoning(piece)}
    if piece.is_last:
        info.update(finish_reason=piece.finish_reason, **details(piece), **_text_usage(piece.usage))
    return GenerationChunk(text=piece.text, generation_info=info or None)


def joined(chunks: Iterable[GenerationChunk]) -> Generation:
    """The chunks of a stream as one generation."""
    whole = reduce(add, chunks)
    return Generation(text=whole.text, generation_info={"logprobs": None, **(whole.generation_info or {})})


def _reasoning(answer: Choice | CompletionChunk) -> Info:
    return {"reasoning_content": answer.thoughts} if answer.thoughts else {}


def _text_usage(usage: Usage | None) -> Info:
    counts = usage_metadata(usage)
    return {} if counts is None else {"usage_metadata": counts}


def details(answer: Completion | CompletionChunk) -> Info:
    """What is known of an answer as a whole."""
    known = {"id": answer.id, "model_name": answer.model, "request_id": answer.request_id, "latency": answer.latency}
    retries = {"retries": answer.retries} if answer.retries else {}
    return {**{name: value for name, value in known.items() if value is not None}, **retries}


def _text_logprobs(answer: CompletionChunk) -> Info:
    return {} if answer.logprobs is None else {"logprobs": answer.logprobs.as_dict()}


def usage_metadata(usage: Usage | None) -> UsageMetadata | None:
    """The usage in LangChain's form."""
    if usage is None:
        return None
    counts = UsageMetadata(
        input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens, total_tokens=usage.total_tokens
    )
    if usage.reasoning_tokens is not None:
        counts["output_token_details"] = {"reasoning": usage.reasoning_tokens}
    if usage.cached_tokens is not None:
        counts["input_token_details"] = {"cache_read": usage.cached_tokens}
    return counts
