"""`paradigm-check` on the local Paradigm says what that is known to do, and recommends code that works there."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

import pytest

from paradigm_local import LocalParadigm
from paradigm_local.contract import MAX_STOPS
from paradigm_local.local import DEFAULT_CONTEXT
from paradigm_transport.check import cli

DECIDED_BY_THE_MODEL = {"tools", "thoughts", "presence_penalty", "frequency_penalty"}
"""What shows only if the model does something."""

OTHER = {
    "wrong key": "refused",
    "search": "missing",  # it was started without documents
    "tokenize": "missing",
    "rate limit headers": "missing",
    "skip_special_tokens": "ignored",
    "unknown fields": "ignored",
    "guided_json (completions)": "ignored",  # a field of chats
    "json_schema (completions)": "ignored",
    "grammar (completions)": "ignored",
    "BOS token": "missing",  # SmolLM2 has none
    "invalid value": "refused",
    "unknown model": "refused",
    "long prompt": "refused",
}
"""What the local Paradigm is known not to do; it does all else."""


@pytest.fixture(scope="module")
def found(local_paradigm: LocalParadigm) -> Mapping[str, Any]:
    """The report of a whole check, and the number of requests and tokens that it took."""
    out, before = io.StringIO(), len(local_paradigm.usage)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        patch.setenv("PARADIGM_API_KEY", local_paradigm.api_key)
        patch.setenv("PARADIGM_BASE_URL", local_paradigm.base_url)
        assert cli.main(["--json", "--seconds", "300"]) == 0
    used = local_paradigm.usage[before:]
    report = json.loads(out.getvalue())
    return {**report, "requests": len(used), "tokens": sum(each.completion_tokens for each in used)}


def test_findings_are_what_the_local_paradigm_does(found: Mapping[str, Any], local_paradigm: LocalParadigm) -> None:
    assert found["model"] == local_paradigm.model
    statuses = {each["name"]: each["status"] for each in found["findings"]}
    differ = {name: status for name, status in statuses.items() if status not in ("works", "honoured")}
    assert {name: differ[name] for name in differ.keys() - DECIDED_BY_THE_MODEL} == OTHER
    values = {each["name"]: each["value"] for each in found["findings"]}
    assert values["number of stop sequences"] == MAX_STOPS
    assert values["context window"] == DEFAULT_CONTEXT
    assert values["embeddings"] == local_paradigm.embedding_model
    assert values["chat template"] == "chatml"


def test_check_needs_few_requests_and_tokens(found: Mapping[str, Any]) -> None:
    """Which bounds its time on any server: it took 17 seconds on two cores."""
    assert found["requests"] < 120
    assert found["tokens"] < 2200


def _run(code: str, local_paradigm: LocalParadigm, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    monkeypatch.setenv("PARADIGM_API_KEY", local_paradigm.api_key)
    monkeypatch.setenv("PARADIGM_BASE_URL", local_paradigm.base_url)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def test_recommended_code_works_with_langchain(
    found: Mapping[str, Any], local_paradigm: LocalParadigm, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = _run(found["recommended"]["langchain"], local_paradigm, monkeypatch)
    with names["chat"] as chat, names["llm"] as llm, names["embeddings"] as embeddings:
        assert chat.invoke("Hi", max_tokens=3).content
        assert llm.invoke("Hi", max_tokens=3)
        assert len(embeddings.embed_documents(["a", "b"])) == 2


def test_recommended_code_works_with_llama_index(
    found: Mapping[str, Any], local_paradigm: LocalParadigm, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = _run(found["recommended"]["llama_index"], local_paradigm, monkeypatch)
    with names["chat"] as chat, names["llm"] as llm, names["embeddings"] as embeddings:
        assert chat.complete("Hi", max_tokens=3).text
        assert llm.complete("Hi", max_tokens=3).text
        assert len(embeddings.get_text_embedding_batch(["a", "b"])) == 2
