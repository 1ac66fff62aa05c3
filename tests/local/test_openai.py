"""The official `openai` client, which Paradigm's documentation recommends."""

from __future__ import annotations

from collections.abc import Iterator

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
    assert [model.id for model in client.models.list()] == [local_paradigm.model]


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
