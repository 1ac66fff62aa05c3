"""The transport, sync and async, against the local Paradigm with a real model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from paradigm_local import LocalParadigm
from paradigm_transport import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)
from tests.transport.conftest import Api, api  # noqa: F401  a fixture

PROMPT = "One, two, three, four,"
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 12}

Connect = Callable[..., Any]


@pytest.fixture
def connect(api: Api, local_paradigm: LocalParadigm) -> Iterator[Connect]:  # noqa: F811
    """Returns clients of the local Paradigm."""

    def connect(**options: Any) -> Any:
        address = {"base_url": local_paradigm.base_url, "api_key": local_paradigm.api_key}
        return api.client(**{**address, **options})

    yield connect
    local_paradigm.clear_faults()


def test_reply_and_stream_have_the_same_text_and_usage(connect: Connect, local_paradigm: LocalParadigm) -> None:
    client = connect()
    whole = client.complete(PROMPT, model=local_paradigm.model, **GREEDY)
    pieces = list(client.stream(PROMPT, model=local_paradigm.model, **GREEDY))
    assert whole.text == "".join(piece.text for piece in pieces)
    assert whole.text.startswith(" five, six, seven")
    assert whole.choices[0].finish_reason == pieces[-1].finish_reason == "length"
    counted = local_paradigm.usage[-1]
    for usage in (whole.usage, pieces[-1].usage):
        assert (usage.prompt_tokens, usage.completion_tokens) == (counted.prompt_tokens, counted.completion_tokens)
    assert [piece.usage for piece in pieces[:-1]] == [None] * (len(pieces) - 1)


@pytest.mark.parametrize("stops", [" seven", ["x1", "x2", "x3", "x4", " seven"]], ids=["the server's", "ours"])
def test_stop_sequence_is_not_returned(connect: Connect, local_paradigm: LocalParadigm, stops: Any) -> None:
    client = connect()
    whole = client.complete(PROMPT, model=local_paradigm.model, stop=stops, **GREEDY)
    pieces = list(client.stream(PROMPT, model=local_paradigm.model, stop=stops, **GREEDY))
    assert whole.text == "".join(piece.text for piece in pieces) == " five, six,"
    assert whole.choices[0].finish_reason == pieces[-1].finish_reason == "stop"


def test_logprobs_of_an_echo_spell_the_text(connect: Connect, local_paradigm: LocalParadigm) -> None:
    client = connect()
    fields = {"model": local_paradigm.model, "echo": True, "logprobs": 2, "temperature": 0, "max_tokens": 3}
    choice = client.complete(PROMPT, **fields).choices[0]
    assert choice.text.startswith(PROMPT)
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.token_logprobs[0] is None
    assert all(len(likeliest) >= 2 for likeliest in choice.logprobs.top_logprobs[1:])
    pieces = list(client.stream(PROMPT, **fields))
    assert "".join(piece.text for piece in pieces) == choice.text
    assert [token for piece in pieces if piece.logprobs for token in piece.logprobs.tokens] == choice.logprobs.tokens


def test_choices_are_identified_by_index(connect: Connect, local_paradigm: LocalParadigm) -> None:
    client = connect()
    fields = {"model": local_paradigm.model, "n": 3, "max_tokens": 4, "extra_body": {"seed": 7}}
    completion = client.complete(PROMPT, **fields)
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert completion.usage.completion_tokens == 12
    pieces = list(client.stream(PROMPT, **fields))
    assert [piece.index for piece in pieces if piece.finish_reason] == [0, 1, 2]


def test_models_lists_the_context_window(connect: Connect, local_paradigm: LocalParadigm) -> None:
    windows = {model.id: model.context_window for model in connect().models()}
    assert windows == {local_paradigm.model: 4096, local_paradigm.embedding_model: 512}


def test_chats_and_embeddings_are_also_in_version_3(connect: Connect, local_paradigm: LocalParadigm) -> None:
    client = connect(base_url=local_paradigm.base_url.replace("/v2", "/v3"))
    assert client.chat([{"role": "user", "content": "Hi"}], model=local_paradigm.model, max_tokens=2).text
    assert len(client.embed("Hi", model=local_paradigm.embedding_model).vectors[0]) == 384
    with pytest.raises(NotFoundError):
        client.complete("Hi", model=local_paradigm.model)


def test_refusals_raise_the_errors_of_their_status(connect: Connect, local_paradigm: LocalParadigm) -> None:
    with pytest.raises(AuthenticationError):
        connect(api_key="wrong").models()
    with pytest.raises(NotFoundError, match=local_paradigm.model):
        connect().complete(PROMPT, model="no-such-model")
    with pytest.raises(BadRequestError, match="prompt: The prompt has"):
        connect().complete(PROMPT * 2000, model=local_paradigm.model)
    with pytest.raises(BadRequestError, match="suffix"):
        connect().complete(PROMPT, model=local_paradigm.model, suffix="the end")


@pytest.mark.parametrize(("fault", "slept"), [("429=3", [3.0, 3.0]), ("503", [0.5, 1.0])])
def test_transient_refusals_are_retried(
    api: Api,  # noqa: F811
    connect: Connect,
    local_paradigm: LocalParadigm,
    fault: str,
    slept: list[float],
) -> None:
    local_paradigm.fail_next(fault, times=2)
    assert connect().complete(PROMPT, model=local_paradigm.model, **GREEDY).text.startswith(" five")
    assert api.slept == slept
    local_paradigm.fail_next(fault)
    with pytest.raises((RateLimitError, ServerError)):
        connect(max_retries=0).complete(PROMPT, model=local_paradigm.model)


@pytest.mark.parametrize(("fault", "kind"), [("cut=3", StreamInterruptedError), ("error=3", ServerError)])
def test_broken_stream_keeps_its_text_on_the_error(
    connect: Connect, local_paradigm: LocalParadigm, fault: str, kind: type[Exception]
) -> None:
    local_paradigm.fail_next(fault)
    received = []
    with pytest.raises(kind) as raised:
        received.extend(connect().stream(PROMPT, model=local_paradigm.model, **GREEDY))
    assert raised.value.partial_text  # extend keeps nothing of what was yielded before
    assert " five, six, seven".startswith(raised.value.partial_text)


def test_slow_first_token_raises_a_timeout(connect: Connect, local_paradigm: LocalParadigm) -> None:
    local_paradigm.fail_next("slow=5")
    with pytest.raises(APITimeoutError):
        next(connect(timeout=0.2, max_retries=0).stream(PROMPT, model=local_paradigm.model))


def test_missing_server_raises_a_connection_error(connect: Connect) -> None:
    with pytest.raises(APIConnectionError, match=r"127\.0\.0\.1:1 could not be reached"):
        connect(base_url="http://127.0.0.1:1", max_retries=0).models()
