"""pytest fixtures for tests that call Paradigm: `local_paradigm` and `paradigm_llm`.

pytest loads them automatically if `paradigm-llm[local]` is installed.

```python
def test_chain(paradigm_llm):
    assert paradigm_llm.invoke("The capital of France is")


@pytest.mark.paradigm_llm("llama_index", max_tokens=8, temperature=0)
def test_query(paradigm_llm):
    assert paradigm_llm.complete("The capital of France is").text
```
"""

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from paradigm_local.local import LocalParadigm

_MARKER = "paradigm_llm"
_RUNNING: "pytest.StashKey[LocalParadigm]" = pytest.StashKey()
_PACKAGES = {"langchain": "langchain_paradigm", "llama_index": "llama_index_paradigm"}


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(framework='langchain', **arguments): the framework of the fixture {_MARKER} "
        f"({' or '.join(_PACKAGES)}), and arguments for its ParadigmLLM",
    )


@pytest.fixture(scope="session")
def local_paradigm(request: pytest.FixtureRequest) -> "Iterator[LocalParadigm]":
    """A local Paradigm with a real model, started once per session. After each test its faults and rate limit end."""
    from paradigm_local.errors import LocalParadigmError
    from paradigm_local.local import LocalParadigm

    paradigm = LocalParadigm()
    try:
        paradigm.start()
    except LocalParadigmError as error:
        pytest.fail(str(error), pytrace=False)
    request.config.stash[_RUNNING] = paradigm
    yield paradigm
    paradigm.stop()


@pytest.fixture
def paradigm_llm(request: pytest.FixtureRequest, local_paradigm: "LocalParadigm") -> Iterator[object]:
    """A `ParadigmLLM` that calls `local_paradigm`; the marker `paradigm_llm` selects the framework."""
    marker = request.node.get_closest_marker(_MARKER)
    arguments = {**marker.kwargs} if marker else {}
    framework = marker.args[0] if marker and marker.args else arguments.pop("framework", "langchain")
    package = importlib.import_module(_PACKAGES[framework])
    address = {"api_key": local_paradigm.api_key, "base_url": local_paradigm.base_url}
    with package.ParadigmLLM(**{"model": local_paradigm.model, **address, **arguments}) as llm:
        yield llm


@pytest.fixture(autouse=True)
def _without_faults_of_others(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the faults and the rate limit that a test asked `local_paradigm` for."""
    yield
    paradigm = request.config.stash.get(_RUNNING, None)
    if paradigm is not None and "local_paradigm" in request.fixturenames:
        paradigm.clear_faults()
        paradigm.limit_requests(None)
