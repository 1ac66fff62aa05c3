"""`ParadigmLLM` for LangChain: fields, mapping, callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun, Callbacks
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.language_models.llms import LLM
from langchain_core.messages import BaseMessage
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.prompt_values import ChatPromptValue, PromptValue, StringPromptValue
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ContextThreadPoolExecutor, get_config_list
from pydantic import Field

from paradigm_transport import Completion, CompletionChunk, CompletionParameters, InvalidParameterError, Usage
from paradigm_transport.model import ParadigmModel

T = TypeVar("T")

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "tool"}


class _RenderedPrompt(str):
    """A prompt that already is in the model's markup."""

    __slots__ = ()


class ParadigmLLM(ParadigmModel, LLM):
    """Completions of LightOn's Paradigm.

    Setup:
        ```bash
        pip install 'paradigm-llm[langchain]'
        export PARADIGM_API_KEY=…
        ```

    Instantiate:
        ```python
        from langchain_paradigm import ParadigmLLM

        llm = ParadigmLLM(model="alfred-4.2", max_tokens=200, temperature=0.2)
        ```

    Invoke:
        ```python
        llm.invoke("The capital of France is")
        ```

    Stream:
        ```python
        for text in llm.stream("The capital of France is"):
            print(text, end="")
        ```

    Async:
        ```python
        await llm.ainvoke("The capital of France is")
        ```

    Raises:
        InvalidParameterError: an argument is unknown, missing, of a wrong type or out of its range.
    """

    streaming: bool = Field(default=False, description="Stream inside `invoke` and its like too.")
    rate_limiter: BaseRateLimiter | None = Field(
        default=None, exclude=True, description="Acquired once before each request."
    )

    argument_aliases: ClassVar[Mapping[str, str]] = {"model_name": "model"}

    @property
    def model_name(self) -> str:
        """Another name of `model`."""
        return self.model

    @property
    def _llm_type(self) -> str:
        return "paradigm"

    # Prompts

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        value = super()._convert_input(model_input)
        template = self.template
        if template is None:
            return value
        if isinstance(value, ChatPromptValue):
            turns = [(_role(message), _content(message)) for message in value.messages]
            text: str = _RenderedPrompt(template.render(turns))
        else:
            text = self._render(value.to_string())
        return StringPromptValue.model_construct(text=text)  # validation would make it a plain str

    def _render(self, prompt: str) -> str:
        template = self.template
        if template is None or isinstance(prompt, _RenderedPrompt):
            return prompt
        return _RenderedPrompt(template.render_prompt(prompt))

    def generate_prompt(
        self,
        prompts: list[PromptValue],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """As in LangChain; messages are rendered by `chat_template` where one is set."""
        return super().generate_prompt([self._convert_input(prompt) for prompt in prompts], stop, callbacks, **kwargs)

    async def agenerate_prompt(
        self,
        prompts: list[PromptValue],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """As `generate_prompt`."""
        rendered = [self._convert_input(prompt) for prompt in prompts]
        return await super().agenerate_prompt(rendered, stop, callbacks, **kwargs)

    # One prompt, one request

    def _call(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> str:
        return self._generate([prompt], stop, run_manager, **kwargs).generations[0][0].text

    async def _acall(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> str:
        return (await self._agenerate([prompt], stop, run_manager, **kwargs)).generations[0][0].text

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        parameters = self.parameters(stop, kwargs)

        def complete(prompt: str) -> list[Generation]:
            if self.streaming:
                return [_joined(list(self._stream_chunks(prompt, parameters, run_manager)))]
            self._acquire()
            return _generations(self.client.complete(self._render(prompt), parameters))

        if len(prompts) == 1:
            return _result([complete(prompts[0])])
        with ContextThreadPoolExecutor(max_workers=min(self.max_concurrency, len(prompts) or 1)) as executor:
            return _result(list(executor.map(complete, prompts)))

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        parameters = self.parameters(stop, kwargs)

        async def complete(prompt: str) -> list[Generation]:
            if self.streaming:
                return [_joined([chunk async for chunk in self._astream_chunks(prompt, parameters, run_manager)])]
            await self._aacquire()
            return _generations(await self.async_client.complete(self._render(prompt), parameters))

        if len(prompts) == 1:
            return _result([await complete(prompts[0])])
        return _result(await _gather([complete(prompt) for prompt in prompts], self.max_concurrency))

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        return self._stream_chunks(prompt, self.parameters(stop, kwargs), run_manager)

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        async for chunk in self._astream_chunks(prompt, self.parameters(stop, kwargs), run_manager):
            yield chunk

    def _stream_chunks(
        self, prompt: str, parameters: CompletionParameters, run_manager: CallbackManagerForLLMRun | None
    ) -> Iterator[GenerationChunk]:
        _check_streamable(parameters)
        self._acquire()
        with self.client.stream(self._render(prompt), parameters) as stream:
            for piece in stream:
                chunk = _generation_chunk(piece)
                if run_manager is not None:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _astream_chunks(
        self, prompt: str, parameters: CompletionParameters, run_manager: AsyncCallbackManagerForLLMRun | None
    ) -> AsyncIterator[GenerationChunk]:
        _check_streamable(parameters)
        await self._aacquire()
        async with self.async_client.stream(self._render(prompt), parameters) as stream:
            async for piece in stream:
                chunk = _generation_chunk(piece)
                if run_manager is not None:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    def _acquire(self) -> None:
        if self.rate_limiter is not None:
            self.rate_limiter.acquire(blocking=True)

    async def _aacquire(self) -> None:
        if self.rate_limiter is not None:
            await self.rate_limiter.aacquire(blocking=True)

    # Many prompts: each is a run of its own, with its own usage, callbacks and error

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """As in LangChain, with `max_concurrency` requests in flight unless the config says otherwise."""
        configs = self._limited(config, len(inputs))
        return Runnable.batch(self, inputs, configs, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """As `batch`."""
        configs = self._limited(config, len(inputs))
        return await Runnable.abatch(self, inputs, configs, return_exceptions=return_exceptions, **kwargs)

    def _limited(self, config: RunnableConfig | Sequence[RunnableConfig] | None, length: int) -> list[RunnableConfig]:
        configs = get_config_list(config, length)
        for each in configs:
            if each.get("max_concurrency") is None:
                each["max_concurrency"] = self.max_concurrency
        return configs

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        """What an answer depends on, for cache keys and traces: model, address and every parameter; no key."""
        fields = {name: getattr(self, name) for name in CompletionParameters.model_fields}
        return {**fields, "chat_template": self.chat_template, "base_url": self.base_url}


def _role(message: BaseMessage) -> str:
    role = getattr(message, "role", None)
    return role if isinstance(role, str) else _ROLES.get(message.type, message.type)


def _content(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    texts = [block if isinstance(block, str) else block.get("text") for block in message.content]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidParameterError(f"a {message.type} message holds something other than text")
    return "".join(map(str, texts))


def _check_streamable(parameters: CompletionParameters) -> None:
    if (parameters.n or 1) > 1:
        raise InvalidParameterError("n must be 1 while streaming: a stream is one text; use invoke or generate")


def _generations(completion: Completion) -> list[Generation]:
    generations = [
        Generation(
            text=choice.text,
            generation_info={
                "finish_reason": choice.finish_reason,
                "logprobs": choice.logprobs.as_dict() if choice.logprobs else None,
                **_identity(completion),
            },
        )
        for choice in completion.choices
    ]
    _add_usage(generations[0], completion.usage)
    return generations


def _generation_chunk(piece: CompletionChunk) -> GenerationChunk:
    """A chunk; what is known of the whole answer stands on the last alone, for merging glues and adds up."""
    info: dict[str, Any] = {}
    if piece.logprobs is not None:
        info["logprobs"] = piece.logprobs.as_dict()
    if piece.is_last:
        info.update(finish_reason=piece.finish_reason, **_identity(piece))
    chunk = GenerationChunk(text=piece.text, generation_info=info or None)
    _add_usage(chunk, piece.usage)
    return chunk


def _identity(answer: Completion | CompletionChunk) -> dict[str, Any]:
    known = {"id": answer.id, "model_name": answer.model, "request_id": answer.request_id}
    return {name: value for name, value in known.items() if value is not None}


def _add_usage(generation: Generation, usage: Usage | None) -> None:
    """Put a prompt's usage on its first generation alone: whoever counts adds up over generations."""
    if usage is not None:
        generation.generation_info = {
            **(generation.generation_info or {}),
            "usage_metadata": {
                "input_tokens": usage.prompt_tokens,
                "output_tokens": usage.completion_tokens,
                "total_tokens": usage.total_tokens,
            },
        }


def _joined(chunks: list[GenerationChunk]) -> Generation:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return Generation(text=whole.text, generation_info=whole.generation_info)


def _result(generations: list[list[Generation]]) -> LLMResult:
    """All prompts' generations, with the sum of the usage that the server gave."""
    infos = [first.generation_info or {} for first, *_ in generations]
    usages = [info["usage_metadata"] for info in infos if "usage_metadata" in info]
    llm_output: dict[str, Any] = {"model_name": next((info.get("model_name") for info in infos), None)}
    if usages:
        llm_output["token_usage"] = {
            "prompt_tokens": sum(usage["input_tokens"] for usage in usages),
            "completion_tokens": sum(usage["output_tokens"] for usage in usages),
            "total_tokens": sum(usage["total_tokens"] for usage in usages),
        }
    return LLMResult(generations=generations, llm_output=llm_output)


async def _gather(calls: list[Coroutine[Any, Any, T]], limit: int) -> list[T]:
    """Run calls, so many at once, in order; the first error stops the others."""
    gate = asyncio.Semaphore(limit)

    async def run(call: Coroutine[Any, Any, T]) -> T:
        async with gate:
            return await call

    tasks = [asyncio.create_task(run(call)) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for call in calls:
            call.close()  # of those that never began
        raise
