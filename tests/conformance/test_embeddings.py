"""Embeddings, by the transport and by both frameworks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import langchain_paradigm
import llama_index_paradigm
from paradigm_transport import ParadigmClient, ParadigmError
from tests.conformance.running import Running, kind_of

TEXTS = ["Rivers carry salt.", "Bread is made of flour.", "A violin has four strings."]

Embed = Callable[[dict[str, Any]], list[list[float]]]


def by_transport(access: dict[str, Any]) -> list[list[float]]:
    model = access.pop("model")
    with ParadigmClient(**access) as client:
        return [list(vector) for vector in client.embed(TEXTS, model=model).vectors]


def by_langchain(access: dict[str, Any]) -> list[list[float]]:
    with langchain_paradigm.ParadigmEmbeddings(**access) as model:
        assert model.embed_query(TEXTS[0])
        return model.embed_documents(TEXTS)


def by_llama_index(access: dict[str, Any]) -> list[list[float]]:
    with llama_index_paradigm.ParadigmEmbedding(**access) as model:
        return asyncio.run(model.aget_text_embedding_batch(TEXTS))


@pytest.mark.parametrize("embed", [by_transport, by_langchain, by_llama_index])
def test_texts_are_embedded_in_order(server: Running, embed: Embed) -> None:
    access = {"model": server.embedding_model or server.model, **server.address, "max_retries": 0}
    try:
        vectors = embed(access)
    except ParadigmError as error:
        outcome = kind_of(error)
    else:
        assert len(vectors) == len(TEXTS)
        assert len({len(vector) for vector in vectors}) == 1
        assert len({tuple(vector[:4]) for vector in vectors}) == len(TEXTS)
        outcome = "embedded"
    assert outcome == server.expects("embeddings")
