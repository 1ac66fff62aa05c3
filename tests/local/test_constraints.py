"""Schemas, patterns and grammars, checked before the model is asked."""

from __future__ import annotations

from typing import Any

import pytest

from paradigm_local.constraints import grammar
from paradigm_local.contract import CompletionRequest, InvalidRequest


def written(**fields: Any) -> str | None:
    return grammar(CompletionRequest.model_validate({"model": "m", "prompt": "p", **fields}))


@pytest.mark.parametrize(
    "outputs",
    [
        {"regex": "(("},
        {"regex": "(?=look)ahead"},
        {"json": {"type": "nonsense"}},
        {"json": {"$ref": "#/nowhere"}},
        {"json": {"not": {}}},
        {"json": {"$ref": "https://example.invalid/schema"}},
        {"grammar": "root ::= ["},
        {"grammar": "root ::= missing"},
        {"grammar": 'other ::= "a"'},
        {"grammar": "root ::= " + "(" * 5000 + '"a"' + ")" * 5000},
        {"json": {"enum": [10**5000]}},
    ],
)
def test_what_cannot_be_enforced_is_refused(outputs: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        written(structured_outputs=outputs)
    (message,) = caught.value.errors["structured_outputs"]
    assert message


def test_a_refused_response_format_is_told_by_its_field() -> None:
    with pytest.raises(InvalidRequest) as caught:
        written(response_format={"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}})
    assert list(caught.value.errors) == ["response_format"]


@pytest.mark.parametrize("pattern", ["a/b", r"a\/b", "a\nb", r"\\/", "é☃", '"'])
def test_any_pattern_can_stand_in_a_grammar(pattern: str) -> None:
    assert written(structured_outputs={"regex": pattern})


def test_nothing_is_written_where_anything_goes() -> None:
    assert written() is None
    assert written(response_format={"type": "text"}) is None
