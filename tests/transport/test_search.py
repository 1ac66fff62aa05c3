"""`POST /api/v3/search`: what is sent, what is refused before, and every form of a reply."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from paradigm_transport import (
    APIResponseError,
    InvalidParameterError,
    NotFoundError,
    PageImage,
    PermissionDeniedError,
    SearchParameters,
    SearchResult,
    UnprocessableEntityError,
    get_paradigm_usage,
)
from paradigm_transport.calls import MAX_WARNINGS
from paradigm_transport.endpoints.search import MAX_SHARED_WARNINGS
from tests.transport.conftest import KEY, Api
from tests.wire import WireServer, reply, search_result, search_results

QUERY = "Which notice period does the contract set?"

ALL_FIELDS: dict[str, Any] = {
    "max_results": 3,
    "workspace_id": [5, 6],
    "tag_id": [1],
    "content_type": ["legal", "*nda*"],
    "attribute": ["fiscal_year:2024|2025", "status:active"],
    "mode": "text",
    "relevance_scoring": "scoring_only",
    "include_image": True,
    "include_bboxes": True,
}


def found(api: Api, wire: WireServer, *entries: Any, **fields: Any) -> list[SearchResult]:
    wire.script(reply(search_results(*entries, **fields)))
    return api.client(wire).search(QUERY).results


# What is sent


def test_every_field_is_sent_under_its_name(api: Api, wire: WireServer) -> None:
    wire.script(reply(search_results()))
    assert api.client(wire).search(QUERY, **ALL_FIELDS, extra_body={"explain": True}).results == []
    assert wire.bodies == [{"query": QUERY, **ALL_FIELDS, "explain": True}]


def test_fields_that_are_not_set_are_not_sent(api: Api, wire: WireServer) -> None:
    wire.script(reply(search_results()))
    api.client(wire).search(QUERY, **dict.fromkeys(ALL_FIELDS, None), extra_body=None)
    assert wire.bodies == [{"query": QUERY}]


def test_single_ids_and_words_are_sent_as_lists(api: Api, wire: WireServer) -> None:
    wire.script(reply(search_results()), reply(search_results()))
    api.client(wire).search(QUERY, workspace_id=5, tag_id=(1, 2), content_type="legal", attribute="status:active")
    api.client(wire).search(QUERY, file_id={7})
    assert wire.bodies[0]["workspace_id"] == [5]
    assert wire.bodies[0]["tag_id"] == [1, 2]
    assert (wire.bodies[0]["content_type"], wire.bodies[0]["attribute"]) == (["legal"], ["status:active"])
    assert wire.bodies[1]["file_id"] == [7]


def test_fields_of_a_call_win_and_none_drops_one(api: Api, wire: WireServer) -> None:
    wire.script(reply(search_results()))
    parameters = SearchParameters(workspace_id=5, mode="text", extra_body={"a": 1, "b": 1})
    api.client(wire).search(QUERY, parameters, workspace_id=None, file_id=7, extra_body={"b": 2})
    assert wire.bodies == [{"query": QUERY, "file_id": [7], "mode": "text", "a": 1, "b": 2}]


@pytest.mark.parametrize(
    ("path", "called"),
    [
        ("/api/v2", "/api/v3/search"),
        ("/api/v3", "/api/v3/search"),
        ("", "/api/v3/search"),
        ("/api/v3/search", "/api/v3/search"),
        ("/prefix/api/v2/", "/prefix/api/v3/search"),
        ("/a-gateway", "/a-gateway/search"),
    ],
)
def test_address_is_version_3_of_the_base_url(api: Api, wire: WireServer, path: str, called: str) -> None:
    wire.script(reply(search_results()))
    api.client(base_url=wire.url.removesuffix("/api/v2") + path).search(QUERY)
    assert wire.requests[0].path == called


def test_injected_client_calls_the_same_address(api: Api, wire: WireServer) -> None:
    wire.script(reply(search_results()))
    borrowed = api.borrowed()
    api.client(wire, **{api.client_field: borrowed}).search(QUERY)
    api.close_borrowed(borrowed)
    assert wire.requests[0].path == "/api/v3/search"


def test_other_calls_keep_the_version_of_the_base_url(api: Api, wire: WireServer) -> None:
    wire.always(reply({"data": [], "results": []}))
    client = api.client(wire)
    for call in (lambda: client.search(QUERY), client.models, lambda: client.search(QUERY)):
        call()
    assert [request.path for request in wire.requests] == ["/api/v3/search", "/api/v2/models", "/api/v3/search"]


def test_key_is_sent_as_x_api_key_if_wanted(api: Api, wire: WireServer) -> None:
    wire.script(reply(search_results()), reply(search_results()))
    api.client(wire, api_key_header="X-Api-Key").search(QUERY)
    api.client(wire).search(QUERY)
    first, second = (request.headers for request in wire.requests)
    assert (first.get("x-api-key"), first.get("authorization")) == (KEY, None)
    assert (second.get("x-api-key"), second.get("authorization")) == (None, f"Bearer {KEY}")


def test_headers_and_time_out_of_a_call_apply(api: Api, wire: WireServer) -> None:
    wire.script(reply(search_results()))
    api.client(wire).search(QUERY, extra_headers={"X-Trace": "1"}, timeout=7)
    assert wire.requests[0].headers["x-trace"] == "1"
    assert wire.bodies == [{"query": QUERY}]


# What is refused before anything is sent


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"file_id": 1, "workspace_id": 2}, "file_id and workspace_id cannot be combined"),
        ({"file_id": 1, "tag_id": 2}, "pass tag_id=None"),
        ({"workspace_id": []}, "workspace_id: it is empty"),
        ({"file_id": ()}, "file_id: it is empty"),
        ({"tag_id": "seven"}, "tag_id"),
        ({"attribute": [""]}, "attribute"),
        ({"mode": "audio"}, "'text' or 'vision'"),
        ({"mode": "vision", "include_bboxes": True}, "include_bboxes needs mode 'text'"),
        ({"relevance_scoring": "all"}, "scoring_only"),
        ({"max_results": 0}, "max_results"),
        ({"k": 3}, "here it is max_results"),
        ({"workspace_ids": [3]}, "here it is workspace_id"),
        ({"extra_body": {"file_id": [1]}}, "extra_body holds file_id"),
        ({"extra_body": {"query": "x"}}, "extra_body holds query"),
    ],
)
def test_wrong_fields_are_refused_early(api: Api, wire: WireServer, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidParameterError, match=words):
        api.client(wire).search(QUERY, **fields)
    assert wire.requests == []


@pytest.mark.parametrize(("query", "words"), [("", "empty"), (" \n", "empty"), (None, "NoneType"), (b"x", "bytes")])
def test_query_that_is_not_a_text_is_refused_early(api: Api, wire: WireServer, query: Any, words: str) -> None:
    with pytest.raises(InvalidParameterError, match=words):
        api.client(wire).search(query)
    assert wire.requests == []


def test_query_that_is_not_unicode_is_refused_by_its_name(api: Api, wire: WireServer) -> None:
    with pytest.raises(InvalidParameterError, match="query cannot be encoded"):
        api.client(wire).search("half \ud800")


# What is read


def test_result_has_its_text_scores_and_source(api: Api, wire: WireServer) -> None:
    external = {"external_id": "e", "external_url": "https://u", "additional_metadata": {"owner": "Ada"}}
    (result,) = found(
        api, wire, search_result("Three months.", external_metadata=external, content_types=[{"path": "l"}])
    )
    assert (result.text, result.score, result.id) == ("Three months.", 0.83, "6a9c1b5e-0000-4000-8000-000000000001")
    assert result.metadata == {
        "score": 0.83,
        "scores": {"text": 0.7, "keyword": 3.1, "relevance": 0.83},
        "file_id": 12,
        "filename": "a.pdf",
        "title": "A",
        "mime_type": "pdf",
        "size_bytes": 1,
        "page_start": 3,
        "page_end": 4,
        "total_pages": 9,
        "tag_ids": [1],
        "tags": ["x"],
        "content_types": [{"path": "l"}],
        "external_id": "e",
        "external_url": "https://u",
        "external_metadata": {"owner": "Ada"},
        "workspace_id": 5,
        "workspace": "W",
    }


@pytest.mark.parametrize(
    ("score", "scores", "read", "by_signal"),
    [
        ({"retrieval": 0.4, "reranking": 0.9}, None, 0.9, {"retrieval": 0.4, "reranking": 0.9}),
        ({"retrieval": 0.4, "reranking": None}, None, 0.4, {"retrieval": 0.4}),
        (17.25, {"keyword": 17.25, "relevance": None}, 17.25, {"keyword": 17.25}),
        (0, {}, 0.0, None),
        (None, {"relevance": 0.5, "text": 0.1}, 0.5, {"relevance": 0.5, "text": 0.1}),
        (None, None, None, None),
        ("high", {"text": True, "new": 1, "odd": {}}, None, {"new": 1.0}),
        (10**400, {"keyword": float("inf")}, None, None),
    ],
)
def test_every_form_of_score_is_read(
    api: Api, wire: WireServer, score: Any, scores: Any, read: float | None, by_signal: Any
) -> None:
    (result,) = found(api, wire, search_result(score=score, scores=scores))
    assert result.score == result.metadata.get("score") == read
    assert result.metadata.get("scores") == by_signal


def test_results_stay_in_the_order_of_the_server(api: Api, wire: WireServer) -> None:
    results = found(api, wire, search_result("b", 0.1), search_result("a", 0.9), search_result("c", None))
    assert [result.text for result in results] == ["b", "a", "c"]


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"content": None, "source": None, "workspace": None, "scores": None, "image": None, "bboxes": None},
        {"content": 7, "source": [], "workspace": "W", "scores": 1, "image": "x", "warnings": 3},
        {"source": {"tags": ["x", None, {"id": None}], "external_metadata": []}},
    ],
)
def test_missing_null_and_odd_fields_are_no_error(api: Api, wire: WireServer, entry: dict[str, Any]) -> None:
    assert found(api, wire, entry) == [SearchResult("", raw={k: v for k, v in entry.items() if k != "image"})]


def test_unknown_keys_of_the_document_are_kept_and_others_stand_in_raw(api: Api, wire: WireServer) -> None:
    (result,) = found(api, wire, {**search_result(author="Ada", score="x"), "explain": {"a": 1}}, explain={}, next=None)
    assert result.metadata["author"] == "Ada"
    assert result.score == 0.83
    assert result.raw["explain"] == {"a": 1}


def test_image_is_removed_unless_it_was_asked_for(api: Api, wire: WireServer) -> None:
    entry = search_result(None, image={"b64_content": "/9j/" + "A" * 4000})
    wire.always(reply(search_results(entry)))
    client = api.client(wire)
    (without,) = client.search(QUERY).results
    (with_it,) = client.search(QUERY, include_image=True).results
    assert without.image is None
    assert with_it.image == PageImage("/9j/" + "A" * 4000, "image/jpeg")
    assert (with_it.text, str(with_it.image)) == ("", "PageImage(image/jpeg, 3 KB)")
    assert "AAAA" not in f"{without!r} {without.raw} {with_it!r} {with_it.raw}"


@pytest.mark.parametrize(
    ("content", "kind"), [("iVBORw0K", "image/png"), ("UklGRiQA", "image/webp"), ("", None), (None, None)]
)
def test_kind_of_image_is_recognised(api: Api, wire: WireServer, content: Any, kind: str | None) -> None:
    wire.script(reply(search_results(search_result(image={"b64_content": content}))))
    (result,) = api.client(wire).search(QUERY, include_image=True).results
    assert (result.image and result.image.mime_type) == kind


def test_warnings_are_logged_and_in_the_metadata(api: Api, wire: WireServer, caplog: pytest.LogCaptureFixture) -> None:
    warnings = [{"code": "relevance", "reason": "timeout"}, {"code": "vision"}, "odd"]
    wire.script(reply(search_results(search_result(warnings=[{"code": "own"}]), search_result(), warnings=warnings)))
    with caplog.at_level(logging.WARNING, "paradigm_transport"):
        reply_ = api.client(wire).search(QUERY)
    assert reply_.warnings == [*warnings[:2], {"code": "odd"}]
    assert reply_.results[0].metadata["warnings"] == [*reply_.warnings, {"code": "own"}]
    assert reply_.results[1].metadata["warnings"] == reply_.warnings
    assert [record.getMessage().partition("signals: ")[2] for record in caplog.records] == [
        "relevance (timeout).",
        "vision (no reason given).",
        "odd (no reason given).",
    ]


def test_warning_of_one_code_is_logged_once_with_any_reason(
    api: Api, wire: WireServer, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        wire.script(reply(search_results(warnings=[{"code": "relevance", "reason": f"request {number} timed out"}])))
    client = api.client(wire)
    with caplog.at_level(logging.WARNING, "paradigm_transport"):
        for _ in range(3):
            client.search(QUERY)
    assert [record.getMessage() for record in caplog.records] == [
        f"{wire.host} searched without one of its signals: relevance (request 0 timed out)."
    ]


def test_log_of_warnings_is_bounded(api: Api, wire: WireServer, caplog: pytest.LogCaptureFixture) -> None:
    wire.script(*(reply(search_results(warnings=[f"{number} {place}" for place in range(80)])) for number in range(2)))
    client = api.client(wire)
    with caplog.at_level(logging.WARNING, "paradigm_transport"):
        for _ in range(2):
            client.search(QUERY)
    assert len(caplog.records) == MAX_WARNINGS


def test_result_has_only_the_first_of_thousands_of_warnings(api: Api, wire: WireServer) -> None:
    entries = [{"content": "a", "warnings": ["own"]} if number % 2 else {"content": "a"} for number in range(2_000)]
    wire.script(reply(search_results(*entries, warnings=["b"] * 2_000)))
    found = api.client(wire).search(QUERY)
    assert len(found.warnings) == 2_000
    assert {len(result.metadata["warnings"]) for result in found.results} == {
        MAX_SHARED_WARNINGS,
        MAX_SHARED_WARNINGS + 1,
    }
    assert found.results[1].metadata["warnings"][-1] == {"code": "own"}


@pytest.mark.parametrize("body", [{}, [], {"results": None}, {"results": {}}, {"results": [1]}, "text", None])
def test_reply_without_results_raises(api: Api, wire: WireServer, body: Any) -> None:
    wire.script(reply(body if isinstance(body, (dict, list)) else b"null" if body is None else f'"{body}"'.encode()))
    with pytest.raises(APIResponseError, match="unexpected response"):
        api.client(wire).search(QUERY)


def test_reply_has_its_id_latency_and_retries(api: Api, wire: WireServer) -> None:
    wire.script(reply({"detail": "later"}, 503))
    wire.script(reply(search_results(), headers={"X-Request-Id": "r-1"}))
    found = api.client(wire).search(QUERY)
    assert (found.request_id, found.retries) == ("r-1", 1)
    assert found.latency is not None
    assert found.latency >= 0


def test_search_is_not_counted_as_a_call_of_a_model(api: Api, wire: WireServer) -> None:
    wire.script(reply(search_results()))
    with get_paradigm_usage() as usage:
        api.client(wire).search(QUERY)
    assert usage.calls == 0


# Refusals


def test_404_names_the_version_that_the_host_lacks(api: Api, wire: WireServer) -> None:
    wire.script(reply({"code": 404, "error": "not_found", "detail": "No API endpoint at /api/v3/search."}, 404))
    with pytest.raises(NotFoundError) as caught:
        api.client(wire).search(QUERY)
    assert "No API endpoint at /api/v3/search. Search needs version 3 of Paradigm's API (/api/v3)" in str(caught.value)


def test_403_says_that_the_key_may_not_read_what_is_selected(api: Api, wire: WireServer) -> None:
    wire.script(reply({"id": "1", "code": 403, "error": "forbidden", "detail": "No accessible workspace."}, 403))
    with pytest.raises(PermissionDeniedError, match=r"No accessible workspace\. The key may read nothing of"):
        api.client(wire).search(QUERY, workspace_id=9)


def test_422_of_version_3_names_its_fields(api: Api, wire: WireServer) -> None:
    fields = {"query": [{"error": "max_length", "detail": "Too long."}], "tag_id": [{"error": "invalid"}], "mode": []}
    body = {"id": "1", "code": 422, "error": "validation_error", "detail": "Some fields are wrong.", "fields": fields}
    wire.script(reply(body, 422))
    with pytest.raises(UnprocessableEntityError, match=r"query: Too long\.; tag_id: invalid\."):
        api.client(wire).search(QUERY)


def test_spent_budget_is_not_retried(api: Api, wire: WireServer) -> None:
    wire.always(reply({"code": 429, "error": "budget_capped", "detail": "No credits are left."}, 429))
    with pytest.raises(Exception, match="No credits are left"):
        api.client(wire).search(QUERY)
    assert len(wire.requests) == 1


def test_query_is_redacted_from_errors(api: Api, wire: WireServer) -> None:
    wire.script(reply({"detail": f"cannot search for {QUERY}"}, 400))
    with pytest.raises(Exception, match="cannot search for") as caught:
        api.client(wire).search(QUERY)
    assert QUERY not in str(caught.value)


def test_reply_with_warnings_in_words_is_no_refusal(api: Api, wire: WireServer) -> None:
    wire.script(reply(search_results(search_result("a"), warnings=["the relevance model is down"])))
    found = api.client(wire).search(QUERY)
    assert (found.results[0].text, found.warnings) == ("a", [{"code": "the relevance model is down"}])
