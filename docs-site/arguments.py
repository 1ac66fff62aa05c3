"""Shows in the reference which arguments our classes take, under names that a reader can import.

The classes that declare arguments are pydantic models over bases that are internal. Read statically, their signature is
`**values: Any` and their fields are spread over those bases. This extension of griffe reads the fields off the class
instead, as keyword arguments with their types, defaults and descriptions.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import griffe
from pydantic.fields import FieldInfo

from paradigm_transport import Settings
from paradigm_transport.arguments import Fields

PACKAGES = ("paradigm_transport", "langchain_paradigm", "llama_index_paradigm", "paradigm_local")

FOUND = ("api_key", "base_url")
"""Arguments without a default that the environment may set."""

FRAMEWORKS = (
    "langchain_core.embeddings",
    "langchain_core.language_models",
    "langchain_core.retrievers",
    "llama_index.",
)

TAKES = {
    "api_key": "str | SecretStr | None",
    "attribute": "str | list[str] | None",
    "base_url": "str | None",
    "chat_template": "str | Path | ChatTemplate | JinjaTemplate | list | dict | None",
    "content_type": "str | list[str] | None",
    "file_id": "int | list[int] | None",
    "stop": "str | list[str] | None",
    "tag_id": "int | list[int] | None",
    "timeout": "float | Timeout | None",
    "workspace_id": "int | list[int] | None",
}
"""What arguments take that is wider than what their fields hold."""


class Arguments(griffe.Extension):
    """Gives each public class of ours the signature that callers see."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_: Any) -> None:
        """Rewrite the classes and signatures of a package."""
        if pkg.name not in PACKAGES:
            return
        for obj in members(pkg):
            if isinstance(obj, griffe.Class):
                document(obj, loader.modules_collection)


def members(scope: griffe.Module | griffe.Class) -> Iterator[griffe.Object]:
    """Yield all that a package defines, at any depth."""
    for each in list(scope.members.values()):
        if not each.is_alias:
            yield each
            if isinstance(each, (griffe.Module, griffe.Class)):
                yield from members(each)


def document(cls: griffe.Class, modules: griffe.ModulesCollection) -> None:
    """Name the bases of a class that a reader knows, and make a signature of its fields."""
    kind = getattr(import_module(cls.module.path), cls.name, None)
    cls.extra["arguments"]["bases"] = list(known_bases(kind)) if isinstance(kind, type) else []
    for member in cls.members.values():
        expand(member, modules)
    if not (isinstance(kind, type) and issubclass(kind, Fields)):
        return
    for name in kind.model_fields:
        cls.members.pop(name, None)
    if not cls.name.startswith("_") and is_public(kind):
        cls.set_member("__init__", signature(cls, kind))


def known_bases(kind: type) -> Iterator[str]:
    """Yield the nearest bases that a reader can import."""
    seen: list[type] = []
    for base in kind.__mro__[1:]:
        is_known = "[" not in base.__name__ and (is_public(base) or base.__module__.startswith(FRAMEWORKS))
        if is_known and not any(issubclass(each, base) for each in seen):
            seen.append(base)
            yield base.__name__


def is_public(kind: type) -> bool:
    """Whether one of our packages exports a class."""
    package = kind.__module__.partition(".")[0]
    return package in PACKAGES and getattr(import_module(package), kind.__name__, None) is kind


def signature(cls: griffe.Class, kind: type[Fields]) -> griffe.Function:
    """Return `__init__` as callers see it: required arguments, the request, the connection, the framework."""
    fields = {name: field for name, field in kind.model_fields.items() if name not in getattr(kind, "_refused", ())}
    ours = {name for base in kind.__mro__ if issubclass(base, Fields) for name in vars(base).get("__annotations__", {})}
    ours &= {name for name in fields if fields[name].description}
    access = {"rate_limiter", *Settings.model_fields}
    ordered = sorted(fields, key=lambda name: (not fields[name].is_required(), name not in ours, name in access))
    parameters = [parameter(cls, name, fields[name]) for name in ordered]
    described = "\n".join(f"    {name}: {fields[name].description}" for name in ordered if name in ours)
    init = griffe.Function("__init__", parameters=griffe.Parameters(*parameters), parent=cls)
    init.docstring = griffe.Docstring(f"Args:\n{described}", parser=griffe.Parser.google, parent=init)
    return init


def parameter(cls: griffe.Class, name: str, field: FieldInfo) -> griffe.Parameter:
    """Return a field as a keyword argument."""
    annotation = ast.parse(TAKES.get(name) or readable(field.annotation), mode="eval").body
    return griffe.Parameter(
        name,
        annotation=griffe.get_annotation(annotation, parent=cls),
        kind=griffe.ParameterKind.keyword_only,
        default=None if field.is_required() else default(name, field),
    )


def default(name: str, field: FieldInfo) -> str:
    """Return a default as source; what a function makes for each object is an ellipsis."""
    if name in FOUND:
        return "None"
    return repr(field.default) if type(field.default) in (str, int, float, bool, type(None)) else "..."


def readable(annotation: Any) -> str:
    """Return a type as a reader writes it: no checks, no modules."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return readable(parts[0])
    if origin in (Union, UnionType):
        return " | ".join(map(readable, parts))
    if origin in (dict, list):
        return f"{origin.__name__}[{', '.join(map(readable, parts))}]"
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", inspect.formatannotation(annotation)).replace("NoneType", "None")


def expand(member: griffe.Object | griffe.Alias, modules: griffe.ModulesCollection) -> None:
    """Write out the names of types that are internal to our packages."""
    if isinstance(member, griffe.Attribute):
        member.annotation = expanded(member.annotation, member, modules)
    elif isinstance(member, griffe.Function):
        for each in member.parameters:
            each.annotation = expanded(each.annotation, member, modules)
        member.returns = expanded(member.returns, member, modules)


def expanded(
    annotation: griffe.Expr | str | None, scope: griffe.Object, modules: griffe.ModulesCollection
) -> griffe.Expr | str | None:
    """Return an annotation without internal names."""
    if annotation is None:
        return None
    node = _Expansion(scope, modules).visit(ast.parse(str(annotation), mode="eval").body)
    return griffe.get_annotation(node, parent=scope)


class _Expansion(ast.NodeTransformer):
    def __init__(self, scope: griffe.Object, modules: griffe.ModulesCollection) -> None:
        self.scope = scope
        self.modules = modules

    def visit_Name(self, node: ast.Name | ast.Attribute) -> ast.expr:
        first, *rest = ast.unparse(node).split(".")
        try:
            found = self.modules.get_member(".".join([self.scope.resolve(first), *rest]))
            found = found.final_target if found.is_alias else found
        except (griffe.NameResolutionError, griffe.AliasResolutionError, KeyError):  # a builtin, a framework's
            return node
        is_ours = found.path.partition(".")[0] in PACKAGES
        if not (is_ours and found.is_attribute and isinstance(found.value, griffe.Expr)):
            return node
        value = ast.parse(str(found.value), mode="eval").body
        if isinstance(value, ast.Call):  # a TypeVar
            return node
        return _Expansion(found.parent, self.modules).visit(value)

    visit_Attribute = visit_Name  # noqa: N815  # as ast names it

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id == "Annotated":
            return self.visit(node.slice.elts[0])
        self.generic_visit(node)
        return node
