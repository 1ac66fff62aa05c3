"""`ParadigmLLM` for LangChain: fields, mapping, callbacks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.language_models.llms import LLM
from langchain_core.messages import BaseMessage
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.prompt_values import PromptValue
from pydantic import Field
from typing_extensions import Self

from langchain_paradigm._base import LangChainModel
from langchain_paradigm._errors import as_langchain
from langchain_paradigm._in import rendered, rendered_texts
from langchain_paradigm._results import generations, joined, to_chunk
from langchain_paradigm._tracing import result, tell_stream_end
from paradigm_transport.fan_out import afan_out, fan_out

_RUN_OPTIONS = ("tags", "metadata", "run_name", "run_id")

Stop = list[str] | None
Manager = CallbackManagerForLLMRun | None
AsyncManager = AsyncCallbackManagerForLLMRun | None
AnyCallbacks = Callbacks | list[Callbacks]


class ParadigmLLM(LangChainModel, LLM):
    """Completions of LightOn's Paradigm.

    Setup:
        ```bash
        pip install 'paradigm-llm[langchain]'
        export PARADIGM_API_KEY=…
        ```

    Key arguments:
        - `model`: the model's name, as the administrator set it up.
        - `max_tokens`: the most tokens to generate, 256 by default.
        - `temperature`: the sampling temperature, 0 to 2; not sent where it is not given.
        - `chat_template`: how prompts and messages are written for a chat model, such as `alfred`.
        - `api_key`, `base_url`: from PARADIGM_API_KEY and PARADIGM_BASE_URL where they are not given.

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
        default=True,
        description="Tell callbacks of a chat message where there is a text: some read usage nowhere else.",
    )

    # Prompts: each is rendered once, on whichever way it comes in

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        return rendered(super()._convert_input(model_input), self.template)

    def generate_prompt(self, prompts: list[PromptValue], *args: Any, **kwargs: Any) -> LLMResult:
        """As `generate`, for prompts and messages as LangChain passes them on.

        Args:
            prompts: what to complete; messages are written by `chat_template` where one is set.
            args: `stop` and `callbacks`.
            kwargs: as those of `generate`.
        """
        return super().generate_prompt([self._convert_input(prompt) for prompt in prompts], *args, **kwargs)

    async def agenerate_prompt(self, prompts: list[PromptValue], *args: Any, **kwargs: Any) -> LLMResult:
        """As `generate_prompt`."""
        return await super().agenerate_prompt([self._convert_input(prompt) for prompt in prompts], *args, **kwargs)

    def generate(
        self, prompts: list[str], stop: Stop = None, callbacks: AnyCallbacks = None, **kwargs: Any
    ) -> LLMResult:
        """Complete prompts, concurrently and in order; the first error stops the rest.

        Args:
            prompts: the texts to complete.
            stop: stop sequences; they win over the constructor's.
            callbacks: LangChain's callbacks.
            kwargs: LangChain's `tags`, `metadata`, `run_name` and `run_id`, and the endpoint's fields, which win
                over the constructor's.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.complete`.
        """
        options = _run_options(kwargs, callbacks, len(prompts))
        call = self._for_call(stop, kwargs)
        texts = rendered_texts(prompts, self.template)
        return super(ParadigmLLM, call).generate(texts, call.stop, callbacks, **options)

    async def agenerate(
        self, prompts: list[str], stop: Stop = None, callbacks: AnyCallbacks = None, **kwargs: Any
    ) -> LLMResult:
        """As `generate`."""
        options = _run_options(kwargs, callbacks, len(prompts))
        call = self._for_call(stop, kwargs)
        texts = rendered_texts(prompts, self.template)
        # `or None`: LangChain looks into a list of callbacks without asking whether it is empty.
        return await super(ParadigmLLM, call).agenerate(texts, call.stop, callbacks or None, **options)

    def _for_call(self, stop: Stop, overrides: Mapping[str, Any]) -> Self:
        """This model with a call's arguments as its own.

        LangChain's cache keys and traces hold what a model says of itself, and leave out what a call says.
        """
        if stop is None and not overrides:
            return self
        with as_langchain:
            parameters = self.parameters(stop, overrides)
        self._current_clients()  # made before the copy is, which then shares their connections
        return self.model_copy(update={name: getattr(parameters, name) for name in parameters.model_fields_set})

    # One prompt, one request

    def _call(self, prompt: str, stop: Stop = None, run_manager: Manager = None, **kwargs: Any) -> str:
        return self._generate([prompt], stop, run_manager, **kwargs).generations[0][0].text

    def _generate(self, prompts: list[str], stop: Stop = None, run_manager: Manager = None, **kwargs: Any) -> LLMResult:
        parameters = self.parameters(stop, kwargs)

        def complete(index: int) -> list[Generation]:
            if self.streaming:
                manager = run_manager if index == 0 else None  # it is that of the first prompt's run
                return [joined(self._stream(prompts[index], stop, manager, **kwargs))]
            self._acquire()
            return generations(self.client.complete(prompts[index], parameters))

        with as_langchain:
            by_prompt = fan_out(complete, range(len(prompts)), self.max_concurrency, self.show_progress)
        return result(by_prompt, parameters.model, self.trace_as_chat)

    async def _agenerate(
        self, prompts: list[str], stop: Stop = None, run_manager: AsyncManager = None, **kwargs: Any
    ) -> LLMResult:
        parameters = self.parameters(stop, kwargs)

        async def complete(index: int) -> list[Generation]:
            if self.streaming:
                manager = run_manager if index == 0 else None
                return [joined([chunk async for chunk in self._astream(prompts[index], stop, manager, **kwargs)])]
            await self._aacquire()
            return generations(await self.async_client.complete(prompts[index], parameters))

        with as_langchain:
            by_prompt = await afan_out(complete, range(len(prompts)), self.max_concurrency, self.show_progress)
        return result(by_prompt, parameters.model, self.trace_as_chat)

    def _stream(
        self, prompt: str, stop: Stop = None, run_manager: Manager = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        with as_langchain:
            parameters = self.parameters(stop, kwargs, stream=True)
            tell_stream_end(run_manager, parameters.model, self.trace_as_chat)
            self._acquire()
            with self.client.stream(prompt, parameters) as pieces:
                for piece in pieces:
                    chunk = to_chunk(piece)
                    if run_manager is not None:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk, logprobs=_logprobs(chunk))
                    yield chunk

    async def _astream(
        self, prompt: str, stop: Stop = None, run_manager: AsyncManager = None, **kwargs: Any
    ) -> AsyncIterator[GenerationChunk]:
        with as_langchain:
            parameters = self.parameters(stop, kwargs, stream=True)
            tell_stream_end(run_manager, parameters.model, self.trace_as_chat)
            await self._aacquire()
            async with self.async_client.stream(prompt, parameters) as pieces:
                async for piece in pieces:
                    chunk = to_chunk(piece)
                    if run_manager is not None:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk, logprobs=_logprobs(chunk))
                    yield chunk

    def _prompt_of(self, messages: list[BaseMessage], tools: Sequence[Any]) -> str:
        return self._convert_input(messages).to_string()


def _run_options(kwargs: dict[str, Any], callbacks: AnyCallbacks, count: int) -> dict[str, Any]:
    """Take LangChain's own arguments of `generate` out of a call's."""
    options = {name: kwargs.pop(name) for name in _RUN_OPTIONS if name in kwargs}
    if options.get("metadata") is None:
        # LangChain adds what tracers know a model by to metadata that was given, and to no other.
        of_each = isinstance(callbacks, list) and callbacks and not isinstance(callbacks[0], BaseCallbackHandler)
        options["metadata"] = [{} for _ in range(count)] if of_each else {}
    return options


def _logprobs(chunk: GenerationChunk) -> Any:
    return (chunk.generation_info or {}).get("logprobs")
