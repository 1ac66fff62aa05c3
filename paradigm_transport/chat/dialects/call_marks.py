"""The marks around calls that are written as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class CallMarks:
    """The marks around calls.

    Attributes:
        begins: marks that begin one call or several.
        ends: marks that end them. Without any, a call ends with its JSON, and several with their list.
        wraps: marks around all calls of an answer, which may be missing.
        words: words that may stand between a mark and the object.
        header: what stands between mark and arguments, in families that write the name there, with single spaces for
            all white space; its groups are `name` and perhaps `id`.
        result: a mark that begins a result. A model that writes it behind a call invents the result.
        needs_end: a call that ends the answer without its mark is not whole.
        name_is_key: calls are objects of the name and the arguments.
        named: the tools' names of marks that begin the call of one tool.
    """

    begins: tuple[str, ...]
    ends: tuple[str, ...] = ()
    wraps: tuple[str, ...] = ()
    words: tuple[str, ...] = ("json",)  # as code fences have it
    header: re.Pattern[str] | None = None
    result: str = ""
    needs_end: bool = False
    name_is_key: bool = False
    named: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def all(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(dict.fromkeys(filter(None, (*self.begins, *self.ends, *self.wraps, self.result))))
