"""Runs `paradigm-check` on a server that is written in Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from paradigm_transport.check import cli
from paradigm_transport.check.questions import QUESTIONS
from tests.transport.answering import KEY, AnsweringServer
from tests.wire import Request, Script, WireServer

Check = Callable[..., dict[str, Any]]


@pytest.fixture
def check(wire: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs the command on a server; returns the report as JSON, with statuses and findings by name.

    `only` is a question to ask alone, `code` the exit code, and all other options those of `AnsweringServer`.
    """
    monkeypatch.setenv("PARADIGM_API_KEY", KEY)

    def run(
        server: Callable[[Request], Script] | None = None,
        *arguments: str,
        only: str | None = None,
        code: int = 0,
        **options: Any,
    ) -> dict[str, Any]:
        wire.always(server or AnsweringServer(**options))
        with monkeypatch.context() as patch:
            if only is not None:
                wanted = ("completions", "chat", only)
                patch.setattr(cli, "QUESTIONS", [each for each in QUESTIONS if each.name in wanted])
            assert cli.main(["--base-url", wire.url, "--json", *arguments]) == code
        written = json.loads(capsys.readouterr().out)
        found = {each["name"]: each for each in written["findings"]}
        return {**written, "status": {name: each["status"] for name, each in found.items()}, "found": found}

    return run
