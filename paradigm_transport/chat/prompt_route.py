"""The route over completions: messages and tools go out as a prompt in the model's markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from paradigm_transport.chat.dialects.base import Reader
from paradigm_transport.chat.dialects.choosing import find_dialect
from paradigm_transport.chat.dialects.structural import call_or_object
from paradigm_transport.chat.events import ParsedMessage
from paradigm_transport.chat.fields import ChatFields, ChatParameters
from paradigm_transport.chat.routes import ChatChunk, ChatCompletion, ChatRequest, end_events, take_template_fields
from paradigm_transport.chat.structured import closed, schema_instruction
from paradigm_transport.chat.template_fields import Layer, completion_parameters
from paradigm_transport.chat.templates import AnyTemplate, find_template
from paradigm_transport.chat.unfenced import UnfencedReader
from paradigm_transport.endpoints.completions.call import CompletionCall, CompletionStreamCall
from paradigm_transport.endpoints.completions.fields import CompletionParameters
from paradigm_transport.endpoints.completions.reply import Choice, Completion, CompletionChunk
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import with_system


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
            InvalidParameterError: the model has no template.
        """
        template = template or fields.chat_template
        if template is None:
            raise InvalidParameterError("without chat_template, the server writes messages, and not as a prompt")
        constrain: Literal["vllm"] | None = "vllm" if fields.constrain == "vllm" else None
        return cls(template, constrain, fields.tool_call_parser, fields.reasoning_parser, fields.chat_template_kwargs)

    def call(self, request: ChatRequest, *layers: Layer) -> CompletionCall[ChatCompletion]:
        """Return the call whose reply is the whole answer; see `ChatRoute.call`.

        Among the fields of the call may be those that the template gets: `chat_template_kwargs`, over its variables,
        and `continue_final_message`, for `ChatRequest.continue_last`.
        """
        route, request, fields = self._prepared(request, layers)
        parameters, optional = route._fields(request, fields, single=False)
        prompt = route.prompt(request)

        def convert(completion: Completion) -> ChatCompletion:
            return ChatCompletion(completion, [read(choice) for choice in completion.choices])

        def read(choice: Choice) -> ParsedMessage:
            reader, message = route.reader(request, prompt), ParsedMessage()
            message.add(reader.feed(choice.text))
            message.add(end_events(reader, choice.finish_reason, parameters.max_tokens))
            return message

        return CompletionCall(prompt, parameters, convert, optional)

    def stream_call(self, request: ChatRequest, *layers: Layer) -> CompletionStreamCall[ChatChunk]:
        """Return the call that streams the answer; see `call`."""
        route, request, fields = self._prepared(request, layers)
        parameters, optional = route._fields(request, fields, single=True)
        prompt = route.prompt(request)
        reader = route.reader(request, prompt)

        def convert(chunk: CompletionChunk) -> ChatChunk:
            events = reader.feed(chunk.text)
            if chunk.is_last:
                events = [*events, *end_events(reader, chunk.finish_reason, parameters.max_tokens)]
            return ChatChunk(chunk, events)

        return CompletionStreamCall(prompt, parameters, convert, optional)

    def write(self, request: ChatRequest, fields: JsonObject) -> tuple[str, Layer]:
        """Return a chat as a prompt, and the fields of the call that the template does not get; see `call`.

        Raises:
            InvalidParameterError: the template cannot write it.
        """
        route, request, (rest,) = self._prepared(request, [fields])
        return route.prompt(request), rest

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
        request.check()
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

    def _fields(
        self, request: ChatRequest, layers: Sequence[Layer], *, single: bool
    ) -> tuple[CompletionParameters, dict[str, object]]:
        """Return the endpoint's fields, and those that a server may refuse."""
        parameters = completion_parameters(self._template, *layers, single=single, kind=ChatParameters)
        if parameters.echo:
            raise InvalidParameterError("echo returns the prompt, which is not part of an answer in a chat")
        if "chat_template_kwargs" in (parameters.extra_body or ()):
            raise InvalidParameterError(
                "extra_body holds chat_template_kwargs, which the server does not apply: pass the argument itself"
            )
        constraint = self._constraint(request)
        return self._enforced(request, parameters, constraint), self._optional(request, constraint)

    def _enforced(
        self, request: ChatRequest, parameters: CompletionParameters, constraint: JsonObject | None
    ) -> CompletionParameters:
        """Return the endpoint's fields with what ends the answer and, if every server knows it, its constraint."""
        dialect = self._dialect
        if constraint is not None:  # the answer ends by itself
            if "json" in constraint:
                parameters = parameters.with_extra_body({"structured_outputs": constraint})
            return parameters.with_stops(last=dialect.stops)
        if not request.has_tools:
            return parameters.with_stops(last=dialect.stops) if dialect.stops else parameters
        stops = dialect.stop_sequences(offered=bool(request.offered), single=request.is_single)
        return parameters.with_stops(last=stops)

    def _constraint(self, request: ChatRequest) -> JsonObject | None:
        """Return vLLM's `structured_outputs` for a call that is required, or for an object; None for none."""
        if self._constrain is None:
            return None
        if request.requires_call:
            offered, name = request.offered, request.required_name
            return self._dialect.calls.constraint(offered, name, parallel=not request.is_single)
        return {"json": closed(request.schema)} if request.schema is not None and not request.offered else None

    def _optional(self, request: ChatRequest, constraint: JsonObject | None) -> dict[str, object]:
        """Return fields of vLLM that make the answer easier to read, and that a server may refuse.

        Older servers know `json` alone of the constraints: a required call without one is still begun by the prompt.
        """
        fields: dict[str, object] = {}
        if request.has_tools or self._dialect.reads_plain_answers:
            fields["skip_special_tokens"] = False  # marks are special tokens of many models
        if not request.requires_call:
            constraint = self._offer(request)
        if constraint is not None and "json" not in constraint:
            fields["structured_outputs"] = constraint
        return fields

    def _offer(self, request: ChatRequest) -> JsonObject | None:
        """Return vLLM's `structured_outputs` for an answer that may hold calls; None for none."""
        if self._constrain is None or not request.offered:
            return None
        calls = self._dialect.calls.offer(request.offered, parallel=not request.is_single)
        return calls if calls is None or request.schema is None else call_or_object(calls, request.schema)

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
