"""`ChatParadigm` for LangChain: fields and mapping."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema

from langchain_paradigm._base import LangChainModel
from langchain_paradigm._errors import as_langchain
from langchain_paradigm._in import to_messages
from langchain_paradigm._out import (
    ChunkWriter,
    as_function,
    chat_result,
    openai_tools,
    to_choice,
    to_schema,
    to_tools,
)
from langchain_paradigm._structured import ObjectParser, Repaired, certain
from paradigm_transport import CompletionParameters
from paradigm_transport.chat.routes import ChatRequest, ParadigmChatModel

Stop = list[str] | None
Manager = CallbackManagerForLLMRun | None
AsyncManager = AsyncCallbackManagerForLLMRun | None
Method = Literal["function_calling", "json_schema", "json_mode"]


class ChatParadigm(ParadigmChatModel, LangChainModel, BaseChatModel):
    """A chat model over completions of LightOn's Paradigm: messages, tools, structured output.

    The endpoint knows no messages: they are written in the model's own markup, and calls of tools are read out of
    what it answers.

    Setup:
        ```bash
        pip install 'paradigm-llm[langchain]'
        export PARADIGM_API_KEY=…
        ```

    Key arguments:
        - `model`: the model's name, as the administrator set it up.
        - `chat_template`: how messages are written for the model: `alfred`, `chatml`, a `ChatTemplate`, or a template
          in Jinja.
        - `constrain`: `vllm` where the server holds an answer to a JSON schema: calls that must be, and structured
          output, then cannot be malformed.
        - `max_tokens`: the most tokens to generate, 256 by default.
        - `temperature`: the sampling temperature, 0 to 2; not sent where it is not given.
        - `api_key`, `base_url`: from PARADIGM_API_KEY and PARADIGM_BASE_URL where they are not given.

    Instantiate:
        ```python
        from langchain_paradigm import ChatParadigm

        chat = ChatParadigm(model="alfred-4.2", chat_template="alfred", max_tokens=200)
        ```

    Invoke:
        ```python
        chat.invoke([("system", "Be brief."), ("human", "What is the capital of France?")])
        ```

    Stream:
        ```python
        for chunk in chat.stream("What is the capital of France?"):
            print(chunk.text, end="")
        ```

    Async:
        ```python
        await chat.ainvoke("What is the capital of France?")
        ```

    Tools:
        ```python
        def weather(city: str) -> str:
            '''The weather of a city.'''
            return "Sunny."

        chat.bind_tools([weather]).invoke("What is the weather in Paris?").tool_calls
        ```

    Structured output:
        ```python
        chat.with_structured_output({"title": "City", "type": "object", "properties": {"name": {"type": "string"}}})
        ```

    Raises:
        InvalidParameterError: an argument is unknown, missing, of a wrong type or out of its range.
    """

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """This model with tools that it may call.

        Args:
            tools: functions, LangChain's tools, pydantic or TypedDict classes, or tools in OpenAI's form.
            tool_choice: `auto` (the default): as the model likes; `any`, `required` or True: at least one; `none` or
                False: none; a tool's name, or OpenAI's form of it: that one.
            strict: make the tools' schemas strict, as OpenAI's API wants them.
            kwargs: of each call: `parallel_tool_calls=False` for one call at most, and the endpoint's fields.

        Raises:
            InvalidParameterError: a tool is one that some other provider runs; or `tool_choice` is of no known form.
        """
        to_choice(tool_choice)
        return self.bind(tools=openai_tools(tools, strict), tool_choice=tool_choice, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        method: Method = "function_calling",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """This model with an object as its answer: of a pydantic class, or a dict.

        With `constrain` the server sees to it that the answer fits, and the object streams as it grows. Without, an
        answer that does not fit is asked for once more, and the object comes whole.

        Args:
            schema: a pydantic class, a TypedDict class, a JSON schema with a title, or a tool in OpenAI's form.
            method: `function_calling`: the object is the arguments of a call; `json_schema`: it is the answer itself;
                `json_mode`: the same, and the prompt says which JSON is wanted.
            include_raw: give a dict with the message (`raw`), the object (`parsed`) and the error (`parsing_error`),
                instead of raising one.
            strict: make the schema strict, as OpenAI's API wants it.
            kwargs: of each call: the endpoint's fields.
        """
        tool_name = None
        told = {"ls_structured_output_format": {"kwargs": {"method": method}, "schema": schema}}
        if method == "function_calling":
            (tool,) = openai_tools([schema], strict)
            tool_name = tool["function"]["name"]
            choice = {"type": "function", "function": {"name": tool_name}}
            ask = self.bind(tools=[tool], tool_choice=choice, **told, **kwargs)
        else:
            ask = self.bind(response_format=_response_format(schema, method, strict), **told, **kwargs)
        parser = ObjectParser(output=schema, tool_name=tool_name)
        if self.constrain is not None:
            return certain(ask, parser, include_raw)
        return Repaired(ask, parser, include_raw, self._messages_of).runnable()

    def _messages_of(self, question: LanguageModelInput) -> list[BaseMessage]:
        return self._convert_input(question).to_messages()

    # One chat, one request

    def _request(
        self, messages: Sequence[BaseMessage], stop: Stop, kwargs: Mapping[str, Any], *, stream: bool = False
    ) -> ChatRequest:
        fields = dict(kwargs)
        fields.pop("stream", None)  # LangChain's own, which asks to stream or not to
        return self.chat_request(
            to_messages(messages),
            tools=to_tools(fields.pop("tools", None) or ()),
            tool_choice=to_choice(fields.pop("tool_choice", None)),
            parallel=fields.pop("parallel_tool_calls", True) is not False,
            schema=to_schema(fields.pop("response_format", None)),
            stop=stop,
            overrides=fields,
            stream=stream,
        )

    def _should_stream(self, **kwargs: Any) -> bool:
        return super()._should_stream(**self._with_wish(kwargs))

    def _should_use_protocol_streaming(self, **kwargs: Any) -> bool:
        return super()._should_use_protocol_streaming(**self._with_wish(kwargs))

    def _with_wish(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """A call's arguments with the wish to stream or not, where they tell none."""
        if self.streaming:  # of which LangChain before 1.0 does not know
            return {"stream": True, **kwargs}
        # LangChain streams for whoever watches; a stream is one text.
        return dict(kwargs) if kwargs.get("n", self.n) in (None, 1) else {"stream": False, **kwargs}

    def _generate(
        self, messages: list[BaseMessage], stop: Stop = None, run_manager: Manager = None, **kwargs: Any
    ) -> ChatResult:
        with as_langchain:
            request = self._request(messages, stop, kwargs)
            return chat_result(self.client.complete(request.prompt, request.parameters), request)

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Stop = None, run_manager: AsyncManager = None, **kwargs: Any
    ) -> ChatResult:
        with as_langchain:
            request = self._request(messages, stop, kwargs)
            return chat_result(await self.async_client.complete(request.prompt, request.parameters), request)

    def _stream(
        self, messages: list[BaseMessage], stop: Stop = None, run_manager: Manager = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        with as_langchain:
            request = self._request(messages, stop, kwargs, stream=True)
            writer = self._writer(request)
            with self.client.stream(request.prompt, request.parameters) as pieces:
                yield from filter(None, map(writer.write, pieces))

    async def _astream(
        self, messages: list[BaseMessage], stop: Stop = None, run_manager: AsyncManager = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        with as_langchain:
            request = self._request(messages, stop, kwargs, stream=True)
            writer = self._writer(request)
            async with self.async_client.stream(request.prompt, request.parameters) as pieces:
                async for piece in pieces:
                    chunk = writer.write(piece)
                    if chunk is not None:
                        yield chunk

    def _writer(self, request: ChatRequest) -> ChunkWriter:
        return ChunkWriter(request, as_blocks=getattr(self, "output_version", None) == "v1")

    def _prompt_of(self, messages: list[BaseMessage], tools: Sequence[Any]) -> str:
        return self._request(messages, None, {"tools": openai_tools(tools, None)}).prompt

    # What the model says of itself

    @property
    def _llm_type(self) -> str:
        return "paradigm-chat"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        constrained = {} if self.constrain is None else {"constrain": self.constrain}
        return {**super()._identifying_params, **constrained}

    def _get_llm_string(self, stop: Stop = None, **kwargs: Any) -> str:
        # LangChain's own is remembered, also by a copy of this model with other fields.
        fields = {name: value for name, value in kwargs.items() if name in CompletionParameters.model_fields}
        sent = self.parameters(stop, fields).model_dump()
        return str(sorted({**self._identifying_params, **kwargs, **sent}.items()))


def _response_format(schema: dict[str, Any] | type, method: Method, strict: bool | None) -> dict[str, Any]:
    if method == "json_mode":
        return {"type": "json_object"}
    json_schema = convert_to_json_schema(as_function(schema), strict=strict)
    return {"type": "json_schema", "json_schema": {"name": json_schema.get("title", "answer"), "schema": json_schema}}
