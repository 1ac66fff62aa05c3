"""The command `paradigm-local serve`: its output, its errors and its end."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from paradigm_local import PortError, cli
from tests.local.conftest import Caller

Run = Callable[..., "Command"]

END_SECONDS = 60


class Command:
    """`paradigm-local serve` in a separate process, ready for requests."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "paradigm_local.cli", "serve", "--port", "0", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.greeting = [self.process.stdout.readline().strip() for _ in range(3)]
        self.base_url = self.greeting[1].removeprefix("export PARADIGM_BASE_URL=")

    def body(self, **fields: object) -> dict[str, object]:
        return {"model": "smollm2-135m-instruct", "prompt": "Once upon a time", **fields}

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; return the exit code and the output on stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=END_SECONDS)
        return self.process.returncode, errors


@pytest.fixture
def run() -> Iterator[Run]:
    commands: list[Command] = []

    def start(*arguments: str) -> Command:
        commands.append(Command(*arguments))
        return commands[-1]

    yield start
    for command in commands:
        command.process.kill()
        command.process.communicate()


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the only line on stderr of a command that fails."""
    assert cli.main(arguments) == 1
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    return line


def test_serve_prints_its_address_and_logs_no_prompts(run: Run) -> None:
    command = run("--faults")
    assert re.fullmatch(
        r"Local Paradigm serves smollm2-135m-instruct and multilingual-e5-small at http://127\.0\.0\.1:\d+/api/v2",
        command.greeting[0],
    )
    assert command.greeting[2] == "export PARADIGM_API_KEY=local"
    headers = {"Authorization": "Bearer local"}
    body = command.body(structured_outputs={"grammar": "root ::= ["})
    assert httpx.post(f"{command.base_url}/completions", json=body, headers=headers, timeout=60).status_code == 400
    body = command.body(prompt="a private matter", max_tokens=2)
    assert httpx.post(f"{command.base_url}/completions", json=body, headers=headers, timeout=60).status_code == 200
    headers["X-Paradigm-Fault"] = "503"
    assert httpx.post(f"{command.base_url}/completions", json=body, headers=headers, timeout=60).status_code == 503
    code, errors = command.end(signal.SIGINT)
    assert code == 0
    first, second, _ = errors.splitlines()
    assert first.endswith('"POST /api/v2/completions HTTP/1.1" 400')
    assert second.endswith('"POST /api/v2/completions HTTP/1.1" 200')


def test_requests_beyond_the_rate_limit_are_refused(run: Run) -> None:
    command = run("--rate-limit", "0.001")
    body, headers = command.body(max_tokens=1), {"Authorization": "Bearer local"}
    answers = [
        httpx.post(f"{command.base_url}/completions", json=body, headers=headers, timeout=60).status_code
        for _ in range(2)
    ]
    assert answers == [200, 429]


def test_sigterm_ends_a_stream_with_an_error_and_exits_with_0(run: Run) -> None:
    command = run("--api-key", "mine", "--parallel", "1", "--context", "2048")
    assert command.greeting[2] == "export PARADIGM_API_KEY=<your --api-key>"
    body = command.body(stream=True, max_tokens=2000, ignore_eos=True)
    headers = {"Authorization": "Bearer mine"}
    with httpx.stream("POST", f"{command.base_url}/completions", json=body, headers=headers, timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        began = time.monotonic()
        command.process.send_signal(signal.SIGTERM)
        last = [line for line in lines if line][-2:]
    assert '"The server is shutting down."' in last[0]
    assert last[1] == "data: [DONE]"
    _, errors = command.process.communicate(timeout=END_SECONDS)
    assert command.process.returncode == 0
    assert time.monotonic() - began < END_SECONDS
    assert "Traceback" not in errors
    assert "mine" not in errors


def test_taken_port_is_a_one_line_error(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = failure(capsys, "serve", "--port", str(port))
    assert line == (
        f"Cannot listen on 127.0.0.1:{port} (Address already in use): choose another with --port; 0 picks one."
    )


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("getaddrinfo", socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
        ("getaddrinfo", UnicodeError("label too long")),
        ("create_server", OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")),
    ],
)
def test_host_of_no_use_is_a_one_line_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, function: str, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, function, fail)
    line = failure(capsys, "serve", "--port", "0")
    assert line.startswith("Cannot listen on 127.0.0.1:0 (")
    assert line.endswith("): --host must be a name or an address of this machine.")


@pytest.mark.parametrize("port", ["65536", "-1"])
def test_invalid_port_is_a_one_line_error(capsys: pytest.CaptureFixture[str], port: str) -> None:
    assert "--port" in failure(capsys, "serve", "--port", port)


def test_bad_model_file_is_a_one_line_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + b"\x00" * 100)
    assert str(path) in failure(capsys, "serve", "--port", "0", "--model", str(path))
    assert "cannot be read" in failure(capsys, "serve", "--port", "0", "--model", str(tmp_path / "none.gguf"))


@pytest.mark.parametrize("option", ["--model", "--embedding-model"])
def test_missing_model_file_is_noticed_at_the_start(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str
) -> None:
    path = tmp_path / "none.gguf"
    assert failure(capsys, "serve", "--port", "0", option, str(path)) == (
        f"The model file {path} cannot be read: No such file or directory."
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_default_key_is_refused_for_hosts_other_than_loopback(capsys: pytest.CaptureFixture[str], host: str) -> None:
    assert "--api-key" in failure(capsys, "serve", "--host", host)


@pytest.mark.parametrize("key", ["", " ", "two words", "clé"])
def test_key_that_no_client_can_send_is_a_one_line_error(capsys: pytest.CaptureFixture[str], key: str) -> None:
    line = failure(capsys, "serve", "--port", "0", "--api-key", key)
    assert line.startswith("The key (--api-key) ")
    assert "clé" not in line


def test_missing_package_is_a_one_line_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "paradigm_local.engine", None)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install 'paradigm-llm[local]'" in failure(capsys, "serve", "--port", "0")


@pytest.mark.parametrize("arguments", [[], ["dance"], ["serve", "--parallel", "0"], ["serve", "--context", "x"]])
def test_wrong_arguments_print_the_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: paradigm-local" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "x"])
def test_wrong_number_is_named(capsys: pytest.CaptureFixture[str], number: str) -> None:
    with pytest.raises(SystemExit):
        cli.main(["serve", "--context", number])
    assert f"argument --context: '{number}' is not a positive whole number" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["serve", "--rate-limit", number])
    assert f"argument --rate-limit: '{number}' is not a number above 0" in capsys.readouterr().err


def test_ctrl_c_while_the_model_loads_exits_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("paradigm_local.local.default_model", interrupted)
    assert cli.main(["serve", "--port", "0"]) == 128 + signal.SIGINT


def test_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    monkeypatch.delitem(sys.modules, "paradigm_local.engine", raising=False)
    assert (
        failure(capsys, "serve", "--port", "0")
        == "xllamacpp is not installed: run `pip install 'paradigm-llm[local]'`."
    )


def test_package_that_lacks_a_library_of_the_system_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise ImportError("libgomp.so.1: cannot open shared object file", name="xllamacpp")

    monkeypatch.setattr("paradigm_local.local.LocalParadigm._load_engine", lacking)
    assert failure(capsys, "serve", "--port", "0") == (
        "xllamacpp cannot be loaded (libgomp.so.1: cannot open shared object file): install what it needs from the "
        "system; on Debian and Ubuntu, `apt-get update && apt-get install libgomp1`."
    )


def test_heavy_packages_are_imported_only_when_used() -> None:
    heavy = ("xllamacpp", "uvicorn", "starlette", "rich", "llguidance", "langchain_core", "llama_index")
    code = f"import sys, paradigm_local.cli, paradigm_local.local; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(("host", "shown"), [("::1", "[::1]"), ("localhost", "127.0.0.1"), ("127.0.0.2", "127.0.0.2")])
def test_any_loopback_address_can_be_listened_on(serve: Callable[..., Caller], host: str, shown: str) -> None:
    try:
        caller = serve(host=host)
    except PortError:
        pytest.skip("this machine has no such address")
    assert caller.paradigm.base_url.startswith(f"http://{shown}:")
    assert caller.text() == "Hello world"


def test_serve_searches_a_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "leave.md").write_text("Holidays are booked in the portal.")
    command = run("--documents", str(tmp_path))
    assert command.greeting[0] == f"Documents: 1; passages: 1; workspaces: {tmp_path.name} (1)"
    url = command.greeting[2].removeprefix("export PARADIGM_BASE_URL=").replace("/v2", "/v3/search")
    found = httpx.post(url, json={"query": "vacation"}, headers={"Authorization": "Bearer local"}, timeout=60).json()
    assert [result["content"] for result in found["results"]] == ["Holidays are booked in the portal."]
    code, errors = command.end()
    assert code == 0
    assert "POST /api/v3/search" in errors
    assert "vacation" not in errors


def test_names_that_the_terminal_cannot_show_do_not_end_the_start(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    folder = tmp_path / "дом"
    folder.mkdir()
    (folder / "leave.md").write_text("Holidays are booked in the portal.")
    assert run("--documents", str(folder)).greeting[0] == "Documents: 1; passages: 1; workspaces: ??? (1)"


def test_folder_that_is_missing_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ("serve", "--port", "0", "--documents", str(tmp_path / "missing"))
    assert "is not a folder of documents" in failure(capsys, *arguments)
