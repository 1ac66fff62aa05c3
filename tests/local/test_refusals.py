"""Responses other than 200, and errors inside streams."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import httpx
import pytest

from paradigm_local.engine import EngineError, EngineRefusal
from tests.local.conftest import Caller, eventually
from tests.local.fake import FakeEngine

Serve = Callable[..., Caller]


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer wrong", "Basic local", "local", "Bearer locál"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/models"), ("POST", "/completions"), ("POST", "/embeddings")])
def test_wrong_key_is_401(serve: Serve, authorization: str | None, method: str, path: str) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    response = httpx.request(method, serve().paradigm.base_url + path, headers=headers, timeout=60)
    assert response.status_code == 401
    assert response.json() == {"detail": "Invalid API key."}
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_authorization_scheme_is_case_insensitive(serve: Serve) -> None:
    headers = {"Authorization": "bearer  local"}
    assert httpx.get(serve().paradigm.base_url + "/models", headers=headers, timeout=60).status_code == 200


def test_unknown_model_is_404(serve: Serve) -> None:
    assert serve().refused(404, model="other") == {"detail": "Unknown model: this server serves smollm2-135m-instruct."}


def test_field_errors_are_400(serve: Serve) -> None:
    assert serve().refused(temperature=3) == {"temperature": ["Input should be less than or equal to 2"]}


def test_body_that_is_not_json_is_400(serve: Serve) -> None:
    caller = serve()
    response = caller.http.post("/completions", content=b"prompt=x")
    assert response.status_code == 400
    assert list(response.json()) == ["non_field_errors"]


def test_token_beyond_the_vocabulary_is_400(serve: Serve) -> None:
    assert serve().refused(logit_bias={"1000": 1}) == {"logit_bias": ["Token ids must be below 1000."]}
    assert serve().post(logit_bias={"999": 1}).status_code == 200


def test_huge_body_is_413(serve: Serve) -> None:
    assert serve().refused(413, prompt="x" * (5 << 20)) == {"detail": "The body may have at most 4194304 bytes."}


def test_unknown_paths_are_404_and_unknown_methods_405(serve: Serve) -> None:
    http = serve().http
    assert (http.get("/nothing").status_code, http.get("/nothing").json()) == (404, {"detail": "Not Found"})
    response = http.get("/completions")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_requests_beyond_the_queue_are_429(serve: Serve) -> None:
    engine = FakeEngine(parallel=1)
    engine.gate.clear()
    caller = serve(engine, parallel=1, queue=1)
    statuses: list[int] = []
    waiting = [threading.Thread(target=lambda: statuses.append(caller.post().status_code)) for _ in range(2)]
    for thread in waiting:
        thread.start()
    eventually(lambda: len(caller.paradigm._endpoint._running) == 2)
    for stream in (False, True):
        response = caller.post(stream=stream)
        assert response.status_code == 429
        assert response.json() == {"detail": "Too many requests: wait before you send more."}
        assert response.headers["Retry-After"] == "1"
    engine.gate.set()
    for thread in waiting:
        thread.join()
    assert statuses == [200, 200]
    assert caller.post().status_code == 200, "there is room again"


@pytest.mark.parametrize("stream", [False, True])
def test_refusal_of_llama_is_400(serve: Serve, stream: bool) -> None:
    engine = FakeEngine([])
    engine.failure = EngineRefusal("no such thing")
    assert serve(engine).refused(stream=stream) == {"non_field_errors": ["no such thing"]}


def test_failing_model_is_500(serve: Serve) -> None:
    engine = FakeEngine(["Hello"])
    engine.failure = EngineError("out of luck")
    assert serve(engine).refused(500) == {"detail": "The model failed."}


@pytest.mark.parametrize(
    ("failure", "code", "kind", "message"),
    [
        (EngineError("out of luck"), 500, "InternalServerError", "The model failed."),
        (EngineRefusal("no such thing"), 400, "BadRequestError", "no such thing"),
    ],
)
def test_failure_inside_a_stream_is_an_event(
    serve: Serve, failure: Exception, code: int, kind: str, message: str
) -> None:
    engine = FakeEngine(["Hello"])
    engine.failure = failure
    response = serve(engine).post(stream=True)
    assert response.status_code == 200
    first, error, done, _ = response.text.split("\n\n")
    assert json.loads(first.removeprefix("data: "))["choices"][0]["text"] == "Hello"
    assert json.loads(error.removeprefix("data: ")) == {
        "error": {"message": message, "type": kind, "param": None, "code": code}
    }
    assert done == "data: [DONE]"


def test_bug_is_500_in_json(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine()
    engine.failure = ZeroDivisionError()
    caller = serve(engine)
    assert caller.refused(500) == {"detail": "Internal server error; the server's log has the traceback."}
    caller.paradigm.stop()  # the log is written after the reply
    assert "ZeroDivisionError" in caplog.text
