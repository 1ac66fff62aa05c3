"""Structured output: an object of a schema, read from an answer, and requested again if it does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import BaseCumulativeTransformOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.utils.pydantic import is_basemodel_subclass

from langchain_paradigm._batches import Batches
from langchain_paradigm._in import to_messages
from langchain_paradigm._prompts import prompt_value
from paradigm_transport.chat.json_repair import NOT_JSON, InvalidJSONError, parse, partial_object
from paradigm_transport.chat.structured import explain, read_object, repair_messages
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import to_json

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
        answer_schema: the JSON schema of the object in the text, if the prompt holds it.
        advice: what the user can do if the message holds no call; empty for nothing.
    """

    output: Any
    tool_name: str | None = None
    answer_schema: JsonObject | None = None
    advice: str = ""

    @property
    def validates(self) -> bool:
        """Whether the object must fit a pydantic class."""
        return isinstance(self.output, type) and is_basemodel_subclass(self.output)

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> object:
        """Read the object.

        Args:
            result: the message, as a generation.
            partial: the message is streamed; until it is whole, None stands for an object that cannot be read yet.

        Raises:
            OutputParserException: the answer holds no such object; `observation` says why, to the model.
        """
        text = result[0].text
        message = result[0].message if isinstance(result[0], ChatGeneration) else None
        ends = {} if message is None else message.response_metadata
        is_partial = partial and "finish_reason" not in ends  # a message that is streamed is whole once it is there
        is_cut = _is_cut(message)
        try:
            if self.tool_name is not None:
                return self._validated(_arguments(message, self.tool_name, is_cut))
            if not is_partial:
                return read_object(text, self._read, schema=self.answer_schema, is_cut=is_cut)
            values = partial_object(text)
            return values if values is None else self._validated(values)
        except Exception as problem:
            if is_partial:  # a validator of the user's may need what has not arrived
                return None
            if not isinstance(problem, ValueError):
                raise
            reason = explain(problem)
        if is_cut and "max_tokens" not in reason:
            reason += "; the answer was cut off: raise max_tokens"
        advice = "" if is_cut or _has_calls(message) else self.advice
        raise OutputParserException(f"{reason}. {advice}" if advice else reason, observation=reason, llm_output=text)

    async def aparse_result(self, result: list[Generation], *, partial: bool = False) -> object:
        """As `parse_result`, without the thread that LangChain would start for each chunk."""
        return self.parse_result(result, partial=partial)

    def parse(self, text: str) -> object:
        """As `parse_result`, of a text."""
        return self.parse_result([Generation(text=text)])

    def _read(self, text: str) -> object:
        return self._validated(parse(text))

    def _validated(self, values: object) -> object:
        if not self.validates:
            return values
        of_pydantic_1 = not hasattr(self.output, "model_validate")
        return self.output.parse_obj(values) if of_pydantic_1 else self.output.model_validate(values)


def _is_cut(message: BaseMessage | None) -> bool:
    return message is not None and message.response_metadata.get("finish_reason") == "length"


def _has_calls(message: BaseMessage | None) -> bool:
    return bool(getattr(message, "tool_calls", None) or getattr(message, "invalid_tool_calls", None))


def _arguments(message: BaseMessage | None, tool: str, is_cut: bool) -> object:
    for call in getattr(message, "tool_calls", ()):
        if call["name"] == tool:
            return call["args"]
    unknown = "the answer was cut off at max_tokens; raise max_tokens" if is_cut else NOT_JSON  # in a stream
    reasons = [call["error"] or unknown for call in getattr(message, "invalid_tool_calls", ())]
    raise InvalidJSONError(reasons[0] if reasons else f"the answer is not a call of {tool}")


@dataclass(frozen=True)
class StructuredOutput:
    """Asks for an object and reads it.

    Args:
        ask: gives the answer, a message.
        parser: reads it.
        include_raw: return the message and the error too, instead of raising it.
        retry: ask again if the answer does not fit, unless it was cut at the length limit; it does not help if the
            server enforces the schema.
        max_concurrency: the most questions of a batch at once.
        show_progress: show a progress bar for a batch.
    """

    ask: Runnable[LanguageModelInput, AIMessage]
    parser: ObjectParser
    include_raw: bool
    retry: bool
    max_concurrency: int
    show_progress: bool

    def runnable(self) -> Output:
        """This, as LangChain runs it."""
        if self.retry:
            return _Asking(self)
        return self.ask | (RunnableLambda(self._read, name="StructuredOutput") if self.include_raw else self.parser)

    def _call(self, question: LanguageModelInput, config: RunnableConfig, **kwargs: object) -> object:
        read = self._read(self.ask.invoke(question, config, **kwargs))
        if read["parsing_error"] is not None and not _is_cut(read["raw"]):
            again = _again(question, read["raw"], read["parsing_error"])
            read = self._read(self.ask.invoke(again, config, **kwargs))
        return self._result(read)

    async def _acall(self, question: LanguageModelInput, config: RunnableConfig, **kwargs: object) -> object:
        read = self._read(await self.ask.ainvoke(question, config, **kwargs))
        if read["parsing_error"] is not None and not _is_cut(read["raw"]):
            again = _again(question, read["raw"], read["parsing_error"])
            read = self._read(await self.ask.ainvoke(again, config, **kwargs))
        return self._result(read)

    def _read(self, raw: AIMessage) -> Read:
        try:
            return {"raw": raw, "parsed": self.parser.invoke(raw), "parsing_error": None}
        except OutputParserException as problem:
            return {"raw": raw, "parsed": None, "parsing_error": problem}

    def _result(self, read: Read) -> object:
        if read["parsing_error"] is not None and not self.include_raw:
            raise read["parsing_error"]
        return read if self.include_raw else read["parsed"]


class _Asking(Batches[LanguageModelInput, Any], RunnableLambda[LanguageModelInput, Any]):
    """Asks again if it has to, in batches that are sent as the model's are."""

    def __init__(self, output: StructuredOutput) -> None:
        super().__init__(output._call, output._acall, name="StructuredOutput")
        self.max_concurrency, self.show_progress = output.max_concurrency, output.show_progress


def _again(question: LanguageModelInput, raw: AIMessage, problem: OutputParserException) -> list[BaseMessage]:
    # Calls as text: one without a result is not part of a chat, and some templates refuse it.
    (written,) = to_messages([raw])
    text = "\n".join(filter(None, [written.content, *(to_json(call.arguments) for call in written.tool_calls)]))
    answer, request = repair_messages(text, problem.observation or str(problem))
    return [*prompt_value(question).to_messages(), AIMessage(answer.content), HumanMessage(request.content)]
