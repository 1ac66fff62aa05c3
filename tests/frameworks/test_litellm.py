"""LiteLLM's library over the local Paradigm: chats, completions, embeddings, streams, usage and errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from paradigm_local import LocalParadigm

pytestmark = pytest.mark.filterwarnings("ignore")  # LiteLLM's own

MESSAGES = [{"role": "user", "content": "How far is Rome from Paris?"}]
PROMPT = "The capital of France is"
CITY = {"type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"]}
DISTANCE = {"type": "function", "function": {"name": "distance", "description": "A distance.", "parameters": CITY}}
FORCED = {"tools": [DISTANCE], "tool_choice": {"type": "function", "function": {"name": "distance"}}}


@pytest.fixture
def litellm() -> Any:
    return pytest.importorskip("litellm")


@pytest.fixture
def chat(litellm: Any, local_paradigm: LocalParadigm) -> Callable[..., Any]:
    """Call the chat endpoint."""

    def call(**fields: Any) -> Any:
        access = {"api_base": local_paradigm.base_url, "api_key": local_paradigm.api_key, "num_retries": 0}
        usual = {"model": f"openai/{local_paradigm.model}", "temperature": 0, "max_tokens": 10}
        return litellm.completion(**{"messages": MESSAGES, **access, **usual, **fields})

    return call


@pytest.fixture
def complete(litellm: Any, local_paradigm: LocalParadigm) -> Callable[..., Any]:
    """Call the completions endpoint."""

    def call(**fields: Any) -> Any:
        access = {"api_base": local_paradigm.base_url, "api_key": local_paradigm.api_key, "num_retries": 0}
        usual = {"model": f"text-completion-openai/{local_paradigm.model}", "temperature": 0, "max_tokens": 3}
        return litellm.text_completion(**{"prompt": PROMPT, **access, **usual, **fields})

    return call


def test_chat_is_answered_and_counted(chat: Callable[..., Any], local_paradigm: LocalParadigm) -> None:
    answer = chat()
    assert answer.choices[0].message.content
    assert answer.usage.total_tokens == local_paradigm.usage[-1].total_tokens


def test_forced_call_arrives(chat: Callable[..., Any]) -> None:
    (call,) = chat(**FORCED, max_tokens=40).choices[0].message.tool_calls
    assert call.function.name == "distance"
    assert json.loads(call.function.arguments)["city"] in ("Rome", "Oslo")


def test_forced_call_is_streamed(chat: Callable[..., Any]) -> None:
    deltas = [chunk.choices[0].delta for chunk in chat(**FORCED, max_tokens=40, stream=True)]
    parts = [call.function for delta in deltas for call in delta.tool_calls or ()]
    assert json.loads("".join(part.arguments or "" for part in parts))["city"] in ("Rome", "Oslo")


@pytest.mark.parametrize("over", ["chat", "complete"])
def test_text_is_streamed_and_counted(request: pytest.FixtureRequest, over: str, local_paradigm: LocalParadigm) -> None:
    call = request.getfixturevalue(over)
    whole = call()
    *chunks, last = list(call(stream=True, stream_options={"include_usage": True}))
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    pieces = [(choice.delta.content if over == "chat" else choice.text) or "" for choice in choices]
    assert "".join(pieces) == (whole.choices[0].message.content if over == "chat" else whole.choices[0].text)
    assert last.usage.completion_tokens == local_paradigm.usage[-1].completion_tokens


def test_completion_is_answered_and_counted(complete: Callable[..., Any], local_paradigm: LocalParadigm) -> None:
    answer = complete()
    assert answer.choices[0].text
    assert answer.usage.total_tokens == local_paradigm.usage[-1].total_tokens


def test_async_calls_are_answered(litellm: Any, local_paradigm: LocalParadigm) -> None:
    access = {"api_base": local_paradigm.base_url, "api_key": local_paradigm.api_key, "max_tokens": 3}

    async def call() -> tuple[Any, Any]:
        chat = await litellm.acompletion(f"openai/{local_paradigm.model}", MESSAGES, **access)
        text = await litellm.atext_completion(
            prompt=PROMPT, model=f"text-completion-openai/{local_paradigm.model}", **access
        )
        return chat, text

    chat, text = anyio.run(call)
    assert chat.choices[0].message.content
    assert text.choices[0].text


def test_texts_are_embedded(litellm: Any, local_paradigm: LocalParadigm) -> None:
    access = {"api_base": local_paradigm.base_url, "api_key": local_paradigm.api_key}
    answer = litellm.embedding(model=f"openai/{local_paradigm.embedding_model}", input=["query: Hi"], **access)
    assert len(answer.data[0]["embedding"]) == 384
    assert answer.usage.prompt_tokens == local_paradigm.usage[-1].prompt_tokens


REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"api_key": "wrong"}, "AuthenticationError", "Invalid API key."),
    ({"model": "other"}, "NotFoundError", "Unknown model"),
    ({"temperature": 9}, "BadRequestError", "temperature"),
]


@pytest.mark.parametrize(("fields", "kind", "words"), REFUSALS)
@pytest.mark.parametrize("over", ["chat", "complete"])
def test_refusals_keep_their_kind_and_words(
    litellm: Any, request: pytest.FixtureRequest, over: str, fields: dict[str, Any], kind: str, words: str
) -> None:
    if "model" in fields:
        fields = {"model": ("openai/" if over == "chat" else "text-completion-openai/") + fields["model"]}
    with pytest.raises(getattr(litellm, kind), match=words):
        request.getfixturevalue(over)(**fields)


@pytest.mark.parametrize(("fault", "kind"), [("429", "RateLimitError"), ("503", "ServiceUnavailableError")])
@pytest.mark.parametrize("over", ["chat", "complete"])
def test_overload_keeps_its_kind(
    litellm: Any, request: pytest.FixtureRequest, local_paradigm: LocalParadigm, over: str, fault: str, kind: str
) -> None:
    call = request.getfixturevalue(over)
    local_paradigm.fail_next(fault)
    try:
        with pytest.raises(getattr(litellm, kind)):
            call(max_retries=0)
    finally:
        local_paradigm.clear_faults()


@pytest.mark.parametrize("fault", ["cut=2", "error=2"])
@pytest.mark.parametrize("over", ["chat", "complete"])
def test_stream_that_breaks_off_raises(
    request: pytest.FixtureRequest, local_paradigm: LocalParadigm, over: str, fault: str
) -> None:
    call = request.getfixturevalue(over)
    local_paradigm.fail_next(fault)
    try:
        with pytest.raises(Exception) as caught:
            list(call(stream=True, max_tokens=10, max_retries=0))
    finally:
        local_paradigm.clear_faults()
    assert type(caught.value).__module__.startswith(("litellm", "openai"))
