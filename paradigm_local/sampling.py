"""Translation of requests into llama.cpp's fields."""

from paradigm_local.chat_contract import ChatCompletionRequest
from paradigm_local.contract import CompletionRequest, GenerationRequest, JsonObject

# vLLM's order: temperature before the filters. llama.cpp's default order differs.
_SAMPLERS = ["penalties", "temperature", "top_k", "top_p", "min_p"]
_SEEDS = 2**32 - 1  # llama.cpp seeds have 32 bits, and the highest value means "random"


def completion_body(request: CompletionRequest, grammar: str | None, candidate: int) -> JsonObject:
    """Translate a request for one of its completions.

    Args:
        request: the request.
        grammar: the grammar that the text must match, or None.
        candidate: the index of the completion, from 0; it is added to the seed.

    Returns:
        The body of llama.cpp's completion request.
    """
    body = {**_sampling(request, grammar, candidate), "prompt": request.prompt, "max_tokens": request.max_tokens}
    if request.logprobs is not None or request.candidates > request.n:
        # With 0, llama.cpp would not report the log-probability of the chosen token either.
        body["logprobs"] = max(request.logprobs or 0, 1)
    return body


def chat_body(request: ChatCompletionRequest, grammar: str | None, candidate: int) -> JsonObject:
    """As `completion_body`, for a chat."""
    body = {**_sampling(request, grammar, candidate), **chat_messages(request)}
    if request.limit is not None:
        body["max_tokens"] = request.limit
    if request.logprobs:
        body.update(logprobs=True, top_logprobs=max(request.top_logprobs or 0, 1))
    if request.offered_tools:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    return body


def forced_call_body(request: ChatCompletionRequest, prompt: str, grammar: str, candidate: int) -> JsonObject:
    """As `completion_body`, for a call that a chat requires.

    Args:
        request: the chat.
        prompt: the chat as the model's template writes it, up to where the call begins.
        grammar: the grammar of the call.
        candidate: the index of the completion, from 0; it is added to the seed.
    """
    body = {**_sampling(request, grammar, candidate), "prompt": prompt}
    return body if request.limit is None else {**body, "max_tokens": request.limit}


def chat_messages(request: ChatCompletionRequest) -> JsonObject:
    """Return what the template of a model gets of a chat."""
    chat: JsonObject = {
        "messages": [message.model_dump(exclude_none=True) for message in request.messages],
        "chat_template_kwargs": request.chat_template_kwargs,
    }
    if request.offered_tools:  # all of them: the model may know of those that it must not call
        chat["tools"] = [tool.model_dump() for tool in request.tools]
    return chat


def _sampling(request: GenerationRequest, grammar: str | None, candidate: int) -> JsonObject:
    body: JsonObject = {
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
    if request.seed is not None:
        body["seed"] = (request.seed + candidate) % _SEEDS
        # A cached prompt rounds differently from one that is processed from its start.
        body["cache_prompt"] = False
    return body
