"""Routes: a chat in, a call out whose reply is a message, or whose stream is a message's events.

A route knows how an endpoint takes messages, tools and schemas, and how it returns text and calls. `PromptRoute` writes
all of it as the prompt of a completion; `MessageRoute` leaves that to the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from paradigm_transport.calls import Call, StreamCall
from paradigm_transport.chat.dialects.call_json import CUT_OFF
from paradigm_transport.chat.events import CallEnd, Event, ParsedMessage
from paradigm_transport.chat.template_fields import Layer
from paradigm_transport.endpoints.completions.fields import name_limit
from paradigm_transport.endpoints.completions.reply import Completion, CompletionChunk
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import (
    InvalidToolCall,
    Message,
    NamedTool,
    Tool,
    ToolChoice,
    can_be_continued,
)


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

    def check(self) -> None:
        """Check that there is something to answer, and that a call that is required is possible.

        Raises:
            InvalidParameterError: there are no messages, no tools, or not the tool that was named.
        """
        if not self.messages:
            raise InvalidParameterError("a chat needs at least one message")
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


class ChatRoute(Protocol):
    """How an endpoint takes a chat and returns a message."""

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
