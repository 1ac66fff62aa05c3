"""`POST /api/v2/embeddings`: with a real model, and the server around a fake one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from paradigm_local import LocalParadigm, e5
from paradigm_local.contract import MAX_INPUTS, WHOLE_BODY, EmbeddingRequest, InvalidRequest, read_request
from paradigm_local.embedding import normalised
from paradigm_local.engine import EngineError
from paradigm_local.model import E5_SMALL, default_model, is_intact
from tests.local.conftest import Caller, eventually
from tests.local.fake import FakeEmbedder, FakeEngine

Serve = Callable[..., Caller]

QUESTIONS = {
    "query: Why is the sea salty?": "passage: Rivers wash minerals out of rocks and carry them into the ocean.",
    "query: What is the capital of France?": "passage: Paris has been the seat of the French government for long.",
    "query: Wie backt man Brot?": "passage: For a loaf, knead flour, water, salt and yeast, and let the dough rise.",
}


def dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def vectors(response: httpx.Response) -> list[list[float]]:
    assert response.status_code == 200, response.text
    return [each["embedding"] for each in response.json()["data"]]


@contextmanager
def called(paradigm: LocalParadigm) -> Iterator[Caller]:
    caller = Caller(paradigm)
    yield caller
    caller.http.close()


# The model


def test_passage_that_answers_a_question_is_nearest_to_it(caller: Caller) -> None:
    passages = vectors(caller.embed(list(QUESTIONS.values())))
    for place, query in enumerate(QUESTIONS):
        (vector,) = vectors(caller.embed(query))
        nearest = max(range(len(passages)), key=lambda index: dot(vector, passages[index]))
        assert nearest == place, query


def test_text_has_one_embedding_alone_and_in_a_list(caller: Caller) -> None:
    (alone,) = vectors(caller.embed("query: salt"))
    _, listed = vectors(caller.embed(["passage: something long " * 20, "query: salt"]))
    assert alone == listed
    assert len(alone) == 384
    assert dot(alone, alone) == pytest.approx(1)


def test_reply_has_the_shape_of_the_endpoint(caller: Caller) -> None:
    reply = caller.embed(["query: salt", "query: sea"]).json()
    assert (reply["object"], reply["model"]) == ("list", "multilingual-e5-small")
    assert [(each["object"], each["index"]) for each in reply["data"]] == [("embedding", 0), ("embedding", 1)]
    tokens = 2 * 6  # <s> ▁que ry : ▁salt </s>
    assert reply["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_embeddings_are_counted_by_the_server(caller: Caller) -> None:
    before = caller.paradigm.total_usage
    tokens = caller.embed("query: salt").json()["usage"]["prompt_tokens"]
    after = caller.paradigm.total_usage
    assert after.prompt_tokens == before.prompt_tokens + tokens
    assert after.completion_tokens == before.completion_tokens


def test_dimensions_are_the_first_numbers_scaled_again(caller: Caller) -> None:
    (whole,) = vectors(caller.embed("query: salt"))
    (short,) = vectors(caller.embed("query: salt", dimensions=64))
    scale = short[0] / whole[0]
    assert short == pytest.approx([number * scale for number in whole[:64]])
    assert dot(short, short) == pytest.approx(1)
    refused = caller.embed("query: salt", dimensions=385)
    assert (refused.status_code, refused.json()) == (400, {"dimensions": ["The model has 384."]})


def test_user_of_embeddings_changes_nothing(caller: Caller) -> None:
    assert vectors(caller.embed("query: salt", user="u")) == vectors(caller.embed("query: salt"))


@pytest.mark.parametrize(("words", "status"), [(510, 200), (511, 400)])
def test_text_that_is_longer_than_the_context_is_refused(caller: Caller, words: int, status: int) -> None:
    response = caller.embed("a " * words)
    assert response.status_code == status
    if status == 400:
        assert response.json() == {"input": ["The text has 513 tokens; it must fit into the context of 512."]}


def test_refusal_names_the_text_of_a_list(caller: Caller) -> None:
    assert caller.embed(["a", "a " * 600]).json()["input"][0].startswith("Text 1: The text has 602 tokens")


def test_texts_are_normalised_as_the_model_was_trained() -> None:
    assert normalised("\ufb01ne\u3000\uff46ull\r\nco\u00adop\u200be\u0301 ①") == "fine full  coopé 1"


def test_cached_model_has_the_expected_checksum(caller: Caller) -> None:
    caller.embed("a")  # the model is there
    assert is_intact(default_model(E5_SMALL), E5_SMALL)


@pytest.mark.parametrize("damage", [b"", b"GGUF", b"E5S1" + bytes(40), b"E5S1" + b"\xff" * 100])
def test_weights_of_another_kind_are_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "weights").write_bytes(damage)
    with pytest.raises(ValueError, match=r"not a model|damaged"):
        e5.convert(tmp_path / "weights", tmp_path / "model")


def test_server_that_only_completes_loads_no_second_model() -> None:
    with LocalParadigm(context=256, parallel=1) as paradigm, called(paradigm) as caller:
        assert caller.text()
        assert paradigm._embedder._engine is None


def test_model_that_cannot_be_had_is_503_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.symlink_to(default_model(E5_SMALL))
    with LocalParadigm(context=256, parallel=1, embedding_model=path) as paradigm, called(paradigm) as caller:
        assert paradigm.embedding_model == "mine"
        path.unlink()  # after the start, which looks at it
        response = caller.embed("a")
        assert (response.status_code, "cannot be read" in response.json()["detail"]) == (503, True)
        path.symlink_to(default_model(E5_SMALL))
        assert len(vectors(caller.embed("a"))[0]) == 384


# The contract


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", 1),
        ("input", ""),
        ("input", []),
        ("input", ["a", ""]),
        ("input", [1, 2]),
        ("input", ["a"] * (MAX_INPUTS + 1)),
        ("encoding_format", "int8"),
        ("encoding_format", None),
        ("dimensions", 0),
        ("dimensions", 1.5),
        ("user", 7),
    ],
)
def test_refusal_of_an_invalid_value_names_its_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_request(json.dumps({"model": "m", "input": "a", field: value}).encode(), EmbeddingRequest)
    assert list(caught.value.errors) == [field]


@pytest.mark.parametrize("body", [b"", b"[]", b"null"])
def test_body_that_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_request(body, EmbeddingRequest)
    assert list(caught.value.errors) == [WHOLE_BODY]


# The server


def test_unknown_embedding_model_is_404(serve: Serve) -> None:
    caller = serve()
    response = caller.embed("a", model=caller.paradigm.model)
    assert response.status_code == 404
    assert response.json() == {"detail": "Unknown model: this server serves multilingual-e5-small."}


def test_embeddings_beyond_the_queue_are_429(serve: Serve) -> None:
    embedder = FakeEmbedder()
    embedder.gate.clear()
    caller = serve(embedder=embedder, parallel=1, queue=1)
    statuses: list[int] = []
    waiting = [threading.Thread(target=lambda: statuses.append(caller.embed("a").status_code)) for _ in range(2)]
    for thread in waiting:
        thread.start()
    eventually(lambda: caller.paradigm._endpoint._embedding == 2)
    assert caller.embed("a").status_code == 429
    assert caller.post().status_code == 200, "completions do not wait for them"
    embedder.gate.set()
    for thread in waiting:
        thread.join()
    assert statuses == [200, 200]
    assert caller.embed("a").status_code == 200, "there is room again"


def test_failing_embedder_is_500(serve: Serve) -> None:
    embedder = FakeEmbedder()
    embedder.failure = EngineError("out of luck")
    response = serve(embedder=embedder).embed("a")
    assert (response.status_code, response.json()) == (500, {"detail": "The model failed."})


def test_rest_of_a_list_is_not_embedded_once_the_client_left(serve: Serve) -> None:
    embedder = FakeEmbedder()
    embedder.gate.clear()
    caller = serve(embedder=embedder)
    with pytest.raises(httpx.ReadTimeout):
        caller.http.post(
            "/embeddings", json={"model": caller.paradigm.embedding_model, "input": ["a", "b", "c"]}, timeout=0.1
        )
    eventually(lambda: caller.paradigm._endpoint._embedding == 0)
    embedder.gate.set()
    assert caller.embed("d").status_code == 200
    assert "c" not in embedder.texts


@pytest.mark.parametrize(("fault", "status"), [("429", 429), ("503", 503), ("error", 500)])
def test_faults_reach_embeddings(serve: Serve, fault: str, status: int) -> None:
    caller = serve()
    caller.paradigm.fail_next(fault)
    assert caller.embed("a").status_code == status
    assert caller.embed("a").status_code == 200


def test_cut_fault_breaks_the_reply_of_embeddings(serve: Serve) -> None:
    caller = serve()
    caller.paradigm.fail_next("cut")
    with pytest.raises(httpx.RemoteProtocolError):
        caller.embed("a")


def test_stopping_does_not_wait_for_a_long_list(serve: Serve) -> None:
    embedder = FakeEmbedder()
    embedder.gate.clear()
    caller = serve(FakeEngine(), embedder=embedder)
    errors: list[Exception] = []

    def call() -> None:
        try:
            caller.embed(["a"] * 100)
        except httpx.HTTPError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    eventually(lambda: caller.paradigm._endpoint._embedding == 1)
    began = time.monotonic()
    caller.paradigm.stop()
    thread.join()
    assert time.monotonic() - began < 10
    assert len(embedder.texts) < 100
