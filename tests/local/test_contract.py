"""Validation of requests, without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paradigm_local.contract import WHOLE_BODY, CompletionRequest, InvalidRequest, read_request


def errors(**fields: Any) -> dict[str, list[str]]:
    with pytest.raises(InvalidRequest) as caught:
        read_request(json.dumps({"model": "m", "prompt": "p", **fields}).encode(), CompletionRequest)
    return caught.value.errors


@pytest.mark.parametrize(
    ("fields", "messages"),
    [
        ({"stop": ["a", 1]}, {"stop": ["Input should be a valid string", "1: Input should be a valid string"]}),
        (
            {"stream_options": {"include_usage": 1}},
            {"stream_options": ["include_usage: Input should be a valid boolean"]},
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {}}},
            {"response_format": ["json_schema.schema: Field required"]},
        ),
        (
            {"structured_outputs": {"choice": ["a", 2]}},
            {"structured_outputs": ["choice.1: Input should be a valid string"]},
        ),
    ],
)
def test_message_says_where_in_the_field_the_mistake_is(fields: dict[str, Any], messages: dict[str, list[str]]) -> None:
    assert errors(**fields) == messages


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", 1),
        ("prompt", ["a", "b"]),
        ("prompt", ""),
        ("max_tokens", "5"),
        ("max_tokens", 1.5),
        ("max_tokens", -1),
        ("max_tokens", None),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "warm"),
        ("top_p", 0),
        ("top_p", 1.1),
        ("n", 0),
        ("n", 21),
        ("best_of", 0),
        ("best_of", 21),
        ("stream", "yes"),
        ("stream_options", []),
        ("stream_options", {"include_usage": 1}),
        ("logprobs", -1),
        ("logprobs", 21),
        ("logprobs", True),
        ("echo", 1),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", [1]),
        ("presence_penalty", 2.1),
        ("presence_penalty", -2.1),
        ("frequency_penalty", 2.1),
        ("frequency_penalty", -2.1),
        ("logit_bias", {"word": 1}),
        ("logit_bias", {"1": 101}),
        ("logit_bias", {"1": None}),
        ("logit_bias", [[1, 2]]),
        ("user", 7),
        ("seed", 1.5),
        ("seed", 2**63),
        ("top_k", -2),
        ("min_p", 1.1),
        ("repetition_penalty", 0),
        ("ignore_eos", None),
        ("structured_outputs", {}),
        ("structured_outputs", {"regex": "a", "choice": ["a"]}),
        ("structured_outputs", {"choice": []}),
        ("structured_outputs", {"json": "{}"}),
        ("response_format", {"type": "xml"}),
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": "text", "json_schema": {"schema": {}}}),
    ],
)
def test_refusal_of_an_invalid_value_names_its_field(field: str, value: Any) -> None:
    found = errors(**{field: value})
    assert list(found) == [field]
    assert all(found[field])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"suffix": ""}, "suffix"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream_options": {}}, "stream_options"),
        ({"n": 2, "best_of": 1}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"n": 2, "temperature": 0}, "n"),
        ({"best_of": 2, "temperature": 0}, "n"),
        (
            {"structured_outputs": {"regex": "a"}, "response_format": {"type": "json_object"}},
            "structured_outputs",
        ),
    ],
)
def test_contradicting_fields_are_refused(fields: dict[str, Any], field: str) -> None:
    assert list(errors(**fields)) == [field]


def test_refusal_names_all_invalid_fields() -> None:
    assert set(errors(temperature=3, top_p=0, prompt=1)) == {"temperature", "top_p", "prompt"}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff", b"[" * 10_000, b'{"prompt": "\\ud800"}']
)
def test_body_that_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_request(body, CompletionRequest)
    assert list(caught.value.errors) == [WHOLE_BODY]


def test_refusal_names_missing_fields() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_request(b"{}", CompletionRequest)
    assert set(caught.value.errors) == {"model", "prompt"}


def test_refusals_do_not_repeat_values() -> None:
    secret = "do not repeat me"
    found = errors(prompt=[secret], stop=[secret, 1], user=[secret], logit_bias={"1": secret})
    assert secret not in json.dumps(found)


def test_float_without_a_fraction_is_accepted_as_an_integer() -> None:
    assert (
        read_request(b'{"model": "m", "prompt": "p", "max_tokens": 3.0, "seed": -1e3}', CompletionRequest).max_tokens
        == 3
    )


@pytest.mark.parametrize("field", ["logprobs", "best_of", "seed", "structured_outputs", "stream_options"])
def test_null_is_accepted_for_fields_without_a_default(field: str) -> None:
    request = read_request(json.dumps({"model": "m", "prompt": "p", field: None}).encode(), CompletionRequest)
    assert getattr(request, field) is None
