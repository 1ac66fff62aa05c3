"""Translation of requests into llama.cpp's fields."""

from paradigm_local.contract import CompletionRequest

# vLLM's order: temperature before the filters. llama.cpp's default order differs.
_SAMPLERS = ["penalties", "temperature", "top_k", "top_p", "min_p"]
_SEEDS = 2**32 - 1  # llama.cpp seeds have 32 bits, and the highest value means "random"


def engine_body(request: CompletionRequest, grammar: str | None, candidate: int) -> dict[str, object]:
    """Translate a request for one of its completions.

    Args:
        request: the request.
        grammar: the grammar that the text must match, or None.
        candidate: the index of the completion, from 0; it is added to the seed.

    Returns:
        The body of llama.cpp's completion request.
    """
    body: dict[str, object] = {
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
        # With 0, llama.cpp would not report the log-probability of the chosen token either.
        body["logprobs"] = max(request.logprobs or 0, 1)
    if request.seed is not None:
        body["seed"] = (request.seed + candidate) % _SEEDS
        # A cached prompt rounds differently from one that is processed from its start.
        body["cache_prompt"] = False
    return body
