"""Faults on demand, by header and from the queue."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from paradigm_local.faults import HEADER, Fault, RateLimit, read_fault
from tests.local.conftest import Caller
from tests.local.fake import FakeEngine

Serve = Callable[..., Caller]


def test_faults_by_header_are_off_by_default(serve: Serve) -> None:
    assert serve().post(headers={HEADER: "429"}).status_code == 200


def test_fault_by_header_affects_only_its_request(serve: Serve) -> None:
    caller = serve(faults=True)
    response = caller.post(headers={HEADER: "429=7"})
    assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
    assert caller.post().status_code == 200


def test_unknown_fault_is_400(serve: Serve) -> None:
    response = serve(faults=True).post(headers={HEADER: "fire"})
    assert response.status_code == 400
    assert response.json()["detail"].startswith("A fault is one of 429, 503, cut, error, slow")


def test_queued_faults_affect_the_next_replies(serve: Serve) -> None:
    caller = serve()
    caller.paradigm.fail_next("503", times=2)
    caller.paradigm.fail_next("429")
    assert [caller.post().status_code for _ in range(4)] == [503, 503, 429, 200]


def test_queued_faults_can_be_cleared(serve: Serve) -> None:
    caller = serve()
    caller.paradigm.fail_next("503")
    caller.paradigm.clear_faults()
    assert caller.post().status_code == 200


def test_queued_faults_affect_only_authenticated_completions(serve: Serve) -> None:
    caller = serve()
    caller.paradigm.fail_next("503")
    assert caller.http.get("/models").status_code == 200
    assert caller.http.post("/completions", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert caller.post().status_code == 503


def test_requests_beyond_the_limit_are_refused_until_it_is_lifted(serve: Serve) -> None:
    caller = serve()
    caller.paradigm.limit_requests(0.01)
    responses = [caller.post() for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 429, 429]
    assert responses[1].headers["Retry-After"] == "100"
    caller.paradigm.limit_requests(None)
    assert caller.post().status_code == 200


def test_limit_accepts_the_requests_of_a_second_at_once_and_then_one_at_a_time() -> None:
    now = 0.0
    limit = RateLimit(4, lambda: now)
    assert [limit.take() for _ in range(5)] == [None] * 4 + [Fault("429", 1)]
    now = 0.25
    assert [limit.take() for _ in range(2)] == [None, Fault("429", 1)]
    now = 9
    assert [limit.take() for _ in range(5)] == [None] * 4 + [Fault("429", 1)]


@pytest.mark.parametrize("per_second", [0, -1, float("nan")])
def test_limit_must_be_above_0(serve: Serve, per_second: float) -> None:
    with pytest.raises(ValueError, match="per_second must be above 0"):
        serve().paradigm.limit_requests(per_second)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_cut_stream_breaks_after_the_given_pieces(serve: Serve, after: int) -> None:
    caller = serve(FakeEngine(["a", "b", "c"]))
    caller.paradigm.fail_next(f"cut={after}")
    received: list[bytes] = []
    body = caller.body(stream=True)
    with (
        pytest.raises(httpx.RemoteProtocolError),
        caller.http.stream("POST", "/completions", json=body) as response,
    ):
        received.extend(response.iter_bytes())
    assert b"".join(received).count(b"data: ") == after
    assert b"[DONE]" not in b"".join(received)


def test_cut_reply_is_shorter_than_its_content_length(serve: Serve) -> None:
    caller = serve()
    caller.paradigm.fail_next("cut")
    with pytest.raises(httpx.RemoteProtocolError):
        caller.post()


def test_error_fault_ends_a_stream_with_an_error_event(serve: Serve) -> None:
    caller = serve(FakeEngine(["a", "b", "c"]))
    caller.paradigm.fail_next("error=2")
    *texts, error, done, _ = caller.post(stream=True).text.split("\n\n")
    assert len(texts) == 2
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == 500
    assert done == "data: [DONE]"


def test_error_fault_without_a_stream_is_500(serve: Serve) -> None:
    caller = serve()
    caller.paradigm.fail_next("error")
    assert caller.refused(500) == {"detail": "The model failed, because a fault was requested."}


def test_slow_fault_sends_pings_before_the_first_token(serve: Serve) -> None:
    caller = serve(ping_seconds=0.02)
    caller.paradigm.fail_next("slow=0.07")
    events = caller.post(stream=True).text.split("\n\n")
    assert events[:4] == [": ping"] * 4
    assert events[4].startswith("data: {")


def test_slow_reply_is_complete(serve: Serve) -> None:
    caller = serve()
    caller.paradigm.fail_next("slow=0.05")
    response = caller.post()
    assert response.json()["choices"][0]["text"] == "Hello world"
    assert response.elapsed.total_seconds() >= 0.05


@pytest.mark.parametrize(
    ("text", "fault"),
    [("429", Fault("429", 1)), (" cut=3 ", Fault("cut", 3)), ("slow=0.25", Fault("slow", 0.25))],
)
def test_read_fault_parses_kind_and_amount(text: str, fault: Fault) -> None:
    assert read_fault(text) == fault


@pytest.mark.parametrize("text", ["", "500", "cut=", "cut=-1", "slow=1e9", "slow=1.2.3", "429,503", "cut=9999"])
def test_read_fault_refuses_unknown_texts(text: str) -> None:
    with pytest.raises(ValueError, match="A fault is one of"):
        read_fault(text)
