"""What the text must look like, as a grammar that llama.cpp enforces.

llama.cpp goes on without a word where it cannot read such a grammar or where it grows too complex, and some sizes keep
it busy for ever. So each grammar is checked first, and each text is followed while it is generated.
"""

import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from llguidance import LLMatcher, LLTokenizer, regex_to_lark
from llguidance.gbnf_to_lark import gbnf_to_lark

from paradigm_local.contract import CompletionRequest, InvalidRequest, StructuredOutputs

_HEADER = "%llguidance {}\n"  # by this llama.cpp knows the notation
_BYTES = LLTokenizer("byte")
_LARGEST_NUMBER = 1000
_LONGEST_GRAMMAR = 100_000
_TIGHT = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
"""White space as `json.dumps` has it: where any is allowed, a small model may write nothing else to the end."""

_COUNTS = ("minItems", "maxItems", "minProperties", "maxProperties")


class Constraint:
    """What the text must look like.

    Args:
        field: the field of the request that says so.
        lark: a grammar in Lark's notation, as llguidance reads it.

    Attributes:
        field: the same.
        lark: the same.

    Raises:
        ValueError: the grammar is wrong or too long, or there is no text that it allows.
    """

    def __init__(self, field: str, lark: str) -> None:
        if len(lark) > _LONGEST_GRAMMAR:
            raise ValueError(f"Written as a grammar this has more than {_LONGEST_GRAMMAR} characters.")
        complaint = LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(lark))
        if complaint:
            raise ValueError(complaint)
        self.field = field
        self.lark = lark
        matcher = self._matcher()
        matcher.compute_logit_bias()
        if matcher.is_error():
            raise ValueError("No text can be like this.")

    def follow(self) -> Callable[[str], bool]:
        """Follow a text from its beginning: say of each piece whether it keeps to the grammar."""
        matcher = self._matcher()
        return lambda piece: bool(matcher.consume_tokens(list(piece.encode())))

    def _matcher(self) -> LLMatcher:
        return LLMatcher(_BYTES, LLMatcher.grammar_from_lark(self.lark), log_level=0)

    def lost(self) -> InvalidRequest:
        """The refusal for a text that does not keep to the grammar."""
        return InvalidRequest({self.field: ["The model did not keep to this: it may be too complex."]})


def constraint(request: CompletionRequest) -> Constraint | None:
    """Give what the text must look like; None where anything goes. May take a second.

    Raises:
        InvalidRequest: the schema, pattern or grammar is wrong, or asks for what cannot be enforced.
    """
    field = "response_format" if request.structured_outputs is None else "structured_outputs"
    try:
        lark = _lark(request)
        return None if lark is None else Constraint(field, lark)
    except Exception as error:  # the converter raises plain ones
        raise InvalidRequest({field: [str(error)]}) from error


def _lark(request: CompletionRequest) -> str | None:
    if request.structured_outputs is not None:
        return _structured(request.structured_outputs)
    if request.response_format.json_schema is not None:
        return _json(request.response_format.json_schema.schema_)
    if request.response_format.type == "json_object":
        return _json({"type": "object"})
    return None


def _structured(outputs: StructuredOutputs) -> str:
    if outputs.json_ is not None:
        return _json(outputs.json_)
    if outputs.regex is not None:
        return f"{_HEADER}start: /{regex_to_lark(outputs.regex)}/"
    if outputs.choice is not None:
        return f"{_HEADER}start: {' | '.join(map(json.dumps, outputs.choice))}"
    return gbnf_to_lark(outputs.grammar or "")


def _json(schema: dict[str, Any]) -> str:
    numbers = list(_numbers(schema))
    if any(number > _LARGEST_NUMBER for keyword, number in numbers if keyword in _COUNTS):
        raise ValueError(f"{', '.join(_COUNTS)} may be at most {_LARGEST_NUMBER} here.")
    # Together, too: a number that is a multiple of several is one of their product.
    if math.prod(_scaled(number) for keyword, number in numbers if keyword == "multipleOf") > _LARGEST_NUMBER:
        raise ValueError(f"multipleOf may have a product of at most {_LARGEST_NUMBER} here, decimal points left out.")
    return f"{_HEADER}start: %json {json.dumps({**_TIGHT, **schema})}"


def _numbers(schema: Any) -> Iterator[tuple[str, float]]:
    """All numbers of a schema, with their keywords."""
    if isinstance(schema, list):
        for part in schema:
            yield from _numbers(part)
    elif isinstance(schema, dict):
        for keyword, value in schema.items():
            if isinstance(value, (int, float)):
                yield keyword, value
            yield from _numbers(value)


def _scaled(number: float) -> int:
    """The number without its decimal point: 125 for 0.125."""
    _, digits, exponent = Decimal(str(number)).normalize().as_tuple()
    zeros: int = 10 ** max(int(exponent), 0)
    return int("".join(map(str, digits))) * zeros
