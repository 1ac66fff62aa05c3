"""JSON schemas: of pydantic classes, of calls, and closed to properties that they do not name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from paradigm_transport.messages import JsonObject, Tool


def schema_of(kind: type[BaseModel]) -> JsonObject:
    """Return the JSON schema of a pydantic class, at its root even if the class refers to itself."""
    schema = kind.model_json_schema(schema_generator=_WithoutFieldTitles)
    reference = schema.pop("$ref", None)
    return schema if reference is None else {**schema["$defs"][reference.split("/")[-1]], **schema}


def tool_of(kind: type[BaseModel]) -> Tool:
    """Return a tool whose arguments are an object of a pydantic class."""
    schema = schema_of(kind)
    return Tool(schema.pop("title"), schema.pop("description", ""), schema)


class _WithoutFieldTitles(GenerateJsonSchema):
    """Leaves out the titles of fields, which repeat the names."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def call_schema(tools: Sequence[Tool]) -> JsonObject:
    """Return the JSON schema of a call of one of some tools: an object with its `name` and `arguments`."""
    definitions: JsonObject = {}
    calls = []
    for tool in tools:
        parameters = closed(_with_objects(tool.parameters, partial(_prefix_reference, f"{tool.name}.")))
        for keyword in ("$defs", "definitions"):  # references start at the root of the whole schema
            own = parameters.pop(keyword, {})
            definitions.update({f"{tool.name}.{name}": schema for name, schema in own.items()})
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, "arguments": parameters},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**schema, "$defs": definitions} if definitions else schema


def _prefix_reference(prefix: str, schema: JsonObject) -> JsonObject:
    """Prefix the definition that a schema refers to: two tools may use one name for two things."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith(("#/$defs/", "#/definitions/")):
        return {**schema, "$ref": f"#/$defs/{prefix}{reference.split('/', 2)[2]}"}
    return schema


def closed(schema: Mapping[str, object]) -> JsonObject:
    """Return a schema whose objects have no more than the named properties, unless the schema allows others.

    Under a schema that leaves this open, a small model goes on with properties it invents.
    """
    # If several schemas make up an object, each lacks what another names.
    return _closed(dict(schema)) if _combines(schema) else _with_objects(schema, _closed)


def _with_objects(schema: Mapping[str, object], change: Callable[[JsonObject], JsonObject]) -> JsonObject:
    """Return a schema with each object in it changed, the inner ones first."""

    def changed(value: object) -> object:
        if isinstance(value, list):
            return [changed(part) for part in value]
        return _with_objects(value, change) if isinstance(value, Mapping) else value

    return change({keyword: changed(value) for keyword, value in schema.items()})


def _combines(schema: object) -> bool:
    """Whether several schemas make up one object, anywhere in a schema."""
    if isinstance(schema, list):
        return any(map(_combines, schema))
    if not isinstance(schema, Mapping):
        return False
    parts = schema.get("allOf")
    count = sum(word in schema for word in ("properties", "anyOf", "oneOf", "$ref"))
    count += len(parts) if isinstance(parts, list) else 0
    return count > 1 or "not" in schema or "if" in schema or any(map(_combines, schema.values()))


def _closed(schema: JsonObject) -> JsonObject:
    has_more = any(word in schema for word in ("$ref", "allOf", "anyOf", "oneOf", "patternProperties"))
    is_open = schema.get("type") == "object" and "properties" in schema and not has_more
    return {"additionalProperties": False, **schema} if is_open else schema
