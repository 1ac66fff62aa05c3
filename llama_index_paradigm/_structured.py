"""Structured prediction: a schema is told, an object comes out, and there is one attempt at repair."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator, Sequence
from functools import cached_property
from typing import Any, Generic

from llama_index.core.base.llms.generic_utils import messages_to_prompt
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.llms.llm import LLM
from llama_index.core.output_parsers.pydantic import PydanticOutputParser
from llama_index.core.program.utils import FlexibleModel, create_flexible_model
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate, SelectorPromptTemplate
from llama_index.core.types import Model
from pydantic import ValidationError

from llama_index_paradigm._in import text_alone
from paradigm_transport.chat.json_repair import explain, first_object, partial_object

dispatcher = get_dispatcher(__name__)

REPAIR_PROMPT = PromptTemplate(
    "{request}\n\n"
    "This was answered:\n{answer}\n\n"
    "But it is not what was asked for: {problem}\n"
    "Answer again, with nothing but the corrected JSON object."
)


class StructuredPrediction(LLM):
    """LlamaIndex's structured prediction, with an attempt at repair.

    LlamaIndex's own gives up on the first text around the JSON; and on a model that completes text it puts the schema
    behind the markup and takes no `system_prompt`.
    """

    def _task(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        prompt_args: dict[str, Any],
    ) -> Task[Model]:
        """What one structured prediction is."""
        raise NotImplementedError

    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Fill an object of `output_cls`.

        Args:
            output_cls: the pydantic class.
            prompt: what to ask; the schema is added.
            llm_kwargs: the endpoint's fields.
            prompt_args: what goes into the prompt.

        Raises:
            ValueError: neither the answer nor its repair is such an object.
            ParadigmError: see `ParadigmLLM.complete`.
        """
        task = self._task(output_cls, prompt, llm_kwargs, prompt_args)
        task.begin()
        answer = task.ask(task.request)
        try:
            return task.end(answer)
        except ValueError as problem:
            if task.is_certain:
                raise
            answer = task.ask(task.repair(answer, str(problem)))
        return task.end(answer)

    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """As `structured_predict`."""
        task = self._task(output_cls, prompt, llm_kwargs, prompt_args)
        task.begin()
        answer = await task.aask(task.request)
        try:
            return task.end(answer)
        except ValueError as problem:
            if task.is_certain:
                raise
            answer = await task.aask(task.repair(answer, str(problem)))
        return task.end(answer)

    # `stream_structured_predict` and its async twin are LlamaIndex's own, over these two.

    def _structured_stream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Model | FlexibleModel, None, None]:
        task = self._task(output_cls, prompt, llm_kwargs, prompt_args)
        text = ""
        for text in task.stream():
            partial = task.read_partial(text)
            if partial is not None:
                yield partial
        yield task.read(text)  # nothing was made up at its end

    async def _structured_astream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Model | FlexibleModel, None]:
        task = self._task(output_cls, prompt, llm_kwargs, prompt_args)

        async def outputs() -> AsyncGenerator[Model | FlexibleModel, None]:
            text = ""
            async for text in task.astream():
                partial = task.read_partial(text)
                if partial is not None:
                    yield partial
            yield task.read(text)

        return outputs()


class Task(ABC, Generic[Model]):
    """One structured prediction: what is asked, and how the answer is read.

    Attributes:
        request: what is asked.
        is_certain: the server sees to it that the answer fits, as far as it can; another would be no better.
    """

    request: Any
    is_certain = False

    def __init__(self, output_cls: type[Model], template: BasePromptTemplate, template_args: dict[str, Any]) -> None:
        self._output_cls = output_cls
        self._template = template
        self._template_args = template_args
        self._seen: Any = None

    @abstractmethod
    def ask(self, request: Any) -> str:
        """Ask; return the text that holds the object."""

    @abstractmethod
    async def aask(self, request: Any) -> str:
        """As `ask`."""

    @abstractmethod
    def stream(self) -> Generator[str, None, None]:
        """Ask the request; each item is the text so far."""

    @abstractmethod
    def astream(self) -> AsyncGenerator[str, None]:
        """As `stream`."""

    @abstractmethod
    def repair(self, answer: str, problem: str) -> Any:
        """A request for a better answer."""

    def begin(self) -> None:
        """Tell that the prediction begins."""
        dispatcher.event(
            LLMStructuredPredictStartEvent(
                output_cls=self._output_cls, template=self._template, template_args=self._template_args
            )
        )

    def end(self, text: str) -> Model:
        """Read the object and tell of it."""
        output = self.read(text)
        dispatcher.event(LLMStructuredPredictEndEvent(output=output))
        return output

    def read(self, text: str) -> Model:
        """Read the object.

        Raises:
            ValueError: there is none, or it does not fit.
        """
        try:
            return self._output_cls.model_validate_json(first_object(text))
        except ValueError as problem:
            told = explain(problem)
        raise ValueError(told)  # out here: pydantic's own words quote the answer

    def read_partial(self, text: str) -> Model | FlexibleModel | None:
        """As much of the object as has come; None where no more of it has, or where it is not to be read yet."""
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
            return self._partial_cls.model_validate(values)

    @cached_property
    def _partial_cls(self) -> type[FlexibleModel]:
        return create_flexible_model(self._output_cls)


class CompletionTask(Task[Model]):
    """A structured prediction by a completion, with the schema in the prompt."""

    def __init__(
        self,
        llm: LLM,
        output_cls: type[Model],
        template: BasePromptTemplate,
        template_args: dict[str, Any],
        llm_kwargs: dict[str, Any],
    ) -> None:
        super().__init__(output_cls, template, template_args)
        self._llm = llm
        self._llm_kwargs = {**llm_kwargs, "formatted": True}
        self.request = self._write(template, template_args)

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
        return self._write(REPAIR_PROMPT, {"request": request, "answer": answer, "problem": problem})

    def _write(self, template: BasePromptTemplate, template_args: dict[str, Any]) -> str:
        if isinstance(template, SelectorPromptTemplate):
            template = template.select(self._llm)
        # A copy: other calls use the same prompt, without the schema.
        own = template.model_copy(update={"output_parser": _SchemaPrompt(self._output_cls)})
        return self._llm._get_prompt(own, **template_args)


def _lines(messages: Sequence[ChatMessage]) -> str:
    return messages_to_prompt([text_alone(message) for message in messages])


class _SchemaPrompt(PydanticOutputParser[Model]):
    def format(self, query: str) -> str:
        # LlamaIndex doubles the braces, for a formatting that does not follow.
        return f"{query}\n\n{self.get_format_string(escape_json=False)}"
