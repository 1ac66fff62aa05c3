"""Grammars of calls for vLLM, of forms that it knows no schema's style for: EBNF made of the tools' schemas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paradigm_transport.chat.dialects.typed import Schema
from paradigm_transport.chat.structured import check_depth
from paradigm_transport.messages import Tool, to_json

_NUMBER = """integer ::= "-"? ("0" | [1-9] [0-9]*)
number ::= integer ("." [0-9]+)? ([eE] [-+]? [0-9]+)?"""


@dataclass(frozen=True)
class Notation:
    """How a form writes arguments.

    Attributes:
        string: the rule of a string.
        write: writes a constant.
        write_key: writes a key within a value.
        comma: stands between parts.
        assign: stands between the name of an argument and its value.
        colon: stands between a key within a value and what it is the key of.
        key: the rule of a key within a value; `name` is that of an argument.
    """

    string: str
    write: Callable[[object], str]
    write_key: Callable[[str], str]
    comma: str
    assign: str
    colon: str
    key: str


class ArgumentGrammar:
    """Collects the rules of values.

    Args:
        notation: how the values are written.
    """

    def __init__(self, notation: Notation) -> None:
        self._notation = notation
        self._rules: dict[str, str] = {}
        self._names: dict[int, str] = {}  # schemas may refer to themselves
        self._unwritten: list[tuple[str, Schema]] = []  # a rule each, which may lead to more

    def calls(self, tools: Sequence[Tool], begin: str, end: str, begun: int = 0) -> str:
        """Return an expression of a call of one of some tools.

        Args:
            tools: the tools.
            begin: stands before the arguments, with NAME for the tool's name.
            end: stands behind them.
            begun: how many of its characters are written already.

        Raises:
            InvalidParameterError: as `check_depth`.
        """
        calls = []
        for tool in tools:
            check_depth(tool.parameters)
            schema = Schema(tool.parameters, tool.parameters)
            opening = begin.replace("NAME", tool.name)[begun:]
            members = self._members(schema, self._notation.assign, lambda key: key)
            calls.append(" ".join(filter(None, (_literal(opening), members, _literal(end)))))
        return f"({' | '.join(calls)})"

    def write(self, root: str) -> str:
        """Return the grammar.

        Args:
            root: the expression of all of it.
        """
        while self._unwritten:
            name, schema = self._unwritten.pop()
            self._rules[name] = self._choices(schema)
        notation = self._notation
        words = [_literal(notation.write(word)) for word in (True, False, None)]
        comma, colon = _literal(notation.comma), _literal(notation.colon)
        rules = {
            "string": notation.string,
            "key": notation.key,
            "boolean": f"{words[0]} | {words[1]}",
            "null": words[2],
            "name": "[a-zA-Z_] [a-zA-Z0-9_]*",
            "list": f'"[" (any ({comma} any)*)? "]"',
            "object": f'"{{" (key {colon} any ({comma} key {colon} any)*)? "}}"',
            "any": "string | number | boolean | null | list | object",
            **self._rules,
        }
        return "\n".join([f"root ::= {root}", *(f"{name} ::= {rule}" for name, rule in rules.items()), _NUMBER])

    def _members(self, schema: Schema, joint: str, write_key: Callable[[str], str]) -> str:
        """Return an expression of the properties of an object: those that are required, then others in order."""
        comma = _literal(self._notation.comma)
        if schema.is_open:
            member = f"name {_literal(joint)} any"
            return f"({member} ({comma} {member})*)?"
        members = {
            key: f"{_literal(write_key(key) + joint)} {self._value(schema.property(key))}" for key in schema.keys
        }
        first = [member for key, member in members.items() if key in schema.required]
        others = [member for key, member in members.items() if key not in schema.required]
        if first:
            return f" {comma} ".join(first) + "".join(f" ({comma} {member})?" for member in others)
        return f"{self._some(others)}?" if others else ""

    def _some(self, members: Sequence[str]) -> str:
        """Return the name of the rule of one or more members in order; one rule for each tail, so that none repeats."""
        name = ""
        for member in reversed(members):
            rule = f"{member} ({_literal(self._notation.comma)} {name})? | {name}" if name else member
            name = f"members{len(self._rules)}"
            self._rules[name] = rule
        return name

    def _value(self, schema: Schema) -> str:
        """Return the name of the rule of a value."""
        if schema.value is None:
            return "any"
        name = self._names.get(id(schema.value))
        if name is None:
            name = self._names[id(schema.value)] = f"value{len(self._names)}"
            self._unwritten.append((name, schema))
        return name

    def _choices(self, schema: Schema) -> str:
        choices = [_literal(self._notation.write(value)) for value in schema.constants]
        for kind in sorted(schema.types) if not choices else ():
            if kind == "array":
                item = self._value(schema.items())
                choices.append(f'"[" ({item} ({_literal(self._notation.comma)} {item})*)? "]"')
            elif kind == "object" and schema.keys:
                members = self._members(schema, self._notation.colon, self._notation.write_key)
                choices.append(f'"{{" {members} "}}"')
            else:
                choices.append(kind)
        return " | ".join(choices) or "any"


def _literal(text: str) -> str:
    return to_json(text) if text else ""
