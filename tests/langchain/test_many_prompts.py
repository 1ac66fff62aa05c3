"""Many prompts: concurrent, in order, each with its own run and error."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tracers.context import collect_runs

from paradigm_transport import BadRequestError, ParadigmError
from tests.langchain.conftest import Calls, Make, Recorder
from tests.langchain.test_results import by_prompt
from tests.wire import STALL, Request, Script, WireServer, completion, pause, reply


class Gauge:
    """Answers once `expected` requests are in flight at the same time, and records the maximum."""

    def __init__(self, expected: int, answer: Callable[[Request], Script] | None = None) -> None:
        self.most = 0
        self._answer = answer or (lambda request: reply(completion(request.body["prompt"].upper())))
        self._expected = expected
        self._now = 0
        self._changed = threading.Condition()

    def __call__(self, request: Request) -> Script:
        with self._changed:
            self._now += 1
            self.most = max(self.most, self._now)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= self._expected, timeout=30)
        time.sleep(0.01)  # time for a request over the limit to arrive
        with self._changed:
            self._now -= 1
        return self._answer(request)


def fails_on(*wrong: str) -> Any:
    def answer(request: Request) -> Script:
        if request.body["prompt"] in wrong:
            return reply({"error": {"message": f"no {request.body['prompt']}"}}, 400)
        return by_prompt(request)

    return answer


PROMPTS = [f"prompt {number}" for number in range(32)]


@pytest.mark.parametrize("way", ["generate", "batch"])
def test_prompts_are_completed_concurrently_and_in_order(wire: WireServer, make: Make, calls: Calls, way: str) -> None:
    gauge = Gauge(32)
    wire.always(gauge)
    if way == "generate":
        texts = [generation.text for (generation,) in calls.generate(make(), PROMPTS).generations]
    else:
        texts = calls.batch(make(), PROMPTS)
    assert texts == [prompt.upper() for prompt in PROMPTS]
    assert gauge.most == 32


def test_results_are_in_order_of_prompts(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(lambda request: [pause(0.05 / len(request.body["prompt"])), *by_prompt(request)])
    assert calls.batch(make(), ["a", "bb", "ccc"]) == ["aa", "bbbb", "cccccc"]


WAYS: dict[str, Any] = {
    "generate": lambda calls, llm: calls.generate(llm, PROMPTS[:12]),
    "batch": lambda calls, llm: calls.batch(llm, PROMPTS[:12]),
    "as completed": lambda calls, llm: calls.batch_as_completed(llm, PROMPTS[:12]),
}


@pytest.mark.parametrize("way", WAYS)
def test_max_concurrency_limits_calls_in_flight(wire: WireServer, make: Make, calls: Calls, way: str) -> None:
    gauge = Gauge(3)
    wire.always(gauge)
    WAYS[way](calls, make(max_concurrency=3))
    assert gauge.most == 3


@pytest.mark.parametrize("way", WAYS)
def test_many_calls_are_in_flight_by_default(wire: WireServer, make: Make, calls: Calls, way: str) -> None:
    gauge = Gauge(12)
    wire.always(gauge)
    WAYS[way](calls, make())
    assert gauge.most == 12


def test_max_concurrency_of_config_overrides_that_of_model(wire: WireServer, make: Make, calls: Calls) -> None:
    gauge = Gauge(2)
    wire.always(gauge)
    calls.batch(make(max_concurrency=8), PROMPTS[:8], config={"max_concurrency": 2})
    calls.batch_as_completed(make(max_concurrency=8), PROMPTS[:8], config={"max_concurrency": 2})
    assert gauge.most == 2


def test_max_concurrency_is_a_sliding_window(wire: WireServer, make: Make, calls: Calls) -> None:
    # The first prompt is answered once all others have been sent. In batches of two, this would deadlock.
    in_time = []

    def answer(request: Request) -> Script:
        if request.body["prompt"] == "a":
            in_time.append(wire.wait_for(8))
        return by_prompt(request)

    wire.always(answer)
    calls.batch(make(), ["a", "b"] + ["c"] * 6, config={"max_concurrency": 2})
    assert in_time == [True]


def test_each_input_has_its_own_run_and_usage(wire: WireServer, make: Make, calls: Calls, recorder: Recorder) -> None:
    wire.always(by_prompt)
    calls.batch(make(), ["a", "bb", "cccc"], config={"callbacks": [recorder]})
    assert len(set(recorder.ended_runs)) == 3
    totals = [(end.llm_output or {})["token_usage"]["prompt_tokens"] for end in recorder.ends]
    assert sorted(totals) == [1, 2, 4]


def test_each_input_has_its_own_callbacks(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(by_prompt)
    recorders = [Recorder(), Recorder()]
    calls.batch(make(), ["a", "bb"], config=[{"callbacks": [each], "run_name": "ask"} for each in recorders])
    assert [each.starts[0]["prompts"] for each in recorders] == [["a"], ["bb"]]
    assert [each.ends[0].generations[0][0].text for each in recorders] == ["aa", "bbbb"]


def test_each_input_has_its_own_error(wire: WireServer, make: Make, calls: Calls, recorder: Recorder) -> None:
    wire.always(fails_on("b"))
    answers = calls.batch(make(), ["a", "b", "c"], config={"callbacks": [recorder]}, return_exceptions=True)
    assert answers[::2] == ["aa", "cc"]
    assert isinstance(answers[1], BadRequestError)
    assert recorder.errors == [answers[1]]
    assert len(recorder.ends) == 2


def test_batch_as_completed_yields_results_with_their_index(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(fails_on("b"))
    done = dict(calls.batch_as_completed(make(), ["a", "b", "c"], return_exceptions=True))
    assert (done[0], done[2]) == ("aa", "cc")
    assert isinstance(done[1], BadRequestError)


def test_batch_works_in_chain(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(by_prompt)
    assert calls.batch(make() | str.upper, ["a", "b"]) == ["AA", "BB"]
    assert calls.batch(make().bind(stop=["b"]), ["a", "b"]) == ["aa", ""]


@pytest.mark.parametrize("way", ["generate", "batch"])
def test_first_error_prevents_remaining_calls(wire: WireServer, make: Make, calls: Calls, way: str) -> None:
    wire.always(fails_on("b"))
    prompts = ["b"] + ["a"] * 500
    with pytest.raises(BadRequestError, match="no b"):
        getattr(calls, way)(make(max_concurrency=2), prompts)
    assert len(wire.requests) < 100  # some threads notice the error late


def test_error_is_raised_before_earlier_calls_finish(wire: WireServer, make: Make) -> None:
    answer = fails_on("b")
    wire.always(lambda request: [pause(0.3), *answer(request)] if request.body["prompt"] == "a" else answer(request))
    with pytest.raises(BadRequestError):
        make(max_concurrency=2).batch(["a", "b"] + ["c"] * 500)
    assert len(wire.requests) < 50  # in order, most others would start while the first is in flight


@pytest.mark.parametrize("way", ["agenerate", "abatch"])
def test_first_error_cancels_calls_in_flight(wire: WireServer, make: Make, way: str) -> None:
    wire.always(lambda request: [STALL] if request.body["prompt"] == "a" else fails_on("b")(request))
    llm = make()

    async def run() -> None:
        with pytest.raises(BadRequestError):
            await getattr(llm, way)(["a", "b", "a", "a"])
        assert asyncio.all_tasks() == {asyncio.current_task()}
        for request in wire.requests:
            if request.body["prompt"] == "a":
                assert await asyncio.to_thread(request.left.wait, 30)

    asyncio.run(run())


@pytest.mark.parametrize("way", ["agenerate", "abatch"])
def test_cancelling_batch_cancels_all_calls(wire: WireServer, make: Make, way: str) -> None:
    wire.always([STALL])
    llm = make(max_concurrency=2)

    async def run() -> None:
        task = asyncio.create_task(getattr(llm, way)(PROMPTS))
        assert await asyncio.to_thread(wire.wait_for, 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
    assert len(wire.requests) == 2
    assert all(request.left.wait(30) for request in wire.requests)


def test_batches_leave_no_threads(wire: WireServer, make: Make) -> None:
    wire.always(fails_on("b"))
    llm = make()
    llm.invoke("a")
    before = threading.active_count()
    wire_threads = wire.connections
    llm.batch(PROMPTS)
    with pytest.raises(ParadigmError):
        llm.generate(["a", "b", "a"])
    ours = threading.active_count() - before - (wire.connections - wire_threads)
    assert ours <= 0


@pytest.mark.parametrize("way", ["generate", "batch"])
def test_every_started_run_ends_or_fails(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder, way: str
) -> None:
    wire.always(fails_on("b"))
    llm = make(max_concurrency=1, callbacks=[recorder])
    with pytest.raises(BadRequestError):
        getattr(calls, way)(llm, ["a", "b"])
    assert len(recorder.starts) == len(recorder.ends) + len(recorder.errors)


def test_runs_keep_context_of_caller(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(by_prompt)
    with collect_runs() as collected:
        calls.batch(make(), ["a", "bb"])
    assert {run.inputs["prompts"][0] for run in collected.traced_runs} == {"a", "bb"}


def test_generate_accepts_callbacks_tags_and_metadata_per_prompt(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(by_prompt)
    first, second = Recorder(), Recorder()
    calls.generate(
        make(),
        ["a", "bb"],
        callbacks=[[first], [second]],
        tags=[["t1"], ["t2"]],
        metadata=[{"m": 1}, {"m": 2}],
        run_name=["one", "two"],
    )
    assert [each.starts[0]["name"] for each in (first, second)] == ["one", "two"]
    assert [each.starts[0]["tags"] for each in (first, second)] == [["t1"], ["t2"]]
    assert [each.starts[0]["metadata"]["m"] for each in (first, second)] == [1, 2]
    with pytest.raises(ValueError, match="list"):
        calls.generate(make(), "abc")
    with pytest.raises(ValueError, match="list"):
        calls.generate(make(chat_template="alfred"), "abc")


@pytest.mark.parametrize("way", ["generate", "batch"])
def test_show_progress_shows_bar_for_several_prompts(
    wire: WireServer, make: Make, calls: Calls, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wire.always(by_prompt)
    getattr(calls, way)(make(), ["a", "b", "c"])
    getattr(calls, way)(make(show_progress=True), ["a"])
    assert capsys.readouterr().err == ""
    getattr(calls, way)(make(show_progress=True), ["a", "b", "c"])
    assert "3/3" in capsys.readouterr().err


def test_show_progress_without_tqdm_raises_with_install_command(
    wire: WireServer, make: Make, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.always(by_prompt)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tqdm"):
        calls.batch(make(show_progress=True), ["a", "b"])
