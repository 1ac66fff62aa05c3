"""Starts real servers on this machine, each from the environment that it is installed in."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import paradigm_local
from paradigm_local.model import SMOLLM2, default_model

HOST = "127.0.0.1"
KEY = "sk-conformance-0123456789"
MODEL = SMOLLM2.name
START_SECONDS = 900
STOP_SECONDS = 20
TEMPLATE = Path(paradigm_local.__file__).with_name("chatml_tools.jinja")

Command = Callable[[Path, int, Path, int], Sequence[object]]
"""Returns a command: of the folder with the environment's programs, the port, a folder to write to and the context."""


def vllm(programs: Path, port: int, folder: Path, context: int) -> Sequence[object]:
    _convert(programs / "python", folder / "model")
    return [
        programs / "vllm", "serve", folder / "model", "--served-model-name", MODEL,
        "--host", HOST, "--port", port, "--api-key", KEY,
        "--max-model-len", context, "--max-num-seqs", "8", "--dtype", "float32", "--enforce-eager",
        "--chat-template", TEMPLATE, "--chat-template-content-format", "string", "--trust-request-chat-template",
        "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
    ]  # fmt: skip


def llama_cpp_python(programs: Path, port: int, _: Path, context: int) -> Sequence[object]:
    return [
        programs / "python", "-m", "llama_cpp.server", "--model", default_model(SMOLLM2), "--model_alias", MODEL,
        "--host", HOST, "--port", port, "--api_key", KEY, "--n_ctx", context,
    ]  # fmt: skip


def litellm(programs: Path, port: int, folder: Path, _: int) -> Sequence[object]:
    config = folder / "litellm.yaml"
    return [programs / "litellm", "--config", config, "--host", HOST, "--port", port, "--telemetry", "False"]


def _convert(python: Path, folder: Path) -> None:
    if not (folder / "tokenizer.json").exists():
        script = Path(__file__).with_name("convert_model.py")
        subprocess.run([python, script, default_model(SMOLLM2), folder], check=True)


COMMANDS: Mapping[str, Command] = {"vllm": vllm, "llama-cpp-python": llama_cpp_python, "litellm": litellm}

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_NO_USAGE_STATS": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


@contextmanager
def started(name: str, programs: Path, folder: Path, context: int) -> Iterator[str]:
    """Start a server; yield its base URL once it lists its models.

    Args:
        name: the server's name.
        programs: the folder with the programs of the environment that it is installed in.
        folder: where it may write; its output is in `server.log` there.
        context: its context window, in tokens.
    """
    port = _free_port()
    command = COMMANDS[name](programs, port, folder, context)
    url, log = f"http://{HOST}:{port}/v1", folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
        try:
            _await(url, process, log)
            yield url
        finally:
            _end(process)


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/models", headers={"Authorization": f"Bearer {KEY}"}).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    pytest.fail(f"the server did not start:\n{log.read_text(errors='replace')[-4000:]}", pytrace=False)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_SECONDS)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])
