"""`ParadigmEmbedding` on the scripted server, sync and async by one fixture."""

from __future__ import annotations

import asyncio
import copy
import importlib
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex, VectorStoreIndex
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SemanticSplitterNodeParser
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore

import llama_index_paradigm
from llama_index_paradigm import ParadigmEmbedding
from llama_index_paradigm.embeddings import EmbeddingUsageEvent
from paradigm_transport import APIResponseError, BadRequestError, InvalidParameterError, Timeout, get_paradigm_usage
from tests.llama_index.conftest import KEY, Callbacks, Events, Limiter, Spans
from tests.wire import Request, Script, WireServer, embed, embeddings, inputs_of, reply, vector_of

TEXTS = [f"text {number}" for number in range(40)]

Make = Callable[..., ParadigmEmbedding]

needs_rate_limiter = pytest.mark.skipif(
    "rate_limiter" not in ParadigmEmbedding.model_fields, reason="this LlamaIndex has no rate limiters"
)


@pytest.fixture
def make(wire: WireServer) -> Iterator[Make]:
    made: list[ParadigmEmbedding] = []
    wire.always(embed)

    def build(**arguments: Any) -> ParadigmEmbedding:
        usual = {"model": "multilingual-e5-large", "api_key": KEY, "base_url": wire.url}
        given = {**usual, "timeout": Timeout(connect=60), **arguments}  # a busy machine stands still for seconds
        made.append(ParadigmEmbedding(**given))
        return made[-1]

    yield build
    for each in made:
        each.close()


class Sync:
    """The sync methods."""

    def texts(self, model: ParadigmEmbedding, texts: list[Any], **kwargs: Any) -> list[list[float]]:
        return model.get_text_embedding_batch(texts, **kwargs)

    def text(self, model: ParadigmEmbedding, text: Any) -> list[float]:
        return model.get_text_embedding(text)

    def query(self, model: ParadigmEmbedding, query: Any) -> list[float]:
        return model.get_query_embedding(query)

    def aggregate(self, model: ParadigmEmbedding, queries: list[str]) -> list[float]:
        return model.get_agg_embedding_from_queries(queries)


class Async:
    """The async methods, each call in its own event loop."""

    def texts(self, model: ParadigmEmbedding, texts: list[Any], **kwargs: Any) -> list[list[float]]:
        return asyncio.run(model.aget_text_embedding_batch(texts, **kwargs), debug=True)

    def text(self, model: ParadigmEmbedding, text: Any) -> list[float]:
        return asyncio.run(model.aget_text_embedding(text), debug=True)

    def query(self, model: ParadigmEmbedding, query: Any) -> list[float]:
        return asyncio.run(model.aget_query_embedding(query), debug=True)

    def aggregate(self, model: ParadigmEmbedding, queries: list[str]) -> list[float]:
        return asyncio.run(model.aget_agg_embedding_from_queries(queries), debug=True)


Calls = Sync | Async


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def calls(request: pytest.FixtureRequest) -> Calls:
    return request.param()


def sent(wire: WireServer) -> list[str]:
    return [text for request in wire.requests for text in inputs_of(request)]


def test_texts_are_embedded_in_order_one_a_request(calls: Calls, make: Make, wire: WireServer) -> None:
    assert calls.texts(make(embed_batch_size=7), TEXTS) == [vector_of(text) for text in TEXTS]
    assert sorted(sent(wire)) == sorted(TEXTS)
    assert all(isinstance(body["input"], str) for body in wire.bodies)


def test_no_text_is_no_request(calls: Calls, make: Make, wire: WireServer) -> None:
    assert calls.texts(make(), []) == []
    assert wire.requests == []


def test_queries_and_texts_have_their_own_prefix(calls: Calls, make: Make) -> None:
    model = make(query_prefix="query: ", document_prefix="passage: ")
    assert calls.texts(model, ["a"]) == [vector_of("passage: a")]
    assert calls.text(model, "a") == vector_of("passage: a")
    assert calls.query(model, "a") == vector_of("query: a")
    assert calls.aggregate(model, ["a", "a"]) == vector_of("query: a")


def test_nothing_is_put_in_front_of_texts_unasked(calls: Calls, make: Make, wire: WireServer) -> None:
    model = make()
    calls.texts(model, ["a"])
    calls.query(model, "b")
    assert sent(wire) == ["a", "b"]


def test_lists_are_sent_within_a_batch(calls: Calls, make: Make, wire: WireServer) -> None:
    assert calls.texts(make(embed_batch_size=20, batch_inputs=8), TEXTS) == [vector_of(text) for text in TEXTS]
    assert max(len(inputs_of(request)) for request in wire.requests) == 8
    assert len(wire.requests) == 6


def test_refused_lists_are_remembered(calls: Calls, make: Make, wire: WireServer) -> None:
    wire.always(
        lambda request: embed(request) if isinstance(request.body["input"], str) else reply({"input": ["No."]}, 400)
    )
    model = make(batch_inputs=8)
    for each in (model, model, copy.copy(model)):
        assert calls.texts(each, TEXTS) == [vector_of(text) for text in TEXTS]
    assert sum(isinstance(body["input"], list) for body in wire.bodies) == 1


def test_max_concurrency_bounds_the_requests_of_all_batches(calls: Calls, make: Make, wire: WireServer) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def answer(request: Request) -> Script:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.005)
        with lock:
            now -= 1
        return embed(request)

    wire.always(answer)
    model = make(max_concurrency=3, embed_batch_size=5)
    calls.texts(model, TEXTS)
    assert 1 < most <= 3
    model.max_concurrency, most = 2, 0
    calls.texts(model, TEXTS)
    assert most == 2


def test_num_workers_and_progress_are_taken(calls: Calls, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    model = make(num_workers=2, embed_batch_size=5)
    assert calls.texts(model, TEXTS, show_progress=True) == [vector_of(text) for text in TEXTS]
    assert "Generating embeddings" in capsys.readouterr().err


def test_refused_text_is_named_by_its_position_in_the_batch(calls: Calls, make: Make, wire: WireServer) -> None:
    wire.always(lambda request: reply({"detail": "No."}, 400) if TEXTS[13] in inputs_of(request) else embed(request))
    with pytest.raises(BadRequestError, match=r"It was about texts\[13\] of the batch\."):
        calls.texts(make(), TEXTS)


def test_faulty_embedding_is_named(calls: Calls, make: Make, wire: WireServer) -> None:
    wire.always(lambda request: reply(embeddings([None])) if request.body["input"] == TEXTS[5] else embed(request))
    with pytest.raises(APIResponseError, match=r"texts\[5\]"):
        calls.texts(make(), TEXTS)


def test_query_that_is_not_a_string_is_refused(calls: Calls, make: Make, wire: WireServer) -> None:
    with pytest.raises(InvalidParameterError, match="the query must be a string, not int"):
        calls.query(make(), 5)
    assert wire.requests == []


@needs_rate_limiter
def test_rate_limiter_is_acquired_once_for_each_request_and_retry(calls: Calls, make: Make, wire: WireServer) -> None:
    wire.script(reply({}, 503, {"Retry-After": "0"}))
    for model in (make(rate_limiter=Limiter()), make(rate_limiter=Limiter(), embeddings_cache=SimpleKVStore())):
        before = len(wire.requests)
        calls.texts(model, TEXTS)
        assert len(model.rate_limiter.acquired) == len(wire.requests) - before
        calls.query(model, "q")
        calls.text(model, "t")
        assert len(model.rate_limiter.acquired) == len(wire.requests) - before
        assert set(model.rate_limiter.acquired) == {"sync" if isinstance(calls, Sync) else "async"}


def test_usage_is_counted_and_reported_as_an_event(calls: Calls, make: Make, events: Events, spans: Spans) -> None:
    model = make(embed_batch_size=20)
    with get_paradigm_usage() as usage:
        calls.texts(model, TEXTS)
        calls.query(model, "q")
    assert (usage.calls, usage.prompt_tokens) == (41, 82)
    reported = [event for event in events.seen if isinstance(event, EmbeddingUsageEvent)]
    assert [event.prompt_tokens for event in reported] == [40, 40, 2]
    assert {event.model for event in reported} == {"multilingual-e5-large"}
    assert all(event.span_id in spans.entered for event in reported)


def test_usage_that_is_not_known_is_not_reported(calls: Calls, make: Make, wire: WireServer, events: Events) -> None:
    wire.always(reply(embeddings([1.0], usage=None)))
    calls.query(make(), "q")
    assert "EmbeddingUsageEvent" not in events.names


def test_batches_are_reported_to_callbacks_and_events(calls: Calls, make: Make, events: Events) -> None:
    recorder = Callbacks(CBEventType.EMBEDDING)
    calls.texts(make(embed_batch_size=20, callback_manager=recorder.manager), TEXTS)
    assert [payload[EventPayload.CHUNKS] for payload in recorder.ends] == [TEXTS[:20], TEXTS[20:]]
    ends = events.of("EmbeddingEndEvent")
    assert [vector for end in ends for vector in end.embeddings] == [vector_of(text) for text in TEXTS]
    start, _ = events.of("EmbeddingStartEvent")
    assert start.model_dict["model_name"] == "multilingual-e5-large"
    assert KEY not in str(start.model_dict)


def test_cached_texts_are_not_sent_again(calls: Calls, make: Make, wire: WireServer) -> None:
    model = make(embeddings_cache=SimpleKVStore())
    first = calls.texts(model, TEXTS)
    assert calls.texts(model, TEXTS) == first
    assert calls.text(model, TEXTS[0]) == first[0]
    assert len(wire.requests) == len(TEXTS)


def test_model_and_model_name_are_one(make: Make) -> None:
    model = ParadigmEmbedding(model_name="e5", api_key=KEY, api_base="https://paradigm.example")
    assert (model.model, model.model_name, model.base_url) == ("e5", "e5", "https://paradigm.example/api/v2")
    model.model = "a"
    assert model.model_name == "a"
    model.model_name = "b"
    assert model.model == "b"
    assert model.model_copy(update={"model_name": "c"}).model == "c"
    with pytest.raises(InvalidParameterError, match="model_name is another name of model"):
        ParadigmEmbedding(model="a", model_name="b", api_key=KEY)


def test_dictionary_and_json_restore_an_equal_model_without_the_key(make: Make, calls: Calls, wire: WireServer) -> None:
    model = make(query_prefix="query: ", batch_inputs=8, default_headers={"X-Secret": "header-secret"})
    shown = [repr(model), model.to_dict(), model.to_json(), model.model_dump()]
    assert KEY not in repr(shown)
    assert "header-secret" not in repr(shown)
    assert model.to_dict()["class_name"] == "ParadigmEmbedding"
    for again in (ParadigmEmbedding.from_dict(model.to_dict(), api_key="b"), ParadigmEmbedding.from_json(
        model.to_json(), api_key="b"
    )):  # fmt: skip
        assert again.to_dict() == model.to_dict()
        assert calls.query(again, "a") == vector_of("query: a")
        again.close()
    assert wire.requests[0].headers["authorization"] == "Bearer b"


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, ParadigmEmbedding.model_copy, lambda each: pickle.loads(pickle.dumps(each))]
)
def test_copies_and_pickles_work(make: Make, calls: Calls, copied: Any) -> None:
    model = make(query_prefix="query: ")
    calls.query(model, "a")
    again = copied(model)
    assert calls.query(again, "a") == vector_of("query: a")
    assert calls.texts(again, TEXTS) == [vector_of(text) for text in TEXTS]
    again.close()


def test_unpicklable_cache_stays_behind(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    class Locked(SimpleKVStore):
        lock: Any

    cache = Locked()
    cache.lock = threading.Lock()
    again = pickle.loads(pickle.dumps(make(embeddings_cache=cache)))
    assert again.embeddings_cache is None
    assert "embeddings_cache cannot be pickled" in caplog.text
    again.close()


def test_vector_index_is_built_and_queried(make: Make, calls: Calls, wire: WireServer) -> None:
    documents = [Document(text=text) for text in TEXTS]
    model = make(document_prefix="passage: ", query_prefix="passage: ")
    index = VectorStoreIndex.from_documents(documents, embed_model=model, use_async=isinstance(calls, Async))
    retriever = index.as_retriever(similarity_top_k=1)
    is_sync = isinstance(calls, Sync)
    found = retriever.retrieve(TEXTS[7]) if is_sync else asyncio.run(retriever.aretrieve(TEXTS[7]))
    assert [each.node.get_content() for each in found] == [TEXTS[7]]
    assert len(wire.requests) == len(TEXTS) + 1


def test_pipeline_embeds_nodes(make: Make, calls: Calls) -> None:
    pipeline = IngestionPipeline(transformations=[make()])
    nodes = [TextNode(text=text) for text in TEXTS]
    found = pipeline.run(nodes=nodes) if isinstance(calls, Sync) else asyncio.run(pipeline.arun(nodes=nodes))
    assert [node.embedding for node in found] == [vector_of(text) for text in TEXTS]


def test_semantic_splitter_splits_by_embeddings(make: Make) -> None:
    splitter = SemanticSplitterNodeParser(embed_model=make(), buffer_size=1, breakpoint_percentile_threshold=60)
    text = "The sea is salty. The sea is deep. Paris is the capital of France. Paris is large."
    nodes = splitter.get_nodes_from_documents([Document(text=text)])
    assert "".join(node.get_content() for node in nodes) == text
    assert len(nodes) > 1


def test_summary_index_retrieves_by_embeddings(make: Make) -> None:
    index = SummaryIndex.from_documents([Document(text=text) for text in TEXTS])
    found = index.as_retriever(retriever_mode="embedding", embed_model=make(), similarity_top_k=1).retrieve(TEXTS[3])
    assert [each.node.get_content() for each in found] == [TEXTS[3]]


@pytest.mark.parametrize("num_workers", [None, 2])
def test_first_error_of_a_batch_ends_the_other_batches(make: Make, wire: WireServer, num_workers: int | None) -> None:
    wire.always(lambda request: reply({}, 400) if request.body["input"] == "bad" else embed(request))
    model = make(embed_batch_size=2, max_concurrency=2, num_workers=num_workers)

    async def main() -> None:
        with pytest.raises(BadRequestError):
            await model.aget_text_embedding_batch(["bad", *map(str, range(40))])
        sent = len(wire.requests)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        assert len(wire.requests) == sent < 20
        assert len(await model.aget_text_embedding_batch(["1", "2", "3"])) == 3

    asyncio.run(main())


def test_hub_import_path_exports_the_same_class() -> None:
    hub = importlib.import_module("llama_index.embeddings.paradigm")
    assert hub.ParadigmEmbedding is llama_index_paradigm.ParadigmEmbedding
