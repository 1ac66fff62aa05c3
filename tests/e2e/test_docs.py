"""Every Python example of the README and the docs runs, top to bottom, on a real model."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest

from paradigm_local import LocalParadigm

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page: Path, local_paradigm: LocalParadigm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARADIGM_BASE_URL", local_paradigm.base_url)
    monkeypatch.setenv("PARADIGM_API_KEY", local_paradigm.api_key)
    names: dict[str, object] = {"__name__": "example"}
    for example in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        # The model's name is the one thing that the local Paradigm does not share with the service.
        run(example.replace("alfred-4.2", local_paradigm.model), names)


def run(example: str, names: dict[str, object]) -> None:
    code = compile(example, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, names))
    else:
        exec(code, names)
