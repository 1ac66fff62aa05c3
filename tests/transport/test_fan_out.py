"""Many calls at once, without a framework."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

import pytest

from paradigm_transport.fan_out import FIRST, SOON, Window, _ended, afan_out, fan_out

Run = Callable[..., list[Any]]

place: ContextVar[str] = ContextVar("place", default="outside")


def in_tasks(call: Callable[[Any], Any], items: Sequence[Any], limit: int, **options: Any) -> list[Any]:
    async def acall(item: Any) -> Any:
        await asyncio.sleep(0)
        return call(item)

    return asyncio.run(afan_out(acall, items, limit, **options))


@pytest.fixture(params=[fan_out, in_tasks], ids=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param


@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_results_are_in_the_order_of_the_items(run: Run, count: int) -> None:
    assert run(lambda item: item * 2, range(count), 3) == [item * 2 for item in range(count)]


@pytest.mark.parametrize("count", [1, 5])
def test_calls_see_the_context_variables_of_the_caller(run: Run, count: int) -> None:
    token = place.set("inside")
    try:
        assert run(lambda _: place.get(), range(count), 2) == ["inside"] * count
    finally:
        place.reset(token)


def test_calls_do_not_share_the_variables_that_they_set(run: Run) -> None:
    def call(item: int) -> str:
        before = place.get()
        place.set(str(item))
        return before

    assert run(call, range(5), 1) == ["outside"] * 5


def test_no_more_than_the_limit_are_in_flight() -> None:
    now, most, lock = 0, 0, threading.Lock()

    def call(_: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1

    fan_out(call, range(12), 3)
    assert most == 3


def test_a_single_item_stays_in_the_thread_of_the_caller() -> None:
    assert fan_out(lambda _: threading.get_ident(), ["x"], 8) == [threading.get_ident()]


def test_the_first_error_stops_the_rest(run: Run) -> None:
    begun: list[int] = []

    def call(item: int) -> int:
        begun.append(item)
        if item == 0:
            raise LookupError("first")
        time.sleep(0.005)
        return item

    with pytest.raises(LookupError, match="first"):
        run(call, range(200), 2)
    assert len(begun) < 50


def test_it_needs_no_framework() -> None:
    code = "import sys, paradigm_transport.fan_out; print('langchain_core' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def sizes(limit: int, seconds_a_call: float, calls: int) -> list[int]:
    """The size of a window after each of some calls that end one after the other."""
    now = [0.0]
    window = Window(limit, lambda: now[0])
    found = [window.size]
    for _ in range(calls):
        now[0] += seconds_a_call
        window.end()
        found.append(window.size)
    return found


def test_window_grows_by_each_call_that_ends_soon() -> None:
    assert sizes(256, 0.01, 300) == [min(256, FIRST + ended) for ended in range(301)]
    assert sizes(20, 0.01, 50) == [20] * 51


def test_window_of_a_small_server_does_not_grow() -> None:
    assert set(sizes(256, 1.0, 1000)) == {FIRST}  # 64 calls of a second each, one after the other, take a minute
    assert max(sizes(256, 0.25, 1000)) * 0.25 == pytest.approx(SOON, abs=1)


def test_more_are_in_flight_as_calls_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradigm_transport.fan_out.FIRST", 2)
    now, most, lock = 0, 0, threading.Lock()

    def call(_: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1

    fan_out(call, range(60), 8)
    assert most == 8


def test_calls_that_ended_together_come_in_order() -> None:
    futures = [Future[int]() for _ in range(50)]
    for number, future in enumerate(futures):
        future.set_result(number)
    assert list(_ended(futures)) == futures
