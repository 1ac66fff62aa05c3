"""A chat over completions is the same as one over the server's own chat endpoint, where both have one template."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from llama_index.core.llms import ChatMessage

import langchain_paradigm
import llama_index_paradigm
from tests.conformance.running import Running

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": CITY}}
CALL: Any = {"name": "weather", "args": {"city": "Oslo"}, "id": "call00001"}
ASKED = HumanMessage("What is the weather in Oslo?")

CHATS: dict[str, tuple[list[BaseMessage], list[Any]]] = {
    "plain": ([HumanMessage("What is the capital of France?")], []),
    "several turns": (
        [SystemMessage("Be brief."), HumanMessage("Hi"), AIMessage("Hello!"), HumanMessage("Tell me a story.")],
        [],
    ),
    "tools": ([ASKED], [WEATHER]),
    "result": (
        [ASKED, AIMessage("", tool_calls=[CALL]), ToolMessage("7 degrees", tool_call_id="call00001")],
        [WEATHER],
    ),
}


def arguments(server: Running, **fields: Any) -> dict[str, Any]:
    seeded = {"seed": 1}  # with one, the local Paradigm computes equal requests in the same way
    return {
        "model": server.model,
        **server.address,
        "temperature": 0,
        "max_tokens": 24,
        "extra_body": seeded,
        **fields,
    }


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", CHATS)
def test_both_routes_of_langchain_answer_alike(server: Running, name: str, streamed: bool) -> None:
    messages, tools = CHATS[name]

    def ask(**fields: Any) -> tuple[Any, ...]:
        with langchain_paradigm.ChatParadigm(**arguments(server, **fields)) as chat:
            bound = chat.bind_tools(tools) if tools else chat
            if not streamed:
                answer: Any = bound.invoke(messages)
            else:
                first, *rest = bound.stream(messages)
                answer = sum(rest, start=first)
        usage = answer.usage_metadata
        calls = [(call["name"], call["args"]) for call in answer.tool_calls]
        return answer.content, calls, usage and (usage["input_tokens"], usage["output_tokens"])

    ask(max_tokens=1)  # both find the prompt in the server's cache: results of computing it differ in their last digits
    alike = ask() == ask(chat_template=server.template)
    assert ("same" if alike else "different") == server.expects(f"both endpoints, {name}")


@pytest.mark.parametrize("name", ["plain", "several turns"])
def test_both_routes_of_llama_index_answer_alike(server: Running, name: str) -> None:
    roles = {"human": "user", "ai": "assistant"}
    messages = [ChatMessage(str(each.content), role=roles.get(each.type, each.type)) for each in CHATS[name][0]]

    async def ask(**fields: Any) -> tuple[Any, ...]:
        async with llama_index_paradigm.ChatParadigm(**arguments(server, **fields)) as llm:
            answer = await llm.achat(messages)
        return answer.message.content, answer.raw["usage"]["prompt_tokens"], answer.raw["usage"]["completion_tokens"]

    asyncio.run(ask(max_tokens=1))
    alike = asyncio.run(ask()) == asyncio.run(ask(chat_template=server.template))
    assert ("same" if alike else "different") == server.expects(f"both endpoints, {name}")
