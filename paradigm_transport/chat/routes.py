"""Routes: a chat in, a call out whose reply is a message, or whose stream is a message's events; and their fields.

A route knows how an endpoint takes messages, tools and schemas, and how it returns text and calls. `PromptRoute` writes
all of it as the prompt of a completion; `MessageRoute`, in `message_route.py`, leaves that to the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from pydantic import Field, ValidationInfo, field_validator, model_validator
from typing_extensions import Self

from paradigm_transport.arguments import Fields
from paradigm_transport.calls import Call, StreamCall
from paradigm_transport.chat.dialects.base import Reader
from paradigm_transport.chat.dialects.call_json import CUT_OFF
from paradigm_transport.chat.dialects.choosing import check_parser, find_dialect
from paradigm_transport.chat.dialects.structural import call_or_object
from paradigm_transport.chat.events import CallEnd, Event, ParsedMessage
from paradigm_transport.chat.structured import closed, schema_instruction
from paradigm_transport.chat.templates import SERVER, AnyTemplate, Template, find_template, read_template
from paradigm_transport.chat.unfenced import UnfencedReader
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
from paradigm_transport.messages import (
    InvalidToolCall,
    JsonObject,
    Message,
    NamedTool,
    Tool,
    ToolChoice,
    can_be_continued,
    with_system,
)

Layer = GenerationFields | Mapping[str, Any]
"""Fields of the endpoint: a model's, or a call's; a later layer wins."""


class TemplateFields(Fields):
    """How prompts are written for a chat model: declarations and checks only."""

    chat_template: AnyTemplate | None = Field(
        default=None,
        description="How prompts and messages are written for the model: `alfred`, `chatml`, a ChatTemplate, Jinja "
        "source, a JinjaTemplate, or the path of a tokenizer_config.json or *.jinja file; None to send prompts as they "
        "are.",
    )
    chat_template_kwargs: JsonObject | None = Field(
        default=None,
        description='Variables of a chat template in Jinja, such as `{"enable_thinking": False}`.',
    )

    @field_validator("chat_template", mode="before")
    @classmethod
    def _read_template(cls, template: object) -> object:
        return None if template is None else read_template(template)

    @model_validator(mode="after")
    def _check_variables(self) -> Self:
        if self.chat_template_kwargs and not self._has_template_of_server and template_of(self) is None:
            raise ValueError("chat_template_kwargs needs a chat_template in Jinja, whose variables they are")
        return self

    @property
    def _has_template_of_server(self) -> bool:
        return self.chat_template == SERVER


def template_of(fields: TemplateFields) -> Template | None:
    """Return the chat template that was chosen, with its variables, if any.

    Raises:
        InvalidParameterError: the template has no variables, or sets one of that name itself.
    """
    template = None if fields.chat_template is None else find_template(fields.chat_template)
    return template and template.with_variables(fields.chat_template_kwargs or {})


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
    chat_template: AnyTemplate | None = Field(
        default=None,
        description="How messages are written for the model: `alfred`, `chatml`, a ChatTemplate, Jinja source, a "
        "JinjaTemplate, the path of a tokenizer_config.json or *.jinja file, or `server` for the one in the server's "
        "model list; they go to the completions endpoint. None for the chat endpoint, where the server writes them.",
    )
    constrain: Mechanism | None = Field(
        default=None,
        description="What enforces the JSON schema of structured output: `vllm` for vLLM's field `structured_outputs`, "
        "which on completions enforces required tool calls, too; on the chat endpoint also `guided_json`, the field of "
        "that name, or `prompt`, nothing but the prompt. None for nothing on completions, and for `response_format` on "
        "the chat endpoint.",
    )

    tool_call_parser: str | None = Field(
        default=None,
        description="How the model writes tool calls: the name of its parser in vLLM (`--tool-call-parser`). By "
        "default it is found from chat_template; without one, calls in the text are not looked for.",
    )
    reasoning_parser: str | None = Field(
        default=None,
        description="How the model writes what it thinks: the name of its parser in vLLM (`--reasoning-parser`). By "
        "default it is found from chat_template; without one, thoughts in the text are not looked for.",
    )

    @field_validator("chat_template", mode="before")
    @classmethod
    def _read_template(cls, template: object) -> object:
        return template if template == SERVER else super()._read_template(template)

    @field_validator("tool_call_parser", "reasoning_parser")
    @classmethod
    def _check_parser(cls, name: str | None, info: ValidationInfo) -> str | None:
        check_parser(str(info.field_name), name)
        return name

    @property
    def _has_template_of_server(self) -> bool:
        return self.chat_template in (None, SERVER)

    @model_validator(mode="after")
    def _check_dialect(self) -> Self:
        if not self._has_template_of_server:
            PromptRoute.of(self)
        return self

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
        continue_last: whether the answer continues the last message, if that is an assistant's without calls.
    """

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    schema: Mapping[str, Any] | None = None
    continue_last: bool = False

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
    def continues_message(self) -> bool:
        """Whether the answer continues the last message."""
        return self.continue_last and not self.requires_call and can_be_continued(self.messages)

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
    if template is None:
        return parameters
    if template.is_exact:
        parameters = parameters.with_extra_body({"add_special_tokens": False})
    return parameters.with_stops(first=[template.stop] if template.stop else [])


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


_FOR_TEMPLATE = frozenset({"chat_template_kwargs", "continue_final_message"})
"""Fields of a call that are not sent."""


class PromptRoute:
    """The route over completions: the chat is written in the model's markup, which the answer is read by.

    Args:
        chat_template: writes the messages.
        constrain: the server-side mechanism that enforces schemas; None for none.
        tool_call_parser: how calls are written; found from the template by default. See `ChatFields`.
        reasoning_parser: how thoughts are written; found from the template by default.
        chat_template_kwargs: variables of the template, over its own.

    Raises:
        InvalidParameterError: the template has no variables, or sets one of that name itself.
    """

    parameters = ChatParameters

    def __init__(
        self,
        chat_template: AnyTemplate,
        constrain: Literal["vllm"] | None = None,
        tool_call_parser: str | None = None,
        reasoning_parser: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self._template = find_template(chat_template).with_variables(chat_template_kwargs or {})
        self._parsers = tool_call_parser, reasoning_parser
        self._dialect = find_dialect(self._template, *self._parsers)
        self._constrain = constrain

    @classmethod
    def of(cls, fields: ChatFields, template: AnyTemplate | None = None) -> PromptRoute:
        """Return the route of a chat model.

        Args:
            fields: the model's.
            template: its chat template; by default that of the fields.

        Raises:
            InvalidParameterError: there is no template.
        """
        template = template or fields.chat_template
        if template is None:
            raise InvalidParameterError("without chat_template, the server writes messages, and not as a prompt")
        constrain: Literal["vllm"] | None = "vllm" if fields.constrain == "vllm" else None
        return cls(template, constrain, fields.tool_call_parser, fields.reasoning_parser, fields.chat_template_kwargs)

    @property
    def enforces_schemas(self) -> bool:
        """Whether the server enforces schemas; see `ChatRoute.enforces_schemas`."""
        return self._constrain is not None

    def call(self, request: ChatRequest, *layers: Layer) -> CompletionCall[ChatCompletion]:
        """Return the call whose reply is the whole answer; see `ChatRoute.call`.

        Among the fields of the call may be those that the template gets: `chat_template_kwargs`, over its variables,
        and `continue_final_message`, for `ChatRequest.continue_last`.
        """
        route, request, fields = self._prepared(request, layers)
        parameters = route._parameters(request, fields, single=False)
        prompt = route.prompt(request)

        def convert(completion: Completion) -> ChatCompletion:
            return ChatCompletion(completion, [read(choice) for choice in completion.choices])

        def read(choice: Choice) -> ParsedMessage:
            reader, message = route.reader(request, prompt), ParsedMessage()
            message.add(reader.feed(choice.text))
            message.add(end_events(reader, choice.finish_reason, parameters.max_tokens))
            return message

        return CompletionCall(prompt, parameters, convert, route._optional(request))

    def stream_call(self, request: ChatRequest, *layers: Layer) -> CompletionStreamCall[ChatChunk]:
        """Return the call that streams the answer; see `call`."""
        route, request, fields = self._prepared(request, layers)
        parameters = route._parameters(request, fields, single=True)
        prompt = route.prompt(request)
        reader = route.reader(request, prompt)

        def convert(chunk: CompletionChunk) -> ChatChunk:
            events = reader.feed(chunk.text)
            if chunk.is_last:
                events = [*events, *end_events(reader, chunk.finish_reason, parameters.max_tokens)]
            return ChatChunk(chunk, events)

        return CompletionStreamCall(prompt, parameters, convert, route._optional(request))

    def _prepared(
        self, request: ChatRequest, layers: Sequence[Layer]
    ) -> tuple[PromptRoute, ChatRequest, Sequence[Layer]]:
        """Take what the template gets out of the fields of a call."""
        variables, request, rest = take_template_fields(request, layers)
        if rest is layers:
            return self, request, layers
        return PromptRoute(self._template, self._constrain, *self._parsers, variables), request, rest

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
        is_continued = request.continues_message
        prompt = self._template.render_chat(messages, tools, self._dialect, continue_last=is_continued)
        if is_continued or not (request.requires_call or self._enforces_schema(request)):
            return prompt
        prompt = self._dialect.without_thoughts(prompt)
        return prompt + self._dialect.calls.prefill(name) if request.requires_call else prompt

    def _enforces_schema(self, request: ChatRequest) -> bool:
        """Whether the server enforces the schema of the message, unless that is a call."""
        return self._constrain is not None and request.schema is not None and not request.requires_call

    def _parameters(self, request: ChatRequest, layers: Sequence[Layer], *, single: bool) -> CompletionParameters:
        parameters = completion_parameters(self._template, *layers, single=single)
        if parameters.echo:
            raise InvalidParameterError("echo returns the prompt, which is not part of an answer in a chat")
        dialect = self._dialect
        constraint: Mapping[str, object] | None = None
        if self._constrain is not None and request.requires_call:
            offered, name = request.offered, request.required_name
            constraint = dialect.calls.constraint(offered, name, parallel=not request.is_single)
        elif request.schema is not None and self._enforces_schema(request) and not request.offered:
            constraint = {"json": closed(request.schema)}
        if constraint is not None:  # the answer ends by itself
            return parameters.with_extra_body({"structured_outputs": constraint}).with_stops(last=dialect.stops)
        if not request.has_tools:
            return parameters.with_stops(last=dialect.stops) if dialect.stops else parameters
        stops = dialect.stop_sequences(offered=bool(request.offered), single=request.is_single)
        return parameters.with_stops(last=stops)

    def _optional(self, request: ChatRequest) -> dict[str, object]:
        """Return fields of vLLM that make the answer easier to read, and that a server may refuse."""
        fields: dict[str, object] = {}
        if request.has_tools or self._dialect.reads_plain_answers:
            fields["skip_special_tokens"] = False  # marks are special tokens of many models
        if self._constrain is not None and request.offered and not request.requires_call:
            calls = self._dialect.calls.offer(request.offered, parallel=not request.is_single)
            if calls is not None:
                schema = request.schema
                fields["structured_outputs"] = calls if schema is None else call_or_object(calls, schema)
        return fields

    def reader(self, request: ChatRequest, prompt: str = "") -> Reader:
        """Return a reader of one answer to a chat.

        Args:
            request: the chat.
            prompt: the chat as it was written, which may end in the beginning of thoughts.
        """
        reader = self._dialect.reader(
            prompt=prompt,
            tools=request.tools if request.offered else (),
            calls=request.has_tools,
            continued=request.continues_message,
            prefilled=request.requires_call,
            name=request.required_name,
            parallel=not request.is_single,
        )
        return reader if request.schema is None else UnfencedReader(reader)


def take_template_fields(
    request: ChatRequest, layers: Sequence[Layer]
) -> tuple[JsonObject, ChatRequest, Sequence[Layer]]:
    """Take what a template gets out of the fields of a call.

    Returns:
        The template's variables, the chat, and the other fields: the same layers if there were no such fields.

    Raises:
        InvalidParameterError: the variables are not an object.
    """
    taken = [layer for layer in layers if isinstance(layer, Mapping) and not _FOR_TEMPLATE.isdisjoint(layer)]
    if not taken:
        return {}, request, layers
    variables: JsonObject = {}
    for layer in taken:
        variables.update(_variables(layer.get("chat_template_kwargs")))
        request = replace(request, continue_last=bool(layer.get("continue_final_message", request.continue_last)))
    rest = [
        {name: value for name, value in layer.items() if name not in _FOR_TEMPLATE} if layer in taken else layer
        for layer in layers
    ]
    return variables, request, rest


def _variables(value: object) -> JsonObject:
    if not isinstance(value, Mapping | None):
        raise InvalidParameterError(
            f"chat_template_kwargs must be an object of names and values, not {type(value).__name__}"
        )
    return dict(value or {})


class Ending(Protocol):
    """A reader at the end of an answer."""

    def finish(self, *, cut_off: bool = False) -> list[Event]:
        """End the answer; see `Reader.finish`."""


def end_events(reader: Ending, finish_reason: str | None, max_tokens: int | None) -> list[Event]:
    """Return the events that end an answer. Of a call that was cut off, only the finish reason says why."""
    events = reader.finish(cut_off=finish_reason == "length")
    if finish_reason != "length":
        return events
    reason = f"the answer was cut off at {name_limit(max_tokens)} before the call ended; raise max_tokens"
    return [
        replace(event, call=replace(event.call, reason=reason))
        if isinstance(event, CallEnd) and isinstance(event.call, InvalidToolCall) and event.call.reason == CUT_OFF
        else event
        for event in events
    ]
