"""The examples of docs/other-frameworks.md run against the local Paradigm."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paradigm_local import LocalParadigm

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the frameworks

PAGE = (Path(__file__).parents[2] / "docs" / "other-frameworks.md").read_text()
EXAMPLES = re.findall(r"^```py\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
MODULES = ("pydantic_ai", "crewai", "smolagents", "dspy", "haystack", "litellm", "openai")


def of(module: str) -> str:
    return "".join(each for each in EXAMPLES if re.search(rf"\b(from|import) {module}\b", each) or f"{module}." in each)


def test_every_example_is_run() -> None:
    assert sum(len(of(module)) for module in MODULES) == sum(map(len, EXAMPLES))


@pytest.mark.parametrize("module", MODULES)
def test_example_runs(module: str, local_paradigm: LocalParadigm, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(module)
    code = of(module).replace("http://127.0.0.1:8000/api/v2", local_paradigm.base_url)
    exec(compile(code, module, "exec", dont_inherit=True), {"__name__": "example"})
    assert capsys.readouterr().out.strip()
