"""The benchmark: one table of ratios, a JSON file and a plot.

python -m benchmarks                          everything, a quarter of an hour
python -m benchmarks calls chunks             these parts; the results of others stay
python -m benchmarks --quick --only ainvoke   three rounds of the rows whose names hold a word
"""

from __future__ import annotations

import argparse
import asyncio
import compileall
import gc
import json
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import embeddings as many_texts
from benchmarks import plot
from benchmarks.contenders import LANGCHAIN, LLAMA_INDEX
from benchmarks.cost import (
    apart,
    calls,
    chat_chunks,
    chunks,
    concurrent_streams,
    exhaust,
    other_stacks,
    thousand_streams,
)
from benchmarks.growth import long_arguments, long_chats, long_streams, memory
from benchmarks.measuring import HERE, Bench, canned_server, cpu, event_loop, wall

PROMPTS, LATENCY_MS = 64, 50


def fan_out(bench: Bench) -> None:
    """Measure 64 prompts to a server that takes 50 ms for each: by the clock, in latencies."""
    chain = LANGCHAIN.contenders(bench.url, user=str(LATENCY_MS)).ours
    engine = LLAMA_INDEX.contenders(bench.url, user=str(LATENCY_MS)).ours
    prompts = [str(number) for number in range(PROMPTS)]

    async def gathered() -> None:
        await asyncio.gather(*map(engine.acomplete, prompts))

    ways: dict[str, Callable[[], Any]] = {
        "LangChain batch": lambda: chain.batch(prompts),
        "LangChain abatch": lambda: bench.loop.run_until_complete(chain.abatch(prompts)),
        "LangChain generate": lambda: chain.generate(prompts),
        "LlamaIndex acomplete": lambda: bench.loop.run_until_complete(gathered()),
    }
    with ThreadPoolExecutor(PROMPTS) as threads:
        ways["LlamaIndex complete"] = lambda: list(threads.map(engine.complete, prompts))
        for way, work in ways.items():
            turns = {"latency": lambda: LATENCY_MS / 1000, "ours": lambda work=work: wall(work)}
            bench.compare(f"{way}, {PROMPTS} prompts, in latencies", turns)


def embeddings(bench: Bench) -> None:
    """2,000 texts, one a request: CPU of a text."""
    count = len(many_texts.TEXTS)
    for way, contenders in many_texts.turns(bench.url, bench.loop.run_until_complete).items():
        costs = {name: (lambda work=work: cpu(work, count)) for name, work in contenders.items()}
        bench.compare(f"{way}, {count:,} texts", costs, min(bench.rounds, 5))


def imports(bench: Bench) -> None:
    """Importing an adapter's `ParadigmLLM` beside what it cannot do without: its framework's LLM, and httpx."""
    for package in ("paradigm_transport", "langchain_paradigm", "llama_index_paradigm"):
        compileall.compile_dir(HERE.parent / package, quiet=1)  # as pip does with what it installs
    ours_and_theirs = {
        "LangChain": ("langchain_paradigm", "langchain_core.language_models.llms, langchain_openai"),
        "LlamaIndex": ("llama_index_paradigm", "llama_index.core.llms.llm, llama_index.llms.openai_like"),
    }
    for framework, (ours, theirs) in ours_and_theirs.items():
        statements = Imports(f"{theirs.split(',')[0]}, httpx")
        turns = {
            "floor": statements.floor,
            "ours": lambda: statements.above(ours),
            "peer": lambda: statements.above(theirs),
        }
        bench.compare(f"import, {framework}", turns)


class Imports:
    """CPU seconds of a floor's imports, and of those with more above them, each time in a new process.

    What is above is added to the floor before it: whole imports differ by a tenth or more from one time to the next.

    Args:
        floor: the floor's modules.
    """

    def __init__(self, floor: str) -> None:
        self._floor = floor
        self._seconds = 0.0

    def floor(self) -> float:
        """Import the floor."""
        self._seconds = _import("sys", self._floor)
        return self._seconds

    def above(self, modules: str) -> float:
        """Import modules where the floor is imported already."""
        return self._seconds + _import(self._floor, modules)


def _import(before: str, modules: str) -> float:
    # When garbage is collected depends on all that was imported before: on one side or the other by chance.
    measured = f"began = time.process_time(); import {modules}; print(time.process_time() - began)"
    command = [sys.executable, "-c", f"import gc, time; gc.disable(); import {before}; {measured}"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def leftovers(bench: Bench) -> None:
    """Count what is open after `close`."""
    if not bench.wants("left after close"):
        return
    threads, sockets = set(threading.enumerate()), _open_sockets()
    with LANGCHAIN.contenders(bench.url).ours as llm:
        llm.batch(["a", "b", "c"])
        exhaust(llm.stream("x"), 10)
    gc.collect()
    threads_left = len(set(threading.enumerate()) - threads)
    bench.note("left after close", threads=threads_left, sockets=_open_sockets() - sockets)


def _open_sockets() -> int:
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(descriptor.readlink()))
        except FileNotFoundError:  # the descriptor of this very listing
            continue
    return sum(link.startswith("socket:") for link in links)


PARTS = (
    calls,
    chunks,
    chat_chunks,
    apart,
    concurrent_streams,
    thousand_streams,
    other_stacks,
    fan_out,
    embeddings,
    memory,
)
PARTS += (imports, long_streams, long_arguments, long_chats, leftovers)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="parts to measure, by their names; the rows of others stay")
    parser.add_argument("--quick", action="store_true", help="three rounds instead of fifteen; nothing is written")
    parser.add_argument("--only", metavar="WORDS", default="", help="rows whose names hold these words; likewise")
    options = parser.parse_args()
    parts = {part.__name__: part for part in PARTS}
    with canned_server() as url, event_loop() as loop:
        bench = Bench(url, 3 if options.quick else 15, loop, options.only)
        print(f"{'microseconds of the floor, then ratios to it':62}{'':>12}{'floor':>10}{'ours':>10}{'peer':>10}")
        for name in options.parts or parts:
            parts[name](bench)
    if not (options.quick or options.only):
        write(bench.rows, keep=bool(options.parts))


def write(rows: dict[str, dict[str, float]], *, keep: bool) -> None:
    """Write the results, the page and the picture.

    Args:
        rows: what was measured.
        keep: add them to the rows of the last results.
    """
    path = HERE / "results.json"
    known = json.loads(path.read_text())["rows"] if keep else {}
    result = {"python": platform.python_version(), "date": time.strftime("%Y-%m-%d"), "rows": {**known, **rows}}
    path.write_text(json.dumps(result, indent=1) + "\n")
    plot.main()


if __name__ == "__main__":
    main()
