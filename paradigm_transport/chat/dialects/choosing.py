"""Choosing the dialect of a model: by the names that its server knows it by, or by its chat template."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from os.path import commonprefix
from typing import Literal

from paradigm_transport.chat.dialects.dialect import Dialect
from paradigm_transport.chat.dialects.rows import HERMES, ROWS
from paradigm_transport.chat.templates import BaseTemplate, JinjaTemplate
from paradigm_transport.chat.templates.forms import Form, forms_of
from paradigm_transport.errors import InvalidParameterError, UnwritableError
from paradigm_transport.messages import Message, Tool, ToolCall

TOOL_PARSERS = {name: row for row in ROWS for name in row.tool_parsers}
"""The dialects by their names as in vLLM's `--tool-call-parser`."""
REASONING_PARSERS = {name: row for row in ROWS for name in row.reasoning_parsers}
"""The dialects by their names as in vLLM's `--reasoning-parser`."""
_PARSERS = {"tool_call_parser": TOOL_PARSERS, "reasoning_parser": REASONING_PARSERS}

# A short chat with a call. Mistral's templates require ids of nine letters and digits.
_TOOL = Tool("get_weather", "The weather of a city.", {"type": "object", "properties": {"city": {"type": "string"}}})
_CALL = ToolCall("call00001", _TOOL.name, {"city": "Oslo"})
_QUESTION = Message("user", "How warm is it?")
_ANSWER = Message("assistant", tool_calls=(_CALL,))
_RESULT = Message("tool", "It is 7 degrees.", tool_call_id=_CALL.id, name=_TOOL.name)

_MAX_FORMS = 20
_OPEN_MARK = re.compile(r"[<\[][^<>\[\]\s]*\Z")


def check_parser(argument: str, name: str | None) -> None:
    """Check the name of a parser.

    Args:
        argument: `tool_call_parser` or `reasoning_parser`.
        name: the name; None for none.

    Raises:
        InvalidParameterError: the name is unknown.
    """
    known = _PARSERS[argument]
    if name is not None and name not in known:
        raise InvalidParameterError(
            f"unknown parser {name!r}; known are {', '.join(sorted(known))}. For another model leave it out, and "
            "chat_template: then the server reads the answers, by its own parser"
        )


def find_dialect(
    template: BaseTemplate,
    tool_call_parser: str | None = None,
    reasoning_parser: str | None = None,
    *,
    reads_calls: bool = True,
) -> Dialect:
    """Find the dialect of the model that a template is written for.

    Calls: a chat with a call is rendered and looked at; thoughts: the opened answer. If no dialect is found, it is
    Hermes, and a `UserWarning` says so, once for each template.

    Args:
        template: the template.
        tool_call_parser: a name as in vLLM's `--tool-call-parser`, which wins over the template.
        reasoning_parser: a name as in vLLM's `--reasoning-parser`, which wins over the template.
        reads_calls: answers may hold calls; without, there is no warning about calls in an unknown form.

    Raises:
        InvalidParameterError: a name is unknown.
    """
    if isinstance(template, JinjaTemplate):
        if reads_calls and tool_call_parser is None and not dialect_of(None, reasoning_parser).has_channels:
            _warn_of_unknown_calls(template)
        return _of_template(template, tool_call_parser, reasoning_parser)
    return dialect_of(tool_call_parser, reasoning_parser)


@lru_cache(maxsize=16)
def dialect_of(tool_call_parser: str | None, reasoning_parser: str | None) -> Dialect:
    """Return the dialect that parsers read; Hermes by default."""
    check_parser("tool_call_parser", tool_call_parser)
    check_parser("reasoning_parser", reasoning_parser)
    thinking = REASONING_PARSERS.get(reasoning_parser or "")
    if tool_call_parser is None:
        return HERMES if thinking is None else thinking if thinking.has_channels else _thinking_as(HERMES, thinking)
    row = TOOL_PARSERS[tool_call_parser]
    return row if thinking is None else _thinking_as(row, thinking)


@lru_cache(maxsize=16)
def _of_template(template: JinjaTemplate, tool_call_parser: str | None, reasoning_parser: str | None) -> Dialect:
    """Find the dialect of the model that a template is written for; see `find_dialect`."""
    row = dialect_of(tool_call_parser, reasoning_parser)
    if not row.has_channels:
        calls = _calls_of(template, tool_call_parser) or row
        row = calls if reasoning_parser is None else _thinking_as(calls, REASONING_PARSERS[reasoning_parser])
    if reasoning_parser is None:
        row = _thinking_as_told(template, row)
    thoughts = row.thoughts
    if thoughts is not None and (reasoning_parser is None or thoughts.are_begun_by(_tail(template))):
        row = replace(row, thoughts=replace(thoughts, are_open=False))  # each prompt shows whether they are
    return row


def _thinking_as(row: Dialect, other: Dialect) -> Dialect:
    """Return a dialect with the thoughts of another one."""
    return replace(
        row,
        thoughts=other.thoughts,
        wrapper=row.wrapper or other.wrapper,
        turn=replace(row.turn, ends=tuple(dict.fromkeys((*row.turn.ends, *other.turn.ends)))),
        dropped=tuple(dict.fromkeys((*row.dropped, *other.dropped))),
    )


def _thinking_as_told(template: JinjaTemplate, row: Dialect) -> Dialect:
    """Return a dialect with the thoughts whose marks a template has, by which dialects with like calls differ."""
    if row.has_channels:
        return row
    tail = _tail(template)
    opened = [each for each in ROWS if each.thoughts is not None and each.thoughts.are_begun_by(tail)]
    told = opened or [
        each
        for each in ROWS
        if each.thoughts is not None and any(mark in template.source + tail for mark in each.thoughts.ends)
    ]
    if row in told or not told:
        return row
    best = min(told, key=lambda each: (each.calls != row.calls, _are_open(each) != bool(opened)))
    return best if best.calls == row.calls else row if row.thoughts is not None else _thinking_as(row, best)


def _are_open(row: Dialect) -> bool:
    return row.thoughts is not None and row.thoughts.are_open


def _calls_of(template: JinjaTemplate, tool_call_parser: str | None) -> Dialect | None:
    """Find the dialect in which a template writes calls, or lists tools.

    Args:
        template: the template.
        tool_call_parser: the parser that reads the dialect, if it was named.

    Returns:
        The dialect; None if the parser does not read what is found. Without a parser, it is Hermes by default.
    """
    found = _search_calls(template)
    if tool_call_parser is None:
        return found or HERMES
    return found if found is not None and tool_call_parser in found.tool_parsers else None


def _search_calls(template: JinjaTemplate) -> Dialect | None:
    rendered = _render_call(template) if template.writes_tools else None
    if rendered is None:  # a chat with tools will raise the template's own error
        return None
    opened, written = rendered
    return _search(opened, "listed") or _search(written, "sign")


@lru_cache(maxsize=16)
def _warn_of_unknown_calls(template: JinjaTemplate) -> None:
    """Warn, once for each template, if calls are not read as it writes them."""
    rendered = _render_call(template) if template.writes_tools else None
    if rendered is None or _search_calls(template) is not None:
        return
    problem = (
        "writes tool calls in a form that is not known, so the model's calls will stay text"
        if _CALL.name in rendered[1]
        else "takes tools but writes no tool calls, so a chat with calls is written by the Hermes convention"
    )
    instead = "pass tool_call_parser: the name of the model's parser in vLLM"
    warnings.warn(f"chat_template {problem}; {instead}", stacklevel=2)


def _search(text: str, attribute: Literal["listed", "sign"]) -> Dialect | None:
    """Return the first dialect whose pattern is in a text."""
    for row in ROWS:
        pattern = getattr(row, attribute)
        if pattern and re.search(pattern.replace("NAME", _CALL.name).replace("KEY", "city"), text):
            return row
    return None


@lru_cache(maxsize=16)
def _tail(template: BaseTemplate) -> str:
    """Return the opened answer to a question."""
    for tools in ([_TOOL], []):
        try:
            return _write(template, [_QUESTION], tools)[-100:]
        except InvalidParameterError:
            continue
    return ""


def _write(template: BaseTemplate, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
    """Write a chat in the first form that a template does not refuse.

    Raises:
        InvalidParameterError: it refuses all of the likely ones.
    """
    *forms, last = islice(forms_of(Form(messages, tools)), _MAX_FORMS)
    for form in forms:
        with suppress(UnwritableError):
            template._allow_work(messages)
            return template._write_form(form)
    return template._write_form(last)


def _render_call(template: BaseTemplate) -> tuple[str, str] | None:
    """Return a question with tools, and what a template writes behind it; None if it refuses such a chat."""
    for chat in ((_QUESTION, _ANSWER, _RESULT), (_QUESTION, _ANSWER)):
        try:
            opened, written = (_write(template, part, [_TOOL]) for part in (chat[:1], chat))
        except InvalidParameterError:
            continue
        # All that is new, with the whole of a mark that the two texts only begin alike.
        alike = commonprefix([opened, written])  # noqa: RUF071  # of characters, as it is meant
        mark = _OPEN_MARK.search(alike)
        return opened, written[mark.start() if mark else len(alike) :]
    return None
