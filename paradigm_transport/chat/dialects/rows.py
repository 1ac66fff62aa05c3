"""The known dialects, and the one that a chat template writes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from os.path import commonprefix

from paradigm_transport.chat.dialects.base import Dialect, read_message
from paradigm_transport.chat.dialects.hermes import HERMES
from paradigm_transport.chat.templates import BaseTemplate
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.messages import Message, Tool, ToolCall

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (HERMES,)}
"""The dialects by name, as in vLLM's `--tool-call-parser`."""

# A short chat with a call. Mistral's templates require ids of nine letters and digits.
_TOOL = Tool("get_weather", "The weather of a city.", {"type": "object", "properties": {"city": {"type": "string"}}})
_CALL = ToolCall("call00001", _TOOL.name, {"city": "Oslo"})
_QUESTION = Message("user", "How warm is it?")
_ANSWER = Message("assistant", tool_calls=(_CALL,))
_RESULT = Message("tool", "It is 7 degrees.", tool_call_id=_CALL.id, name=_TOOL.name)

_OPEN_MARK = re.compile(r"[<\[][^<>\[\]\s]*\Z")


def find_dialect(template: BaseTemplate) -> Dialect:
    """Find the dialect in which a template writes calls of tools.

    If the template leaves that to us, it is Hermes. Else a call is rendered and read back; if no dialect reads it, it
    is Hermes too, and a `UserWarning` says so, once for each template.
    """
    return _read_back(template) if template.writes_tools else HERMES


@lru_cache(maxsize=16)
def _read_back(template: BaseTemplate) -> Dialect:
    written = _render_call(template)
    if written is None:
        return HERMES  # a chat with tools will raise the template's own error
    for dialect in DIALECTS.values():
        calls = read_message(dialect.reader(), written).calls
        if any((call.name, call.arguments) == (_CALL.name, _CALL.arguments) for call in calls):
            return dialect
    problem = (
        "writes tool calls in a form that is not supported, so the model's calls will stay text"
        if _CALL.name in written
        else "takes tools but writes no tool calls, so a chat with calls is written by the Hermes convention"
    )
    instead = "pass a template that writes <tool_call>, or chat_template='chatml'"
    warnings.warn(f"chat_template {problem}; {instead}", stacklevel=2)
    return HERMES


def _render_call(template: BaseTemplate) -> str | None:
    """Return what a template writes after the question; None if it refuses such a chat."""
    for chat in ((_QUESTION, _ANSWER, _RESULT), (_QUESTION, _ANSWER)):
        try:
            opened, written = (template._write(part, [_TOOL]) for part in (chat[:1], chat))
        except InvalidParameterError:
            continue
        # All that is new, with the whole of a mark that the two texts only begin alike.
        alike = commonprefix([opened, written])  # noqa: RUF071  # of characters, as it is meant
        mark = _OPEN_MARK.search(alike)
        return written[mark.start() if mark else len(alike) :]
    return None
