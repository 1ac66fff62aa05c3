"""`ParadigmLLM` for LlamaIndex: fields, mapping, events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import suppress
from threading import Thread
from typing import Any, ClassVar, TypeVar

from llama_index.core.base.llms.generic_utils import messages_to_prompt as default_messages_to_prompt
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    LogProb,
    MessageRole,
)
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import default_completion_to_prompt
from llama_index.core.prompts import BasePromptTemplate
from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import Self

from llama_index_paradigm.structured import StructuredPrediction
from paradigm_transport import (
    Completion,
    CompletionChunk,
    CompletionParameters,
    InvalidParameterError,
    Logprobs,
    Usage,
)
from paradigm_transport.model import ParadigmModel

Response = TypeVar("Response", CompletionResponse, ChatResponse)

WINDOW_SECONDS = 5.0
"""How long to wait, once, for the server to tell its context window."""


class ParadigmLLM(ParadigmModel, StructuredPrediction):
    """Completions of LightOn's Paradigm.

    Setup:
        ```bash
        pip install 'paradigm-llm[llama-index]'
        export PARADIGM_API_KEY=…
        ```

    Instantiate:
        ```python
        from llama_index_paradigm import ParadigmLLM

        llm = ParadigmLLM(model="alfred-4.2", max_tokens=200, temperature=0.2)
        ```

    Complete:
        ```python
        llm.complete("The capital of France is").text
        ```

    Stream:
        ```python
        for piece in llm.stream_complete("The capital of France is"):
            print(piece.delta, end="")
        ```

    Async:
        ```python
        await llm.acomplete("The capital of France is")
        ```

    Raises:
        InvalidParameterError: an argument is unknown, missing, of a wrong type or out of its range.
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

    _windows: dict[tuple[str, str], int | None] = PrivateAttr(default_factory=dict)
    """What was asked of each server about each model; copies of this object share it."""

    @model_validator(mode="after")
    def _check_additional(self) -> Self:
        self._parameters({})
        return self

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "ParadigmLLM"

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
            is_chat_model=False,
            model_name=self.model,
        )

    def _find_window(self) -> int | None:
        asked = (self.base_url, self.model)
        if asked not in self._windows:
            self._windows[asked] = None  # once, also where there is no answer
            asking = Thread(target=self._ask_window, args=asked, daemon=True)
            asking.start()
            if not _in_event_loop():
                asking.join(WINDOW_SECONDS)
        return self._windows[asked]

    def _ask_window(self, base_url: str, model: str) -> None:
        with suppress(Exception):  # whatever goes wrong: calls can do without
            windows = {entry.id: entry.context_window for entry in self.client.models()}
            self._windows[base_url, model] = windows.get(model)

    # The eight methods. Each is decorated once and calls none of the others: one event, one acquire, one rendering.

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete a prompt.

        Args:
            prompt: the text to complete.
            formatted: the prompt goes out as it is: without `system_prompt`, template or `completion_to_prompt`.
            kwargs: the endpoint's fields; they win over the constructor's.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.complete`.
        """
        return self._call(_completed, self._format(prompt, formatted), kwargs)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `complete`."""
        return await self._acall(_completed, self._format(prompt, formatted), kwargs)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """As `complete`, piece by piece; the last response carries finish reason and usage."""
        return self._stream(_completed, self._format(prompt, formatted), self._parameters(kwargs, stream=True))

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """As `stream_complete`."""
        return self._astream(_completed, self._format(prompt, formatted), self._parameters(kwargs, stream=True))

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer messages, written as one prompt by `chat_template` or `messages_to_prompt`; as `complete`."""
        return self._call(_answered, self._join(messages), kwargs)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`."""
        return await self._acall(_answered, self._join(messages), kwargs)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`, piece by piece."""
        return self._stream(_answered, self._join(messages), self._parameters(kwargs, stream=True))

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `stream_chat`."""
        return self._astream(_answered, self._join(messages), self._parameters(kwargs, stream=True))

    def _call(self, build: Callable[..., Response], prompt: str, kwargs: Mapping[str, Any]) -> Response:
        return _reply(build, self.client.complete(prompt, self._parameters(kwargs)))

    async def _acall(self, build: Callable[..., Response], prompt: str, kwargs: Mapping[str, Any]) -> Response:
        return _reply(build, await self.async_client.complete(prompt, self._parameters(kwargs)))

    def _stream(
        self, build: Callable[..., Response], prompt: str, parameters: CompletionParameters
    ) -> Generator[Response, None, None]:
        text = ""
        with self.client.stream(prompt, parameters) as stream:
            for chunk in stream:
                text += chunk.text
                yield _piece(build, text, chunk)

    async def _astream(
        self, build: Callable[..., Response], prompt: str, parameters: CompletionParameters
    ) -> AsyncGenerator[Response, None]:
        text = ""
        async with self.async_client.stream(prompt, parameters) as stream:
            async for chunk in stream:
                text += chunk.text
                yield _piece(build, text, chunk)

    # Parameters

    def _parameters(self, kwargs: Mapping[str, Any], *, stream: bool = False) -> CompletionParameters:
        overrides = {**self.additional_kwargs, **kwargs}
        own, given = self.additional_kwargs.get("extra_body"), kwargs.get("extra_body")
        if isinstance(own, Mapping) and isinstance(given, Mapping):
            overrides["extra_body"] = {**own, **given}
        return self.parameters(None, overrides, stream=stream)

    # Prompts. `system_prompt` and `query_wrapper_prompt` apply once, and inside the turns where there is a template.

    @property
    def _writes_turns(self) -> bool:
        return self.template is not None and self.completion_to_prompt is default_completion_to_prompt

    def _format(self, prompt: str, formatted: bool) -> str:
        if formatted:
            return prompt
        if self._writes_turns:
            return self._join([ChatMessage(prompt)])
        written: str = self.completion_to_prompt(prompt)  # type: ignore[misc]  # LlamaIndex puts its own for None
        return self._extend_prompt(written)

    def _get_prompt(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        # LlamaIndex would put all that it adds before and behind the markup.
        if self._writes_turns:
            return self._write(self._get_messages(prompt, **prompt_args))
        return super()._get_prompt(prompt, **prompt_args)

    def _extend_messages(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        *others, last = messages
        if self.query_wrapper_prompt is not None and last.role == MessageRole.USER:
            last = ChatMessage(self.query_wrapper_prompt.format(query_str=last.content or ""))
        messages = [*others, last]
        if self.system_prompt and messages[0].role == MessageRole.SYSTEM:
            both = f"{self.system_prompt}\n\n{messages[0].content or ''}"
            return [ChatMessage(role=MessageRole.SYSTEM, content=both), *messages[1:]]  # templates know one system turn
        return super()._extend_messages(messages)

    def _join(self, messages: Sequence[ChatMessage]) -> str:
        return self._write(self._extend_messages(list(messages))) if messages else self._write(messages)

    def _write(self, messages: Sequence[ChatMessage]) -> str:
        for message in messages:
            _check_text(message)
        if self.template is not None and self.messages_to_prompt is default_messages_to_prompt:
            return self.template.render([(message.role.value, message.content or "") for message in messages])
        return self.messages_to_prompt(messages)  # type: ignore[misc]  # likewise


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _check_text(message: ChatMessage) -> None:
    for block in message.blocks:
        if block.block_type in ("image", "audio", "video", "document"):
            raise InvalidParameterError(f"a message holds {block.block_type}: the endpoint takes text alone")


def _completed(text: str, **rest: Any) -> CompletionResponse:
    return CompletionResponse(text=text, **rest)


def _answered(text: str, **rest: Any) -> ChatResponse:
    return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=text), **rest)


def _reply(build: Callable[..., Response], completion: Completion) -> Response:
    choice = completion.choices[0]
    return build(
        choice.text,
        raw=_raw(completion.raw, completion.usage),
        logprobs=_logprobs(choice.logprobs),
        additional_kwargs=_details(completion, choice.finish_reason),
    )


def _piece(build: Callable[..., Response], text: str, chunk: CompletionChunk) -> Response:
    return build(
        text,
        delta=chunk.text,
        raw=_raw(chunk.raw, chunk.usage),
        logprobs=_logprobs(chunk.logprobs),
        additional_kwargs=_details(chunk, chunk.finish_reason) if chunk.is_last else {},
    )


def _raw(raw: dict[str, Any], usage: Usage | None) -> dict[str, Any]:
    """The server's answer, with usage where counters look for it: exact and last, or not at all."""
    rest = dict(raw)
    told = rest.pop("usage", None)
    if usage is not None:
        rest["usage"] = {**(told if isinstance(told, dict) else {}), **usage.as_dict()}
    return rest


def _details(answer: Completion | CompletionChunk, finish_reason: str | None) -> dict[str, Any]:
    known = {"request_id": answer.request_id, "latency": answer.latency}
    counts = answer.usage.as_dict() if answer.usage is not None else {}
    return {
        "finish_reason": finish_reason,
        **{name: each for name, each in known.items() if each is not None},
        **counts,
    }


def _logprobs(logprobs: Logprobs | None) -> list[list[LogProb]] | None:
    """For each token the likeliest ones, the token itself first."""
    if logprobs is None:
        return None
    return [
        _alternatives(token, logprob, top or {})
        for token, logprob, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True)
    ]


def _alternatives(token: str, logprob: float | None, top: Mapping[str, float]) -> list[LogProb]:
    # A first echoed token has no log-probability; it is no token the model chose.
    own = {} if logprob is None else {token: logprob}
    return [
        LogProb(token=word, logprob=value, bytes=list(word.encode(errors="surrogatepass")))
        for word, value in {**own, **top, **own}.items()
    ]
