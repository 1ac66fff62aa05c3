"""Every Python example of the README, the docs and the docstrings runs, top to bottom, on a real model.

Each page runs in its own process, since examples set global state such as caches, defaults and handlers. The processes
are forks of one that has imported the frameworks.
"""

from __future__ import annotations

import ast
import multiprocessing
import re
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from paradigm_local import LocalParadigm
from tests.e2e.examples import ROOT, examples_in, run_page, texts_of

PAGES = [str(page.relative_to(ROOT)) for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]]
PACKAGES = ("paradigm_transport", "langchain_paradigm", "llama_index_paradigm", "paradigm_local")
COMPANIONS = ("langchain", "langchain_classic", "langchain_community", "langgraph")
"""Packages that examples import; the tests with the oldest supported LangChain do not install them."""
FRAMEWORKS = ["langchain.agents", "langgraph.graph", "llama_index.core", *PACKAGES]


@pytest.fixture(scope="module")
def forks() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.e2e.examples", *FRAMEWORKS])  # those that are installed
    return context


@pytest.mark.parametrize("place", [place for place in [*PAGES, *PACKAGES] if "```python" in "".join(texts_of(place))])
def test_examples_run(place: str, request: pytest.FixtureRequest, forks: ForkServerContext, tmp_path: Path) -> None:
    text = "".join(texts_of(place))
    needs_documents = "ParadigmRetriever" in "".join(examples_in(text))
    local_paradigm: LocalParadigm = request.getfixturevalue("handbook" if needs_documents else "local_paradigm")
    for companion in COMPANIONS:
        if re.search(rf"\bfrom {companion}\b", text):
            pytest.importorskip(companion)
    reached = {"PARADIGM_BASE_URL": local_paradigm.base_url, "PARADIGM_API_KEY": local_paradigm.api_key}
    printed = tmp_path / "printed.txt"
    models = (local_paradigm.model, local_paradigm.embedding_model)
    process = forks.Process(target=run_page, args=(place, models, reached, printed))
    process.start()
    process.join()
    assert process.exitcode == 0, printed.read_text()
    process.close()


@pytest.mark.parametrize("place", PAGES)
def test_other_examples_compile(place: str) -> None:
    """Examples marked `py` need packages that are not installed here; other tests run them or similar code."""
    text = (ROOT / place).read_text()
    assert set(re.findall(r"^ *```(\w*)$", text, re.MULTILINE)) <= {"python", "py", "bash", "text", ""}
    for example in re.findall(r"^```py\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        compile(example, place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
