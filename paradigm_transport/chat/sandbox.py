"""The sandbox of chat templates in Jinja: what a template may call, and how much work it may make.

Jinja's own sandbox keeps a template from the process, but not from its time and memory. Here each step of a template
that repeats or enlarges something is paid for before it is done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from functools import wraps
from typing import Any, cast

import jinja2
from jinja2 import nodes, pass_context
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_WORK = 20_000_000
"""What one rendering may make: characters, and steps at `_STEP` characters each. Long prompts may have more."""
_PER_CHARACTER = 30
_PER_MESSAGE = 30_000

_STEP = 100
_left: ContextVar[int] = ContextVar("work left", default=MAX_WORK)

_GROWING = {"center", "expandtabs", "format", "format_map", "join", "ljust", "replace", "rjust", "translate", "zfill"}
_CHEAP = {"append", "get", "items", "keys", "values"}
_COMPARING = {"count", "index", "remove"}
"""Of the methods of lists and dicts, those that look at no more than one item, and those that compare all."""
_WIDE = re.compile(r"%[^%a-zA-Z]*(\*|\d{5})|\{[^{}]*\d{5}")  # in a format

_FRAME = ("_loop_vars", "_block_vars")  # what Jinja adds to the arguments of a call
_PASSED = (Context, jinja2.Environment, nodes.EvalContext)  # what filters get before the value

_KEEPING = {
    "attr", "batch", "count", "d", "default", "dictsort", "first", "groupby", "items", "last", "length", "list", "map",
    "max", "min", "random", "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "sort", "sum", "unique",
}  # fmt: skip
"""Filters that hand on what they get; the others write all of it."""


class TooMuchWorkError(ValueError):
    """A template makes more work than it may."""


class RefusedError(ValueError):
    """A template has called `raise_exception`."""


def start(texts: Sequence[str] = ()) -> None:
    """Begin a compilation, or the rendering of messages with these texts."""
    _left.set(MAX_WORK + _PER_CHARACTER * sum(map(len, texts)) + _PER_MESSAGE * len(texts))


def _pay(work: int) -> None:
    left = _left.get() - work
    _left.set(left)
    if left < 0:
        raise TooMuchWorkError


def _size(value: object) -> int:
    """Return how long a value is when it is written, and pay for that."""
    size, left = 0, _left.get()
    rest = [value]
    while rest and size <= left:
        each = rest.pop()
        if isinstance(each, str | bytes):
            size += len(each)
            continue
        size += _STEP // 2
        if isinstance(each, int):
            size += each.bit_length()
        elif isinstance(each, dict | Mapping):
            rest += each.keys()
            rest += each.values()
        elif isinstance(each, list | tuple | Collection):
            rest += each
    _pay(size)
    return size


def _amount(argument: object) -> int:
    """Return how much an argument may enlarge a text: as a width, or as what is put in."""
    return abs(argument) if isinstance(argument, int) else _size(argument)


def _listed(arguments: tuple[object, ...]) -> tuple[object, ...]:
    """Return arguments that may be read twice."""
    return tuple(
        list(_counted(each)) if isinstance(each, Iterator) and not isinstance(each, LoopContext) else each
        for each in arguments
    )


def _counted(values: Iterable[object], work: int = _STEP) -> Iterator[object]:
    for value in values:
        _pay(work)
        yield value


class Sandbox(SandboxedEnvironment):
    """Compiles and renders one template, which may change the lists and dicts that it gets: they must be copies.

    Args:
        source: the template.
    """

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, source: str) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # constants are not computed before there is a rendering to pay
            finalize=_written,
            extensions=[_Generation, loopcontrols],
        )
        self._length = len(source)
        self.filters["tojson"] = _to_json
        self.filters = {name: _limited(name, function) for name, function in self.filters.items()}
        del self.globals["lipsum"]
        # A template means the local day.
        self.globals.update(raise_exception=_raise, strftime_now=lambda form: datetime.now().strftime(form))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Paying().visit(super()._parse(source, name, filename))
        return tree

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may use an attribute.

        Not `sort` of a list, whose `key` would be called outside of the sandbox, nor methods of types: who calls them
        on what could not be counted.
        """
        is_allowed = attr == "fromkeys" if isinstance(obj, type) else attr != "sort" or not isinstance(obj, list)
        return is_allowed and super().is_safe_attribute(obj, attr, value)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call something for a template."""
        _pay(self._length if isinstance(obj, Macro) else _STEP)
        method = getattr(obj, "__wrapped__", obj)  # Jinja wraps `str.format`
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        named = [value for key, value in kwargs.items() if key not in _FRAME]
        if obj is dict or owner is dict or (isinstance(obj, Macro) and (obj.catch_varargs or obj.catch_kwargs)):
            _size([args, named])  # they become a new value, as in `sized`
        elif isinstance(owner, str | bytes | int):
            args = _listed(args)
            _pay_for_text(owner, name, [*args, *named])
        elif isinstance(owner, list | dict):
            args = _listed(args)
            _pay_for_items(owner, name, [*args, *named])
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute an operation for a template."""
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * (abs(right) if operator == "**" else 1) + right.bit_length()
            _pay(_STEP * bits)
        elif operator == "*":
            _pay(max(_length(left) * _length(right), _STEP))
        elif operator == "%" and isinstance(left, str):
            _check_width(left)
            _pay(_size(left) + _size(right))
        else:
            _pay(_length(left) + _length(right))
        return super().call_binop(context, operator, left, right)

    def counted(self, values: Iterable[object], work: int) -> Iterator[object]:
        """Hand out what a loop goes over."""
        return _counted(values, work)

    def joined(self, *values: object) -> str:
        """Join values as texts."""
        _size(values)
        return "".join(map(str, values))

    def sized(self, value: object) -> object:
        """Return a new list, tuple or dictionary."""
        _size(value)
        return value


def _length(operand: object) -> int:
    return abs(operand) if isinstance(operand, int) else len(operand) if isinstance(operand, Collection) else 1


def _check_width(form: object) -> None:
    if isinstance(form, str) and _WIDE.search(form):
        raise TooMuchWorkError


def _pay_for_text(owner: object, name: str, arguments: Sequence[object]) -> None:
    """Pay for a method of a text or a number."""
    if name not in _GROWING:
        _pay(sum(abs(each) for each in arguments if isinstance(each, int)))
        return
    if name.startswith("format"):
        _check_width(owner)
    _pay(_size(owner) * (1 + sum(map(_amount, arguments))))


def _pay_for_items(owner: Collection[object], name: str, arguments: Sequence[object]) -> None:
    """Pay for a method of a list or a dict, of which the arguments may become a part."""
    if name in _COMPARING:
        _size(owner)
    elif name not in _CHEAP:
        _pay(len(owner))
    _size(arguments)


class _Paying(NodeTransformer):
    """Makes a template pay for loops, new lists and joined texts."""

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        """Visit a node, its parts first."""
        self.generic_visit(node)
        if isinstance(node, nodes.For):
            text = sum(len(data.data) for part in node.body for data in _data(part))
            node.iter = _call("counted", [cast("nodes.Expr", node.iter), nodes.Const(_STEP + text)])
        elif isinstance(node, nodes.Concat):
            return _call("joined", node.nodes)
        elif isinstance(node, nodes.List | nodes.Dict) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
            return _call("sized", [cast("nodes.Expr", node)])
        return node


def _data(node: nodes.Node) -> Iterable[nodes.TemplateData]:
    return [node] if isinstance(node, nodes.TemplateData) else node.find_all(nodes.TemplateData)


def _call(method: str, arguments: list[nodes.Expr]) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(method), arguments, [], None, None)


@pass_context
def _written(context: Context, value: object) -> object:
    _size(value)
    return value


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def limited(*args: object, **kwargs: object) -> object:
        _pay(_STEP)
        args = _listed(args)
        value, *more = [each for each in args if not isinstance(each, _PASSED)]
        more += kwargs.values()
        if name == "format":
            _check_width(value)
        if name not in _KEEPING:
            _pay(_size(value) * (1 + sum(map(_amount, more))))
        elif name in ("batch", "slice"):
            _pay(_length(value) + sum(map(_length, more)))
        elif isinstance(value, Collection):
            _pay(_length(value))
        return function(*args, **kwargs)

    return limited


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`, which marks the assistant's part for training."""

    tags = {"generation"}  # noqa: RUF012  # Jinja's own form

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes for HTML. No argument may be callable: it would run outside of the sandbox.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise RefusedError(message)
