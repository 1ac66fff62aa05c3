"""All cells of one consumer, each in a process of its own: `python -m tests.usage.consumers.run langchain Langfuse`.

The process forks for each cell once the framework is imported: what a consumer patches and keeps is the cell's own.
Prints a line of JSON for each cell.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import traceback
from functools import partial
from typing import Any

from tests.usage.consumers import paths, watchers
from tests.wire import WireServer

HERE = ("127.0.0.1", "::1", "localhost", None)

FRAMEWORKS: dict[str, Any] = {
    "langchain": (watchers.LANGCHAIN, paths.LANGCHAIN, paths.run_langchain),
    "llama_index": (watchers.LLAMA_INDEX, paths.LLAMA_INDEX, paths.run_llama_index),
}


def cells(framework: str) -> list[tuple[str, str]]:
    """Each path with each style of server; only streams differ between styles."""
    return [
        (path, style)
        for path in FRAMEWORKS[framework][1]
        for style in (paths.STYLES if paths.is_stream(path) else ["a whole answer"])
    ]


def expected(path: str, seen: list[watchers.Seen]) -> list[watchers.Seen]:
    prompts = paths.prompts_of(path)
    counts = [(prompt, *paths.USAGE[prompt]) for prompt in prompts]
    if [each[0] for each in seen] == ["all"]:
        counts = [("all", sum(each[1] for each in counts), sum(each[2] for each in counts))]
    return [(about, prompt, completion, prompt + completion) for about, prompt, completion in counts]


def verdict(path: str, seen: list[watchers.Seen]) -> str:
    """`exact`; or what is wrong."""
    wanted = sorted(expected(path, seen))
    # Where a consumer keeps no total, none can be wrong.
    found = sorted(
        (about, i or 0, o or 0, (i or 0) + (o or 0) if total is None else total) for about, i, o, total in seen
    )
    if found == wanted:
        return "exact"
    if not any(each[3] for each in found):
        return "nothing"
    return "wrong"


def observe(framework: str, name: str, path: str, style: str) -> dict[str, Any]:
    """One cell, in this process."""
    known, _, run = FRAMEWORKS[framework]
    asyncio.set_event_loop(None)
    strays = stay_here()
    with WireServer() as wire:
        wire.always(paths.answer(style))
        seen = known[name](partial(run, path, wire.url))
        assert len(wire.requests) == len(paths.prompts_of(path))
    assert not strays, f"tried to reach {strays}"
    return {"path": path, "style": style, "verdict": verdict(path, seen), "seen": seen}


def stay_here() -> list[str]:
    """From here on nothing leaves this machine; what tried to is noted."""
    strays: list[str] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in HERE:
            strays.append(str(address))
            raise OSError(f"a test tried to reach {address}")
        return connect(self, address)

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in HERE:
            strays.append(str(host))
            raise OSError(f"a test tried to reach {host}")
        return look_up(host, *args, **kwargs)

    socket.socket.connect = guarded_connect  # type: ignore[method-assign]
    socket.getaddrinfo = guarded_look_up
    return strays


def in_a_fork(framework: str, name: str, path: str, style: str) -> dict[str, Any]:
    """One cell, in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = observe(framework, name, path, style)
        except BaseException:  # noqa: BLE001  # whatever it is, the parent shows it
            found = {"path": path, "style": style, "verdict": "broken", "seen": traceback.format_exc()}
        with os.fdopen(write, "w") as out:
            json.dump(found, out, default=str)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        text = told.read()
    os.waitpid(child, 0)
    return json.loads(text)


def main(framework: str, name: str) -> None:
    __import__(f"{framework}_paradigm")
    for path, style in cells(framework):
        print(json.dumps(in_a_fork(framework, name, path, style)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
