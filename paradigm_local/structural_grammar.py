"""Translation of structural tags into grammars in Lark's notation."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llguidance.gbnf_to_lark import gbnf_to_lark

from paradigm_local.schemas import json_expression
from paradigm_local.structural_tags import (
    ConstString,
    Format,
    Grammar,
    JsonSchemaValue,
    Or,
    Sequence,
    StructuralTag,
    Tag,
    TagsWithSeparator,
    TriggeredTags,
)
from paradigm_transport.chat.dialects.typed import Schema
from paradigm_transport.json_object import JsonObject

_ANY_TEXT = r"/(.|\n)*/"
_KEYWORDS = {"type", "properties", "required", "additionalProperties", "$defs", "definitions"}
_NOTES = {"title", "description", "default", "examples", "$schema"}
_LIMITS_OF_TEXT = ("pattern", "format", "minLength", "maxLength")
_KEY, _IS_TEXT = "KEY", "IS_TEXT"


@dataclass(frozen=True)
class _Style:
    """How the properties of an object are tagged; line breaks may be missing.

    Attributes:
        begin: stands before a value, with KEY for its name, and with IS_TEXT if it says whether the value is text or
            JSON.
        end: stands behind it.
    """

    begin: str
    end: str

    def open(self, key: str, *, is_text: bool) -> str:
        """Return the expression of what stands before a value."""
        begin = self.begin.replace(_IS_TEXT, str(is_text).lower())
        return _loose(begin).replace(_KEY, json.dumps(key)[1:-1])


_STYLES = {
    "qwen_xml": _Style("<parameter=KEY>\n", "\n</parameter>\n"),
    "minimax_xml": _Style('<parameter name="KEY">', "</parameter>\n"),
    "deepseek_xml": _Style('<｜DSML｜parameter name="KEY" string="IS_TEXT">', "</｜DSML｜parameter>\n"),
    "glm_xml": _Style("<arg_key>KEY</arg_key>\n<arg_value>", "</arg_value>\n"),
}


def structural_grammar(tag: StructuralTag) -> str:
    """Return the grammar of a structural tag, without a header.

    Raises:
        ValueError: it cannot be enforced.
    """
    rules = _Rules()
    root = rules.expression(tag.format)
    return "\n".join([f"start: {root}", *rules.written])


class _Rules:
    """Collects the rules of formats.

    Attributes:
        written: the rules.
    """

    def __init__(self) -> None:
        self.written: list[str] = []

    def expression(self, form: Format) -> str:
        """Return the expression of a format."""
        match form:
            case ConstString():
                return json.dumps(form.value)
            case Grammar():
                return self._add(f"%lark {{\n{gbnf_to_lark(form.grammar)}\n}}")
            case JsonSchemaValue():
                return self._value(form)
            case Sequence():
                return " ".join(map(self.expression, form.elements))
            case Or():
                return _either(map(self.expression, form.elements))
            case TriggeredTags():
                return self._triggered(form)
            case TagsWithSeparator():
                return self._separated(form)
        return self._tag(form)

    def _add(self, expression: str, attributes: str = "", name: str = "part") -> str:
        """Add a rule; return its name."""
        name = f"{name}{len(self.written)}"
        self.written.append(f"{name}{attributes}: {expression}")
        return name

    def _tag(self, tag: Tag, begun: str = "") -> str:
        """Return the expression of a tag, some of whose beginning is there already."""
        begin = json.dumps(tag.begin.removeprefix(begun))
        return f"{begin} {self.expression(tag.content)} {json.dumps(tag.end)}"

    def _separated(self, form: TagsWithSeparator) -> str:
        tag = self._add(_either(map(self._tag, form.tags)))
        more = "" if form.stop_after_first else f" ({json.dumps(form.separator)} {tag})*"
        return f"({tag}{more})" + "?" * (not form.at_least_one)

    def _triggered(self, form: TriggeredTags) -> str:
        (trigger,) = form.triggers
        if not all(tag.begin.startswith(trigger) for tag in form.tags):
            raise ValueError("Each tag of triggered_tags must begin with the trigger.")
        tag = f"({self._up_to(trigger)} {_either(self._tag(tag, trigger) for tag in form.tags)})"
        plain = self._add(f"{_ANY_TEXT} & ~({_ANY_TEXT} {json.dumps(trigger)} {_ANY_TEXT})", name="PLAIN")
        if form.stop_after_first:
            return tag if form.at_least_one else f"({tag} | {plain}?)"
        return f"({tag}{'+' if form.at_least_one else '*'} {plain}?)"

    def _up_to(self, end: str) -> str:
        """Return the rule of a text and what ends it, which it does not contain."""
        return self._add(_ANY_TEXT, f"[suffix={json.dumps(end)}]")

    # Values

    def _value(self, form: JsonSchemaValue) -> str:
        if form.style == "json":
            return self._add(json_expression(form.json_schema))
        schema, style = Schema(form.json_schema, form.json_schema), _STYLES[form.style]
        if unknown := form.json_schema.keys() - _KEYWORDS - _NOTES:
            raise ValueError(f"The style {form.style} cannot be combined with {', '.join(sorted(unknown))}.")
        if not schema.required <= set(schema.keys):
            raise ValueError(f"The style {form.style} needs a schema for each required property.")
        if schema.is_open and form.json_schema.get("additionalProperties") is not False:
            return self._open(style)
        return " ".join(self._property(style, key, schema) for key in schema.keys) or '""'

    def _open(self, style: _Style) -> str:
        """Return the expression of any properties."""
        forms = self._forms(style, _KEY, Schema(None, None))
        return _either(forms).replace(_KEY, '" /[a-zA-Z_][a-zA-Z0-9_]*/ "') + "*"

    def _property(self, style: _Style, key: str, parameters: Schema) -> str:
        """Return the expression of a property."""
        schema = parameters.property(key)
        constants = [self._constant(style, key, value) for value in schema.constants]
        return _either(constants or self._forms(style, key, schema)) + "?" * (key not in parameters.required)

    def _forms(self, style: _Style, key: str, schema: Schema) -> list[str]:
        """Return the expressions of a property as text and as JSON; the latter only if text does not cover it."""
        forms = []
        is_text = "string" in schema.types or not schema.types
        if is_text and schema.has(*_LIMITS_OF_TEXT):
            raise ValueError(f"Tagged text cannot have a {', '.join(_LIMITS_OF_TEXT[:-1])} or {_LIMITS_OF_TEXT[-1]}.")
        if is_text:
            forms.append(f"{style.open(key, is_text=True)} {self._text(style)}")
        if not is_text or (_IS_TEXT in style.begin and schema.types != {"string"}):
            value = self._add(json_expression(_whole(schema)))
            forms.append(f"{style.open(key, is_text=False)} {value} {_loose(style.end)}")
        return forms

    def _constant(self, style: _Style, key: str, value: object) -> str:
        is_text = isinstance(value, str)
        written = json.dumps(value if is_text else json.dumps(value))
        return f"{style.open(key, is_text=is_text)} {written} {_loose(style.end)}"

    def _text(self, style: _Style) -> str:
        """Return the expression of a text and what stands behind it."""
        mark = style.end.strip()
        return f"{self._up_to(mark)} {_loose(style.end.partition(mark)[2])}"


def _whole(schema: Schema) -> JsonObject:
    """Return a part of a schema with the definitions that it may refer to."""
    root, part = (value if isinstance(value, Mapping) else {} for value in (schema.root, schema.value))
    return {**{keyword: root[keyword] for keyword in ("$defs", "definitions") if keyword in root}, **part}


def _loose(text: str) -> str:
    """Return the expression of a text whose line breaks may be missing."""
    return r' "\n"? '.join(json.dumps(line) for line in text.split("\n"))


def _either(expressions: Iterable[str]) -> str:
    return f"({' | '.join(expressions)})"
