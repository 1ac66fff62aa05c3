"""`ParadigmLLM` for LlamaIndex: fields, mapping, events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

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
from llama_index.core.llms.llm import LLM
from pydantic import Field

from paradigm_transport import (
    ChatTemplate,
    Completion,
    CompletionChunk,
    CompletionParameters,
    InvalidParameterError,
    Logprobs,
    Usage,
)
from paradigm_transport.model import ParadigmModel


class ParadigmLLM(ParadigmModel, LLM):
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
        description="The most tokens of prompt and completion together; LlamaIndex's default if None.",
    )
    additional_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="Further fields of every request; they win over the other arguments."
    )

    argument_aliases: ClassVar[Mapping[str, str]] = {"api_base": "base_url"}

    if not TYPE_CHECKING:  # type checkers read the signature off the fields

        def __init__(self, **fields: Any) -> None:
            super().__init__(**fields)
            # LlamaIndex's own hooks render prompts and messages; what the user gave them stays.
            template = self.template
            if template is not None:
                if fields.get("completion_to_prompt") is None:
                    self.completion_to_prompt = template.render_prompt
                if fields.get("messages_to_prompt") is None:
                    self.messages_to_prompt = partial(_render_messages, template)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "ParadigmLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex plans prompts by."""
        return LLMMetadata(
            context_window=self.context_window or DEFAULT_CONTEXT_WINDOW,
            num_output=self.max_tokens or DEFAULT_NUM_OUTPUTS,
            is_chat_model=False,
            model_name=self.model,
        )

    # The eight methods. Each is decorated once and calls none of the others: one event, one acquire, one rendering.

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete a prompt.

        Args:
            prompt: the text to complete.
            formatted: the prompt is already what `completion_to_prompt` would make of it.
            kwargs: the endpoint's fields; they win over the constructor's.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.complete`.
        """
        return self._complete(self._format(prompt, formatted), kwargs)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `complete`."""
        return await self._acomplete(self._format(prompt, formatted), kwargs)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """As `complete`, piece by piece; the last response carries finish reason and usage."""
        return self._stream(self._format(prompt, formatted), self._parameters(kwargs))

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """As `stream_complete`."""
        return self._astream(self._format(prompt, formatted), self._parameters(kwargs))

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer messages, written as one prompt by `messages_to_prompt`; as `complete`."""
        return _as_chat(self._complete(self._join(messages), kwargs))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`."""
        return _as_chat(await self._acomplete(self._join(messages), kwargs))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`, piece by piece."""
        responses = self._stream(self._join(messages), self._parameters(kwargs))

        def chat() -> ChatResponseGen:
            with closing(responses):
                for response in responses:
                    yield _as_chat(response)

        return chat()

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `stream_chat`."""
        responses = self._astream(self._join(messages), self._parameters(kwargs))

        async def chat() -> ChatResponseAsyncGen:
            async with aclosing(responses):
                async for response in responses:
                    yield _as_chat(response)

        return chat()

    def _format(self, prompt: str, formatted: bool) -> str:
        return prompt if formatted or self.completion_to_prompt is None else self.completion_to_prompt(prompt)

    def _join(self, messages: Sequence[ChatMessage]) -> str:
        return self.messages_to_prompt(messages) if self.messages_to_prompt is not None else ""

    def _parameters(self, kwargs: Mapping[str, Any]) -> CompletionParameters:
        return self.parameters(None, {**self.additional_kwargs, **kwargs})

    def _complete(self, prompt: str, kwargs: Mapping[str, Any]) -> CompletionResponse:
        return _response(self.client.complete(prompt, self._parameters(kwargs)))

    async def _acomplete(self, prompt: str, kwargs: Mapping[str, Any]) -> CompletionResponse:
        return _response(await self.async_client.complete(prompt, self._parameters(kwargs)))

    def _stream(self, prompt: str, parameters: CompletionParameters) -> Generator[CompletionResponse, None, None]:
        _check_streamable(parameters)
        text = ""
        with self.client.stream(prompt, parameters) as stream:
            for chunk in stream:
                text += chunk.text
                yield _streamed_response(text, chunk)

    async def _astream(self, prompt: str, parameters: CompletionParameters) -> AsyncGenerator[CompletionResponse, None]:
        _check_streamable(parameters)
        text = ""
        async with self.async_client.stream(prompt, parameters) as stream:
            async for chunk in stream:
                text += chunk.text
                yield _streamed_response(text, chunk)


def _render_messages(template: ChatTemplate, messages: Sequence[ChatMessage]) -> str:
    return template.render([(_role(message), message.content or "") for message in messages])


def _role(message: ChatMessage) -> str:
    return message.role.value if isinstance(message.role, MessageRole) else str(message.role)


def _check_streamable(parameters: CompletionParameters) -> None:
    if (parameters.n or 1) > 1:
        raise InvalidParameterError("n must be 1 while streaming: a stream is one text; use complete or chat")


def _response(completion: Completion) -> CompletionResponse:
    choice = completion.choices[0]
    return CompletionResponse(
        text=choice.text,
        raw=_raw(completion.raw, completion.usage),
        logprobs=_logprobs(choice.logprobs),
        additional_kwargs=_details(choice.finish_reason, completion.usage),
    )


def _streamed_response(text: str, chunk: CompletionChunk) -> CompletionResponse:
    return CompletionResponse(
        text=text,
        delta=chunk.text,
        raw=_raw(chunk.raw, chunk.usage),
        logprobs=_logprobs(chunk.logprobs),
        additional_kwargs=_details(chunk.finish_reason, chunk.usage) if chunk.is_last else {},
    )


def _raw(raw: dict[str, Any], usage: Usage | None) -> dict[str, Any]:
    """The server's answer, with usage where counters look for it: exact, or not at all."""
    rest = {name: value for name, value in raw.items() if name != "usage"}
    return {**rest, "usage": usage.as_dict()} if usage is not None else rest


def _details(finish_reason: str | None, usage: Usage | None) -> dict[str, Any]:
    return {"finish_reason": finish_reason, **(usage.as_dict() if usage is not None else {})}


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
    own = [] if logprob is None else [LogProb(token=token, logprob=logprob, bytes=list(token.encode()))]
    others = [
        LogProb(token=other, logprob=value, bytes=list(other.encode()))
        for other, value in top.items()
        if other != token
    ]
    return own + others


def _as_chat(response: CompletionResponse) -> ChatResponse:
    return ChatResponse(
        message=ChatMessage(role=MessageRole.ASSISTANT, content=response.text),
        delta=response.delta,
        raw=response.raw,
        logprobs=response.logprobs,
        additional_kwargs=response.additional_kwargs,
    )
