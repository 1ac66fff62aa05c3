"""From the server's replies to LlamaIndex's responses."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import asdict, dataclass
from typing import TypeVar

from llama_index.core.base.llms.types import LogProb
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse, MessageRole, TextBlock

from llama_index_paradigm._compat import raw_with_usage, thinking_blocks, tool_call_blocks, tool_call_kwargs
from paradigm_transport import Choice, Completion, CompletionChunk, Logprobs
from paradigm_transport.chat.events import CallArguments, CallBegin, Text, Thought
from paradigm_transport.chat.routes import ChatChunk, ChatCompletion
from paradigm_transport.endpoints.completions.logprobs import bytes_of
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import InvalidToolCall, to_json
from paradigm_transport.streams import AsyncStream, Stream

logger = logging.getLogger(__name__)

Chunk = TypeVar("Chunk")
Response = TypeVar("Response")


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


class CompletionReader:
    """Reads the completion of a prompt, whole or chunk by chunk.

    What the model thought before is `additional_kwargs["reasoning_content"]`.
    """

    def __init__(self) -> None:
        self._text = self._thoughts = ""

    def read(self, completion: Completion) -> CompletionResponse:
        """Return the response to a whole completion, to its first choice."""
        self._thoughts = completion.choices[0].thoughts
        return self._response(completion.text, _beside_text(completion, completion.choices[0]))

    def read_chunk(self, chunk: CompletionChunk) -> CompletionResponse:
        """Return the response to a stream so far."""
        self._text += chunk.text
        self._thoughts += chunk.thoughts
        details = _beside_text(chunk, chunk, chunk.is_last)
        if chunk.thoughts:
            details["additional_kwargs"]["thinking_delta"] = chunk.thoughts
        return self._response(self._text, {**details, "delta": chunk.text})

    def _response(self, text: str, details: JsonObject) -> CompletionResponse:
        if self._thoughts:
            details["additional_kwargs"]["reasoning_content"] = self._thoughts
        return CompletionResponse(text=text, **details)


@dataclass(slots=True)
class _Call:
    """A tool call: its arguments as JSON, as far as they have arrived, and as an object once they are complete."""

    id: str
    name: str
    text: str = ""
    arguments: JsonObject | None = None


class ChatReader:
    """Reads the answer to a chat, and the tool calls in it, whole or chunk by chunk."""

    def __init__(self) -> None:
        self._text = self._thoughts = ""
        self._calls: dict[int, _Call] = {}
        self._invalid: list[InvalidToolCall] = []

    def read(self, reply: ChatCompletion) -> ChatResponse:
        """Return the response to a whole answer, to its first message."""
        parsed = reply.messages[0]
        self._text, self._thoughts = parsed.text, parsed.thoughts
        for index, call in enumerate(parsed.calls):
            self._calls[index] = _Call(call.id, call.name, to_json(call.arguments), call.arguments)
        for invalid in parsed.invalid_calls:
            self._add_invalid(invalid)
        return ChatResponse(message=self._message(), **_beside_text(reply.completion, reply.completion.choices[0]))

    def read_chunk(self, streamed: ChatChunk) -> ChatResponse:
        """Return the response to a stream so far."""
        text = thoughts = ""
        for event in streamed.events:
            if isinstance(event, Text):
                text += event.text
            elif isinstance(event, Thought):
                thoughts += event.text
            elif isinstance(event, CallBegin):
                self._calls[event.index] = _Call(event.id, event.name)
            elif isinstance(event, CallArguments):
                self._calls[event.index].text += event.text
            elif isinstance(event.call, InvalidToolCall):
                self._calls.pop(event.index, None)
                self._add_invalid(event.call)
            else:
                self._calls[event.index].arguments = event.call.arguments
        self._text += text
        self._thoughts += thoughts
        details = _beside_text(streamed.chunk, streamed.chunk, streamed.chunk.is_last)
        if thoughts:
            details["additional_kwargs"]["thinking_delta"] = thoughts
        return ChatResponse(message=self._message(), delta=text, **details)

    def _add_invalid(self, call: InvalidToolCall) -> None:
        logger.warning("Ignoring a malformed tool call: %s.", call.reason)
        self._invalid.append(call)

    def _message(self) -> ChatMessage:
        """Return the message so far; malformed tool calls go into `additional_kwargs["invalid_tool_calls"]`."""
        if not (self._calls or self._invalid or self._thoughts):  # most chunks, and much faster
            return ChatMessage(self._text, role=MessageRole.ASSISTANT)
        calls = self._calls.values()
        blocks = [*thinking_blocks(self._thoughts), *([TextBlock(text=self._text)] if self._text or not calls else [])]
        stored = [(call.id, call.name, call.text if call.arguments is None else call.arguments) for call in calls]
        blocks += tool_call_blocks(stored)
        kwargs = tool_call_kwargs((call.id, call.name, call.text) for call in calls)
        if self._invalid:
            kwargs["invalid_tool_calls"] = [asdict(call) for call in self._invalid]
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=kwargs)

    def as_completion(self, response: ChatResponse) -> CompletionResponse:
        """Return a response of this reader as `CompletionReader` does."""
        thoughts = {"reasoning_content": self._thoughts} if self._thoughts else {}
        return CompletionResponse(
            text=response.message.content or "",
            delta=response.delta,
            raw=response.raw,
            logprobs=response.logprobs,
            additional_kwargs={**response.additional_kwargs, **thoughts},
        )


def written_object(message: ChatMessage) -> str:
    """Return the text that holds an object in a message of `ChatReader`: its first tool call or its content."""
    calls = message.additional_kwargs.get("tool_calls")
    if calls:
        return str(calls[0]["function"]["arguments"])
    invalid = message.additional_kwargs.get("invalid_tool_calls")
    return str(invalid[0]["text"]) if invalid else message.content or ""


def is_cut_off(response: CompletionResponse | ChatResponse) -> bool:
    """Return whether `max_tokens` ended an answer."""
    return response.additional_kwargs.get("finish_reason") == "length"


def _beside_text(
    reply: Completion | CompletionChunk, choice: Choice | CompletionChunk, is_whole: bool = True
) -> JsonObject:
    """Return what a response holds beside its text; details of the whole only once it has ended."""
    details: JsonObject = {}
    if is_whole:
        known = {"request_id": reply.request_id, "latency": reply.latency, "retries": reply.retries or None}
        details = {"finish_reason": choice.finish_reason}
        details.update({name: value for name, value in known.items() if value is not None})
        details.update(reply.usage.as_dict() if reply.usage is not None else {})
    raw = raw_with_usage(reply.raw, reply.usage)
    return {"raw": raw, "logprobs": _logprobs(choice.logprobs), "additional_kwargs": details}


def _logprobs(logprobs: Logprobs | None) -> list[list[LogProb]] | None:
    """Return the most likely tokens at each position, the chosen one first."""
    if logprobs is None:
        return None
    positions: list[list[LogProb]] = []
    for token, logprob, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True):
        # The first token of an echoed prompt has no log-probability: the model did not choose it.
        chosen = {} if logprob is None else {token: logprob}
        positions.append([])
        for word, value in {**chosen, **(top or {}), **chosen}.items():
            positions[-1].append(LogProb(token=word, logprob=value, bytes=bytes_of(word) or []))
    return positions
