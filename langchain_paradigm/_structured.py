"""Structured output: an object of a schema, read from an answer, and asked for once more if it does not fit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypedDict

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import BaseCumulativeTransformOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.utils.pydantic import is_basemodel_subclass

from langchain_paradigm._in import to_messages
from langchain_paradigm._out import is_whole
from paradigm_transport.chat.json_repair import NOT_JSON, InvalidJSONError, first_object, parse, partial_object
from paradigm_transport.chat.structured import explain, repair_messages
from paradigm_transport.messages import to_json

Ask = Runnable[LanguageModelInput, AIMessage]
Output = Runnable[LanguageModelInput, Any]


class Read(TypedDict):
    """What LangChain returns for `include_raw`."""

    raw: AIMessage
    parsed: object
    parsing_error: OutputParserException | None


class ObjectParser(BaseCumulativeTransformOutputParser[Any]):
    """Reads an object from a message; from a stream, as it grows, and as a whole when the message is.

    Args:
        output: the pydantic class of the object; anything else for a dict.
        tool_name: the tool whose arguments are the object; None if it is the JSON in the text.
    """

    output: Any
    tool_name: str | None = None

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> object:
        """Read the object.

        Args:
            result: the message, as a generation.
            partial: the message is streamed; until it is whole, None stands for an object that cannot be read yet.

        Raises:
            OutputParserException: there is no such object; `observation` says why.
        """
        generation = result[0]
        message = generation.message if isinstance(generation, ChatGeneration) else None
        is_partial = partial and not (message is not None and is_whole(message))
        try:
            values = self._values(generation.text, message, is_partial)
            return values if values is None else self._validated(values)
        except ValueError as problem:
            if is_partial:
                return None
            reason = explain(problem)
        raise OutputParserException(reason, observation=reason, llm_output=generation.text)

    async def aparse_result(self, result: list[Generation], *, partial: bool = False) -> object:
        """As `parse_result`, without the thread that LangChain would start for each chunk."""
        return self.parse_result(result, partial=partial)

    def parse(self, text: str) -> object:
        """As `parse_result`, of a text."""
        return self.parse_result([Generation(text=text)])

    def _values(self, text: str, message: BaseMessage | None, is_partial: bool) -> object:
        if self.tool_name is not None:
            return _arguments(message, self.tool_name)
        return partial_object(text) if is_partial else parse(first_object(text))

    def _validated(self, values: object) -> object:
        is_pydantic = isinstance(self.output, type) and is_basemodel_subclass(self.output)
        if not is_pydantic:
            return values
        if hasattr(self.output, "model_validate"):
            return self.output.model_validate(values)
        return self.output.parse_obj(values)  # of pydantic 1


def _arguments(message: BaseMessage | None, tool: str) -> object:
    for call in getattr(message, "tool_calls", ()):
        if call["name"] == tool:
            return call["args"]
    reasons = [call["error"] or NOT_JSON for call in getattr(message, "invalid_tool_calls", ())]
    raise InvalidJSONError(reasons[0] if reasons else f"the answer is not a call of {tool}")


def schema_enforced(ask: Ask, parser: ObjectParser, include_raw: bool) -> Output:
    """Ask and read, for a server that enforces the schema: a retry would not help."""
    if not include_raw:
        return ask | parser
    return ask | RunnableLambda(partial(_read, parser), name="StructuredOutput")


def _read(parser: ObjectParser, raw: AIMessage) -> Read:
    try:
        return {"raw": raw, "parsed": parser.invoke(raw), "parsing_error": None}
    except OutputParserException as problem:
        return {"raw": raw, "parsed": None, "parsing_error": problem}


class RetryOnce:
    """Asks and reads, and asks once more if the answer does not fit.

    Args:
        ask: gives the answer, a message.
        parser: reads it.
        include_raw: return the message and the error too, instead of raising it.
        messages_of: makes messages of a question.
    """

    def __init__(
        self,
        ask: Ask,
        parser: ObjectParser,
        include_raw: bool,
        messages_of: Callable[[LanguageModelInput], list[BaseMessage]],
    ) -> None:
        self._ask = ask
        self._parser = parser
        self._include_raw = include_raw
        self._messages_of = messages_of

    def runnable(self) -> Output:
        """This, as LangChain runs it."""
        return RunnableLambda(self._call, self._acall, name="StructuredOutput")

    def _call(self, question: LanguageModelInput, config: RunnableConfig, **kwargs: object) -> object:
        read = _read(self._parser, self._ask.invoke(question, config, **kwargs))
        if read["parsing_error"] is not None:
            again = self._again(question, read["raw"], read["parsing_error"])
            read = _read(self._parser, self._ask.invoke(again, config, **kwargs))
        return self._result(read)

    async def _acall(self, question: LanguageModelInput, config: RunnableConfig, **kwargs: object) -> object:
        read = _read(self._parser, await self._ask.ainvoke(question, config, **kwargs))
        if read["parsing_error"] is not None:
            again = self._again(question, read["raw"], read["parsing_error"])
            read = _read(self._parser, await self._ask.ainvoke(again, config, **kwargs))
        return self._result(read)

    def _again(self, question: LanguageModelInput, raw: AIMessage, problem: OutputParserException) -> list[BaseMessage]:
        # Calls as text: one without a result is not part of a chat, and some templates refuse it.
        (written,) = to_messages([raw])
        text = "\n".join(filter(None, [written.content, *(to_json(call.arguments) for call in written.tool_calls)]))
        answer, request = repair_messages(text, problem.observation or str(problem))
        return [*self._messages_of(question), AIMessage(answer.content), HumanMessage(request.content)]

    def _result(self, read: Read) -> object:
        if self._include_raw:
            return read
        if read["parsing_error"] is not None:
            raise read["parsing_error"]
        return read["parsed"]
