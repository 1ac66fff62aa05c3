"""`ParadigmRetriever` on real documents and models, under the engines that people build on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.query_engine import CitationQueryEngine, RetrieverQueryEngine, RouterQueryEngine
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import QueryEngineTool
from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters

from llama_index_paradigm import ParadigmLLM, ParadigmRetriever
from paradigm_local import LocalParadigm

# where LangChain is installed too, LlamaIndex imports that
pytestmark = pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset")

CHOICE = {
    "type": "array",
    "minItems": 1,
    "maxItems": 1,
    "items": {
        "type": "object",
        "properties": {"choice": {"enum": [1, 2]}, "reason": {"enum": ["its topic"]}},
        "required": ["choice", "reason"],
        "additionalProperties": False,
    },
}
"""The form of a selector's choice; so small a model needs it enforced."""

QUESTION = "How long is parental leave?"


@pytest.fixture
def retriever(handbook: LocalParadigm) -> Iterator[ParadigmRetriever]:
    access = {"api_key": handbook.api_key, "base_url": handbook.base_url}
    with ParadigmRetriever(similarity_top_k=2, relevance_scoring="none", **access) as retriever:
        yield retriever


@pytest.fixture
def make_llm(handbook: LocalParadigm) -> Iterator[Callable[..., ParadigmLLM]]:
    made: list[ParadigmLLM] = []

    def make(**arguments: Any) -> ParadigmLLM:
        access = {"model": handbook.model, "api_key": handbook.api_key, "base_url": handbook.base_url}
        usual = {**access, "max_tokens": 60, "temperature": 0, "chat_template": "chatml", "stop": ["\n\n"]}
        made.append(ParadigmLLM(**{**usual, **arguments}))
        return made[-1]

    yield make
    for llm in made:
        llm.close()


@pytest.fixture(params=["query", "aquery"])
def query(request: pytest.FixtureRequest) -> Callable[[Any, str], Any]:
    def call(engine: Any, text: str) -> Any:
        found = getattr(engine, request.param)(text)
        return asyncio.run(found) if request.param.startswith("a") else found

    return call


def pages(answer: Any) -> list[tuple[str, str]]:
    return [(node.metadata["file_name"], node.metadata["page_label"]) for node in answer.source_nodes]


def test_retriever_query_engine_answers_with_pages(
    retriever: ParadigmRetriever, make_llm: Callable[..., ParadigmLLM], query: Any
) -> None:
    best = retriever.model_copy(update={"similarity_top_k": 1})
    answer = query(RetrieverQueryEngine.from_args(best, llm=make_llm()), "What is the daily allowance for meals?")
    assert "38 euros" in str(answer)
    assert pages(answer) == [("travel.pdf", "2")]


def test_citation_query_engine_answers_with_numbered_sources(
    retriever: ParadigmRetriever, make_llm: Callable[..., ParadigmLLM], query: Any
) -> None:
    answer = query(CitationQueryEngine(retriever, llm=make_llm()), "Where do I call if my laptop is stolen?")
    assert str(answer)
    assert pages(answer)[0] == ("security.pdf", "2")
    assert answer.source_nodes[0].text.startswith("Source 1:\nLost devices")


def test_router_query_engine_routes_to_a_workspace(
    retriever: ParadigmRetriever, make_llm: Callable[..., ParadigmLLM], query: Any
) -> None:
    llm = make_llm()
    tools = [
        QueryEngineTool.from_defaults(
            RetrieverQueryEngine.from_args(retriever.model_copy(update={"workspace_id": [number]}), llm=llm),
            name=name,
            description=f"About {name}",
        )
        for number, name in ((1, "computers and visitors"), (2, "leave and travel"))
    ]
    selector = LLMSingleSelector.from_defaults(llm=make_llm(extra_body={"structured_outputs": {"json": CHOICE}}))
    answer = query(RouterQueryEngine(selector, tools, llm=llm), QUESTION)
    chosen = answer.metadata["selector_result"].selections[0].index
    assert {node.metadata["workspace_id"] for node in answer.source_nodes} == {chosen + 1}


def test_filters_select_documents(retriever: ParadigmRetriever) -> None:
    recent = MetadataFilters(
        filters=[MetadataFilter(key="valid_from", value="2025-01-01", operator=FilterOperator.GTE)]
    )
    names = {node.metadata["file_name"] for node in retriever.retrieve(QUESTION, filters=recent, similarity_top_k=9)}
    assert names == {"travel.pdf", "security.pdf"}
