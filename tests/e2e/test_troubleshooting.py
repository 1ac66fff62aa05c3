"""The messages that docs/troubleshooting.md quotes are those of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("paradigm_transport", "langchain_paradigm", "llama_index_paradigm", "paradigm_local")
OTHERS = {"CERTIFICATE_VERIFY_FAILED"}
"""Messages of other libraries."""


def quoted() -> list[str]:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    return re.findall(r"^### `(.+)`$", page, re.MULTILINE)


def fixed_parts(message: str) -> list[str]:
    """Return the parts of a message that are always the same."""
    parts = re.split(r"…|\b\d{3}\b|^\w+: (?=it )", message)
    return [part.strip(" :;()`.") for part in parts if len(part.strip(" :;()`.")) > 3]


def texts(source: str) -> Iterator[str]:
    """Yield the strings of a module, those of f-strings with their gaps."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def modules(package: str) -> list[Path]:
    """Return the files of a package, wherever it is installed."""
    spec = find_spec(package)
    assert spec is not None
    return [path for folder in spec.submodule_search_locations or () for path in sorted(Path(folder).rglob("*.py"))]


CODE = "\n".join(text for package in PACKAGES for path in modules(package) for text in texts(path.read_text()))


@pytest.mark.parametrize("message", [each for each in quoted() if each not in OTHERS])
def test_quoted_message_is_one_of_the_code(message: str) -> None:
    parts = fixed_parts(message)
    assert parts
    for part in parts:
        assert part in CODE, part


def test_page_quotes_messages_of_every_package() -> None:
    assert len(quoted()) > 40
