"""`ParadigmLLM` for LangChain: fields, mapping, callbacks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.language_models.base import LangSmithParams, LanguageModelInput
from langchain_core.language_models.llms import LLM
from langchain_core.messages import BaseMessage
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.prompt_values import PromptValue
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list
from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import Self

from langchain_paradigm.fan_out import afan_out, fan_out
from langchain_paradigm.prompts import rendered, rendered_texts
from langchain_paradigm.results import generations, joined, to_chunk
from langchain_paradigm.tracing import result, tell_stream_end
from paradigm_transport import APIResponseError, CompletionParameters, InvalidParameterError, __version__
from paradigm_transport.model import Gates, ParadigmModel

MOST_COUNTS = 512
"""How many texts' token counts are remembered."""


_RUN_OPTIONS = ("tags", "metadata", "run_name", "run_id")

Stop = list[str] | None
Manager = CallbackManagerForLLMRun | None
AsyncManager = AsyncCallbackManagerForLLMRun | None
AnyCallbacks = Callbacks | list[Callbacks]
Inputs = list[LanguageModelInput]
Configs = RunnableConfig | Sequence[RunnableConfig] | None


class ParadigmLLM(ParadigmModel, LLM):
    """Completions of LightOn's Paradigm.

    Setup:
        ```bash
        pip install 'paradigm-llm[langchain]'
        export PARADIGM_API_KEY=…
        ```

    Key arguments:
        model: the model's name, as the administrator set it up.
        max_tokens: the most tokens to generate, 256 by default.
        temperature: the sampling temperature; not sent where it is not given.
        chat_template: how messages are written for a chat model, such as `alfred`.
        api_key, base_url: from PARADIGM_API_KEY and PARADIGM_BASE_URL where they are not given.

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
        default=None, exclude=True, description="Acquired once before each HTTP request, retries included."
    )
    show_progress: bool = Field(default=False, description="Show a progress bar while many prompts are completed.")

    trace_as_chat: bool = Field(
        default=True,
        description="Tell callbacks of a chat message where there is a text: some read usage nowhere else.",
    )

    argument_aliases: ClassVar[Mapping[str, str]] = {"model_name": "model"}

    _counts: dict[tuple[str, str, str], int] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _set_paradigm_version(self) -> Self:
        metadata = self.metadata or {}
        self.metadata = {**metadata, "lc_versions": {**metadata.get("lc_versions", {}), "paradigm-llm": __version__}}
        return self

    @property
    def model_name(self) -> str:
        """Another name of `model`."""
        return self.model

    # Prompts: each is rendered once, on whichever way it comes in

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        return rendered(super()._convert_input(model_input), self.template)

    def generate_prompt(self, prompts: list[PromptValue], *args: Any, **kwargs: Any) -> LLMResult:
        """As in LangChain; messages are rendered by `chat_template` where one is set."""
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

        by_prompt = await afan_out(complete, range(len(prompts)), self.max_concurrency, self.show_progress)
        return result(by_prompt, parameters.model, self.trace_as_chat)

    def _stream(
        self, prompt: str, stop: Stop = None, run_manager: Manager = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
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
        parameters = self.parameters(stop, kwargs, stream=True)
        tell_stream_end(run_manager, parameters.model, self.trace_as_chat)
        await self._aacquire()
        async with self.async_client.stream(prompt, parameters) as pieces:
            async for piece in pieces:
                chunk = to_chunk(piece)
                if run_manager is not None:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk, logprobs=_logprobs(chunk))
                yield chunk

    @property
    def _gates(self) -> Gates | None:
        return (self.rate_limiter.acquire, self.rate_limiter.aacquire) if self.rate_limiter else None

    def _acquire(self) -> None:
        if self.rate_limiter is not None:
            self.rate_limiter.acquire()

    async def _aacquire(self) -> None:
        if self.rate_limiter is not None:
            await self.rate_limiter.aacquire()

    # Many prompts: each is a run of its own, with its own usage, callbacks and error

    def batch(
        self, inputs: Inputs, config: Configs = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> list[str]:
        """As in LangChain, with `max_concurrency` requests in flight unless the config says otherwise."""
        configs = self._limited(config, len(inputs))

        def invoke(index: int) -> Any:
            try:
                return self.invoke(inputs[index], configs[index], **kwargs)
            except Exception as error:
                if not return_exceptions:
                    raise
                return error

        return fan_out(invoke, range(len(inputs)), _limit(configs), self.show_progress)

    async def abatch(
        self, inputs: Inputs, config: Configs = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> list[str]:
        """As `batch`."""
        configs = self._limited(config, len(inputs))

        async def invoke(index: int) -> Any:
            try:
                return await self.ainvoke(inputs[index], configs[index], **kwargs)
            except Exception as error:
                if not return_exceptions:
                    raise
                return error

        return await afan_out(invoke, range(len(inputs)), _limit(configs), self.show_progress)

    def batch_as_completed(
        self, inputs: Sequence[LanguageModelInput], config: Configs = None, **kwargs: Any
    ) -> Iterator[tuple[int, Any]]:
        """As in LangChain; as many at once as in `batch`."""
        return super().batch_as_completed(inputs, self._limited(config, len(inputs)), **kwargs)

    def abatch_as_completed(
        self, inputs: Sequence[LanguageModelInput], config: Configs = None, **kwargs: Any
    ) -> AsyncIterator[tuple[int, Any]]:
        """As `batch_as_completed`."""
        return super().abatch_as_completed(inputs, self._limited(config, len(inputs)), **kwargs)

    def _limited(self, config: Configs, length: int) -> list[RunnableConfig]:
        configs = get_config_list(config, length)
        for each in configs:
            if each.get("max_concurrency") is None:
                each["max_concurrency"] = self.max_concurrency
        return configs

    # Tokens

    def get_token_ids(self, text: str) -> list[int]:
        """The token ids of a text, by the tokenizer that was given as `custom_get_token_ids`.

        Raises:
            InvalidParameterError: none was given; the endpoint tells no token ids.
        """
        if self.custom_get_token_ids is None:
            raise InvalidParameterError("token ids need a tokenizer: pass custom_get_token_ids, a function of a text")
        return self.custom_get_token_ids(text)

    def get_num_tokens(self, text: str) -> int:
        """How many tokens a text has: by `custom_get_token_ids` where it was given, else by the server.

        The server counts the prompt of a completion of one token; its answers are remembered.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.complete`; or the server gives no usage.
        """
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        key = (self.base_url, self.model, text)
        if text and key not in self._counts:
            self._acquire()
            usage = self.client.complete(text, model=self.model, max_tokens=1).usage
            if usage is None:
                raise APIResponseError(f"{self.host} counts no tokens: pass custom_get_token_ids to count them here")
            if len(self._counts) >= MOST_COUNTS:
                self._counts.clear()
            self._counts[key] = usage.prompt_tokens
        return self._counts[key] if text else 0

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """How many tokens messages have, written as the prompt that they are sent as. Tools are not sent."""
        return self.get_num_tokens(self._convert_input(messages).to_string())

    # What the model says of itself: never the key, nor a header

    @property
    def _llm_type(self) -> str:
        return "paradigm"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        """What an answer depends on, for cache keys and traces."""
        fields = {name: getattr(self, name) for name in CompletionParameters.model_fields}
        fields.update(base_url=self.base_url, chat_template=self._plain_template)
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def _plain_template(self) -> Any:
        return (
            self.chat_template if isinstance(self.chat_template, (str, type(None))) else self.chat_template.model_dump()
        )

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "paradigm"  # in subclasses too; LangChain's default goes by the name of the class
        return params

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """`dumps` and `loads` work; the key stays out and comes from the secrets again."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The arguments that `dumps` leaves out, and the secrets that `loads` puts in their place."""
        return {"api_key": "PARADIGM_API_KEY"}

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """What `dumps` writes in another form than it stands here."""
        is_plain = isinstance(self.timeout, (int, float))
        plain = {"chat_template": self._plain_template, "timeout": self.timeout if is_plain else None}
        return {name: value for name, value in plain.items() if value is not None}


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


def _limit(configs: list[RunnableConfig]) -> int:
    return configs[0].get("max_concurrency") or 1 if configs else 1
