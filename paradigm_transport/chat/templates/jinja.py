"""Chat templates written in Jinja, as model repositories ship them; rendered in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.messages import Message, Tool, as_turns, in_order_of_calls

if TYPE_CHECKING:
    from jinja2 import Environment, Template


class JinjaTemplate(BaseModel):
    """A chat template in Jinja, such as `chat_template` in a model's `tokenizer_config.json`.

    It gets what Transformers gives it: `messages`, `tools`, `add_generation_prompt`, `bos_token` and `eos_token`,
    the functions `raise_exception` and `strftime_now`, and loop controls. Calls are read by the Hermes convention;
    where the template knows nothing of tools, they are written by it too.

    Attributes:
        source: the template.
        stop: what the model writes at the end of its answer; `eos_token` where it is not given.
        bos_token: what a prompt begins with. Servers put it there by themselves, so it is empty by default.
        eos_token: what ends a turn.
        variables: what else the template asks for, such as `{"enable_thinking": False}`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(min_length=1)
    stop: str | None = Field(default=None, min_length=1)
    bos_token: str = ""
    eos_token: str = ""
    variables: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _stop_at_the_end(cls, fields: Any) -> Any:
        return {"stop": fields.get("eos_token") or None, **fields} if isinstance(fields, dict) else fields

    def render(self, messages: Iterable[tuple[str, str]]) -> str:
        """Write messages, and open the model's answer.

        Args:
            messages: each a role and its content.

        Raises:
            UnwritableError: an InvalidParameterError; the template refuses the messages, or it is wrong.
        """
        return self.render_chat([Message(role, content) for role, content in messages])

    def render_prompt(self, prompt: str) -> str:
        """Write a plain prompt as the one turn of a user; as `render`.

        Args:
            prompt: what the user says.
        """
        return self.render([("user", prompt)])

    def render_chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        """Write messages and tools, and open the model's answer.

        Args:
            messages: the chat.
            tools: what the model may call.

        Raises:
            UnwritableError: an InvalidParameterError; the template refuses the messages, or it is wrong.
        """
        if not any(word in self.source for word in ("tools", "tool_calls")):
            messages, tools = [Message(*turn) for turn in as_turns(messages, tools)], ()
        else:
            messages = in_order_of_calls(messages)
        try:
            return compiled(self.source).render(
                messages=[message.as_openai() for message in messages],
                tools=[tool.as_function() for tool in tools] or None,
                add_generation_prompt=True,
                bos_token=self.bos_token,
                eos_token=self.eos_token,
                **self.variables,
            )
        except InvalidParameterError:
            raise
        except Exception as problem:  # noqa: BLE001  # a template may call anything
            told = self._told(problem)
        raise UnwritableError(told)  # out here: the problem holds the messages

    def _told(self, problem: Exception) -> str:
        words = str(problem)
        is_own = isinstance(problem, RefusedError) and words.strip() and words in self.source
        if not is_own:  # but perhaps of the messages
            words = type(problem).__name__
        return f"chat_template: it cannot write these messages: {' '.join(words.split())}"


class UnwritableError(InvalidParameterError):
    """The template cannot write these messages, perhaps because they are a part of a chat."""


class RefusedError(ValueError):
    """What a template says by `raise_exception`."""


@lru_cache(maxsize=16)
def compiled(source: str) -> Template:
    """A template, ready to render.

    Raises:
        InvalidParameterError: it is no Jinja, or Jinja is not installed.
    """
    try:
        from jinja2 import TemplateSyntaxError
    except ModuleNotFoundError:
        raise InvalidParameterError("a template in Jinja needs jinja2: pip install jinja2") from None
    try:
        return _environment().from_string(source)
    except TemplateSyntaxError as problem:
        line, words = problem.lineno, problem.message
    raise InvalidParameterError(f"it is no Jinja template: line {line}: {words}")


def _environment() -> Environment:
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}…{% endgeneration %}`, which marks the assistant's part for training."""

        tags = {"generation"}  # noqa: RUF012  # Jinja's own form

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own is for HTML. Nothing that is called may come from a template: it would run outside of the sandbox.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise RefusedError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)  # a template means the day here
