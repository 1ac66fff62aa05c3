"""Measuring: contenders that take turns, CPU and clock, the canned server and the event loop."""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Bench:
    """Measures rows, and keeps what it measured.

    Args:
        url: the canned server.
        rounds: how often each contender has its turn.
        loop: the one event loop on which all that is async runs, as in a service.
        only: a part of the names of the rows to measure; all by default.

    Attributes:
        rows: what was measured, by the name of its row.
    """

    def __init__(self, url: str, rounds: int, loop: asyncio.AbstractEventLoop, only: str = "") -> None:
        self.url = url
        self.rounds = rounds
        self.loop = loop
        self._only = only.lower()
        self.rows: dict[str, dict[str, float]] = {}

    def wants(self, name: str) -> bool:
        """Whether a row is to be measured."""
        return self._only in name.lower()

    def compare(self, name: str, turns: dict[str, Callable[[], float]], rounds: int | None = None) -> None:
        """Let the contenders take turns; keep the median of each, and of the ratios to the floor within a round.

        Taking turns makes them share whatever else the machine does.

        Args:
            name: what is measured.
            turns: the contenders by name, the floor first; each returns its cost, in any unit.
            rounds: fewer than usual if one takes long.
        """
        if not self.wants(name):
            return
        for turn in turns.values():
            turn()
        costs: dict[str, list[float]] = {contender: [] for contender in turns}
        for _ in range(min(rounds or self.rounds, self.rounds)):
            for contender, turn in turns.items():
                gc.collect()
                costs[contender].append(turn())
        first = next(iter(turns))
        row = {contender: statistics.median(values) for contender, values in costs.items()}
        for contender, values in costs.items():
            ratios = [value / base for value, base in zip(values, costs[first], strict=True)]
            row[f"{contender}/{first}"] = statistics.median(ratios)
        self.rows[name] = row
        ratios = "".join(f"{row[f'{contender}/{first}']:>10.2f}" for contender in turns)
        print(f"{name:62}{row[first]:>12.4g}{ratios}", flush=True)

    def note(self, name: str, **numbers: float) -> None:
        """Keep and print a row that is not a comparison."""
        self.rows[name] = {key.replace("_", " "): number for key, number in numbers.items()}
        print(f"{name:62}" + ", ".join(f"{number:.4g} {key}" for key, number in self.rows[name].items()), flush=True)


def cpu(work: Callable[[], Any], units: int) -> float:
    """Return the microseconds of this process's CPU for each unit of some work."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e6 / units


def wall(work: Callable[[], Any]) -> float:
    """Return the seconds by the clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextmanager
def canned_server() -> Iterator[str]:
    """Run the canned server in its own process, so that its work is not counted."""
    command = [sys.executable, "-m", "benchmarks.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/api/v2"
        server.stdin.close()


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run one event loop: connections belong to the loop on which they were opened."""
    loop = asyncio.new_event_loop()
    try:
        yield loop
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
