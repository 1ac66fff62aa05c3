"""The route of prompts that a chat template wrote, and whose answer is text: it is given without the thoughts."""

from __future__ import annotations

from dataclasses import replace

from paradigm_transport.chat.dialects.choosing import find_dialect
from paradigm_transport.chat.dialects.dialect import Dialect
from paradigm_transport.chat.dialects.rows import HERMES
from paradigm_transport.chat.events import ParsedMessage
from paradigm_transport.chat.templates import Template
from paradigm_transport.endpoints.completions.call import CompletionCall, CompletionStreamCall
from paradigm_transport.endpoints.completions.fields import CompletionParameters
from paradigm_transport.endpoints.completions.reply import Choice, Completion, CompletionChunk


class TextRoute:
    """Makes the calls that complete a prompt, and keeps what the model thinks apart from its text.

    Args:
        template: wrote the prompt; without one, an answer is text as it is, and so is one that echoes the prompt.
    """

    def __init__(self, template: Template | None) -> None:
        dialect = HERMES if template is None else find_dialect(template)
        self._dialect: Dialect | None = dialect if dialect.reads_plain_answers else None

    def call(self, prompt: str, parameters: CompletionParameters) -> CompletionCall[Completion]:
        """Return the call whose reply is the whole completion.

        Args:
            prompt: the text to complete.
            parameters: the endpoint's fields.
        """
        dialect = self._dialect
        if dialect is None or parameters.echo:
            return CompletionCall(prompt, parameters, lambda completion: completion)

        def convert(completion: Completion) -> Completion:
            return replace(completion, choices=[read(choice) for choice in completion.choices])

        def read(choice: Choice) -> Choice:
            reader, message = dialect.reader(prompt=prompt, calls=False), ParsedMessage()
            message.add(reader.feed(choice.text))
            message.add(reader.finish())
            return replace(choice, text=message.text, thoughts=message.thoughts)

        return CompletionCall(prompt, self._with_stops(dialect, parameters), convert, _SHOW_MARKS)

    def stream_call(self, prompt: str, parameters: CompletionParameters) -> CompletionStreamCall[CompletionChunk]:
        """Return the call that streams the completion; as `call`."""
        dialect = self._dialect
        if dialect is None or parameters.echo:
            return CompletionStreamCall(prompt, parameters, lambda chunk: chunk)
        reader = dialect.reader(prompt=prompt, calls=False)

        def convert(chunk: CompletionChunk) -> CompletionChunk:
            message = ParsedMessage()
            message.add(reader.feed(chunk.text))
            message.add(reader.finish() if chunk.is_last else [])
            return replace(chunk, text=message.text, thoughts=message.thoughts)

        return CompletionStreamCall(prompt, self._with_stops(dialect, parameters), convert, _SHOW_MARKS)

    @staticmethod
    def _with_stops(dialect: Dialect, parameters: CompletionParameters) -> CompletionParameters:
        return parameters.with_stops(last=dialect.stops) if dialect.stops else parameters


_SHOW_MARKS = {"skip_special_tokens": False}
"""Marks are special tokens of many models, which vLLM leaves out by default."""
