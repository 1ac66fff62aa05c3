"""A value that a model wrote as text gets its type from the tool's schema."""

from __future__ import annotations

from typing import Any

import pytest

from paradigm_transport.chat.dialects.typed import Schema, read_json
from paradigm_transport.messages import Tool


def typed(text: str, schema: Any, root: Any = None) -> Any:
    return Schema(schema, root or schema).read(text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "7", "7"),
        ("string", "null", "null"),
        ("string", '{"a": 1}', '{"a": 1}'),
        ("string", " a\n", " a\n"),
        ("integer", "7", 7),
        ("integer", " -7\n", -7),
        ("integer", "7.5", 7.5),
        ("integer", "seven", "seven"),
        ("integer", "+1_000", 1000),
        ("integer", '{"a": 1}', {"a": 1}),
        ("integer", "{'a': 1}", "{'a': 1}"),
        ("number", "7", 7),
        ("number", "7.5", 7.5),
        ("number", "1e3", 1000),
        ("number", ".5", 0.5),
        ("integer", ".5", ".5"),
        ("number", "NaN", "NaN"),
        ("number", "-Infinity", "-Infinity"),
        ("number", "1e999", "1e999"),
        ("boolean", "true", True),
        ("boolean", "FALSE", False),
        ("boolean", "1", True),
        ("boolean", "0", False),
        ("boolean", "yes", "yes"),
        ("null", "Null", None),
        ("null", "nothing", "nothing"),
        ("object", '{"a": [1]}', {"a": [1]}),
        ("object", "{'a': True}", {"a": True}),
        ("object", "[1]", [1]),
        ("object", '{"a": NaN}', '{"a": NaN}'),
        ("object", '{"a"', '{"a"'),
        ("array", "[1, 2]", [1, 2]),
        ("array", "[1, 2,]", [1, 2]),
        ("array", "a, b", "a, b"),
        ("array", "[1] [2]", "[1] [2]"),
        ("int", "7", 7),
        ("float", "7.5", 7.5),
        ("bool", "True", True),
        ("dict", "{}", {}),
        ("list", "[]", []),
        ("str", "7", "7"),
        ("something", "7", "7"),
    ],
)
def test_value_has_the_type_of_the_schema(kind: str, text: str, value: Any) -> None:
    found = typed(text, {"type": kind})
    assert found == value
    assert type(found) is type(value) or kind == "number"


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({}, "7", "7"),
        (None, "7", "7"),
        (True, "7", "7"),
        ({"description": "A number."}, "7", "7"),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "integer"]}, "7", 7),
        ({"type": ["string", "integer"]}, "7a", "7a"),
        ({"type": ["array", "string"]}, "5", "5"),
        ({"type": ["boolean", "integer"]}, "1", 1),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "null", None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "7", 7),
        ({"oneOf": [{"type": "object"}, {"type": "string"}]}, "{}", {}),
        ({"allOf": [{"type": "number"}, {"minimum": 0}]}, "7", 7),
        ({"enum": [1, 2]}, "2", 2),
        ({"enum": ["1", "2"]}, "2", "2"),
        ({"enum": [None, "a"]}, "null", None),
        ({"enum": [[1], {"a": 1}, 1.5, True]}, "true", True),
        ({"const": 7}, "7", 7),
        ({"type": "integer"}, "9" * 5000, "9" * 5000),
        ({"type": "array"}, "[" * 5000, "[" * 5000),
    ],
)
def test_types_are_gathered_from_all_of_a_schema(schema: Any, text: str, value: Any) -> None:
    found = typed(text, schema)
    assert (found, type(found)) == (value, type(value))


def test_references_are_followed() -> None:
    root = {
        "$defs": {
            "Place": {"type": "object", "properties": {"zip": {"type": "integer"}, "next": {"$ref": "#/$defs/Place"}}},
            "a/b": {"type": "boolean"},
            "Loop": {"$ref": "#/$defs/Loop"},
        },
        "properties": {
            "place": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
            "flag": {"$ref": "#/$defs/a~1b"},
            "loop": {"$ref": "#/$defs/Loop"},
            "gone": {"$ref": "#/$defs/Gone"},
            "far": {"$ref": "https://example.org/schema"},
        },
    }
    schema = Schema(root, root)
    assert schema.property("place").read('{"zip": 1}') == {"zip": 1}
    assert schema.property("place").read("null") is None
    assert schema.property("place").property("next").property("zip").read("7") == 7
    assert schema.property("flag").read("true") is True
    assert [schema.property(name).read("7") for name in ("loop", "gone", "far", "unknown")] == ["7"] * 4


def test_properties_and_elements_have_their_schemas() -> None:
    schema = Schema.of_tool(
        [
            Tool(
                "f",
                "",
                {
                    "allOf": [{"properties": {"n": {"type": "integer"}}}],
                    "properties": {"l": {"type": "array", "items": {"type": "number"}}},
                    "additionalProperties": {"type": "boolean"},
                },
            )
        ],
        "f",
    )
    assert schema.property("n").read("7") == 7
    assert schema.property("l").items().read("7.5") == 7.5
    assert schema.property("other").read("true") is True
    assert set(schema.keys) == {"l", "n"}


def test_unknown_tool_has_no_types() -> None:
    schema = Schema.of_tool([], "f")
    assert (schema.property("n").read("7"), list(schema.keys), schema.types) == ("7", [], set())


@pytest.mark.parametrize(
    ("text", "value"),
    [('"a"', "a"), ("a", "a"), ("7", 7), ("{'a': None,}", {"a": None}), ("NaN", "NaN"), ("", ""), ('"\\ud800"',) * 2],
)
def test_json_is_repaired_or_text(text: str, value: Any) -> None:
    assert read_json(text) == value
