"""Many calls at once, without a framework."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from paradigm_transport.fan_out import afan_out, fan_out

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
