"""Structured output: an object of a schema, read out of an answer, and asked for once more where it is none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import BaseTransformOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.utils.pydantic import is_basemodel_subclass

from langchain_paradigm._in import to_messages
from paradigm_transport.chat.json_repair import NoJSONError, explain, first_object, parse, partial_object
from paradigm_transport.chat.routes import repair
from paradigm_transport.messages import to_json

Output = Runnable[LanguageModelInput, Any]


class ObjectParser(BaseTransformOutputParser[Any]):
    """Reads an object out of a message; out of a stream, as it grows, and at its end as a whole.

    Args:
        output: the pydantic class of the object; anything else for a dict.
        tool_name: the tool whose arguments are the object; None where it is the JSON in the text.
    """

    output: Any
    tool_name: str | None = None

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Read the object.

        Args:
            result: the message, as a generation.
            partial: it is still on its way; None stands for what is no object yet.

        Raises:
            OutputParserException: it is no such object; it says why.
        """
        try:
            values = self._values(result[0], partial)
            return values if values is None else self._validated(values)
        except ValueError as problem:
            if partial:
                return None
            told = explain(problem)
        raise OutputParserException(told, llm_output=result[0].text)

    def parse(self, text: str) -> Any:
        """As `parse_result`, of a text."""
        return self.parse_result([Generation(text=text)])

    def _transform(self, pieces: Iterator[str | BaseMessage]) -> Iterator[Any]:
        growing = _Growing(self)
        for piece in pieces:
            yield from growing.add(piece)
        yield from growing.end()

    async def _atransform(self, pieces: AsyncIterator[str | BaseMessage]) -> AsyncIterator[Any]:
        growing = _Growing(self)
        async for piece in pieces:
            for grown in growing.add(piece):
                yield grown
        for grown in growing.end():
            yield grown

    def _values(self, generation: Generation, partial: bool) -> Any:
        if self.tool_name is not None:
            return self._arguments(generation)
        if partial:
            return partial_object(generation.text)
        return parse(first_object(generation.text))

    def _arguments(self, generation: Generation) -> Any:
        message = generation.message if isinstance(generation, ChatGeneration) else None
        for call in getattr(message, "tool_calls", ()):
            if call["name"] == self.tool_name:
                return call["args"]
        reasons = [call["error"] or "it is no JSON" for call in getattr(message, "invalid_tool_calls", ())]
        raise NoJSONError(reasons[0] if reasons else f"it is no call of {self.tool_name}")

    def _validated(self, values: Any) -> Any:
        if not _is_pydantic(self.output):
            return values
        if hasattr(self.output, "model_validate"):
            return self.output.model_validate(values)
        return self.output.parse_obj(values)  # of pydantic 1


class _Growing:
    """An object that is read while its message is on the way; each method gives it where it is another than before."""

    def __init__(self, parser: ObjectParser) -> None:
        self._parser = parser
        self._message: Any = None
        self._object: Any = None

    def add(self, piece: str | BaseMessage) -> Iterator[Any]:
        self._message = piece if self._message is None else self._message + piece
        return self._read(partial=True)

    def end(self) -> Iterator[Any]:
        return iter(()) if self._message is None else self._read(partial=False)

    def _read(self, *, partial: bool) -> Iterator[Any]:
        is_text = isinstance(self._message, str)
        generation = Generation(text=self._message) if is_text else ChatGeneration(message=self._message)
        read = self._parser.parse_result([generation], partial=partial)
        if read is not None and read != self._object:
            self._object = read
            yield read


def _is_pydantic(kind: Any) -> bool:
    return isinstance(kind, type) and is_basemodel_subclass(kind)


def certain(ask: Output, parser: ObjectParser, include_raw: bool) -> Output:
    """What is asked and read, where the server sees to it that the answer fits."""
    if not include_raw:
        return ask | parser
    return ask | RunnableLambda(partial(_read, parser), name="StructuredOutput")


def _read(parser: ObjectParser, raw: AIMessage) -> dict[str, Any]:
    """What LangChain gives for `include_raw`."""
    try:
        return {"raw": raw, "parsed": parser.invoke(raw), "parsing_error": None}
    except OutputParserException as problem:
        return {"raw": raw, "parsed": None, "parsing_error": problem}


class Repaired:
    """What is asked and read, and asked once more where the answer does not fit.

    Args:
        ask: gives the answer, a message.
        parser: reads it.
        include_raw: give the message and the error too, instead of raising it.
        messages_of: makes messages of what is asked.
    """

    def __init__(
        self,
        ask: Output,
        parser: ObjectParser,
        include_raw: bool,
        messages_of: Callable[[LanguageModelInput], list[BaseMessage]],
    ) -> None:
        self._ask = ask
        self._parser = parser
        self._include_raw = include_raw
        self._messages_of = messages_of

    def runnable(self) -> Output:
        """This as LangChain runs it."""
        return RunnableLambda(self._call, self._acall, name="StructuredOutput")

    def _call(self, question: LanguageModelInput, config: RunnableConfig, **kwargs: Any) -> Any:
        answer = _read(self._parser, self._ask.invoke(question, config, **kwargs))
        if answer["parsing_error"] is not None:
            answer = _read(self._parser, self._ask.invoke(self._again(question, **answer), config, **kwargs))
        return self._given(**answer)

    async def _acall(self, question: LanguageModelInput, config: RunnableConfig, **kwargs: Any) -> Any:
        answer = _read(self._parser, await self._ask.ainvoke(question, config, **kwargs))
        if answer["parsing_error"] is not None:
            answer = _read(self._parser, await self._ask.ainvoke(self._again(question, **answer), config, **kwargs))
        return self._given(**answer)

    def _again(
        self, question: LanguageModelInput, raw: AIMessage, parsed: None, parsing_error: OutputParserException
    ) -> list[BaseMessage]:
        return [*self._messages_of(question), *_repair(raw, parsing_error)]

    def _given(self, raw: AIMessage, parsed: Any, parsing_error: OutputParserException | None) -> Any:
        if self._include_raw:
            return {"raw": raw, "parsed": parsed, "parsing_error": parsing_error}
        if parsing_error is not None:
            raise parsing_error
        return parsed


def _repair(raw: AIMessage, problem: OutputParserException) -> list[BaseMessage]:
    # Calls as text: one without a result is no part of a chat, and some templates refuse it.
    (written,) = to_messages([raw])
    text = "\n".join(filter(None, [written.content, *(to_json(call.arguments) for call in written.tool_calls)]))
    answer, request = repair(text, _reason(problem))
    return [AIMessage(answer.content), HumanMessage(request.content)]


def _reason(problem: OutputParserException) -> str:
    return str(problem).split("\n", 1)[0]  # LangChain adds a link
