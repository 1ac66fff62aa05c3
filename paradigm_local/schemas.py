"""JSON schemas as parts of grammars in Lark's notation."""

import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal

_MAX_NUMBER = 1000
_TIGHT = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
"""White space as in `json.dumps`. If any amount were allowed, a small model might generate nothing else."""

_COUNTS = ("minItems", "maxItems", "minProperties", "maxProperties")


def json_expression(schema: Mapping[str, object]) -> str:
    """Return the expression of JSON of a schema.

    Raises:
        ValueError: the schema has numbers that keep llama.cpp busy for ever.
    """
    numbers = list(_numbers_in(schema))
    if any(number > _MAX_NUMBER for keyword, number in numbers if keyword in _COUNTS):
        raise ValueError(f"{', '.join(_COUNTS)} may be at most {_MAX_NUMBER}.")
    # The product, because a multiple of several numbers may be a multiple of their product.
    if math.prod(_without_point(number) for keyword, number in numbers if keyword == "multipleOf") > _MAX_NUMBER:
        raise ValueError(
            f"The product of all multipleOf may be at most {_MAX_NUMBER}, with their decimal points removed."
        )
    return f"%json {json.dumps({**_TIGHT, **schema})}"


def _numbers_in(schema: object) -> Iterator[tuple[str, float]]:
    """Yield all numbers in a schema, with their keywords."""
    if isinstance(schema, list):
        for part in schema:
            yield from _numbers_in(part)
    elif isinstance(schema, dict):
        for keyword, value in schema.items():
            if isinstance(value, (int, float)):
                yield keyword, value
            yield from _numbers_in(value)


def _without_point(number: float) -> int:
    """Return the number with its decimal point removed: 125 for 0.125."""
    _, digits, exponent = Decimal(str(number)).normalize().as_tuple()
    zeros: int = 10 ** max(int(exponent), 0)
    return int("".join(map(str, digits))) * zeros
