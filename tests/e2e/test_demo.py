"""The demo as users run it: a command in its own process."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from langchain_paradigm import ChatParadigm
from paradigm_local import LocalParadigm, demo
from paradigm_local.demo_output import show_pace, show_stream
from paradigm_local.model import E5_SMALL, default_model

COMMAND = [sys.executable, "-m", "paradigm_local.cli", "demo"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=400, check=False, env=env)


@pytest.fixture(autouse=True)
def _models(local_paradigm: LocalParadigm) -> None:
    """Download both models, which shows progress, before the demo runs."""
    default_model(E5_SMALL)


def test_demo_shows_every_part_and_counts_every_token() -> None:
    demo = run()
    assert demo.returncode == 0, demo.stderr
    assert demo.stderr == ""
    text = " ".join(demo.stdout.split())
    for endpoint in ("POST /chat/completions", "POST /completions"):
        assert re.search(rf"{endpoint} \(chat_template=\S+\) distance_from_paris\(city='\w+'\) returns 1,\d+ km", text)
    assert "index.md, “Stop sequences”" in text  # found by an embedding
    assert "errors.md, “Time-outs and sizes”" in text
    assert "20 of 20 answers arrived." in text
    _, *all_tokens = re.search(r"^total +(\d+) +(\d+) +(\d+)", demo.stdout, re.MULTILINE).groups()  # type: ignore[union-attr]
    assert re.search(rf"^counted by the server +{' +'.join(all_tokens)}", demo.stdout, re.MULTILINE)
    assert "\x1b" not in demo.stdout


def test_demo_fits_narrow_terminals_and_any_encoding() -> None:
    demo = run(COLUMNS="40", PYTHONIOENCODING="ascii")
    assert demo.returncode == 0, demo.stderr
    assert max(map(len, demo.stdout.splitlines())) <= 40
    assert demo.stdout.isascii()
    assert "-" * 40 in demo.stdout


def test_switching_the_endpoint_of_a_chat_changes_one_argument(
    local_paradigm: LocalParadigm, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, object]] = []

    def make(**arguments: object) -> ChatParadigm:
        made.append(arguments)
        return ChatParadigm(**arguments)

    monkeypatch.setattr(demo, "ChatParadigm", make)
    demo._chat_with_a_tool(Console(file=io.StringIO()), local_paradigm)
    over_chats, over_completions = made
    assert {name for name in over_chats if over_chats[name] != over_completions[name]} == {"chat_template"}


def test_closed_pipe_ends_demo_without_traceback() -> None:
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        demo.stdout.readline()
        demo.stdout.close()
        assert demo.wait(timeout=120) == 1
        assert demo.stderr.read() == ""


@pytest.mark.parametrize("part", ["A local Paradigm serves", "How far is Rome"])
def test_interrupt_ends_demo_without_traceback(part: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background processes ignore it, and so do their children
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        assert any(part in line for line in demo.stdout)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=120) == 130
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
    show_stream(console, [text[at : at + size] for at in range(0, len(text), size)])
    shown = console.file.getvalue()
    assert shown.split() == text.split()
    assert shown.splitlines()[:3] == ["The sea is salty", "because", "it contains [bold]"]
    assert max(map(len, shown.splitlines())) <= 20


def test_pace_is_a_line_for_each_second_with_answers() -> None:
    console = Console(file=io.StringIO(), width=60)
    assert show_pace(console, [(0.1, "a"), (0.9, "b"), (1.0, "c"), (3.5, "d")]) == 4
    assert console.file.getvalue().split("\n")[:-1] == ["  second 1: 2  a, b", "  second 2: 1  c", "  second 4: 1  d"]
