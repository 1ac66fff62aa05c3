"""The classes that are compared: a floor, ours, and the best-known peer, for each framework.

The floor is what no adapter can do without: bare httpx, the JSON, and the framework's own LLM around it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import httpx
from langchain_core.language_models.llms import LLM as LangChainBase
from langchain_core.outputs import GenerationChunk
from langchain_openai import OpenAI
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import LLM as LlamaIndexBase
from llama_index.llms.openai_like import OpenAILike
from pydantic import PrivateAttr

from langchain_paradigm import ParadigmLLM as LangChainOurs
from llama_index_paradigm import ParadigmLLM as LlamaIndexOurs

MODEL = "canned"
KEY = "benchmark"


class _Endpoint:
    """Bare httpx: post, read the JSON, take the text."""

    def __init__(self, url: str, max_tokens: int, user: str | None) -> None:
        self._url = f"{url}/completions"
        self._headers = {"Authorization": f"Bearer {KEY}"}
        self._fields = {"model": MODEL, "max_tokens": max_tokens, **({"user": user} if user else {})}
        self._limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._sync = httpx.Client(limits=self._limits, timeout=120)
        self._async = httpx.AsyncClient(limits=self._limits, timeout=120)

    def _request(self, prompt: str, **others: Any) -> dict[str, Any]:
        return {"url": self._url, "headers": self._headers, "json": {**self._fields, "prompt": prompt, **others}}

    def post(self, prompt: str) -> str:
        return str(self._sync.post(**self._request(prompt)).json()["choices"][0]["text"])

    async def apost(self, prompt: str) -> str:
        return str((await self._async.post(**self._request(prompt))).json()["choices"][0]["text"])

    def stream(self, prompt: str) -> Iterator[str]:
        with self._sync.stream("POST", **self._request(prompt, stream=True)) as response:
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line[6:])["choices"][0]["text"]

    async def astream(self, prompt: str) -> AsyncIterator[str]:
        async with self._async.stream("POST", **self._request(prompt, stream=True)) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line[6:])["choices"][0]["text"]


class LangChainFloor(LangChainBase):
    """Bare httpx in a LangChain LLM that does nothing else."""

    _endpoint: _Endpoint = PrivateAttr()

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


class LlamaIndexFloor(LlamaIndexBase):
    """Bare httpx in a LlamaIndex LLM that does nothing else."""

    _endpoint: _Endpoint = PrivateAttr()

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
    def chat(self, messages: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    achat = stream_chat = astream_chat = chat


class Contenders(NamedTuple):
    """One framework's three classes, set up alike."""

    floor: Any
    ours: Any
    peer: Any


def langchain(url: str, max_tokens: int, user: str | None = None) -> Contenders:
    """LangChain's three."""
    floor = LangChainFloor()
    floor._endpoint = _Endpoint(url, max_tokens, user)
    return Contenders(
        floor,
        LangChainOurs(model=MODEL, api_key=KEY, base_url=url, max_tokens=max_tokens, user=user, max_concurrency=64),
        OpenAI(
            model=MODEL, api_key=KEY, base_url=url, max_tokens=max_tokens, model_kwargs={"user": user} if user else {}
        ),
    )


def llama_index(url: str, max_tokens: int, user: str | None = None) -> Contenders:
    """LlamaIndex's three."""
    floor = LlamaIndexFloor()
    floor._endpoint = _Endpoint(url, max_tokens, user)
    return Contenders(
        floor,
        LlamaIndexOurs(model=MODEL, api_key=KEY, base_url=url, max_tokens=max_tokens, user=user, context_window=4096),
        OpenAILike(
            model=MODEL,
            api_key=KEY,
            api_base=url,
            max_tokens=max_tokens,
            additional_kwargs={"user": user} if user else {},
        ),
    )
