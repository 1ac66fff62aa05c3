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


def test_hub_import_path_exports_the_same_class() -> None:
    alias = importlib.import_module("llama_index.llms.paradigm")
    assert alias.ParadigmLLM is llama_index_paradigm.ParadigmLLM


def test_import_without_llama_index_names_the_extra() -> None:
    code = "import sys; sys.modules['llama_index.core'] = None; import llama_index_paradigm"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: llama_index_paradigm needs LlamaIndex: pip install 'paradigm-llm[llama-index]'"
    )


def test_missing_module_of_llama_index_is_not_reported_as_a_missing_extra() -> None:
    module = "llama_index.core.prompts"
    code = f"import llama_index.core, sys; sys.modules['{module}'] = None; import llama_index_paradigm"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1] == (f"ModuleNotFoundError: import of {module} halted; None in sys.modules")


@pytest.mark.parametrize("module", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_modules_import_no_http_json_clock_or_environment(module: Path) -> None:
    """HTTP, JSON, clocks and the environment are the transport's."""
    tree = ast.parse(module.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in imported} & {"httpx", "json", "time", "os", "datetime", "random"}
