"""Grammars of calls that a server enforces: the calls of the schema, and nothing else."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from paradigm_transport.chat.dialects import call_forms as forms
from paradigm_transport.chat.dialects.base import CallFormat
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Tool, ToolCall

llguidance = pytest.importorskip("llguidance")
gbnf_to_lark = pytest.importorskip("llguidance.gbnf_to_lark").gbnf_to_lark

PLACE = {
    "type": "object",
    "properties": {"zip": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]}},
    "required": ["zip"],
}
PROPERTIES = {
    "city": {"type": "string"},
    "days": {"type": "integer"},
    "ratio": {"type": "number"},
    "detailed": {"type": "boolean"},
    "unit": {"enum": ["C", 1, None]},
    "place": {"$ref": "#/$defs/Place"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "options": {"type": "object"},
    "any": {},
}
WEATHER = Tool(
    "get_weather",
    "",
    {"$defs": {"Place": PLACE}, "type": "object", "properties": PROPERTIES, "required": ["city", "days"]},
)
TOOLS = [
    WEATHER,
    Tool("time"),
    Tool("find", "", {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}),
    Tool("free", "", {"type": "object"}),
]
FORMS = [forms.PYTHONIC, forms.LLAMA_4, forms.OLMO_3, forms.LFM_2, forms.GEMMA_4, forms.FUNCTION_GEMMA]

ALL: JsonObject = {
    "city": 'Oslo, "é" 😀',
    "days": -3,
    "ratio": 1.5,
    "detailed": True,
    "unit": None,
    "place": {"zip": 1, "next": {"zip": 2, "next": None}},
    "tags": ["a", "b"],
    "options": {"k": [1, {"a": None}]},
    "any": [False],
}
RIGHT = [
    ("get_weather", ALL),
    ("get_weather", {"city": "Oslo", "days": 0}),
    ("get_weather", {"city": "", "days": 12, "tags": [], "any": "x"}),
    ("time", {}),
    ("find", {}),
    ("find", {"b": 1}),
    ("find", {"a": "x", "b": 1}),
    ("free", {"x": 1, "y": ["z"]}),
]
WRONG = [
    ("get_weather", {"city": "Oslo"}),
    ("get_weather", {"city": 1, "days": 1}),
    ("get_weather", {"city": "Oslo", "days": 1.5}),
    ("get_weather", {"city": "Oslo", "days": 1, "unit": "F"}),
    ("get_weather", {"city": "Oslo", "days": 1, "place": {}}),
    ("get_weather", {"city": "Oslo", "days": 1, "town": "Oslo"}),
    ("time", {"x": 1}),
    ("find", {"b": "x"}),
    ("other", {}),
]


def accepts(grammar: str, text: str) -> bool:
    """Whether a grammar allows a text, as a server's grammar engine sees it."""
    lark = llguidance.LLMatcher.grammar_from_lark(gbnf_to_lark(grammar))
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), lark, log_level=0)
    tokens = list(text.encode())
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


def written(form: CallFormat, *named: tuple[str, dict[str, Any]], name: str | None = None) -> str:
    """Write calls from where the prefill ends."""
    text = form.write([ToolCall("id", tool, arguments) for tool, arguments in named])
    assert text.startswith(form.prefill(name))
    return text.removeprefix(form.prefill(name))


@pytest.mark.parametrize("form", FORMS)
def test_forced_call_follows_the_schema(form: CallFormat) -> None:
    constraint = form.constraint(TOOLS, None, parallel=False)
    assert constraint is not None
    grammar = constraint["grammar"]
    assert [call for call in RIGHT if not accepts(grammar, written(form, call))] == []
    assert [call for call in WRONG if accepts(grammar, written(form, call))] == []
    assert not accepts(grammar, "Well, no.")
    assert not accepts(grammar, written(form, *RIGHT[:2]))


@pytest.mark.parametrize("form", FORMS)
def test_forced_call_of_one_tool_begins_with_its_arguments(form: CallFormat) -> None:
    for name, arguments in RIGHT:
        constraint = form.constraint(TOOLS, name, parallel=False)
        assert constraint is not None
        assert accepts(constraint["grammar"], written(form, (name, arguments), name=name))
        assert not accepts(constraint["grammar"], written(form, RIGHT[3]))


@pytest.mark.parametrize("form", FORMS)
def test_several_calls_may_follow_if_they_are_parallel(form: CallFormat) -> None:
    constraint = form.constraint(TOOLS, None, parallel=True)
    assert constraint is not None
    assert accepts(constraint["grammar"], written(form, *RIGHT))
    assert not accepts(constraint["grammar"], written(form, *RIGHT, WRONG[0]))


@pytest.mark.parametrize("form", FORMS)
def test_offered_calls_follow_the_schema_between_their_marks(form: CallFormat) -> None:
    offer = form.offer(TOOLS, parallel=True)
    if form is forms.PYTHONIC:
        assert offer is None
        return
    assert offer is not None
    structure = json.loads(offer["structural_tag"])["format"]
    (block,) = structure["tags"]
    text = form.write([ToolCall("id", *RIGHT[0])])
    assert text.startswith(block["begin"])
    assert text.endswith(block["end"])
    assert block["begin"].startswith(structure["triggers"][0])
    content = text[len(block["begin"]) : len(text) - len(block["end"])]
    assert accepts(block["content"]["grammar"], content)


@pytest.mark.parametrize("form", FORMS)
def test_optional_arguments_come_in_order_and_any_may_be_missing(form: CallFormat) -> None:
    keys = ["a", "b", "c"]
    tool = Tool("f", "", {"type": "object", "properties": {key: {"type": "integer"} for key in keys}})
    constraint = form.constraint([tool], "f", parallel=False)
    assert constraint is not None
    orders = [order for count in range(4) for order in itertools.permutations(keys, count)]
    for order in orders:
        text = written(form, ("f", dict.fromkeys(order, 1)), name="f")
        assert accepts(constraint["grammar"], text) is (list(order) == sorted(order))


@pytest.mark.parametrize("form", FORMS)
def test_grammar_grows_linearly_with_the_number_of_optional_arguments(form: CallFormat) -> None:
    def length(count: int) -> int:
        properties = {f"property{number:03}": {"type": "string"} for number in range(count)}
        constraint = form.constraint([Tool("f", "", {"type": "object", "properties": properties})], None, parallel=True)
        return len((constraint or {})["grammar"])

    assert length(400) < 5 * length(100)


@pytest.mark.parametrize("form", FORMS)
def test_long_chain_of_definitions_becomes_a_grammar(form: CallFormat) -> None:
    """Each refers to the next: such a schema is not nested, and as valid as a short one."""
    count = 400
    definitions = {
        f"D{number}": {"type": "object", "properties": {"next": {"$ref": f"#/$defs/D{number + 1}"}}}
        for number in range(count)
    }
    definitions[f"D{count}"] = {"type": "integer"}
    properties = {"first": {"$ref": "#/$defs/D0"}}
    tool = Tool("f", "", {"$defs": definitions, "type": "object", "properties": properties})
    constraint = form.constraint([tool], "f", parallel=False)
    assert constraint is not None
    assert accepts(constraint["grammar"], written(form, ("f", {"first": {"next": {"next": {}}}}), name="f"))
    assert not accepts(constraint["grammar"], written(form, ("f", {"first": {"next": 1}}), name="f"))
