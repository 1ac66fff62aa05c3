"""The benchmark: one table of ratios, a JSON file and a plot.

python -m benchmarks            everything, some minutes
python -m benchmarks --quick    fewer rounds, to see that it runs
"""

from __future__ import annotations

import argparse
import asyncio
import compileall
import gc
import json
import platform
import statistics
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from httpx_aiohttp import HttpxAiohttpClient

from benchmarks import embeddings as many_texts
from benchmarks import plot
from benchmarks.contenders import Contenders, langchain, llama_index

HERE = Path(__file__).parent
NAMES = Contenders._fields
SIZES = (10, 100, 1_000, 10_000)
STREAMS = (1, 8, 32, 128, 200, 512)
PROMPTS, LATENCY_MS = 64, 50


class Bench:
    """Measures, and keeps what it measured.

    Args:
        url: the canned server.
        rounds: how often each contender has its turn.
        loop: the one event loop on which all that is async runs, as in a service.
    """

    def __init__(self, url: str, rounds: int, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self.rounds = rounds
        self.loop = loop
        self.rows: dict[str, dict[str, float]] = {}

    def compare(self, name: str, turns: dict[str, Callable[[], float]], rounds: int | None = None) -> None:
        """Let the contenders take turns; keep the median of each, and of the ratios to the floor within a round.

        Taking turns makes them share whatever else the machine does.

        Args:
            name: what is measured.
            turns: the contenders by name, the floor first; each gives its own cost, in any unit.
            rounds: fewer than usual, where one takes long.
        """
        for turn in turns.values():
            turn()
        costs: dict[str, list[float]] = {contender: [] for contender in turns}
        for _ in range(rounds or self.rounds):
            for contender, turn in turns.items():
                gc.collect()
                costs[contender].append(turn())
        first = next(iter(turns))
        row = {contender: statistics.median(values) for contender, values in costs.items()}
        for contender, values in costs.items():
            ratios = [value / base for value, base in zip(values, costs[first], strict=True)]
            row[f"{contender}/{first}"] = statistics.median(ratios)
        self.rows[name] = row
        print(f"{name:52}" + "".join(f"{row[f'{contender}/{first}']:>10.2f}" for contender in turns), flush=True)


def cpu(work: Callable[[], Any], units: int) -> float:
    """Microseconds of this process's CPU for each of so many units of work."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e6 / units


def wall(work: Callable[[], Any]) -> float:
    """Seconds by the clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextmanager
def canned_server() -> Iterator[str]:
    """A server in a process of its own, so that its work is not counted."""
    command = [sys.executable, "-m", "benchmarks.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/api/v2"
        server.stdin.close()


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop for the whole run: connections belong to the loop on which they were opened."""
    loop = asyncio.new_event_loop()
    try:
        yield loop
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def calls(bench: Bench) -> None:
    """One whole answer: CPU of a call."""
    many = 100

    def repeated(call: Callable[[], Any]) -> Callable[[], float]:
        return lambda: cpu(lambda: [call() for _ in range(many)], many)

    def repeated_async(call: Callable[[], Any]) -> Callable[[], float]:
        async def work() -> None:
            for _ in range(many):
                await call()

        return lambda: cpu(lambda: bench.loop.run_until_complete(work()), many)

    chains, engines = langchain(bench.url, 10), llama_index(bench.url, 10)
    bench.compare("LangChain invoke", {name: repeated(lambda llm=llm: llm.invoke("x")) for name, llm in _named(chains)})
    bench.compare(
        "LangChain ainvoke",
        {name: repeated_async(lambda llm=llm: llm.ainvoke("x")) for name, llm in _named(chains)},
    )
    bench.compare(
        "LlamaIndex complete", {name: repeated(lambda llm=llm: llm.complete("x")) for name, llm in _named(engines)}
    )
    bench.compare(
        "LlamaIndex acomplete",
        {name: repeated_async(lambda llm=llm: llm.acomplete("x")) for name, llm in _named(engines)},
    )


def _named(contenders: Contenders) -> Iterator[tuple[str, Any]]:
    return zip(NAMES, contenders, strict=True)


def chunks(bench: Bench) -> None:
    """A stream: CPU of a chunk, the call's own cost included, at rising sizes."""
    for size in SIZES:
        chains, engines = langchain(bench.url, size), llama_index(bench.url, size)
        bench.compare(
            f"LangChain stream, {size} chunks",
            {name: (lambda llm=llm: cpu(lambda: exhaust(llm.stream("x"), size), size)) for name, llm in _named(chains)},
        )
        bench.compare(
            f"LangChain astream, {size} chunks",
            {name: _async_turn(bench, lambda llm=llm: llm.astream("x"), size) for name, llm in _named(chains)},
        )
        bench.compare(
            f"LlamaIndex stream_complete, {size} chunks",
            {
                name: (lambda llm=llm: cpu(lambda: exhaust(llm.stream_complete("x"), size), size))
                for name, llm in _named(engines)
            },
        )
        bench.compare(
            f"LlamaIndex astream_complete, {size} chunks",
            {
                name: _async_turn(bench, lambda llm=llm: llm.astream_complete("x"), size)
                for name, llm in _named(engines)
            },
        )


def exhaust(stream: Any, size: int) -> None:
    """Read a stream, and see that nothing was lost."""
    assert sum(1 for _ in stream) >= size


async def aexhaust(stream: Any, size: int) -> None:
    """As `exhaust`; LlamaIndex's streams are awaited first."""
    stream = await stream if hasattr(stream, "__await__") else stream
    count = 0
    async for _ in stream:
        count += 1
    assert count >= size


def _async_turn(bench: Bench, open_stream: Callable[[], Any], size: int, streams: int = 1) -> Callable[[], float]:
    async def work() -> None:
        await asyncio.gather(*[aexhaust(open_stream(), size) for _ in range(streams)])

    return lambda: cpu(lambda: bench.loop.run_until_complete(work()), size * streams)


def concurrent_streams(bench: Bench) -> None:
    """Many streams on one loop: CPU of a chunk, as the number of streams rises."""
    size = 250
    for streams in STREAMS:
        chains = langchain(bench.url, size)
        bench.compare(
            f"LangChain astream, {streams} at once",
            {name: _async_turn(bench, lambda llm=llm: llm.astream("x"), size, streams) for name, llm in _named(chains)},
            rounds=3 if streams > 100 else None,
        )


def over_aiohttp(bench: Bench) -> None:
    """The same with httpx-aiohttp beneath: what one line buys."""
    size, many = 250, 100
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)

    async def open_client() -> Any:
        return HttpxAiohttpClient(timeout=120, limits=limits)

    client = bench.loop.run_until_complete(open_client())
    chains = langchain(bench.url, size)
    chains = chains._replace(ours=chains.ours.model_copy(update={"http_async_client": client}))

    async def call_often(llm: Any) -> None:
        for _ in range(many):
            await llm.ainvoke("x")

    bench.compare(
        "LangChain ainvoke, over httpx-aiohttp",
        {
            name: (lambda llm=llm: cpu(lambda: bench.loop.run_until_complete(call_often(llm)), many))
            for name, llm in _named(chains)
        },
    )
    for streams in (1, 200):
        bench.compare(
            f"LangChain astream, {streams} at once, over httpx-aiohttp",
            {name: _async_turn(bench, lambda llm=llm: llm.astream("x"), size, streams) for name, llm in _named(chains)},
            rounds=3 if streams > 100 else None,
        )
    bench.loop.run_until_complete(client.aclose())


def fan_out(bench: Bench) -> None:
    """64 prompts to a server that takes 50 ms for each: by the clock, in latencies."""
    llm = langchain(bench.url, 10, user=str(LATENCY_MS)).ours
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
    """A stream of 100,000 chunks: whether time stays linear and memory constant beyond its text."""
    for framework, make in {"LangChain": langchain, "LlamaIndex": llama_index}.items():
        costs, peaks = {}, {}
        for size in (10_000, 100_000):
            llm = make(bench.url, size).ours
            open_stream = llm.stream if framework == "LangChain" else llm.stream_complete
            costs[size] = cpu(lambda stream=open_stream, size=size: exhaust(stream("x"), size), size)
            tracemalloc.start()
            exhaust(open_stream("x"), size)
            peaks[size] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            llm.close()
        growth = (peaks[100_000] - peaks[10_000]) / 90_000
        slowdown = costs[100_000] / costs[10_000]
        name = f"{framework}, 100,000 chunks"
        bench.rows[name] = {"times the cost of a chunk of 10,000": slowdown, "bytes of memory a chunk": growth}
        print(f"{name:52}{slowdown:>10.2f} times the cost of a chunk of 10,000; {growth:.0f} bytes a chunk")


def leftovers(bench: Bench) -> None:
    """What is open after `close`."""
    threads, sockets = set(threading.enumerate()), _open_sockets()
    with langchain(bench.url, 10).ours as llm:
        llm.batch(["a", "b", "c"])
        exhaust(llm.stream("x"), 10)
    gc.collect()
    left = {"threads": len(set(threading.enumerate()) - threads), "sockets": _open_sockets() - sockets}
    bench.rows["left after close"] = {name: float(count) for name, count in left.items()}
    print(f"{'left after close':52}{left['threads']} threads, {left['sockets']} sockets")


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
    parser.add_argument("--only", metavar="PART", help="one part alone, such as chunks")
    options = parser.parse_args()
    parts = (calls, chunks, concurrent_streams, over_aiohttp, fan_out, embeddings, imports, long_stream, leftovers)
    with canned_server() as url, event_loop() as loop:
        bench = Bench(url, 3 if options.quick else 15, loop)
        print(f"{'ratio to the floor (the first column)':52}{'floor':>10}{'ours':>10}{'peer':>10}")
        for part in parts:
            if options.only in (None, part.__name__):
                part(bench)
    if options.only is None:
        result = {"python": platform.python_version(), "date": time.strftime("%Y-%m-%d"), "rows": bench.rows}
        (HERE / "results.json").write_text(json.dumps(result, indent=1) + "\n")
        plot.main()


if __name__ == "__main__":
    main()
