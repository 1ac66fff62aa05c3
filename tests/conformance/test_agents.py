"""Agents of both frameworks, over both routes: a call that is required, its result, an answer."""

# No postponed annotations: LlamaIndex does not resolve those of a tool.

import asyncio
from typing import Any, Literal

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.memory import ChatMemoryBuffer

import langchain_paradigm
import llama_index_paradigm
from tests.conformance.running import Running
from tests.conformance.test_objects import arguments
from tests.llama_index.test_chat_agents import newer

pytestmark = [
    pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset"),
    pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step"),
]

QUESTION = "What is the weather in Oslo?"
City = Literal["Oslo", "Rome"]

by_each_route = pytest.mark.parametrize("route", ["template", "chat"])


def weather(city: City) -> str:
    """The weather of a city."""
    return f"It is 17 degrees and foggy in {city}."


@by_each_route
def test_agent_of_langchain_calls_its_tool(server: Running, route: str) -> None:
    create_agent = pytest.importorskip("langchain.agents").create_agent
    middleware = pytest.importorskip("langchain.agents.middleware")

    @middleware.wrap_model_call
    def call_first(request: Any, handler: Any) -> Any:
        has_result = isinstance(request.messages[-1], ToolMessage)
        choice = "none" if has_result else {"type": "function", "function": {"name": "weather"}}
        return handler(request.override(tool_choice=choice))

    with langchain_paradigm.ChatParadigm(**arguments(server, route, constrain="vllm")) as chat:
        agent = create_agent(chat, [tool(weather)], middleware=[call_first])
        messages = agent.invoke({"messages": [("user", QUESTION)]})["messages"]
    called = any(isinstance(message, ToolMessage) and message.status == "success" for message in messages)
    assert ("calls its tool" if called else "does not") == server.expects(f"agent, {route}")
    assert messages[-1].tool_calls == []


@newer
@by_each_route
def test_agent_of_llama_index_calls_its_tool(server: Running, route: str) -> None:
    async def talk() -> list[Any]:
        async with llama_index_paradigm.ChatParadigm(**arguments(server, route, constrain="vllm")) as llm:
            agent = FunctionAgent(
                tools=[weather], llm=llm, initial_tool_choice="weather", allow_parallel_tool_calls=False
            )
            run = agent.run(QUESTION, memory=ChatMemoryBuffer.from_defaults(token_limit=1000), max_iterations=3)
            events = [event async for event in run.stream_events()]
            await run
            return [event for event in events if isinstance(event, ToolCallResult)]

    try:
        results = asyncio.run(talk())
    except ValueError:  # of a call that cannot be read
        results = []
    called = any(not result.tool_output.is_error for result in results)
    assert ("calls its tool" if called else "does not") == server.expects(f"agent, {route}")
