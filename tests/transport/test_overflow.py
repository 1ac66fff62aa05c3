"""Refusals that say that a prompt is longer than the model's context, and those that do not."""

from __future__ import annotations

from typing import Any

import pytest

from paradigm_transport import APIConnectionError, BadRequestError, InvalidParameterError
from paradigm_transport.refusals import Origin, is_context_overflow, status_error
from tests.transport.conftest import MODEL, Api
from tests.wire import WireServer, chunk, completion, reply, sse

ORIGIN = Origin("host")
OVERFLOWS: list[tuple[int, Any]] = [
    # vLLM, OpenAI, llama-cpp-python
    (400, ("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4744 in the "
          "messages, 256 in the completion). Please reduce the length of the messages or completion.")),
    (400, "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens."),
    (400, ("The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that "
          "`max_model_len` is no smaller than the number of text tokens.")),
    (400, ("'max_tokens' or 'max_completion_tokens' is too large: 256. This model's maximum context length is 4096 "
          "tokens and your request has 3900 input tokens (256 > 4096 - 3900).")),
    (400, "Requested tokens (600) exceed context window of 512"),
    (400, {"error": {"message": "Too long.", "code": "context_length_exceeded"}}),
    # SGLang
    (400, "The input (5000 tokens) is longer than the model's context length (4096 tokens)."),
    # llama.cpp
    (400, "the request exceeds the available context size, try increasing it"),
    (400, {"error": {"code": 400, "type": "exceed_context_size_error", "n_ctx": 4096,
                     "message": "request (5000 tokens) exceeds the available context size (4096 tokens)"}}),
    (500, "request (5000 tokens) exceeds what the slot holds"),
    # TGI
    (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` "
                    "tokens and 256 `max_new_tokens`", "error_type": "validation"}),
    (422, "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000"),
    (422, "inputs must have less than 1024 tokens. Given: 1500"),
    # gateways
    (400, "litellm.BadRequestError: litellm.ContextWindowExceededError: Paradigm: too much"),
    (413, "<html><title>413 Request Entity Too Large</title></html>"),
    (413, b""),
    (400, "prompt is too long: 210000 tokens > 200000 maximum"),
    # the local Paradigm
    (400, {"prompt": ["The prompt has 99 tokens; with at least one more it must fit into the context of 64."]}),
]  # fmt: skip
OTHERS: list[tuple[int, Any]] = [
    (400, "max_tokens must be at least 1, got 0."),
    (400, "max_tokens is too large: 5000. This model supports at most 4096 completion tokens, whereas you gave 5000."),
    (400, ("'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 "
          "tokens and your request has 10 input tokens (5000 > 4096 - 10).")),
    (400, ("This model's maximum context length is 4096 tokens. you requested 99010 tokens (10 in the messages, "
          "99000 in the completion).")),
    (400, {"max_tokens": ["Ensure this value is less than or equal to 4096."]}),
    (422, {"detail": [{"loc": ["body", "context_length"], "msg": "required", "input": "maximum context length"}]}),
    (422, {"detail": [{"loc": ["body", "temperature"], "msg": "Input should be less than 2"}]}),
    (422, "Input validation error: `max_new_tokens` must be <= 512. Given: 1000"),
    (422, ("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5 `inputs` tokens and "
          "4096 `max_new_tokens`")),
    (422, "inputs must not be empty"),
    (400, "unknown field context_window"),
    (400, "context size must be positive"),
    (429, "This model's maximum context length is 4096 tokens."),
    (401, "ContextWindowExceededError"),
    (503, "overloaded"),
]  # fmt: skip


def body_of(words: Any) -> Any:
    return {"error": {"message": words}} if isinstance(words, str) and not words.startswith("<") else words


@pytest.mark.parametrize(("status", "words"), OVERFLOWS, ids=lambda case: str(case)[:40])
def test_words_of_a_server_for_a_long_prompt_are_an_overflow(status: int, words: Any) -> None:
    error = status_error(status, body_of(words), ORIGIN)
    assert is_context_overflow(error)
    assert error.should_retry is False  # also as an error inside a 200, which counts as a 500


@pytest.mark.parametrize(("status", "words"), OTHERS, ids=lambda case: str(case)[:40])
def test_other_refusals_are_not_an_overflow(status: int, words: Any) -> None:
    assert is_context_overflow(status_error(status, body_of(words), ORIGIN)) is False


def test_errors_without_a_status_are_not_an_overflow() -> None:
    words = "This model's maximum context length is 4096 tokens."
    assert not any(map(is_context_overflow, (APIConnectionError(words), InvalidParameterError(words), OSError(words))))


ROOM = [
    # vLLM 0.32, older ones, llama-cpp-python's form, TGI
    (400, "max_tokens=5000 cannot be greater than max_model_len=4096. Please request fewer output tokens.", 4096),
    (400, ("'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 "
          "tokens and your request has 10 input tokens (5000 > 4096 - 10)."), 4086),
    (400, ("This model's maximum context length is 4096 tokens. However, you requested 5010 tokens (10 in the "
          "messages, 5000 in the completion)."), 4086),
    (400, ("This model's maximum context length is 4096 tokens, however you requested 5010 tokens (10 in your prompt; "
          "5000 for the completion)."), 4086),
    (422, ("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 10 `inputs` tokens and "
          "5000 `max_new_tokens`"), 4086),
]  # fmt: skip


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("status", "words", "room"), ROOM)
def test_max_tokens_beyond_the_context_is_fitted_and_sent_once_more(
    api: Api, wire: WireServer, caplog: pytest.LogCaptureFixture, status: int, words: str, room: int, streamed: bool
) -> None:
    refusal, answer = reply({"error": {"message": words}}, status), completion("five", finish_reason="length")
    wire.script(refusal, sse(chunk("five"), chunk("", "length")) if streamed else reply(answer))
    client = api.client(wire, max_retries=0)
    if streamed:
        *_, last = client.stream("four", model=MODEL, max_tokens=5000)
        assert last.finish_reason == "length"
    else:
        assert client.complete("four", model=MODEL, max_tokens=5000).text == "five"
    assert [body["max_tokens"] for body in wire.bodies] == [5000, room]
    assert "fewer than max_tokens (5000)" in caplog.text


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens.",
        "This model's maximum context length is 4096 tokens.",
        "max_tokens must be at least 1, got 0.",
        "temperature must be <= 2, got 3.",
    ],
)
def test_max_tokens_that_fits_is_not_changed(api: Api, wire: WireServer, words: str) -> None:
    wire.always(reply({"error": {"message": words}}, 400))
    with pytest.raises(BadRequestError):
        api.client(wire, max_retries=0).complete("four", model=MODEL, max_tokens=256)
    assert [body["max_tokens"] for body in wire.bodies] == [256]


def test_max_tokens_is_fitted_once(api: Api, wire: WireServer) -> None:
    wire.always(reply({"error": {"message": ROOM[0][1]}}, 400))
    with pytest.raises(BadRequestError, match="max_model_len"):
        api.client(wire, max_retries=0).complete("four", model=MODEL, max_tokens=5000)
    assert len(wire.requests) == 2
