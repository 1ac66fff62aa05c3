"""What the transport answers, as LangChain's generations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add
from typing import Any

from langchain_core.outputs import Generation, GenerationChunk

from paradigm_transport import Completion, CompletionChunk, Usage

_COUNTS = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens", "total_tokens": "total_tokens"}
"""The endpoint's names of token counts, and those of LangChain's `usage_metadata`."""


def generations(completion: Completion) -> list[Generation]:
    """A prompt's generations; its usage is on the first alone, for whoever counts adds up over generations."""
    of_all = of_whole(completion)
    made = [
        Generation(
            text=choice.text,
            generation_info={
                "finish_reason": choice.finish_reason,
                "logprobs": choice.logprobs.as_dict() if choice.logprobs else None,
                **of_all,
            },
        )
        for choice in completion.choices
    ]
    made[0].generation_info = {**(made[0].generation_info or {}), **_usage(completion.usage)}
    return made


def to_chunk(piece: CompletionChunk) -> GenerationChunk:
    """A piece of a stream; what is known of the whole is on the last alone, for merging glues and adds up."""
    info: dict[str, Any] = {}
    if piece.logprobs is not None:
        info["logprobs"] = piece.logprobs.as_dict()
    if piece.is_last:
        info.update(finish_reason=piece.finish_reason, **of_whole(piece), **_usage(piece.usage))
    return GenerationChunk(text=piece.text, generation_info=info or None)


def joined(chunks: Iterable[GenerationChunk]) -> Generation:
    """The chunks of a stream as the generation that they make up."""
    whole = reduce(add, chunks)
    return Generation(text=whole.text, generation_info={"logprobs": None, **(whole.generation_info or {})})


def llm_output(by_prompt: Sequence[Sequence[Generation]], model: str) -> dict[str, Any]:
    """What `LLMResult.llm_output` says of some prompts' generations, with the sum of the usage the server gave.

    Args:
        by_prompt: the generations of each prompt.
        model: the model that was asked, where the server does not say which one answered.
    """
    infos = [first.generation_info or {} for first, *_ in by_prompt]
    output: dict[str, Any] = {
        "model_name": next((info["model_name"] for info in infos if "model_name" in info), model),
        "ids": [info.get("id") for info in infos],
    }
    usages = [info["usage_metadata"] for info in infos if "usage_metadata" in info]
    if usages:
        output["token_usage"] = {name: sum(usage[key] for usage in usages) for name, key in _COUNTS.items()}
    return output


def of_whole(answer: Completion | CompletionChunk) -> dict[str, Any]:
    """What is known of a whole answer, under the names that LangChain's users know."""
    known = {
        "id": answer.id,
        "model_name": answer.model,
        "request_id": answer.request_id,
        "latency": answer.latency,
    }
    return {name: value for name, value in known.items() if value is not None}


def _usage(usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        return {}
    counts = usage.as_dict()
    return {"usage_metadata": {key: counts[name] for name, key in _COUNTS.items()}}
