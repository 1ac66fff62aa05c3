"""`ParadigmEmbeddings` with a real model: LangChain's standard tests, its vector stores, and a whole RAG chain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from langchain_paradigm import ParadigmEmbeddings, ParadigmLLM
from paradigm_local import LocalParadigm
from paradigm_transport import BadRequestError

TEXTS = [
    "Rivers wash minerals out of rocks and carry them into the ocean, which is why its water is salty.",
    "Paris has been the seat of the French government for centuries.",
    "For a loaf, knead flour, water, salt and yeast, and let the dough rise.",
    "A violin has four strings, which are tuned in fifths.",
]
QUESTIONS = ["Why is the sea salty?", "What is the capital of France?", "How is bread made?", "How is a fiddle tuned?"]

PREFIXES = {"query_prefix": "query: ", "document_prefix": "passage: "}


@pytest.fixture
def model(local_paradigm: LocalParadigm) -> Iterator[ParadigmEmbeddings]:
    with ParadigmEmbeddings(**access(local_paradigm)) as model:
        yield model


def access(paradigm: LocalParadigm) -> dict[str, Any]:
    address = {"api_key": paradigm.api_key, "base_url": paradigm.base_url}
    return {"model": paradigm.embedding_model, **address, **PREFIXES}


def in_memory(model: ParadigmEmbeddings) -> VectorStore:
    return InMemoryVectorStore.from_texts(TEXTS, model)


def faiss(model: ParadigmEmbeddings) -> VectorStore:
    pytest.importorskip("faiss", reason="runs where the dependency group stores is installed")
    from langchain_community.vectorstores import FAISS

    return FAISS.from_texts(TEXTS, model)


STORES = pytest.mark.parametrize("build", [in_memory, faiss])


@STORES
def test_stores_find_the_passage_that_answers(model: ParadigmEmbeddings, build: Any) -> None:
    store = build(model)
    for question, text in zip(QUESTIONS, TEXTS, strict=True):
        assert store.similarity_search(question, k=1)[0].page_content == text
        assert asyncio.run(store.asimilarity_search(question, k=1))[0].page_content == text


@STORES
def test_stores_take_more_texts_and_score_them(model: ParadigmEmbeddings, build: Any) -> None:
    store = build(model)
    store.add_documents([Document("The Dead Sea lies between Jordan and Israel.", metadata={"page": 7})])
    (best, _) = store.similarity_search_with_score("Where is the Dead Sea?", k=1)[0]
    assert best.metadata == {"page": 7}
    found = store.as_retriever(search_type="mmr", search_kwargs={"k": 2}).invoke("salt in the sea")
    assert len(found) == 2


def test_chain_answers_from_the_passages(local_paradigm: LocalParadigm, model: ParadigmEmbeddings) -> None:
    retriever = in_memory(model).as_retriever(search_kwargs={"k": 1})
    prompt = ChatPromptTemplate.from_template("{context}\n\nQuestion: {question}\nAnswer in a few words.")
    given = {**access(local_paradigm), "model": local_paradigm.model}
    given = {name: value for name, value in given.items() if name not in PREFIXES}
    with ParadigmLLM(**given, chat_template="chatml", max_tokens=30, temperature=0) as llm:
        texts = retriever | (lambda found: "\n".join(each.page_content for each in found))
        chain = {"context": texts, "question": RunnablePassthrough()} | prompt | llm | StrOutputParser()
        answer = chain.invoke("How many strings does a violin have?").lower()
        assert "four" in answer or "4" in answer


def test_text_beyond_the_context_of_the_model_is_named(model: ParadigmEmbeddings) -> None:
    with pytest.raises(BadRequestError, match=r"must fit into the context of 512. It was about texts\[1\]"):
        model.embed_documents(["short", "long " * 600, "short"])


def test_lists_and_single_texts_have_the_same_embeddings(
    local_paradigm: LocalParadigm, model: ParadigmEmbeddings
) -> None:
    with ParadigmEmbeddings(**access(local_paradigm), batch_inputs=3, encoding_format="base64") as listed:
        for one, other in zip(model.embed_documents(TEXTS), listed.embed_documents(TEXTS), strict=True):
            assert one == pytest.approx(other, abs=1e-6)
