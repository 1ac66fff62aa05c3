"""Parameters: types, ranges, merging, the request body."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, AliasChoices, BaseModel, Field

from paradigm_transport import CompletionParameters, InvalidParameterError
from paradigm_transport.arguments import Fields
from paradigm_transport.endpoints.completions.fields import MAX_STOPS, name_limit
from tests.transport.conftest import MODEL

OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": st.integers(1, 10**6),
    "temperature": st.floats(0, 2),
    "top_p": st.floats(0, 1, exclude_min=True),
    "n": st.integers(1, 4),
    "best_of": st.integers(4, 8),
    "logprobs": st.integers(0, 20),
    "echo": st.booleans(),
    "stop": st.text("ab", min_size=1, max_size=3) | st.lists(st.text("ab", min_size=1, max_size=3), max_size=8),
    "presence_penalty": st.floats(-2, 2),
    "frequency_penalty": st.floats(-2, 2),
    "logit_bias": st.dictionaries(st.integers(0, 9), st.floats(-100, 100), max_size=3),
    "user": st.text("ab", max_size=3),
    "suffix": st.text("ab", max_size=3),
    "extra_body": st.dictionaries(st.sampled_from(["top_k", "seed", "min_p"]), st.integers() | st.none(), max_size=3),
}
FIELDS = st.fixed_dictionaries({}, optional={name: st.none() | values for name, values in OPTIONAL.items()})


def body_of(parameters: CompletionParameters, **options: Any) -> dict[str, Any]:
    return json.loads(parameters.body("Hi", **options))


@given(FIELDS, FIELDS)
def test_merging_equals_construction_with_overrides(first: dict[str, Any], second: dict[str, Any]) -> None:
    expected = {**first, **second}
    if first.get("extra_body") and second.get("extra_body") is not None:
        expected["extra_body"] = {**first["extra_body"], **second["extra_body"]}
    merged = CompletionParameters(model=MODEL, **first).merged(second)
    assert merged == CompletionParameters(model=MODEL, **expected)
    assert merged.model_fields_set == {"model", *first, *second}
    assert body_of(merged) == body_of(CompletionParameters(model=MODEL, **expected))


@given(FIELDS, st.booleans(), st.booleans())
def test_body_holds_set_fields_and_no_nulls(fields: dict[str, Any], stream: bool, usage: bool) -> None:
    parameters = CompletionParameters(model=MODEL, **fields)
    body = body_of(parameters, stream=stream, stream_usage=usage)
    extra = fields.get("extra_body") or {}
    assert {name: body.pop(name) for name in extra} == extra
    assert None not in body.values()
    assert body.pop("prompt") == "Hi"
    assert body.pop("model") == MODEL
    assert body.pop("stream", False) is stream
    assert body.pop("stream_options", None) == ({"include_usage": True} if stream and usage else None)
    stops = fields.get("stop")
    stops = [stops] if isinstance(stops, str) else list(dict.fromkeys(stops or ()))
    sent = body.pop("stop", [])
    assert ([sent] if isinstance(sent, str) else sent) == stops[:MAX_STOPS]
    expected = {"max_tokens": 256, **fields}
    if expected.get("logit_bias") is not None:
        expected["logit_bias"] = {str(token): value for token, value in expected["logit_bias"].items()}
    names = set(OPTIONAL) - {"stop", "extra_body"}
    assert body == {name: expected[name] for name in names if expected.get(name) is not None}


@pytest.mark.parametrize(
    ("name", "low", "high", "beyond"),
    [
        ("temperature", 0, 2, [-0.01, 2.01, float("nan"), float("inf"), "hot"]),
        ("top_p", 0.0001, 1, [0, -0.1, 1.01, float("nan")]),
        ("presence_penalty", -2, 2, [-2.1, 2.1, float("nan")]),
        ("frequency_penalty", -2, 2, [-2.1, 2.1, float("-inf")]),
        ("max_tokens", 1, 10**9, [0, -5, 1.5, "many"]),
        ("n", 1, 100, [0, 1.5]),
        ("best_of", 1, 100, [0]),
        ("logprobs", 0, 100, [-1, 0.5]),
        ("user", "", "u", [5]),
        ("suffix", "", "s", [5]),
        ("echo", False, True, ["perhaps"]),
        ("stop", ["a"], "a", [5, [5], [""], "", {"a": 1}]),
        ("logit_bias", {}, {5: 1, "6": -100}, [{"a": float("nan")}, {"a": 100.5}, [5], "a"]),
        ("extra_body", {}, {"a": [None]}, [[], "a", {"prompt": "x"}]),
    ],
)
def test_values_outside_their_range_raise(name: str, low: Any, high: Any, beyond: list[Any]) -> None:
    base = CompletionParameters(model=MODEL)
    for good in (low, high, None):
        CompletionParameters(model=MODEL, **{name: good})
        base.merged({name: good})
    for bad in beyond:
        with pytest.raises(InvalidParameterError, match=name) as caught:
            CompletionParameters(model=MODEL, **{name: bad})
        assert caught.value.__context__ is None
        with pytest.raises(InvalidParameterError, match=name):
            base.merged({name: bad})


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"suffix": "a\ud800"}, "suffix"),
        ({"extra_body": {"seed": object()}}, "seed"),
        ({"extra_body": {"a\ud800": 1}}, "extra_body"),
    ],
)
def test_value_that_json_cannot_encode_raises_with_its_name(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"^{name} cannot be encoded as JSON"):
        CompletionParameters(model=MODEL, **fields).body("Hi")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("temprature", "did you mean temperature?"),
        ("max_new_tokens", "here it is max_tokens"),
        ("max_completion_tokens", "here it is max_tokens"),
        ("stream_options", "here it is stream_usage"),
        ("reasoning_effort", 'it is a field of some servers: extra_body={"reasoning_effort": ...}'),
        ("seed", 'it is a field of some servers: extra_body={"seed": ...}'),
        ("qqqq", "fields beyond Paradigm's own go into extra_body"),
    ],
)
def test_unknown_argument_raises_with_hint(name: str, hint: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        CompletionParameters(model=MODEL, **{name: 1})
    assert str(caught.value) == f"unknown argument {name}; {hint}"


def test_name_of_another_class_is_no_hint_for_an_argument_that_is_missing_here() -> None:
    with pytest.raises(InvalidParameterError, match=r"^unknown argument base_address; (?!here it is)"):
        CompletionParameters(model=MODEL, base_address="host")


def odd(value: int) -> int:
    raise ValueError("It must be even")


class Own(Fields):
    plain: int = 0
    described: int = Field(default=0, description="How many. Further words.")
    aliased: int = Field(default=0, validation_alias=AliasChoices("other", "another"), description="Not named.")
    checked: Annotated[int, AfterValidator(odd)] = Field(default=0, description="A number.")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plain", "plain: input should be a valid integer"),
        ("described", "described: input should be a valid integer (how many)"),
        ("other", "other: input should be a valid integer"),
        ("checked", "checked: it must be even"),
    ],
)
def test_problem_names_the_argument_and_what_it_means(name: str, message: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        Own(**{name: 1.0 if name == "checked" else None})
    assert str(caught.value) == message


def test_field_with_a_name_of_a_framework_is_refused() -> None:
    class Framework(BaseModel):
        cache: bool = False

        def invoke(self) -> None: ...

    for name in ("cache", "invoke"):
        ours = type("Ours", (Fields,), {"__annotations__": {name: int}, name: 0, "__module__": __name__})
        with pytest.raises(TypeError, match=f"^Both: Framework already has {name}$"):
            type("Both", (ours, Framework), {"__module__": __name__})
    both = type("Both", (Own, Framework), {"__annotations__": {"cache": bool}, "cache": True, "__module__": __name__})
    assert both().cache  # a class of both may give it another default


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(InvalidParameterError, match=r"(?s)model is required.*; temperature: .*; n: "):
        CompletionParameters(temperature=5, n=0)


def test_stops_keep_their_order_without_duplicates() -> None:
    assert CompletionParameters(model=MODEL, stop=["b", "a", "b"]).stop == ["b", "a"]
    assert CompletionParameters(model=MODEL, stop={"a"}).stop == ["a"]
    assert CompletionParameters(model=MODEL, stop=[]).stop is None


def test_merging_leaves_original_unchanged() -> None:
    base = CompletionParameters(model=MODEL, extra_body={"seed": 1}, stop=["a"])
    base.merged({"extra_body": {"seed": 2}, "stop": ["b"], "n": 2})
    assert base == CompletionParameters(model=MODEL, extra_body={"seed": 1}, stop=["a"])


def test_merging_subclass_keeps_only_fields_of_endpoint() -> None:
    class Adapter(CompletionParameters):
        more: int = 5

    merged = Adapter(model=MODEL, more=6, n=2).merged({"top_p": 0.5})
    assert merged == CompletionParameters(model=MODEL, n=2, top_p=0.5)


def test_merging_keeps_what_belongs_to_the_request_alone() -> None:
    base = CompletionParameters(model=MODEL, extra_headers={"X-Team": "a"}, timeout=5)
    merged = base.merged({"n": 2})
    assert (merged.extra_headers, merged.timeout, merged.n) == ({"X-Team": "a"}, 5, 2)
    assert "timeout" not in CompletionParameters(model=MODEL).merged({"n": 2}).model_fields_set


def test_further_stops_come_before_and_after_those_given() -> None:
    base = CompletionParameters(model=MODEL, stop=["b"])
    assert base.with_stops(first=["a", "b"], last=["c"]).stop == ["a", "b", "c"]
    assert base.with_stops(last=["b"]) is base
    assert CompletionParameters(model=MODEL).with_stops(last=["c"]).stop == ["c"]


def test_extra_body_wins_over_its_defaults() -> None:
    assert CompletionParameters(model=MODEL).with_extra_body({"seed": 1}).extra_body == {"seed": 1}
    base = CompletionParameters(model=MODEL, extra_body={"seed": 2})
    assert base.with_extra_body({"seed": 1, "top_k": 3}).extra_body == {"seed": 2, "top_k": 3}


def test_limit_is_named_with_its_value_if_it_has_one() -> None:
    assert name_limit(None) == "max_tokens"
    assert name_limit(5) == "max_tokens (5)"
