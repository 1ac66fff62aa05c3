"""Structured output: JSON schemas, the instruction to follow one, and another attempt if the answer does not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from paradigm_transport.chat.json_repair import find_objects
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Message, Tool, to_json

T = TypeVar("T")


def schema_of(kind: type[BaseModel]) -> JsonObject:
    """Return the JSON schema of a pydantic class, at its root even if the class refers to itself.

    Raises:
        InvalidParameterError: it is that of something other than an object, as of a `RootModel[list[str]]`.
    """
    schema = kind.model_json_schema(schema_generator=_WithoutFieldTitles)
    reference = schema.pop("$ref", None)
    whole = schema if reference is None else {**schema["$defs"][reference.split("/")[-1]], **schema}
    check_object(whole)
    return whole


def check_object(schema: Mapping[str, object]) -> None:
    """Check that a JSON schema may be that of an object, as the arguments of a tool and structured output are.

    Raises:
        InvalidParameterError: it is not.
    """
    kind = schema.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise InvalidParameterError(
            f"the schema must be that of an object, not of type {kind!r}: make the value a field of an object"
        )


def tool_of(kind: type[BaseModel]) -> Tool:
    """Return a tool whose arguments are an object of a pydantic class."""
    schema = schema_of(kind)
    return Tool(schema.pop("title", kind.__name__), schema.pop("description", ""), schema)


def api_name(title: str) -> str:
    """Return a title as OpenAI's API and Mistral's take a name: at most 64 letters without accents, digits, _ and -.

    That of a generic class, such as `Page[City]`, is not one.
    """
    return _NOT_IN_NAMES.sub("_", title)[:64]


_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")


class _WithoutFieldTitles(GenerateJsonSchema):
    """Leaves out the titles of fields, which repeat the names."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def call_schema(
    tools: Sequence[Tool],
    *,
    name: str = "name",
    arguments: str = "arguments",
    number: str = "",
    name_is_key: bool = False,
) -> JsonObject:
    """Return the JSON schema of a call of one of some tools.

    Args:
        tools: the tools.
        name: the key of the tool's name.
        arguments: the key of its arguments.
        number: a key before them, of a string; empty for none.
        name_is_key: the only key is the tool's name, of its arguments.

    Raises:
        InvalidParameterError: as `check_depth`.
    """
    definitions: JsonObject = {}
    calls = []
    for tool in tools:
        parameters = _with_objects(closed(tool.parameters), partial(_prefix_reference, f"{tool.name}."))
        for keyword in ("$defs", "definitions"):  # references start at the root of the whole schema
            own = parameters.pop(keyword, {})
            definitions.update({f"{tool.name}.{key}": schema for key, schema in own.items()})
        call = {number: {"type": "string"}} if number else {}
        call |= {tool.name: parameters} if name_is_key else {name: {"const": tool.name}, arguments: parameters}
        calls.append(_closed({"type": "object", "properties": call, "required": list(call)}))
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**schema, "$defs": definitions} if definitions else schema


def _prefix_reference(prefix: str, schema: JsonObject) -> JsonObject:
    """Prefix the definition that a schema refers to: two tools may use one name for two things."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith(("#/$defs/", "#/definitions/")):
        return {**schema, "$ref": f"#/$defs/{prefix}{reference.split('/', 2)[2]}"}
    return schema


MAX_DEPTH = 200
"""The most levels of a JSON schema, each an object or a list of the JSON: pydantic encodes no more than 255."""


def check_depth(schema: Mapping[str, object]) -> None:
    """Check that a JSON schema is not nested so deeply that it cannot be read or sent.

    Raises:
        InvalidParameterError: it has more than `MAX_DEPTH` levels.
    """
    level: dict[int, Any] = {id(schema): schema}  # each once: a schema may hold itself
    for _ in range(MAX_DEPTH):
        if not level:
            return
        parts = [part if isinstance(part, list) else part.values() for part in level.values()]
        values = (value for part in parts for value in part if not isinstance(value, str))  # most are, and this is fast
        level = {id(value): value for value in values if isinstance(value, (dict, list, Mapping))}
    if level:
        raise InvalidParameterError(
            f"the schema is nested more than {MAX_DEPTH} levels deep: flatten it, or refer to its parts by $ref"
        )


def closed(schema: Mapping[str, object]) -> JsonObject:
    """Return a schema whose objects have no more than the named properties, unless the schema allows others.

    Under a schema that leaves this open, a small model goes on with properties it invents.

    Raises:
        InvalidParameterError: as `check_depth`.
    """
    check_depth(schema)
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


def schema_instruction(schema: Mapping[str, object]) -> str:
    """Return the instruction that asks for an object of a JSON schema.

    Raises:
        InvalidParameterError: as `check_depth`.
    """
    check_depth(schema)
    return f"Answer with nothing but a JSON object of this JSON schema:\n{to_json(schema)}"


def read_object(
    text: str, check: Callable[[str], T], *, schema: Mapping[str, Any] | None = None, is_cut: bool = False
) -> T:
    """Return what a check makes of the last JSON object in an answer that passes it.

    Before the object that was asked for, a model may write its schema, or a draft.

    Args:
        text: the answer.
        check: reads an object; raises a ValueError if it does not fit.
        schema: the schema that was asked for: objects that lack its keys are left out, unless all do.
        is_cut: the answer was cut off at `max_tokens`.

    Raises:
        InvalidJSONError: there is no object, or it does not end.
        ValueError: what the check raises of the first object, if none passes.
    """
    objects = find_objects(text, is_cut=is_cut)
    first, *others = [written for written, value in objects if _has_keys(value, schema or {})] or [objects[0][0]]
    for each in reversed(others):
        try:
            return check(each)
        except ValueError:
            pass
    return check(first)


def _has_keys(value: object, schema: Mapping[str, Any]) -> bool:
    keys = value.keys() if isinstance(value, dict) else set()
    properties = schema.get("properties") or {}
    return keys >= set(schema.get("required") or ()) and not (properties and keys.isdisjoint(properties))


def explain(problem: ValueError) -> str:
    """Say what is wrong with an object to the model that wrote it, without the object's values."""
    if not isinstance(problem, ValidationError):
        return str(problem)
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, error["loc"])), error["msg"])))
        for error in problem.errors(include_input=False, include_url=False)
    )


def repair_messages(answer: str, problem: str) -> list[Message]:
    """Return what to add to a chat for another attempt at an answer that does not fit.

    Args:
        answer: what the model wrote.
        problem: what is wrong with it.
    """
    return [Message("assistant", answer), Message("user", _repair_request(problem))]


def repair_prompt(prompt: str, answer: str, problem: str) -> str:
    """Return a prompt for another attempt, with the words of `repair_messages`.

    Args:
        prompt: the prompt that was answered.
        answer: what the model wrote.
        problem: what is wrong with it.
    """
    return f"{prompt}\n\nThis was the answer:\n{answer}\n\n{_repair_request(problem)}"


def _repair_request(problem: str) -> str:
    return f"That cannot be used: {problem}. Correct this and answer again."
