"""`ParadigmRetriever`: nodes, filters, arguments of a call, events, and the engines that people build on it."""

from __future__ import annotations

import asyncio
import copy
import importlib
import inspect
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import Settings, get_response_synthesizer
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import CitationQueryEngine, RetrieverQueryEngine, RouterQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import ImageNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import QueryEngineTool, RetrieverTool
from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from llama_index_paradigm import ChatParadigm, ParadigmLLM, ParadigmRetriever
from paradigm_transport import InvalidParameterError, NotFoundError
from tests.llama_index.conftest import KEY, Events
from tests.wire import Request, Script, WireServer, completion, reply, search_result, search_results

QUERY = "Which notice period does the contract set?"
CHUNK_IDS = [f"6a9c1b5e-0000-4000-8000-00000000000{number}" for number in range(1, 4)]

Make = Callable[..., ParadigmRetriever]

# where LangChain is installed too, LlamaIndex imports that
pytestmark = pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset")


@pytest.fixture
def make(wire: WireServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes retrievers that call the scripted server."""
    monkeypatch.setattr(Settings, "_callback_manager", None)
    made: list[ParadigmRetriever] = []

    def build(**arguments: Any) -> ParadigmRetriever:
        made.append(ParadigmRetriever(**{"api_key": KEY, "base_url": wire.url, **arguments}))
        return made[-1]

    yield build
    for retriever in made:
        retriever.close()


@pytest.fixture(params=["retrieve", "aretrieve"])
def retrieve(request: pytest.FixtureRequest) -> Callable[..., list[NodeWithScore]]:
    """Either of the two methods."""

    def call(retriever: ParadigmRetriever, query: Any = QUERY, **kwargs: Any) -> list[NodeWithScore]:
        found = getattr(retriever, request.param)(query, **kwargs)
        return asyncio.run(found) if request.param.startswith("a") else found

    return call


Retrieve = Callable[..., list[NodeWithScore]]

# Nodes


def test_node_has_text_score_metadata_and_source(make: Make, wire: WireServer, retrieve: Retrieve) -> None:
    wire.script(reply(search_results(search_result("Three months."))))
    (found,) = retrieve(make())
    node = found.node
    assert isinstance(node, TextNode)
    assert (found.score, node.text, node.node_id, node.ref_doc_id) == (0.83, "Three months.", CHUNK_IDS[0], "12")
    known = {
        "file_name": "a.pdf",
        "page_label": "3-4",
        "file_id": 12,
        "workspace": "W",
        "tags": ["x"],
        "total_pages": 9,
    }
    assert known.items() <= node.metadata.items()
    assert node.metadata["scores"] == {"text": 0.7, "keyword": 3.1, "relevance": 0.83}


def test_prompts_hold_file_and_pages_and_no_more_of_the_metadata(make: Make, wire: WireServer) -> None:
    wire.script(reply(search_results(search_result("Three months.", secret_plan="x" * 1000))))
    (found,) = make().retrieve(QUERY)
    assert found.get_content(MetadataMode.LLM) == "file_name: a.pdf\npage_label: 3-4\n\nThree months."
    assert found.get_content(MetadataMode.EMBED) == "Three months."


@pytest.mark.parametrize(
    ("pages", "label"),
    [({}, "3-4"), ({"page_end": 3}, "3"), ({"page_end": None}, "3"), ({"page_start": None, "page_end": None}, None)],
)
def test_page_label_is_one_page_or_a_range(make: Make, wire: WireServer, pages: Any, label: str | None) -> None:
    wire.script(reply(search_results(search_result(**pages))))
    assert make().retrieve(QUERY)[0].metadata.get("page_label") == label


@pytest.mark.parametrize("entry", [{}, {"content": None, "score": None, "source": None}, {"source": {}, "x": 1}])
def test_nodes_are_made_of_results_that_lack_everything(make: Make, wire: WireServer, entry: Any) -> None:
    wire.script(reply(search_results(entry, entry)))
    nodes = make().retrieve(QUERY)
    made = [(node.text, node.score, node.metadata, node.node.ref_doc_id) for node in nodes]
    assert made in ([("", None, {}, None)] * 2, [("", None, {}, None)])  # an older LlamaIndex drops the second


def test_image_makes_an_image_node_whose_prompt_is_text_only(make: Make, wire: WireServer) -> None:
    image = {"b64_content": "/9j/" + "A" * 40_000}
    wire.always(reply(search_results(search_result(None, image=image))))
    (found,) = make(include_image=True).retrieve(QUERY)
    assert isinstance(found.node, ImageNode)
    assert (found.node.image, found.node.image_mimetype) == (image["b64_content"], "image/jpeg")
    assert len(found.get_content(MetadataMode.ALL)) < 1000
    assert not isinstance(make().retrieve(QUERY)[0].node, ImageNode)


def test_warnings_are_in_the_metadata(make: Make, wire: WireServer) -> None:
    warnings = [{"code": "relevance", "reason": "timeout"}]
    wire.script(reply(search_results(search_result(), warnings=warnings)))
    assert make().retrieve(QUERY)[0].metadata["warnings"] == warnings


# Arguments


def test_arguments_of_the_constructor_are_sent(make: Make, wire: WireServer, retrieve: Retrieve) -> None:
    wire.script(reply(search_results()))
    retrieve(make(similarity_top_k=3, workspace_id=5, tag_id=[1, 2], relevance_scoring="none"))
    assert wire.requests[0].path == "/api/v3/search"
    assert wire.bodies == [
        {"query": QUERY, "max_results": 3, "workspace_id": [5], "tag_id": [1, 2], "relevance_scoring": "none"}
    ]


def test_arguments_of_a_call_win_and_none_drops_one(make: Make, wire: WireServer, retrieve: Retrieve) -> None:
    wire.always(reply(search_results()))
    retriever = make(workspace_id=5, mode="text")
    headers = {"X-Trace": "1"}
    retrieve(retriever, similarity_top_k=2, workspace_id=None, file_id=7, extra_headers=headers, timeout=5)
    retrieve(retriever, QueryBundle(QUERY), max_results=4)
    retrieve(retriever)
    assert wire.requests[0].headers["x-trace"] == "1"
    assert wire.bodies == [
        {"query": QUERY, "max_results": 2, "file_id": [7], "mode": "text"},
        {"query": QUERY, "max_results": 4, "workspace_id": [5], "mode": "text"},
        {"query": QUERY, "max_results": 10, "workspace_id": [5], "mode": "text"},
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"workspace_id": 1, "file_id": 2}, "cannot be combined"),
        ({"similarity_top_k": 0}, "similarity_top_k"),
        ({"k": 3}, "here it is similarity_top_k"),
        ({"api_base": "http://127.0.0.1", "base_url": "http://localhost"}, "another name of base_url"),
    ],
)
def test_wrong_arguments_are_refused_at_construction(make: Make, arguments: Any, words: str) -> None:
    with pytest.raises(InvalidParameterError, match=words):
        make(**arguments)


def test_wrong_arguments_of_a_call_are_refused_early(make: Make, wire: WireServer, retrieve: Retrieve) -> None:
    for wrong in ({"file_id": 7}, {"workspace_id": []}, {"color": 1}, {"api_key": "x"}):
        with pytest.raises(InvalidParameterError):
            retrieve(make(workspace_id=5), **wrong)
    assert wire.requests == []


# Filters


def where(key: str, value: Any, operator: str = "==") -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=FilterOperator(operator))


def both(*filters: Any) -> MetadataFilters:
    return MetadataFilters(filters=list(filters))


def either(*filters: Any) -> MetadataFilters:
    return MetadataFilters(filters=list(filters), condition=FilterCondition.OR)


@pytest.mark.parametrize(
    ("filters", "sent"),
    [
        (both(where("workspace_id", 5)), {"workspace_id": [5]}),
        (both(where("tag_id", [1, 2], "in")), {"tag_id": [1, 2]}),
        (both(where("file_id", ["1", "2"], "any")), {"file_id": [1, 2]}),
        (both(where("content_type", "legal:contract")), {"content_type": ["legal:contract"]}),
        (both(where("status", "active")), {"attribute": ["status:active"]}),
        (both(where("year", [2024, 2025], "in")), {"attribute": ["year:2024|2025"]}),
        (both(where("topics", ["a", "b"], "all")), {"attribute": ["topics:a", "topics:b"]}),
        (both(where("topics", "a", "contains")), {"attribute": ["topics:a"]}),
        (both(where("year", 2024, ">"), where("year", 2026, "<=")), {"attribute": ["year:>2024", "year:<=2026"]}),
        (both(where("name", "nda", "text_match_insensitive")), {"attribute": ["name:*nda*"]}),
        (either(where("year", 2024), where("year", 2025)), {"attribute": ["year:2024|2025"]}),
        (either(where("workspace_id", 5), where("workspace_id", [6], "in")), {"workspace_id": [5, 6]}),
        (either(where("year", 2024, ">")), {"attribute": ["year:>2024"]}),
        (
            both(where("tag_id", 1), either(where("a", 1), where("a", 2)), both(where("b", 3))),
            {"tag_id": [1], "attribute": ["a:1|2", "b:3"]},
        ),
        (both(where("content_type(legal:nda).party", "Ada")), {"attribute": ["content_type(legal:nda).party:Ada"]}),
        (both(), {}),
    ],
)
def test_filters_are_sent_as_fields(make: Make, wire: WireServer, filters: MetadataFilters, sent: Any) -> None:
    wire.always(reply(search_results()))
    make(filters=filters).retrieve(QUERY)
    make().retrieve(QUERY, filters=filters)
    assert wire.bodies == [{"query": QUERY, "max_results": 10, **sent}] * 2


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        (both(where("workspace_id", 5, "!=")), "no '!=' for workspace_id"),
        (both(where("tag_id", [1, 2], "all")), "no 'all' for tag_id"),
        (both(where("year", 2024, "!=")), "no '!=' for year"),
        (both(where("year", [2024], "nin")), "no 'nin' for year"),
        (both(where("name", "nda", "text_match")), "no 'text_match' for name"),
        (both(where("year", None, "is_empty")), "year has no value"),
        (both(where("year", [], "in")), "year has no value"),
        (both(where("year", [1, 2], ">")), "no '>' for year"),
        (both(where("file_name", "a.pdf")), "cannot select by file_name; it can by workspace_id"),
        (both(where("tags", "x")), "cannot select by tags"),
        (both(where("content_types", "legal:nda")), "cannot select by content_types; it can by"),
        (both(where("party", "a|b")), "a value of party holds"),
        (both(where("party", ">x")), "a value of party holds"),
        (both(where("workspace_id", 5), where("workspace_id", 6)), "workspace_id is filtered twice"),
        (both(where("workspace_id", "five")), "workspace_id"),
        (both(where("workspace_id", 5), where("file_id", 6)), "cannot be combined"),
        (either(where("year", 1), where("status", "x")), "'or' only between values of one key"),
        (either(where("year", 1), where("year", 2, ">")), "'or' only between values of one key"),
        (either(where("year", 1), both(where("year", 2))), "'or' only between values of one key"),
        (MetadataFilters(filters=[where("a", 1)], condition=FilterCondition.NOT), "no 'not'"),
    ],
)
def test_filters_that_the_search_has_no_form_for_are_refused(
    make: Make, wire: WireServer, filters: MetadataFilters, words: str
) -> None:
    with pytest.raises(InvalidParameterError, match=words):
        make(filters=filters)
    with pytest.raises(InvalidParameterError, match=words):
        make().retrieve(QUERY, filters=filters)
    assert wire.requests == []


def test_filters_add_to_attributes_and_do_not_replace_other_arguments(make: Make, wire: WireServer) -> None:
    wire.always(reply(search_results()))
    make(attribute="status:active", filters=both(where("year", 2024))).retrieve(QUERY)
    assert wire.bodies[0]["attribute"] == ["status:active", "year:2024"]
    with pytest.raises(InvalidParameterError, match="workspace_id is given both"):
        make(workspace_id=5, filters=both(where("workspace_id", 6)))


# Life


def test_error_is_that_of_the_transport(make: Make, wire: WireServer, retrieve: Retrieve) -> None:
    wire.script(reply({"error": "not_found", "detail": "No API endpoint."}, 404))
    with pytest.raises(NotFoundError, match="version 3 of Paradigm's API"):
        retrieve(make())


def test_key_is_in_no_text_about_the_retriever(make: Make) -> None:
    retriever = make(default_headers={"X-Tenant": "hush-hush"})
    for text in (repr(retriever), str(retriever), str(retriever.model_dump()), retriever.model_dump_json()):
        assert KEY not in text
        assert "hush-hush" not in text


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_and_pickles_work(make: Make, wire: WireServer, again: Any, retrieve: Retrieve) -> None:
    wire.script(reply(search_results(search_result())))
    copied = again(make(similarity_top_k=3, filters=both(where("year", 2024))))
    assert len(retrieve(copied)) == 1
    assert wire.bodies[0]["max_results"] == 3
    copied.close()


def test_copy_with_other_arguments_shares_the_clients(make: Make, wire: WireServer) -> None:
    wire.script(reply(search_results()))
    retriever = make()
    client = retriever.client
    narrow = retriever.model_copy(update={"similarity_top_k": 1, "workspace_id": [5]})
    assert narrow.client is client
    narrow.retrieve(QUERY)
    assert wire.bodies == [{"query": QUERY, "max_results": 1, "workspace_id": [5]}]


def test_retrieval_is_reported_by_events_and_callbacks(
    make: Make, wire: WireServer, events: Events, retrieve: Retrieve
) -> None:
    wire.always(reply(search_results(search_result("a"))))
    debug = LlamaDebugHandler(print_trace_on_end=False)
    retrieve(make(callback_manager=CallbackManager([debug])), similarity_top_k=1)
    assert events.names == ["RetrievalStartEvent", "RetrievalEndEvent"]
    assert [node.text for node in events.seen[1].nodes] == ["a"]
    (_, ended) = debug.get_event_pairs(CBEventType.RETRIEVE)[0]
    assert len(ended.payload["nodes"]) == 1


def test_callback_manager_is_that_of_the_settings(make: Make) -> None:
    Settings.callback_manager = CallbackManager([LlamaDebugHandler(print_trace_on_end=False)])
    assert make().callback_manager is make(callback_manager=None).callback_manager is Settings.callback_manager


# Engines


def answering(*texts: str) -> Callable[[Request], Script]:
    """Answers searches with two passages, and completions with the texts in turn."""
    left = list(texts)
    passages = [
        search_result("The notice period is three months.", chunk_id=CHUNK_IDS[0], page_end=3),
        search_result("Wages are paid monthly.", 0.2, chunk_id=CHUNK_IDS[1], page_start=8, page_end=8),
    ]

    def answer(request: Request) -> Script:
        if request.path.endswith("/search"):
            return reply(search_results(*passages))
        return reply(completion(left.pop(0)))

    return answer


@pytest.fixture(params=["query", "aquery"])
def query(request: pytest.FixtureRequest) -> Callable[[Any, str], Any]:
    def call(engine: Any, text: str) -> Any:
        found = getattr(engine, request.param)(text)
        return asyncio.run(found) if request.param.startswith("a") else found

    return call


def test_retriever_query_engine_answers_with_sources(
    make: Make, make_llm: Callable[..., ParadigmLLM], wire: WireServer, query: Any
) -> None:
    wire.always(answering("Three months."))
    synthesizer = get_response_synthesizer(llm=make_llm())
    cutoff = [SimilarityPostprocessor(similarity_cutoff=0.5)]
    engine = RetrieverQueryEngine(make(), response_synthesizer=synthesizer, node_postprocessors=cutoff)
    answer = query(engine, QUERY)
    assert str(answer) == "Three months."
    assert [(node.metadata["file_name"], node.metadata["page_label"]) for node in answer.source_nodes] == [
        ("a.pdf", "3")
    ]
    prompt = wire.bodies[-1]["prompt"]
    assert "page_label: 3" in prompt
    assert "workspace" not in prompt


def test_citation_query_engine_numbers_the_sources_and_keeps_their_pages(
    make: Make, make_llm: Callable[..., ParadigmLLM], wire: WireServer, query: Any
) -> None:
    wire.always(answering("Three months [1]."))
    answer = query(CitationQueryEngine(make(), llm=make_llm()), QUERY)
    assert str(answer) == "Three months [1]."
    assert [node.metadata["page_label"] for node in answer.source_nodes] == ["3", "8"]
    assert answer.source_nodes[0].get_content().startswith("Source 1:\nThe notice period is three months.")
    assert {node.node.ref_doc_id for node in answer.source_nodes} == {"12"}


def test_citation_query_engine_takes_image_nodes(
    make: Make, make_llm: Callable[..., ParadigmLLM], wire: WireServer
) -> None:
    image = {"b64_content": "/9j/" + "A" * 40_000}

    def answer(request: Request) -> Script:
        is_search = request.path.endswith("/search")
        found = search_results(
            search_result("a chart", image=image), search_result(None, chunk_id=CHUNK_IDS[1], image=image)
        )
        return reply(found if is_search else completion("A chart [1]."))

    wire.always(answer)
    assert str(CitationQueryEngine(make(include_image=True), llm=make_llm()).query(QUERY)) == "A chart [1]."
    assert "AAAA" not in wire.bodies[-1]["prompt"]


@pytest.mark.skipif(
    "multimodal" not in inspect.signature(get_response_synthesizer).parameters, reason="a newer LlamaIndex has this"
)
def test_multimodal_synthesizer_shows_the_pages_to_a_chat_model(
    make: Make, wire: WireServer, query: Callable[..., Any]
) -> None:
    image = {"b64_content": "/9j/" + "A" * 40}
    message = {"message": {"content": "A chart."}, "finish_reason": "stop"}
    wire.script(reply(search_results(search_result(None, image=image))), reply({"choices": [message]}))
    with ChatParadigm(model="alfred-4.2", api_key=KEY, base_url=wire.url, context_window=4096) as llm:
        shown = get_response_synthesizer(llm=llm, multimodal=True)
        engine = RetrieverQueryEngine(make(include_image=True, mode="vision"), shown)
        assert str(query(engine, QUERY)) == "A chart."
    urls = [part["image_url"]["url"] for part in wire.bodies[1]["messages"][-1]["content"] if "image_url" in part]
    assert urls == [f"data:image/jpeg;base64,{image['b64_content']}"]


def test_router_query_engine_chooses_between_tools_over_it(
    make: Make, make_llm: Callable[..., ParadigmLLM], wire: WireServer, query: Any
) -> None:
    wire.always(answering('[{"choice": 2, "reason": "it is about a contract"}]', "Three months."))
    llm = make_llm()
    tools = [
        QueryEngineTool.from_defaults(
            RetrieverQueryEngine.from_args(make(workspace_id=number), llm=llm), name=name, description=name
        )
        for number, name in enumerate(("wages", "contracts"))
    ]
    router = RouterQueryEngine(LLMSingleSelector.from_defaults(llm=llm), tools, llm=llm)
    assert str(query(router, QUERY)) == "Three months."
    assert [body["workspace_id"] for body in wire.bodies if "query" in body] == [[1]]


def test_retriever_tool_is_one_line(make: Make, wire: WireServer) -> None:
    wire.always(answering())
    tool = RetrieverTool.from_defaults(make(), name="search", description="Searches contracts.")
    assert "The notice period is three months." in tool.call(QUERY).content
    assert "Wages" in asyncio.run(tool.acall(QUERY)).content


def test_fusion_with_another_retriever_works(
    make: Make, make_llm: Callable[..., ParadigmLLM], wire: WireServer
) -> None:
    wire.always(answering())
    fused = QueryFusionRetriever(
        [make(workspace_id=1), make(workspace_id=2)], llm=make_llm(), num_queries=1, mode="reciprocal_rerank"
    )
    assert [node.node_id for node in fused.retrieve(QUERY)] == CHUNK_IDS[:2]


def test_fusion_adds_up_the_ranks_of_a_passage_that_several_queries_find(
    make: Make, make_llm: Callable[..., ParadigmLLM], wire: WireServer
) -> None:
    def answer(request: Request) -> Script:
        if "prompt" in request.body:
            return reply(completion("How long is the notice?"))
        found, score, signal = ("ab", 0.9, "text") if request.body["query"] == QUERY else ("bc", 0.8, "vision")
        results = [
            search_result(text, score - place / 10, scores={"relevance": score}, chunk_id=CHUNK_IDS["abc".index(text)])
            for place, text in enumerate(found)
        ]
        return reply(search_results(*results, warnings=[{"code": signal, "reason": "timeout"}]))

    wire.always(answer)
    fused = QueryFusionRetriever(
        [make()], llm=make_llm(), num_queries=2, mode="reciprocal_rerank", similarity_top_k=3, use_async=False
    )
    assert [node.text for node in fused.retrieve(QUERY)] == ["b", "a", "c"]


def test_fusion_keeps_passages_without_text_apart(
    make: Make, make_llm: Callable[..., ParadigmLLM], wire: WireServer
) -> None:
    pages = [search_result(None, 0.9, chunk_id=chunk_id, page_start=None, page_end=None) for chunk_id in CHUNK_IDS[:3]]
    wire.always(reply(search_results(*pages)))
    fused = QueryFusionRetriever(
        [make(mode="vision")], llm=make_llm(), num_queries=1, mode="reciprocal_rerank", similarity_top_k=3
    )
    assert sorted(node.node_id for node in fused.retrieve(QUERY)) == sorted(CHUNK_IDS[:3])


def test_hub_import_path_exports_the_same_class() -> None:
    assert importlib.import_module("llama_index.retrievers.paradigm").ParadigmRetriever is ParadigmRetriever
