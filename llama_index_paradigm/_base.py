"""What both classes for LlamaIndex are: fields, metadata, completions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import Any, ClassVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import Self

from llama_index_paradigm._events import completion_event
from llama_index_paradigm._in import text_alone
from llama_index_paradigm._out import CompletionReader, Reader, Response
from llama_index_paradigm._structured import StructuredPrediction
from paradigm_transport import CompletionParameters
from paradigm_transport.access import ParadigmModel

WINDOW_SECONDS = 5.0
"""How long to wait, once, for the server to tell its context window."""


class _Questions(dict[tuple[str, str], Event]):
    """What servers are being asked; an event is set once nobody need wait for the answer."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _Questions, ()  # events cannot be copied: a deep copy of the object asks for itself


class LlamaIndexModel(ParadigmModel, StructuredPrediction):
    """The fields, the metadata and the completions.

    Each public method is decorated once and calls none of the others: one event, one acquire, one rendering.
    """

    context_window: int | None = Field(
        default=None,
        gt=0,
        description="The most tokens of prompt and completion together; None to ask the server's model list.",
    )
    additional_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="The endpoint's fields for every request; they win over the other arguments.",
    )

    argument_aliases: ClassVar[Mapping[str, str]] = {"api_base": "base_url"}
    takes_tools: ClassVar[bool] = False
    """Whether messages are turns of a chat model that calls tools."""

    _windows: dict[tuple[str, str], int | None] = PrivateAttr(default_factory=dict)
    """What each server said of each model, None where it said nothing; copies of this object share it."""
    _questions: _Questions = PrivateAttr(default_factory=_Questions)

    @model_validator(mode="after")
    def _check_additional(self) -> Self:
        self._parameters({})
        return self

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex plans prompts by.

        Where `context_window` was not given, the server is asked for it here, once. Inside an event loop, which
        must go on meanwhile, LlamaIndex's default stands in until the answer has come.
        """
        return self._metadata(self.context_window or self._find_window())

    def to_payload(self) -> dict[str, Any]:
        """What events tell of this object: no key, no headers. It asks nobody."""
        window = self.context_window or self._windows.get((self.base_url, self.model))
        return {"class_name": self.class_name(), **self._metadata(window).model_dump()}

    def _metadata(self, window: int | None) -> LLMMetadata:
        return LLMMetadata(
            context_window=window or DEFAULT_CONTEXT_WINDOW,
            num_output=self.additional_kwargs.get("max_tokens", self.max_tokens) or DEFAULT_NUM_OUTPUTS,
            is_chat_model=self.takes_tools,
            is_function_calling_model=self.takes_tools,
            model_name=self.model,
        )

    def _find_window(self) -> int | None:
        asked = (self.base_url, self.model)
        if asked not in self._windows:
            own = Event()
            answered = self._questions.setdefault(asked, own)
            if answered is own:  # once, whichever thread is the first
                Thread(target=self._ask_window, args=(asked, own), daemon=True).start()
            if not _in_event_loop():
                answered.wait(WINDOW_SECONDS)
                answered.set()  # nobody waits again for what does not come
        return self._windows.get(asked)

    def _ask_window(self, asked: tuple[str, str], answered: Event) -> None:
        windows: dict[str, int | None] = {}
        with suppress(Exception):  # whatever goes wrong: calls can do without
            windows = {entry.id: entry.context_window for entry in self.client.models()}
        self._windows[asked] = windows.get(asked[1])
        answered.set()

    # Completions

    @completion_event
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete a prompt.

        Args:
            prompt: the text to complete.
            formatted: the prompt goes out as it is: without `system_prompt`, template or `completion_to_prompt`.
            kwargs: the endpoint's fields; they win over the constructor's.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.complete`.
        """
        return self._call(CompletionReader(), self._format(prompt, formatted), self._parameters(kwargs))

    @completion_event
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `complete`."""
        return await self._acall(CompletionReader(), self._format(prompt, formatted), self._parameters(kwargs))

    @completion_event
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """As `complete`, piece by piece; the last response carries finish reason and usage."""
        parameters = self._parameters(kwargs, stream=True)
        return self._stream(CompletionReader(), self._format(prompt, formatted), parameters)

    @completion_event
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """As `stream_complete`."""
        parameters = self._parameters(kwargs, stream=True)
        return self._astream(CompletionReader(), self._format(prompt, formatted), parameters)

    def _call(self, reader: Reader[Response], prompt: str, parameters: CompletionParameters) -> Response:
        return reader.read(self.client.complete(prompt, parameters))

    async def _acall(self, reader: Reader[Response], prompt: str, parameters: CompletionParameters) -> Response:
        return reader.read(await self.async_client.complete(prompt, parameters))

    def _stream(
        self, reader: Reader[Response], prompt: str, parameters: CompletionParameters
    ) -> Generator[Response, None, None]:
        with self.client.stream(prompt, parameters) as stream:
            for chunk in stream:
                yield reader.read_chunk(chunk)

    async def _astream(
        self, reader: Reader[Response], prompt: str, parameters: CompletionParameters
    ) -> AsyncGenerator[Response, None]:
        async with self.async_client.stream(prompt, parameters) as stream:
            async for chunk in stream:
                yield reader.read_chunk(chunk)

    # Parameters

    def _parameters(self, kwargs: Mapping[str, Any], *, stream: bool = False) -> CompletionParameters:
        return self.parameters(None, self._overrides(kwargs), stream=stream)

    def _overrides(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        overrides = {**self.additional_kwargs, **kwargs}
        own, given = self.additional_kwargs.get("extra_body"), kwargs.get("extra_body")
        if isinstance(own, Mapping) and isinstance(given, Mapping):
            overrides["extra_body"] = {**own, **given}
        return overrides

    # Prompts

    def _format(self, prompt: str, formatted: bool) -> str:
        """What goes out for a prompt."""
        raise NotImplementedError

    def _with_system_prompt(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        """The messages with `query_wrapper_prompt` and `system_prompt`, which are part of every call.

        Raises:
            InvalidParameterError: one is more than text.
        """
        if not messages:
            return []
        *others, last = map(text_alone, messages)
        if self.query_wrapper_prompt is not None and last.role == MessageRole.USER:
            last = ChatMessage(self.query_wrapper_prompt.format(query_str=last.content or ""))
        messages = [*others, last]
        if not self.system_prompt:
            return messages
        system = self.system_prompt
        if messages[0].role in (MessageRole.SYSTEM, MessageRole.DEVELOPER):  # templates know one system turn
            system = f"{system}\n\n{messages.pop(0).content or ''}"
        return [ChatMessage(role=MessageRole.SYSTEM, content=system), *messages]


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
