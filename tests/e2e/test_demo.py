"""The demo as users run it: a command in its own process."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from paradigm_local import LocalParadigm
from paradigm_local.demo import _show_stream
from paradigm_local.model import E5_SMALL, default_model

COMMAND = [sys.executable, "-m", "paradigm_local.cli", "demo"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_demo_finds_passages_and_counts_every_token(local_paradigm: LocalParadigm) -> None:
    default_model(E5_SMALL)  # as the fixture does with the other model; to download one shows progress
    demo = run()
    assert demo.returncode == 0, demo.stderr
    assert demo.stderr == ""
    assert "The capital of France is Paris" in demo.stdout
    assert "from “Stop sequences”" in demo.stdout  # found by an embedding
    assert "`Timeout` sets each limit" in demo.stdout  # found by another
    seen, counted = (re.search(rf"{name}\s+(\d+ +\d+ +\d+)", demo.stdout) for name in ("all together", "own count"))
    assert seen is not None
    assert counted is not None
    assert seen[1].split() == counted[1].split()


def test_interrupt_ends_demo_without_traceback(local_paradigm: LocalParadigm) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background processes ignore it, and so do their children
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        assert "serves" in demo.stdout.readline()
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=30) == 130
        assert demo.stderr.read() == ""


def test_damaged_or_missing_model_is_reported_in_one_line(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF but not really")
    for model in (damaged, tmp_path / "missing.gguf"):
        demo = run("--model", str(model))
        assert demo.returncode == 1
        assert demo.stderr.count("\n") == 1
        assert model.name in demo.stderr
        assert "Traceback" not in demo.stderr


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_streamed_lines_break_between_words(size: int) -> None:
    text = "The sea is salty because\nit contains [bold] salt, which is why it is so hard to drink."
    console = Console(file=io.StringIO(), width=20)
    _show_stream(console, [text[at : at + size] for at in range(0, len(text), size)])
    shown = console.file.getvalue()
    assert shown.split() == text.split()
    assert shown.splitlines()[:3] == ["The sea is salty", "because", "it contains [bold]"]
    assert max(map(len, shown.splitlines())) <= 20
