"""The known dialects, and the one that a chat template writes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from paradigm_transport.chat.dialects.base import Dialect, read_message
from paradigm_transport.chat.dialects.hermes import HERMES
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.messages import Message, Tool, ToolCall

if TYPE_CHECKING:
    from paradigm_transport.chat.templates.base import BaseTemplate

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (HERMES,)}
"""The dialects by name, as in vLLM's `--tool-call-parser`."""

# A short chat with a call. Mistral's templates require ids of nine letters and digits.
_TOOL = Tool(
    "get_weather", "Get the weather of a city.", {"type": "object", "properties": {"city": {"type": "string"}}}
)
_CALL = ToolCall("call00001", _TOOL.name, {"city": "Oslo"})
_QUESTION = Message("user", "How warm is it?")
_ANSWER = Message("assistant", tool_calls=(_CALL,))
_RESULT = Message("tool", "It is 7 degrees.", tool_call_id=_CALL.id, name=_TOOL.name)

_INSTEAD = "pass a template that writes <tool_call>, or chat_template='chatml'"
_UNREADABLE = (
    f"chat_template writes tool calls in a form that is not supported, so the model's calls will stay text; {_INSTEAD}"
)
_UNWRITTEN = (
    f"chat_template takes tools but writes no tool calls, so the model will not see the calls it has made; {_INSTEAD}"
)

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
        if _reads_call(dialect, written):
            return dialect
    warnings.warn(_UNREADABLE if _CALL.name in written else _UNWRITTEN, stacklevel=2)
    return HERMES


def _render_call(template: BaseTemplate) -> str | None:
    """Return what a template writes after the question; None if it refuses such a chat."""
    for chat in ((_QUESTION, _ANSWER, _RESULT), (_QUESTION, _ANSWER)):
        try:
            return _behind(template.render_chat([_QUESTION], [_TOOL]), template.render_chat(chat, [_TOOL]))
        except InvalidParameterError:
            continue
    return None


def _behind(opened: str, written: str) -> str:
    """Return what a text adds to another, with the whole of a mark that the two only begin alike."""
    pairs = zip(opened, written, strict=False)
    length = next((at for at, (one, other) in enumerate(pairs) if one != other), len(opened))
    mark = _OPEN_MARK.search(written[:length])
    return written[mark.start() if mark else length :]


def _reads_call(dialect: Dialect, text: str) -> bool:
    calls = read_message(dialect.reader(), text).calls
    return any((call.name, call.arguments) == (_CALL.name, _CALL.arguments) for call in calls)
