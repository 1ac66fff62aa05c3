"""Templates in Jinja, as models' repositories hold them: rendered as Transformers does, in a sandbox."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from paradigm_transport.chat.templates.base import BaseTemplate
from paradigm_transport.chat.templates.forms import Form
from paradigm_transport.errors import InvalidParameterError, UnwritableError
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Message, Tool, to_json

if TYPE_CHECKING:
    import jinja2

_RESERVED = ("messages", "tools", "add_generation_prompt", "bos_token", "eos_token")

_THOUGHTS = re.compile(r"""(?<=[.'"])(?:reasoning_content|reasoning|thinking)\b""")
_THOUGHTS_AS_BLOCK = re.compile(r"""==\s*['"]thinking['"]""")


class JinjaTemplate(BaseTemplate):
    """A chat template in Jinja, such as `chat_template` in a model's `tokenizer_config.json`.

    It gets what Transformers gives it: `messages`, `tools`, `add_generation_prompt`, `bos_token` and `eos_token`,
    the functions `raise_exception` and `strftime_now`, and loop controls. If it mentions tools, it writes calls
    itself; else they are written by the Hermes convention. Calls are read by that convention.

    Attributes:
        source: the template.
        stop: what the model writes at the end of its answer; `eos_token` by default.
        bos_token: what a prompt begins with. Empty, the default: the server adds it. Else the prompt holds all special
            tokens, and the server is asked to add none (`add_special_tokens: false`).
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

    @field_validator("variables")
    @classmethod
    def _check_names(cls, variables: JsonObject) -> JsonObject:
        _check_names(variables)
        return variables

    @property
    def writes_tools(self) -> bool:
        """Whether the template itself writes tools, calls and results; else they become text of its turns."""
        return "tools" in self.source or "tool_calls" in self.source

    @property
    def lists_tools(self) -> bool:
        """Whether the template itself lists tools; see `BaseTemplate.lists_tools`."""
        return _lists_tools(self.source)

    @property
    def is_exact(self) -> bool:
        """Whether the prompt holds all special tokens, so that the server must add none."""
        return self.bos_token != ""

    def with_variables(self, variables: Mapping[str, Any]) -> Self:
        """Return the template with further variables, over those that it has.

        Args:
            variables: their values by name; JSON.

        Raises:
            InvalidParameterError: a name is reserved.
        """
        _check_names(variables)
        return self.model_copy(update={"variables": {**self.variables, **variables}}) if variables else self

    def _allow_work(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> None:
        compiled(self.source)
        from paradigm_transport.chat.sandbox import start

        texts = [
            "".join((message.content, message.thoughts, *(to_json(call.arguments) for call in message.tool_calls)))
            for message in messages
        ]
        start([*texts, *(to_json(tool.to_openai()) for tool in tools)])

    def _write_form(self, form: Form, *, opened: bool = True) -> str:
        template = compiled(self.source)
        from paradigm_transport.chat.sandbox import RefusedError, TooMuchWorkError

        try:
            return template.render(**self._context(form), add_generation_prompt=opened)
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

    def _context(self, form: Form) -> JsonObject:
        """Return what the template reads: copies, since it may change lists."""
        how = _how_thoughts_are_read(self.source)
        tools: list[JsonObject] | None = [_copied(tool.to_openai()) for tool in form.tools]
        return {
            "documents": None,
            **_copied(self.variables),
            "messages": [_message(message, form, how) for message in form.messages],
            "tools": tools if tools or form.lists_no_tools else None,
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
        }


def _check_names(variables: Mapping[str, Any]) -> None:
    for name in variables:
        if name in _RESERVED:
            raise InvalidParameterError(f"chat_template_kwargs must not hold {name}: the chat or the template sets it")


def _message(message: Message, form: Form, thoughts_as: tuple[str, ...]) -> JsonObject:
    written = message.to_openai(text_arguments=form.text_arguments)
    if message.tool_calls:
        written["tool_calls"] = _copied(written["tool_calls"])
    if message.thoughts and thoughts_as == ("block",):
        text = [{"type": "text", "text": message.content}] if message.content else []
        written["content"] = [{"type": "thinking", "thinking": message.thoughts}, *text]
    elif message.thoughts:
        written.update(dict.fromkeys(thoughts_as, message.thoughts))
    return written


@lru_cache(maxsize=16)
def _lists_tools(source: str) -> bool:
    """Return whether a template lists a tool in a short chat: in a longer one, its name may be part of a text."""
    template, tool = JinjaTemplate(source=source), Tool("q7_x9", "A tool.", {"type": "object", "properties": {}})
    has_refused = False
    for chat in ([Message("user", "A")], [Message("system", "A"), Message("user", "B")]):
        template._allow_work(chat)
        try:
            if tool.name in template._write_form(Form(chat, [tool])):
                return True
        except InvalidParameterError:  # with the variables of a user it may write what it refuses here
            has_refused = True
    return has_refused


@lru_cache(maxsize=16)
def _how_thoughts_are_read(source: str) -> tuple[str, ...]:
    """Return the keys of a message in which a template looks for its thoughts; or `block`, or nothing."""
    names = set(_THOUGHTS.findall(source))
    if names == {"thinking"} and _THOUGHTS_AS_BLOCK.search(source):
        return ("block",)
    if names == {"reasoning"}:
        return ("reasoning",)
    return ("reasoning_content", "thinking") if names else ()  # both, as Transformers does


def _copied(value: Any) -> Any:
    """Return a copy of JSON, of plain lists and dicts."""
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list | tuple) else value


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
