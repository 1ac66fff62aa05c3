"""All cells of one consumer, each in its own process: `python -m tests.usage.consumers.run langchain Langfuse`.

The process forks for each cell once the framework is imported, so that the patches and the state of a consumer stay
in its cell. Prints a line of JSON for each cell.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from tests.usage.consumers import paths, watchers
from tests.wire import WireServer

HERE = ("127.0.0.1", "::1", "localhost", None)

STRAYS: list[str] = []
"""Hosts beyond this machine to which a connection was attempted."""

# Switch off the telemetry of the consumers.
NO_TELEMETRY = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TRACELOOP_TELEMETRY": "false",
    "WANDB_ERROR_REPORTING": "false",
}

FRAMEWORKS: dict[str, Any] = {
    "langchain": (watchers.LANGCHAIN, paths.LANGCHAIN, paths.run_langchain),
    "llama_index": (watchers.LLAMA_INDEX, paths.LLAMA_INDEX, paths.run_llama_index),
}


def cells(framework: str) -> list[tuple[str, str]]:
    """Return each path with each style of server; only streams differ between styles."""
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
    """Return `exact`, `nothing` or `wrong`."""
    wanted = sorted(expected(path, seen))
    # Some consumers keep no total.
    found = sorted(
        (about, i or 0, o or 0, (i or 0) + (o or 0) if total is None else total) for about, i, o, total in seen
    )
    if found == wanted:
        return "exact"
    if not any(each[3] for each in found):
        return "nothing"
    return "wrong"


def observe(arguments: dict[str, Any], framework: str, name: str, path: str, style: str) -> dict[str, Any]:
    """Measure one cell in this process on the scripted server."""
    with WireServer() as wire:
        wire.always(paths.answer(style))
        seen = watch(framework, name, path, wire.url, **arguments)
        assert len(wire.requests) == len(paths.prompts_of(path))
    return {"path": path, "style": style, "verdict": verdict(path, seen), "seen": seen}


def observe_at(url: str, arguments: dict[str, Any], framework: str, name: str, path: str) -> dict[str, Any]:
    """Measure one cell in this process on another local server, without a verdict."""
    return {"path": path, "seen": watch(framework, name, path, url, **arguments)}


def watch(framework: str, name: str, path: str, url: str, **arguments: Any) -> list[watchers.Seen]:
    """Complete the prompts of a path, watched by one consumer."""
    known, _, run = FRAMEWORKS[framework]
    asyncio.set_event_loop(None)
    seen: list[watchers.Seen] = known[name](partial(run, path, url, **arguments))
    assert not STRAYS, f"tried to reach {STRAYS}"
    return seen


def stay_here() -> None:
    """Block connections beyond this machine from here on, and record their hosts."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in HERE:
            STRAYS.append(str(address))
            raise OSError(f"a test tried to reach {address}")
        return connect(self, address)

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in HERE:
            STRAYS.append(str(host))
            raise OSError(f"a test tried to reach {host}")
        return look_up(host, *args, **kwargs)

    socket.socket.connect = guarded_connect  # type: ignore[method-assign]
    socket.getaddrinfo = guarded_look_up


def in_a_fork(call: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """Call the function in a forked process, and return its result."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = call(*args)
        except BaseException:  # noqa: BLE001  # the parent reports it
            found = {"path": args[-2], "style": args[-1], "verdict": "broken", "seen": traceback.format_exc()}
        with os.fdopen(write, "w") as out:
            json.dump(found, out, default=str)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        text = told.read()
    os.waitpid(child, 0)
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def modules_of(framework: str, name: str) -> dict[str, Any]:
    """Return the modules that a cell imports."""
    observe({}, framework, name, FRAMEWORKS[framework][1][0], paths.STYLES[0])
    return {"modules": sorted(sys.modules)}


def import_ahead(framework: str, name: str) -> None:
    """Import the modules of a cell once, before the forks."""
    for module in in_a_fork(modules_of, framework, name).get("modules", []):
        with suppress(Exception):
            importlib.import_module(module)


def main(framework: str, name: str, arguments: str = "{}", url: str = "") -> None:
    """Print a line for each cell, measured on the scripted server or on the one at `url`."""
    os.environ.update(NO_TELEMETRY)
    stay_here()
    importlib.import_module(f"{framework}_paradigm")
    import_ahead(framework, name)
    given = json.loads(arguments)
    for path, style in cells(framework):
        if not url:
            found = in_a_fork(observe, given, framework, name, path, style)
        elif style in ("a whole answer", paths.STYLES[0]):  # a real server has its own style
            found = in_a_fork(observe_at, url, given, framework, name, path)
        else:
            continue
        print(json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
