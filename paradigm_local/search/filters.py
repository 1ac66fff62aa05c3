"""The filters of a search over what `paradigm.json` says: content types and attributes, as Paradigm reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from operator import ge, gt, le, lt
from typing import Any

from paradigm_local.search.folder import Description, Value

_SCOPED = re.compile(r"content_type\(([^)]*)\)\.(.*)", re.DOTALL)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {">=": ge, "<=": le, ">": gt, "<": lt}
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def has_content_type(description: Description, wanted: Sequence[str]) -> bool:
    """Return whether a document has any of the content types, or one below any of them."""
    return any(_is_below(path, each) for path in description.content_types for each in wanted)


def _is_below(path: str, wanted: str) -> bool:
    if "*" in wanted:
        return fnmatchcase(path, wanted.replace("[", "[[]").replace("?", "[?]"))
    return path == wanted or path.startswith(f"{wanted}:")


def has_attributes(description: Description, entries: Sequence[str]) -> bool:
    """Return whether a document fits every entry of `attribute`."""
    return all(_fits(description, entry) for entry in entries)


def _fits(description: Description, entry: str) -> bool:
    scoped = _SCOPED.fullmatch(entry)
    if scoped is not None:
        if not has_content_type(description, [scoped[1]]):
            return False
        entry = scoped[2]
    name, colon, alternatives = entry.partition(":")
    value = description.attributes.get(name)
    if value is None or not colon:
        return value is not None
    values = value if isinstance(value, list) else [value]
    return any(_is_like(each, wanted) for each in values for wanted in re.split("[|,]", alternatives))


def _is_like(value: Value, wanted: str) -> bool:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    for sign, compare in _COMPARISONS.items():
        if wanted.startswith(sign):
            return _compare(text, wanted.removeprefix(sign), compare)
    if wanted.endswith("*"):
        sought, folded = wanted.strip("*").casefold(), text.casefold()
        return sought in folded if wanted.startswith("*") else folded.startswith(sought)
    return text == wanted or (bool(_DATE.match(text)) and text.startswith(f"{wanted}-"))


def _compare(text: str, limit: str, compare: Callable[[Any, Any], bool]) -> bool:
    try:
        return compare(float(text), float(limit))
    except ValueError:  # dates, which are in order as text
        return compare(text, limit)
