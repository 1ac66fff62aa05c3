"""`ParadigmEmbeddings` on the scripted server, sync and async by one fixture."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from langchain_core import exceptions
from langchain_core.load import dumpd, dumps, loads
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_paradigm import ParadigmEmbeddings, ParadigmLLM
from paradigm_transport import (
    APIConnectionError,
    APIResponseError,
    AuthenticationError,
    BadRequestError,
    InvalidParameterError,
    Timeout,
    get_paradigm_usage,
)
from tests.langchain.conftest import KEY
from tests.wire import STALL, WireServer, embed, embeddings, inputs_of, reply, vector_of

TEXTS = [f"text {number}" for number in range(40)]

Make = Callable[..., ParadigmEmbeddings]


@pytest.fixture
def make(wire: WireServer) -> Iterator[Make]:
    made: list[ParadigmEmbeddings] = []
    wire.always(embed)

    def build(**arguments: Any) -> ParadigmEmbeddings:
        usual = {"model": "multilingual-e5-large", "api_key": KEY, "base_url": wire.url}
        given = {**usual, "timeout": Timeout(connect=60), **arguments}  # a busy machine stands still for seconds
        made.append(ParadigmEmbeddings(**given))
        return made[-1]

    yield build
    for each in made:
        each.close()


class Sync:
    """The sync methods."""

    def documents(self, model: ParadigmEmbeddings, texts: Any, **kwargs: Any) -> list[list[float]]:
        return model.embed_documents(texts, **kwargs)

    def query(self, model: ParadigmEmbeddings, text: Any, **kwargs: Any) -> list[float]:
        return model.embed_query(text, **kwargs)


class Async:
    """The async methods, each call in its own event loop."""

    def documents(self, model: ParadigmEmbeddings, texts: Any, **kwargs: Any) -> list[list[float]]:
        return asyncio.run(model.aembed_documents(texts, **kwargs), debug=True)

    def query(self, model: ParadigmEmbeddings, text: Any, **kwargs: Any) -> list[float]:
        return asyncio.run(model.aembed_query(text, **kwargs), debug=True)


Calls = Sync | Async


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def calls(request: pytest.FixtureRequest) -> Calls:
    return request.param()


def sent(wire: WireServer) -> list[str]:
    return [text for request in wire.requests for text in inputs_of(request)]


def test_documents_are_embedded_in_order_one_text_a_request(calls: Calls, make: Make, wire: WireServer) -> None:
    assert calls.documents(make(), TEXTS) == [vector_of(text) for text in TEXTS]
    assert sorted(sent(wire)) == sorted(TEXTS)
    assert all(isinstance(body["input"], str) for body in wire.bodies)


def test_no_document_is_no_request(calls: Calls, make: Make, wire: WireServer) -> None:
    assert calls.documents(make(), []) == []
    assert wire.requests == []


def test_nothing_is_put_in_front_of_texts_unasked(calls: Calls, make: Make, wire: WireServer) -> None:
    calls.documents(make(), ["a"])
    calls.query(make(), "b")
    assert sent(wire) == ["a", "b"]


def test_queries_and_documents_have_their_own_prefix(calls: Calls, make: Make, wire: WireServer) -> None:
    model = make(query_prefix="query: ", document_prefix="passage: ")
    assert calls.documents(model, ["a"]) == [vector_of("passage: a")]
    assert calls.query(model, "b") == vector_of("query: b")


def test_lists_are_sent_if_the_server_takes_them(calls: Calls, make: Make, wire: WireServer) -> None:
    assert calls.documents(make(batch_inputs=16), TEXTS) == [vector_of(text) for text in TEXTS]
    assert sorted(len(inputs_of(request)) for request in wire.requests) == [8, 16, 16]


def test_refused_lists_are_remembered_by_object_and_copies(calls: Calls, make: Make, wire: WireServer) -> None:
    wire.always(
        lambda request: embed(request) if isinstance(request.body["input"], str) else reply({"input": ["No."]}, 400)
    )
    model = make(batch_inputs=16)
    again: ParadigmEmbeddings = pickle.loads(pickle.dumps(model))
    for each in (model, model, model.model_copy()):
        calls.documents(each, TEXTS)
    assert sum(isinstance(body["input"], list) for body in wire.bodies) == 1
    again.close()


def test_fields_of_constructor_and_call_are_sent(calls: Calls, make: Make, wire: WireServer) -> None:
    model = make(dimensions=3, user="u", extra_body={"truncate_prompt_tokens": 512})
    calls.query(model, "a", dimensions=None, extra_body={"priority": 1}, extra_headers={"X-Team": "search"})
    assert wire.bodies == [
        {
            "model": "multilingual-e5-large",
            "encoding_format": "float",
            "user": "u",
            "truncate_prompt_tokens": 512,
            "priority": 1,
            "input": "a",
        }
    ]
    assert wire.requests[0].headers["x-team"] == "search"


def test_vectors_are_lists_of_floats(calls: Calls, make: Make, wire: WireServer) -> None:
    wire.always(reply(embeddings([1, 2])))
    vector = calls.query(make(), "a")
    assert type(vector) is list
    assert [type(number) for number in vector] == [float, float]


def test_single_string_in_place_of_documents_is_refused(calls: Calls, make: Make, wire: WireServer) -> None:
    with pytest.raises(InvalidParameterError, match="texts must be a list of strings, not one string"):
        calls.documents(make(), "text")
    with pytest.raises(InvalidParameterError, match="the query must be a string, not int"):
        calls.query(make(), 5)
    assert wire.requests == []


def test_unknown_argument_is_named(make: Make, calls: Calls) -> None:
    with pytest.raises(InvalidParameterError, match="unknown argument chunk_size; here it is batch_inputs"):
        make(chunk_size=5)
    with pytest.raises(InvalidParameterError, match="unknown argument dimension; here it is dimensions"):
        calls.query(make(), "a", dimension=5)
    with pytest.raises(InvalidParameterError, match="model is required"):
        ParadigmEmbeddings(api_key=KEY)


@pytest.mark.parametrize("batch_inputs", [1, 8])
def test_refused_document_is_named_and_an_error_of_langchain_too(
    calls: Calls, make: Make, wire: WireServer, batch_inputs: int
) -> None:
    words = {"detail": "This model's maximum context length is 512 tokens. However, you requested 600 tokens."}
    wire.always(lambda request: reply(words, 400) if TEXTS[13] in inputs_of(request) else embed(request))
    with pytest.raises(BadRequestError, match=r"It was about texts\[13\]\.") as caught:
        calls.documents(make(batch_inputs=batch_inputs), TEXTS)
    if hasattr(exceptions, "ContextOverflowError"):
        assert isinstance(caught.value, exceptions.ContextOverflowError)
    assert isinstance(caught.value, exceptions.LangChainException)


def test_faulty_embedding_is_named(calls: Calls, make: Make, wire: WireServer) -> None:
    wire.always(lambda request: reply(embeddings([None])) if request.body["input"] == TEXTS[5] else embed(request))
    with pytest.raises(APIResponseError, match=r"texts\[5\]"):
        calls.documents(make(), TEXTS)


def test_error_holds_neither_key_nor_text(calls: Calls, make: Make, wire: WireServer) -> None:
    wire.always(reply({"detail": f"Bad key {KEY} for a text that is secret"}, 401))
    with pytest.raises(AuthenticationError) as caught:
        calls.query(make(), "a text that is secret")
    assert KEY not in str(caught.value) + str(caught.value.body)
    assert "secret" not in str(caught.value)


def test_rate_limiter_is_acquired_once_for_each_request_and_retry(calls: Calls, make: Make, wire: WireServer) -> None:
    class Limiter(InMemoryRateLimiter):
        acquired = 0

        def acquire(self, *, blocking: bool = True) -> bool:
            self.acquired += 1
            return True

        async def aacquire(self, *, blocking: bool = True) -> bool:
            return self.acquire()

    limiter = Limiter()
    wire.script(reply({}, 503, {"Retry-After": "0"}))
    calls.documents(make(rate_limiter=limiter), TEXTS)
    assert limiter.acquired == len(wire.requests) == len(TEXTS) + 1


def test_usage_is_counted(calls: Calls, make: Make) -> None:
    with get_paradigm_usage() as usage:
        calls.documents(make(), TEXTS)
    assert (usage.calls, usage.prompt_tokens, usage.completion_tokens) == (len(TEXTS), 2 * len(TEXTS), 0)


def test_max_concurrency_bounds_the_requests_in_flight(calls: Calls, make: Make, wire: WireServer) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def answer(request: Any) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.005)
        with lock:
            now -= 1
        return embed(request)

    wire.always(answer)
    calls.documents(make(max_concurrency=3), TEXTS)
    assert 1 < most <= 3


def test_progress_is_shown_if_asked_for(calls: Calls, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    calls.documents(make(), TEXTS)
    assert "40/40" not in capsys.readouterr().err
    calls.documents(make(show_progress=True), TEXTS)
    assert "40/40" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.filterwarnings("ignore:The default value of `allowed_objects`")
def test_dumped_model_loads_without_the_key(make: Make, calls: Calls, wire: WireServer) -> None:
    model = make(
        query_prefix="query: ", batch_inputs=8, timeout=9, dimensions=3, default_headers={"X-Secret": "header-secret"}
    )
    text = dumps(model)
    assert KEY not in text
    assert "header-secret" not in text
    assert dumpd(model)["kwargs"]["api_key"] == {"lc": 1, "type": "secret", "id": ["PARADIGM_API_KEY"]}
    loaded = loads(
        text,
        allowed_objects=[ParadigmEmbeddings],
        valid_namespaces=["langchain_paradigm"],
        secrets_map={"PARADIGM_API_KEY": "another"},
    )
    for name in ("model", "query_prefix", "document_prefix", "batch_inputs", "timeout", "dimensions", "base_url"):
        assert getattr(loaded, name) == getattr(model, name), name
    assert calls.query(loaded, "a") == vector_of("query: a")
    assert wire.requests[0].headers["authorization"] == "Bearer another"
    loaded.close()


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, ParadigmEmbeddings.model_copy, lambda each: pickle.loads(pickle.dumps(each))]
)
def test_copies_and_pickles_work(make: Make, calls: Calls, copied: Any) -> None:
    model = make(query_prefix="query: ")
    again = copied(model)
    assert calls.query(again, "a") == vector_of("query: a")
    again.close()


def test_no_text_form_of_the_object_holds_secrets(make: Make) -> None:
    model = make(default_headers={"X-Secret": "header-secret"})
    shown = [repr(model), str(model), model.model_dump(), model.model_dump_json()]
    assert KEY not in repr(shown)
    assert "header-secret" not in repr(shown)


def test_injected_client_is_used_and_left_open(make: Make, wire: WireServer) -> None:
    with httpx.Client(timeout=60) as client:
        model = make(http_client=client)
        assert model.embed_query("a") == vector_of("a")
        model.close()
        assert not client.is_closed
        with pytest.raises(TypeError, match="http_client"):
            pickle.dumps(model)


def test_closing_ends_the_calls_in_progress(make: Make, wire: WireServer) -> None:
    wire.always([STALL])
    model, errors = make(), []

    def call() -> None:
        try:
            model.embed_documents(["a", "b"])
        except APIConnectionError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert wire.wait_for(2)
    model.close()
    thread.join(5)
    assert len(errors) == 1


def test_model_name_is_another_name_of_model(make: Make) -> None:
    model = ParadigmEmbeddings(model_name="e5", api_key=KEY)
    assert (model.model, model.model_name) == ("e5", "e5")


def test_embeddings_are_neither_an_llm_nor_have_its_arguments() -> None:
    assert not {"max_tokens", "temperature", "chat_template"} & set(ParadigmEmbeddings.model_fields)
    assert not issubclass(ParadigmEmbeddings, ParadigmLLM)


def test_vector_store_finds_the_nearest_text(make: Make, calls: Calls) -> None:
    pytest.importorskip("numpy")  # LangChain's store needs it
    store = InMemoryVectorStore.from_texts(TEXTS, make())
    if isinstance(calls, Sync):
        found = store.similarity_search(TEXTS[7], k=1)
    else:
        found = asyncio.run(store.asimilarity_search(TEXTS[7], k=1))
    assert [document.page_content for document in found] == [TEXTS[7]]


def test_cached_documents_are_not_sent_again(make: Make, wire: WireServer, calls: Calls) -> None:
    classic = pytest.importorskip("langchain_classic.embeddings")
    from langchain_core.stores import InMemoryByteStore

    cached = classic.CacheBackedEmbeddings.from_bytes_store(
        make(), InMemoryByteStore(), namespace="e5", key_encoder="sha256"
    )
    first = calls.documents(cached, TEXTS)
    assert calls.documents(cached, TEXTS) == first
    assert len(wire.requests) == len(TEXTS)
