"""The route of prompts that a chat template wrote, and whose answer is text: what the model thinks is kept apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from paradigm_transport.calls import Event, Reply
from paradigm_transport.endpoints.completions.call import CompletionCall, CompletionStreamCall
from paradigm_transport.endpoints.completions.fields import CompletionParameters
from paradigm_transport.endpoints.completions.reply import Choice, Completion, CompletionChunk

if TYPE_CHECKING:
    from paradigm_transport.chat.dialects.dialect import Dialect
    from paradigm_transport.chat.events import ParsedMessage
    from paradigm_transport.chat.templates import Template

_SHOW_MARKS = {"skip_special_tokens": False}
"""Marks are special tokens of many models, which vLLM leaves out by default."""


class TextRoute:
    """Makes the calls that complete a prompt.

    Args:
        template: wrote the prompt; without one, an answer is text as it is, and so is one that echoes the prompt.
        reasoning_parser: how thoughts are written; found from the template by default. See `ChatFields`.
    """

    def __init__(self, template: Template | None, reasoning_parser: str | None = None) -> None:
        self._dialect = None if template is None else _dialect_of_thoughts(template, reasoning_parser)

    def call(
        self, prompt: str, parameters: CompletionParameters, convert: Callable[[Completion], Reply]
    ) -> CompletionCall[Reply]:
        """Return the call whose reply is the whole completion.

        Args:
            prompt: the text to complete.
            parameters: the endpoint's fields.
            convert: what to make of the completion.
        """
        dialect = self._dialect
        if dialect is None or parameters.echo:
            return CompletionCall(prompt, parameters, convert)

        def read(choice: Choice) -> Choice:
            message = _parser(dialect, prompt)(choice.text, True)
            return replace(choice, text=message.text, thoughts=message.thoughts)

        def separate(completion: Completion) -> Reply:
            return convert(replace(completion, choices=[read(choice) for choice in completion.choices]))

        return CompletionCall(prompt, _with_stops(dialect, parameters), separate, _SHOW_MARKS)

    def stream_call(
        self, prompt: str, parameters: CompletionParameters, convert: Callable[[CompletionChunk], Event]
    ) -> CompletionStreamCall[Event]:
        """Return the call that streams the completion; as `call`."""
        dialect = self._dialect
        if dialect is None or parameters.echo:
            return CompletionStreamCall(prompt, parameters, convert)
        parse = _parser(dialect, prompt)

        def separate(chunk: CompletionChunk) -> Event:
            message = parse(chunk.text, chunk.is_last)
            return convert(replace(chunk, text=message.text, thoughts=message.thoughts))

        return CompletionStreamCall(prompt, _with_stops(dialect, parameters), separate, _SHOW_MARKS)


def _dialect_of_thoughts(template: Template, reasoning_parser: str | None) -> Dialect | None:
    """Return the dialect in which thoughts are written; None if answers are text as it is."""
    from paradigm_transport.chat.dialects.choosing import find_dialect  # the table takes long to import

    dialect = find_dialect(template, None, reasoning_parser, reads_calls=False)
    return dialect if dialect.reads_plain_answers else None


def _parser(dialect: Dialect, prompt: str) -> Callable[[str, bool], ParsedMessage]:
    """Return a function that parses the next text of an answer, which may be its last."""
    from paradigm_transport.chat.events import ParsedMessage  # plain answers do without

    reader = dialect.reader(prompt=prompt, calls=False)

    def parse(text: str, is_last: bool) -> ParsedMessage:
        message = ParsedMessage()
        message.add(reader.feed(text))
        message.add(reader.finish() if is_last else [])
        return message

    return parse


def _with_stops(dialect: Dialect, parameters: CompletionParameters) -> CompletionParameters:
    return parameters.with_stops(last=dialect.stops) if dialect.stops else parameters
