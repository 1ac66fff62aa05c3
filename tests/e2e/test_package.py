"""What importing the packages does, and does not do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from paradigm_transport import __version__

ROOT = Path(__file__).parents[2]


def imported_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_adapters_do_not_import_each_other() -> None:
    assert "llama_index" not in imported_by("import langchain_paradigm")
    assert "langchain_core" not in imported_by("import llama_index_paradigm")


def test_transport_imports_no_framework() -> None:
    assert not {"langchain_core", "llama_index", "xllamacpp", "starlette"} & imported_by("import paradigm_transport")


@pytest.mark.parametrize(
    ("package", "framework", "extra"),
    [("langchain_paradigm", "langchain_core", "langchain"), ("llama_index_paradigm", "llama_index", "llama-index")],
)
def test_missing_framework_names_the_extra(package: str, framework: str, extra: str) -> None:
    code = f"import sys; sys.modules['{framework}'] = None; import {package}"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.strip().splitlines()[-1].endswith(f"pip install 'paradigm-llm[{extra}]'")


def test_changelog_knows_the_version() -> None:
    assert re.search(rf"^## \[{re.escape(__version__)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
