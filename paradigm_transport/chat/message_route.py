"""The route over the chat endpoint: messages go out in OpenAI's form, and the server writes the model's markup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from paradigm_transport.calls import Request
from paradigm_transport.chat.dialects.base import Reader, TextReader
from paradigm_transport.chat.dialects.choosing import dialect_of
from paradigm_transport.chat.events import ParsedMessage
from paradigm_transport.chat.fields import ChatFields, Mechanism, MessageParameters
from paradigm_transport.chat.message_reader import MessageReader
from paradigm_transport.chat.prompt_route import PromptRoute
from paradigm_transport.chat.routes import (
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    ChatRoute,
    end_events,
    take_template_fields,
)
from paradigm_transport.chat.structured import api_name, closed, schema_instruction
from paradigm_transport.chat.template_fields import Layer
from paradigm_transport.chat.templates import AnyTemplate
from paradigm_transport.chat.unfenced import UnfencedReader
from paradigm_transport.endpoints.chat_completions import (
    WITHOUT_TOOLS,
    ChatCompletionCall,
    ChatCompletionStreamCall,
)
from paradigm_transport.endpoints.completions.reply import Choice, Completion, CompletionChunk
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Message, NamedTool, Tool, ToolCall, to_json, with_system


class MessageRoute:
    """The route over the chat endpoint.

    Args:
        constrain: what enforces a schema on the server; see `ChatFields`.
        tool_call_parser: how calls are written that the server leaves in the text; see `ChatFields`.
        reasoning_parser: how thoughts are written that the server leaves in the text.
        chat_template_kwargs: variables of the server's template.
    """

    def __init__(
        self,
        constrain: Mechanism | None = None,
        tool_call_parser: str | None = None,
        reasoning_parser: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self._constrain = constrain
        self._parsers = tool_call_parser, reasoning_parser
        self._variables = dict(chat_template_kwargs or {})

    def call(self, request: ChatRequest, *layers: Layer) -> ChatCompletionCall[ChatCompletion]:
        """Return the call whose reply is the whole answer; see `ChatRoute.call`.

        Among the fields of the call may be `chat_template_kwargs`, over those of the route, and
        `continue_final_message`, for `ChatRequest.continue_last`; vLLM acts on them.
        """
        request, parameters = self._prepared(request, layers, single=False)

        def convert(completion: Completion) -> ChatCompletion:
            return ChatCompletion(completion, [read(choice) for choice in completion.choices])

        def read(choice: Choice) -> ParsedMessage:
            reader, message = self._reader(request), ParsedMessage()
            message.add(reader.feed(choice))
            message.add(end_events(reader, choice.finish_reason, parameters.max_tokens))
            _note_missing_call(call, request, reader, choice.finish_reason)
            return message

        call = ChatCompletionCall(wire_messages(request), parameters, convert, self._optional(request))
        return call

    def stream_call(self, request: ChatRequest, *layers: Layer) -> ChatCompletionStreamCall[ChatChunk]:
        """Return the call that streams the answer; see `call`."""
        request, parameters = self._prepared(request, layers, single=True)
        reader = self._reader(request)

        def convert(chunk: CompletionChunk) -> ChatChunk:
            events = reader.feed(chunk)
            if chunk.is_last:
                events += end_events(reader, chunk.finish_reason, parameters.max_tokens)
                _note_missing_call(call, request, reader, chunk.finish_reason)
            return ChatChunk(chunk, events)

        call = ChatCompletionStreamCall(wire_messages(request), parameters, convert, self._optional(request))
        return call

    def _prepared(
        self, request: ChatRequest, layers: Sequence[Layer], *, single: bool
    ) -> tuple[ChatRequest, MessageParameters]:
        request.check()
        variables, request, layers = take_template_fields(request, layers)
        parameters = MessageParameters.of(*layers, _tool_fields(request, strict=self._constrain == "vllm" or None))
        if single and (parameters.n or 1) > 1:
            raise InvalidParameterError("n must be 1 while streaming, since a stream is one text")
        further = self._schema_fields(request) if self._constrain is not None else {}
        variables = {**self._variables, **variables}
        if variables:
            further["chat_template_kwargs"] = variables
        if request.continues_message:
            further |= {"continue_final_message": True, "add_generation_prompt": False}
        return request, parameters.with_extra_body(further) if further else parameters

    def _optional(self, request: ChatRequest) -> JsonObject:
        """Return fields that the call can do without: what they ask for is checked here, too."""
        fields: JsonObject = self._schema_fields(request) if self._constrain is None else {}
        if request.tools and not request.parallel_tool_calls:
            fields["parallel_tool_calls"] = False
        return fields

    def _schema_fields(self, request: ChatRequest) -> JsonObject:
        """Return the fields that make the server enforce the schema of a chat."""
        if request.schema is None or request.offered:  # under a schema, the model could not call anything
            return {}
        schema = closed(request.schema)
        if self._constrain == "vllm":
            return {"structured_outputs": {"json": schema}}
        if self._constrain == "guided_json":
            return {"guided_json": schema}
        if self._constrain == "prompt":
            return {}
        if schema == {"type": "object"}:
            return {"response_format": {"type": "json_object"}}
        name = api_name(str(schema.get("title") or "answer"))
        return {"response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}}

    def _reader(self, request: ChatRequest) -> MessageReader:
        def make_text_reader(has_thoughts: bool) -> Reader:
            reader = make_inner(has_thoughts)
            return reader if request.schema is None else UnfencedReader(reader)

        def make_inner(has_thoughts: bool) -> Reader:
            calls, thoughts = self._parsers
            if calls is None and (thoughts is None or has_thoughts):
                return TextReader()
            dialect = dialect_of(calls, thoughts)
            if thoughts is None or has_thoughts:  # the server has taken them out
                dialect = replace(dialect, thoughts=None)
            return dialect.reader(
                tools=request.tools if request.offered else (),
                calls=calls is not None and request.has_tools,
                continued=request.continues_message,
                parallel=not request.is_single,
            )

        return MessageReader(make_text_reader, parallel=not request.is_single)


def _note_missing_call(call: Request, request: ChatRequest, reader: MessageReader, finish_reason: str | None) -> None:
    """Warn once if a message lacks the call that was required of it. The message stands: it is the server's."""
    if request.requires_call and not reader.count and finish_reason != "length":
        call.policy.warn_once(
            f"%s sent no tool call, although tool_choice requires one. {WITHOUT_TOOLS}", call.policy.host
        )


def _tool_fields(request: ChatRequest, *, strict: bool | None) -> JsonObject:
    """Return the fields of a chat's tools; `strict`, in the tools that leave it open, makes vLLM hold calls to them."""
    if not request.tools:
        return {}
    fields: JsonObject = {"tools": [_wire_tool(tool, strict) for tool in request.tools]}
    if isinstance(request.tool_choice, NamedTool):
        fields["tool_choice"] = {"type": "function", "function": {"name": request.tool_choice.name}}
    elif request.tool_choice != "auto":
        fields["tool_choice"] = "required" if request.tool_choice == "any" else "none"
    return fields


def _wire_tool(tool: Tool, strict: bool | None) -> JsonObject:
    wire, chosen = tool.to_openai(), strict if tool.strict is None else tool.strict
    if chosen is not None:
        wire["function"]["strict"] = chosen
    return wire


def wire_messages(request: ChatRequest) -> list[JsonObject]:
    """Return the messages of a chat in OpenAI's form, with the instruction to follow its schema."""
    messages = request.messages
    if request.schema is not None:
        messages = with_system(messages, schema_instruction(request.schema))
    return list(map(_wire_message, _paired(messages)))


def _wire_message(message: Message) -> JsonObject:
    wire = message.to_openai()
    if message.parts:
        wire["content"] = list(message.parts)
    if message.thoughts:  # which templates of models that think between calls write back
        wire["reasoning_content"] = message.thoughts
    for call in wire.get("tool_calls", ()):
        call["function"]["arguments"] = to_json(call["function"]["arguments"])
    return wire


def _paired(messages: Sequence[Message]) -> Iterator[Message]:
    """Yield messages in which each call has an id, and each result that of a call, as servers want it.

    The calls of some providers have no id. The result of no call goes out as the user's, after the results of calls:
    agents answer malformed calls, too, which are text by now.
    """
    known: set[str] = set()
    waiting: dict[str, None] = {}  # in the order of the calls
    without_call: list[Message] = []
    count = 0
    for message in messages:
        if message.role != "tool":
            yield from without_call
            without_call = []
        if message.tool_calls:
            calls: list[ToolCall] = []
            for call in message.tool_calls:
                count += 1
                calls.append(call if call.id else replace(call, id=f"call{count:05}"))
            waiting = dict.fromkeys(call.id for call in calls)
            known.update(waiting)
            yield replace(message, tool_calls=tuple(calls))
        elif message.role == "tool":
            call_id = message.tool_call_id or next(iter(waiting), None)
            if call_id in known:
                waiting.pop(call_id, None)
                yield replace(message, tool_call_id=call_id)
            else:
                without_call.append(replace(message, role="user", tool_call_id=None, name=None))
        else:
            yield message
    yield from without_call


def route_of(fields: ChatFields, template: AnyTemplate | None = None) -> ChatRoute:
    """Return the route of a chat model: over completions with a chat template, else over the chat endpoint.

    Args:
        fields: the model's.
        template: its chat template, if it was looked up; by default that of the fields.
    """
    if fields.chat_template is not None:
        return PromptRoute.of(fields, template)
    parsers = fields.tool_call_parser, fields.reasoning_parser
    return MessageRoute(fields.constrain, *parsers, fields.chat_template_kwargs)
