"""`ChatParadigm` for LlamaIndex: messages and tools as a prompt, calls of tools out of the answer."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from llama_index.core.base.llms.generic_utils import messages_to_prompt as default_messages_to_prompt
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ChatResponseAsyncGen, ChatResponseGen
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection, default_completion_to_prompt
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import Model, PydanticProgramMode
from pydantic import model_validator
from typing_extensions import Self

from llama_index_paradigm._base import LlamaIndexModel
from llama_index_paradigm._events import chat_event
from llama_index_paradigm._in import Call, answer_message, calls_of, plain_choice, plain_messages, plain_tool
from llama_index_paradigm._out import Reader
from llama_index_paradigm._structured import Task
from paradigm_transport.chat.dialects.hermes import CallArguments, CallBegin, InvalidToolCall, Piece, TextPiece
from paradigm_transport.chat.routes import ChatRequest, ParadigmChatModel, repair, schema_of, tool_of
from paradigm_transport.messages import Message

if TYPE_CHECKING:
    from llama_index.core.tools import BaseTool

logger = logging.getLogger(__name__)


class ChatParadigm(ParadigmChatModel, LlamaIndexModel, FunctionCallingLLM):
    """Chats with a model of LightOn's Paradigm, which may call tools.

    Setup:
        ```bash
        pip install 'paradigm-llm[llama-index]'
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
        - `context_window`: tokens of prompt and completion together; the server is asked where it is not given.
        - `api_key`, `base_url`: from PARADIGM_API_KEY and PARADIGM_BASE_URL where they are not given.

    Instantiate:
        ```python
        from llama_index_paradigm import ChatParadigm

        llm = ChatParadigm(model="alfred-4.2", chat_template="alfred", max_tokens=500)
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

    takes_tools: ClassVar[bool] = True

    @model_validator(mode="after")
    def _check_functions(self) -> Self:
        defaults = {
            "messages_to_prompt": default_messages_to_prompt,
            "completion_to_prompt": default_completion_to_prompt,
        }
        for name, default in defaults.items():
            if getattr(self, name) not in (None, default):
                raise ValueError(f"{name} is not for ChatParadigm, which writes all messages with chat_template")
        return self

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "ChatParadigm"

    # `chat_with_tools` and its twins are LlamaIndex's own, over these four.

    @chat_event
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer messages.

        Args:
            messages: the chat.
            kwargs: the endpoint's fields, which win over the constructor's, and:

                - `tools`: what the model may call, as `ToolMetadata.to_openai_tool` writes it.
                - `tool_choice`: `"auto"`, `"none"`, `"required"` (or `"any"`), or a tool's name.
                - `parallel_tool_calls`: False where the answer is to end with the first call.
                - `schema`: a JSON schema; the answer is to be an object of it, unless it is a call.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.complete`.
        """
        request = self._request(messages, kwargs)
        return self._call(CallReader(request), request.prompt, request.parameters)

    @chat_event
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`."""
        request = self._request(messages, kwargs)
        return await self._acall(CallReader(request), request.prompt, request.parameters)

    @chat_event
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`, piece by piece; the last response carries the whole calls, finish reason and usage."""
        request = self._request(messages, kwargs, stream=True)
        return self._stream(CallReader(request), request.prompt, request.parameters)

    @chat_event
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `stream_chat`."""
        request = self._request(messages, kwargs, stream=True)
        return self._astream(CallReader(request), request.prompt, request.parameters)

    def _request(
        self, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any], *, stream: bool = False
    ) -> ChatRequest:
        fields = dict(kwargs)
        return self.chat_request(
            self._plain(messages),
            tools=[plain_tool(told) for told in fields.pop("tools", None) or ()],
            tool_choice=plain_choice(fields.pop("tool_choice", None)),
            parallel=fields.pop("parallel_tool_calls", True) is not False,
            schema=fields.pop("schema", None),
            overrides=self._overrides(fields),
            stream=stream,
        )

    # Prompts. `system_prompt` and `query_wrapper_prompt` are put in here alone, whichever way messages come.

    def _plain(self, messages: Sequence[ChatMessage]) -> list[Message]:
        return plain_messages(self._with_system_prompt(messages))

    def _extend_messages(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        return messages

    def _format(self, prompt: str, formatted: bool) -> str:
        return prompt if formatted else self.template.render_chat(self._plain([ChatMessage(prompt)]))

    # Tools

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: str | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The arguments of `chat`; plain data, for events carry them."""
        last = [ChatMessage(user_msg) if isinstance(user_msg, str) else user_msg] if user_msg else []
        return {
            "messages": [*(chat_history or ()), *last],
            "tools": [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools],
            "tool_choice": tool_choice or ("required" if tool_required else "auto"),
            "parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The calls in a response; of a stream's, also those that are still coming, with what there is of them.

        Args:
            response: what one of the chat methods gave.
            error_on_no_tool_call: raise where there is none.
            kwargs: ignored.

        Raises:
            ValueError: there is no call, or none that can be read.
        """
        calls = calls_of(response.message)
        if not calls and error_on_no_tool_call:
            invalid = response.message.additional_kwargs.get("invalid_tool_calls") or ()
            reasons = "; ".join(call["reason"] for call in invalid)
            raise ValueError(
                f"the model's call of a tool cannot be read: {reasons}" if reasons else "the model called no tool"
            )
        return [ToolSelection(tool_id=call.id, tool_name=call.name, tool_kwargs=call.read()) for call in calls]

    # Structured prediction: by the call of a tool, as of other models that call tools; or by an answer under a schema.

    def _task(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        prompt_args: dict[str, Any],
    ) -> Task[Model]:
        return ChatTask(self, output_cls, prompt, prompt_args, llm_kwargs or {})


class CallReader(Reader[ChatResponse]):
    """Reads the answer to a chat, and the calls in it."""

    def __init__(self, request: ChatRequest) -> None:
        super().__init__()
        self._reader = request.reader()
        self._calls: dict[int, Call] = {}
        self._invalid: list[InvalidToolCall] = []

    def _take(self, text: str, *, is_last: bool) -> str:
        before = len(self.text)
        for piece in self._reader.feed(text) + (self._reader.finish() if is_last else []):
            self._add(piece)
        return self.text[before:]

    def _add(self, piece: Piece) -> None:
        if isinstance(piece, TextPiece):
            self.text += piece.text
        elif isinstance(piece, CallBegin):
            self._calls[piece.index] = Call(piece.id, piece.name)
        elif isinstance(piece, CallArguments):
            self._calls[piece.index].text += piece.text
        elif isinstance(piece.call, InvalidToolCall):
            self._calls.pop(piece.index, None)
            self._invalid.append(piece.call)
            logger.warning("The model's call of a tool cannot be read, and is not made: %s.", piece.call.reason)
        else:
            self._calls[piece.index].arguments = piece.call.arguments

    def _respond(self, **rest: Any) -> ChatResponse:
        return ChatResponse(message=answer_message(self.text, list(self._calls.values()), self._invalid), **rest)


class ChatTask(Task[Model]):
    """A structured prediction by an answer under a schema, or by the call of a tool that takes such an object."""

    def __init__(
        self,
        llm: ChatParadigm,
        output_cls: type[Model],
        template: BasePromptTemplate,
        template_args: dict[str, Any],
        llm_kwargs: dict[str, Any],
    ) -> None:
        super().__init__(output_cls, template, template_args)
        self.is_certain = llm.constrain is not None
        self._llm = llm
        self._kwargs = {**llm_kwargs, **_asked_for(output_cls, llm.pydantic_program_mode)}
        self.request = llm._get_messages(template, **template_args)

    def ask(self, request: list[ChatMessage]) -> str:
        """As in `Task`."""
        return _object_text(self._llm.chat(request, **self._kwargs))

    async def aask(self, request: list[ChatMessage]) -> str:
        """As in `Task`."""
        return _object_text(await self._llm.achat(request, **self._kwargs))

    def stream(self) -> Generator[str, None, None]:
        """As in `Task`."""
        for response in self._llm.stream_chat(self.request, **self._kwargs):
            yield _object_text(response)

    async def astream(self) -> AsyncGenerator[str, None]:
        """As in `Task`."""
        async for response in await self._llm.astream_chat(self.request, **self._kwargs):
            yield _object_text(response)

    def repair(self, answer: str, problem: str) -> list[ChatMessage]:
        """As in `Task`."""
        further = [ChatMessage(role=message.role, content=message.content) for message in repair(answer, problem)]
        return [*self.request, *further]


def _asked_for(output_cls: type[Model], mode: PydanticProgramMode) -> dict[str, Any]:
    if mode == PydanticProgramMode.LLM:
        return {"schema": schema_of(output_cls)}
    tool = tool_of(output_cls)
    return {"tools": [tool.as_function()], "tool_choice": {"type": "function", "function": {"name": tool.name}}}


def _object_text(response: ChatResponse) -> str:
    told = response.message.additional_kwargs
    if told.get("tool_calls"):
        return str(told["tool_calls"][0]["function"]["arguments"])
    if told.get("invalid_tool_calls"):
        return str(told["invalid_tool_calls"][0]["text"])
    return response.message.content or ""
