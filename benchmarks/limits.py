"""Rate limits: many prompts to a server that allows so many requests a second, and refuses the rest.

    python -m benchmarks.limits            everything, a quarter of an hour
    python -m benchmarks.limits --quick    300 prompts in one process

For each way of calling and each kind of refusal: the prompts that failed, the part of the allowed rate that was used
after the first two seconds, and the refusals for each answer. The last rows share one limit between two processes, as
Ray's or Dask's workers do without the shared limiter of docs/bulk.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.server import whole
from langchain_paradigm import ParadigmLLM as LangChainLLM
from llama_index_paradigm import ParadigmLLM as LlamaIndexLLM

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "bulk.md"
BEGIN, END = "<!-- limits -->", "<!-- end of limits -->"
LATENCY = 0.05
REFUSALS = ("429 with Retry-After", "429", "503")
RATES = {300: 40, 3000: 100}
"""Requests a second that are allowed, by the number of prompts."""

AT_ONCE = 64
"""The requests in flight of a LlamaIndex user, whose LLMs have no batches."""


class Bucket:
    """The server's limit: a token bucket that holds what is allowed in one second.

    Args:
        rate: requests a second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = self._tokens = rate
        self._at = time.monotonic()
        self.answered: list[float] = []
        self.refused: list[float] = []

    def take(self) -> bool:
        """Take a token; return whether there was one."""
        now = time.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            self.refused.append(now)
            return False
        self._tokens -= 1
        self.answered.append(now)
        return True


def refusal(kind: str) -> bytes:
    """Write a refusal of one of the kinds."""
    hint = b"Retry-After: 1\r\n" if "Retry-After" in kind else b""
    return b"HTTP/1.1 %s No\r\n%sContent-Length: 2\r\n\r\n{}" % (kind[:3].encode(), hint)


async def serve(rate: float, kind: str) -> None:
    """Serve until the standard input ends; print the port at first, and what was answered at the end."""
    bucket, no = Bucket(rate), refusal(kind)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
                reply = whole() if bucket.take() else no
                await asyncio.sleep(LATENCY)
                writer.write(reply)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**20, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()
    print(json.dumps({"answered": bucket.answered, "refused": bucket.refused}), flush=True)


@contextmanager
def limited_server(rate: float, kind: str) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """A server in a process of its own: its address, and a function that ends it and returns what it has seen."""
    command = [sys.executable, "-m", "benchmarks.limits", "--serve", str(rate), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        output = server.stdout

        def end() -> dict[str, Any]:
            assert server.stdin is not None
            server.stdin.close()
            seen: dict[str, Any] = json.loads(output.readline())
            return seen

        yield f"http://127.0.0.1:{int(output.readline())}/api/v2", end


def langchain_batch(url: str, prompts: list[str]) -> int:
    """Return how many prompts fail."""
    with LangChainLLM(model="canned", api_key="benchmark", base_url=url) as llm:
        return sum(isinstance(result, Exception) for result in llm.batch(prompts, return_exceptions=True))


def langchain_abatch(url: str, prompts: list[str]) -> int:
    """As `langchain_batch`."""

    async def run() -> int:
        async with LangChainLLM(model="canned", api_key="benchmark", base_url=url) as llm:
            return sum(isinstance(result, Exception) for result in await llm.abatch(prompts, return_exceptions=True))

    return asyncio.run(run())


def llama_index_complete(url: str, prompts: list[str]) -> int:
    """As `langchain_batch`."""
    with (
        LlamaIndexLLM(model="canned", api_key="benchmark", base_url=url, context_window=4096) as llm,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        calls = [threads.submit(llm.complete, prompt) for prompt in prompts]
        return sum(call.exception() is not None for call in calls)


def llama_index_acomplete(url: str, prompts: list[str]) -> int:
    """As `langchain_batch`, with all prompts at once."""

    async def run() -> int:
        async with LlamaIndexLLM(model="canned", api_key="benchmark", base_url=url, context_window=4096) as llm:
            gate = asyncio.Semaphore(AT_ONCE)

            async def complete(prompt: str) -> None:
                async with gate:
                    await llm.acomplete(prompt)

            results = await asyncio.gather(*map(complete, prompts), return_exceptions=True)
            return sum(isinstance(result, BaseException) for result in results)

    return asyncio.run(run())


WAYS: dict[str, Callable[[str, list[str]], int]] = {
    "LangChain batch": langchain_batch,
    "LangChain abatch": langchain_abatch,
    "LlamaIndex complete": llama_index_complete,
    "LlamaIndex acomplete": llama_index_acomplete,
}


class Row(NamedTuple):
    """What one run gave."""

    way: str
    kind: str
    prompts: int
    failed: int
    used: float
    refused: float

    def __str__(self) -> str:
        numbers = f"{self.prompts} | {self.failed} | {self.used:.2f} | {self.refused:.3f}"
        return f"| {self.way} | {self.kind} | {numbers} |"


def measure(way: str, kind: str, prompts: int, processes: int = 1) -> Row:
    """Send prompts in one of the ways, from some processes at once."""
    rate = RATES[prompts]
    with limited_server(rate, kind) as (url, end):
        command = [sys.executable, "-m", "benchmarks.limits", "--call", way, url, str(prompts // processes)]
        workers = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent) for _ in range(processes)
        ]
        failed = sum(int(worker.communicate()[0]) for worker in workers)
        seen = end()
    moments = seen["answered"]
    begin, last = moments[0] + 2, moments[-1]
    used = sum(moment > begin for moment in moments) / (rate * (last - begin))
    name = way if processes == 1 else f"{way}, {processes} processes"
    return Row(name, kind, prompts, failed, used, len(seen["refused"]) / len(moments))


def publish(rows: list[Row]) -> None:
    """Write the table into the page."""
    before, rest = PAGE.read_text().split(BEGIN)
    head = "| | refusals | prompts | failed | rate used | refusals an answer |\n|---|---|---|---|---|---|"
    table = "\n".join(map(str, rows))
    PAGE.write_text(f"{before}{BEGIN}\n{head}\n{table}\n{END}{rest.split(END)[1]}")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="300 prompts in one process, and no table")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--call", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(float(options.serve[0]), options.serve[1]))
        return
    if options.call:
        way, url, count = options.call
        print(WAYS[way](url, [str(number) for number in range(int(count))]))
        return
    rows = []
    runs = [(way, kind, prompts, 1) for prompts in RATES for way in WAYS for kind in REFUSALS]
    runs += [(way, "429", prompts, 2) for prompts in RATES for way in ("LangChain batch", "LangChain abatch")]
    for run in runs[: len(WAYS) * len(REFUSALS)] if options.quick else runs:
        rows.append(measure(*run))
        print(rows[-1], flush=True)
    if not options.quick:
        publish(rows)


if __name__ == "__main__":
    main()
