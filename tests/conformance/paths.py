"""Every way to ask a model: the transport and both frameworks, each route, whole and streamed, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from operator import add
from typing import Any, Literal

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.outputs import LLMResult
from langchain_core.prompt_values import StringPromptValue
from llama_index.core.llms import ChatMessage

import langchain_paradigm
import llama_index_paradigm
from paradigm_transport import AsyncParadigmClient, Completion, CompletionChunk, ParadigmClient, Usage
from tests.conformance.running import Running

Route = Literal["completions", "chat", "template"]
"""The completions endpoint, the chat endpoint, and chats over completions by a template."""

TEMPLATE = "chatml"


@dataclass(frozen=True)
class Answer:
    """What every path returns in its own form.

    Attributes:
        text: the text.
        finish_reason: why it ended.
        usage: the tokens of the prompt and of the completion; None if none were reported.
    """

    text: str
    finish_reason: str | None
    usage: tuple[int, int] | None


@dataclass(frozen=True)
class Path:
    """A way to ask.

    Attributes:
        library: which classes are used.
        route: which endpoint, and who writes the chat.
        streamed: whether the answer is streamed.
        is_async: whether the async methods are used.
    """

    library: str
    route: Route
    streamed: bool
    is_async: bool

    def __str__(self) -> str:
        mode = f"{'async ' if self.is_async else ''}{'stream' if self.streamed else 'whole'}"
        return f"{self.library}, {self.route}, {mode}"

    def ask(self, server: Running, prompt: str, /, **fields: Any) -> Answer:
        """Ask the model of a server.

        Args:
            server: the server.
            prompt: a prompt, or the text of the user's message.
            fields: arguments of the class, or of the transport's client and its call.
        """
        asker = _LIBRARIES[self.library](server, self.route, fields)
        if self.is_async:
            return asyncio.run((asker.astream if self.streamed else asker.awhole)(prompt))
        return (asker.stream if self.streamed else asker.whole)(prompt)


class _Asker:
    def __init__(self, server: Running, route: Route, fields: dict[str, Any]) -> None:
        self.server, self.route, self.fields = server, route, fields


class _Transport(_Asker):
    def _client(self, kind: Callable[..., Any]) -> Any:
        own = {name: self.fields.pop(name) for name in ("api_key", "max_retries") if name in self.fields}
        return kind(**{**self.server.address, **own})

    def _call(self, client: Any, prompt: str, *, stream: bool) -> Any:
        fields = {"model": self.server.model, **self.fields}
        if self.route == "completions":
            return (client.stream if stream else client.complete)(prompt, **fields)
        messages = [{"role": "user", "content": prompt}]
        return (client.stream_chat if stream else client.chat)(messages, **fields)

    def whole(self, prompt: str) -> Answer:
        with self._client(ParadigmClient) as client:
            return _of_completion(self._call(client, prompt, stream=False))

    def stream(self, prompt: str) -> Answer:
        with self._client(ParadigmClient) as client, self._call(client, prompt, stream=True) as chunks:
            return _of_chunks(list(chunks))

    async def awhole(self, prompt: str) -> Answer:
        async with self._client(AsyncParadigmClient) as client:
            return _of_completion(await self._call(client, prompt, stream=False))

    async def astream(self, prompt: str) -> Answer:
        async with self._client(AsyncParadigmClient) as client, self._call(client, prompt, stream=True) as chunks:
            return _of_chunks([chunk async for chunk in chunks])


def _of_completion(completion: Completion) -> Answer:
    choice = completion.choices[0]
    return Answer(choice.text, choice.finish_reason, _counts(completion.usage))


def _of_chunks(chunks: Sequence[CompletionChunk]) -> Answer:
    last = chunks[-1]
    return Answer("".join(chunk.text for chunk in chunks), last.finish_reason, _counts(last.usage))


def _counts(usage: Usage | None) -> tuple[int, int] | None:
    return usage and (usage.prompt_tokens, usage.completion_tokens)


def _model_of(package: Any, asker: _Asker) -> Any:
    kind = package.ParadigmLLM if asker.route == "completions" else package.ChatParadigm
    template = {"chat_template": TEMPLATE} if asker.route == "template" else {}
    return kind(**{"model": asker.server.model, **asker.server.address, **template, **asker.fields})


class _LangChain(_Asker):
    def whole(self, prompt: str) -> Answer:
        with _model_of(langchain_paradigm, self) as model:
            return _of_result(model.generate_prompt([StringPromptValue(text=prompt)]))

    def stream(self, prompt: str) -> Answer:
        seen = _Ends()
        with _model_of(langchain_paradigm, self) as model:
            parts = list(model.stream(prompt, {"callbacks": [seen]}))
        return _streamed(parts, seen)

    async def awhole(self, prompt: str) -> Answer:
        async with _model_of(langchain_paradigm, self) as model:
            return _of_result(await model.agenerate_prompt([StringPromptValue(text=prompt)]))

    async def astream(self, prompt: str) -> Answer:
        seen = _Ends()
        async with _model_of(langchain_paradigm, self) as model:
            parts = [part async for part in model.astream(prompt, {"callbacks": [seen]})]
        return _streamed(parts, seen)


class _Ends(BaseCallbackHandler):
    """Keeps what LangChain reports at the end of a run, where the usage of a streamed text is."""

    result: LLMResult | None = None

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        self.result = response


def _streamed(parts: Sequence[Any], seen: _Ends) -> Answer:
    assert seen.result is not None
    answer, joined = _of_result(seen.result), reduce(add, parts)
    assert answer.text == (joined if isinstance(joined, str) else joined.content)
    return answer


def _of_result(result: LLMResult) -> Answer:
    generation = result.generations[0][0]
    message = getattr(generation, "message", None)
    info: dict[str, Any] = generation.generation_info or {}
    usage = info.get("usage_metadata")
    if isinstance(message, AIMessage) and "finish_reason" in message.response_metadata:  # of a chat
        info, usage = message.response_metadata, message.usage_metadata
    counts = usage and (usage["input_tokens"], usage["output_tokens"])
    return Answer(generation.text, info.get("finish_reason"), counts)


class _LlamaIndex(_Asker):
    def _call(self, model: Any, prompt: str, prefix: str) -> Any:
        if self.route == "completions":
            return getattr(model, f"{prefix}complete")(prompt)
        return getattr(model, f"{prefix}chat")([ChatMessage(prompt)])

    def whole(self, prompt: str) -> Answer:
        with _model_of(llama_index_paradigm, self) as model:
            return _of_response(self._call(model, prompt, ""))

    def stream(self, prompt: str) -> Answer:
        with _model_of(llama_index_paradigm, self) as model:
            return _of_responses(list(self._call(model, prompt, "stream_")))

    async def awhole(self, prompt: str) -> Answer:
        async with _model_of(llama_index_paradigm, self) as model:
            return _of_response(await self._call(model, prompt, "a"))

    async def astream(self, prompt: str) -> Answer:
        async with _model_of(llama_index_paradigm, self) as model:
            return _of_responses([each async for each in await self._call(model, prompt, "astream_")])


def _of_response(response: Any) -> Answer:
    text = response.message.content if hasattr(response, "message") else response.text
    known = response.additional_kwargs
    counts = (known["prompt_tokens"], known["completion_tokens"]) if "prompt_tokens" in known else None
    return Answer(text or "", known.get("finish_reason"), counts)


def _of_responses(responses: Sequence[Any]) -> Answer:
    answer = _of_response(responses[-1])
    assert answer.text == "".join(response.delta or "" for response in responses)
    return answer


_LIBRARIES: dict[str, Callable[..., Any]] = {
    "transport": _Transport, "LangChain": _LangChain, "LlamaIndex": _LlamaIndex,
}  # fmt: skip

PATHS = [
    Path(library, route, streamed, is_async)
    for library, route, streamed, is_async in product(
        _LIBRARIES, ("completions", "chat", "template"), (False, True), (False, True)
    )
    if (library, route) != ("transport", "template")
]

on_every_path = pytest.mark.parametrize("path", PATHS, ids=str)
