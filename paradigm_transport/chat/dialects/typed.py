"""The type of a value that a model wrote as bare text: the schema of the tool decides."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from paradigm_transport.chat.json_repair import RepairedValue, parse
from paradigm_transport.messages import Tool

_ALIASES = {
    "array": ("arr", "list", "sequence", "tuple"),
    "boolean": ("bool",),
    "integer": ("int", "int32", "int64", "uint", "uint32", "uint64", "long", "short", "unsigned"),
    "null": ("none",),
    "number": ("float", "float32", "float64", "double", "decimal"),
    "object": ("dict", "map"),
    "string": ("str", "text", "char", "varchar", "enum"),
}
_TYPES = {alias: name for name, aliases in _ALIASES.items() for alias in (name, *aliases)}
_IN_ORDER = ("null", "integer", "number", "boolean", "object", "array", "string")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_COMBINING = ("anyOf", "oneOf", "allOf")
_MISFIT = object()


@dataclass(frozen=True, slots=True)
class Schema:
    """A JSON schema, or a part of one.

    Attributes:
        value: the schema; anything but a mapping says nothing.
        root: the whole schema, which references start from.
    """

    value: object
    root: object = field(repr=False)

    @classmethod
    def of_tool(cls, tools: Sequence[Tool], name: str | None) -> Schema:
        """Return the schema of a tool's arguments; one that says nothing if the tool is unknown."""
        parameters = next((tool.parameters for tool in tools if tool.name == name), None)
        return cls(parameters, parameters)

    @property
    def keys(self) -> Collection[str]:
        """The names of the properties; none if the schema does not say."""
        return {key: None for part in self._parts() for key in _mapping(part.get("properties"))}

    @property
    def types(self) -> set[str]:
        """The types of a value; none if the schema does not say."""
        return {name for part in self._parts() for name in _types_of(part)}

    @property
    def is_open(self) -> bool:
        """Whether the schema does not list the properties of an object."""
        return not any("properties" in part for part in self._parts())

    @property
    def required(self) -> set[str]:
        """The names of the properties that an object must have."""
        lists = (part.get("required") for part in self._parts())
        return {name for names in lists if isinstance(names, list) for name in names if isinstance(name, str)}

    @property
    def constants(self) -> list[object]:
        """The only values that are allowed; none if the schema does not say."""
        return [value for part in self._parts() for value in _constants_of(part)]

    def has(self, *keywords: str) -> bool:
        """Whether the schema holds one of some keywords, of a value itself."""
        return any(keyword in part for part in self._parts() for keyword in keywords)

    def property(self, key: str) -> Schema:
        """Return the schema of a property."""
        found = (_mapping(part.get("properties")).get(key) for part in self._parts())
        others = (part.get("additionalProperties") for part in self._parts())
        return self._first(*found, *others)

    def items(self) -> Schema:
        """Return the schema of a list's elements."""
        return self._first(*(part.get("items") for part in self._parts()))

    def read(self, text: str) -> object:
        """Read a value. The first type that fits wins; if none does, it is JSON, or else text."""
        types = self.types or {"string"}
        for name in _IN_ORDER:
            value = _read_as(name, text) if name in types else _MISFIT
            if value is not _MISFIT:
                return value
        return read_json(text, repair=False)

    def _first(self, *values: object) -> Schema:
        return Schema(next((value for value in values if isinstance(value, Mapping)), None), self.root)

    def _parts(self) -> Iterator[Mapping[str, Any]]:
        """Return the schema with all it refers to or combines."""
        to_do, seen = [self.value], set[str]()
        while to_do:
            part = to_do.pop()
            if not isinstance(part, Mapping):
                continue
            yield part
            reference = part.get("$ref")
            if isinstance(reference, str) and reference not in seen:  # schemas may refer to themselves
                seen.add(reference)
                to_do.append(_follow(reference, self.root))
            for keyword in _COMBINING:
                choices = part.get(keyword)
                to_do += reversed(choices) if isinstance(choices, list) else []


def read_json(text: str, *, repair: bool = True) -> object:
    """Read JSON; what is not JSON is text.

    Args:
        text: what the model wrote.
        repair: repair simple mistakes in objects and lists.
    """
    for written in (text, _repair(text)) if repair else (text,):
        try:
            value = parse(written)
            json.dumps(value, allow_nan=False)
        except ValueError:  # not JSON, NaN or infinity
            continue
        return value
    return text


def _repair(text: str) -> str:
    value = RepairedValue()
    stripped = text.strip()
    end = value.feed(stripped) if stripped[:1] in ("{", "[") else 0
    return value.text if value.is_complete and end == len(stripped) else text


def _read_as(name: str, text: str) -> object:
    word = text.strip()
    if name == "null":
        return None if word.lower() == "null" else _MISFIT
    if name == "boolean":
        return _BOOLEANS.get(word.lower(), _MISFIT)
    if name in ("integer", "number"):
        return _read_number(word, is_integer=name == "integer")
    if name == "string":
        return text
    value = read_json(text)
    return value if isinstance(value, dict if name == "object" else list) else _MISFIT


def _read_number(word: str, *, is_integer: bool) -> object:
    try:
        return int(word)
    except ValueError:
        pass
    try:
        number = float(word)
    except ValueError:
        return _MISFIT
    return _MISFIT if is_integer or not isfinite(number) else number


def _types_of(part: Mapping[str, Any]) -> Iterator[str]:
    declared = part.get("type")
    for name in declared if isinstance(declared, list) else [declared]:
        known = _TYPES.get(name.strip().lower()) if isinstance(name, str) else None
        if known is not None:
            yield known
    yield from map(_type_of, _constants_of(part))


def _constants_of(part: Mapping[str, Any]) -> list[object]:
    values = part.get("enum")
    return [*(values if isinstance(values, list) else ()), *([part["const"]] if "const" in part else ())]


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    kinds = (bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array")
    return next((name for kind, name in kinds if isinstance(value, kind)), "object")


def _follow(reference: str, root: object) -> object:
    """Return what a reference within the schema, such as `#/$defs/Place`, points to."""
    found = root if reference.startswith("#") else None
    for key in reference.split("/")[1:]:
        found = _mapping(found).get(key.replace("~1", "/").replace("~0", "~"))
    return found


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
