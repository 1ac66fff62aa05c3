"""The matrix, measured with the real consumers: `make test-usage`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from typing import Any

import pytest

from paradigm_local import LocalParadigm
from tests.usage.consumers import matrix, paths, watchers

NEEDED = ["langfuse", "openinference", "mlflow", "sentry_sdk", "weave", "langchain_community"]

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not all(map(importlib.util.find_spec, NEEDED)), reason="the consumers: make test-usage"),
]


EACH = [(framework, consumer) for framework, known in matrix.CONSUMERS.items() for consumer in known]


@pytest.fixture(scope="module")
def measured() -> list[dict[str, Any]]:
    return matrix.measure()


def test_measured_matrix_matches_docs(measured: list[dict[str, Any]]) -> None:
    wrong = [cell for cell in measured if cell["verdict"] == "broken"]
    assert wrong == []
    assert matrix.summed(measured) == matrix.expected()
    assert matrix.render(matrix.summed(measured)) == matrix.written()


def test_enough_cells_are_exact(measured: list[dict[str, Any]]) -> None:
    others = {cell: verdict for cell, verdict in matrix.summed(measured).items() if cell[1] != "get_paradigm_usage"}
    assert sum(verdict != "exact" for verdict in others.values()) <= 128 - 119


def test_usage_is_not_doubled_or_mixed_up(measured: list[dict[str, Any]]) -> None:
    assert [cell for cell in measured if cell["verdict"] == "wrong"] == []


CHAT_ONLY = {"get_usage_metadata_callback", "LangSmith", "MLflow"}


@pytest.mark.parametrize("consumer", watchers.LANGCHAIN)
def test_without_trace_as_chat_only_chat_consumers_see_nothing(consumer: str) -> None:
    found = matrix.run("langchain", consumer, trace_as_chat=False)
    assert {cell["verdict"] for cell in found} == {"nothing" if consumer in CHAT_ONLY else "exact"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("consumer", matrix.REASONS, ids=" ".join)
def test_upstream_line_that_prevents_usage_still_exists(consumer: tuple[str, str]) -> None:
    reason = matrix.REASONS[consumer]
    assert reason.line in inspect.getsource(importlib.import_module(reason.module))


@pytest.mark.parametrize(("framework", "consumer"), EACH)
def test_chat_paradigm_gives_same_matrix(framework: str, consumer: str) -> None:
    found = matrix.run(framework, consumer, of="ChatParadigm", chat_template="chatml")
    cells = matrix.summed([{"framework": framework, "consumer": consumer, **cell} for cell in found])
    assert cells == {cell: verdict for cell, verdict in matrix.expected().items() if cell[:2] == (framework, consumer)}


@pytest.mark.parametrize(("framework", "consumer"), EACH)
def test_consumers_count_exactly_on_real_model(local_paradigm: LocalParadigm, framework: str, consumer: str) -> None:
    before = len(local_paradigm.usage)
    arguments: dict[str, Any] = {"model": local_paradigm.model, "api_key": local_paradigm.api_key, "max_tokens": 4}
    found = matrix.run(framework, consumer, local_paradigm.base_url, **arguments)
    assert [cell["path"] for cell in found] == matrix.PATHS[framework]
    counted = [(each.prompt_tokens, each.completion_tokens) for each in local_paradigm.usage[before:]]
    for cell in found:
        own = [counted.pop(0) for _ in paths.prompts_of(cell["path"])]
        seen = [(prompt or 0, completion or 0) for _, prompt, completion, _ in cell["seen"]]
        if matrix.expected()[framework, consumer, cell["path"]] == "nothing":
            assert not any(map(any, seen))
        elif [about for about, *_ in cell["seen"]] == ["all"]:
            assert seen == [(sum(prompt for prompt, _ in own), sum(completion for _, completion in own))]
        else:
            assert sorted(seen) == sorted(own)
    assert counted == []
