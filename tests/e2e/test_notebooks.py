"""The notebooks match their sources, are clean, and run from top to bottom."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paradigm_local import LocalParadigm

REASON = "runs where the dependency group notebooks is installed"
nbformat = pytest.importorskip("nbformat", reason=REASON)
notebooks = pytest.importorskip("notebooks.__main__", reason=REASON)
SOURCES = notebooks.SOURCES

by_name = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def written(source: Path) -> Any:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def outputs(notebook: Any) -> list[list[str]]:
    """Return the types of the outputs of each cell."""
    return [[output.output_type for output in cell.get("outputs", [])] for cell in notebook.cells]


def test_each_notebook_has_its_source() -> None:
    folder = SOURCES[0].parent
    assert {path.stem for path in folder.glob("*.ipynb")} == {source.stem for source in SOURCES}


@by_name
def test_notebook_has_cells_of_its_source(source: Path) -> None:
    ours = [(cell.id, cell.cell_type, cell.source) for cell in notebooks.read(source).cells]
    assert [(cell.id, cell.cell_type, cell.source) for cell in written(source).cells] == ours, "run make notebooks"


@by_name
def test_notebook_holds_full_run_without_local_paths_or_keys(source: Path) -> None:
    notebook = written(source)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1))
    for output in (output for cell in codes for output in cell.outputs):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
        text = output.get("text") or output.data["text/plain"]
        assert not re.search(r"/(home|root|Users|tmp|work)/|[A-Z]:\\|[Bb]earer |sk-", text)
    assert set(notebook.metadata) == {"kernelspec"}


@by_name
def test_notebook_runs_with_same_outputs(
    source: Path, local_paradigm: LocalParadigm, handbook: LocalParadigm, tmp_path: Path
) -> None:  # the fixtures download the models, and embed the documents
    copy = tmp_path / f"{source.stem}.ipynb"
    command = [sys.executable, "-m", "notebooks", source.stem, "--to", tmp_path]
    done = subprocess.run(command, cwd=source.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert outputs(nbformat.read(copy, as_version=4)) == outputs(written(source))
