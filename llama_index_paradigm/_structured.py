"""Structured prediction: ask for an object of a schema, read it, and ask again if it does not fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictInProgressEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.llms import LLM, ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate
from llama_index.core.types import Model

from llama_index_paradigm._compat import partial_class
from llama_index_paradigm._out import is_cut_off
from paradigm_transport.chat.json_repair import InvalidJSONError, partial_object
from paradigm_transport.chat.structured import explain, read_object
from paradigm_transport.endpoints.completions.fields import name_limit
from paradigm_transport.json_object import JsonObject

if TYPE_CHECKING:
    from llama_index_paradigm._compat import FlexibleModel

dispatcher = get_dispatcher(__name__)

Request = TypeVar("Request", str, list[ChatMessage])
Response = TypeVar("Response", CompletionResponse, ChatResponse)


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


class Task(ABC, Generic[Model, Request, Response]):
    """One structured prediction: what to ask, how to read the answer, and the events to report.

    Making it reports the start.

    Attributes:
        request: what to ask.
        schema_enforced: the server enforces the schema, as far as it can; a retry would not help.
        max_tokens: the maximum number of tokens of an answer; None for the server's.
        ask: the model's method that answers a request, with the fields of this prediction.
        aask: as `ask`, async.
        stream: as `ask`, piece by piece; each answer holds all that has arrived.
        astream: as `stream`, async.
    """

    request: Request
    schema_enforced: bool
    max_tokens: int | None
    ask: Callable[[Request], Response]
    aask: Callable[[Request], Awaitable[Response]]
    stream: Callable[[Request], Iterable[Response]]
    astream: Callable[[Request], Awaitable[AsyncIterable[Response]]]

    def __init__(
        self, output_cls: type[Model], template: BasePromptTemplate, template_args: JsonObject, request: Request
    ) -> None:
        self.request = request
        self._output_cls = output_cls
        self._answer: Response | None = None
        self._seen: object = None
        start = LLMStructuredPredictStartEvent(output_cls=output_cls, template=template, template_args=template_args)
        dispatcher.event(start)

    @abstractmethod
    def text_of(self, answer: Response) -> str:
        """Return the text of an answer that holds the object."""

    def advise(self, answer: Response) -> str:
        """Return what the user can do about an answer without the object; empty for nothing."""
        return ""

    @abstractmethod
    def repair(self, answer: Response, problem: str) -> Request:
        """Return a request to correct an answer."""

    def end(self, answer: Response) -> Model:
        """Read the object and report the end.

        Raises:
            ValueError: the answer holds no object, or one that does not fit.
        """
        output = self._read(answer)
        dispatcher.event(LLMStructuredPredictEndEvent(output=output))
        return output

    def progress(self, answer: Response) -> Iterator[Model | FlexibleModel]:
        """Yield the part of the object that has arrived, and report it; nothing if there is nothing new to read."""
        self._answer = answer
        try:
            values = partial_object(self.text_of(answer))
        except ValueError:
            return
        if values is None or values == self._seen:
            return
        self._seen = values
        try:
            output: Model | FlexibleModel = self._output_cls.model_validate(values)
        except Exception:  # noqa: BLE001  # a validator of the user's may need what has not arrived
            if self._partial_cls is None:
                return
            output = self._partial_cls.model_validate(values)
        dispatcher.event(LLMStructuredPredictInProgressEvent(output=output))
        yield output

    def finish(self) -> Iterator[Model]:
        """Yield the whole object, and report it and the end.

        Raises:
            ValueError: the answer holds no object, or one that does not fit; a missing end is not made up.
        """
        output = self._read(self._answer)
        dispatcher.event(LLMStructuredPredictInProgressEvent(output=output))
        yield output
        dispatcher.event(LLMStructuredPredictEndEvent(output=output))

    def _read(self, answer: Response | None) -> Model:
        text = "" if answer is None else self.text_of(answer)
        try:
            return read_object(text, self._output_cls.model_validate_json)
        except InvalidJSONError as problem:
            reason = str(problem)
            if answer is not None and is_cut_off(answer):
                limit = name_limit(self.max_tokens)
                raise CutOffError(f"{reason}: it was cut off at {limit}; raise max_tokens") from None
        except ValueError as problem:
            reason = explain(problem)
        advice = "" if answer is None else self.advise(answer)
        raise UnreadableError(reason, advice)  # outside `except`: pydantic's error, its context, would quote the answer

    @cached_property
    def _partial_cls(self) -> type[FlexibleModel] | None:
        return partial_class(self._output_cls)
