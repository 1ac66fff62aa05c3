"""The package as installed with the extras in PARADIGM_EXTRAS, not from the source tree.

`make package` and `make test-all` run this in clean environments.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.wire import WireServer, chunk, completion, reply, sse, usage

EXTRAS = set(os.environ["PARADIGM_EXTRAS"].replace("all", "langchain,llama-index,local").split(",")) - {""}
ADAPTERS = {"langchain": "langchain_paradigm", "llama-index": "llama_index_paradigm"}
FRAMEWORKS = {"langchain": "langchain_core", "llama-index": "llama_index.core", "local": "xllamacpp"}
PACKAGES = ["paradigm_transport", "langchain_paradigm", "llama_index_paradigm", "paradigm_local"]

WHOLE = reply(completion("Hello", usage=usage(1, 2)))
STREAM = sse(chunk("Hel"), chunk("lo", "stop"), chunk(usage=usage(1, 2)))


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_installed_and_typed(package: str) -> None:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    assert folder == Path(sysconfig.get_path("purelib")) / package
    assert (folder / "py.typed").is_file()


@pytest.mark.parametrize("extra", FRAMEWORKS)
def test_only_frameworks_of_extras_are_installed(extra: str) -> None:
    root, _, rest = FRAMEWORKS[extra].partition(".")
    # Something else may install `llama_index` as an empty namespace: only `llama_index.core` counts.
    is_here = find_spec(root) is not None and (not rest or find_spec(FRAMEWORKS[extra]) is not None)
    assert is_here == (extra in EXTRAS)


def test_metadata_matches_code() -> None:
    from paradigm_transport import __version__

    installed = distribution("paradigm-llm")
    assert installed.version == __version__
    assert installed.metadata["License-Expression"] == "MIT"
    assert {point.name for point in installed.entry_points} == {"paradigm-check", "paradigm-local", "paradigm_local"}
    assert any(str(path).endswith("licenses/LICENSE") for path in installed.files or ())


def test_transport_modules_import_without_frameworks() -> None:
    for file in Path(sysconfig.get_path("purelib"), "paradigm_transport").glob("*.py"):
        importlib.import_module(f"paradigm_transport.{file.stem}")


def arguments(wire: WireServer) -> dict[str, Any]:
    return {"model": "m", "api_key": "k", "base_url": wire.url}


def test_transport_completes_and_streams(wire: WireServer) -> None:
    from paradigm_transport import AsyncParadigmClient, ParadigmClient, Settings

    settings = Settings(api_key="k", base_url=wire.url)

    async def acomplete() -> list[str]:
        async with AsyncParadigmClient(settings) as client:
            whole = await client.complete("Hi", model="m")
            return [whole.text, "".join([piece.text async for piece in client.stream("Hi", model="m")])]

    wire.script(WHOLE, STREAM, WHOLE, STREAM)
    with ParadigmClient(settings) as client:
        assert client.complete("Hi", model="m").text == "Hello"
        assert "".join(piece.text for piece in client.stream("Hi", model="m")) == "Hello"
    assert asyncio.run(acomplete()) == ["Hello", "Hello"]


async def _langchain(llm: Any, chat: Any) -> list[str]:
    return [
        chat.invoke("Hi").content,
        llm.invoke("Hi"),
        "".join(llm.stream("Hi")),
        await llm.ainvoke("Hi"),
        "".join([text async for text in llm.astream("Hi")]),
    ]


async def _llama_index(llm: Any, chat: Any) -> list[str]:
    from llama_index.core.llms import ChatMessage

    return [
        chat.chat([ChatMessage("Hi")]).message.content,
        llm.complete("Hi").text,
        "".join(piece.delta for piece in llm.stream_complete("Hi")),
        (await llm.acomplete("Hi")).text,
        "".join([piece.delta async for piece in await llm.astream_complete("Hi")]),
    ]


CALLS: dict[str, Callable[[Any, Any], Any]] = {"langchain": _langchain, "llama-index": _llama_index}


@pytest.mark.parametrize("extra", ADAPTERS)
def test_adapter_works_or_names_its_extra(wire: WireServer, extra: str) -> None:
    if extra in EXTRAS:
        _works(wire, extra)
    else:
        with pytest.raises(ModuleNotFoundError) as raised:
            importlib.import_module(ADAPTERS[extra])
        assert str(raised.value).endswith(f"pip install 'paradigm-llm[{extra}]'")


def _works(wire: WireServer, extra: str) -> None:
    adapter = importlib.import_module(ADAPTERS[extra])
    wire.script(WHOLE, WHOLE, STREAM, WHOLE, STREAM)

    async def call() -> list[str]:
        async with (
            adapter.ParadigmLLM(**arguments(wire)) as llm,
            adapter.ChatParadigm(**arguments(wire), chat_template="{{ messages[0].content }}") as chat,
        ):
            return await CALLS[extra](llm, chat)

    assert asyncio.run(call()) == ["Hello"] * 5


@pytest.mark.parametrize("package", PACKAGES)
def test_package_imports_only_its_own_framework(package: str) -> None:
    frameworks = {name for extra, name in FRAMEWORKS.items() if ADAPTERS.get(extra) != package}
    code = f"import contextlib, sys\nwith contextlib.suppress(ImportError):\n import {package}\n"
    code += f"print(*{frameworks!r} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize("command", ["serve --port 0", "demo"])
def test_local_paradigm_runs_or_names_its_extra(command: str) -> None:
    if "local" in EXTRAS:
        command += " --help"
    script = Path(sysconfig.get_path("scripts"), "paradigm-local")
    run = subprocess.run([script, *command.split()], capture_output=True, text=True, check=False)
    if "local" in EXTRAS:
        assert run.returncode == 0
    else:
        assert run.returncode == 1
        assert run.stderr.count("\n") == 1
        assert "pip install 'paradigm-llm[" in run.stderr


def test_paradigm_check_runs_with_any_extras(wire: WireServer) -> None:
    wire.always(WHOLE)
    script = Path(sysconfig.get_path("scripts"), "paradigm-check")
    env = {**os.environ, "PARADIGM_API_KEY": "k", "PARADIGM_BASE_URL": wire.url}
    run = subprocess.run([script, "--model", "m", "--quick"], capture_output=True, text=True, check=False, env=env)
    assert (run.returncode, run.stderr) == (0, "")
    assert "completions" in run.stdout
