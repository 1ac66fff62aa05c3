"""The floor: what no adapter can do without.

A bare HTTP client in an LLM of the framework that does nothing else. A call is posted and its JSON taken; of a stream,
the raw bytes are split on blank lines and each event is parsed by pydantic's parser.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.llms import LLM as LangChainLLM
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, GenerationChunk
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import LLM as LlamaIndexLLM
from pydantic import PrivateAttr
from pydantic_core import from_json

MODEL = "canned"
KEY = "benchmark"
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)


class Endpoint:
    """A bare client that posts, and takes the texts of what is returned.

    Args:
        url: the canned server.
        fields: the fields of each request beside the prompt.
        is_chat: post to the chat endpoint, the prompt as a message.
        client: a sync client of any library; by default one of httpx.
        async_client: an async one.
    """

    def __init__(
        self, url: str, fields: dict[str, Any], is_chat: bool = False, client: Any = None, async_client: Any = None
    ) -> None:
        self._url = f"{url}/chat/completions" if is_chat else f"{url}/completions"
        self._fields = {"model": MODEL, **fields}
        self._is_chat = is_chat
        self._headers = {"Authorization": f"Bearer {KEY}"}
        self._client = client or httpx.Client(limits=LIMITS, timeout=120)
        self._async_client = async_client or httpx.AsyncClient(limits=LIMITS, timeout=120)

    def _request(self, prompt: str, **others: Any) -> dict[str, Any]:
        prompted = {"messages": [{"role": "user", "content": prompt}]} if self._is_chat else {"prompt": prompt}
        return {"url": self._url, "headers": self._headers, "json": {**self._fields, **prompted, **others}}

    def _text(self, choice: Any, part: str) -> str:
        text: str = choice[part]["content"] if self._is_chat else choice["text"]
        return text

    def post(self, prompt: str) -> str:
        return self._text(self._client.post(**self._request(prompt)).json()["choices"][0], "message")

    async def apost(self, prompt: str) -> str:
        return self._text((await self._async_client.post(**self._request(prompt))).json()["choices"][0], "message")

    def stream(self, prompt: str) -> Iterator[str]:
        rest = b""
        with self._client.stream("POST", **self._request(prompt, stream=True)) as response:
            for part in response.iter_raw():
                *events, rest = (rest + part).split(b"\n\n")
                for event in events:
                    if event.startswith(b"data: {"):
                        yield self._text(from_json(event[6:])["choices"][0], "delta")

    async def astream(self, prompt: str) -> AsyncIterator[str]:
        rest = b""
        async with self._async_client.stream("POST", **self._request(prompt, stream=True)) as response:
            async for part in response.aiter_raw():
                *events, rest = (rest + part).split(b"\n\n")
                for event in events:
                    if event.startswith(b"data: {"):
                        yield self._text(from_json(event[6:])["choices"][0], "delta")


class LangChainFloor(LangChainLLM):
    """A bare client in an LLM of LangChain."""

    _endpoint: Endpoint = PrivateAttr()

    @property
    def _llm_type(self) -> str:
        return "floor"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return self._endpoint.post(prompt)

    async def _acall(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return await self._endpoint.apost(prompt)

    def _stream(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[Any]:
        for text in self._endpoint.stream(prompt):
            chunk = GenerationChunk(text=text)
            run_manager.on_llm_new_token(text, chunk=chunk)
            yield chunk

    async def _astream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        async for text in self._endpoint.astream(prompt):
            chunk = GenerationChunk(text=text)
            await run_manager.on_llm_new_token(text, chunk=chunk)
            yield chunk


class LangChainChatFloor(BaseChatModel):
    """A bare client in a chat model of LangChain."""

    _endpoint: Endpoint = PrivateAttr()

    @property
    def _llm_type(self) -> str:
        return "floor"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        text = self._endpoint.post(messages[-1].content)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        text = await self._endpoint.apost(messages[-1].content)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[Any]:
        for text in self._endpoint.stream(messages[-1].content):
            yield ChatGenerationChunk(message=AIMessageChunk(content=text))

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        async for text in self._endpoint.astream(messages[-1].content):
            yield ChatGenerationChunk(message=AIMessageChunk(content=text))


class LlamaIndexFloor(LlamaIndexLLM):
    """A bare client in an LLM of LlamaIndex, for prompts and chats."""

    _endpoint: Endpoint = PrivateAttr()

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=self._endpoint.post(prompt))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=await self._endpoint.apost(prompt))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        def pieces() -> Iterator[CompletionResponse]:
            text = ""
            for delta in self._endpoint.stream(prompt):
                text += delta
                yield CompletionResponse(text=text, delta=delta)

        return pieces()

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        async def pieces() -> AsyncIterator[CompletionResponse]:
            text = ""
            async for delta in self._endpoint.astream(prompt):
                text += delta
                yield CompletionResponse(text=text, delta=delta)

        return pieces()

    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage(self._endpoint.post(messages[-1].content), role="assistant"))

    @llm_chat_callback()
    async def achat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage(await self._endpoint.apost(messages[-1].content), role="assistant"))

    @llm_chat_callback()
    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        def pieces() -> Iterator[ChatResponse]:
            text = ""
            for delta in self._endpoint.stream(messages[-1].content):
                text += delta
                yield ChatResponse(message=ChatMessage(text, role="assistant"), delta=delta)

        return pieces()

    @llm_chat_callback()
    async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
        async def pieces() -> AsyncIterator[ChatResponse]:
            text = ""
            async for delta in self._endpoint.astream(messages[-1].content):
                text += delta
                yield ChatResponse(message=ChatMessage(text, role="assistant"), delta=delta)

        return pieces()
