"""What the packages import, and whether the project files match the code."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import paradigm_transport
from paradigm_local import demo
from paradigm_transport import __version__

ROOT = Path(__file__).parents[2]


def modules_of(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def imported_by(statement: str) -> set[str]:
    return {name.partition(".")[0] for name in modules_of(statement)}


def test_each_public_name_of_the_transport_can_be_imported() -> None:
    assert all(getattr(paradigm_transport, name).__doc__ for name in paradigm_transport.__all__)
    assert not hasattr(paradigm_transport, "Nothing")


def test_adapters_do_not_import_each_other() -> None:
    assert "llama_index" not in imported_by("import langchain_paradigm")
    assert "langchain_core" not in imported_by("import llama_index_paradigm")


def test_transport_imports_no_framework() -> None:
    assert not {"langchain_core", "llama_index", "xllamacpp", "starlette"} & imported_by("import paradigm_transport")


@pytest.mark.parametrize(
    ("package", "chat_model"),
    [
        ("langchain_paradigm", "langchain_core.language_models.chat_models"),
        ("llama_index_paradigm", "llama_index_paradigm.chat"),
    ],
)
def test_import_leaves_what_a_plain_completion_does_without(package: str, chat_model: str) -> None:
    slow = {chat_model, "paradigm_transport.chat.dialects.rows", "paradigm_transport.chat.templates"}
    slow |= {f"{package}._in", f"{package}._out", "paradigm_transport.messages", "paradigm_transport.http.direct"}
    slow |= {f"paradigm_transport.endpoints.{name}" for name in ("chat_completions", "embeddings", "models", "search")}
    assert not slow & modules_of(f"from {package} import ParadigmLLM")
    assert chat_model in modules_of(f"from {package} import ChatParadigm")


@pytest.mark.parametrize(
    ("package", "framework", "extra"),
    [("langchain_paradigm", "langchain_core", "langchain"), ("llama_index_paradigm", "llama_index", "llama-index")],
)
def test_missing_framework_error_names_extra(package: str, framework: str, extra: str) -> None:
    code = f"import sys; sys.modules['{framework}'] = None; import {package}"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.strip().splitlines()[-1].endswith(f"pip install 'paradigm-llm[{extra}]'")


FLOOR = re.compile(r'"([a-z0-9-]+)>=([\d.]+)[",]')
PYPROJECT = (ROOT / "pyproject.toml").read_text()


def test_lowest_constraints_match_minimum_versions() -> None:
    project = PYPROJECT.partition("[project]")[2].partition("[project.scripts]")[0]
    lines = (ROOT / "constraints" / "lowest.txt").read_text().splitlines()
    assert {tuple(line.split("==")) for line in lines if not line.startswith("#")} == set(FLOOR.findall(project))


@pytest.mark.parametrize(
    ("name", "refused", "allowed"),
    [
        ("h11", ["0.14.0"], ["0.16.0"]),
        ("starlette", ["0.40.0", "0.49.0"], ["0.49.1", "1.10.0"]),
        (
            "langchain-core",
            ["0.3.80", "1.0.0", "1.0.7", "1.1.3", "1.2.0", "1.2.1", "1.2.2", "1.2.3", "1.2.4", "2.0.0"],
            ["0.3.81", "0.3.83", "1.2.5", "1.3.0", "1.8.3"],
        ),
        ("llama-index-core", ["0.12.40", "0.15.0"], ["0.12.41", "0.14.25"]),
    ],
)
def test_vulnerable_and_untested_versions_are_not_installed(name: str, refused: list[str], allowed: list[str]) -> None:
    (requirement,) = re.findall(rf'"({name}[^"]*)"', PYPROJECT.partition("[dependency-groups]")[0])
    specifier = Requirement(requirement).specifier
    assert [version for version in refused + allowed if version in specifier] == allowed


def test_wheel_includes_pages_of_demo() -> None:
    assert set(re.findall(r'"docs/(.*)" = "paradigm_local/docs/\1"', PYPROJECT)) == set(demo.PAGES)


def test_contributing_names_every_transport_module() -> None:
    modules = {path.name for path in Path(paradigm_transport.__file__).parent.glob("[!_]*.py")}
    named = set(re.findall(r"\b[a-z_]+\.py\b", (ROOT / "CONTRIBUTING.md").read_text()))
    assert modules <= named


HEADINGS = re.findall("^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
SECTIONS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_changelog_begins_with_unreleased_and_current_version() -> None:
    assert HEADINGS[0] == "[Unreleased]"
    assert HEADINGS[1].startswith(f"[{__version__}] - ")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_changelog_versions_and_dates_descend() -> None:
    releases = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\S+)", heading) for heading in HEADINGS[1:]]
    found = [(_numbers(release[1]), date.fromisoformat(release[2])) for release in releases if release]
    assert len(found) == len(HEADINGS) - 1
    for (version, day), (older, before) in pairwise(found):
        assert version > older
        assert day >= before


def test_changelog_sections_follow_keep_a_changelog() -> None:
    sections = re.findall("^### (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections
    assert set(sections) <= SECTIONS
