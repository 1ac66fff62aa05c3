"""Every Python example of the README, the docs and the docstrings runs, top to bottom, on a real model.

Each page runs in its own process, since examples set global state such as caches, defaults and handlers.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys

import pytest

from paradigm_local import LocalParadigm
from tests.e2e.examples import ROOT, examples_in, texts_of

PAGES = [str(page.relative_to(ROOT)) for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]]
PACKAGES = ("paradigm_transport", "langchain_paradigm", "llama_index_paradigm", "paradigm_local")
COMPANIONS = ("langchain", "langchain_classic", "langchain_community", "langgraph")
"""Packages that examples import; the tests with the oldest supported LangChain do not install them."""


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
        [sys.executable, "-m", "tests.e2e.examples", place, local_paradigm.model, local_paradigm.embedding_model],
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
