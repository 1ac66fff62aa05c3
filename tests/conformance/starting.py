"""Starts real servers on this machine, each from the environment that it is installed in."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import paradigm_local
from paradigm_local import LocalParadigm
from paradigm_local.model import SMOLLM2, default_model
from tests.conformance.servers import SERVERS, Server

HOST = "127.0.0.1"
KEY = "sk-conformance-0123456789"
MODEL = SMOLLM2.name
START_SECONDS = 900
STOP_SECONDS = 20
TEMPLATE = Path(paradigm_local.__file__).with_name("chatml_tools.jinja")


@dataclass(frozen=True)
class Start:
    """What a command is made of.

    Attributes:
        context: the context window, in tokens.
        programs: the folder with the programs of the environment that the server is installed in.
        folder: where the server may write.
        port: where it listens.
        behind: the base URL of the server that it passes requests on to.
        local: a local Paradigm, which embeds.
    """

    context: int
    programs: Path
    folder: Path
    port: int
    behind: str
    local: LocalParadigm


def vllm(start: Start) -> Sequence[object]:
    model = start.folder / "model"
    if not (model / "tokenizer.json").exists():
        script = Path(__file__).with_name("convert_model.py")
        subprocess.run([start.programs / "python", script, default_model(SMOLLM2), model], check=True)
    return [
        start.programs / "vllm", "serve", model, "--served-model-name", MODEL,
        "--host", HOST, "--port", start.port, "--api-key", KEY,
        "--max-model-len", start.context, "--max-num-seqs", SERVERS["vllm"].parallel,
        "--dtype", "float32", "--enforce-eager",
        # Contents would become lists for some templates.
        "--chat-template", TEMPLATE, "--chat-template-content-format", "string", "--trust-request-chat-template",
        "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
    ]  # fmt: skip


def llama_cpp_python(start: Start) -> Sequence[object]:
    return [
        start.programs / "python", "-m", "llama_cpp.server", "--model", default_model(SMOLLM2), "--model_alias", MODEL,
        "--host", HOST, "--port", start.port, "--api_key", KEY, "--n_ctx", start.context,
    ]  # fmt: skip


def litellm(start: Start) -> Sequence[object]:
    local, file = start.local, start.folder / "litellm.yaml"
    chats = {"model": f"hosted_vllm/{MODEL}", "api_base": start.behind, "api_key": KEY}
    embeds = {"model": f"openai/{local.embedding_model}", "api_base": local.base_url, "api_key": local.api_key}
    config = {
        "model_list": [
            {"model_name": MODEL, "litellm_params": chats, "model_info": {"max_input_tokens": start.context}},
            {"model_name": local.embedding_model, "litellm_params": embeds},
        ],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"num_retries": 0},
        "router_settings": {"disable_cooldowns": True},
    }
    file.write_text(json.dumps(config))  # which is YAML, too
    return [start.programs / "litellm", "--config", file, "--host", HOST, "--port", start.port, "--telemetry", "False"]


COMMANDS: Mapping[str, Callable[[Start], Sequence[object]]] = {
    "vllm": vllm, "llama-cpp-python": llama_cpp_python, "litellm": litellm,
}  # fmt: skip

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_NO_USAGE_STATS": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


@contextmanager
def started(server: Server, environment: Path, behind: str, local: LocalParadigm) -> Iterator[str]:
    """Start a server; yield its base URL once it lists its models.

    Args:
        server: the server.
        environment: the environment that it is installed in. Its output is in `run/server.log` there.
        behind: the base URL of the server that it passes requests on to.
        local: a local Paradigm, which embeds.
    """
    folder, port = environment / "run", _free_port()
    folder.mkdir(exist_ok=True)
    command = COMMANDS[server.name](Start(server.context, environment / "bin", folder, port, behind, local))
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
