"""A request in llama.cpp's own terms."""

import json
from typing import Any

from paradigm_local.contract import WHOLE_BODY, CompletionRequest, StructuredOutputs
from paradigm_local.engine import EngineRefusal, PromptTooLong

# As vLLM does it: the temperature first, then the cuts. llama.cpp's own order is another.
_SAMPLERS = ["penalties", "temperature", "top_k", "top_p", "min_p"]
_SEEDS = 2**32 - 1  # llama.cpp takes 32 bits and keeps the highest value for "any"
_LARK_HEADER = "%llguidance {}\n"


def engine_body(request: CompletionRequest, candidate: int = 0) -> dict[str, Any]:
    """Translate a request for one of its completions.

    Args:
        request: the request.
        candidate: which of the completions, from 0; each gets a seed of its own.
    """
    body: dict[str, Any] = {
        "prompt": request.prompt,
        "max_tokens": request.max_tokens,
        "samplers": _SAMPLERS,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": max(request.top_k, 0),
        "min_p": request.min_p,
        "repeat_penalty": request.repetition_penalty,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "logit_bias": request.logit_bias,
        "ignore_eos": request.ignore_eos,
    }
    if request.logprobs is not None or request.candidates > request.n:
        # Asked for none, llama.cpp would not report the chosen token's either.
        body["logprobs"] = max(request.logprobs or 0, 1)
    if request.seed is not None:
        body["seed"] = (request.seed + candidate) % _SEEDS
        # A prompt read in another way rounds in another way: the same seed reads it all again.
        body["cache_prompt"] = False
    grammar = _grammar(request)
    if grammar is not None:
        body["grammar"] = grammar
    return body


def _grammar(request: CompletionRequest) -> str | None:
    """What constrains the text, in llama.cpp's GBNF or, with its header, in Lark's notation."""
    if request.structured_outputs is not None:
        return _structured(request.structured_outputs)
    if request.response_format.json_schema is not None:
        return _json_grammar(request.response_format.json_schema.schema_)
    if request.response_format.type == "json_object":
        return _json_grammar({"type": "object"})
    return None


def _structured(outputs: StructuredOutputs) -> str | None:
    if outputs.json_ is not None:
        return _json_grammar(outputs.json_)
    if outputs.regex is not None:
        return f"{_LARK_HEADER}start: /{_lark_regex(outputs.regex)}/"
    if outputs.choice is not None:
        return f"{_LARK_HEADER}start: {' | '.join(map(json.dumps, outputs.choice))}"
    return outputs.grammar


def _json_grammar(schema: dict[str, Any]) -> str:
    return f"{_LARK_HEADER}start: %json {json.dumps(schema)}"


def _lark_regex(pattern: str) -> str:
    """Write a pattern so that it can stand between slashes on one line."""
    return pattern.replace("/", r"\/").replace("\n", r"\n")


def refused_field(request: CompletionRequest, refusal: EngineRefusal) -> str:
    """Name the field that llama.cpp refused."""
    if isinstance(refusal, PromptTooLong):
        return "prompt"
    if request.structured_outputs is not None:
        return "structured_outputs"
    if request.response_format.json_schema is not None:
        return "response_format"
    return WHOLE_BODY
