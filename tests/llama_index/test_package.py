"""What the package is beside its class."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import llama_index_paradigm

FOLDER = Path(llama_index_paradigm.__file__).parent


def test_the_hubs_import_path_leads_to_the_same_class() -> None:
    alias = importlib.import_module("llama_index.llms.paradigm")
    assert alias.ParadigmLLM is llama_index_paradigm.ParadigmLLM


def test_without_llama_index_the_extra_is_named() -> None:
    code = "import sys; sys.modules['llama_index.core'] = None; import llama_index_paradigm"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: llama_index_paradigm needs LlamaIndex: pip install 'paradigm-llm[llama-index]'"
    )


@pytest.mark.parametrize("module", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_the_adapter_only_maps(module: Path) -> None:
    """HTTP, JSON, clocks and the environment are the transport's."""
    tree = ast.parse(module.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in imported} & {"httpx", "json", "time", "os", "datetime", "random"}
