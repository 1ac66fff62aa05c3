"""Errors are also LangChain's, by which agents decide to retry or to shorten the prompt."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from langchain_core import exceptions

import paradigm_transport
from paradigm_transport import BadRequestError, InvalidParameterError, ParadigmError
from tests.langchain.conftest import Calls, Make, MakeChat
from tests.wire import CUT, Script, WireServer, chunk, reply, sse

WAYS = ["invoke", "stream"]
TOO_LONG = [
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
    "the request exceeds the available context size, try increasing it",
    "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    "The prompt has 99 tokens; with at least one more it must fit into the context of 64.",
]


def langchains(name: str) -> Any:
    """Return LangChain's class, or its base class in versions without it."""
    return getattr(exceptions, name, exceptions.LangChainException)


def error_of(calls: Calls, way: str, llm: Any) -> ParadigmError:
    with pytest.raises(ParadigmError) as raised:
        getattr(calls, way)(llm, "Hi there, all of you")
    return raised.value


@pytest.fixture(params=["ParadigmLLM", "ChatParadigm"])
def make_any(request: pytest.FixtureRequest, make: Make, make_chat: MakeChat) -> Any:
    """Return a function that builds either model, without retries."""
    build = make if request.param == "ParadigmLLM" else make_chat
    return lambda **arguments: build(**{"max_retries": 0, **arguments})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("script", "ours", "theirs", "is_retryable"),
    [
        (reply({}, 400), "BadRequestError", "ModelInvalidRequestError", False),
        (reply({}, 401), "AuthenticationError", "ModelAuthenticationError", False),
        (reply({}, 403), "PermissionDeniedError", "ModelPermissionDeniedError", False),
        (reply({}, 404), "NotFoundError", "ModelNotFoundError", False),
        (reply({}, 418), "APIStatusError", "ModelError", False),
        (reply({}, 422), "UnprocessableEntityError", "ModelInvalidRequestError", False),
        (reply({}, 429), "RateLimitError", "ModelRateLimitError", True),
        (reply({}, 503), "ServerError", "ModelAPIError", True),
        (reply("<html>", 200), "APIResponseError", "ModelError", False),
        ([CUT], "APIConnectionError", "ModelConnectionError", True),
    ],
)
def test_error_is_instance_of_our_class_and_langchain_class(
    wire: WireServer, make_any: Any, calls: Calls, way: str, script: Script, ours: str, theirs: str, is_retryable: bool
) -> None:
    wire.script(script)
    error = error_of(calls, way, make_any())
    assert isinstance(error, getattr(paradigm_transport, ours))
    assert isinstance(error, langchains(theirs))
    assert type(error).__name__ == ours
    assert type(error).__module__ == "paradigm_transport.errors"
    assert getattr(error, "is_retryable", is_retryable) == is_retryable


def test_interrupted_stream_raises_with_partial_text(wire: WireServer, make_any: Any, calls: Calls) -> None:
    wire.script(sse(chunk("Hel"), CUT))
    error = error_of(calls, "stream", make_any())
    assert isinstance(error, paradigm_transport.StreamInterruptedError)
    assert isinstance(error, langchains("ModelConnectionError"))
    assert error.partial_text == "Hel"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("words", TOO_LONG)
def test_too_long_prompt_raises_context_overflow_error(
    wire: WireServer, make_any: Any, calls: Calls, way: str, words: str
) -> None:
    wire.script(reply({"error": {"message": words}}, 400))
    error = error_of(calls, way, make_any())
    assert isinstance(error, BadRequestError)
    assert isinstance(error, langchains("ContextOverflowError"))
    assert error.body == {"error": {"message": words}}


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("refusal", "ours"),
    [
        (reply({"error": "`inputs` must have less than 9 tokens. Given: 12", "error_type": "validation"}, 422),
         "UnprocessableEntityError"),
        (reply("<html>", 413), "APIStatusError"),
        (reply({"error": {"message": TOO_LONG[0], "code": 400}}), "BadRequestError"),
        (reply({"error": {"message": TOO_LONG[0]}}), "ServerError"),
    ],
)  # fmt: skip
def test_overflow_of_any_status_is_a_context_overflow_error_and_not_retried(
    wire: WireServer, make_any: Any, calls: Calls, streams: bool, refusal: Script, ours: str
) -> None:
    wire.script(refusal, refusal, refusal)
    llm = make_any(max_retries=2, streaming=streams)
    for number, (way, question) in enumerate({"invoke": "Hi", "stream": "Hi", "batch": ["Hi"]}.items(), 1):
        with pytest.raises(getattr(paradigm_transport, ours)) as raised:
            getattr(calls, way)(llm, question)
        assert isinstance(raised.value, langchains("ContextOverflowError"))
        assert len(wire.requests) == number


@pytest.mark.parametrize("event", [{"code": 400, "message": TOO_LONG[0]}, "prompt is too long"])
def test_overflow_inside_a_stream_is_a_context_overflow_error(
    wire: WireServer, make_any: Any, calls: Calls, event: Any
) -> None:
    wire.script(sse({"error": event}), sse({"error": event}))
    for llm, way in ((make_any(max_retries=2), "stream"), (make_any(max_retries=2, streaming=True), "invoke")):
        assert isinstance(error_of(calls, way, llm), langchains("ContextOverflowError"))
    assert len(wire.requests) == 2


@pytest.mark.parametrize("way", [*WAYS, "batch"])
def test_invalid_argument_raises_model_invalid_request_error(make_any: Any, calls: Calls, way: str) -> None:
    with pytest.raises(InvalidParameterError) as raised:
        getattr(calls, way)(make_any(), ["Hi"] if way == "batch" else "Hi", temperature=9)
    assert isinstance(raised.value, langchains("ModelInvalidRequestError"))


def test_counting_on_a_server_that_accepts_no_length_raises_context_overflow_error(
    wire: WireServer, make_any: Any
) -> None:
    wire.always(reply({"error": TOO_LONG[0]}, 400))
    with pytest.raises(BadRequestError) as raised:
        make_any().get_num_tokens("Hi you")
    assert isinstance(raised.value, langchains("ContextOverflowError"))


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_errors_can_be_copied_and_pickled(wire: WireServer, make_any: Any, calls: Calls, again: Any) -> None:
    wire.script(reply({"error": "no"}, 429, {"retry-after": "7", "x-request-id": "r-1"}))
    error = error_of(calls, "invoke", make_any())
    other = again(error)
    assert type(other) is type(error)
    assert (str(other), vars(other)) == (str(error), vars(error))
