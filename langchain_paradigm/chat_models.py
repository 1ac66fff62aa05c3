"""`ChatParadigm` for LangChain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from langchain_core.callbacks import Callbacks
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import PrivateAttr, field_validator
from typing_extensions import Self

from langchain_paradigm import _compat
from langchain_paradigm._base import AnyTool, AsyncManager, LangChainModel, Manager, Stop
from langchain_paradigm._batches import Batches
from langchain_paradigm._errors import as_langchain
from langchain_paradigm._in import as_function, openai_tools, take_functions, to_messages
from langchain_paradigm._out import ChunkWriter, chat_result, with_llm_output
from langchain_paradigm._structured import ObjectParser, Output, StructuredOutput
from paradigm_transport import APIStatusError, InvalidParameterError, Usage
from paradigm_transport.chat.fields import FIELDS, ChatFields
from paradigm_transport.chat.message_route import route_of, wire_messages
from paradigm_transport.chat.prompt_route import PromptRoute
from paradigm_transport.chat.routes import ChatRequest, ChatRoute
from paradigm_transport.chat.server_templates import ServerTemplates
from paradigm_transport.chat.structured import api_name, check_object
from paradigm_transport.context_windows import ContextWindows
from paradigm_transport.endpoints.chat_completions import WITHOUT_TOOLS
from paradigm_transport.endpoints.completions.fields import CompletionFields
from paradigm_transport.errors import UnwritableError
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import (
    Message,
    read_response_format,
    read_tool_choice,
    read_tools,
    to_json,
)
from paradigm_transport.refusals import is_context_overflow

_WITHOUT_CALL = f"method='json_schema' needs no tool calls. {WITHOUT_TOOLS}"


class ChatParadigm(
    ChatFields,
    LangChainModel,
    Batches[LanguageModelInput, AIMessage],
    _compat.StreamingHooks,
    _compat.InvocationHook,
    _compat.CacheKeyHook,
    _compat.ProfileHook,
    BaseChatModel,
):
    """A chat model of LightOn's Paradigm: messages, tools, structured output.

    Without `chat_template` it calls the chat endpoint, where the server writes messages in the model's markup. With one
    it calls the completions endpoint: messages are written here, and calls of tools are read from the completion.

    Setup:
        ```bash
        pip install 'paradigm-llm[langchain]'
        export PARADIGM_API_KEY=…
        ```

    Key arguments:
        - `model`: the model's name, as the administrator set it up.
        - `chat_template`: how messages are written for the model: `alfred`, `chatml`, a `ChatTemplate`, or a template
          in Jinja; none for the chat endpoint.
        - `constrain`: `vllm` if the server can enforce a JSON schema by vLLM's field: on completions, required calls
          and structured output then cannot be malformed.
        - `max_tokens`: the most tokens to generate; 2048 by default on completions, the server's default on the chat
          endpoint.
        - `temperature`: the sampling temperature, 0 to 2; not sent if it is not given.
        - `api_key`, `base_url`: from PARADIGM_API_KEY and PARADIGM_BASE_URL if they are not given.

    Instantiate:
        ```python
        from langchain_paradigm import ChatParadigm

        chat = ChatParadigm(model="alfred-4.2", max_tokens=200)
        over_completions = ChatParadigm(model="alfred-4.2", chat_template="alfred", max_tokens=200)
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

    _elsewhere: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("parallel_tool_calls", "response_format", "tool_choice", "tools"), "pass it in a call, or to bind()"
    )

    def bind_tools(
        self,
        tools: Sequence[AnyTool],
        *,
        tool_choice: str | bool | JsonObject | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """This model with tools that it may call.

        Args:
            tools: functions, LangChain's tools, pydantic or TypedDict classes, or tools in OpenAI's form.
            tool_choice: `auto` (the default): the model decides; `any`, `required` or True: at least one call; `none`
                or False: no call; a tool's name, or OpenAI's form of it: a call of that tool.
            strict: make the tools' schemas strict, as OpenAI's API wants them.
            kwargs: arguments of each call: `parallel_tool_calls=False` for at most one call of a tool, and the
                endpoint's fields.

        Raises:
            InvalidParameterError: a tool is one that another provider runs, or `tool_choice` has an unknown form.
        """
        read_tool_choice(tool_choice)
        return self.bind(tools=openai_tools(tools, strict), tool_choice=tool_choice, **kwargs)

    def with_structured_output(
        self,
        schema: JsonObject | type | None = None,
        *,
        method: Literal["function_calling", "json_schema", "json_mode"] = "function_calling",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Output:
        """This model with an object as its answer: of a pydantic class, or a dict.

        With `constrain` the server enforces the schema, and the object streams as it grows. Without, the model is asked
        once more if its answer does not fit, and the object arrives in one piece.

        Args:
            schema: a pydantic class, a TypedDict class, a JSON schema with a title, or a tool or the `json_schema` of a
                `response_format` in OpenAI's form. None only with `json_mode`, for a dict of any kind.
            method: `function_calling`: the object is the arguments of a call; `json_schema`: it is the answer itself;
                `json_mode`: the same, and your prompt describes the JSON.
            include_raw: return a dict with the message (`raw`), the object (`parsed`) and the error
                (`parsing_error`), instead of raising one.
            strict: make the schema strict, as OpenAI's API wants it.
            kwargs: arguments of each call: the endpoint's fields.

        Raises:
            InvalidParameterError: the schema is missing or that of something other than an object, or `method` is
                unknown.
        """
        kwargs = {**_compat.structured_output_mark(schema, method), **kwargs}
        tool_name = json_schema = None
        advice = ""
        if method == "json_mode":
            ask = self.bind(response_format={"type": "json_object"}, **kwargs)
        elif schema is None:
            raise InvalidParameterError(f"method={method!r} needs a schema; without one, pass method='json_mode'")
        elif method == "function_calling":
            (tool,) = openai_tools([schema], strict)
            check_object(tool["function"].get("parameters") or {})
            tool_name = api_name(tool["function"]["name"])
            tool = {**tool, "function": {**tool["function"], "name": tool_name}}
            choice = {"type": "function", "function": {"name": tool_name}}
            advice = _WITHOUT_CALL if self.chat_template is None else ""
            ask = self.bind(tools=[tool], tool_choice=choice, **kwargs)
        elif method == "json_schema":
            json_schema = convert_to_json_schema(as_function(schema), strict=strict)
            check_object(json_schema)
            named = {"name": json_schema.get("title", "answer"), "schema": json_schema}
            ask = self.bind(response_format={"type": "json_schema", "json_schema": named}, **kwargs)
        else:
            raise InvalidParameterError(f"method must be function_calling, json_schema or json_mode, not {method!r}")
        parser = ObjectParser(output=schema, tool_name=tool_name, answer_schema=json_schema, advice=advice)
        # `json_mode` sends no schema: an object of any kind is enforced, and a class may still refuse it.
        is_enforced = self._enforces_schemas and (method != "json_mode" or not parser.validates)
        return StructuredOutput(
            ask,
            parser,
            include_raw,
            retry=not is_enforced,
            max_concurrency=self.max_concurrency,
            show_progress=self.show_progress,
        ).runnable()

    # Many chats

    def generate(
        self, messages: list[list[BaseMessage]], stop: Stop = None, callbacks: Callbacks = None, **kwargs: Any
    ) -> LLMResult:
        """Answer chats, one after the other.

        Args:
            messages: the chats.
            stop: stop sequences; they win over the constructor's.
            callbacks: LangChain's callbacks.
            kwargs: LangChain's `tags`, `metadata`, `run_name` and `run_id`, and the endpoint's fields.

        Returns:
            The messages; `llm_output` holds their `token_usage`, summed, and `model_name`.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.complete`.
        """
        return with_llm_output(super().generate(messages, stop, callbacks, **kwargs), self.model)

    async def agenerate(
        self, messages: list[list[BaseMessage]], stop: Stop = None, callbacks: Callbacks = None, **kwargs: Any
    ) -> LLMResult:
        """As `generate`, the chats concurrently."""
        return with_llm_output(await super().agenerate(messages, stop, callbacks, **kwargs), self.model)

    # One chat, one call

    @property
    def _route(self) -> ChatRoute:
        template = self.chat_template
        return route_of(self, None if template is None else self._templates.find(template, self.model, self))

    async def _aprepare(self) -> None:
        """Look up what `_route` needs, without blocking the event loop."""
        if self.chat_template is not None:
            await self._templates.afind(self.chat_template, self.model, self)

    def _asked(
        self, messages: Sequence[BaseMessage], stop: Stop, arguments: Mapping[str, object]
    ) -> tuple[ChatRequest, CompletionFields, dict[str, object]]:
        """What a route makes a call of: the chat, the model's fields of the endpoint, and the call's."""
        fields = _compat.without_own_arguments(arguments)
        take_functions(fields)
        request = self._request(
            messages,
            fields.pop("tools", None),
            tool_choice=read_tool_choice(fields.pop("tool_choice", None)),
            parallel_tool_calls=fields.pop("parallel_tool_calls", True) is not False,
            schema=read_response_format(fields.pop("response_format", None)),
        )
        return request, self, fields if stop is None else {**fields, "stop": stop}

    def _stream_argument(self, arguments: Mapping[str, object]) -> dict[str, bool]:
        if self.streaming:  # LangChain before 1.0 does not look at it
            return {"stream": True}
        # LangChain also streams for handlers that want it, but a stream is a single completion.
        return {} if arguments.get("n", self.n) in (None, 1) else {"stream": False}

    def _generate(
        self, messages: list[BaseMessage], stop: Stop = None, run_manager: Manager = None, **kwargs: object
    ) -> ChatResult:
        with as_langchain:
            reply = self.client.send(self._route.call(*self._asked(messages, stop, kwargs)))
            return chat_result(reply, as_functions="functions" in kwargs)

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Stop = None, run_manager: AsyncManager = None, **kwargs: object
    ) -> ChatResult:
        with as_langchain:
            await self._aprepare()
            reply = await self.async_client.send(self._route.call(*self._asked(messages, stop, kwargs)))
            return chat_result(reply, as_functions="functions" in kwargs)

    def _stream(
        self, messages: list[BaseMessage], stop: Stop = None, run_manager: Manager = None, **kwargs: object
    ) -> Iterator[ChatGenerationChunk]:
        with as_langchain:
            call = self._route.stream_call(*self._asked(messages, stop, kwargs))
            writer = ChunkWriter(_compat.writes_content_blocks(self), as_functions="functions" in kwargs)
            with self.client.open(call) as chunks:
                yield from filter(None, map(writer.write, chunks))

    async def _astream(
        self, messages: list[BaseMessage], stop: Stop = None, run_manager: AsyncManager = None, **kwargs: object
    ) -> AsyncIterator[ChatGenerationChunk]:
        with as_langchain:
            await self._aprepare()
            call = self._route.stream_call(*self._asked(messages, stop, kwargs))
            writer = ChunkWriter(_compat.writes_content_blocks(self), as_functions="functions" in kwargs)
            async with self.async_client.open(call) as chunks:
                async for each in chunks:
                    chunk = writer.write(each)
                    if chunk is not None:
                        yield chunk

    # Tokens

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[AnyTool] | None = None) -> int:
        """The number of tokens of messages and tools, as they are sent.

        On the chat endpoint the server counts the prompt of an answer of one token; its counts are remembered. Messages
        that are longer than the model's context, or that the server refuses, such as a part of a chat, are counted one
        by one, and so are tools. No messages are 0 tokens.

        Args:
            messages: the messages.
            tools: what the model may call, as for `bind_tools`.

        Raises:
            ParadigmError: see `get_num_tokens`.
        """
        if not messages:
            return 0
        if self.chat_template is not None or self.custom_get_token_ids is not None:
            return super().get_num_tokens_from_messages(messages, tools)
        request = self._request(messages, openai_tools(tools or (), None))
        text = to_json([wire_messages(request), [tool.to_openai() for tool in request.tools]])
        try:
            return self._remembered(text, lambda: self._count_at_once(lambda: self._usage_of_chat(request)))
        except APIStatusError as error:
            if not is_context_overflow(error) and error.status_code not in (400, 422):
                raise
        texts = [message.content for message in request.messages]
        written = [each.to_openai() for message in request.messages for each in message.tool_calls]
        written += [tool.to_openai() for tool in request.tools]
        return sum(map(self.get_num_tokens, filter(None, [*texts, *map(to_json, written)])))

    def _usage_of(self, text: str) -> Usage | None:
        if self.chat_template is not None:
            return LangChainModel._usage_of(self, text)
        return self._usage_of_chat(ChatRequest([Message("user", text)]))

    def _usage_of_chat(self, request: ChatRequest) -> Usage | None:
        call = self._route.call(request, {"model": self.model, "max_tokens": 1})
        return self.client.send(call).completion.usage

    def _prompt_of(self, messages: list[BaseMessage], tools: Sequence[AnyTool]) -> str:
        route = self._route
        if not isinstance(route, PromptRoute):
            raise UnwritableError("the server writes the messages of the chat endpoint")
        return route.prompt(self._request(messages, openai_tools(tools, None)))

    def _request(self, messages: Iterable[BaseMessage], tools: object, **others: Any) -> ChatRequest:
        takes_images = self.chat_template is None
        return ChatRequest(to_messages(messages, takes_images=takes_images), read_tools(tools), **others)

    # What the model can do

    @field_validator("profile", mode="before", check_fields=False)
    @classmethod
    def _ask_again(cls, profile: object) -> object:
        # LangChain makes a configured copy from the values of all fields.
        return None if isinstance(profile, _compat.Profile) else profile

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy. A `profile` that was not given is that of the copy.

        Args:
            update: arguments of the copy, by the names that the constructor takes.
            deep: copy the values, too; clients are shared.

        Raises:
            InvalidParameterError: a name in `update` is unknown.
        """
        copy = super().model_copy(update=update, deep=deep)
        if isinstance(vars(copy).get("profile"), _compat.Profile):
            vars(copy)["profile"] = copy._profile()
        return copy

    _windows: ContextWindows = PrivateAttr(default_factory=ContextWindows)
    _templates: ServerTemplates = PrivateAttr(default_factory=ServerTemplates)

    def _profile(self) -> _compat.Profile:
        known = {
            "text_inputs": True,
            "text_outputs": True,
            "tool_calling": True,
            "tool_choice": True,
            "tool_call_streaming": True,
            "structured_output": self._enforces_schemas,
        }
        return _compat.Profile(known, lambda: self._windows.find(self.model, self))

    # Traces and cache keys

    @property
    def _llm_type(self) -> str:
        return "paradigm-chat"

    def _cache_key(self, stop: Stop, arguments: Mapping[str, object]) -> str:
        fields = {name: value for name, value in arguments.items() if name in FIELDS}
        parameters = self._kind_of_parameters.of(self, fields, {} if stop is None else {"stop": stop}).model_dump()
        sent = {name: value for name, value in parameters.items() if name in FIELDS}
        variables: Any = [each for each in (self.chat_template_kwargs, arguments.get("chat_template_kwargs")) if each]
        of_subclass = {name: vars(self)[name] for name in type(self).model_fields.keys() - ChatParadigm.model_fields}
        answered_by = {**self._identifying_params, **of_subclass, **arguments, **sent, "variables": variables}
        without = ("extra_headers", "stream_usage", "timeout")  # they change no answer
        return str(sorted(item for item in answered_by.items() if item[0] not in without))
