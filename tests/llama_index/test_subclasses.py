"""Defaults that a user's subclass declares, and what LlamaIndex's other classes call arguments."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from pydantic import create_model

from llama_index_paradigm import ChatParadigm, ParadigmEmbedding, ParadigmLLM, ParadigmRetriever
from paradigm_transport import InvalidParameterError, ServerError
from tests.llama_index.conftest import KEY, Method
from tests.wire import WireServer, embed, reply, search_results

OF_ANY: dict[str, Any] = {"max_retries": (int, 0), "default_headers": (dict[str, str], {"X-Team": "a"})}
OF_MODELS: dict[str, Any] = {
    "model": (str, "house"), "temperature": (float | None, 0.3), "max_tokens": (int | None, 50), **OF_ANY,
}  # fmt: skip
"""Fields for which a subclass declares defaults: their types and values."""


@pytest.mark.parametrize("given", [{}, {"chat_template": "chatml"}])
@pytest.mark.parametrize("base", [ParadigmLLM, ChatParadigm])
def test_default_of_a_subclass_is_sent(wire: WireServer, method: Method, base: Any, given: dict[str, Any]) -> None:
    llm = create_model("House", __base__=base, **OF_MODELS)(
        api_key=KEY, base_url=wire.url, context_window=4096, **given
    )
    wire.always(reply({}, 500))
    with pytest.raises(ServerError):
        method(llm)
    (request,) = wire.requests
    assert [request.body[name] for name in ("model", "temperature", "max_tokens")] == ["house", 0.3, 50]
    assert request.headers["x-team"] == "a"
    assert llm.metadata.num_output == 50
    llm.close()


def test_default_of_a_retriever_is_sent(wire: WireServer) -> None:
    wire.script(reply(search_results()))
    house = create_model("House", __base__=ParadigmRetriever, workspace_id=(list[int] | None, [4]), **OF_ANY)
    house(api_key=KEY, base_url=wire.url).retrieve("x")
    assert wire.bodies[0]["workspace_id"] == [4]
    assert wire.requests[0].headers["x-team"] == "a"


def test_default_of_an_embedding_is_sent(wire: WireServer) -> None:
    wire.always(embed)
    house = create_model("House", __base__=ParadigmEmbedding, model=(str, "e5"), dimensions=(int | None, 3), **OF_ANY)
    house(api_key=KEY, base_url=wire.url).get_text_embedding("x")
    assert [wire.bodies[0][name] for name in ("model", "dimensions")] == ["e5", 3]
    assert wire.requests[0].headers["x-team"] == "a"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("is_chat_model", "ChatParadigm"),
        ("is_function_calling_model", "ChatParadigm"),
        ("should_use_structured_outputs", "PydanticProgramMode.LLM"),
        ("tokenizer", "Settings.tokenizer"),
        ("reuse_client", "leave it out"),
        ("stream_options", "stream_usage"),
    ],
)
@pytest.mark.parametrize("kind", [ParadigmLLM, ChatParadigm])
def test_argument_of_openai_like_is_refused_with_what_to_do(kind: Any, name: str, advice: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"unknown argument {name}; .*{advice}"):
        kind(model="m", api_key=KEY, **{name: True})


def test_additional_kwargs_may_be_none(wire: WireServer) -> None:
    wire.script(reply({"choices": [{"message": {"content": "a"}}]}))
    llm = ChatParadigm(model="m", api_key=KEY, base_url=wire.url, context_window=9, additional_kwargs=None)
    assert llm.chat([ChatMessage("Hi")]).message.content == "a"
    llm.close()
