"""Structured prediction on a completion model: a schema in the prompt, an object out, and one attempt at repair."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Generator
from functools import cached_property
from typing import Any, Generic

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
from pydantic_core import from_json

dispatcher = get_dispatcher(__name__)

REPAIR_PROMPT = PromptTemplate(
    "{request}\n\n"
    "This was answered:\n{answer}\n\n"
    "But it is not what was asked for: {problem}\n"
    "Answer again, with nothing but the corrected JSON object."
)

_TOKEN = re.compile(r'"(?:[^"\\]|\\.?)*(?:"|\Z)|[{}]', re.DOTALL)
"""What tells where a JSON object ends: braces, and strings, also one without its end, in which they do not count."""


class StructuredPrediction(LLM):
    """What LlamaIndex's structured prediction is on a model that completes text.

    LlamaIndex's own puts the schema behind the model's markup, takes no `system_prompt`, and gives up on the first
    text around the JSON.
    """

    def _told(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The fields of `extra_body` that tell the server a JSON schema, so that it cannot miss it."""
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
        task = _Task(self, output_cls, prompt, llm_kwargs, prompt_args)
        task.begin()
        answer = self.complete(task.prompt, **task.llm_kwargs)
        try:
            return task.end(answer.text)
        except ValueError as problem:
            answer = self.complete(task.repair_prompt(answer.text, problem), **task.llm_kwargs)
        return task.end(answer.text)

    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """As `structured_predict`."""
        task = _Task(self, output_cls, prompt, llm_kwargs, prompt_args)
        task.begin()
        answer = await self.acomplete(task.prompt, **task.llm_kwargs)
        try:
            return task.end(answer.text)
        except ValueError as problem:
            answer = await self.acomplete(task.repair_prompt(answer.text, problem), **task.llm_kwargs)
        return task.end(answer.text)

    # `stream_structured_predict` and its async twin are LlamaIndex's own, over these two.

    def _structured_stream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Model | FlexibleModel, None, None]:
        task = _Task(self, output_cls, prompt, llm_kwargs, prompt_args)
        text = ""
        for answer in self.stream_complete(task.prompt, **task.llm_kwargs):
            text = answer.text
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
        task = _Task(self, output_cls, prompt, llm_kwargs, prompt_args)
        answers = await self.astream_complete(task.prompt, **task.llm_kwargs)

        async def outputs() -> AsyncGenerator[Model | FlexibleModel, None]:
            text = ""
            async for answer in answers:
                text = answer.text
                partial = task.read_partial(text)
                if partial is not None:
                    yield partial
            yield task.read(text)

        return outputs()


class _Task(Generic[Model]):
    """One structured prediction: what is asked, and how the answer is read."""

    def __init__(
        self,
        llm: StructuredPrediction,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        prompt_args: dict[str, Any],
    ) -> None:
        self._llm = llm
        self._output_cls = output_cls
        self._parser = _ObjectParser(output_cls)
        self._request = prompt
        self._prompt_args = prompt_args
        self._seen: Any = None
        self.prompt = self._write(prompt, prompt_args)
        self.llm_kwargs = {**self._constrained(llm_kwargs or {}), "formatted": True}

    def begin(self) -> None:
        dispatcher.event(
            LLMStructuredPredictStartEvent(
                output_cls=self._output_cls, template=self._request, template_args=self._prompt_args
            )
        )

    def end(self, text: str) -> Model:
        output = self.read(text)
        dispatcher.event(LLMStructuredPredictEndEvent(output=output))
        return output

    def _constrained(self, llm_kwargs: dict[str, Any]) -> dict[str, Any]:
        told = self._llm._told(self._output_cls.model_json_schema())
        return {**llm_kwargs, "extra_body": {**told, **(llm_kwargs.get("extra_body") or {})}} if told else llm_kwargs

    def _write(self, prompt: BasePromptTemplate, prompt_args: dict[str, Any]) -> str:
        if isinstance(prompt, SelectorPromptTemplate):
            prompt = prompt.select(self._llm)
        # A copy: other calls use the same prompt, without the schema.
        return self._llm._get_prompt(prompt.model_copy(update={"output_parser": self._parser}), **prompt_args)

    def repair_prompt(self, answer: str, problem: ValueError) -> str:
        request = self._request.format(llm=self._llm, **self._prompt_args)
        return self._write(REPAIR_PROMPT, {"request": request, "answer": answer, "problem": _explain(problem)})

    def read(self, text: str) -> Model:
        return self._parser.parse(text)

    def read_partial(self, text: str) -> Model | FlexibleModel | None:
        """As much of the object as has come; None where no more of it has."""
        try:
            values = from_json(first_object(text), allow_partial="trailing-strings")
        except ValueError:
            return None
        if values == self._seen:
            return None
        self._seen = values
        try:
            return self._output_cls.model_validate(values)
        except ValidationError:
            return self._partial_cls.model_validate(values)

    @cached_property
    def _partial_cls(self) -> type[FlexibleModel]:
        return create_flexible_model(self._output_cls)


class _ObjectParser(PydanticOutputParser[Model]):
    def format(self, query: str) -> str:
        # LlamaIndex doubles the braces, for a formatting that does not follow.
        return f"{query}\n\n{self.get_format_string(escape_json=False)}"

    def parse(self, text: str) -> Model:
        return self.output_cls.model_validate_json(first_object(text))


def first_object(text: str) -> str:
    """The first JSON object in a text; what there is of it, where it does not end.

    Raises:
        ValueError: none begins.
    """
    begin = text.find("{")
    if begin < 0:
        raise ValueError("there is no JSON object in the answer")
    depth = 0
    for token in _TOKEN.finditer(text, begin):
        depth += {"{": 1, "}": -1}.get(token.group(), 0)
        if depth == 0 and token.group() == "}":
            return text[begin : token.end()]
    return text[begin:]


def _explain(problem: ValueError) -> str:
    if not isinstance(problem, ValidationError):
        return str(problem)
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, error["loc"])), error["msg"])))
        for error in problem.errors(include_input=False, include_url=False)
    )
