"""`ParadigmRetriever`: documents, arguments of a call, runs, batches, serialisation, tools and agents."""

from __future__ import annotations

import copy
import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core import exceptions
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.load import dumpd, dumps, loads
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField, RunnablePassthrough
from langchain_core.tools import create_retriever_tool

from langchain_paradigm import ParadigmLLM, ParadigmRetriever
from paradigm_transport import InvalidParameterError, NotFoundError, PageImage
from tests.langchain.conftest import KEY, Calls
from tests.wire import Request, Script, WireServer, completion, reply, search_result, search_results

QUERY = "Which notice period does the contract set?"

Make = Callable[..., ParadigmRetriever]


@pytest.fixture
def make(wire: WireServer) -> Iterator[Make]:
    """Makes retrievers that call the scripted server."""
    made: list[ParadigmRetriever] = []

    def build(**arguments: Any) -> ParadigmRetriever:
        made.append(ParadigmRetriever(**{"api_key": KEY, "base_url": wire.url, **arguments}))
        return made[-1]

    yield build
    for retriever in made:
        retriever.close()


# Documents


def test_document_has_text_id_and_metadata(make: Make, wire: WireServer, calls: Calls) -> None:
    wire.script(reply(search_results(search_result("Three months."))))
    (document,) = calls.invoke(make(), QUERY)
    assert isinstance(document, Document)
    assert (document.page_content, document.id) == ("Three months.", "6a9c1b5e-0000-4000-8000-000000000001")
    known = {"source": "a.pdf", "filename": "a.pdf", "title": "A", "page_start": 3, "page_end": 4, "score": 0.83}
    assert known.items() <= document.metadata.items()
    assert document.metadata["chunk_id"] == document.id
    assert document.metadata["scores"] == {"text": 0.7, "keyword": 3.1, "relevance": 0.83}
    assert "image" not in document.metadata


@pytest.mark.parametrize(
    ("entry", "source"), [({}, None), ({"content": None, "source": None}, None), ({"source": {"title": "A"}}, "A")]
)
def test_documents_are_made_of_results_that_lack_everything(
    make: Make, wire: WireServer, entry: dict[str, Any], source: str | None
) -> None:
    wire.script(reply(search_results(entry)))
    (document,) = make().invoke(QUERY)
    assert (document.page_content, document.id, document.metadata.get("source")) == ("", None, source)


def test_image_is_in_the_metadata_without_flooding_what_is_printed(make: Make, wire: WireServer) -> None:
    wire.always(reply(search_results(search_result(None, image={"b64_content": "/9j/" + "A" * 40_000}))))
    (document,) = make(include_image=True).invoke(QUERY)
    assert isinstance(document.metadata["image"], PageImage)
    assert len(f"{document} {document.metadata} {document!r}") < 3000
    assert "image" not in make().invoke(QUERY)[0].metadata


def test_warnings_are_logged_once_and_in_every_metadata(
    make: Make, wire: WireServer, caplog: pytest.LogCaptureFixture
) -> None:
    warnings = [{"code": "relevance", "reason": "timeout"}]
    wire.always(reply(search_results(search_result(), warnings=warnings)))
    retriever = make()
    with caplog.at_level(logging.WARNING, "paradigm_transport"):
        found = [retriever.invoke(QUERY)[0], retriever.invoke(QUERY)[0]]
    assert [document.metadata["warnings"] for document in found] == [warnings, warnings]
    assert len(caplog.records) == 1
    assert "relevance (timeout)" in caplog.text


# Arguments


def test_arguments_of_the_constructor_are_sent(make: Make, wire: WireServer, calls: Calls) -> None:
    wire.script(reply(search_results()))
    calls.invoke(make(k=3, workspace_id=5, attribute="status:active", relevance_scoring="none"), QUERY)
    assert wire.requests[0].path == "/api/v3/search"
    fields = {"workspace_id": [5], "attribute": ["status:active"], "relevance_scoring": "none"}
    assert wire.bodies == [{"query": QUERY, "max_results": 3, **fields}]


def test_arguments_of_a_call_win_and_none_drops_one(make: Make, wire: WireServer, calls: Calls) -> None:
    wire.always(reply(search_results()))
    retriever = make(workspace_id=5, mode="text", extra_body={"a": 1})
    headers = {"X-Trace": "1"}
    calls.invoke(retriever, QUERY, k=2, workspace_id=None, file_id=7, extra_headers=headers, timeout=5)
    calls.invoke(retriever, QUERY, max_results=4, extra_body={"b": 2})
    calls.invoke(retriever.bind(k=1), QUERY)
    calls.invoke(retriever, QUERY)
    assert wire.requests[0].headers["x-trace"] == "1"
    assert wire.bodies == [
        {"query": QUERY, "max_results": 2, "file_id": [7], "mode": "text", "a": 1},
        {"query": QUERY, "max_results": 4, "workspace_id": [5], "mode": "text", "a": 1, "b": 2},
        {"query": QUERY, "max_results": 1, "workspace_id": [5], "mode": "text", "a": 1},
        {"query": QUERY, "max_results": 10, "workspace_id": [5], "mode": "text", "a": 1},
    ]


def test_k_is_a_configurable_field(make: Make, wire: WireServer, calls: Calls) -> None:
    wire.script(reply(search_results()))
    retriever = make().configurable_fields(k=ConfigurableField(id="k"))
    calls.invoke(retriever, QUERY, {"configurable": {"k": 7}})
    assert wire.bodies[0]["max_results"] == 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"workspace_id": 1, "file_id": 2}, "cannot be combined"),
        ({"k": 0}, "k: "),
        ({"top_k": 3}, "here it is k"),
        ({"k": 3, "max_results": 4}, "another name of k"),
        ({"api_key": " "}, "api_key: it is empty"),
    ],
)
def test_wrong_arguments_are_refused_at_construction(make: Make, arguments: Any, words: str) -> None:
    with pytest.raises(InvalidParameterError, match=words):
        make(**arguments)


def test_wrong_arguments_of_a_call_are_refused_early(make: Make, wire: WireServer, calls: Calls) -> None:
    for wrong in ({"file_id": 7}, {"workspace_id": []}, {"color": 1}, {"api_key": "x"}, {"k": 0}):
        with pytest.raises(InvalidParameterError):
            calls.invoke(make(workspace_id=5), QUERY, **wrong)
    assert wire.requests == []


# Runs and batches


class Runs(BaseCallbackHandler):
    """Records runs of retrievers."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_retriever_start(self, serialized: Any, query: str, **kwargs: Any) -> None:
        self.seen.append(("start", query, kwargs["tags"], kwargs["metadata"]))

    def on_retriever_end(self, documents: Any, **kwargs: Any) -> None:
        self.seen.append(("end", [document.page_content for document in documents]))

    def on_retriever_error(self, error: BaseException, **kwargs: Any) -> None:
        self.seen.append(("error", error))


def test_callbacks_see_a_run_with_tags_and_metadata(make: Make, wire: WireServer, calls: Calls) -> None:
    wire.script(reply(search_results(search_result("a"))), reply({"detail": "no"}, 404))
    runs = Runs()
    retriever = make(tags=["contracts"], metadata={"team": "legal"})
    calls.invoke(retriever, QUERY, {"callbacks": [runs]})
    with pytest.raises(NotFoundError):
        calls.invoke(retriever, QUERY, {"callbacks": [runs]})
    (start, end, _, (name, error)) = runs.seen
    assert start[:3] == ("start", QUERY, ["contracts"])
    assert start[3] == {"team": "legal", "ls_retriever_name": "paradigm"}
    assert (end, name) == (("end", ["a"]), "error")
    assert isinstance(error, NotFoundError)


def test_error_is_langchains_too(make: Make, wire: WireServer, calls: Calls) -> None:
    wire.script(reply({"error": "not_found", "detail": "No API endpoint."}, 404))
    with pytest.raises(NotFoundError, match="version 3 of Paradigm's API") as caught:
        calls.invoke(make(), QUERY)
    assert isinstance(caught.value, exceptions.LangChainException)


def test_batch_keeps_the_order_and_the_limit(make: Make, wire: WireServer, calls: Calls) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def answer(request: Request) -> Script:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.02)
        with lock:
            running -= 1
        return reply(search_results(search_result(request.body["query"])))

    wire.always(answer)
    queries = [f"query {number}" for number in range(12)]
    found = calls.batch(make(max_concurrency=3), queries, k=1)
    assert [documents[0].page_content for documents in found] == queries
    assert most == 3
    assert {body["max_results"] for body in wire.bodies} == {1}
    pairs = calls.batch_as_completed(make(max_concurrency=3), queries)
    assert sorted(index for index, _ in pairs) == list(range(12))
    assert most == 3


def test_batch_returns_errors_in_their_places(make: Make, wire: WireServer, calls: Calls) -> None:
    def answer(request: Request) -> Script:
        is_bad = request.body["query"] == "bad"
        return reply({"detail": "no"}, 400) if is_bad else reply(search_results(search_result("a")))

    wire.always(answer)
    good, bad, last = calls.batch(make(), ["good", "bad", "last"], return_exceptions=True)
    assert (good[0].page_content, last[0].page_content) == ("a", "a")
    assert isinstance(bad, exceptions.LangChainException)


def test_rate_limiter_is_acquired_before_each_request(
    make: Make, wire: WireServer, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquired = []
    limiter = InMemoryRateLimiter(requests_per_second=1000)

    async def aacquire(_: Any) -> bool:
        acquired.append(True)
        return True

    monkeypatch.setattr(InMemoryRateLimiter, "acquire", lambda _: acquired.append(True))
    monkeypatch.setattr(InMemoryRateLimiter, "aacquire", aacquire)
    wire.script(reply({"detail": "later"}, 503, headers={"Retry-After": "0"}), reply(search_results()))
    calls.invoke(make(rate_limiter=limiter), QUERY)
    assert len(acquired) == len(wire.requests) == 2


# Life


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_dumps_and_loads_leave_the_key_out(make: Make, wire: WireServer) -> None:
    wire.script(reply(search_results()))
    retriever = make(k=3, workspace_id=5, timeout=30, default_headers={"X-Tenant": "hush-hush"})
    text = dumps(retriever)
    assert KEY not in text
    assert "hush-hush" not in text
    assert dumpd(retriever)["id"] == ["langchain_paradigm", "retrievers", "ParadigmRetriever"]
    again = loads(
        text,
        secrets_map={"PARADIGM_API_KEY": KEY},
        valid_namespaces=["langchain_paradigm"],
        allowed_objects=[ParadigmRetriever],
    )
    again.invoke(QUERY)
    again.close()
    assert wire.bodies == [{"query": QUERY, "max_results": 3, "workspace_id": [5]}]
    assert wire.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_key_is_in_no_text_about_the_retriever(make: Make) -> None:
    retriever = make(default_headers={"X-Tenant": "hush-hush"})
    for text in (repr(retriever), str(retriever), str(retriever.model_dump()), retriever.model_dump_json()):
        assert KEY not in text
        assert "hush-hush" not in text


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_and_pickles_work(make: Make, wire: WireServer, again: Any, calls: Calls) -> None:
    wire.script(reply(search_results(search_result())))
    copied = again(make(k=3, rate_limiter=InMemoryRateLimiter(requests_per_second=1000)))
    assert len(calls.invoke(copied, QUERY)) == 1
    assert wire.bodies[0]["max_results"] == 3
    copied.close()


# Chains, tools, agents


def answering(*texts: str) -> Callable[[Request], Script]:
    """Answers searches with a passage, and completions with the texts in turn."""
    left = list(texts)

    def answer(request: Request) -> Script:
        if request.path.endswith("/search"):
            return reply(search_results(search_result("The notice period is three months.")))
        return reply(completion(left.pop(0)))

    return answer


def test_chain_of_retriever_prompt_and_model_answers(make: Make, wire: WireServer, calls: Calls) -> None:
    wire.always(answering("Three months."))

    def cited(documents: list[Document]) -> str:
        return "\n".join(f"[p. {each.metadata['page_start']}] {each.page_content}" for each in documents)

    prompt = ChatPromptTemplate.from_messages([("human", "{context}\n\n{question}")])
    llm = ParadigmLLM(model="alfred-4.2", api_key=KEY, base_url=wire.url)
    chain = {"context": make() | cited, "question": RunnablePassthrough()} | prompt | llm | StrOutputParser()
    assert calls.invoke(chain, QUERY) == "Three months."
    assert "[p. 3] The notice period is three months." in wire.bodies[-1]["prompt"]


def test_create_retriever_tool_is_one_line(make: Make, wire: WireServer, calls: Calls) -> None:
    wire.always(answering())
    tool = create_retriever_tool(make(k=1), "search_contracts", "Searches contracts.")
    assert calls.invoke(tool, {"query": QUERY}) == "The notice period is three months."
    assert wire.bodies == [{"query": QUERY, "max_results": 1}]


def test_agent_answers_with_what_the_tool_found(make: Make, wire: WireServer, calls: Calls, make_chat: Any) -> None:
    agents = pytest.importorskip("langchain.agents")
    call = '<tool_call>\n{"name": "search_contracts", "arguments": {"query": "notice period"}}\n</tool_call>'
    wire.always(answering(call, "Three months."))
    tool = create_retriever_tool(make(), "search_contracts", "Searches contracts.")
    agent = agents.create_agent(make_chat(), tools=[tool])
    messages = calls.invoke(agent, {"messages": [("user", QUERY)]})["messages"]
    assert messages[-1].content == "Three months."
    assert [body["query"] for body in wire.bodies if "query" in body] == ["notice period"]
    assert "The notice period is three months." in str(wire.bodies[-1])
