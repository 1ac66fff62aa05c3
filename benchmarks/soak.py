"""A soak: thousands of mixed calls against a server that fails in every way, checked one by one.

    python -m benchmarks.soak              20,000 calls, some minutes
    python -m benchmarks.soak --calls 500  fewer, to see that it runs

Each prompt is unique, and the server completes it with a text that only this prompt can have. A call fails the soak if
its text is another than the server sent for it (lost, garbled or mixed up), if it ends in an error that the server did
not cause, or if it was sent more often than its failures explain. At the end no connection may be open, and no thread
or task be left.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from paradigm_transport import (
    APIConnectionError,
    AsyncParadigmClient,
    ParadigmClient,
    ParadigmError,
    RetryPolicy,
    ServerError,
)
from tests.wire import CUT, RESET, Request, Script, WireServer, chunk, completion, reply, sse, usage

MODEL = "soak"
RETRY = RetryPolicy(max_retries=3, initial_delay=0.001, max_delay=0.01)

# What the server does to the first request of a call; to a second one it gives the whole completion. Refusals for the
# rate, which make all calls wait, are measured in `limits.py`.
FAULTS = (
    "none",
    "none",
    "none",
    "none",
    "500",
    "502",
    "cut head",
    "reset",
    "cut body",
    "cut stream",
    "error in stream",
)
AFTER_TEXT = ("cut stream", "error in stream")
"""Faults that a stream cannot recover from once text was handed out."""


def text_of(prompt: str) -> str:
    """Return the only right completion of a prompt."""
    return f"[{prompt}] " + " ".join(f"{prompt}-{word}" for word in range(len(prompt) % 7 + 3))


class Server:
    """Completes prompts, with the fault that each asks for, and counts the requests for each."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Script:
        """Return the script for a request."""
        prompt = request.body["prompt"]
        with self._lock:
            self.requests[prompt] += 1
            is_first = self.requests[prompt] == 1
        fault = prompt.split("/")[1] if is_first else "none"
        text = text_of(prompt)
        words = [chunk(word + " ") for word in text.split(" ")[:-1]] + [chunk(text.split(" ")[-1], "stop")]
        is_stream = request.body.get("stream")
        if fault in ("500", "502"):
            return reply({"detail": "later"}, int(fault), {"Retry-After": "0.001"})
        if fault in ("cut head", "reset"):
            return [CUT if fault == "cut head" else RESET]
        if fault == "cut body" or (fault == "cut stream" and not is_stream):
            return [reply(completion(text))[0][:-20], CUT]  # type: ignore[index]
        if fault == "cut stream":
            return sse(*words[:2], CUT, done=False)
        if fault == "error in stream":
            error = {"error": {"message": "later", "code": 500}}
            return sse(*words[:2], error) if is_stream else reply(error)
        return sse(*words, chunk(usage=usage(3, 5))) if is_stream else reply(completion(text, usage=usage(3, 5)))


class Soak:
    """Makes calls and keeps what was wrong with them."""

    def __init__(self, server: Server, calls: int, seed: int) -> None:
        self.server = server
        chance = random.Random(seed)  # noqa: S311  # not for secrets
        self.prompts = [
            f"{number}/{chance.choice(FAULTS)}/{chance.choice(('whole', 'stream', 'stream', 'left'))}"
            for number in range(calls)
        ]
        self.wrong: list[str] = []
        self.outcomes: Counter[str] = Counter()

    def complete(self, client: ParadigmClient, prompt: str) -> None:
        """Make one sync call."""
        with self._checked(prompt) as texts:
            if prompt.endswith("whole"):
                texts.append(client.complete(prompt, model=MODEL).text)
                return
            with client.stream(prompt, model=MODEL) as stream:
                for piece in stream:
                    texts.append(piece.text)
                    if prompt.endswith("left"):
                        return

    async def acomplete(self, client: AsyncParadigmClient, prompt: str) -> None:
        """Make one async call; some of those that leave are cancelled."""
        with self._checked(prompt) as texts:
            if prompt.endswith("whole"):
                texts.append((await client.complete(prompt, model=MODEL)).text)
                return
            async with client.stream(prompt, model=MODEL) as stream:
                async for piece in stream:
                    texts.append(piece.text)
                    if prompt.endswith("left"):
                        return

    @contextmanager
    def _checked(self, prompt: str) -> Iterator[list[str]]:
        texts: list[str] = []
        fault, way = prompt.split("/")[1:]
        error: ParadigmError | None = None
        try:
            yield texts
        except (APIConnectionError, ServerError) as caught:
            error = caught
        text, right = "".join(texts), text_of(prompt)
        may_fail = fault in AFTER_TEXT and way != "whole"
        if error is not None and (not may_fail or error.partial_text != text):
            self.wrong.append(f"{prompt}: {type(error).__name__}: {error}")
        elif not right.startswith(text) or (text != right and error is None and way != "left"):
            self.wrong.append(f"{prompt}: {text!r} in place of {right!r}")
        self.outcomes["errors with the text so far" if error else "left" if way == "left" else "whole"] += 1

    def check_requests(self) -> None:
        """Check that nothing was sent more often than its failures explain."""
        for prompt in self.prompts:
            fault, way = prompt.split("/")[1:]
            recovers = fault != "none" and not (fault in AFTER_TEXT and way != "whole")
            if self.server.requests[prompt] != 1 + recovers:
                self.wrong.append(f"{prompt}: sent {self.server.requests[prompt]} times")

    def run(self, url: str) -> None:
        """Make all calls: half of them in threads, half in tasks of one event loop."""
        settings = {"api_key": "key-of-the-soak", "base_url": url, "timeout": 30}
        half = len(self.prompts) // 2
        with ParadigmClient(**settings, retry=RETRY) as client, ThreadPoolExecutor(24) as threads:
            list(threads.map(lambda prompt: self.complete(client, prompt), self.prompts[:half]))
        asyncio.run(self._run_async(settings, self.prompts[half:]))

    async def _run_async(self, settings: dict[str, object], prompts: list[str]) -> None:
        slots = asyncio.Semaphore(48)

        async def call(client: AsyncParadigmClient, prompt: str) -> None:
            async with slots:
                await self.acomplete(client, prompt)

        async with AsyncParadigmClient(**settings, retry=RETRY) as client:
            await asyncio.gather(*(call(client, prompt) for prompt in prompts))
        await asyncio.sleep(0)
        left = len(asyncio.all_tasks()) - 1
        if left:
            self.wrong.append(f"{left} tasks are left")


def main() -> int:
    """Run the soak; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    before, began = threading.active_count(), time.monotonic()
    server = Server()
    soak = Soak(server, options.calls, options.seed)
    with WireServer() as wire:
        wire.always(server.answer)
        soak.run(wire.url)
        gc.collect()
    soak.check_requests()
    if threading.active_count() > before:
        soak.wrong.append(f"threads are left: {threading.enumerate()}")
    print(f"{options.calls:,} calls in {time.monotonic() - began:.0f} s: {dict(soak.outcomes)}")
    print("\n".join([*soak.wrong[:20], f"{len(soak.wrong)} wrong"]))
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
