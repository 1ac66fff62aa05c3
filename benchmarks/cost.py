"""The CPU of calls and of chunks, for each way of calling, and over other HTTP libraries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from httpx_aiohttp import HttpxAiohttpClient

from benchmarks.contenders import CHATS, CHATS_WITH_MORE, LLMS, Clients, Way
from benchmarks.floors import LIMITS
from benchmarks.measuring import Bench, cpu

try:
    import httpx2
except ModuleNotFoundError:  # it needs Python 3.11
    httpx2 = None

SIZES = (10, 100, 1_000, 10_000)
STREAMS = (1, 8, 32, 128, 200, 512)
CALLS = 100
CROWD = 250
"""The chunks of a stream among many."""


def calls(bench: Bench) -> None:
    """Measure whole answers: CPU of a call."""
    for way in (*LLMS, *CHATS):
        _compare_calls(bench, way, (0, 1))


def _compare_calls(bench: Bench, way: Way, methods: tuple[int, ...], clients: Clients | None = None) -> None:
    contenders = way.contenders(bench.url, clients=clients)._asdict()
    for method in methods:
        turns = {name: _call_turn(bench, way, llm, method) for name, llm in contenders.items()}
        bench.compare(f"{way.name} {way.methods[method]}{_over(clients)}", turns)


def _call_turn(bench: Bench, way: Way, llm: Any, method: int) -> Callable[[], float]:
    call, question = getattr(llm, way.methods[method]), way.question()
    if method == 0:
        return lambda: cpu(lambda: [call(question) for _ in range(CALLS)], CALLS)

    async def work() -> None:
        for _ in range(CALLS):
            await call(question)

    return lambda: cpu(lambda: bench.loop.run_until_complete(work()), CALLS)


def chunks(bench: Bench) -> None:
    """Measure streams: CPU of a chunk, the call's included, at rising sizes."""
    for size in SIZES:
        for way in LLMS:
            _compare_chunks(bench, way, size)


def chat_chunks(bench: Bench) -> None:
    """Measure streams of chats, with tools and with thoughts."""
    for way in (*CHATS, *CHATS_WITH_MORE):
        _compare_chunks(bench, way, 1_000)


def _compare_chunks(
    bench: Bench,
    way: Way,
    size: int,
    methods: tuple[int, ...] = (2, 3),
    clients: Clients | None = None,
) -> None:
    contenders = way.contenders(bench.url, size, clients=clients)._asdict()
    for method in methods:
        turns = {name: stream_turn(bench, way, llm, method, size) for name, llm in contenders.items()}
        bench.compare(f"{way.name} {way.methods[method]}, {size} chunks{_over(clients)}", turns)


def stream_turn(bench: Bench, way: Way, llm: Any, method: int, size: int, streams: int = 1) -> Callable[[], float]:
    """Return what reads streams at once, and measures the CPU of a chunk."""
    stream, question = getattr(llm, way.methods[method]), way.question()
    if method == 2:
        return lambda: cpu(lambda: exhaust(stream(question), size), size)

    async def work() -> None:
        await asyncio.gather(*[aexhaust(stream(question), size) for _ in range(streams)])

    return lambda: cpu(lambda: bench.loop.run_until_complete(work()), size * streams)


def exhaust(stream: Any, size: int) -> None:
    """Read a stream, and check that nothing was lost."""
    assert sum(1 for _ in stream) >= size - 2


async def aexhaust(stream: Any, size: int) -> None:
    """As `exhaust`; LlamaIndex's streams are awaited first."""
    stream = await stream if hasattr(stream, "__await__") else stream
    count = 0
    async for _ in stream:
        count += 1
    assert count >= size - 2


def apart(bench: Bench) -> None:
    """Measure streams whose chunks arrive one by one, as those of a model do: CPU of a chunk."""
    for way in LLMS:
        contenders = way.contenders(bench.url, CROWD, user="apart")._asdict()
        for method in (2, 3):
            turns = {name: stream_turn(bench, way, llm, method, CROWD) for name, llm in contenders.items()}
            bench.compare(f"{way.name} {way.methods[method]}, {CROWD} chunks one by one", turns, rounds=5)


def thousand_streams(bench: Bench) -> None:
    """Read 1,000 streams at once; an error would end the run."""
    for way in LLMS:
        name = f"{way.name} {way.methods[3]}, 1,000 at once"
        if bench.wants(name):
            ours = way.contenders(bench.url, CROWD).ours
            cost = stream_turn(bench, way, ours, 3, CROWD, 1_000)()
            bench.note(name, microseconds_a_chunk=cost, errors=0)


def concurrent_streams(bench: Bench) -> None:
    """Measure many streams on one loop: CPU of a chunk, as the number of streams rises."""
    for way in LLMS:
        for streams in STREAMS if way is LLMS[0] else (200,):
            _compare_streams(bench, way, streams)


def _compare_streams(bench: Bench, way: Way, streams: int, clients: Clients | None = None) -> None:
    contenders = way.contenders(bench.url, CROWD, clients=clients)._asdict()
    turns = {name: stream_turn(bench, way, llm, 3, CROWD, streams) for name, llm in contenders.items()}
    rounds = 3 if streams > 100 else None
    bench.compare(f"{way.name} {way.methods[3]}, {streams} at once{_over(clients)}", turns, rounds)


def other_stacks(bench: Bench) -> None:
    """Measure ours and the floor over other HTTP libraries; the peers over httpx, as above."""
    with _clients(bench) as stacks:
        for clients in stacks:
            is_sync = clients.client is not None
            for way in LLMS:
                _compare_calls(bench, way, (0, 1) if is_sync else (1,), clients)
                _compare_chunks(bench, way, 1_000, (2, 3) if is_sync else (3,), clients)
                _compare_streams(bench, way, 200, clients)


@contextmanager
def _clients(bench: Bench) -> Iterator[list[Clients]]:
    async def make(kind: Any, limits: Any) -> Any:
        return kind(timeout=120, limits=limits)

    stacks = [Clients(None, bench.loop.run_until_complete(make(HttpxAiohttpClient, LIMITS)))]
    if httpx2 is not None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        clients = httpx2.Client(timeout=120, limits=limits), httpx2.AsyncClient(timeout=120, limits=limits)
        stacks.append(Clients(*clients))
    yield stacks
    for client, async_client in stacks:
        if client is not None:
            client.close()
        bench.loop.run_until_complete(async_client.aclose())


def _over(clients: Clients | None) -> str:
    if clients is None:
        return ""
    return ", over httpx-aiohttp" if isinstance(clients.async_client, httpx.AsyncClient) else ", over httpx2"
