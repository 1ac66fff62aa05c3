"""From the server's replies to LlamaIndex's responses."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from typing import Generic, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LogProb,
    MessageRole,
    TextBlock,
)

from llama_index_paradigm._compat import raw_with_usage, thinking_blocks, tool_call_blocks, tool_call_kwargs
from llama_index_paradigm._in import Call
from paradigm_transport import Completion, CompletionChunk, Logprobs
from paradigm_transport.chat.events import CallArguments, CallBegin, Event, Text, Thought
from paradigm_transport.chat.routes import ChatChunk, ChatCompletion
from paradigm_transport.messages import InvalidToolCall, JsonObject, to_json
from paradigm_transport.streams import AsyncStream, Stream

logger = logging.getLogger(__name__)

Chunk = TypeVar("Chunk")
Response = TypeVar("Response", CompletionResponse, ChatResponse)


def responses(stream: Stream[Chunk], read: Callable[[Chunk], Response]) -> Generator[Response, None, None]:
    """Read a stream, and close it when the generator is left."""
    with stream:
        for chunk in stream:
            yield read(chunk)


async def aresponses(stream: AsyncStream[Chunk], read: Callable[[Chunk], Response]) -> AsyncGenerator[Response, None]:
    """As `responses`."""
    async with stream:
        async for chunk in stream:
            yield read(chunk)


class Reader(Generic[Response]):
    """Turns one completion into responses, whole or chunk by chunk."""

    def __init__(self) -> None:
        self.text = ""

    def read(self, completion: Completion) -> Response:
        """Return the response to a whole completion, to its first choice."""
        self.text = completion.text
        return self._respond(whole(completion))

    def read_chunk(self, chunk: CompletionChunk) -> Response:
        """Return the response to a stream so far."""
        self.text += chunk.text
        return self._respond(piece(chunk, chunk.text))

    def _respond(self, fields: JsonObject) -> Response:
        raise NotImplementedError


class CompletionReader(Reader[CompletionResponse]):
    """Reads the completion of a prompt."""

    def _respond(self, fields: JsonObject) -> CompletionResponse:
        return CompletionResponse(text=self.text, **fields)


class ChatReader(Reader[ChatResponse]):
    """Reads the completion of messages that were formatted as a prompt."""

    def _respond(self, fields: JsonObject) -> ChatResponse:
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=self.text), **fields)


class CallReader:
    """Reads the answer to a chat, and the tool calls in it, whole or chunk by chunk."""

    def __init__(self) -> None:
        self._text = self._thoughts = ""
        self._calls: dict[int, Call] = {}
        self._invalid: list[InvalidToolCall] = []

    def read(self, reply: ChatCompletion) -> ChatResponse:
        """Return the response to a whole answer, to its first message."""
        parsed = reply.messages[0]
        for invalid in parsed.invalid_calls:
            _warn(invalid)
        calls = [Call(call.id, call.name, to_json(call.arguments), call.arguments) for call in parsed.calls]
        message = assistant_message(parsed.text, calls, parsed.invalid_calls, parsed.thoughts)
        return ChatResponse(message=message, **whole(reply.completion))

    def read_chunk(self, streamed: ChatChunk) -> ChatResponse:
        """Return the response to a stream so far."""
        text, thoughts = len(self._text), len(self._thoughts)
        for event in streamed.events:
            self._add(event)
        message = assistant_message(self._text, list(self._calls.values()), self._invalid, self._thoughts)
        response = ChatResponse(message=message, **piece(streamed.chunk, self._text[text:]))
        if len(self._thoughts) > thoughts:
            response.additional_kwargs["thinking_delta"] = self._thoughts[thoughts:]
        return response

    def _add(self, event: Event) -> None:
        if isinstance(event, Text):
            self._text += event.text
        elif isinstance(event, Thought):
            self._thoughts += event.text
        elif isinstance(event, CallBegin):
            self._calls[event.index] = Call(event.id, event.name)
        elif isinstance(event, CallArguments):
            self._calls[event.index].text += event.text
        elif isinstance(event.call, InvalidToolCall):
            self._calls.pop(event.index, None)
            self._invalid.append(event.call)
            _warn(event.call)
        else:
            self._calls[event.index].arguments = event.call.arguments


def _warn(call: InvalidToolCall) -> None:
    logger.warning("Ignoring a malformed tool call: %s.", call.reason)


def whole(completion: Completion) -> JsonObject:
    """Return what a response holds beside the text of a whole completion."""
    choice = completion.choices[0]
    return {
        "raw": raw_with_usage(completion.raw, completion.usage),
        "logprobs": _logprobs(choice.logprobs),
        "additional_kwargs": _details(completion, choice.finish_reason),
    }


def piece(chunk: CompletionChunk, delta: str) -> JsonObject:
    """Return what a response holds beside the text of a stream so far."""
    return {
        "delta": delta,
        "raw": raw_with_usage(chunk.raw, chunk.usage),
        "logprobs": _logprobs(chunk.logprobs),
        "additional_kwargs": _details(chunk, chunk.finish_reason) if chunk.is_last else {},
    }


def assistant_message(
    text: str, calls: Sequence[Call], invalid: Sequence[InvalidToolCall], thoughts: str = ""
) -> ChatMessage:
    """Return an assistant's message.

    Args:
        text: its text.
        calls: its tool calls; see `tool_call_blocks` and `tool_call_kwargs`.
        invalid: malformed tool calls, which go into `additional_kwargs["invalid_tool_calls"]`.
        thoughts: what the model thought before it answered; see `thinking_blocks`.
    """
    texts = [TextBlock(text=text)] if text or not calls else []
    blocks = [
        *thinking_blocks(thoughts),
        *texts,
        *tool_call_blocks((call.id, call.name, _arguments(call)) for call in calls),
    ]
    kwargs = tool_call_kwargs((call.id, call.name, call.text) for call in calls)
    if invalid:
        kwargs["invalid_tool_calls"] = [
            {"id": call.id, "name": call.name, "text": call.text, "reason": call.reason} for call in invalid
        ]
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=kwargs)


def written_object(message: ChatMessage) -> str:
    """Return the text that holds an object in a message of `assistant_message`: its first tool call or its content."""
    calls = message.additional_kwargs.get("tool_calls")
    if calls:
        return str(calls[0]["function"]["arguments"])
    invalid = message.additional_kwargs.get("invalid_tool_calls")
    return str(invalid[0]["text"]) if invalid else message.content or ""


def _arguments(call: Call) -> str | JsonObject:
    return call.text if call.arguments is None else call.arguments


def _details(reply: Completion | CompletionChunk, finish_reason: str | None) -> JsonObject:
    known = {"request_id": reply.request_id, "latency": reply.latency, "retries": reply.retries or None}
    counts = reply.usage.as_dict() if reply.usage is not None else {}
    return {
        "finish_reason": finish_reason,
        **{name: value for name, value in known.items() if value is not None},
        **counts,
    }


def _logprobs(logprobs: Logprobs | None) -> list[list[LogProb]] | None:
    """Return the most likely tokens at each position, the chosen one first."""
    if logprobs is None:
        return None
    return [
        _alternatives(token, logprob, top or {})
        for token, logprob, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True)
    ]


def _alternatives(token: str, logprob: float | None, top: Mapping[str, float]) -> list[LogProb]:
    # The first token of an echoed prompt has no log-probability: the model did not choose it.
    chosen = {} if logprob is None else {token: logprob}
    return [
        LogProb(token=word, logprob=value, bytes=list(word.encode(errors="surrogatepass")))
        for word, value in {**chosen, **top, **chosen}.items()
    ]
