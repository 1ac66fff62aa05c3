"""Chat templates: messages in, the model's own markup out. Templates in Jinja are rendered in a sandbox."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paradigm_transport.chat.dialects.base import Dialect
from paradigm_transport.chat.dialects.hermes import HERMES
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
    from jinja2.parser import Parser


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
    for form in (text, text.rpartition("</think>")[2].strip(), to_json(text)[1:-1], json.dumps(text)[1:-1]):
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
    return "\n".join([message.content] * bool(message.content) + [dialect.call(call) for call in message.tool_calls])


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
        try:
            return compiled(self.source).render(
                messages=[message.to_openai() for message in messages],
                tools=[tool.to_openai() for tool in tools] or None,
                add_generation_prompt=True,
                bos_token=self.bos_token,
                eos_token=self.eos_token,
                **self.variables,
            )
        except InvalidParameterError:
            raise
        except Exception as problem:  # noqa: BLE001  # a template may call anything
            words = str(problem)
            is_from_source = isinstance(problem, RefusedError) and words.strip() and words in self.source
            # Other words may quote the messages.
            reason = " ".join(words.split()) if is_from_source else type(problem).__name__
        raise UnwritableError(f"chat_template cannot write these messages: {reason}")  # `problem` holds them


class RefusedError(ValueError):
    """A template has called `raise_exception`."""


@lru_cache(maxsize=16)
def compiled(source: str) -> jinja2.Template:
    """Compile a template.

    Raises:
        InvalidParameterError: it is not valid Jinja, or Jinja is not installed.
    """
    try:
        from jinja2 import TemplateSyntaxError
    except ModuleNotFoundError:
        raise InvalidParameterError("a Jinja template needs jinja2: pip install jinja2") from None
    try:
        return _environment().from_string(source)
    except TemplateSyntaxError as problem:
        line, words = problem.lineno, problem.message
    raise InvalidParameterError(f"not a valid Jinja template: line {line}: {words}")


def _environment() -> jinja2.Environment:
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}…{% endgeneration %}`, which marks the assistant's part for training."""

        tags = {"generation"}  # noqa: RUF012  # Jinja's own form

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    # A template means the local day.
    environment.globals.update(raise_exception=_raise, strftime_now=lambda form: datetime.now().strftime(form))
    return environment


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
        template = JinjaTemplate(source=template)
    if isinstance(template, JinjaTemplate):
        compiled(template.source)
    return template
