"""Chat templates: messages in, the model's own markup out. Templates in Jinja are rendered in a sandbox."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from paradigm_transport.chat.dialects.dialect import Dialect
from paradigm_transport.chat.dialects.rows import HERMES
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.messages import (
    JsonObject,
    Message,
    Tool,
    in_order_of_calls,
    in_user_turns,
    to_json,
    with_system,
)

if TYPE_CHECKING:
    import jinja2


class UnwritableError(InvalidParameterError):
    """The template cannot write these messages; perhaps they are only a part of a chat."""


_SYSTEM = ("system", "developer")

Form = tuple[Sequence[Message], Sequence[Tool]]
"""A chat as a template gets it."""


class BaseTemplate(BaseModel, ABC):
    """A chat template: messages in, the model's own markup out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def writes_tools(self) -> bool:
        """Whether the template itself writes tools, calls and results; else they become text of its turns."""
        return False

    def render(self, messages: Iterable[tuple[str, str]]) -> str:
        """Write messages, and open the model's answer.

        Args:
            messages: each a role and its content.

        Raises:
            InvalidParameterError: the template cannot write the messages.
        """
        written = [Message(role, content) for role, content in messages]
        return self._first_whole(written, (), _forms(written))

    def render_prompt(self, prompt: str) -> str:
        """Write a plain prompt as the one turn of a user; as `render`.

        Args:
            prompt: what the user says.
        """
        return self.render([("user", prompt)])

    def render_chat(self, messages: Sequence[Message], tools: Sequence[Tool] = (), dialect: Dialect = HERMES) -> str:
        """Write messages and tools, and open the model's answer.

        Args:
            messages: the chat.
            tools: what the model may call.
            dialect: how tools, calls and results are written, unless the template writes them itself.

        Raises:
            InvalidParameterError: the template cannot write the messages, or leaves one out.
        """
        messages = in_order_of_calls(messages)
        texts = with_system(messages, dialect.describe(tools)) if tools else messages
        forms: Iterable[Form] = _forms([Message(message.role, _text(message, dialect)) for message in texts])
        if self.writes_tools:
            forms = chain([(messages, tools), (in_user_turns(messages, _SYSTEM), tools)], forms)
        return self._first_whole(messages, tools, forms)

    def _first_whole(self, messages: Sequence[Message], tools: Sequence[Tool], forms: Iterable[Form]) -> str:
        """Write the first form of a chat that the template neither refuses nor leaves a part of out."""
        problems = []
        for form in forms:
            try:
                prompt = self._write(*form)
            except UnwritableError as refusal:
                problems.append(str(refusal))
                continue
            missing = _missing(prompt, messages, tools)
            if missing is None:
                return prompt
            problems.append(f"chat_template leaves out {missing}")
        raise UnwritableError(problems[0])

    @abstractmethod
    def _write(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        """Write messages as they are, and open the model's answer; what the template leaves out is not noticed."""


def _forms(texts: Sequence[Message]) -> Iterator[Form]:
    """Yield a chat with fewer and fewer roles: many templates know only users and assistants who take turns."""
    yield texts, ()
    for roles in (("tool",), ("tool", *_SYSTEM)):
        yield in_user_turns(texts, roles), ()


def _missing(prompt: str, messages: Iterable[Message], tools: Iterable[Tool]) -> str | None:
    """Name the first message or tool that a prompt leaves out."""
    at = 0
    for message in messages:
        is_system = message.role in _SYSTEM  # which may stand anywhere
        end = _end_of(message.content.strip(), prompt, 0 if is_system else at)
        if end < 0:
            return f"the message of the role {message.role!r}"
        for call in message.tool_calls:
            if _end_of(call.name, prompt, at) < 0 and to_json(call.arguments) not in prompt:
                return f"the call of the tool {call.name!r}"
        at = at if is_system else end
    return next((f"the tool {tool.name!r}" for tool in tools if _end_of(tool.name, prompt, 0) < 0), None)


def _end_of(text: str, prompt: str, at: int) -> int:
    """Return where a text ends in a prompt, as it is, without its thoughts, or as JSON; -1 if it is not there."""
    begin = prompt.find(text, at)
    if begin >= 0:
        return begin + len(text)
    for form in (text.rpartition("</think>")[2].strip(), to_json(text)[1:-1], json.dumps(text)[1:-1]):
        begin = prompt.find(form, at)
        if begin >= 0:
            return begin + len(form)
    return -1


class ChatTemplate(BaseTemplate):
    """How a model wants its turns written.

    Attributes:
        turn: one turn, with `{role}` and `{content}` in their places.
        opening: what follows the last turn and makes the model answer.
        stop: what the model writes at the end of its answer; sent as a stop sequence.
        roles: the model's names of roles that are not called `system`, `user`, `assistant` and `tool`.
    """

    turn: str
    opening: str
    stop: str = Field(min_length=1)
    roles: dict[str, str] = Field(default_factory=dict)

    def _write(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        turns = []
        for message in messages:
            role = self.roles.get(message.role, message.role)
            turns.append(self.turn.replace("{role}", role).replace("{content}", message.content))
        return "".join(turns) + self.opening


def _text(message: Message, dialect: Dialect) -> str:
    """Return the content of a message with its calls, or the result that it is, written in a dialect."""
    if message.role == "tool":
        return dialect.result(message)
    calls = dialect.write(message.tool_calls) if message.tool_calls else ""
    return "\n".join(filter(None, (message.content, calls)))


class JinjaTemplate(BaseTemplate):
    """A chat template in Jinja, such as `chat_template` in a model's `tokenizer_config.json`.

    It gets what Transformers gives it: `messages`, `tools`, `add_generation_prompt`, `bos_token` and `eos_token`,
    the functions `raise_exception` and `strftime_now`, and loop controls. If it mentions tools, it writes calls
    itself; else they are written by the Hermes convention. Calls are read by that convention.

    Attributes:
        source: the template.
        stop: what the model writes at the end of its answer; `eos_token` by default.
        bos_token: what a prompt begins with. Servers add it themselves, so it is empty by default.
        eos_token: what ends a turn.
        variables: what else the template asks for, such as `{"enable_thinking": False}`.
    """

    source: str = Field(min_length=1)
    stop: str | None = Field(default=None, min_length=1)
    bos_token: str = ""
    eos_token: str = ""
    variables: JsonObject = Field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.source)  # `variables` has no hash

    @model_validator(mode="before")
    @classmethod
    def _stop_at_the_end(cls, fields: object) -> object:
        return {"stop": fields.get("eos_token") or None, **fields} if isinstance(fields, dict) else fields

    @property
    def writes_tools(self) -> bool:
        """Whether the template itself writes tools, calls and results; else they become text of its turns."""
        return "tools" in self.source or "tool_calls" in self.source

    def _write(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        template = compiled(self.source)
        from paradigm_transport.chat.sandbox import RefusedError, TooMuchWorkError, start

        start([message.content for message in messages])
        try:
            return template.render(
                messages=[message.to_openai() for message in messages],
                tools=[tool.to_openai() for tool in tools] or None,
                add_generation_prompt=True,
                bos_token=self.bos_token,
                eos_token=self.eos_token,
                **self.variables,
            )
        except TooMuchWorkError:
            is_too_much = True
        except Exception as problem:  # noqa: BLE001  # a template may call anything
            words = str(problem)
            is_from_source = isinstance(problem, RefusedError) and words.strip() and words in self.source
            # Other words may quote the messages.
            reason = " ".join(words.split()) if is_from_source else type(problem).__name__
            is_too_much = isinstance(problem, MemoryError)
        if is_too_much:
            raise InvalidParameterError("chat_template takes too much time or memory: a loop or a text grows too far")
        raise UnwritableError(f"chat_template cannot write these messages: {reason}")  # `problem` holds them


MAX_SOURCE = 100_000
"""The most characters of a template in Jinja; those of known models have up to 30,000."""


@lru_cache(maxsize=16)
def compiled(source: str) -> jinja2.Template:
    """Compile a template.

    Raises:
        InvalidParameterError: it is not valid Jinja, too large or too deeply nested, or Jinja is not installed.
    """
    try:
        from jinja2 import TemplateSyntaxError
    except ModuleNotFoundError:
        raise InvalidParameterError("a Jinja template needs jinja2: pip install jinja2") from None
    from paradigm_transport.chat.sandbox import Sandbox, start

    if len(source) > MAX_SOURCE:
        raise InvalidParameterError(f"not a valid Jinja template: it has more than {MAX_SOURCE:,} characters")
    start()
    try:
        return Sandbox(source).from_string(source)
    except TemplateSyntaxError as problem:
        reason = f"line {problem.lineno}: {problem.message}"
    except RecursionError:
        reason = "it is nested too deeply"
    except Exception as problem:  # noqa: BLE001  # such as a SyntaxError, of Python code that is nested too deeply
        reason = type(problem).__name__
    raise InvalidParameterError(f"not a valid Jinja template: {reason}")


Template = ChatTemplate | JinjaTemplate

CHAT_TEMPLATES = {
    # The markup alfred-40b was trained on.
    "alfred": ChatTemplate(
        turn="<start_{role}>{content}<end_message>", opening="<start_assistant>", stop="<end_message>"
    ),
    # SmolLM2, Qwen and many others.
    "chatml": ChatTemplate(
        turn="<|im_start|>{role}\n{content}<|im_end|>\n", opening="<|im_start|>assistant\n", stop="<|im_end|>"
    ),
}
"""The templates that have names."""


def read_template(value: object) -> str | Template:
    """Read any form of a chat template: those of `find_template`, and what files hold.

    In `tokenizer_config.json`, `chat_template` may be several templates, as a list of names and templates or an object
    of them, of which the default is taken.

    Raises:
        InvalidParameterError: it has another form, or a Jinja template is not valid.
    """
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        value = {each.get("name"): each.get("template") for each in value}
    if isinstance(value, Mapping):
        value = value.get("default", value)
    if isinstance(value, Mapping):
        kind = JinjaTemplate if "source" in value else ChatTemplate
        with suppress(ValidationError):
            value = kind.model_validate(value)
    if not isinstance(value, str | ChatTemplate | JinjaTemplate):
        known = ", ".join(map(repr, CHAT_TEMPLATES))
        raise InvalidParameterError(
            f"it must be {known}, Jinja source, a ChatTemplate, a JinjaTemplate, or the value of chat_template in a "
            f"tokenizer_config.json with a default template; not {type(value).__name__}"
        )
    find_template(value)
    return value


def find_template(template: str | Template) -> Template:
    """Return the template of a name or of a text in Jinja; a template as it is.

    Raises:
        InvalidParameterError: no template has that name, or a Jinja template is not valid.
    """
    if isinstance(template, str):
        if template in CHAT_TEMPLATES:
            return CHAT_TEMPLATES[template]
        if not any(mark in template for mark in ("{{", "{%")):
            known = ", ".join(map(repr, CHAT_TEMPLATES))
            raise InvalidParameterError(f"unknown template {template!r}; use {known}, a ChatTemplate or Jinja source")
        try:
            template.encode()
        except UnicodeEncodeError:
            raise InvalidParameterError("not a valid Jinja template: it holds half a surrogate pair") from None
        template = JinjaTemplate(source=template)
    if isinstance(template, JinjaTemplate):
        compiled(template.source)
    return template
