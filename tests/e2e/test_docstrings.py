"""Every public name is documented, with its arguments, fields and errors."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from typing import Any

import pytest

griffe = pytest.importorskip("griffe", reason="runs where the dependency group docs is installed")

PACKAGES = ("paradigm_transport", "langchain_paradigm", "llama_index_paradigm", "paradigm_local")
LOADER = griffe.GriffeLoader(docstring_parser="google")
for package in PACKAGES:
    LOADER.load(package)
LOADER.resolve_aliases(implicit=True, external=False)

EXPORTED = {
    f"{package}.{name}": getattr(importlib.import_module(package), name)
    for package in PACKAGES
    for name in importlib.import_module(package).__all__
}
PUBLIC = {path: value for path, value in EXPORTED.items() if inspect.isclass(value) or inspect.isfunction(value)}
SOURCES = {path: LOADER.modules_collection[path].final_target for path in PUBLIC}
METHODS = {
    f"{path}.{name}": (source, member)
    for path, source in SOURCES.items()
    if source.is_class
    for name, member in source.all_members.items()
    if member.is_function and not name.startswith("_")
}


@pytest.mark.parametrize("path", PUBLIC)
def test_public_name_is_documented(path: str) -> None:
    value, source = PUBLIC[path], SOURCES[path]
    assert source.has_docstring
    if source.is_function:
        assert arguments(source) | raised(source) <= told(source)
    else:
        assert fields(value) <= told(source).union(*map(told, source.mro()))


@pytest.mark.parametrize("path", METHODS)
def test_public_method_is_documented(path: str) -> None:
    owner, method = METHODS[path]
    assert method.has_docstring
    assert arguments(method) | raised(method) <= told(method) | told_elsewhere(owner, method.docstring.value)


@pytest.mark.parametrize("path", [path for path in PUBLIC if path.endswith((".ParadigmLLM", ".ChatParadigm"))])
def test_docstring_of_model_has_examples_of_use(path: str) -> None:
    call = "Invoke" if path.startswith("langchain") else "Complete" if path.endswith("LLM") else "Chat"
    for section in ("Setup", "Instantiate", call, "Stream", "Async"):
        assert re.search(rf"^{section}:\n    ```", SOURCES[path].docstring.value, re.MULTILINE), section


def told(documented: Any) -> set[str]:
    """Return the arguments, fields and errors that a docstring documents."""
    sections = documented.docstring.parsed if documented.has_docstring else []
    items = [
        item for each in sections if each.kind.value in ("parameters", "attributes", "raises") for item in each.value
    ]
    return {getattr(item, "name", str(item.annotation)).lstrip("*") for item in items}


def told_elsewhere(owner: Any, text: str) -> set[str]:
    """Return what the docstring documents that this one refers to: `as x`, of the same class or a public one."""
    match = re.search(r"(?:^|[;,] )[Aa]s `([\w.]+)`", text.split("\n\n")[0])
    if match is None:
        return set()
    place, _, name = match[1].rpartition(".")
    if place:
        (owner,) = {source.path: source for path, source in SOURCES.items() if path.endswith(f".{place}")}.values()
    other = owner.all_members[name]
    return told(other) | told_elsewhere(owner, other.docstring.value)


def arguments(function: Any) -> set[str]:
    return {each.name for each in function.parameters} - {"self", "cls"}


def raised(function: Any) -> set[str]:
    """Return the errors that a function raises itself."""
    exceptions = [
        node.exc for node in ast.walk(ast.parse(textwrap.dedent(function.source))) if isinstance(node, ast.Raise)
    ]
    return {each.func.id for each in exceptions if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)}


def fields(kind: Any) -> set[str]:
    """Return the fields of a class that have no description of their own in the source."""
    if dataclasses.is_dataclass(kind):
        return {field.name for field in dataclasses.fields(kind) if not field.name.startswith("_")}
    if hasattr(kind, "model_fields"):
        ours = [each for each in kind.__mro__ if each.__module__.partition(".")[0] in PACKAGES]
        own = {name for each in ours for name in vars(each).get("__annotations__", {})}
        return {name for name, field in kind.model_fields.items() if name in own and not field.description}
    if kind.__init__ is object.__init__:
        return set()
    return set(inspect.signature(kind.__init__).parameters) - {"self", "args", "kwargs"}
