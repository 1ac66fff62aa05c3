"""Structured predictions: what to ask, how to read the answer, what to report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Generic, TypeVar

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictInProgressEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse, MockLLM
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate
from llama_index.core.types import BaseOutputParser, Model
from pydantic import BaseModel

from llama_index_paradigm._base import readable
from llama_index_paradigm._compat import partial_class
from llama_index_paradigm._structured import CutOffError, UnreadableError
from llama_index_paradigm._texts import is_cut_off
from paradigm_transport.chat.json_repair import InvalidJSONError, partial_object
from paradigm_transport.chat.structured import explain, read_object, repair_prompt
from paradigm_transport.endpoints.completions.fields import name_limit
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import to_json

if TYPE_CHECKING:
    from llama_index_paradigm._compat import FlexibleModel
    from llama_index_paradigm.llms import ParadigmLLM

dispatcher = get_dispatcher(__name__)

Request = TypeVar("Request", str, list[ChatMessage])
Response = TypeVar("Response", CompletionResponse, ChatResponse)


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


class CompletionTask(Task[Model, str, CompletionResponse]):
    """A structured prediction by a completion, with the schema in the prompt."""

    def __init__(
        self,
        llm: ParadigmLLM,
        output_cls: type[Model],
        template: BasePromptTemplate,
        template_args: JsonObject,
        fields: JsonObject,
    ) -> None:
        self._llm, self._template, self._template_args = llm, template, template_args
        self._instruction = _SchemaInstruction(output_cls)
        request = llm._format_prompt(template, template_args, self._instruction)
        super().__init__(output_cls, template, template_args, request)
        self.schema_enforced, self.max_tokens = llm.constrain is not None, llm._max_tokens(fields)
        fields = {**fields, "formatted": True}
        self.ask, self.aask = partial(llm.complete, **fields), partial(llm.acomplete, **fields)
        self.stream, self.astream = partial(llm.stream_complete, **fields), partial(llm.astream_complete, **fields)

    def text_of(self, answer: CompletionResponse) -> str:
        """As in `Task`."""
        return answer.text

    def repair(self, answer: CompletionResponse, problem: str) -> str:
        """As in `Task`."""
        request = self._template.format(llm=self._llm, messages_to_prompt=_lines, **self._template_args)
        text = repair_prompt(request, answer.text, problem)
        return self._llm._format_prompt(PromptTemplate("{text}"), {"text": text}, self._instruction)


def _lines(messages: Sequence[ChatMessage]) -> str:
    default = MockLLM().messages_to_prompt  # of every LLM of LlamaIndex
    return default(list(map(readable, messages)))  # type: ignore[misc]  # it is never None


class _SchemaInstruction(BaseOutputParser):
    """Adds the schema to a prompt, or to one message of it, by LlamaIndex's rules for output parsers."""

    def __init__(self, output_cls: type[BaseModel]) -> None:
        self._schema = to_json(output_cls.model_json_schema())

    def format(self, query: str) -> str:
        # The instruction comes last: small models follow it better than a schema that comes last.
        instruction = "Output a valid JSON object, and do not repeat the schema."
        return f"{query}\n\nFollow this JSON schema:\n{self._schema}\n\n{instruction}"

    def parse(self, output: str) -> str:
        return output
