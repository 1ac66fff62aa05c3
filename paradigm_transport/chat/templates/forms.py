"""The forms in which a template can take a chat, from the plainest to the most rewritten."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import product
from string import ascii_letters, digits
from typing import NamedTuple

from paradigm_transport.messages import Message, Tool, in_user_turns

SYSTEM = ("system", "developer")


class Form(NamedTuple):
    """A chat as a template gets it.

    Attributes:
        messages: the messages.
        tools: the tools.
        text_arguments: whether arguments of calls are JSON texts; else objects.
        lists_no_tools: whether no tools are an empty list; else none.
    """

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    text_arguments: bool = False
    lists_no_tools: bool = False

    def with_messages(self, messages: Sequence[Message]) -> Form:
        """Return the form with other messages."""
        return self._replace(messages=messages)


Rewriting = Callable[[Form], Form]


def forms_of(form: Form) -> Iterator[Form]:
    """Yield a form, then the form with one thing rewritten, with two, and so on.

    Args:
        form: the chat as it came.
    """
    yield form
    for choice in _CHOICES:
        rewritten = _rewritten(form, choice)
        if rewritten is not None:
            yield rewritten


def _rewritten(form: Form, choice: tuple[int, ...]) -> Form | None:
    """Return a form with a choice of rewritings; None if one changes no more than a lesser one, which was tried."""
    for alternatives, chosen in zip(_REWRITINGS, choice, strict=True):
        if chosen:
            *lesser, last = (form, *(rewrite(form) for rewrite in alternatives[:chosen]))
            if last in lesser:
                return None
            form = last
    return form


def _on_messages(rewrite: Callable[[Sequence[Message]], list[Message]]) -> Rewriting:
    return lambda form: form.with_messages(rewrite(form.messages))


# Roles and turns


def _in_turns(messages: Sequence[Message]) -> list[Message]:
    return in_user_turns(messages, ())


def _system_first(messages: Sequence[Message]) -> list[Message]:
    """Return messages in turns, those of the system as a user's unless they are the beginning."""
    begin = next((at for at, message in enumerate(messages) if message.role not in SYSTEM), len(messages))
    return in_user_turns(messages[:begin], ()) + in_user_turns(messages[begin:], SYSTEM)


def _without_system(messages: Sequence[Message]) -> list[Message]:
    return in_user_turns(messages, SYSTEM)


def _alternating(messages: Sequence[Message]) -> list[Message]:
    """Return messages with empty turns where users and assistants do not take turns, as some templates require."""
    turns: list[Message] = []
    for message in messages:
        before = turns[-1].role if turns else "system"
        if message.role == "assistant" and before in SYSTEM:
            turns.append(Message("user"))
        if message.role == "user" and before == "tool":
            turns.append(Message("assistant"))
        turns.append(message)
    return turns


# Calls


def _one_call_each(messages: Sequence[Message]) -> list[Message]:
    """Return messages with each of parallel calls in a separate message, followed by its result."""
    apart: list[Message] = []
    rest = deque(messages)
    while rest:
        message = rest.popleft()
        if len(message.tool_calls) < 2:
            apart.append(message)
            continue
        for number, call in enumerate(message.tool_calls):
            text, thoughts = ("", "") if number else (message.content, message.thoughts)
            apart.append(replace(message, content=text, thoughts=thoughts, tool_calls=(call,)))
            if rest and rest[0].role == "tool" and rest[0].tool_call_id in (call.id, None):
                apart.append(rest.popleft())
    return apart


def _text_before_calls(messages: Sequence[Message]) -> list[Message]:
    """Return messages with a text beside calls in a separate message."""
    apart: list[Message] = []
    for message in messages:
        if message.content and message.tool_calls:
            apart.append(replace(message, tool_calls=(), thoughts=""))
            message = replace(message, content="")
        apart.append(message)
    return apart


_CHARACTERS = ascii_letters + digits


def _short_id(call_id: str) -> str:
    """Return an id of nine letters and digits, which is all that Mistral's templates take: always the same for one."""
    if re.fullmatch("[a-zA-Z0-9]{9}", call_id):
        return call_id
    hashed = sha256(call_id.encode("utf-8", "replace")).digest()
    return "".join(_CHARACTERS[byte % len(_CHARACTERS)] for byte in hashed[:9])


def _with_short_ids(messages: Sequence[Message]) -> list[Message]:
    return [
        replace(
            message,
            tool_calls=tuple(replace(call, id=_short_id(call.id)) for call in message.tool_calls),
            tool_call_id=_short_id(message.tool_call_id or "") if message.role == "tool" else message.tool_call_id,
        )
        for message in messages
    ]


def _with_text_arguments(form: Form) -> Form:
    return form._replace(text_arguments=any(message.tool_calls for message in form.messages))


# What may be missing


def _without_thoughts(messages: Sequence[Message]) -> list[Message]:
    return [replace(message, thoughts="") if message.thoughts else message for message in messages]


def _with_list_of_no_tools(form: Form) -> Form:
    return form._replace(lists_no_tools=not form.tools)


_REWRITINGS: Sequence[Sequence[Rewriting]] = (
    (_on_messages(_without_thoughts),),
    (_on_messages(_in_turns), _on_messages(_system_first), _on_messages(_without_system)),
    (_on_messages(_alternating),),
    (_on_messages(_one_call_each),),
    (_on_messages(_text_before_calls),),
    (_on_messages(_with_short_ids),),
    (_with_text_arguments,),
    (_with_list_of_no_tools,),
)
"""What may be rewritten, in this order; of several ways, the first that helps is taken."""


def _rank(choice: tuple[int, ...]) -> tuple[int, list[int]]:
    """Rank which of the rewritings to try together: few before many, the first before the last."""
    return sum(map(bool, choice)), [chosen or len(choice) for chosen in choice]


_CHOICES = sorted(product(*(range(len(alternatives) + 1) for alternatives in _REWRITINGS)), key=_rank)[1:]
