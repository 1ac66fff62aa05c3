"""The tables of docs/local-paradigm.md are complete, and the tests that they name exist."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest

from paradigm_local import faults
from paradigm_local.chat_contract import ChatCompletionRequest
from paradigm_local.cli import _parser
from paradigm_local.contract import CompletionRequest, EmbeddingRequest
from paradigm_local.structural_tags import Format

HERE = Path(__file__).parent
DOCUMENT = (HERE.parent.parent / "docs" / "local-paradigm.md").read_text(encoding="utf-8")
TESTS = set(re.findall(r"^def (test_\w+)", "\n".join(path.read_text() for path in HERE.glob("*.py")), re.MULTILINE))


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading, without its first two lines."""
    section = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


OF_CHATS = [name for name in ChatCompletionRequest.model_fields if name in ChatCompletionRequest.__annotations__]


@pytest.mark.parametrize(
    ("heading", "fields"),
    [
        ("Fields", CompletionRequest.model_fields),
        ("Fields of chats", OF_CHATS),
        ("Fields of embeddings", EmbeddingRequest.model_fields),
    ],
)
def test_every_field_has_a_row(heading: str, fields: Iterable[str]) -> None:
    assert sorted(row[0].strip("`") for row in rows(heading)) == sorted(fields)


def test_every_part_of_a_structural_tag_has_a_row() -> None:
    types = [name for row in rows("Structural tags") for name in re.findall(r"`(\w+)`", row[0])]
    parts = get_args(get_args(Format)[0])
    assert sorted(types) == sorted(get_args(part.model_fields["type"].annotation)[0] for part in parts)


@pytest.mark.parametrize(
    "heading", ["Fields", "Fields of chats", "Structural tags", "Fields of embeddings", "Limits", "Refusals"]
)
def test_rows_have_no_empty_cells_and_name_existing_tests(heading: str) -> None:
    for row in rows(heading):
        assert all(row)
        named = re.findall(r"`(test_\w+)`", row[-1])
        assert named
        assert set(named) <= TESTS


def test_every_option_has_a_row() -> None:
    serve = _parser()._subparsers._group_actions[0].choices["serve"]  # type: ignore[union-attr, index, call-overload]
    options = {option for action in serve._actions for option in action.option_strings} - {"-h", "--help"}
    section = DOCUMENT.split("\n## ")[0]
    assert set(re.findall(r"^\| `(--[\w-]+)`", section, re.MULTILINE)) == options


def test_every_fault_has_a_row() -> None:
    assert [row[0].split("`")[1] for row in rows("Faults")] == list(faults.Kind.__args__)
