"""The route over the chat endpoint: messages go out in OpenAI's form, and the server writes the model's markup."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from paradigm_transport.chat.dialects.base import Reader, TextReader
from paradigm_transport.chat.events import ParsedMessage
from paradigm_transport.chat.message_reader import MessageReader
from paradigm_transport.chat.routes import (
    ChatChunk,
    ChatCompletion,
    ChatFields,
    ChatRequest,
    ChatRoute,
    Layer,
    Mechanism,
    MessageParameters,
    PromptRoute,
    end_events,
)
from paradigm_transport.chat.structured import closed, schema_instruction
from paradigm_transport.endpoints.chat_completions import ChatCompletionCall, ChatCompletionStreamCall
from paradigm_transport.endpoints.completions.reply import Choice, Completion, CompletionChunk
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.messages import JsonObject, Message, NamedTool, Tool, ToolCall, to_json, with_system


class MessageRoute:
    """The route over the chat endpoint.

    Args:
        constrain: what enforces a schema on the server; see `ChatFields`.
    """

    parameters = MessageParameters
    enforces_schemas = False
    """Servers ignore fields that they do not know."""

    def __init__(self, constrain: Mechanism | None = None) -> None:
        self._constrain = constrain

    def call(self, request: ChatRequest, *layers: Layer) -> ChatCompletionCall[ChatCompletion]:
        """Return the call whose reply is the whole answer; see `ChatRoute.call`."""
        parameters = self._parameters(request, layers)

        def convert(completion: Completion) -> ChatCompletion:
            return ChatCompletion(completion, [read(choice) for choice in completion.choices])

        def read(choice: Choice) -> ParsedMessage:
            reader, message = self._reader(request), ParsedMessage()
            message.add(reader.feed(choice))
            message.add(end_events(reader, choice.finish_reason, parameters.max_tokens))
            return message

        return ChatCompletionCall(wire_messages(request), parameters, convert)

    def stream_call(self, request: ChatRequest, *layers: Layer) -> ChatCompletionStreamCall[ChatChunk]:
        """Return the call that streams the answer; see `ChatRoute.stream_call`."""
        parameters = self._parameters(request, layers, single=True)
        reader = self._reader(request)

        def convert(chunk: CompletionChunk) -> ChatChunk:
            events = reader.feed(chunk)
            if chunk.is_last:
                events += end_events(reader, chunk.finish_reason, parameters.max_tokens)
            return ChatChunk(chunk, events)

        return ChatCompletionStreamCall(wire_messages(request), parameters, convert)

    def _parameters(self, request: ChatRequest, layers: Sequence[Layer], *, single: bool = False) -> MessageParameters:
        request.check_tool_choice()
        parameters = self.parameters.of(*layers, _tool_fields(request), self._schema_fields(request))
        if single and (parameters.n or 1) > 1:
            raise InvalidParameterError("n must be 1 while streaming, since a stream is one text")
        return parameters

    def _schema_fields(self, request: ChatRequest) -> JsonObject:
        """Return the fields that make the server enforce the schema of a chat."""
        if request.schema is None or request.offered:  # under a schema, the model could not call anything
            return {}
        schema = closed(request.schema)
        if self._constrain == "vllm":
            return {"extra_body": {"structured_outputs": {"json": schema}}}
        if self._constrain == "guided_json":
            return {"extra_body": {"guided_json": schema}}
        if self._constrain == "prompt":
            return {}
        if schema == {"type": "object"}:
            return {"response_format": {"type": "json_object"}}
        name = _NOT_IN_NAMES.sub("_", str(schema.get("title") or "answer"))[:64]
        return {"response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}}

    def _reader(self, request: ChatRequest) -> MessageReader:
        text_reader: Reader = TextReader()
        return MessageReader(text_reader, parallel=not request.is_single)


_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")


def _tool_fields(request: ChatRequest) -> JsonObject:
    if not request.tools:
        return {}
    fields: JsonObject = {"tools": [_wire_tool(tool) for tool in request.tools]}
    if isinstance(request.tool_choice, NamedTool):
        fields["tool_choice"] = {"type": "function", "function": {"name": request.tool_choice.name}}
    elif request.tool_choice != "auto":
        fields["tool_choice"] = "required" if request.tool_choice == "any" else "none"
    if not request.parallel_tool_calls:
        fields["parallel_tool_calls"] = False
    return fields


def _wire_tool(tool: Tool) -> JsonObject:
    wire = tool.to_openai()
    if tool.strict is not None:
        wire["function"]["strict"] = tool.strict
    return wire


def wire_messages(request: ChatRequest) -> list[JsonObject]:
    """Return the messages of a chat in OpenAI's form, with the instruction to follow its schema."""
    messages = request.messages
    if request.schema is not None:
        messages = with_system(messages, schema_instruction(request.schema))
    return list(map(_wire_message, _with_ids(messages)))


def _wire_message(message: Message) -> JsonObject:
    wire = message.to_openai()
    if message.parts:
        wire["content"] = list(message.parts)
    if message.thoughts:  # which templates of models that think between calls write back
        wire["reasoning_content"] = message.thoughts
    for call in wire.get("tool_calls", ()):
        call["function"]["arguments"] = to_json(call["function"]["arguments"])
    return wire


def _with_ids(messages: Sequence[Message]) -> Iterator[Message]:
    """Yield messages whose calls all have an id, which their results refer to: some providers' have none."""
    waiting: list[str] = []
    count = 0
    for message in messages:
        if message.tool_calls:
            calls: list[ToolCall] = []
            for call in message.tool_calls:
                count += 1
                calls.append(call if call.id else replace(call, id=f"call{count:05}"))
            waiting = [call.id for call in calls]
            yield replace(message, tool_calls=tuple(calls))
        elif message.role == "tool":
            call_id = message.tool_call_id or (waiting[0] if waiting else None)
            waiting = [each for each in waiting if each != call_id]
            yield replace(message, tool_call_id=call_id)
        else:
            yield message


def route_of(fields: ChatFields) -> ChatRoute:
    """Return the route of a chat model: over completions with a chat template, else over the chat endpoint."""
    if fields.chat_template is None:
        return MessageRoute(fields.constrain)
    return PromptRoute(fields.chat_template, "vllm" if fields.constrain == "vllm" else None)
