"""`ParadigmEmbedding` with a real model: LlamaIndex's indexes, splitters and stores, and answers from passages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import (
    Document,
    DocumentSummaryIndex,
    PropertyGraphIndex,
    StorageContext,
    VectorStoreIndex,
    get_response_synthesizer,
    load_index_from_storage,
)
from llama_index.core.indices.property_graph import ImplicitPathExtractor
from llama_index.core.node_parser import SemanticSplitterNodeParser, SentenceSplitter

from llama_index_paradigm import ParadigmEmbedding, ParadigmLLM
from paradigm_local import LocalParadigm

TEXTS = [
    "Rivers wash minerals out of rocks and carry them into the ocean, which is why its water is salty.",
    "Paris has been the seat of the French government for centuries.",
    "For a loaf, knead flour, water, salt and yeast, and let the dough rise.",
    "A violin has four strings, which are tuned in fifths.",
]
QUESTIONS = ["Why is the sea salty?", "What is the capital of France?", "How is bread made?", "How is a fiddle tuned?"]


@pytest.fixture
def embed_model(local_paradigm: LocalParadigm) -> Iterator[ParadigmEmbedding]:
    prefixes = {"query_prefix": "query: ", "document_prefix": "passage: "}
    with ParadigmEmbedding(**access(local_paradigm, local_paradigm.embedding_model), **prefixes) as model:
        yield model


@pytest.fixture
def llm(local_paradigm: LocalParadigm) -> Iterator[ParadigmLLM]:
    options = {"chat_template": "chatml", "max_tokens": 40, "temperature": 0}
    with ParadigmLLM(**access(local_paradigm, local_paradigm.model), **options) as llm:
        yield llm


def access(paradigm: LocalParadigm, model: str) -> dict[str, Any]:
    return {"model": model, "api_key": paradigm.api_key, "base_url": paradigm.base_url}


def documents() -> list[Document]:
    return [Document(text=text, id_=f"document {place}") for place, text in enumerate(TEXTS)]


def in_memory() -> StorageContext:
    return StorageContext.from_defaults()


def qdrant() -> StorageContext:
    package = "llama_index.vector_stores.qdrant"
    stores = pytest.importorskip(package, reason="runs where the dependency group stores is installed")
    from qdrant_client import QdrantClient

    return StorageContext.from_defaults(vector_store=stores.QdrantVectorStore("texts", QdrantClient(":memory:")))


def chroma() -> StorageContext:
    package = "llama_index.vector_stores.chroma"
    stores = pytest.importorskip(package, reason="runs where llama-index-vector-stores-chroma is installed")
    import chromadb

    collection = chromadb.EphemeralClient().get_or_create_collection("texts")
    return StorageContext.from_defaults(vector_store=stores.ChromaVectorStore(collection))


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")
@pytest.mark.parametrize("storage", [in_memory, qdrant, chroma])
def test_stores_find_the_passage_that_answers(embed_model: ParadigmEmbedding, storage: Any) -> None:
    index = VectorStoreIndex.from_documents(documents(), storage_context=storage(), embed_model=embed_model)
    retriever = index.as_retriever(similarity_top_k=1)
    for question, text in zip(QUESTIONS, TEXTS, strict=True):
        (found,) = retriever.retrieve(question)
        assert found.node.get_content() == text


def test_query_engine_answers_from_the_passages(embed_model: ParadigmEmbedding, llm: ParadigmLLM) -> None:
    index = VectorStoreIndex.from_documents(documents(), embed_model=embed_model, use_async=True)
    engine = index.as_query_engine(llm=llm, similarity_top_k=1)
    for answer in (engine.query(QUESTIONS[3]), asyncio.run(engine.aquery("How many strings does a violin have?"))):
        assert answer.source_nodes[0].node.get_content() == TEXTS[3]
        assert answer.response


def test_stored_index_is_loaded_and_searched(embed_model: ParadigmEmbedding, tmp_path: Path) -> None:
    VectorStoreIndex.from_documents(documents(), embed_model=embed_model).storage_context.persist(str(tmp_path))
    storage = StorageContext.from_defaults(persist_dir=str(tmp_path))
    index = load_index_from_storage(storage, embed_model=embed_model)
    (found,) = index.as_retriever(similarity_top_k=1).retrieve(QUESTIONS[0])
    assert found.node.get_content() == TEXTS[0]


def test_document_summary_index_finds_by_summaries(embed_model: ParadigmEmbedding, llm: ParadigmLLM) -> None:
    index = DocumentSummaryIndex.from_documents(
        documents(),
        llm=llm,
        embed_model=embed_model,
        transformations=[SentenceSplitter()],
        response_synthesizer=get_response_synthesizer(llm=llm),
    )
    retriever = index.as_retriever(retriever_mode="embedding", similarity_top_k=1)
    assert [each.node.ref_doc_id for each in retriever.retrieve(QUESTIONS[3])] == ["document 3"]


def test_property_graph_index_finds_nodes_by_embeddings(embed_model: ParadigmEmbedding, llm: ParadigmLLM) -> None:
    index = PropertyGraphIndex.from_documents(
        documents(),
        llm=llm,
        embed_model=embed_model,
        kg_extractors=[ImplicitPathExtractor()],
        embed_kg_nodes=True,
        use_async=False,
    )
    nodes = index.property_graph_store.get()
    assert {len(node.embedding) for node in nodes if node.embedding is not None} == {384}


def test_semantic_splitter_finds_the_change_of_subject(embed_model: ParadigmEmbedding) -> None:
    splitter = SemanticSplitterNodeParser(embed_model=embed_model, buffer_size=0, breakpoint_percentile_threshold=70)
    text = "A violin has four strings. They are tuned in fifths. Bread is made of flour. The dough has to rise."
    first, second = splitter.get_nodes_from_documents([Document(text=text)])
    assert ("tuned" in first.get_content(), "dough" in second.get_content()) == (True, True)
