"""From the server's answers to chats to LlamaIndex's responses."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass

from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse, MessageRole, TextBlock

from llama_index_paradigm._compat import thinking_blocks, tool_call_blocks, tool_call_kwargs
from llama_index_paradigm._texts import beside_text
from paradigm_transport import Completion, CompletionChunk
from paradigm_transport.chat.events import CallArguments, CallBegin, ParsedMessage, Text, Thought
from paradigm_transport.chat.routes import ChatChunk, ChatCompletion
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import InvalidToolCall, to_json

logger = logging.getLogger(__name__)


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
        return ChatResponse(message=self._message(), **beside_text(reply.completion, reply.completion.choices[0]))

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
        details = beside_text(streamed.chunk, streamed.chunk, streamed.chunk.is_last)
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


def as_chat(completion: Completion) -> ChatCompletion:
    """Return a completion as the answer to a chat."""
    return ChatCompletion(completion, [ParsedMessage(choice.text, choice.thoughts) for choice in completion.choices])


def as_chat_chunk(chunk: CompletionChunk) -> ChatChunk:
    """As `as_chat`, of a stream."""
    return ChatChunk(chunk, [*([Thought(chunk.thoughts)] if chunk.thoughts else []), Text(chunk.text)])
