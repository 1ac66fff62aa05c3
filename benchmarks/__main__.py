"""The benchmark: one table of ratios, a JSON file and a plot.

python -m benchmarks                          everything, half an hour
python -m benchmarks --quick --only ainvoke   three rounds of the rows whose names hold a word
"""

from __future__ import annotations

import argparse
import compileall
import gc
import json
import platform
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import embeddings as many_texts
from benchmarks import plot
from benchmarks.contenders import LANGCHAIN, LLMS
from benchmarks.cost import calls, chunks, concurrent_streams, exhaust, other_stacks
from benchmarks.measuring import HERE, Bench, canned_server, cpu, event_loop, wall

PROMPTS, LATENCY_MS = 64, 50


def fan_out(bench: Bench) -> None:
    """64 prompts to a server that takes 50 ms for each: by the clock, in latencies."""
    llm = LANGCHAIN.contenders(bench.url, user=str(LATENCY_MS)).ours
    prompts = [str(number) for number in range(PROMPTS)]
    ways: dict[str, Callable[[], Any]] = {
        "batch": lambda: llm.batch(prompts),
        "abatch": lambda: bench.loop.run_until_complete(llm.abatch(prompts)),
        "generate": lambda: llm.generate(prompts),
    }
    for way, work in ways.items():
        turns = {"latency": lambda: LATENCY_MS / 1000, "ours": lambda work=work: wall(work)}
        bench.compare(f"LangChain {way}, {PROMPTS} prompts, in latencies", turns)


def embeddings(bench: Bench) -> None:
    """2,000 texts, one a request: CPU of a text."""
    count = len(many_texts.TEXTS)
    for way, contenders in many_texts.turns(bench.url, bench.loop.run_until_complete).items():
        costs = {name: (lambda work=work: cpu(work, count)) for name, work in contenders.items()}
        bench.compare(f"{way}, {count:,} texts", costs, min(bench.rounds, 5))


def imports(bench: Bench) -> None:
    """Importing an adapter beside what it cannot do without: its framework's LLM, httpx and pydantic."""
    for package in ("paradigm_transport", "langchain_paradigm", "llama_index_paradigm"):
        compileall.compile_dir(HERE.parent / package, quiet=1)  # as pip does with what it installs
    ours_and_theirs = {
        "LangChain": ("langchain_paradigm", "langchain_core.language_models.llms, langchain_openai"),
        "LlamaIndex": ("llama_index_paradigm", "llama_index.core.llms.llm, llama_index.llms.openai_like"),
    }
    for framework, (ours, theirs) in ours_and_theirs.items():
        base = theirs.split(",")[0]
        statements = {"floor": f"{base}, httpx", "ours": ours, "peer": theirs}
        turns = {name: (lambda modules=modules: _import(modules)) for name, modules in statements.items()}
        bench.compare(f"import, {framework}", turns)


def _import(modules: str) -> float:
    code = f"import time; began = time.process_time(); import {modules}; print(time.process_time() - began)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def long_stream(bench: Bench) -> None:
    """Measure a stream of 100,000 chunks: whether time stays linear and memory constant beyond its text."""
    for way in LLMS:
        name = f"{way.name}, 100,000 chunks"
        if not bench.wants(name):
            continue
        costs, peaks = {}, {}
        for size in (10_000, 100_000):
            llm = way.contenders(bench.url, size).ours
            open_stream = getattr(llm, way.methods[2])
            costs[size] = cpu(lambda stream=open_stream, size=size: exhaust(stream("x"), size), size)
            tracemalloc.start()
            exhaust(open_stream("x"), size)
            peaks[size] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            llm.close()
        growth = (peaks[100_000] - peaks[10_000]) / 90_000
        slowdown = costs[100_000] / costs[10_000]
        bench.note(name, times_the_cost_of_a_chunk_of_10_000=slowdown, bytes_of_memory_a_chunk=growth)


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


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three rounds instead of fifteen")
    parser.add_argument("--only", metavar="WORDS", default="", help="the rows whose names hold these words")
    options = parser.parse_args()
    parts = (calls, chunks, concurrent_streams, other_stacks, fan_out, embeddings, imports, long_stream, leftovers)
    with canned_server() as url, event_loop() as loop:
        bench = Bench(url, 3 if options.quick else 15, loop, options.only)
        print(f"{'microseconds of the floor, then ratios to it':62}{'':>12}{'floor':>10}{'ours':>10}{'peer':>10}")
        for part in parts:
            part(bench)
    if not options.only:
        result = {"python": platform.python_version(), "date": time.strftime("%Y-%m-%d"), "rows": bench.rows}
        (HERE / "results.json").write_text(json.dumps(result, indent=1) + "\n")
        plot.main()


if __name__ == "__main__":
    main()
