"""LlamaIndex's structured prediction: ask for an object of a schema, read it, and ask again if it does not fit."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Any

from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate
from llama_index.core.types import Model

from paradigm_transport.json_object import JsonObject

if TYPE_CHECKING:
    from llama_index_paradigm._compat import FlexibleModel
    from llama_index_paradigm._tasks import Task


class StructuredPrediction(LLM):
    """LlamaIndex's structured prediction, with one retry.

    LlamaIndex's own fails on any text around the JSON object; and of a model that completes text it adds the schema
    after the chat template is applied, and leaves `system_prompt` out.
    """

    def _task(
        self, output_cls: type[Model], prompt: BasePromptTemplate, llm_kwargs: JsonObject, prompt_args: JsonObject
    ) -> Task[Model, Any, Any]:
        raise NotImplementedError

    def structured_predict(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: JsonObject | None = None, **prompt_args: Any
    ) -> Model:
        """Return an object of `output_cls` that the model fills in.

        Args:
            output_cls: a pydantic class.
            prompt: the request; the schema is added to it.
            llm_kwargs: the endpoint's fields; they win over the constructor's.
            prompt_args: the prompt's variables.

        Raises:
            ValueError: neither the first answer nor the second is such an object, or `max_tokens` cut one off.
            ParadigmError: see `ParadigmLLM.complete`.
        """
        task = self._task(output_cls, prompt, llm_kwargs or {}, prompt_args)
        answer = task.ask(task.request)
        try:
            return task.end(answer)
        except UnreadableError as problem:
            if task.schema_enforced or isinstance(problem, CutOffError):
                raise
            answer = task.ask(task.repair(answer, problem.reason))
        return task.end(answer)

    async def astructured_predict(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: JsonObject | None = None, **prompt_args: Any
    ) -> Model:
        """As `structured_predict`."""
        task = self._task(output_cls, prompt, llm_kwargs or {}, prompt_args)
        answer = await task.aask(task.request)
        try:
            return task.end(answer)
        except UnreadableError as problem:
            if task.schema_enforced or isinstance(problem, CutOffError):
                raise
            answer = await task.aask(task.repair(answer, problem.reason))
        return task.end(answer)

    def stream_structured_predict(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: JsonObject | None = None, **prompt_args: Any
    ) -> Generator[Model | FlexibleModel, None, None]:
        """As `structured_predict`, but yield the object as it grows, and last the whole one.

        Until the object validates, fields that have not arrived are None. The model is asked once.
        """
        task = self._task(output_cls, prompt, llm_kwargs or {}, prompt_args)
        for response in task.stream(task.request):
            yield from task.progress(response)
        yield from task.finish()

    async def astream_structured_predict(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: JsonObject | None = None, **prompt_args: Any
    ) -> AsyncGenerator[Model | FlexibleModel, None]:
        """As `stream_structured_predict`."""

        async def outputs() -> AsyncGenerator[Model | FlexibleModel, None]:
            task = self._task(output_cls, prompt, llm_kwargs or {}, prompt_args)
            async for response in await task.astream(task.request):
                for output in task.progress(response):
                    yield output
            for output in task.finish():
                yield output

        return outputs()


class UnreadableError(ValueError):
    """An answer that does not hold the object.

    Args:
        reason: what is wrong with it, in words for the model that wrote it.
        advice: what the user can do about it; empty for nothing.
    """

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(f"{reason}. {advice}" if advice else reason)
        self.reason = reason


class CutOffError(UnreadableError):
    """`max_tokens` ended an answer before its object did; another attempt would end there, too."""
