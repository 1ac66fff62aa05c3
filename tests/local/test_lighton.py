"""The official SDK searches the local Paradigm: its types accept what is served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from paradigm_local import LocalParadigm

lighton = pytest.importorskip("lighton", reason="the SDK needs Python 3.11")


@pytest.fixture(scope="module")
def client(handbook: LocalParadigm) -> Iterator[Any]:
    config = lighton.LightOnConfiguration(base_url=handbook.base_url.removesuffix("/api/v2"))
    with lighton.LightOn(api_key=handbook.api_key, config=config) as client:
        yield client


def test_sdk_reads_results(client: Any) -> None:
    found = client.search("How long is parental leave?", max_results=3)
    assert len(found.results) == 3
    first = found.results[0]
    assert "six months" in first.content
    assert (first.source.filename, first.source.title, first.source.mime_type) == ("leave.md", "Leave", "md")
    assert (first.source.page_start, first.source.total_pages) == (1, 1)
    assert first.source.tags[0].name == "policy"
    assert first.workspace.name == "people"
    assert first.scores.relevance is None
    assert (found.warnings[0].code, found.warnings[0].reason) == ("relevance", "model_not_found")


def test_sdk_sends_every_filter(client: Any) -> None:
    found = client.search(
        "hotel",
        workspaces=[2],
        tags=[1],
        content_type=["people"],
        attribute=["valid_from:>=2025-01-01"],
        mode=lighton.SearchMode.text,
        relevance_scoring=lighton.RelevanceScoring.none,
        include_image=True,
        include_bboxes=True,
    )
    assert {result.source.filename for result in found.results} == {"travel.pdf"}
    assert {(result.image.b64_content, tuple(result.bboxes)) for result in found.results} == {("", ())}
    assert client.search("hotel", files=[1]).results[0].source.file_id == 1


def test_sdk_reads_refusals(client: Any) -> None:
    from lighton.exceptions import LightOnAPIError, PermissionDeniedError

    with pytest.raises(LightOnAPIError) as caught:
        client.search("hotel", workspaces=[1], files=[1])
    assert caught.value.status_code == 422
    assert caught.value.fields["workspace_id"][0]["detail"] == "Cannot be combined with file_id."
    with pytest.raises(PermissionDeniedError, match="No document has one of these ids"):
        client.search("hotel", workspaces=[99])
