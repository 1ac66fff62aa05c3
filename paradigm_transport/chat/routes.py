"""Routes: a chat in, a call out whose reply is a message, or whose stream is a message's events; and their fields.

A route knows how an endpoint takes messages, tools and schemas, and how it returns text and calls. `PromptRoute` writes
all of it as the prompt of a completion; `MessageRoute`, in `message_route.py`, leaves that to the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from paradigm_transport.arguments import Fields
from paradigm_transport.calls import Call, StreamCall
from paradigm_transport.chat.dialects.base import Reader, TextReader
from paradigm_transport.chat.dialects.call_json import CUT_OFF
from paradigm_transport.chat.dialects.rows import find_dialect
from paradigm_transport.chat.events import CallEnd, Event, ParsedMessage
from paradigm_transport.chat.structured import closed, schema_instruction
from paradigm_transport.chat.templates import Template, find_template, read_template
from paradigm_transport.endpoints.chat_completions import ChatCompletionParameters, ChatOnlyFields
from paradigm_transport.endpoints.completions.call import CompletionCall, CompletionStreamCall
from paradigm_transport.endpoints.completions.fields import (
    CompletionFields,
    CompletionParameters,
    GenerationFields,
    GenerationParameters,
    MaxTokens,
    name_limit,
)
from paradigm_transport.endpoints.completions.reply import Choice, Completion, CompletionChunk
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.messages import InvalidToolCall, Message, NamedTool, Tool, ToolChoice, with_system

Layer = GenerationFields | Mapping[str, Any]
"""Fields of the endpoint: a model's, or a call's; a later layer wins."""


class TemplateFields(Fields):
    """How prompts are written for a chat model: declarations and checks only."""

    chat_template: str | Template | None = Field(
        default=None,
        description="How prompts and messages are written for the model: `alfred`, `chatml`, a ChatTemplate, Jinja "
        "source or a JinjaTemplate; None to send prompts as they are.",
    )

    @field_validator("chat_template", mode="before")
    @classmethod
    def _read_template(cls, template: object) -> object:
        return None if template is None else read_template(template)


def template_of(fields: TemplateFields) -> Template | None:
    """Return the chat template that was chosen, if any."""
    return None if fields.chat_template is None else find_template(fields.chat_template)


Mechanism = Literal["vllm", "guided_json", "prompt"]
"""What enforces a schema."""

_ONLY_COMPLETIONS = ("best_of", "echo", "suffix")
_ONLY_CHATS = tuple(ChatOnlyFields.model_fields)

FIELDS = frozenset((*CompletionFields.model_fields, *_ONLY_CHATS))
"""The fields of either endpoint that a chat model declares."""

_NEEDS_TEMPLATE = "it is a field of the completions endpoint, which a chat_template leads to"
_NEEDS_NO_TEMPLATE = "it is for the chat endpoint, which leaving chat_template out leads to"


class ChatFields(TemplateFields, ChatOnlyFields):
    """How messages and tools are written for a chat model, and so which endpoint is called: declarations and checks."""

    max_tokens: MaxTokens = 2048
    chat_template: str | Template | None = Field(
        default=None,
        description="How messages are written for the model: `alfred`, `chatml`, a ChatTemplate, Jinja source or a "
        "JinjaTemplate; they go to the completions endpoint. None for the chat endpoint, where the server writes them.",
    )
    constrain: Mechanism | None = Field(
        default=None,
        description="What enforces the JSON schema of structured output: `vllm` for vLLM's field `structured_outputs`, "
        "which on completions enforces required tool calls, too; on the chat endpoint also `guided_json`, the field of "
        "that name, or `prompt`, nothing but the prompt. None for nothing on completions, and for `response_format` on "
        "the chat endpoint.",
    )

    @field_validator("chat_template")
    @classmethod
    def _check_dialect(cls, template: str | Template | None) -> str | Template | None:
        if template is not None:
            find_dialect(find_template(template))
        return template

    @model_validator(mode="after")
    def _check_endpoint(self) -> Self:
        is_chat = self.chat_template is None
        for name in _ONLY_COMPLETIONS if is_chat else _ONLY_CHATS:
            if getattr(self, name, None) is not None:
                raise ValueError(f"{name}: {_NEEDS_TEMPLATE if is_chat else _NEEDS_NO_TEMPLATE}")
        if self.constrain == "guided_json" and not is_chat:
            raise ValueError(f"constrain='guided_json': {_NEEDS_NO_TEMPLATE}")
        if is_chat and "max_tokens" not in self.model_fields_set:
            self.__dict__["max_tokens"] = None  # the server's default, which is not a choice of the user's
        return self


class ChatParameters(CompletionParameters):
    """The fields of a request for an answer in a chat over completions."""

    max_tokens: MaxTokens = ChatFields.model_fields["max_tokens"].default


class MessageParameters(ChatCompletionParameters):
    """The fields of a request for an answer in a chat over the chat endpoint."""

    _elsewhere = dict.fromkeys(_ONLY_COMPLETIONS, _NEEDS_TEMPLATE)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat, before any markup.

    Attributes:
        messages: the chat.
        tools: the tools that the model may call.
        tool_choice: whether it calls them.
        parallel_tool_calls: whether a message may hold several calls; if not, it ends with the first.
        schema: a JSON schema; the message must be a JSON object of it, unless it is a call.
    """

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    schema: Mapping[str, Any] | None = None

    @property
    def offered(self) -> Sequence[Tool]:
        """The tools that may be called."""
        if self.required_name is not None:
            return [tool for tool in self.tools if tool.name == self.required_name]
        return () if self.tool_choice == "none" else self.tools

    @property
    def required_name(self) -> str | None:
        """The name of the one tool that must be called, if it was named."""
        return self.tool_choice.name if isinstance(self.tool_choice, NamedTool) else None

    @property
    def requires_call(self) -> bool:
        """Whether the message must be a call."""
        return self.tool_choice == "any" or self.required_name is not None

    @property
    def is_single(self) -> bool:
        """Whether the message ends with its first call."""
        return not self.parallel_tool_calls or self.required_name is not None

    def check_tool_choice(self) -> None:
        """Check that a call that is required is possible.

        Raises:
            InvalidParameterError: there are no tools, or not the one that was named.
        """
        if self.requires_call and not self.offered:
            if self.required_name is None:
                raise InvalidParameterError("tool_choice requires a tool call, but there are no tools")
            known = ", ".join(tool.name for tool in self.tools) or "none"
            raise InvalidParameterError(f"tool_choice: unknown tool {self.required_name!r}; known tools: {known}")

    @property
    def has_tools(self) -> bool:
        """Whether the chat has to do with tools, so that the message may hold calls or their markup."""
        return bool(self.tools) or any(each.tool_calls or each.role == "tool" for each in self.messages)


@dataclass(slots=True)
class ChatCompletion:
    """A whole answer to a chat.

    Attributes:
        completion: the completion as the server sent it: usage, ids, finish reasons and log-probabilities.
        messages: the message of each of its choices.
    """

    completion: Completion
    messages: list[ParsedMessage]


@dataclass(slots=True)
class ChatChunk:
    """What one event of the server's stream adds to a message.

    Attributes:
        chunk: the chunk as the server sent it; the last one carries the finish reason, usage and ids.
        events: the text and calls that it adds; none if all that arrived is still held back.
    """

    chunk: CompletionChunk
    events: list[Event]


def completion_parameters(template: Template | None, *layers: Layer, single: bool = False) -> CompletionParameters:
    """Merge the endpoint's fields for a prompt that a template wrote; the model's end mark becomes its first stop.

    Args:
        template: the template; None for a prompt as it is.
        layers: the fields.
        single: whether one completion is wanted, as in a stream.

    Raises:
        InvalidParameterError: a field is wrong.
    """
    kind = ChatParameters if any(isinstance(layer, ChatFields) for layer in layers) else CompletionParameters
    parameters = kind.of(*layers)
    if single and (parameters.n or 1) > 1:
        raise InvalidParameterError("n must be 1 while streaming, since a stream is one text")
    return parameters.with_stops(first=[template.stop] if template is not None and template.stop else [])


class ChatRoute(Protocol):
    """How an endpoint takes a chat and returns a message."""

    @property
    def parameters(self) -> type[GenerationParameters]:
        """The class of the endpoint's fields."""

    @property
    def enforces_schemas(self) -> bool:
        """Whether another attempt at an object would not help: the server enforces its schema."""

    def call(self, request: ChatRequest, *layers: Layer) -> Call[ChatCompletion]:
        """Return the call whose reply is the whole answer.

        Args:
            request: the chat.
            layers: the endpoint's fields.

        Raises:
            InvalidParameterError: a field is wrong, or the chat cannot be written.
        """

    def stream_call(self, request: ChatRequest, *layers: Layer) -> StreamCall[Any, ChatChunk]:
        """Return the call that streams the answer; as `call`."""


class PromptRoute:
    """The route over completions: the chat is written in the model's markup, which the answer is read by.

    Args:
        chat_template: writes the messages.
        constrain: the server-side mechanism that enforces schemas; None for none.
    """

    parameters = ChatParameters

    def __init__(self, chat_template: str | Template, constrain: Literal["vllm"] | None = None) -> None:
        self._template = find_template(chat_template)
        self._dialect = find_dialect(self._template)
        self._constrain = constrain

    @property
    def enforces_schemas(self) -> bool:
        """Whether the server enforces schemas; see `ChatRoute.enforces_schemas`."""
        return self._constrain is not None

    def call(self, request: ChatRequest, *layers: Layer) -> CompletionCall[ChatCompletion]:
        """Return the call whose reply is the whole answer; see `ChatRoute.call`."""
        parameters = self._parameters(request, layers, single=False)

        def convert(completion: Completion) -> ChatCompletion:
            return ChatCompletion(completion, [read(choice) for choice in completion.choices])

        def read(choice: Choice) -> ParsedMessage:
            reader, message = self.reader(request), ParsedMessage()
            message.add(reader.feed(choice.text))
            message.add(end_events(reader, choice.finish_reason, parameters.max_tokens))
            return message

        return CompletionCall(self.prompt(request), parameters, convert)

    def stream_call(self, request: ChatRequest, *layers: Layer) -> CompletionStreamCall[ChatChunk]:
        """Return the call that streams the answer; see `ChatRoute.stream_call`."""
        parameters = self._parameters(request, layers, single=True)
        reader = self.reader(request)

        def convert(chunk: CompletionChunk) -> ChatChunk:
            events = reader.feed(chunk.text)
            if chunk.is_last:
                events = [*events, *end_events(reader, chunk.finish_reason, parameters.max_tokens)]
            return ChatChunk(chunk, events)

        return CompletionStreamCall(self.prompt(request), parameters, convert)

    def prompt(self, request: ChatRequest) -> str:
        """Write a chat in the model's markup, and begin the call that is required of the answer.

        Raises:
            InvalidParameterError: the template cannot write it, or a required tool is unknown.
        """
        name = request.required_name
        request.check_tool_choice()
        messages = request.messages
        if request.schema is not None:
            messages = with_system(messages, schema_instruction(request.schema))
        # A tool that is named is called among all others, which the model may know of.
        tools = request.offered if name is None else request.tools
        prompt = self._template.render_chat(messages, tools, self._dialect)
        return prompt + self._dialect.prefill(name) if request.requires_call else prompt

    def _parameters(self, request: ChatRequest, layers: Sequence[Layer], *, single: bool) -> CompletionParameters:
        parameters = completion_parameters(self._template, *layers, single=single)
        if parameters.echo:
            raise InvalidParameterError("echo returns the prompt, which is not part of an answer in a chat")
        schema: Mapping[str, object] | None = None
        if self._constrain is not None and request.requires_call:
            schema = self._dialect.schema(request.offered, request.required_name)
        elif self._constrain is not None and not request.offered:  # under a schema, the model could not call anything
            schema = request.schema
        if schema is not None:  # the answer ends by itself
            return parameters.with_extra_body({"structured_outputs": {"json": closed(schema)}})
        if not request.has_tools:
            return parameters
        return parameters.with_stops(last=self._dialect.stops(offered=bool(request.offered), single=request.is_single))

    def reader(self, request: ChatRequest) -> Reader:
        """Return a reader of one answer to a chat."""
        if not request.has_tools:
            return TextReader()
        name, is_single = request.required_name, request.is_single
        return self._dialect.reader(prefilled=request.requires_call, name=name, parallel=not is_single)


class Ending(Protocol):
    """A reader at the end of an answer."""

    def finish(self) -> list[Event]:
        """End the answer; return the remaining events."""


def end_events(reader: Ending, finish_reason: str | None, max_tokens: int | None) -> list[Event]:
    """Return the events that end an answer. Of a call that was cut off, only the finish reason says why."""
    events = reader.finish()
    if finish_reason != "length":
        return events
    reason = f"the answer was cut off at {name_limit(max_tokens)} before the call ended; raise max_tokens"
    return [
        replace(event, call=replace(event.call, reason=reason))
        if isinstance(event, CallEnd) and isinstance(event.call, InvalidToolCall) and event.call.reason == CUT_OFF
        else event
        for event in events
    ]
