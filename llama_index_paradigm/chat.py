"""`ChatParadigm` for LlamaIndex: answers messages and calls tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import Model, PydanticProgramMode
from pydantic import PrivateAttr, model_validator

from llama_index_paradigm._base import LlamaIndexModel
from llama_index_paradigm._compat import ToolsHook, is_default_prompt_function, unknown_tool_call, without_ways_to_call
from llama_index_paradigm._in import invalid_tool_calls_of, plain_messages, tool_calls_of
from llama_index_paradigm._out import ChatReader, written_object
from llama_index_paradigm._tasks import Task
from llama_index_paradigm._texts import is_cut_off
from paradigm_transport.calls import Call, StreamCall
from paradigm_transport.chat.fields import ChatFields, MessageParameters
from paradigm_transport.chat.message_route import route_of
from paradigm_transport.chat.prompt_route import PromptRoute
from paradigm_transport.chat.routes import ChatChunk, ChatCompletion, ChatRequest, ChatRoute
from paradigm_transport.chat.server_templates import ServerTemplates
from paradigm_transport.chat.structured import api_name, repair_messages, schema_of, tool_of
from paradigm_transport.chat.template_fields import Layer
from paradigm_transport.chat.templates import Template, find_template
from paradigm_transport.chat.text_route import TextRoute
from paradigm_transport.endpoints.chat_completions import WITHOUT_TOOLS
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import read_tool_choice, read_tools

_WITHOUT_CALL = f"pydantic_program_mode=PydanticProgramMode.LLM needs no tool calls. {WITHOUT_TOOLS}"


class ChatParadigm(ChatFields, LlamaIndexModel, ToolsHook):
    """Chats with LightOn's Paradigm; the model may call tools.

    Without `chat_template` it calls the chat endpoint, where the server formats messages for the model. With one it
    calls the completions endpoint: messages are formatted here, and tool calls are read from the completion.

    Setup:
        ```bash
        pip install 'paradigm-llm[llama-index]'
        export PARADIGM_API_KEY=…
        ```

    Key arguments:
        - `model`: the model's name, as the administrator set it up.
        - `chat_template`: how messages are formatted for the model: `alfred`, `chatml`, a `ChatTemplate`, or a
          template in Jinja; none for the chat endpoint.
        - `constrain`: `vllm` if the server can enforce a JSON schema by vLLM's field: on completions, required tool
          calls and structured predictions are then never malformed.
        - `max_tokens`: the maximum number of tokens to generate; 2048 by default on completions, the server's default
          on the chat endpoint.
        - `temperature`: the sampling temperature, 0 to 2; not sent by default.
        - `context_window`: tokens of prompt and completion together; by default the server is asked for it.
        - `api_key`, `base_url`: PARADIGM_API_KEY and PARADIGM_BASE_URL by default.

    Instantiate:
        ```python
        from llama_index_paradigm import ChatParadigm

        llm = ChatParadigm(model="alfred-4.2", max_tokens=500)
        over_completions = ChatParadigm(model="alfred-4.2", chat_template="alfred", max_tokens=500)
        ```

    Chat:
        ```python
        from llama_index.core.llms import ChatMessage

        llm.chat([ChatMessage("Why is the sky blue?")]).message.content
        ```

    Stream:
        ```python
        for piece in llm.stream_chat([ChatMessage("Why is the sky blue?")]):
            print(piece.delta, end="")
        ```

    Async:
        ```python
        await llm.achat([ChatMessage("Why is the sky blue?")])
        ```

    Call tools:
        ```python
        from llama_index.core.tools import FunctionTool


        def multiply(a: float, b: float) -> float:
            '''Multiply two numbers.'''
            return a * b


        response = llm.chat_with_tools([FunctionTool.from_defaults(multiply)], "How much is 6 times 7?")
        llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
        ```

    Agents:
        ```python
        from llama_index.core.agent.workflow import FunctionAgent

        await FunctionAgent(tools=[multiply], llm=llm).run("How much is 6 times 7?")
        ```

    Raises:
        InvalidParameterError: an argument is unknown, missing, of a wrong type or out of its range.
    """

    _calls_tools: ClassVar[bool] = True

    _refused: ClassVar[tuple[str, ...]] = ("messages_to_prompt", "completion_to_prompt")
    """LlamaIndex's fields that do not apply."""

    _templates: ServerTemplates = PrivateAttr(default_factory=ServerTemplates)

    @model_validator(mode="before")
    @classmethod
    def _check_prompt_functions(cls, fields: object) -> object:
        for name in cls._refused:
            function = fields.get(name) if isinstance(fields, Mapping) else None
            if function is not None and not is_default_prompt_function(function):
                raise ValueError(f"{name} does not apply to ChatParadigm: chat_template formats all messages")
        return fields

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "ChatParadigm"

    # Chats. Every path but that of a formatted prompt adds `system_prompt` and `query_wrapper_prompt` in `_request`.

    def _chat_call(
        self, messages: Sequence[ChatMessage], fields: JsonObject, *, as_it_is: bool = False
    ) -> Call[ChatCompletion]:
        request = self._request(messages, fields, as_it_is=as_it_is)
        return self._route.call(request, self, self.additional_kwargs, fields)

    def _chat_stream_call(
        self, messages: Sequence[ChatMessage], fields: JsonObject, *, as_it_is: bool = False
    ) -> StreamCall[Any, ChatChunk]:
        request = self._request(messages, fields, as_it_is=as_it_is)
        return self._route.stream_call(request, self, self.additional_kwargs, fields)

    @property
    def _route(self) -> ChatRoute:
        template = self.chat_template
        return route_of(self, None if template is None else self._templates.find(template, self.model, self))

    def _known_template(self) -> Template | None:
        template = self.chat_template and self._templates.known(self.chat_template, self.model, self)
        return None if template is None else find_template(template)

    async def _aprepare(self) -> None:
        if self.chat_template is not None:
            await self._templates.afind(self.chat_template, self.model, self)

    @property
    def _takes_images(self) -> bool:
        return self.chat_template is None

    def _check_parameters(self) -> None:
        if self.chat_template is None:
            MessageParameters.of(self, self.additional_kwargs)
        else:
            super()._check_parameters()

    def _request(self, messages: Sequence[ChatMessage], fields: JsonObject, *, as_it_is: bool = False) -> ChatRequest:
        """Take what describes the chat out of the fields of a call, and leave those of the endpoint."""
        return ChatRequest(
            plain_messages(messages if as_it_is else self._with_system_prompt(messages)),
            read_tools(fields.pop("tools", None)),
            read_tool_choice(fields.pop("tool_choice", None)),
            fields.pop("parallel_tool_calls", True) is not False,
            fields.pop("schema", None),
        )

    # Completions. The chat endpoint takes a prompt as the message of a user, formatted or not.

    def _format(self, prompt: str, formatted: bool, fields: JsonObject) -> tuple[str, Layer]:
        route = self._route
        if formatted or not isinstance(route, PromptRoute):
            return prompt, fields
        return route.write(self._request([ChatMessage(prompt)], {}), fields)

    @property
    def _text_route(self) -> TextRoute:
        return TextRoute(self._known_template(), self.reasoning_parser)

    def _completion_call(
        self, prompt: str, formatted: bool, fields: JsonObject
    ) -> tuple[Call[Any], Callable[[Any], CompletionResponse]]:
        if self.chat_template is not None:
            return super()._completion_call(prompt, formatted, fields)
        reader = ChatReader()
        call = self._chat_call([ChatMessage(prompt)], fields, as_it_is=formatted)
        return call, lambda reply: reader.as_completion(reader.read(reply))

    def _completion_stream_call(
        self, prompt: str, formatted: bool, fields: JsonObject
    ) -> tuple[StreamCall[Any, Any], Callable[[Any], CompletionResponse]]:
        if self.chat_template is not None:
            return super()._completion_stream_call(prompt, formatted, fields)
        reader = ChatReader()
        call = self._chat_stream_call([ChatMessage(prompt)], fields, as_it_is=formatted)
        return call, lambda chunk: reader.as_completion(reader.read_chunk(chunk))

    # Tools. `chat_with_tools` and its twins are LlamaIndex's, and call `chat` and its twins.

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: object
    ) -> list[ToolSelection]:
        """Return the tool calls in a response; in a stream's, also incomplete ones, with the arguments so far.

        Args:
            response: a response of one of the chat methods.
            error_on_no_tool_call: raise if there is no call. If False, as agents pass it, a malformed call is returned
                as the call of a tool that does not exist, whose name says what is wrong: agents report that to the
                model, which tries again.
            kwargs: ignored.

        Raises:
            ValueError: there is no call, or only malformed ones; also if `error_on_no_tool_call` is False and
                `max_tokens` cut the only call off.
        """
        message = response.message
        calls = [
            ToolSelection(tool_id=call.id, tool_name=call.name, tool_kwargs=call.arguments)
            for call in tool_calls_of(message)
        ]
        invalid = invalid_tool_calls_of(message)
        if not calls and (error_on_no_tool_call or (invalid and is_cut_off(response))):
            reasons = "; ".join(call.reason for call in invalid)
            problem = f"the model's tool call is malformed: {reasons}" if reasons else "the model did not call a tool"
            is_endpoint_at_fault = not reasons and self.chat_template is None
            raise ValueError(f"{problem}. {WITHOUT_TOOLS}" if is_endpoint_at_fault else problem)
        return calls if error_on_no_tool_call else [*calls, *map(unknown_tool_call, invalid)]

    # Structured prediction

    def _task(
        self, output_cls: type[Model], prompt: BasePromptTemplate, llm_kwargs: JsonObject, prompt_args: JsonObject
    ) -> ChatTask[Model]:
        return ChatTask(self, output_cls, prompt, prompt_args, llm_kwargs)


class ChatTask(Task[Model, list[ChatMessage], ChatResponse]):
    """A structured prediction by a tool call whose arguments are the object, or by an answer that fits a schema.

    `pydantic_program_mode` chooses: `LLM` for an answer, all others for a tool call, as with LlamaIndex's other models
    that call tools.
    """

    def __init__(
        self,
        llm: ChatParadigm,
        output_cls: type[Model],
        template: BasePromptTemplate,
        template_args: JsonObject,
        fields: JsonObject,
    ) -> None:
        super().__init__(output_cls, template, template_args, llm._messages(template, template_args))
        fields = without_ways_to_call(fields)
        self._advice = ""
        self.schema_enforced, self.max_tokens = llm._enforces_schemas, llm._max_tokens(fields)
        if llm.pydantic_program_mode == PydanticProgramMode.LLM:
            fields = {**fields, "schema": schema_of(output_cls)}
        else:
            tool = tool_of(output_cls)
            tool = replace(tool, name=api_name(tool.name))
            choice = {"type": "function", "function": {"name": tool.name}}
            self._advice = _WITHOUT_CALL if llm.chat_template is None else ""
            fields = {**fields, "tools": [tool.to_openai()], "tool_choice": choice}
        self.ask, self.aask = partial(llm.chat, **fields), partial(llm.achat, **fields)
        self.stream, self.astream = partial(llm.stream_chat, **fields), partial(llm.astream_chat, **fields)

    def text_of(self, answer: ChatResponse) -> str:
        """As in `Task`."""
        return written_object(answer.message)

    def advise(self, answer: ChatResponse) -> str:
        """As in `Task`: how to go without a call, if there was none."""
        message = answer.message
        return "" if tool_calls_of(message) or invalid_tool_calls_of(message) else self._advice

    def repair(self, answer: ChatResponse, problem: str) -> list[ChatMessage]:
        """As in `Task`."""
        further = repair_messages(self.text_of(answer), problem)
        return [*self.request, *(ChatMessage(role=message.role, content=message.content) for message in further)]
