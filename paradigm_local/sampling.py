"""A request in llama.cpp's own terms."""

from typing import Any

from paradigm_local.contract import CompletionRequest

# As vLLM does it: the temperature first, then the cuts. llama.cpp's own order is another.
_SAMPLERS = ["penalties", "temperature", "top_k", "top_p", "min_p"]
_SEEDS = 2**32 - 1  # llama.cpp takes 32 bits and keeps the highest value for "any"


def engine_body(request: CompletionRequest, grammar: str | None, candidate: int) -> dict[str, Any]:
    """Translate a request for one of its completions.

    Args:
        request: the request.
        grammar: what the text must look like, or None.
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
    if grammar is not None:
        body["grammar"] = grammar
    if request.logprobs is not None or request.candidates > request.n:
        # Asked for none, llama.cpp would not report the chosen token's either.
        body["logprobs"] = max(request.logprobs or 0, 1)
    if request.seed is not None:
        body["seed"] = (request.seed + candidate) % _SEEDS
        # A prompt read in another way rounds in another way: with a seed it is read from its start.
        body["cache_prompt"] = False
    return body
