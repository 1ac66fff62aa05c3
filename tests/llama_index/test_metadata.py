"""Metadata, and where the context window comes from."""

from __future__ import annotations

import asyncio
import copy
import pickle
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from threading import Barrier
from typing import Any

import pytest
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS

from llama_index_paradigm import ParadigmLLM
from paradigm_transport import InvalidParameterError, context_windows
from tests.llama_index.conftest import KEY, MODEL, Method
from tests.wire import RESET, STALL, Script, WireServer, models, reply

Make = Callable[..., ParadigmLLM]


@pytest.fixture
def unset(make_llm: Make) -> ParadigmLLM:
    """An object that was not told its context window."""
    return make_llm(context_window=None)


def listed(**entry: Any) -> Script:
    return reply({"object": "list", "data": [{"id": "other", "max_model_len": 7}, {"id": MODEL, **entry}]})


def test_given_context_window_and_max_tokens_need_no_request(make_llm: Make, wire: WireServer) -> None:
    metadata = make_llm(context_window=8192, max_tokens=100).metadata
    assert (metadata.context_window, metadata.num_output, metadata.model_name) == (8192, 100, MODEL)
    assert (metadata.is_chat_model, metadata.is_function_calling_model) == (False, False)
    assert not wire.requests


def test_num_output_is_the_max_tokens_of_the_next_call(make_llm: Make) -> None:
    assert make_llm().metadata.num_output == 256
    assert make_llm(additional_kwargs={"max_tokens": 9}).metadata.num_output == 9
    assert make_llm(max_tokens=None).metadata.num_output == DEFAULT_NUM_OUTPUTS


@pytest.mark.parametrize("entry", [{"max_model_len": 8192}, {"meta": {"n_ctx": 8192}}])
def test_server_is_asked_once_for_the_context_window(
    wire: WireServer, unset: ParadigmLLM, entry: dict[str, Any]
) -> None:
    wire.script(listed(**entry))
    assert not wire.requests
    assert [unset.metadata.context_window for _ in range(3)] == [8192] * 3
    assert unset.model_copy(update={"temperature": 0.5}).metadata.context_window == 8192
    assert [(request.method, request.path) for request in wire.requests] == [("GET", "/api/v2/models")]


def test_another_model_is_looked_up_again(wire: WireServer, unset: ParadigmLLM) -> None:
    wire.script(listed(max_model_len=8192), listed(max_model_len=8192))
    assert unset.metadata.context_window == 8192
    assert unset.model_copy(update={"model": "other"}).metadata.context_window == 7


@pytest.mark.parametrize(
    "answer",
    [
        listed(),
        reply(models("other")),
        reply({"error": "Not found"}, 404),
        reply("<html>", 200),
        reply({"data": [{"id": MODEL, "max_model_len": "many"}]}),
        [RESET],
    ],
    ids=["not told", "not listed", "refused", "no JSON", "no number", "broken"],
)
def test_default_context_window_is_used_if_the_server_reports_none(
    wire: WireServer, make_llm: Make, answer: Script
) -> None:
    llm = make_llm(context_window=None, max_retries=0)
    wire.script(answer)
    assert [llm.metadata.context_window for _ in range(2)] == [DEFAULT_CONTEXT_WINDOW] * 2
    assert len(wire.requests) == 1


def test_lookup_times_out_and_a_late_answer_still_counts(
    wire: WireServer, unset: ParadigmLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_windows, "WAIT_SECONDS", 0.1)
    wire.script([STALL, *listed(max_model_len=8192)])
    assert unset.metadata.context_window == DEFAULT_CONTEXT_WINDOW
    wire.release()  # an answer that comes late counts all the same
    assert _comes_true(lambda: unset.metadata.context_window == 8192)


def test_all_threads_wait_for_the_same_lookup(
    wire: WireServer, unset: ParadigmLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_windows, "WAIT_SECONDS", 10)
    wire.script([STALL, *listed(max_model_len=8192)])

    def look(_: int) -> int:
        return unset.metadata.context_window

    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(look, 0)
        assert wire.wait_for(1)
        others = [threads.submit(look, number) for number in (1, 2, 3)]
        assert not wait([first, *others], 0.1, FIRST_COMPLETED).done
        wire.release()
        assert [each.result() for each in (first, *others)] == [8192] * 4
    assert len(wire.requests) == 1


def test_threads_that_start_together_ask_once(wire: WireServer, unset: ParadigmLLM) -> None:
    wire.script(listed(max_model_len=8192))
    together = Barrier(8)

    def look(_: int) -> int:
        together.wait()
        return unset.metadata.context_window

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(look, range(8))) == [8192] * 8
    assert len(wire.requests) == 1


def test_lookup_that_timed_out_is_not_waited_for_again(
    wire: WireServer, unset: ParadigmLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.script([STALL])
    monkeypatch.setattr(context_windows, "WAIT_SECONDS", 0.1)
    assert unset.metadata.context_window == DEFAULT_CONTEXT_WINDOW
    monkeypatch.setattr(context_windows, "WAIT_SECONDS", 60)
    begin = time.perf_counter()
    assert unset.metadata.context_window == DEFAULT_CONTEXT_WINDOW
    assert time.perf_counter() - begin < 30


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda llm: pickle.loads(pickle.dumps(llm))])
def test_copies_made_during_a_lookup_ask_again(
    wire: WireServer, unset: ParadigmLLM, monkeypatch: pytest.MonkeyPatch, copied: Callable[[ParadigmLLM], ParadigmLLM]
) -> None:
    monkeypatch.setattr(context_windows, "WAIT_SECONDS", 0.1)
    wire.script([STALL], listed(max_model_len=8192))
    assert unset.metadata.context_window == DEFAULT_CONTEXT_WINDOW
    monkeypatch.setattr(context_windows, "WAIT_SECONDS", 60)
    with copied(unset) as again:
        assert again.metadata.context_window == 8192
    with copied(again) as third:  # and take along what is known
        assert third.metadata.context_window == 8192
    assert len(wire.requests) == 2


def test_event_loop_does_not_wait_for_the_lookup(
    wire: WireServer, unset: ParadigmLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_windows, "WAIT_SECONDS", 60)
    wire.script([STALL, *listed(max_model_len=8192)])

    async def look() -> None:
        begin = time.perf_counter()
        assert unset.metadata.context_window == DEFAULT_CONTEXT_WINDOW
        assert time.perf_counter() - begin < 30
        wire.release()
        assert await asyncio.to_thread(_comes_true, lambda: unset.metadata.context_window == 8192)
        assert unset.metadata.context_window == 8192

    asyncio.run(look())
    assert len(wire.requests) == 1


def _comes_true(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + 30
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
    return holds()


def test_calls_do_not_look_up_the_context_window(wire: WireServer, method: Method, unset: ParadigmLLM) -> None:
    wire.script(method.answer("Hello"))
    method(unset)
    assert [request.path for request in wire.requests] == ["/api/v2/completions"]
    assert unset.to_payload()["context_window"] == DEFAULT_CONTEXT_WINDOW
    assert len(wire.requests) == 1


def test_event_payload_holds_the_context_window_and_no_key(wire: WireServer, unset: ParadigmLLM) -> None:
    wire.script(listed(max_model_len=8192))
    assert unset.metadata.context_window == 8192
    payload = unset.to_payload()
    assert (payload["class_name"], payload["model_name"]) == ("ParadigmLLM", MODEL)
    assert payload["context_window"] == 8192
    assert KEY not in repr(payload)


@pytest.mark.parametrize("window", [0, -1, "many"])
def test_context_window_must_be_a_positive_number(make_llm: Make, window: Any) -> None:
    with pytest.raises(InvalidParameterError, match="context_window"):
        make_llm(context_window=window)
