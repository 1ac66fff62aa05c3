"""The official `openai` client, which Paradigm's documentation recommends."""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Iterator, Sequence
from typing import Any

import openai
import pytest

from paradigm_local import LocalParadigm

PROMPT = "The capital of France is"


@pytest.fixture
def client(local_paradigm: LocalParadigm) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=local_paradigm.base_url, api_key=local_paradigm.api_key, max_retries=0) as client:
        yield client


def test_openai_client_completes(client: openai.OpenAI, local_paradigm: LocalParadigm) -> None:
    completion = client.completions.create(
        model=local_paradigm.model, prompt=PROMPT, max_tokens=4, temperature=0, logprobs=2, stop=["\n"]
    )
    (choice,) = completion.choices
    assert (choice.text, choice.finish_reason) == (" Paris.", "stop")
    assert choice.logprobs is not None
    assert choice.logprobs.tokens == [" Paris", "."]
    assert choice.logprobs.text_offset == [0, 6]
    assert completion.usage is not None
    assert completion.usage.total_tokens == 8


def test_openai_client_streams_with_usage(client: openai.OpenAI, local_paradigm: LocalParadigm) -> None:
    text, usage = "", None
    with client.completions.create(
        model=local_paradigm.model,
        prompt=PROMPT,
        max_tokens=4,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"structured_outputs": {"choice": [" Paris", " Rome"]}},
    ) as stream:
        for chunk in stream:
            text += "".join(choice.text for choice in chunk.choices)
            usage = chunk.usage or usage
    assert text == " Paris"
    assert usage is not None
    assert usage.prompt_tokens == 5


def test_openai_client_lists_the_models(client: openai.OpenAI, local_paradigm: LocalParadigm) -> None:
    assert [model.id for model in client.models.list()] == [local_paradigm.model, local_paradigm.embedding_model]


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_openai_client_embeds(client: openai.OpenAI, local_paradigm: LocalParadigm, encoding_format: Any) -> None:
    texts = [
        "query: Why is the sea salty?",
        "passage: Rivers carry salt into the sea.",
        "passage: Two and two is four.",
    ]
    model = local_paradigm.embedding_model
    found = client.embeddings.create(model=model, input=texts, encoding_format=encoding_format)
    assert [each.index for each in found.data] == [0, 1, 2]
    assert found.usage.total_tokens == found.usage.prompt_tokens > 20
    query, near, far = (
        [*each.embedding] if encoding_format == "float" else decode(each.embedding) for each in found.data
    )
    assert len(query) == 384
    assert dot(query, query) == pytest.approx(1, abs=1e-4)
    assert dot(query, near) > dot(query, far)


def test_openai_client_embeds_in_its_own_way(client: openai.OpenAI, local_paradigm: LocalParadigm) -> None:
    """Without a format it asks for base64, and decodes it."""
    found = client.embeddings.create(model=local_paradigm.embedding_model, input="query: salt", dimensions=64)
    (vector,) = [each.embedding for each in found.data]
    assert len(vector) == 64
    assert dot(vector, vector) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "other"}, openai.NotFoundError),
        ({"input": ""}, openai.BadRequestError),
        ({"input": "word " * 600}, openai.BadRequestError),
        ({"extra_headers": {"Authorization": "Bearer wrong"}}, openai.AuthenticationError),
    ],
)
def test_openai_client_raises_its_own_errors_for_refused_embeddings(
    client: openai.OpenAI, local_paradigm: LocalParadigm, change: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        client.embeddings.create(**{"model": local_paradigm.embedding_model, "input": "a", **change})


def decode(text: Any) -> list[float]:
    data = b64decode(text)
    return [*struct.unpack(f"<{len(data) // 4}f", data)]


def dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "other"}, openai.NotFoundError),
        ({"temperature": 3}, openai.BadRequestError),
        ({"extra_headers": {"Authorization": "Bearer wrong"}}, openai.AuthenticationError),
    ],
)
def test_openai_client_raises_its_own_errors_for_refusals(
    client: openai.OpenAI, local_paradigm: LocalParadigm, change: dict[str, object], error: type[Exception]
) -> None:
    arguments: dict[str, object] = {"model": local_paradigm.model, "prompt": PROMPT, **change}
    with pytest.raises(error):
        client.completions.create(**arguments)  # type: ignore[call-overload]


def test_openai_client_raises_for_an_error_inside_a_stream(
    client: openai.OpenAI, local_paradigm: LocalParadigm
) -> None:
    local_paradigm.fail_next("error")
    stream = client.completions.create(model=local_paradigm.model, prompt=PROMPT, stream=True)
    with stream, pytest.raises(openai.APIError, match="The model failed"):
        list(stream)
