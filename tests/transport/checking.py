"""Runs `paradigm-check` on a server that is written in Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from paradigm_transport.check import cli
from tests.transport.answering import KEY, AnsweringServer
from tests.wire import WireServer

Check = Callable[..., dict[str, Any]]


@pytest.fixture
def check(wire: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs the command on a server; returns the report as JSON, with statuses and details by name."""
    monkeypatch.setenv("PARADIGM_API_KEY", KEY)

    def run(server: AnsweringServer | None = None, *arguments: str, code: int = 0, **options: Any) -> dict[str, Any]:
        wire.always(server or AnsweringServer(**options))
        assert cli.main(["--base-url", wire.url, "--json", *arguments]) == code
        written = json.loads(capsys.readouterr().out)
        found = {each["name"]: each for each in written["findings"]}
        return {**written, "status": {name: each["status"] for name, each in found.items()}, "found": found}

    return run
