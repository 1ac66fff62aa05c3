"""llama.cpp: cases that no valid request reaches, and its own HTTP server."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from paradigm_local import LocalParadigm, ModelError
from paradigm_local.engine import Engine, EngineError, EngineRefusal, Piece, _failure, listening_host
from paradigm_local.model import default_model


@pytest.fixture
def engine(local_paradigm: LocalParadigm) -> Engine:
    return local_paradigm._engine


def generated(engine: Engine, **body: Any) -> list[Piece]:
    pieces: list[Piece] = []
    engine.generate({"prompt": "The capital of France is", "temperature": 0, "max_tokens": 3, **body}, pieces.append)
    return pieces


def test_pieces_count_tokens_as_they_are_generated(engine: Engine) -> None:
    pieces = generated(engine)
    assert {piece.prompt_tokens for piece in pieces} == {5}
    assert [piece.completion_tokens for piece in pieces if piece.text] == [1, 2, 3]
    assert [piece.finish_reason for piece in pieces][-2:] == [None, "length"]


@pytest.mark.parametrize("body", [{"repeat_last_n": -5}, {"prompt": 5}])
def test_invalid_request_of_llama_raises_a_refusal(engine: Engine, body: dict[str, Any]) -> None:
    with pytest.raises(EngineRefusal, match=r"\w"):
        generated(engine, **body)


def test_generation_stops_when_the_handler_returns_true(engine: Engine) -> None:
    pieces: list[Piece] = []

    def handle(piece: Piece) -> bool:
        pieces.append(piece)
        return bool(piece.text)

    engine.generate({"prompt": "Once", "max_tokens": 100}, handle)
    assert [bool(piece.text) for piece in pieces].count(True) == 1


def test_server_error_of_llama_is_an_engine_error() -> None:
    assert type(_failure({"code": 500, "message": "broken"})) is EngineError


def test_tokenize_returns_the_bytes_of_each_token(engine: Engine) -> None:
    tokens = engine.tokenize("Hello 🎉")
    assert b"".join(piece for _, piece in tokens) == "Hello 🎉".encode()
    assert len(tokens) == 4


LISTENERS = """
import os, pathlib, sys
from paradigm_local.engine import Engine
engine = Engine(pathlib.Path(sys.argv[1]), 256, 1)
ours = {os.readlink(entry.path) for entry in os.scandir("/proc/self/fd")}
rows = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/self/net/{name}")]
print([row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in ours])
print(len(engine.tokenize("Hello world")))
engine.close()
"""
needs_unix_sockets = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_engine_listens_on_no_port() -> None:
    command = [sys.executable, "-c", LISTENERS, str(default_model())]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["[]", "2"]


@needs_unix_sockets
def test_socket_of_llama_is_for_this_user_only_and_needs_its_key(engine: Engine) -> None:
    path = engine._llama.listening_address.removeprefix("unix://")
    assert Path(path).parent.stat().st_mode & 0o777 == 0o700
    with httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://llama.cpp") as client:
        for headers in ({}, {"Authorization": "Bearer local"}):
            assert client.post("/tokenize", json={"content": "x"}, headers=headers).status_code == 401


@needs_unix_sockets
def test_socket_of_llama_is_removed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory() as folder:  # in a worker, tmp_path is too long for a socket
        monkeypatch.setattr("tempfile.tempdir", folder)
        with closing(Engine(default_model(), 256, 1)):
            assert len(list(Path(folder).glob("*/llama.sock"))) == 1
        assert list(Path(folder).iterdir()) == []


def test_folder_of_the_socket_is_removed_if_the_model_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ModelError):
        Engine(tmp_path / "missing.gguf", 256, 1)
    assert list(tmp_path.iterdir()) == []


def test_llama_listens_on_the_loopback_address_if_sockets_are_impossible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    engine = Engine(default_model(), 256, 1)
    address = engine._llama.listening_address
    assert address.startswith("http://127.0.0.1:")
    assert httpx.post(f"{address}/tokenize", json={"content": "x"}, timeout=60).status_code == 401
    assert len(engine.tokenize("Hello world")) == 2
    engine.close()
    monkeypatch.delattr(socket, "AF_UNIX", raising=False)
    assert listening_host("/tmp") == "127.0.0.1"
