"""How long work takes, and how that grows with its size."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from math import log


def cpu_time(work: Callable[[], object]) -> float:
    """Return the seconds that this thread computes; a collection of garbage in between would count as many tests do."""
    gc.disable()
    begin = time.thread_time()
    try:
        work()
        return time.thread_time() - begin
    finally:
        gc.enable()


def best_time(work: Callable[[], object]) -> float:
    """Return the least `cpu_time` of three."""
    return min(cpu_time(work) for _ in range(3))


def growth(work: Callable[[int], object], size: int, times: int) -> float:
    """Return the power of the size with which the time of some work grows: 1 if it is linear, 2 if it is quadratic.

    Args:
        work: takes the size; each is done three times.
        size: the smaller of the two sizes that are compared.
        times: how many times as large the other is.
    """
    small, large = best_time(lambda: work(size)), best_time(lambda: work(size * times))
    return log(large / small) / log(times)
