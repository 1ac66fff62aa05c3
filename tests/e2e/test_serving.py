"""The examples of docs/serving.md that a test can run: FastAPI, gunicorn, Celery. The others need a browser."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.wire import STALL, Request, WireServer, chunk, completion, reply, sse

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
SECONDS = 30


def example(name: str) -> str:
    """Return the code of the blocks that begin with a file's name."""
    return "\n".join(re.findall(rf"```py\n# {name}\n(.*?)```", PAGE, re.DOTALL))


def until(holds: object) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def environment(wire: WireServer) -> dict[str, str]:
    return {**os.environ, "PARADIGM_BASE_URL": wire.url, "PARADIGM_API_KEY": "sk-key"}


def answer(request: Request) -> list[object]:
    body = request.body
    message = {"message": {"role": "assistant", "content": "Paris."}, "finish_reason": "stop", "index": 0}
    if body.get("stream"):
        return sse(delta("Par"), delta("is.", "stop"))
    return reply({**completion("Paris."), "choices": [message]} if "messages" in body else completion("Paris."))


def delta(text: str, finish_reason: str | None = None) -> dict[str, object]:
    return {**chunk(), "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}]}


@contextmanager
def running(command: list[object], folder: Path, wire: WireServer, ready: str) -> Iterator[None]:
    """Run a server until the end of the block; it is ready once its log says so."""
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        cwd=folder,
        env=environment(wire),
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    log: list[str] = []
    assert process.stdout is not None
    reading = threading.Thread(target=log.extend, args=[process.stdout])
    reading.start()
    try:
        until(lambda: ready in "".join(log) or process.poll() is not None)
        assert process.poll() is None, "".join(log)
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)
        reading.join()
        process.stdout.close()


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(example("app.py"))
    (tmp_path / "tasks.py").write_text(example("tasks.py"))
    return tmp_path


SERVERS = {
    "uvicorn": ["uvicorn", "app:app", "--port"],
    "gunicorn": ["gunicorn", "app:app", "-w", "2", "-k", "uvicorn_worker.UvicornWorker", "--preload", "-b"],
}


@pytest.mark.parametrize("server", SERVERS)
def test_service_answers_and_streams(server: str, folder: Path, wire: WireServer, port: int) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip(server if server == "uvicorn" else "uvicorn_worker")
    wire.always(answer)
    address = str(port) if server == "uvicorn" else f"127.0.0.1:{port}"
    with (
        running([*SERVERS[server], address], folder, wire, "Application startup complete"),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS, params={"question": "Where?"}) as http,
    ):
        assert http.get("/answer").json() == {"answer": "Paris."}
        assert http.get("/careful-answer").json() == {"answer": "Paris."}
        assert http.get("/stream").text == "Paris."
        wire.always(reply({"detail": "Wrong key"}, 401))
        refused = http.get("/answer")
        assert (refused.status_code, refused.json()) == (502, {"detail": "The model cannot answer now."})


@pytest.mark.parametrize("path", ["/stream", "/careful-answer"])
def test_client_that_leaves_ends_the_request_to_paradigm(path: str, folder: Path, wire: WireServer, port: int) -> None:
    pytest.importorskip("fastapi")
    wire.always(sse(delta("Par"), STALL) if path == "/stream" else [STALL])
    with running([*SERVERS["uvicorn"], port], folder, wire, "Application startup complete"):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS, params={"question": "Where?"}) as http:
            if path == "/stream":
                with http.stream("GET", path) as response:
                    assert next(response.iter_text()) == "Par"
            else:
                with pytest.raises(httpx.ReadTimeout):
                    http.get(path, timeout=1)
        assert wire.wait_for(1)
        assert wire.requests[0].left.wait(SECONDS)


@pytest.mark.parametrize("pool", ["prefork"])  # threads were tried by hand
def test_celery_worker_completes_and_reports_failures(
    pool: str, folder: Path, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for needed in ("celery", "sqlalchemy"):
        pytest.importorskip(needed)
    wire.always(answer)
    monkeypatch.setenv("BROKER", f"sqla+sqlite:///{folder / 'queue.db'}")
    monkeypatch.setenv("RESULTS", f"db+sqlite:///{folder / 'results.db'}")
    command = ["celery", "--app", "tasks", "worker", "--pool", pool, "--concurrency", "2", "--loglevel", "INFO"]
    with running(command, folder, wire, "ready."):
        assert ask(folder, wire) == "Paris.\nParis."
        wire.always(reply({"detail": "Wrong key"}, 401))
        assert "answered 401: Wrong key." in ask(folder, wire)


def ask(folder: Path, wire: WireServer) -> str:
    """Run two tasks from another process, and return what came out."""
    code = """
from tasks import complete
waiting = [complete.delay(prompt) for prompt in ("One", "Two")]
for each in waiting:
    print(each.get(timeout=60, propagate=False))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(wire), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
