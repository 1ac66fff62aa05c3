"""`ParadigmLLM` for LangChain."""
# ruff: noqa: A002  # `input`, as LangChain calls it

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NoReturn, cast

from langchain_core.language_models.base import LanguageModelInput
from langchain_core.language_models.llms import LLM
from langchain_core.messages import BaseMessage
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import RunnableConfig
from pydantic import Field, PrivateAttr

from langchain_paradigm import _compat
from langchain_paradigm._base import AsyncManager, LangChainModel, Manager, Stop
from langchain_paradigm._batches import Batches
from langchain_paradigm._errors import as_langchain
from langchain_paradigm._prompts import rendered, rendered_texts
from langchain_paradigm._texts import generations, joined, to_chunk
from langchain_paradigm._tracing import report_stream_end, result
from paradigm_transport import CompletionParameters
from paradigm_transport.chat.template_fields import completion_parameters, template_of
from paradigm_transport.chat.text_route import TextRoute
from paradigm_transport.endpoints.completions.fields import FIELDS


class ParadigmLLM(LangChainModel, Batches[LanguageModelInput, str], LLM):
    """Completions of LightOn's Paradigm.

    Setup:
        ```bash
        pip install 'paradigm-llm[langchain]'
        export PARADIGM_API_KEY=…
        ```

    Key arguments:
        - `model`: the model's name, as the administrator set it up.
        - `max_tokens`: the most tokens to generate, 256 by default.
        - `temperature`: the sampling temperature, 0 to 2; not sent if it is not given.
        - `chat_template`: how prompts and messages are written for a chat model, such as `alfred`.
        - `api_key`, `base_url`: from PARADIGM_API_KEY and PARADIGM_BASE_URL if they are not given.

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

    trace_as_chat: bool = Field(
        default=True, description="Give callbacks a chat message in place of a text: many read usage nowhere else."
    )

    _call_parameters: CompletionParameters | None = PrivateAttr(default=None)
    """On the copy that one call runs on: that call's parameters, validated."""

    # Prompts. Each is rendered once, in the public method by which it comes in

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: Stop = None, **kwargs: object
    ) -> Iterator[str]:
        """Complete a prompt, piece by piece.

        Args:
            input: a text, messages or a prompt value; `chat_template` is applied if one is set.
            config: LangChain's config.
            stop: stop sequences; they win over the constructor's.
            kwargs: the endpoint's fields; they win over the constructor's.
        """
        return super().stream(rendered(input, template_of(self)), config, stop=self._stops(stop), **kwargs)

    def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: Stop = None, **kwargs: object
    ) -> AsyncIterator[str]:
        """As `stream`."""
        return super().astream(rendered(input, template_of(self)), config, stop=self._stops(stop), **kwargs)

    def generate_prompt(
        self, prompts: list[PromptValue], stop: Stop = None, callbacks: _compat.AnyCallbacks = None, **kwargs: object
    ) -> LLMResult:
        """As `generate`, for prompts and messages as LangChain passes them on.

        Args:
            prompts: what to complete; `chat_template` is applied if one is set.
            stop: stop sequences; they win over the constructor's.
            callbacks: LangChain's callbacks.
            kwargs: as those of `generate`.
        """
        return _compat.generate_on(*self._run(self._rendered(prompts), stop, callbacks, kwargs))

    async def agenerate_prompt(
        self, prompts: list[PromptValue], stop: Stop = None, callbacks: _compat.AnyCallbacks = None, **kwargs: object
    ) -> LLMResult:
        """As `generate_prompt`."""
        return await _compat.agenerate_on(*self._run(self._rendered(prompts), stop, callbacks, kwargs))

    def generate(
        self, prompts: list[str], stop: Stop = None, callbacks: _compat.AnyCallbacks = None, **kwargs: object
    ) -> LLMResult:
        """Complete prompts, concurrently and in order; the first error stops the rest.

        Args:
            prompts: the texts to complete; `chat_template` is applied if one is set.
            stop: stop sequences; they win over the constructor's.
            callbacks: LangChain's callbacks.
            kwargs: LangChain's `tags`, `metadata`, `run_name` and `run_id`, and the endpoint's fields, which win
                over the constructor's.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.complete`.
        """
        texts = rendered_texts(prompts, template_of(self))
        return _compat.generate_on(*self._run(texts, stop, callbacks, kwargs))

    async def agenerate(
        self, prompts: list[str], stop: Stop = None, callbacks: _compat.AnyCallbacks = None, **kwargs: object
    ) -> LLMResult:
        """As `generate`."""
        texts = rendered_texts(prompts, template_of(self))
        return await _compat.agenerate_on(*self._run(texts, stop, callbacks, kwargs))

    def _rendered(self, prompts: list[PromptValue]) -> list[str]:
        template = template_of(self)
        return [rendered(prompt, template).to_string() for prompt in prompts]

    def _prompt_of(self, messages: list[BaseMessage], tools: object) -> str:
        return rendered(messages, template_of(self)).to_string()

    def with_structured_output(self, schema: object, **kwargs: object) -> NoReturn:
        """Refuse: a completion has no structured output, a chat has.

        Args:
            schema: not used.
            **kwargs: not used.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("ParadigmLLM has no structured output: use ChatParadigm")

    # One call

    @property
    def _route(self) -> TextRoute:
        return TextRoute(template_of(self))

    def _parameters(self, stop: Stop, overrides: Mapping[str, object], *, stream: bool) -> CompletionParameters:
        call = overrides if stop is None else {**overrides, "stop": stop}
        with as_langchain:
            return completion_parameters(template_of(self), self, call, single=stream)

    def _run(
        self, texts: list[str], stop: Stop, callbacks: _compat.AnyCallbacks, kwargs: dict[str, object]
    ) -> tuple[ParadigmLLM, list[str], Stop, _compat.AnyCallbacks, _compat.RunOptions]:
        """Return what `generate_on` takes. A call with its own fields runs on a copy of this model that has them."""
        options = _compat.run_options(kwargs, callbacks, len(texts))
        call = self
        if self._has_own_call(is_async=True):  # which knows its arguments
            return self, texts, self._stops(stop), callbacks, cast("_compat.RunOptions", {**options, **kwargs})
        if stop is not None or kwargs:
            parameters = self._parameters(stop, kwargs, stream=self.streaming)
            self._current_access()  # made before the copy is, which then shares their connections
            call = self.model_copy(
                update={name: getattr(parameters, name) for name in parameters.model_fields_set & FIELDS}
            )
            call._call_parameters = parameters
        return call, texts, call.stop, callbacks, options

    def _generate(
        self, prompts: list[str], stop: Stop = None, run_manager: Manager = None, **kwargs: object
    ) -> LLMResult:
        complete = super()._generate if self._has_own_call() else self._complete
        return complete(prompts, stop, run_manager, **kwargs)

    async def _agenerate(
        self, prompts: list[str], stop: Stop = None, run_manager: AsyncManager = None, **kwargs: object
    ) -> LLMResult:
        complete = super()._agenerate if self._has_own_call(is_async=True) else self._acomplete
        return await complete(prompts, stop, run_manager, **kwargs)

    def _has_own_call(self, *, is_async: bool = False) -> bool:
        """Whether a subclass completes prompts by itself, as LangChain's guide to custom LLMs has it."""
        kind = type(self)
        return kind._call is not ParadigmLLM._call or (is_async and kind._acall is not LLM._acall)

    def _complete(self, prompts: list[str], stop: Stop, run_manager: Manager, **kwargs: object) -> LLMResult:
        with as_langchain:
            parameters = self._call_parameters or self._parameters(stop, kwargs, stream=self.streaming)
            route = self._route

            def complete(index: int) -> list[Generation]:
                if self.streaming:
                    chunks = self._chunks(prompts[index], parameters, _compat.manager_of_prompt(index, run_manager))
                    return [joined(chunks)]
                self._acquire()
                return self.client.send(route.call(prompts[index], parameters, generations))

            by_prompt = self._fan_out(complete, len(prompts), self.max_concurrency)
        return result(by_prompt, parameters.model, self.trace_as_chat, run_manager)

    async def _acomplete(
        self, prompts: list[str], stop: Stop, run_manager: AsyncManager, **kwargs: object
    ) -> LLMResult:
        with as_langchain:
            parameters = self._call_parameters or self._parameters(stop, kwargs, stream=self.streaming)
            route = self._route

            async def complete(index: int) -> list[Generation]:
                if self.streaming:
                    chunks = self._achunks(prompts[index], parameters, _compat.manager_of_prompt(index, run_manager))
                    return [joined([chunk async for chunk in chunks])]
                await self._aacquire()
                return await self.async_client.send(route.call(prompts[index], parameters, generations))

            by_prompt = await self._afan_out(complete, len(prompts), self.max_concurrency)
        return result(by_prompt, parameters.model, self.trace_as_chat, run_manager)

    def _call(self, prompt: str, stop: Stop = None, run_manager: Manager = None, **kwargs: object) -> str:
        return self._complete([prompt], stop, run_manager, **kwargs).generations[0][0].text

    # One stream

    def _stream(
        self, prompt: str, stop: Stop = None, run_manager: Manager = None, **kwargs: object
    ) -> Iterator[GenerationChunk]:
        if self._has_own_call():
            return iter([GenerationChunk(text=self._call(prompt, stop, run_manager, **kwargs))])
        parameters = self._parameters(stop, kwargs, stream=True)
        report_stream_end(run_manager, parameters.model, self.trace_as_chat)
        return self._chunks(prompt, parameters, run_manager)

    def _astream(
        self, prompt: str, stop: Stop = None, run_manager: AsyncManager = None, **kwargs: object
    ) -> AsyncIterator[GenerationChunk]:
        if self._has_own_call(is_async=True):
            return self._own_astream(prompt, stop, run_manager, **kwargs)
        parameters = self._parameters(stop, kwargs, stream=True)
        report_stream_end(run_manager, parameters.model, self.trace_as_chat)
        return self._achunks(prompt, parameters, run_manager)

    async def _own_astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[GenerationChunk]:
        yield GenerationChunk(text=await self._acall(*args, **kwargs))

    def _chunks(self, prompt: str, parameters: CompletionParameters, run_manager: Manager) -> Iterator[GenerationChunk]:
        with as_langchain:
            self._acquire()
            with self.client.open(self._route.stream_call(prompt, parameters, to_chunk)) as chunks:
                for chunk in chunks:
                    if run_manager is not None:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk, logprobs=_logprobs(chunk))
                    yield chunk

    async def _achunks(
        self, prompt: str, parameters: CompletionParameters, run_manager: AsyncManager
    ) -> AsyncIterator[GenerationChunk]:
        with as_langchain:
            await self._aacquire()
            async with self.async_client.open(self._route.stream_call(prompt, parameters, to_chunk)) as chunks:
                async for chunk in chunks:
                    if run_manager is not None:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk, logprobs=_logprobs(chunk))
                    yield chunk


def _logprobs(chunk: GenerationChunk) -> object:
    return (chunk.generation_info or {}).get("logprobs")
