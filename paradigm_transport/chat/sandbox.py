"""The sandbox of chat templates in Jinja: what a template may call, and how much work it may make.

Jinja's own sandbox keeps a template from the process, but not from its time and memory. Here each step of a template
that repeats or enlarges something is paid for before it is done.
"""

from __future__ import annotations

import json
import operator
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
_PER_PART = 10  # of a macro
_left: ContextVar[int] = ContextVar("work left", default=MAX_WORK)

_GROWING = {"center", "expandtabs", "format", "format_map", "join", "ljust", "replace", "rjust", "translate", "zfill"}
_SEARCHING = {"lstrip", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "strip"}
"""Methods of texts that may compare each character with all of an argument."""
_CHEAP = {"append", "get", "items", "keys", "values"}
_COMPARING = {"count", "index", "remove"}
"""Of the methods of lists and dicts, those that look at no more than one item, and those that compare all."""
_WIDE = re.compile(r"%[^%a-zA-Z]*(\*|\d{3})|\{[^{}]*\d{3}")  # in a format
_LONG_NUMBER = re.compile(r"\d{3}")  # in a format with `%(name)`, whose name may hold anything
_NESTED = re.compile(r"(?<!\{)(?:\{\{)*\{[^{}]+\{")  # in a format: its width is an argument, or in one

_TEXT, _SCALAR, _MAPPING = (str, bytes), (str, bytes, int), (dict, Mapping)
_FRAME = ("_loop_vars", "_block_vars")  # what Jinja adds to the arguments of a call
_PASSED = (Context, jinja2.Environment, nodes.EvalContext)  # what filters get before the value

_SHORT = nodes.Const | nodes.Compare | nodes.Not | nodes.Test
"""Of two values that are compared, one is short if it is a constant, or true or false."""

_KEEPING = {
    "attr", "batch", "count", "d", "default", "first", "items", "last", "length", "list", "map", "random", "reject",
    "rejectattr", "reverse", "select", "selectattr", "slice",
}  # fmt: skip
"""Filters that hand on what they get; the others write, compare or add all of it."""
_SLOW = "lipsum", "pprint", "striptags", "urlize", "wordwrap"
"""What no chat needs, and takes a time that grows faster than the text."""
_TESTS = {"divisibleby", "even", "in", "lower", "odd", "upper"}
"""Tests that look at all of what they get, as those do that compare two values; the others look at its type."""

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}


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
    size = len(value) if isinstance(value, str) else _measure(value, _left.get())
    _pay(size)
    return size


def _measure(value: object, most: int) -> int:
    """Return how long a value is when it is written; if that is more than `most`, any number above it."""
    if isinstance(value, _TEXT):
        return len(value)
    size, rest = _STEP // 2, [value]
    while rest and size <= most:
        each = rest.pop()
        if isinstance(each, _TEXT):
            size += len(each)
        elif isinstance(each, int):
            size += each.bit_length()
        elif isinstance(each, list | tuple | Collection):
            size += _STEP // 2 * len(each)
            if size > most:
                break
            rest += each
            if isinstance(each, _MAPPING):
                rest += each.values()
                size += _STEP // 2 * len(each)
    return size


def _pay_to_compare(left: object, right: object) -> None:
    """Pay for the shorter of two values; the longer is not looked at for longer than that."""
    shorter, most = _STEP, 10 * _STEP
    if isinstance(left, str) and isinstance(right, str):  # most are
        shorter = min(len(left), len(right))
    elif left is not right:
        while (shorter := min(_measure(left, most), _measure(right, most))) > most and most <= _left.get():
            most *= 2
    _pay(shorter)


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

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self, source: str) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # constants are not computed before there is a rendering to pay
            finalize=_written,
            extensions=[_Generation, loopcontrols],
        )
        self._macros: dict[str, int] = {}
        self.filters["tojson"] = _to_json
        self.filters = {name: _limited(name, function) for name, function in self.filters.items()}
        for name, test in self.tests.items():
            if name in _TESTS or test in _COMPARISONS.values():
                self.tests[name] = _limited_test(name, cast("Callable[..., Any]", test))
        for name in _SLOW:
            self.filters.pop(name, None)
            self.globals.pop(name, None)
        # A template means the local day.
        self.globals.update(raise_exception=_raise, strftime_now=lambda form: datetime.now().strftime(form))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Paying().visit(super()._parse(source, name, filename))
        for macro in tree.find_all((nodes.Macro, nodes.CallBlock)):
            called = getattr(macro, "name", "caller")
            self._macros[called] = max(self._macros.get(called, 0), _work_of(macro))
        return tree

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may use an attribute.

        Not `sort` of a list, whose `key` would be called outside of the sandbox, nor methods of types: who calls them
        on what could not be counted, nor what is slow.
        """
        is_allowed = attr == "fromkeys" if isinstance(obj, type) else attr != "sort" or not isinstance(obj, list)
        return is_allowed and attr not in _SLOW and super().is_safe_attribute(obj, attr, value)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call something for a template."""
        if getattr(obj, "__self__", None) is self:  # the methods below, which pay for themselves
            return obj(*args)
        _pay(self._macros[obj.name] if isinstance(obj, Macro) else _STEP)
        method = getattr(obj, "__wrapped__", obj)  # Jinja wraps `str.format`
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        named = [value for key, value in kwargs.items() if key not in _FRAME]
        if isinstance(owner, _SCALAR):
            args = _listed(args)
            _pay_for_text(owner, name, [*args, *named])
        elif isinstance(owner, Collection):
            args = _listed(args)
            _pay_for_items(owner, name, [*args, *named])
        elif not isinstance(obj, Macro) or obj.catch_varargs or obj.catch_kwargs:
            _size([args, named])  # they may become a new value, as in `sized`
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute an operation for a template."""
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * (abs(right) if operator == "**" else 1) + right.bit_length()
            _pay(_STEP * bits)
        elif operator == "*":
            _pay(max(_length(left) * _length(right), _STEP))
        elif operator == "%" and isinstance(left, _TEXT):
            _check_width(left)
            _pay(_size(left) + _size(right))
        else:
            _pay(_length(left) + _length(right))
        return super().call_binop(context, operator, left, right)

    def compared(self, left: object, comparison: str, right: object, *more: Any) -> object:
        """Compare two values, and then, in `a < b < c`, the second with the next."""
        if comparison not in ("in", "notin"):
            _pay_to_compare(left, right)
        elif isinstance(right, _MAPPING):
            _size(left)  # which is hashed
        else:
            if isinstance(right, Iterator):
                right = list(_counted(right))
            _size(right)
        result: object = _COMPARISONS[comparison](left, right)
        return self.compared(right, *more) if more and result else result

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

    def sliced(self, value: object) -> object:
        """Return a part of a text or list."""
        _pay(_length(value))
        return value


def _length(operand: object) -> int:
    return abs(operand) if isinstance(operand, int) else len(operand) if isinstance(operand, Collection) else 1


def _check_width(form: object) -> None:
    if isinstance(form, bytes):
        form = form.decode("latin-1")
    if isinstance(form, str) and (_WIDE.search(form) or ("%(" in form and _LONG_NUMBER.search(form))):
        raise TooMuchWorkError


def _pay_for_text(owner: object, name: str, arguments: Sequence[object]) -> None:
    """Pay for a method of a text or a number."""
    if name.startswith("format"):
        _check_width(owner)
        if isinstance(owner, str) and _NESTED.search(owner):
            raise TooMuchWorkError
    size = 1 + _size(owner)
    if not arguments:
        return
    if name in _GROWING:
        _pay(size * sum(map(_amount, arguments)))
    elif name in _SEARCHING:
        _pay(size * sum(_size(each) for each in arguments if not isinstance(each, int)))
    else:
        _pay(sum(map(_amount, arguments)))


def _pay_for_items(owner: Collection[object], name: str, arguments: Sequence[object]) -> None:
    """Pay for a method of a list or a dict, of which the arguments may become a part."""
    if name in _COMPARING:
        _size(owner)
    elif name not in _CHEAP:
        _pay(len(owner))
    _size(arguments)


class _Paying(NodeTransformer):
    """Makes a template pay for loops, new lists, joined texts, slices and comparisons."""

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
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            return _call("sliced", [node])
        elif isinstance(node, nodes.Getitem) and not isinstance(node.arg, nodes.Const | nodes.Neg | nodes.Sub):
            node.arg = _call("sized", [node.arg])  # it may be hashed
        elif isinstance(node, nodes.Compare) and not _is_short(node):
            steps = [part for each in node.ops for part in (nodes.Const(each.op), each.expr)]
            return _call("compared", [node.expr, *steps])
        return node


def _is_short(comparison: nodes.Compare) -> bool:
    """Whether a comparison takes no time, whatever the values are."""
    first, *more = comparison.ops
    parts = (comparison.expr, first.expr)
    return not more and first.op not in ("in", "notin") and any(isinstance(each, _SHORT) for each in parts)


def _work_of(macro: nodes.Node) -> int:
    """Return what a call of a macro may make, without what its loops and calls pay for."""
    parts = sum(1 for _ in macro.find_all(nodes.Node))
    return _STEP + _PER_PART * parts + sum(len(data.data) for data in _data(macro))


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
        for each in kwargs.values():  # `separators` are a pair
            more += each if isinstance(each, tuple) else [each]
        if name == "format":
            _check_width(value)
        if name not in _KEEPING:
            _pay((1 + _size(value)) * (1 + sum(map(_amount, more))))
        elif name in ("batch", "list", "slice"):
            _pay(_length(value) * (_STEP // 2 if isinstance(value, str) else 1) + sum(map(_length, more)))
        elif isinstance(value, str):
            _pay(len(value))
        elif isinstance(value, Collection):  # an argument may name an attribute of an attribute, and so on
            _pay(_length(value) * (1 + sum(len(each) for each in more if isinstance(each, str))))
        return function(*args, **kwargs)

    return limited


def _limited_test(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def limited(value: object, *more: object) -> object:
        more = _listed(more)
        if name in ("divisibleby", "even", "odd"):  # they compute a remainder
            _check_width(value)
        for each in (value, *more):
            _size(each)
        return function(value, *more)

    @wraps(function)
    def compared(left: object, right: object) -> object:
        _pay_to_compare(left, right)
        return function(left, right)

    return limited if name in _TESTS else compared


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
