"""Structural tags, and so the calls of all model families whose constraints are such."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from paradigm_local.constraints import Constraint, read_constraint
from paradigm_local.contract import CompletionRequest, InvalidRequest, read_request
from paradigm_transport.chat.dialects.base import CallFormat
from paradigm_transport.chat.dialects.rows import ROWS
from paradigm_transport.messages import ToolCall
from tests.transport.test_call_grammars import RIGHT, TOOLS, WRONG

WORD = {"type": "grammar", "grammar": "root ::= [a-c]+"}
NUMBER = {"type": "json_schema", "json_schema": {"type": "integer"}}
AS_TEXT = ("get_weather", {"city": 1, "days": 1})  # between tags, text is whatever stands there


def const(text: str) -> dict[str, Any]:
    return {"type": "const_string", "value": text}


def tag(begin: str, content: Any = NUMBER, end: str = ">") -> dict[str, Any]:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def tags(kind: str, *members: Any, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "tags": list(members), **fields}


def tagged(style: str, **schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "style": style, "json_schema": {"type": "object", **schema}}


def read_outputs(outputs: dict[str, Any]) -> Constraint:
    body = json.dumps({"model": "m", "prompt": "p", "structured_outputs": outputs})
    constraint = read_constraint(read_request(body.encode(), CompletionRequest))
    assert constraint is not None
    return constraint


def read(form: object) -> Constraint:
    structure = {"type": "structural_tag", "format": form}
    return read_outputs({"structural_tag": json.dumps(structure)})


def matched(constraint: Constraint, text: str) -> tuple[str, bool]:
    """Return how much of a text matches, and whether the constraint may end there."""
    matcher = constraint._matcher()
    tokens = list(text.encode())
    count = matcher.try_consume_tokens(tokens)
    return bytes(tokens[:count]).decode(errors="ignore"), matcher.is_accepting()


def accepts(constraint: Constraint, text: str) -> bool:
    return matched(constraint, text) == (text, True)


TEXT_OR_NUMBER = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
COLOUR = {"enum": ["red", 1, None]}


@pytest.mark.parametrize(
    ("form", "right", "wrong"),
    [
        (const('a"\n'), ['a"\n'], ["a", ""]),
        (tag("<"), ["<12>"], ["<a>", "12", "<12"]),
        (tag("", WORD, ""), ["abc"], ["", "d"]),
        ({"type": "sequence", "elements": [const("a"), tag("<", WORD)]}, ["a<b>"], ["a", "<b>"]),
        ({"type": "or", "elements": [const("a"), tag("<")]}, ["a", "<1>"], ["a<1>", ""]),
        (
            tags("tags_with_separator", tag("<"), tag("(", WORD, ")"), separator=", "),
            ["", "<1>", "<1>, (a), <2>"],
            ["<1><2>", "<1>, "],
        ),
        (tags("tags_with_separator", tag("<"), at_least_one=True), ["<1>", "<1><2>"], [""]),
        (tags("tags_with_separator", tag("<"), stop_after_first=True), ["", "<1>"], ["<1><2>"]),
        (
            tags("triggered_tags", tag("<n="), tag("<w=", WORD), triggers=["<"]),
            ["", "no tag > here", "a <n=1> b <w=c><n=2> d\n"],
            ["a < b", "<n=a>", "<n=1> <"],
        ),
        (tags("triggered_tags", tag("<<"), triggers=["<<"]), ["a < b <<1> <", "<"], ["<<<1>"]),
        (tags("triggered_tags", tag("<"), triggers=["<"], at_least_one=True), ["a<1>b<2>c"], ["a", ""]),
        (
            tags("triggered_tags", tag("<"), triggers=["<"], stop_after_first=True),
            ["a<1>", "a", ""],
            ["<1>a", "<1><2>"],
        ),
        (
            tags("triggered_tags", tag("<"), triggers=["<"], stop_after_first=True, at_least_one=True),
            ["a<1>", "<1>"],
            ["a", "", "<1>a"],
        ),
        (
            tagged("qwen_xml", properties={"a b": {"type": "string"}, "n": {"type": "integer"}}, required=["n"]),
            [
                "<parameter=n>1</parameter>",
                "<parameter=a b>\n<p>\nx</p>\n</parameter>\n<parameter=n>\n1\n</parameter>\n",
            ],
            ["", "<parameter=a b>x</parameter>", "<parameter=n>x</parameter>", "<parameter=m>1</parameter>"],
        ),
        (
            tagged("minimax_xml", properties={"c": COLOUR}),
            ["", *(f'<parameter name="c">{value}</parameter>' for value in ("red", "1", "null"))],
            [f'<parameter name="c">{value}</parameter>' for value in ('"red"', "2", "\nred\n")],
        ),
        (
            tagged("deepseek_xml", properties={"v": TEXT_OR_NUMBER, "c": COLOUR}),
            [
                f'<｜DSML｜parameter name="{name}" string="{is_text}">{value}</｜DSML｜parameter>'
                for name, is_text, value in [
                    ("v", "true", "x"),
                    ("v", "false", "1"),
                    ("c", "true", "red"),
                    ("c", "false", "1"),
                ]
            ],
            [
                f'<｜DSML｜parameter name="{name}" string="{is_text}">{value}</｜DSML｜parameter>'
                for name, is_text, value in [("v", "false", "x"), ("c", "false", "red"), ("c", "true", "1")]
            ],
        ),
        (
            tagged("glm_xml"),
            ["", "<arg_key>any</arg_key><arg_value>x</arg_value>" * 2],
            ["<arg_key>1</arg_key><arg_value>x</arg_value>", "x"],
        ),
        (tagged("glm_xml", additionalProperties=False), [""], ["<arg_key>a</arg_key><arg_value>x</arg_value>"]),
        (
            tagged("glm_xml", properties={"p": {"$ref": "#/$defs/P"}}, **{"$defs": {"P": {"type": "boolean"}}}),
            ["<arg_key>p</arg_key>\n<arg_value>true</arg_value>"],
            ["<arg_key>p</arg_key>\n<arg_value>1</arg_value>"],
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_structural_tag_allows_the_texts_of_its_format(form: Any, right: Sequence[str], wrong: Sequence[str]) -> None:
    constraint = read(form)
    assert [text for text in right if not accepts(constraint, text)] == []
    assert [text for text in wrong if accepts(constraint, text)] == []


@pytest.mark.parametrize(
    "form",
    [
        None,
        {"type": "any_text"},
        {"type": "const_string", "value": 1},
        {**const("a"), "unknown": 1},
        {"type": "or", "elements": []},
        tags("triggered_tags", tag("<"), triggers=[]),
        tags("triggered_tags", tag("<"), triggers=["<", "("]),
        tags("triggered_tags", tag("("), triggers=["<"]),
        tag("<", {"type": "grammar", "grammar": "root ::= ["}),
        tag("<", {"type": "json_schema", "json_schema": {"type": "nonsense"}}),
        tag("<", tagged("other_xml")),
        tagged("qwen_xml", anyOf=[]),
        tagged("qwen_xml", properties={}, required=["a"]),
        tagged("qwen_xml", properties={"a": {"type": "string", "pattern": "a+"}}),
        tagged("qwen_xml", properties={"a": {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "null"}]}}),
        tagged("qwen_xml", properties={"a": {"type": "integer", "multipleOf": 10**9}}),
    ],
)
def test_format_that_cannot_be_enforced_is_refused(form: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(form)
    assert all(caught.value.errors["structured_outputs"])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": {}}'])
def test_text_that_is_not_a_structural_tag_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_outputs({"structural_tag": text})
    assert all(caught.value.errors["structured_outputs"])


# The calls of model families


def written(form: CallFormat, call: tuple[str, dict[str, Any]]) -> str:
    return form.write([ToolCall("id", *call)])


OFFERS = [row for row in ROWS if row.calls.offer(TOOLS, parallel=True) is not None]
TAGGED = [row for row in ROWS if getattr(row.calls, "style", None) is not None]


@pytest.mark.parametrize("form", [pytest.param(row.calls, id=row.name) for row in OFFERS])
def test_offered_calls_of_each_family_are_held_to_their_schemas(form: CallFormat) -> None:
    constraint = read_outputs(form.offer(TOOLS, parallel=True) or {})
    assert [call for call in RIGHT if not accepts(constraint, f"Well.{written(form, call)}")] == []
    assert [call for call in WRONG if call != AS_TEXT and accepts(constraint, f"Well.{written(form, call)}")] == []


@pytest.mark.parametrize("form", [pytest.param(row.calls, id=row.name) for row in TAGGED])
@pytest.mark.parametrize("name", ["get_weather", None], ids=["named", "any"])
def test_forced_calls_of_each_tagging_family_are_held_to_their_schemas(form: CallFormat, name: str | None) -> None:
    def forced(call: tuple[str, dict[str, Any]]) -> str:
        return written(form, call).removeprefix(form.prefill(name))

    for parallel in (False, True):
        constraint = read_outputs(form.constraint(TOOLS, name, parallel=parallel) or {})
        of_tool = [call for call in RIGHT if name in (None, call[0])]
        assert [call for call in of_tool if not accepts(constraint, forced(call))] == []
        assert [call for call in WRONG if call != AS_TEXT and accepts(constraint, forced(call))] == []
        twice = form.write([ToolCall("id", *of_tool[0])] * 2).removeprefix(form.prefill(name))
        assert accepts(constraint, twice) is parallel
