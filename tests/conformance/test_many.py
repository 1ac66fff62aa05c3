"""Many calls and streams at once, and streams that are left before their end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage

import langchain_paradigm
import llama_index_paradigm
from paradigm_transport import AsyncParadigmClient, ParadigmClient, Timeout
from tests.conformance.running import Running

CALLS, STREAMS = 16, 8
FIELDS: dict[str, Any] = {"temperature": 0, "max_tokens": 2}
PROMPTS = [f"{number}, {number + 1}, {number + 2}," for number in range(CALLS)]
LEAVING_SECONDS = 30


def test_batch_of_langchain_answers_all(server: Running) -> None:
    with langchain_paradigm.ParadigmLLM(model=server.model, **server.address, **FIELDS) as llm:
        assert all(llm.batch(PROMPTS))


def test_async_batch_of_langchain_answers_all(server: Running) -> None:
    async def ask() -> list[Any]:
        async with langchain_paradigm.ChatParadigm(model=server.model, **server.address, **FIELDS) as chat:
            return await chat.abatch(PROMPTS)

    assert len(asyncio.run(ask())) == CALLS


def test_concurrent_chats_of_llama_index_are_answered(server: Running) -> None:
    async def ask() -> list[Any]:
        async with llama_index_paradigm.ChatParadigm(model=server.model, **server.address, **FIELDS) as llm:
            return await asyncio.gather(*(llm.achat([ChatMessage(prompt)]) for prompt in PROMPTS))

    assert all(answer.raw["usage"]["completion_tokens"] <= 2 for answer in asyncio.run(ask()))


def test_concurrent_streams_end(server: Running) -> None:
    async def read(client: AsyncParadigmClient, prompt: str) -> str | None:
        chunks = [chunk async for chunk in client.stream(prompt, model=server.model, **FIELDS)]
        return chunks[-1].finish_reason

    async def ask() -> list[str | None]:
        async with AsyncParadigmClient(**server.address) as client:
            return await asyncio.gather(*(read(client, prompt) for prompt in PROMPTS[:STREAMS]))

    outcome = "some are cut" if None in asyncio.run(ask()) else "all complete"
    assert outcome == server.expects("concurrent streams")


@pytest.mark.parametrize("route", ["completions", "chat"])
def test_leaving_streams_ends_their_generation(server: Running, route: str) -> None:
    """A server that goes on with them has no room for the next call in time."""
    fields: dict[str, Any] = {"model": server.model, "max_tokens": server.server.context - 100}
    fields["logit_bias"] = {"28": 100}  # the model never ends by itself
    with ParadigmClient(**server.address, max_retries=0) as client:

        def stream() -> Any:
            if route == "completions":
                return client.stream("One,", **fields)
            return client.stream_chat([{"role": "user", "content": "One,"}], **fields)

        left = [stream() for _ in range(server.server.parallel)]
        for each in left:
            assert next(each).text
        for each in left:
            each.close()
        client.complete("One,", model=server.model, max_tokens=1, timeout=Timeout(total=LEAVING_SECONDS))
