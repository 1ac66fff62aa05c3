"""Async methods never block the event loop."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from blockbuster import BlockingError, blockbuster_ctx
from langchain_core.caches import InMemoryCache

from langchain_paradigm import ChatParadigm
from tests.langchain.conftest import Make, collect
from tests.wire import Request, Script, WireServer, chunk, completion, pause, reply, sse


def answer(request: Request) -> Script:
    if request.body.get("stream"):
        return sse(chunk("Hel"), pause(0.01), chunk("lo", "stop"))
    return [pause(0.01), *reply(completion("Hello"))]


WAYS: dict[str, Any] = {
    "ainvoke": lambda llm: llm.ainvoke("x"),
    "astream": lambda llm: collect(llm.astream("x")),
    "abatch": lambda llm: llm.abatch(["x", "y", "z"]),
    "abatch_as_completed": lambda llm: collect(llm.abatch_as_completed(["x", "y", "z"])),
    "agenerate": lambda llm: llm.agenerate(["x", "y", "z"], temperature=0.5),
    "astream_events": lambda llm: collect(llm.astream_events("x", version="v2")),
    "streaming": lambda llm: llm.model_copy(update={"streaming": True}).ainvoke("x"),
    "chain": lambda llm: (llm | str.upper).ainvoke("x"),
}


@pytest.mark.parametrize("way", WAYS)
def test_async_methods_do_not_block_event_loop(wire: WireServer, make: Make, way: str) -> None:
    wire.always(answer)
    llm = make()

    async def run() -> None:
        with blockbuster_ctx():
            await WAYS[way](llm)

    asyncio.run(run())
    assert wire.requests


def test_retry_does_not_block_event_loop(wire: WireServer, make: Make) -> None:
    wire.script(reply("", 503, {"Retry-After": "0.01"}), reply(completion("Hi")))
    llm = make()

    async def run() -> str:
        with blockbuster_ctx():
            return await llm.ainvoke("x")

    assert asyncio.run(run()) == "Hi"


def test_blockbuster_detects_blocking_call() -> None:
    async def block() -> None:
        with blockbuster_ctx(), pytest.raises(BlockingError):
            time.sleep(0.01)  # noqa: ASYNC251

    asyncio.run(block())


def test_model_works_in_one_event_loop_after_another(wire: WireServer, make: Make) -> None:
    wire.always(answer)
    llm = make()
    assert [asyncio.run(llm.ainvoke("x")) for _ in range(3)] == ["Hello"] * 3
    assert llm.invoke("x") == "Hello"


TOLD = "{% for message in messages %}[{{ message.content }}]{% endfor %}"


@pytest.mark.parametrize("way", ["cached", "structured"])
def test_template_of_the_server_is_looked_up_without_blocking(wire: WireServer, way: str) -> None:
    listed = reply({"data": [{"name": "m", "chat_template": TOLD}]})
    wire.script(listed, reply(completion('{"n": 1}')))
    chat = ChatParadigm(
        model="m", api_key="key", base_url=wire.url, chat_template="server", cache=InMemoryCache(), constrain="vllm"
    )
    schema = {"title": "Size", "type": "object", "properties": {"n": {"type": "integer"}}}

    async def run() -> Any:
        with blockbuster_ctx():
            if way == "cached":
                return (await chat.ainvoke("x")).content
            return await chat.with_structured_output(schema, method="json_schema").ainvoke("x")

    assert asyncio.run(run()) == ('{"n": 1}' if way == "cached" else {"n": 1})
