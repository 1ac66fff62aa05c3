"""Every Python example of the README, the docs and the docstrings runs, top to bottom, on a real model.

Each page runs in its own process, since examples set global state such as caches, defaults and handlers.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from paradigm_local import LocalParadigm

ROOT = Path(__file__).parents[2]
PAGES = [str(page.relative_to(ROOT)) for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]]
PACKAGES = ("paradigm_transport", "langchain_paradigm", "llama_index_paradigm", "paradigm_local")
COMPANIONS = ("langchain", "langchain_classic", "langchain_community", "langgraph")
"""Packages that examples import; the tests with the oldest supported LangChain do not install them."""
ENOUGH_TOKENS = 20


def texts_of(place: str) -> list[str]:
    """Return the text of a page, or the docstrings of the public names of a package."""
    if place.endswith(".md"):
        return [(ROOT / place).read_text()]
    package = importlib.import_module(place)
    values = [getattr(package, name) for name in package.__all__]
    ours = [value for value in values if getattr(value, "__module__", "").startswith(f"{place}.")]
    return [inspect.cleandoc(value.__doc__ or "") for value in ours]


def examples_in(text: str) -> Iterator[str]:
    for fenced in re.finditer(
        r"^(?P<margin> *)```python\n(?P<code>.*?)^(?P=margin)```", text, re.DOTALL | re.MULTILINE
    ):
        yield dedent(fenced["code"])


@pytest.mark.parametrize("place", [place for place in [*PAGES, *PACKAGES] if "```python" in "".join(texts_of(place))])
def test_examples_run(place: str, request: pytest.FixtureRequest) -> None:
    text = "".join(texts_of(place))
    needs_documents = "ParadigmRetriever" in "".join(examples_in(text))
    local_paradigm: LocalParadigm = request.getfixturevalue("handbook" if needs_documents else "local_paradigm")
    for companion in COMPANIONS:
        if re.search(rf"\bfrom {companion}\b", text):
            pytest.importorskip(companion)
    reached = {"PARADIGM_BASE_URL": local_paradigm.base_url, "PARADIGM_API_KEY": local_paradigm.api_key}
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.test_docs", place, local_paradigm.model, local_paradigm.embedding_model],
        env={**os.environ, **reached},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", PAGES)
def test_other_examples_compile(place: str) -> None:
    """Examples marked `py` need packages that are not installed here; other tests run them or similar code."""
    text = (ROOT / place).read_text()
    assert set(re.findall(r"^ *```(\w*)$", text, re.MULTILINE)) <= {"python", "py", "bash", "text", ""}
    for example in re.findall(r"^```py\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        compile(example, place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def run_examples(place: str, model: str, embedding_model: str) -> None:
    for text in texts_of(place):
        names: dict[str, object] = {"__name__": "example"}
        for example in examples_in(text):
            # The local Paradigm has other models, which are slow.
            example = example.replace("alfred-4.2", model).replace("multilingual-e5-large", embedding_model)
            run_example(re.sub(r"max_tokens=\d{3,}", f"max_tokens={ENOUGH_TOKENS}", example), names)


def run_example(example: str, names: dict[str, object]) -> None:
    code = compile(example, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, names))
    else:
        exec(code, names)


if __name__ == "__main__":
    run_examples(*sys.argv[1:])
