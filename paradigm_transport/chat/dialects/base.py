"""What a dialect is: the markup in which a model family writes calls of tools, and the reader of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from paradigm_transport.chat.events import Event, ParsedMessage, Text
from paradigm_transport.messages import JsonObject, Message, Tool, ToolCall


class Reader(Protocol):
    """Reads one answer. Any split of its text gives the same events, once parts of one text are joined."""

    def feed(self, text: str) -> list[Event]:
        """Read the next piece of the answer.

        Args:
            text: the piece.

        Returns:
            What is certain by now and has not been returned before.
        """

    def finish(self) -> list[Event]:
        """End the answer; return the remaining events."""


class Dialect(Protocol):
    """The markup of a model family for tools, calls and results."""

    @property
    def name(self) -> str:
        """The name, as in vLLM's `--tool-call-parser`."""

    def describe(self, tools: Sequence[Tool]) -> str:
        """Describe tools for the system message, and how to call them."""

    def call(self, call: ToolCall) -> str:
        """Write a call."""

    def result(self, message: Message) -> str:
        """Write a tool's result."""

    def prefill(self, name: str | None) -> str:
        """Begin an answer that must be a call.

        Args:
            name: the tool to call, and the beginning goes up to its arguments; None for any tool.
        """

    def stops(self, *, offered: bool, single: bool) -> list[str]:
        """Return the stop sequences that end an answer besides the end of its turn.

        Args:
            offered: the model may call tools.
            single: the answer ends with its first call.
        """

    def schema(self, tools: Sequence[Tool], name: str | None) -> JsonObject:
        """Return the JSON schema of a forced call, from where the prefill ends.

        Args:
            tools: the tools that may be called.
            name: the tool in the prefill, one of them; None for any.
        """

    def reader(self, *, prefilled: bool = False, name: str | None = None, parallel: bool = True) -> Reader:
        """Return a reader of one answer.

        Args:
            prefilled: the prompt ends with `prefill(name)`.
            name: the tool in the prefill.
            parallel: read more than the first call.
        """


class TextReader:
    """Reads an answer that is nothing but text."""

    def feed(self, text: str) -> list[Event]:
        """Read the next piece of the answer; it is text."""
        return [Text(text)] if text else []

    def finish(self) -> list[Event]:
        """End the answer; nothing remains."""
        return []


def read_message(reader: Reader, text: str) -> ParsedMessage:
    """Read a whole answer.

    Args:
        reader: a new reader.
        text: the answer.
    """
    message = ParsedMessage()
    message.add(reader.feed(text))
    message.add(reader.finish())
    return message
