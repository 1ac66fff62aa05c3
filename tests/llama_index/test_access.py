"""Clients: one pair for each set of settings, across copies, threads and forks."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from llama_index_paradigm import ChatParadigm, ParadigmLLM
from paradigm_transport import InvalidParameterError, access
from tests.llama_index.conftest import KEY
from tests.wire import WireServer, completion, reply

Model = ParadigmLLM | ChatParadigm

OTHER_KEY = "sk-another-secret"


@pytest.fixture
def other() -> Iterator[WireServer]:
    """Another server."""
    with WireServer() as server:
        server.always(reply(completion("Hi")))
        yield server


@pytest.fixture(params=["make_llm", "make_chat"])
def model(
    request: pytest.FixtureRequest,
    wire: WireServer,
    make_llm: Callable[..., ParadigmLLM],
    make_chat: Callable[..., ChatParadigm],
) -> Any:
    """A model of either class; of chats, on either route."""
    wire.always(reply(completion("Hi")))
    return make_llm() if request.param == "make_llm" else make_chat()


def changed_copy(model: Model, **update: Any) -> Model:
    return model.model_copy(update=update)


def changed_deep_copy(model: Model, **update: Any) -> Model:
    return model.model_copy(update=update, deep=True)


def assigned(model: Model, **update: Any) -> Model:
    again = model.model_copy()
    for name, value in update.items():
        setattr(again, name, value)
    return again


def ask(model: Model) -> None:
    model.complete("Hi")
    asyncio.run(model.acomplete("Hi"))


@pytest.mark.parametrize("change", [changed_copy, changed_deep_copy, assigned])
@pytest.mark.parametrize("is_used", [False, True])
def test_changed_settings_get_clients_of_their_own(
    model: Model, wire: WireServer, other: WireServer, change: Callable[..., Model], is_used: bool
) -> None:
    if is_used:
        ask(model)
    changed = change(model, base_url=other.url, api_key=OTHER_KEY, timeout=7)
    for _ in range(2):
        ask(changed)
        ask(model)
    assert {each.headers["authorization"] for each in other.requests} == {f"Bearer {OTHER_KEY}"}
    assert {each.headers["authorization"] for each in wire.requests} == {f"Bearer {KEY}"}
    assert len(other.requests) == 4
    assert (changed.client.settings.timeout, model.client.settings.timeout) == (7, 120.0)
    assert changed.client is changed.client is not model.client
    assert changed.async_client is changed.async_client is not model.async_client
    changed.close()


def test_copies_with_the_same_settings_share_their_clients(model: Model) -> None:
    client, async_client = model.client, model.async_client
    for again in (model.model_copy(), model.model_copy(update={"temperature": 0.5}), model.model_copy(deep=True)):
        assert (again.client, again.async_client) == (client, async_client)


@pytest.mark.parametrize("change", [changed_copy, changed_deep_copy])
def test_copy_takes_other_names_of_arguments_and_refuses_unknown_ones(
    model: Model, other: WireServer, change: Callable[..., Model]
) -> None:
    ask(change(model, api_base=other.url))
    assert len(other.requests) == 2
    with pytest.raises(InvalidParameterError, match="n_tokens; here it is max_tokens"):
        change(model, n_tokens=5)
    with pytest.raises(InvalidParameterError, match="api_base is another name of base_url"):
        change(model, api_base=other.url, base_url=other.url)


@pytest.mark.parametrize("change", [changed_copy, changed_deep_copy, assigned])
def test_changed_key_is_not_shown(model: Model, change: Callable[..., Model]) -> None:
    changed = change(model, api_key=OTHER_KEY)
    assert changed.api_key.get_secret_value() == OTHER_KEY
    assert OTHER_KEY not in f"{changed!r}{changed}{changed.to_dict()}{changed.to_json()}{changed.model_dump()}"


def test_error_of_model_validate_does_not_quote_the_key(model: Model) -> None:
    with pytest.raises(ValueError, match="n_tokens") as raised:
        type(model).model_validate({"model": "alfred", "n_tokens": 5, "api_key": OTHER_KEY})
    assert OTHER_KEY not in str(raised.value)


def test_header_changed_in_place_is_sent(model: Model, wire: WireServer) -> None:
    model.default_headers = {"X-Tenant": "first"}
    ask(model)
    model.default_headers["X-Tenant"] = "second"
    ask(model)
    assert [each.headers["x-tenant"] for each in wire.requests] == ["first", "first", "second", "second"]


def test_threads_that_start_together_make_one_pair_of_clients(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[access.Access] = []

    class Counted(access.Access):
        def __init__(self, *args: Any) -> None:
            made.append(self)
            threading.Event().wait(0.02)  # time for the other threads to get here, too
            super().__init__(*args)

    monkeypatch.setattr(access, "Access", Counted)
    barrier = threading.Barrier(16)

    def first_use(_: int) -> tuple[object, object]:
        barrier.wait()
        return model.client, model.async_client

    with ThreadPoolExecutor(16) as pool:
        pairs = set(pool.map(first_use, range(16)))
    assert len(pairs) == len(made) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("is_used", [False, True])
def test_forked_child_calls_even_if_a_thread_was_making_clients(
    model: Model, wire: WireServer, monkeypatch: pytest.MonkeyPatch, is_used: bool
) -> None:
    if is_used:
        model.complete("Hi")
    making, forked = threading.Event(), threading.Event()

    class Slow(access.Access):
        def __init__(self, *args: Any) -> None:
            making.set()
            forked.wait(30)
            super().__init__(*args)

    monkeypatch.setattr(access, "Access", Slow)
    changed = model.model_copy(update={"timeout": 9})
    thread = threading.Thread(target=lambda: changed.client)
    thread.start()
    making.wait(30)
    child = os.fork()
    if child == 0:
        forked.set()
        code = 1
        try:
            code = int(not changed.complete("Hi").text == model.complete("Hi").text == "Hi")
        finally:
            os._exit(code)
    forked.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert model.complete("Hi").text == "Hi"
