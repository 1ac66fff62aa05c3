"""Every Python example of the README and the docs runs, top to bottom, on a real model.

Each page has a process of its own, for what one sets (a cache, a default, a handler) is no matter of the others.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paradigm_local import LocalParadigm

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if re.search("^```python$", page.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page: Path, local_paradigm: LocalParadigm) -> None:
    reached = {"PARADIGM_BASE_URL": local_paradigm.base_url, "PARADIGM_API_KEY": local_paradigm.api_key}
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.test_docs", page, local_paradigm.model],
        env={**os.environ, **reached},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def run_page(page: Path, model: str) -> None:
    names: dict[str, object] = {"__name__": "example"}
    for example in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        # The model's name is the one thing that the local Paradigm does not share with the service.
        run_example(example.replace("alfred-4.2", model), names)


def run_example(example: str, names: dict[str, object]) -> None:
    code = compile(example, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, names))
    else:
        exec(code, names)


if __name__ == "__main__":
    run_page(Path(sys.argv[1]), sys.argv[2])
