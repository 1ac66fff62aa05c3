"""The bodies of `tests/wire.py` in the form of the chat endpoint, so that one test runs over both endpoints.

Calls in the text are taken out, as a server does that has a parser of tool calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from paradigm_transport import AsyncParadigmClient, ChatCompletionParameters, ParadigmClient
from paradigm_transport.chat.dialects.rows import HERMES
from paradigm_transport.chat.events import CallArguments, CallBegin, CallEnd, Event, Text
from paradigm_transport.chat.prompt_route import PromptRoute
from paradigm_transport.chat.routes import ChatRequest
from paradigm_transport.messages import InvalidToolCall, Message, ToolCall, read_tool_choice, read_tools
from tests import wire

ENDPOINTS = ("completions", "chat")


class ServerWithParser:
    """Writes bodies of completions as a chat endpoint does. The parts of a stream must come in their order."""

    def __init__(self, *, parses: bool = True) -> None:
        self._parses = parses
        self._reader = HERMES.reader()

    def translated(self, body: Any) -> Any:
        """Return a body in the form of chats; anything but a completion as it is."""
        if not isinstance(body, Mapping) or not isinstance(body.get("choices"), list):
            return body
        kind = "delta" if "usage" not in body or body["usage"] is None or len(body["choices"]) == 0 else "message"
        return {**body, "choices": [self._choice(choice, kind) for choice in body["choices"]]}

    def _choice(self, choice: Any, kind: str) -> Any:
        if not isinstance(choice, Mapping) or "text" not in choice or "message" in choice or "delta" in choice:
            return choice
        rest = {name: value for name, value in choice.items() if name != "text"}
        text = choice["text"]
        if not self._parses or not isinstance(text, str):
            return {**rest, kind: {"role": "assistant", "content": text}}
        events = self._reader.feed(text)
        if choice.get("finish_reason") or kind == "message":
            events = [*events, *self._reader.finish()]
            self._reader = HERMES.reader()
        return {**rest, kind: _message(events)}


def _message(events: list[Event]) -> dict[str, Any]:
    content = "".join(event.text for event in events if isinstance(event, Text))
    calls: dict[int, dict[str, Any]] = {}
    for event in events:
        if isinstance(event, CallBegin):
            function = {"name": event.name, "arguments": ""}
            calls[event.index] = {"index": event.index, "id": event.id, "type": "function", "function": function}
        elif isinstance(event, CallArguments):
            call = calls.setdefault(event.index, {"index": event.index, "function": {"arguments": ""}})
            call["function"]["arguments"] += event.text
        elif isinstance(event, CallEnd) and isinstance(event.call, InvalidToolCall):
            content += event.call.text
    return {"role": "assistant", "content": content, **({"tool_calls": list(calls.values())} if calls else {})}


def request_of(body: Mapping[str, Any]) -> ChatRequest:
    """Return the chat that a body of the chat endpoint holds."""
    choice, tools = read_tool_choice(body.get("tool_choice")), read_tools(body.get("tools"))
    return ChatRequest([_message_of(each) for each in body["messages"]], tools, choice)


def prompt_of(body: Mapping[str, Any]) -> str:
    """Return the prompt that a body of either endpoint leads to, if the model's markup is ChatML."""
    return body["prompt"] if "prompt" in body else PromptRoute("chatml").prompt(request_of(body))


def _message_of(wire: Mapping[str, Any]) -> Message:
    calls = [(call["id"], call["function"]) for call in wire.get("tool_calls") or ()]
    read = tuple(ToolCall(id_, each["name"], json.loads(each["arguments"])) for id_, each in calls)
    return Message(wire["role"], wire["content"] or "", read, wire.get("tool_call_id"), wire.get("name"))


def write_as_chats(monkeypatch: pytest.MonkeyPatch, *, parses: bool = True) -> None:
    """Let the scripted server write its bodies in the form of the chat endpoint."""
    write, server = wire.to_json, ServerWithParser(parses=parses)
    monkeypatch.setattr(wire, "to_json", lambda body: write(server.translated(body)))


def call_chats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `complete` and `stream` of the clients call the chat endpoint with the prompt as a message."""

    def over(method: str) -> Any:
        def call(client: Any, prompt: str, parameters: Any = None, **overrides: Any) -> Any:
            if parameters is not None:
                parameters = ChatCompletionParameters(**parameters.model_dump(exclude_unset=True))
            return getattr(client, method)([{"role": "user", "content": prompt}], parameters, **overrides)

        return call

    for kind in (ParadigmClient, AsyncParadigmClient):
        monkeypatch.setattr(kind, "complete", over("chat"))
        monkeypatch.setattr(kind, "stream", over("stream_chat"))
