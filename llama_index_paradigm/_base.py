"""What `ParadigmLLM` and `ChatParadigm` share: fields, metadata, completions, chats."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from llama_index.core.base.llms.types import TextBlock
from llama_index.core.llms import LLM, ChatMessage, ChatResponse, CompletionResponse, LLMMetadata, MessageRole
from llama_index.core.prompts import BasePromptTemplate
from pydantic import BeforeValidator, Field, PrivateAttr, model_validator
from typing_extensions import Self

from llama_index_paradigm._compat import MessagesHook, images_of, llm_callback, plain_blocks, without_class_name
from llama_index_paradigm._structured import StructuredPrediction
from llama_index_paradigm._texts import CompletionReader, aresponses, responses
from paradigm_transport import CompletionParameters
from paradigm_transport.access import Connected
from paradigm_transport.calls import Call, StreamCall
from paradigm_transport.chat.template_fields import Layer, TemplateFields, completion_parameters, template_of
from paradigm_transport.chat.text_route import TextRoute
from paradigm_transport.context_windows import ContextWindows
from paradigm_transport.endpoints.completions.call import as_is, chunk_as_is
from paradigm_transport.endpoints.completions.fields import CompletionFields
from paradigm_transport.json_object import JsonObject

if TYPE_CHECKING:
    from llama_index_paradigm._out import ChatReader
    from paradigm_transport.chat.routes import ChatChunk, ChatCompletion
    from paradigm_transport.chat.templates import Template

_KINDS = "ChatParadigm answers chats and calls tools, ParadigmLLM completes text"

_OF_OPENAI = {
    "api_version": "leave it out",
    "is_chat_model": _KINDS,
    "is_function_calling_model": _KINDS,
    "reuse_client": "leave it out",
    "should_use_structured_outputs": "pass pydantic_program_mode=PydanticProgramMode.LLM",
    "strict": "leave it out",
    "tokenizer": "set llama_index.core.Settings.tokenizer",
}
"""Arguments of LlamaIndex's OpenAILike that have no counterpart, with what to do instead."""


class LlamaIndexModel(CompletionFields, TemplateFields, Connected, StructuredPrediction, MessagesHook, LLM):
    """Shared base of `ParadigmLLM` (completes text) and `ChatParadigm` (answers messages, calls tools).

    Each public method is decorated once and calls none of the others: one event, one `rate_limiter.acquire`, one
    formatting of the prompt.
    """

    context_window: int | None = Field(
        default=None,
        gt=0,
        description="The maximum number of tokens of prompt and completion together; None to ask the server for it.",
    )
    additional_kwargs: Annotated[JsonObject, BeforeValidator(lambda given: {} if given is None else given)] = Field(
        default_factory=dict,
        description="The endpoint's fields for every request; they win over the other arguments.",
    )

    _argument_aliases: ClassVar[Mapping[str, str]] = {"api_base": "base_url"}
    _elsewhere: ClassVar[Mapping[str, str]] = _OF_OPENAI
    _process_bound: ClassVar[tuple[str, ...]] = ("rate_limiter", "callback_manager")
    _calls_tools: ClassVar[bool] = False

    _windows: ContextWindows = PrivateAttr(default_factory=ContextWindows)

    @classmethod
    def _named(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return super()._named(without_class_name(cls, values))

    @model_validator(mode="after")
    def _check_additional_kwargs(self) -> Self:
        self._check_parameters()
        return self

    def _check_parameters(self) -> None:
        self._parameters({})

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex plans prompts by.

        Without `context_window`, the first access asks the server for it. An event loop must not wait: inside one,
        LlamaIndex's default is used until the server has answered.
        """
        return self._metadata(self.context_window or self._windows.find(self.model, self))

    def to_payload(self) -> JsonObject:
        """Return what events carry of this object: no key, no headers. It sends no request."""
        window = self.context_window or self._windows.known(self.model, self)
        return {"class_name": self.class_name(), **self._metadata(window).model_dump()}

    def _metadata(self, window: int | None) -> LLMMetadata:
        is_chat = self._calls_tools
        numbers = {"context_window": window, "num_output": self._max_tokens({})}
        known: JsonObject = {name: number for name, number in numbers.items() if number}
        return LLMMetadata(is_chat_model=is_chat, is_function_calling_model=is_chat, model_name=self.model, **known)

    # Completions

    @llm_callback("completion")
    def complete(self, prompt: str, formatted: bool = False, **kwargs: object) -> CompletionResponse:
        """Complete a prompt.

        Args:
            prompt: the text to complete.
            formatted: send the prompt as it is, without `system_prompt`, template or `completion_to_prompt`.
            kwargs: the endpoint's fields; they win over the constructor's.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.complete`.
        """
        call, read = self._completion_call(prompt, formatted, kwargs)
        return read(self.client.send(call))

    @llm_callback("completion")
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: object) -> CompletionResponse:
        """As `complete`."""
        await self._aprepare()
        call, read = self._completion_call(prompt, formatted, kwargs)
        return read(await self.async_client.send(call))

    @llm_callback("completion")
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: object
    ) -> Generator[CompletionResponse, None, None]:
        """As `complete`, piece by piece; the last response carries finish reason and usage."""
        call, read = self._completion_stream_call(prompt, formatted, kwargs)
        return responses(self.client.open(call), read)

    @llm_callback("completion")
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: object
    ) -> AsyncGenerator[CompletionResponse, None]:
        """As `stream_complete`."""
        await self._aprepare()
        call, read = self._completion_stream_call(prompt, formatted, kwargs)
        return aresponses(self.async_client.open(call), read)

    # Chats

    @llm_callback("chat")
    def chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> ChatResponse:
        """Answer messages.

        They are formatted as one prompt by `chat_template` or, in `ParadigmLLM`, by `messages_to_prompt`; a
        `ChatParadigm` without `chat_template` sends them to the chat endpoint.

        Args:
            messages: the chat; text, and on the chat endpoint images, too.
            kwargs: the endpoint's fields, which win over the constructor's, and, in `ChatParadigm`:

                - `tools`: what the model may call, in the form that `ToolMetadata.to_openai_tool` writes.
                - `tool_choice`: `"auto"`, `"none"`, `"required"` (or `"any"`), or a tool's name.
                - `parallel_tool_calls`: False to end the answer with the first call.
                - `schema`: a JSON schema that the answer must fit, unless it is a tool call.
                - `chat_template_kwargs`: variables of the template, over the constructor's.
                - `continue_final_message`: True to continue the last message, if it is an assistant's without tool
                  calls.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.complete`.
        """
        return _chat_reader().read(self.client.send(self._chat_call(messages, kwargs)))

    @llm_callback("chat")
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: object) -> ChatResponse:
        """As `chat`."""
        await self._aprepare()
        return _chat_reader().read(await self.async_client.send(self._chat_call(messages, kwargs)))

    @llm_callback("chat")
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> Generator[ChatResponse, None, None]:
        """As `chat`, piece by piece; the last response carries complete tool calls, finish reason and usage."""
        return responses(self.client.open(self._chat_stream_call(messages, kwargs)), _chat_reader().read_chunk)

    @llm_callback("chat")
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: object
    ) -> AsyncGenerator[ChatResponse, None]:
        """As `stream_chat`."""
        await self._aprepare()
        return aresponses(self.async_client.open(self._chat_stream_call(messages, kwargs)), _chat_reader().read_chunk)

    # What a call is made of

    async def _aprepare(self) -> None:
        """Look up what a call is made of, without blocking the event loop."""

    def _known_template(self) -> Template | None:
        """Return the chat template, if it is known by now."""
        return template_of(self)

    def _format(self, prompt: str, formatted: bool, fields: JsonObject) -> tuple[str, Layer]:
        """Return a prompt as it is sent, and the endpoint's fields of a call."""
        raise NotImplementedError

    @property
    def _text_route(self) -> TextRoute:
        return TextRoute(self._known_template())

    def _completion_call(
        self, prompt: str, formatted: bool, fields: JsonObject
    ) -> tuple[Call[Any], Callable[[Any], CompletionResponse]]:
        """Return the call that completes a prompt, and what makes a response of its reply."""
        prompt, left = self._format(prompt, formatted, fields)
        return self._text_route.call(prompt, self._parameters(left), as_is), CompletionReader().read

    def _completion_stream_call(
        self, prompt: str, formatted: bool, fields: JsonObject
    ) -> tuple[StreamCall[Any, Any], Callable[[Any], CompletionResponse]]:
        """As `_completion_call`, streamed."""
        prompt, left = self._format(prompt, formatted, fields)
        parameters = self._parameters(left, single=True)
        return self._text_route.stream_call(prompt, parameters, chunk_as_is), CompletionReader().read_chunk

    def _chat_call(self, messages: Sequence[ChatMessage], fields: JsonObject) -> Call[ChatCompletion]:
        raise NotImplementedError

    def _chat_stream_call(self, messages: Sequence[ChatMessage], fields: JsonObject) -> StreamCall[Any, ChatChunk]:
        raise NotImplementedError

    @property
    def _takes_images(self) -> bool:
        return False

    def _parameters(self, kwargs: Layer, *, single: bool = False) -> CompletionParameters:
        template, layers = self._known_template(), (self, self.additional_kwargs, kwargs)
        return completion_parameters(template, *layers, single=single, kind=self.parameters_kind)

    def _max_tokens(self, kwargs: JsonObject) -> int | None:
        chosen: int | None = {"max_tokens": self.max_tokens, **self.additional_kwargs, **kwargs}["max_tokens"]
        return chosen

    def _messages(self, prompt: BasePromptTemplate, prompt_args: JsonObject) -> list[ChatMessage]:
        messages = prompt.format_messages(llm=self, **prompt_args)
        return messages if self.output_parser is None else self.output_parser.format_messages(messages)

    def _with_system_prompt(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        """Return the messages with `query_wrapper_prompt` and `system_prompt`, which are part of every call.

        Raises:
            InvalidParameterError: a message holds something other than text, or an image that the endpoint does not
                take.
        """
        chat = [readable(message, takes_images=self._takes_images) for message in messages]
        if chat and self.query_wrapper_prompt is not None and chat[-1].role == MessageRole.USER:
            query = TextBlock(text=self.query_wrapper_prompt.format(query_str=chat[-1].content or ""))
            chat[-1] = chat[-1].model_copy(update={"blocks": [query, *images_of(chat[-1])]})
        if chat and self.system_prompt:
            has_system = chat[0].role in (MessageRole.SYSTEM, MessageRole.DEVELOPER)  # templates know one system turn
            system = chat.pop(0) if has_system else ChatMessage(role=MessageRole.SYSTEM)
            text = "\n\n".join(filter(None, (self.system_prompt, system.content)))
            blocks = [TextBlock(text=text), *images_of(system)]
            chat.insert(0, ChatMessage(role=MessageRole.SYSTEM, blocks=blocks))
        return chat


def readable(message: ChatMessage, *, takes_images: bool = False) -> ChatMessage:
    """Return a message whose `content` is all its text, that of citable blocks and citations included.

    Args:
        message: the message.
        takes_images: the endpoint takes images, too.

    Raises:
        InvalidParameterError: a block holds something other than text, or an image that the endpoint does not take;
            names its type.
    """
    blocks = plain_blocks(message.blocks, takes_images=takes_images)
    return message if blocks == message.blocks else message.model_copy(update={"blocks": blocks})


def _chat_reader() -> ChatReader:
    from llama_index_paradigm._out import ChatReader  # completions do without

    return ChatReader()
