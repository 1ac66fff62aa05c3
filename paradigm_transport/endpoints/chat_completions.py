"""`POST /chat/completions`: messages in OpenAI's form in, a message out; its fields, and the two calls.

Replies, streams, stops, usage and faults are those of `POST /completions`; only the form of a choice differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from paradigm_transport.arguments import Fields
from paradigm_transport.calls import Event, Piece, Reply
from paradigm_transport.endpoints.completions.call import GenerationCall, GenerationRequest, GenerationStreamCall
from paradigm_transport.endpoints.completions.fields import MAX_STOPS, GenerationParameters, MaxTokens
from paradigm_transport.endpoints.completions.reply import CallPart, Completion, CompletionChunk, Contents
from paradigm_transport.endpoints.parameters import CallParameters
from paradigm_transport.errors import APIStatusError, InvalidParameterError
from paradigm_transport.http.responses import BaseResponse
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import to_json

# Fields


class ChatOnlyFields(Fields):
    """The fields that this endpoint has and `POST /completions` lacks: declarations and checks only."""

    top_logprobs: int | None = Field(
        default=None,
        ge=0,
        description="Return the log-probabilities of each token and of this many of the likeliest ones, 0 or more; as "
        "`logprobs`, under the name that chats have for it.",
    )


class ChatCompletionParameters(ChatOnlyFields, GenerationParameters):
    """The fields of one request of `POST /chat/completions`.

    Raises:
        InvalidParameterError: a name is unknown, or a value is of a wrong type or out of its range.
    """

    max_tokens: MaxTokens = None
    tools: list[JsonObject] | None = Field(
        default=None, description="What the model may call, in OpenAI's form. Not every server acts on it."
    )
    tool_choice: str | JsonObject | None = Field(
        default=None, description="`auto`, `none`, `required`, or a function in OpenAI's form."
    )
    parallel_tool_calls: bool | None = Field(default=None, description="Whether a message may hold several calls.")
    response_format: JsonObject | None = Field(
        default=None, description="The form of the text, as OpenAI's API has it. Not every server acts on it."
    )

    def _fields(self) -> Collection[str]:
        return FIELDS

    def merged(self, overrides: Mapping[str, Any]) -> ChatCompletionParameters:
        """Return these parameters with those of a call over them; see `of`.

        Args:
            overrides: the call's fields.

        Raises:
            InvalidParameterError: as at construction.
        """
        return ChatCompletionParameters.of(self, overrides)

    def body(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        stream: bool = False,
        stream_usage: bool = False,
    ) -> bytes:
        """Return the JSON of the request: only what was set, and no nulls.

        Args:
            messages: the chat, in OpenAI's form.
            stream: ask for a stream.
            stream_usage: ask for usage at its end.

        Raises:
            InvalidParameterError: a field cannot be encoded as JSON.
        """
        top = self.logprobs if self.top_logprobs is None else self.top_logprobs
        own: dict[str, object] = {
            "messages": messages,
            "stop": self.stop[:MAX_STOPS] if self.stop else None,
            "logprobs": None if top is None else True,
            "top_logprobs": top or None,
        }
        return self._body(own, stream=stream, stream_usage=stream_usage)


FIELDS = ChatCompletionParameters.model_fields.keys() - CallParameters.model_fields.keys()

# Replies


def read_message(choice: JsonObject, is_whole: bool) -> Contents | None:
    """Read a choice of `POST /chat/completions`; see `ReadContents`. A gateway may send it in the form of completions.

    A refusal is text. Thoughts are read under both names that servers have for them, and from parts of the content.
    """
    message = choice.get("message") or choice.get("delta")
    if not isinstance(message, dict):
        text = choice.get("text")
        if isinstance(text, str):
            return Contents(text)
        return Contents("") if message is None and not is_whole else None
    text, thoughts = _read_content(message.get("content"))
    calls = _read_calls(message, is_whole)
    if text is None or calls is None:
        return None
    thoughts = next(filter(None, map(_text, (message.get("reasoning_content"), message.get("reasoning")))), thoughts)
    text = text or _text(message.get("refusal"))
    is_read = bool(text or thoughts or calls) or "content" in message  # null means no text; nothing may mean anything
    return Contents(text, thoughts, calls) if is_read or not is_whole else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _read_content(content: object) -> tuple[str | None, str]:
    """Read text and thoughts from a content, which is a text or a list of parts; None for the text if it is neither."""
    if content is None or isinstance(content, str):
        return content or "", ""
    if not isinstance(content, list):
        return None, ""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            thoughts += _texts_of(part.get("thinking") or part.get("reasoning"))
            texts += _texts_of(part.get("text") or part.get("refusal"))
    return "".join(texts), "".join(thoughts)


def _texts_of(value: object) -> list[str]:
    if isinstance(value, list):  # Mistral's thoughts are a list of parts, too
        return [_text(part.get("text")) for part in value if isinstance(part, dict)]
    return [_text(value)]


def _read_calls(message: JsonObject, is_whole: bool) -> tuple[CallPart, ...] | None:
    """Read the calls of a message, also the one of OpenAI's older API; None if they have another form."""
    calls = message.get("tool_calls")
    if not calls:
        older = message.get("function_call")
        return (_read_call({"function": older}, 0),) if isinstance(older, dict) else ()
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        return None
    return tuple(_read_call(call, place if is_whole else call.get("index")) for place, call in enumerate(calls))


def _read_call(call: JsonObject, index: object) -> CallPart:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments")
    if not isinstance(arguments, str):  # some servers write an object in place of its JSON
        arguments = "" if arguments is None else to_json(arguments)
    return CallPart(
        index if type(index) is int else None, _text(call.get("id")), _text(function.get("name")), arguments
    )


# Calls

_CANNOT_CALL = re.compile(
    r"tool.?choice|tool.?call.?parser|auto.?tool|\btools\b|\bfunctions?\b.{0,40}\bnot\b", re.IGNORECASE
)


class _ChatRequest(GenerationRequest[ChatCompletionParameters, Piece, Event]):
    path = "chat/completions"
    read_contents = staticmethod(read_message)

    def __init__(
        self,
        messages: Sequence[Mapping[str, Any]],
        parameters: ChatCompletionParameters,
        convert: Callable[[Piece], Event],
        optional: Mapping[str, object] | None = None,
    ) -> None:
        if isinstance(messages, str | Mapping) or not all(isinstance(message, Mapping) for message in messages):
            raise InvalidParameterError('messages must be a list of messages, each {"role": ..., "content": ...}')
        super().__init__(parameters, convert, optional)
        self.messages = messages
        self.prompts = tuple(text for message in messages for text in _texts_in(message))

    def encode_as(self, *, stream: bool, stream_usage: bool) -> bytes:
        """Return the body; see `GenerationRequest.encode_as`."""
        return self._wanted.body(self.messages, stream=stream, stream_usage=stream_usage)

    def check(self, response: BaseResponse, data: bytes) -> None:
        """Raise the error for a refusal; see `Request.check`. One of tools says what to do."""
        try:
            super().check(response, data)
        except APIStatusError as error:
            if self.parameters.tools and error.status_code in (400, 422) and _CANNOT_CALL.search(str(error)):
                error.args = (f"{error} {WITHOUT_TOOLS}",)
            raise


WITHOUT_TOOLS = (
    "If this server cannot call tools with this model, pass chat_template: ChatParadigm then uses the completions "
    "endpoint, and reads calls itself. If the server leaves calls in the text, pass tool_call_parser."
)
"""What to do if the endpoint refuses or ignores tools."""


def _texts_in(message: Mapping[str, Any]) -> Iterator[str]:
    content = message.get("content")
    for part in content if isinstance(content, list) else [content]:
        yield _text(part.get("text") if isinstance(part, Mapping) else part)
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        yield _text(function.get("arguments")) if isinstance(function, Mapping) else ""


class ChatCompletionCall(_ChatRequest[Completion, Reply], GenerationCall[ChatCompletionParameters, Reply]):
    """A call that returns a whole message.

    Args:
        messages: the chat, in OpenAI's form.
        parameters: the endpoint's fields.
        convert: what to make of the reply.
        optional: fields to send in `extra_body`, which are left out if the server refuses them.
    """


class ChatCompletionStreamCall(
    _ChatRequest[CompletionChunk, Event], GenerationStreamCall[ChatCompletionParameters, Event]
):
    """A call that streams a message.

    Args:
        messages: the chat, in OpenAI's form.
        parameters: the endpoint's fields.
        convert: what to make of each chunk, in order.
        optional: as for `ChatCompletionCall`.
    """
