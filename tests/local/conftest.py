"""The local Paradigm for these tests: a real model once for all, a fake engine where none is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from paradigm_local import LocalParadigm
from tests.local.fake import FakeEngine, Served

DEADLINE_SECONDS = 5


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for another thread to get there."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


class Caller:
    """Sends completions to a local Paradigm, with a prompt and temperature 0 unless told otherwise."""

    def __init__(self, paradigm: LocalParadigm) -> None:
        self.paradigm = paradigm
        self.http = httpx.Client(
            base_url=paradigm.base_url, headers={"Authorization": f"Bearer {paradigm.api_key}"}, timeout=60
        )

    def body(self, **fields: Any) -> dict[str, Any]:
        usual = {"model": self.paradigm.model, "prompt": "The capital of France is", "temperature": 0, "max_tokens": 5}
        return {**usual, **fields}

    def post(self, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        return self.http.post("/completions", json=self.body(**fields), headers=headers)

    def complete(self, **fields: Any) -> dict[str, Any]:
        response = self.post(**fields)
        assert response.status_code == 200, response.text
        return response.json()

    def text(self, **fields: Any) -> str:
        return self.complete(**fields)["choices"][0]["text"]

    def refused(self, status: int = 400, **fields: Any) -> Any:
        response = self.post(**fields)
        assert response.status_code == status, response.text
        return response.json()


@pytest.fixture(scope="session")
def caller(local_paradigm: LocalParadigm) -> Iterator[Caller]:
    """Calls a real model."""
    caller = Caller(local_paradigm)
    yield caller
    caller.http.close()


@pytest.fixture(scope="session")
def small_context() -> Iterator[Caller]:
    """Calls the same model with the smallest context that llama.cpp gives."""
    with LocalParadigm(context=256, parallel=2) as paradigm:
        caller = Caller(paradigm)
        yield caller
        caller.http.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Caller]]:
    """Serves a fake engine, and gives a caller for it."""
    with ExitStack() as stack:

        def start(engine: FakeEngine | None = None, **options: Any) -> Caller:
            paradigm = stack.enter_context(Served(engine or FakeEngine(), **{"grace_seconds": 0, **options}))
            caller = Caller(paradigm)
            stack.callback(caller.http.close)
            return caller

        yield start
