"""Schemas, patterns and grammars, and how the text is checked against them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from paradigm_local.constraints import Constraint, read_constraint
from paradigm_local.contract import CompletionRequest, InvalidRequest
from tests.local.conftest import Caller
from tests.local.fake import FakeEngine

Serve = Callable[..., Caller]


def read(**fields: Any) -> Constraint | None:
    return read_constraint(CompletionRequest.model_validate({"model": "m", "prompt": "p", **fields}))


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
        {"json": {"$ref": "#"}},
        {"grammar": 'root ::= root "a"'},
        {"choice": ["x" * 100_000]},
        # These would keep llama.cpp busy for ever.
        {"json": {"type": "array", "items": {"type": "string"}, "maxItems": 10**9}},
        {"json": {"type": "integer", "multipleOf": 123456789}},
        {"json": {"type": "number", "multipleOf": 0.00012345}},
        {"json": {"type": "integer", "multipleOf": 10**9}},
        {"json": {"allOf": [{"type": "integer", "multipleOf": number} for number in (7, 11, 13, 17)]}},
    ],
)
def test_constraint_that_cannot_be_enforced_is_refused(outputs: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(structured_outputs=outputs)
    (message,) = caught.value.errors["structured_outputs"]
    assert message


def test_refusal_of_a_response_format_names_its_field() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(response_format={"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}})
    assert list(caught.value.errors) == ["response_format"]


def checker(**fields: Any) -> Callable[[str], bool]:
    found = read(**fields)
    assert found is not None
    return found.checker()


@pytest.mark.parametrize(
    ("pattern", "text"), [("a/b", "a/b"), (r"a\/b", "a/b"), ("a\nb", "a\nb"), (r"\\/", "\\/"), ("é☃", "é☃"), ('"', '"')]
)
def test_any_regular_expression_works_as_a_grammar(pattern: str, text: str) -> None:
    matches = checker(structured_outputs={"regex": pattern})
    assert all(matches(character) for character in text)
    assert not matches("more")


def test_checkers_of_one_constraint_are_independent() -> None:
    found = read(structured_outputs={"choice": ["yes", "no"]})
    assert found is not None
    first, second = found.checker(), found.checker()
    assert first("y")
    assert second("n")
    assert first("es")
    assert not second("es")


@pytest.mark.parametrize("number", [1000, 0.25, 0.0125, 1e-9])
def test_multiple_of_a_moderate_number_is_accepted(number: float) -> None:
    assert read(structured_outputs={"json": {"type": "number", "multipleOf": number}})


def test_json_has_the_white_space_of_json_dumps() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}}}
    for text, is_allowed in {'{"a": 1, "b": true}': True, '{\n"a": 1}': False, '{"a":  1}': False}.items():
        constraint = read(structured_outputs={"json": schema})
        assert constraint is not None
        assert constraint.checker()(text) is is_allowed


def test_request_without_a_constraint_has_none() -> None:
    assert read() is None
    assert read(response_format={"type": "text"}) is None


@pytest.mark.parametrize("stream", [False, True])
def test_text_that_violates_its_constraint_is_not_returned(serve: Serve, stream: bool) -> None:
    caller = serve(FakeEngine(["no"]))
    refusal = caller.refused(stream=stream, structured_outputs={"choice": ["yes"]})
    assert refusal == {"structured_outputs": ["The model did not follow this constraint, which may be too complex."]}


def test_stream_that_violates_its_constraint_ends_with_an_error(serve: Serve) -> None:
    caller = serve(FakeEngine(["y", "o"]))
    first, error, done, _ = caller.post(stream=True, structured_outputs={"choice": ["yes"]}).text.split("\n\n")
    assert '"text":"y"' in first
    assert "did not follow this constraint" in error
    assert done == "data: [DONE]"


def test_constraint_that_llama_drops_is_an_error(caller: Caller) -> None:
    # The masks of this grammar are too large for llama.cpp, which then ignores it.
    refusal = caller.refused(structured_outputs={"json": {"type": "string", "format": "uri"}}, max_tokens=20)
    assert list(refusal) == ["structured_outputs"]
