"""The pytest fixtures, and with them both adapters with a real model."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paradigm_local import LocalParadigm
from paradigm_transport import ParadigmClient, RateLimitError

PROMPT = "The capital of France is"


def test_server_is_shared_by_all_tests(request: pytest.FixtureRequest, local_paradigm: LocalParadigm) -> None:
    assert local_paradigm.is_running
    assert request.getfixturevalue("local_paradigm") is local_paradigm


@pytest.mark.paradigm_llm(max_tokens=3, temperature=0)
def test_fixture_is_langchains_by_default(paradigm_llm: Any, local_paradigm: LocalParadigm) -> None:
    assert type(paradigm_llm).__module__.startswith("langchain_paradigm")
    result = paradigm_llm.generate([PROMPT])
    assert result.generations[0][0].text == " Paris.\n"
    assert "".join(paradigm_llm.stream(PROMPT)) == " Paris.\n"
    assert local_paradigm.usage[-1] == local_paradigm.usage[-2]


@pytest.mark.paradigm_llm("langchain", max_tokens=3, temperature=0)
def test_langchain_completes_asynchronously(paradigm_llm: Any) -> None:
    async def both() -> tuple[str, str]:
        async with paradigm_llm:
            streamed = [text async for text in paradigm_llm.astream(PROMPT)]
            return await paradigm_llm.ainvoke(PROMPT), "".join(streamed)

    assert asyncio.run(both()) == (" Paris.\n", " Paris.\n")


@pytest.mark.paradigm_llm("llama_index", max_tokens=3, temperature=0)
def test_marker_selects_llama_index(paradigm_llm: Any) -> None:
    assert type(paradigm_llm).__module__.startswith("llama_index_paradigm")
    assert paradigm_llm.complete(PROMPT).text == " Paris.\n"
    assert list(paradigm_llm.stream_complete(PROMPT))[-1].text == " Paris.\n"


@pytest.mark.paradigm_llm("llama_index", max_tokens=3, temperature=0)
def test_llama_index_completes_asynchronously(paradigm_llm: Any) -> None:
    async def both() -> tuple[str, str]:
        async with paradigm_llm:
            *_, last = [response async for response in await paradigm_llm.astream_complete(PROMPT)]
            return (await paradigm_llm.acomplete(PROMPT)).text, last.text

    assert asyncio.run(both()) == (" Paris.\n", " Paris.\n")


@pytest.mark.paradigm_llm(max_retries=0)
def test_queued_fault_reaches_the_adapter(paradigm_llm: Any, local_paradigm: LocalParadigm) -> None:
    local_paradigm.fail_next("429=3", times=2)
    with pytest.raises(RateLimitError):
        paradigm_llm.invoke(PROMPT)


@pytest.mark.paradigm_llm(max_retries=0)
def test_queued_faults_are_cleared_after_each_test(paradigm_llm: Any) -> None:
    assert paradigm_llm.invoke(PROMPT, max_tokens=1)


@pytest.mark.paradigm_llm(framework="llama_index", max_tokens=1)
def test_marker_takes_the_framework_by_name(paradigm_llm: Any) -> None:
    assert type(paradigm_llm).__module__.startswith("llama_index_paradigm")


def test_faults_and_limits_may_be_left(local_paradigm: LocalParadigm) -> None:
    local_paradigm.fail_next("429=2", times=3)
    local_paradigm.limit_requests(0.01)


def test_faults_and_limits_of_an_earlier_test_are_gone(local_paradigm: LocalParadigm) -> None:
    given = {"api_key": local_paradigm.api_key, "base_url": local_paradigm.base_url, "max_retries": 0}
    with ParadigmClient(**given) as client:
        for _ in range(2):
            assert client.complete(PROMPT, model=local_paradigm.model, max_tokens=1).text


def test_pytest_loads_the_fixtures_automatically(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--fixtures", "--rootdir", str(tmp_path), str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert "local_paradigm [session scope]" in found.stdout
    assert "paradigm_llm -- " in found.stdout


def test_unavailable_model_fails_tests_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "test_one.py").write_text("def test_one(local_paradigm): pass")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "paradigm_local.pytest_plugin", str(tmp_path)]
    # Without other plugins, which take seconds to import.
    environment = {"PARADIGM_LOCAL_CACHE": str(tmp_path / "file" / "cache"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert found.returncode == 1
    assert "The model cannot be stored" in found.stdout
    assert "Traceback" not in found.stdout
    assert "local.py" not in found.stdout
