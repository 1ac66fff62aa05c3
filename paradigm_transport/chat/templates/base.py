"""What all chat templates share: a chat is written in the first form that the template takes whole."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from typing_extensions import Self

from paradigm_transport.chat.templates.forms import SYSTEM, Form, forms_of
from paradigm_transport.errors import InvalidParameterError, UnwritableError
from paradigm_transport.messages import (
    Message,
    Tool,
    ToolCall,
    can_be_continued,
    in_order_of_calls,
    in_user_turns,
    to_json,
    with_system,
)

if TYPE_CHECKING:
    from paradigm_transport.chat.dialects.dialect import Dialect


_END = "<|the end of the last message|>"
"""Stands behind a message that the model continues, to find where the template writes its end."""


class BaseTemplate(BaseModel, ABC):
    """A chat template: messages in, the model's own markup out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def writes_tools(self) -> bool:
        """Whether the template itself writes tools, calls and results; else they become text of its turns."""
        return False

    @property
    def lists_tools(self) -> bool:
        """Whether the template itself lists tools; some write calls alone, and leave the list to the system message."""
        return self.writes_tools

    @property
    def is_exact(self) -> bool:
        """Whether the prompt holds all special tokens, so that the server must add none."""
        return False

    def with_variables(self, variables: Mapping[str, Any]) -> Self:
        """Return the template with further variables, over those that it has.

        Args:
            variables: their values by name; JSON.

        Raises:
            InvalidParameterError: the template has no variables, or a name is reserved.
        """
        if variables:
            raise InvalidParameterError("chat_template_kwargs needs a chat_template in Jinja: other kinds read none")
        return self

    def render(self, messages: Iterable[tuple[str, str]]) -> str:
        """Write messages, and open the model's answer.

        Args:
            messages: each a role and its content.

        Raises:
            InvalidParameterError: the template cannot write the messages.
        """
        written = [Message(role, content) for role, content in messages]
        return self._first_whole(written, (), _text_forms(written))

    def render_prompt(self, prompt: str) -> str:
        """Write a plain prompt as the one turn of a user; as `render`.

        Args:
            prompt: what the user says.
        """
        return self.render([("user", prompt)])

    def render_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        dialect: Dialect | None = None,
        *,
        continue_last: bool = False,
    ) -> str:
        """Write messages and tools, and open the model's answer.

        Args:
            messages: the chat.
            tools: what the model may call.
            dialect: how tools, calls and results are written, unless the template writes them itself; by default as
                Hermes writes them.
            continue_last: if the last message is an assistant's without calls, end the prompt where its text ends, so
                that the model continues it; else the model begins a new message.

        Raises:
            InvalidParameterError: the template cannot write the messages, or leaves one out.
        """
        if dialect is None:
            from paradigm_transport.chat.dialects.rows import HERMES  # the table takes long to import

            dialect = HERMES
        messages = in_order_of_calls(messages)
        described = with_system(messages, dialect.describe(tools)) if tools else messages
        forms = _text_forms([Message(message.role, _text(message, dialect)) for message in described])
        if self.writes_tools:
            native = (messages, tools) if self.lists_tools else (described, ())
            forms = chain(_native_forms(*native, dialect), forms)
        return self._first_whole(messages, tools, forms, continue_last and can_be_continued(messages))

    def _first_whole(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        forms: Iterable[Form],
        is_continued: bool = False,
    ) -> str:
        """Write the first form of a chat that the template neither refuses nor leaves a part of out."""
        problems = []
        for number, form in enumerate(forms):
            if number < 2:  # all further forms together may take as much work as the first
                self._allow_work(form.messages, form.tools)
            try:
                prompt = self._write_continued(form) if is_continued else self._write_form(form)
            except UnwritableError as refusal:
                problems.append(str(refusal))
                continue
            except InvalidParameterError:  # too much work
                if problems:
                    break
                raise
            missing = _missing(prompt, messages, tools)
            if missing is None:
                return prompt
            problems.append(f"chat_template leaves out {missing}")
        raise UnwritableError(problems[0])

    def _write_continued(self, form: Form) -> str:
        """Write a form, up to where the text of its last message ends."""
        *before, last = form.messages
        # Transformers' rule: a template that strips the space behind the mark strips that before it, too.
        marked = Message(last.role, f"{last.content}{_END} ", thoughts=last.thoughts)
        text, mark, rest = self._write_form(form.with_messages([*before, marked]), opened=False).rpartition(_END)
        if not mark:
            raise UnwritableError("chat_template cannot continue the last message: it leaves out the end of its text")
        return text if rest.startswith(" ") else text.rstrip()

    def _write(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        """Write messages as they are, and open the model's answer; what the template leaves out is not noticed."""
        self._allow_work(messages, tools)
        return self._write_form(Form(messages, tools))

    def _allow_work(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> None:
        """Limit the work that writing messages and tools may make from now on."""

    @abstractmethod
    def _write_form(self, form: Form, *, opened: bool = True) -> str:
        """Write a form of a chat, and open the model's answer; what the template leaves out is not noticed.

        Raises:
            UnwritableError: the template refuses it.
        """


def _text(message: Message, dialect: Dialect) -> str:
    """Return the content of a message with its calls, or the result that it is, written in a dialect."""
    if message.role == "tool":
        return dialect.result(message)
    return _text_and_calls(message, dialect) if message.tool_calls else message.content


def _text_and_calls(message: Message, dialect: Dialect) -> str:
    calls = dialect.write(message.tool_calls) if message.tool_calls else ""
    return "\n".join(filter(None, (message.content, calls)))


def _native_forms(messages: Sequence[Message], tools: Sequence[Tool], dialect: Dialect) -> Iterator[Form]:
    """Yield the forms in which the template writes tools: first calls and results, too, then those as text."""
    yield from forms_of(Form(messages, tools))
    if not any(message.tool_calls or message.role == "tool" for message in messages):
        return
    for write in (_text_and_calls, _text):
        texts = [
            Message(message.role, write(message, dialect), (), message.tool_call_id, message.name, message.thoughts)
            for message in messages
        ]
        yield from forms_of(Form(texts if write is _text_and_calls else in_user_turns(texts, ("tool",)), tools))


def _text_forms(texts: list[Message]) -> Iterator[Form]:
    """Yield the forms in which all is text: many templates know only users and assistants who take turns."""
    yield Form(texts)
    turns = in_user_turns(texts, ("tool",))
    forms = forms_of(Form(turns))
    if turns == texts:
        next(forms)
    yield from forms


def _missing(prompt: str, messages: Iterable[Message], tools: Iterable[Tool]) -> str | None:
    """Name the first message, call or tool that a prompt leaves out."""
    at = system_at = 0
    for message in messages:
        text, is_system = message.content.strip(), message.role in SYSTEM
        end = _end_of(text, prompt, system_at if is_system else at)
        if end < 0 and is_system:  # which may stand anywhere
            end = _end_of(text, prompt, 0)
        if end < 0:
            return f"the message of the role {message.role!r}"
        if message.tool_calls:  # beside which a text may stand behind the results
            left_out = _missing_call(message.tool_calls, prompt, at)
            if left_out is not None:
                return f"the call of the tool {left_out.name!r}"
        elif is_system:
            system_at = end
        else:
            at = end
    return next((f"the tool {tool.name!r}" for tool in tools if _end_of(tool.name, prompt, 0) < 0), None)


def _missing_call(calls: Iterable[ToolCall], prompt: str, at: int) -> ToolCall | None:
    """Return the first call whose name, or a value of whose arguments, a prompt leaves out."""
    for call in calls:
        if any(_end_of(text, prompt, at) < 0 for text in _texts_in(call.arguments)):
            return call
        at = _end_of(call.name, prompt, at)
        if at < 0:
            return call
    return None


def _texts_in(value: object) -> Iterator[str]:
    """Yield the texts and numbers in JSON, which all markups write alike."""
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        yield from chain.from_iterable(map(_texts_in, value))
    elif isinstance(value, str):
        yield value.strip()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


_NEAR = 1000  # characters behind the message before in which a text is looked for first


def _end_of(text: str, prompt: str, at: int) -> int:
    """Return where a text ends in a prompt, as it is, without its thoughts, or quoted; -1 if it is not there.

    All forms are looked for nearby, then ever further: one that the prompt lacks would be looked for to its end.
    """
    near = _NEAR
    while True:
        for form in _forms_in_prompts(text):
            begin = prompt.find(form, at, at + near + len(form))
            if begin >= 0:
                return begin + len(form)
        if at + near >= len(prompt):
            return -1
        near *= 2


def _forms_in_prompts(text: str) -> Iterator[str]:
    yield text
    yield text.rpartition("</think>")[2].strip()
    yield to_json(text)[1:-1]
    yield json.dumps(text)[1:-1]
    yield repr(text)[1:-1]
