"""What the `ChatParadigm` classes of all frameworks are, before the framework: messages in, a request out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import BaseModel, Field
from pydantic.json_schema import GenerateJsonSchema

from paradigm_transport.access import ParadigmModel
from paradigm_transport.chat.dialects.hermes import AnswerReader
from paradigm_transport.chat.templates.named import Template
from paradigm_transport.endpoints.completions.fields import CompletionParameters
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.messages import (
    CALL,
    END_OF_CALL,
    Message,
    OneTool,
    Tool,
    ToolChoice,
    call_schema,
    closed,
    opened_call,
    to_json,
    with_system,
)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat as it is sent, and how its answer is read.

    Attributes:
        prompt: the messages and tools in the model's markup, its answer opened.
        parameters: the endpoint's fields.
        reads_calls: the answer may hold calls of tools, or their markup.
        is_call: the answer begins within a call.
        name: the tool of that call, where the answer begins with its arguments.
        parallel: the answer may hold several calls.
    """

    prompt: str
    parameters: CompletionParameters
    reads_calls: bool = False
    is_call: bool = False
    name: str | None = None
    parallel: bool = True

    def reader(self) -> AnswerReader:
        """What reads one choice of the answer."""
        return AnswerReader(reads_calls=self.reads_calls, opened=self.is_call, name=self.name, parallel=self.parallel)


class ParadigmChatModel(ParadigmModel):
    """A model that takes messages and calls tools.

    Raises:
        InvalidParameterError: an argument is unknown, missing, of a wrong type or out of its range.
    """

    chat_template: str | Template = Field(
        description="How messages are written for the model: `alfred`, `chatml`, a ChatTemplate, a text in Jinja or a "
        "JinjaTemplate.",
    )
    constrain: Literal["vllm"] | None = Field(
        default=None,
        description="How the server is told the JSON schema of a structured answer or of a call that must be, so that "
        "the model cannot miss it: `vllm`: in vLLM's field `structured_outputs`; None: it is not told.",
    )

    def chat_request(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        tool_choice: ToolChoice = "auto",
        parallel: bool = True,
        schema: Mapping[str, Any] | None = None,
        stop: list[str] | None = None,
        overrides: Mapping[str, Any] | None = None,
        stream: bool = False,
    ) -> ChatRequest:
        """Write a chat as a request.

        Args:
            messages: the chat.
            tools: what the model may call.
            tool_choice: whether it calls.
            parallel: several calls may stand in one answer; else it ends with the first.
            schema: a JSON schema; the answer is to be a JSON object of it, unless it is a call.
            stop: the call's stop sequences; None for the constructor's.
            overrides: the call's fields of the endpoint.
            stream: the answer is streamed.

        Raises:
            InvalidParameterError: a field or the choice of a tool is wrong, or the template cannot write the messages.
        """
        offered = _offered(tools, tool_choice)
        name = tool_choice.name if isinstance(tool_choice, OneTool) else None
        is_call = name is not None or tool_choice == "any"
        if schema is not None:
            messages = with_system(messages, _asked_for(schema))
        if is_call:
            schema = offered[0].parameters if name is not None else call_schema(offered)
        elif offered:
            schema = None  # held to it, the model could call nothing
        parameters = self.parameters(stop, self._constrained(overrides or {}, schema), stream=stream)
        if parameters.echo:
            raise InvalidParameterError("echo gives the prompt back, which is no part of an answer in a chat")
        has_tools = bool(tools) or any(each.tool_calls or each.role == "tool" for each in messages)
        if has_tools and (self.constrain is None or schema is None):  # else the answer ends by itself
            further = _stops(bool(offered), name is not None or not parallel)
            parameters.stop = list(dict.fromkeys([*(parameters.stop or ()), *further])) or None
        prompt = self.template.render_chat(messages, offered if name is None else tools)
        prompt += opened_call(name) if is_call else ""
        return ChatRequest(prompt, parameters, has_tools, is_call, name, parallel and name is None)

    @property
    def template(self) -> Template:
        """The chat template."""
        return cast("Template", super().template)

    def _constrained(self, overrides: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Mapping[str, Any]:
        given = overrides.get("extra_body")
        if self.constrain is None or schema is None or not isinstance(given, Mapping | None):
            return overrides
        told = {"structured_outputs": {"json": closed(schema)}}
        return {**overrides, "extra_body": {**told, **(self.extra_body or {}), **(given or {})}}


def schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a pydantic class, which stands at its root also where the class refers to itself."""
    schema = kind.model_json_schema(schema_generator=_Untitled)
    reference = schema.pop("$ref", None)
    return schema if reference is None else {**schema["$defs"][reference.split("/")[-1]], **schema}


def tool_of(kind: type[BaseModel]) -> Tool:
    """A tool whose arguments make up an object of a pydantic class."""
    schema = schema_of(kind)
    return Tool(schema.pop("title"), schema.pop("description", ""), schema)


class _Untitled(GenerateJsonSchema):
    """Writes no titles of fields: they say what the names say."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def repair(answer: str, problem: str) -> list[Message]:
    """What follows a chat whose answer is not what it has to be, for one more attempt.

    Args:
        answer: what the model wrote.
        problem: what is wrong with it.
    """
    return [
        Message("assistant", answer),
        Message("user", f"That cannot be used: {problem}. Answer again, and mend this."),
    ]


def _offered(tools: Sequence[Tool], choice: ToolChoice) -> Sequence[Tool]:
    """The tools that may be called.

    Raises:
        InvalidParameterError: one must be called, and there is none, or none of that name.
    """
    if isinstance(choice, OneTool):
        named = [tool for tool in tools if tool.name == choice.name]
        if not named:
            known = ", ".join(tool.name for tool in tools) or "none"
            raise InvalidParameterError(f"tool_choice: there is no tool named {choice.name}; known are: {known}")
        return named
    if choice == "any" and not tools:
        raise InvalidParameterError("tool_choice: a tool must be called, and there is none")
    return () if choice == "none" else tools


def _stops(is_offered: bool, is_one: bool) -> list[str]:
    """Where an answer ends besides its turn."""
    if not is_offered:
        return [CALL]
    return [END_OF_CALL] if is_one else []


def _asked_for(schema: Mapping[str, Any]) -> str:
    return f"Answer with nothing but a JSON object of this JSON schema:\n{to_json(schema)}"
