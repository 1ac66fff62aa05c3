"""Fixtures for these tests: one server with a real model, and servers with a fake engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from paradigm_local import LocalParadigm
from tests.local.fake import FakeEngine, Served

DEADLINE_SECONDS = 30


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, for what another thread does."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.002)


class Caller:
    """Sends requests to a local Paradigm, by default with a prompt and temperature 0."""

    def __init__(self, paradigm: LocalParadigm) -> None:
        self.paradigm = paradigm
        self.http = httpx.Client(
            base_url=paradigm.base_url,
            headers={"Authorization": f"Bearer {paradigm.api_key}"},
            timeout=60,
            verify=False,  # reading the certificates takes longer than most tests
        )

    def body(self, **fields: Any) -> dict[str, Any]:
        defaults = {
            "model": self.paradigm.model,
            "prompt": "The capital of France is",
            "temperature": 0,
            "max_tokens": 5,
        }
        return {**defaults, **fields}

    def post(self, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        return self.http.post("/completions", json=self.body(**fields), headers=headers)

    def complete(self, **fields: Any) -> dict[str, Any]:
        response = self.post(**fields)
        assert response.status_code == 200, response.text
        return response.json()

    def text(self, **fields: Any) -> str:
        return self.complete(**fields)["choices"][0]["text"]

    def embed(self, text: Any, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        body = {"model": self.paradigm.embedding_model, "input": text, **fields}
        return self.http.post("/embeddings", json=body, headers=headers)

    def refused(self, status: int = 400, **fields: Any) -> Any:
        response = self.post(**fields)
        assert response.status_code == status, response.text
        return response.json()


@pytest.fixture(scope="session")
def caller(local_paradigm: LocalParadigm) -> Iterator[Caller]:
    """A caller of a server with a real model."""
    caller = Caller(local_paradigm)
    yield caller
    caller.http.close()


@pytest.fixture(scope="session")
def small_context() -> Iterator[Caller]:
    """A caller of a server with the same model and the smallest context of llama.cpp."""
    with LocalParadigm(context=256, parallel=2) as paradigm:
        caller = Caller(paradigm)
        yield caller
        caller.http.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Caller]]:
    """Starts servers with fake engines, and returns a caller for each."""
    with ExitStack() as stack:

        def start(engine: FakeEngine | None = None, **options: Any) -> Caller:
            paradigm = stack.enter_context(Served(engine or FakeEngine(), **{"grace_seconds": 0, **options}))
            caller = Caller(paradigm)
            stack.callback(caller.http.close)
            return caller

        yield start
