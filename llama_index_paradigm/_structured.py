"""Structured prediction: ask for an object of a schema, read it, and ask once more if it does not fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictInProgressEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.llms import LLM, MockLLM
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate, SelectorPromptTemplate
from llama_index.core.types import BaseOutputParser, Model
from pydantic import BaseModel, ValidationError

from llama_index_paradigm._compat import PromptHook, partial_class
from llama_index_paradigm._in import text_only
from paradigm_transport.chat.json_repair import first_object, partial_object
from paradigm_transport.chat.structured import explain, repair_prompt
from paradigm_transport.messages import JsonObject, to_json

if TYPE_CHECKING:
    from llama_index_paradigm._compat import FlexibleModel

dispatcher = get_dispatcher(__name__)

_REPAIR_PROMPT = PromptTemplate("{text}")

Request = TypeVar("Request", str, list[ChatMessage])


class StructuredPrediction(LLM):
    """LlamaIndex's structured prediction, with one retry.

    LlamaIndex's own fails on any text around the JSON object; and of a model that completes text it adds the schema
    after the chat template is applied, and leaves `system_prompt` out.
    """

    def _task(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: JsonObject | None,
        prompt_args: JsonObject,
    ) -> Task[Model, Any]:
        raise NotImplementedError

    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: JsonObject | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Return an object of `output_cls` that the model fills in.

        Args:
            output_cls: a pydantic class.
            prompt: the request; the schema is added to it.
            llm_kwargs: the endpoint's fields; they win over the constructor's.
            prompt_args: the prompt's variables.

        Raises:
            ValueError: neither the first answer nor the second is such an object.
            ParadigmError: see `ParadigmLLM.complete`.
        """
        task = self._task(output_cls, prompt, llm_kwargs, prompt_args)
        task.start()
        answer = task.ask(task.request)
        try:
            return task.end(answer)
        except ValueError as problem:
            if task.schema_enforced:
                raise
            answer = task.ask(task.repair(answer, str(problem)))
        return task.end(answer)

    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: JsonObject | None = None,
        **prompt_args: Any,
    ) -> Model:
        """As `structured_predict`."""
        task = self._task(output_cls, prompt, llm_kwargs, prompt_args)
        task.start()
        answer = await task.aask(task.request)
        try:
            return task.end(answer)
        except ValueError as problem:
            if task.schema_enforced:
                raise
            answer = await task.aask(task.repair(answer, str(problem)))
        return task.end(answer)

    def stream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: JsonObject | None = None,
        **prompt_args: Any,
    ) -> Generator[Model | FlexibleModel, None, None]:
        """As `structured_predict`, but yield the object as it grows, and last the whole one.

        Until the object validates, fields that have not arrived are None. The model is asked once.
        """
        task = self._task(output_cls, prompt, llm_kwargs, prompt_args)
        task.start()
        text = ""
        for text in task.stream():
            yield from task.progress(text)
        yield from task.finish(text)

    async def astream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: JsonObject | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Model | FlexibleModel, None]:
        """As `stream_structured_predict`."""

        async def outputs() -> AsyncGenerator[Model | FlexibleModel, None]:
            task = self._task(output_cls, prompt, llm_kwargs, prompt_args)
            task.start()
            text = ""
            async for text in task.astream():
                for output in task.progress(text):
                    yield output
            for output in task.finish(text):
                yield output

        return outputs()


class Task(ABC, Generic[Model, Request]):
    """One structured prediction: what to ask, how to read the answer, and the events to report.

    Attributes:
        request: what to ask.
        schema_enforced: the server enforces the schema, as far as it can; a retry would not help.
    """

    request: Request
    schema_enforced: bool

    def __init__(self, output_cls: type[Model], template: BasePromptTemplate, template_args: JsonObject) -> None:
        self._output_cls = output_cls
        self._template = template
        self._template_args = template_args
        self._seen: object = None

    @abstractmethod
    def ask(self, request: Request) -> str:
        """Return the text that holds the object."""

    @abstractmethod
    async def aask(self, request: Request) -> str:
        """As `ask`."""

    @abstractmethod
    def stream(self) -> Generator[str, None, None]:
        """Ask the first request, and yield the text so far."""

    @abstractmethod
    def astream(self) -> AsyncGenerator[str, None]:
        """As `stream`."""

    @abstractmethod
    def repair(self, answer: str, problem: str) -> Request:
        """Return a request to correct an answer."""

    def start(self) -> None:
        """Report the start."""
        dispatcher.event(
            LLMStructuredPredictStartEvent(
                output_cls=self._output_cls, template=self._template, template_args=self._template_args
            )
        )

    def end(self, text: str) -> Model:
        """Read the object and report the end.

        Raises:
            ValueError: there is none, or it does not fit.
        """
        output = self._read(text)
        dispatcher.event(LLMStructuredPredictEndEvent(output=output))
        return output

    def progress(self, text: str) -> Iterator[Model | FlexibleModel]:
        """Yield the part of the object that has arrived, and report it; nothing if there is nothing new to read."""
        partial = self._read_partial(text)
        if partial is not None:
            dispatcher.event(LLMStructuredPredictInProgressEvent(output=partial))
            yield partial

    def finish(self, text: str) -> Iterator[Model]:
        """Yield the whole object, and report it and the end.

        Raises:
            ValueError: there is none, or it does not fit; what is missing at its end is not made up.
        """
        output = self._read(text)
        dispatcher.event(LLMStructuredPredictInProgressEvent(output=output))
        yield output
        dispatcher.event(LLMStructuredPredictEndEvent(output=output))

    def _read(self, text: str) -> Model:
        try:
            return self._output_cls.model_validate_json(first_object(text))
        except ValueError as problem:
            reason = explain(problem)
        raise ValueError(reason)  # outside `except`: pydantic's error, which quotes the answer, is not its context

    def _read_partial(self, text: str) -> Model | FlexibleModel | None:
        try:
            values = partial_object(text)
        except ValueError:
            return None
        if values is None or values == self._seen:
            return None
        self._seen = values
        try:
            return self._output_cls.model_validate(values)
        except ValidationError:
            return None if self._partial_cls is None else self._partial_cls.model_validate(values)

    @cached_property
    def _partial_cls(self) -> type[FlexibleModel] | None:
        return partial_class(self._output_cls)


class CompletionTask(Task[Model, str]):
    """A structured prediction by a completion, with the schema in the prompt."""

    def __init__(
        self,
        llm: PromptHook,
        output_cls: type[Model],
        template: BasePromptTemplate,
        template_args: JsonObject,
        llm_kwargs: Mapping[str, object],
        *,
        schema_enforced: bool,
    ) -> None:
        super().__init__(output_cls, template, template_args)
        self.schema_enforced = schema_enforced
        self._llm = llm
        self._llm_kwargs: JsonObject = {**llm_kwargs, "formatted": True}
        self.request = self._format(template, template_args)

    def ask(self, request: str) -> str:
        """As in `Task`."""
        return self._llm.complete(request, **self._llm_kwargs).text

    async def aask(self, request: str) -> str:
        """As in `Task`."""
        return (await self._llm.acomplete(request, **self._llm_kwargs)).text

    def stream(self) -> Generator[str, None, None]:
        """As in `Task`."""
        for response in self._llm.stream_complete(self.request, **self._llm_kwargs):
            yield response.text

    async def astream(self) -> AsyncGenerator[str, None]:
        """As in `Task`."""
        async for response in await self._llm.astream_complete(self.request, **self._llm_kwargs):
            yield response.text

    def repair(self, answer: str, problem: str) -> str:
        """As in `Task`."""
        request = self._template.format(llm=self._llm, messages_to_prompt=_lines, **self._template_args)
        return self._format(_REPAIR_PROMPT, {"text": repair_prompt(request, answer, problem)})

    def _format(self, template: BasePromptTemplate, template_args: JsonObject) -> str:
        if isinstance(template, SelectorPromptTemplate):
            template = template.select(self._llm)
        # A copy: other calls use the same prompt without the schema.
        with_schema = template.model_copy(update={"output_parser": _SchemaInstruction(self._output_cls)})
        return self._llm._format_prompt(with_schema, template_args)


def _lines(messages: Sequence[ChatMessage]) -> str:
    default = MockLLM().messages_to_prompt  # of every LLM of LlamaIndex
    return default(list(map(text_only, messages)))  # type: ignore[misc]  # it is never None


class _SchemaInstruction(BaseOutputParser):
    """Adds the schema to a prompt, or to one message of it, by LlamaIndex's rules for output parsers."""

    def __init__(self, output_cls: type[BaseModel]) -> None:
        self._schema = to_json(output_cls.model_json_schema())

    def format(self, query: str) -> str:
        # The instruction comes last: small models follow it better than a schema that comes last.
        return (
            f"{query}\n\nFollow this JSON schema:\n{self._schema}\n\n"
            "Output a valid JSON object, and do not repeat the schema."
        )

    def parse(self, output: str) -> str:
        return output
