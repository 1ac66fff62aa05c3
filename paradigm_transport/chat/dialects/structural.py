"""The values of vLLM's `structured_outputs` that hold calls to the schemas of their tools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from paradigm_transport.chat.structured import closed
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Tool, to_json


def tag(begin: str, schema: JsonObject, end: str = "", *, style: str = "json") -> JsonObject:
    """Return a structural tag: a text, a value of a schema, and another text.

    Args:
        begin: the text before the value.
        schema: the value's JSON schema.
        end: the text behind the value.
        style: how the value is written: `json`, or one of the server's ways of tagging arguments.
    """
    content: JsonObject = {"type": "json_schema", "json_schema": closed(schema)}
    if style != "json":
        content["style"] = style
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def one_of(tags: Sequence[JsonObject]) -> JsonObject:
    """Return the constraint of an answer that is one of several tags."""
    return _structural(either(tags))


def among_text(triggers: Sequence[str], tags: Sequence[JsonObject], *, parallel: bool) -> JsonObject:
    """Return the constraint of an answer of text and tags, in which a trigger begins a tag.

    Args:
        triggers: texts, one of which each tag begins with.
        tags: the tags.
        parallel: several tags are allowed; else the answer ends with the first.
    """
    form = {"type": "triggered_tags", "triggers": list(triggers), "tags": list(tags)}
    return _structural({**form, "at_least_one": False, "stop_after_first": not parallel})


def call_or_object(calls: JsonObject, schema: Mapping[str, Any]) -> JsonObject:
    """Return the constraint of an answer that is one call or an object.

    Args:
        calls: the constraint of calls among text.
        schema: the object's JSON schema.
    """
    tags = json.loads(calls["structural_tag"])["format"]["tags"]
    return _structural(either([{"type": "json_schema", "json_schema": closed(schema)}, *tags]))


def either(formats: Sequence[JsonObject]) -> JsonObject:
    """Return the format of one of several formats."""
    return formats[0] if len(formats) == 1 else {"type": "or", "elements": list(formats)}


def repeated(tags: Sequence[JsonObject], *, at_least_one: bool = False, parallel: bool = True) -> JsonObject:
    """Return the format of tags one after another.

    Args:
        tags: the tags.
        at_least_one: there must be one.
        parallel: there may be several.
    """
    form = {"type": "tags_with_separator", "tags": list(tags), "separator": ""}
    return {**form, "at_least_one": at_least_one, "stop_after_first": not parallel}


def constant(text: str) -> JsonObject:
    """Return the format of a text."""
    return {"type": "const_string", "value": text}


def sequence(formats: Sequence[JsonObject]) -> JsonObject:
    """Return the constraint of an answer of formats one after another."""
    return _structural({"type": "sequence", "elements": list(formats)})


def parameters_of(tools: Sequence[Tool], name: str) -> JsonObject:
    """Return the schema of the arguments of the tool with a name."""
    return next(tool.parameters for tool in tools if tool.name == name)


def _structural(form: JsonObject) -> JsonObject:
    return {"structural_tag": to_json({"type": "structural_tag", "format": form})}
