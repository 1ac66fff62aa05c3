"""A ReAct agent: tools called by a model that completes text."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, ReActAgent, ToolCallResult
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool

from llama_index_paradigm import ParadigmLLM
from tests.wire import WireServer, chunk, completion, reply, sse, usage

Make = Callable[..., ParadigmLLM]

DOCS = Path(__file__).parents[2] / "docs" / "llama-index.md"

CALL = 'Thought: I need a tool.\nAction: multiply\nAction Input: {"a": 6, "b": 7}'
END = "Thought: I can answer without using any more tools.\nAnswer: It is 42."

# where LangChain is installed too, LlamaIndex imports that
pytestmark = [
    pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset"),
    # and it looks at each attribute of an agent
    pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step"),
]


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


def streamed(text: str) -> Any:
    return sse(*[chunk(f"{line}\n") for line in text.split("\n")], chunk("", "stop"), chunk(usage=usage(3, 5)))


async def talk(agent: Any) -> tuple[list[Any], str]:
    handler = agent.run("What is 6 times 7?", memory=ChatMemoryBuffer.from_defaults(token_limit=1000))
    events = [event async for event in handler.stream_events()]
    return events, str(await handler)


def agent_of(llm: ParadigmLLM, **options: Any) -> Any:
    return ReActAgent(tools=[FunctionTool.from_defaults(multiply)], llm=llm, **options)


def test_react_agent_calls_a_tool_and_streams_events(wire: WireServer, make_llm: Make) -> None:
    wire.script(streamed(CALL), streamed(END))
    llm = make_llm(chat_template="chatml", stop=["Observation:"], system_prompt="Be kind.")
    events, answer = asyncio.run(talk(agent_of(llm)))
    assert answer.strip() == "It is 42."
    (called,) = [event for event in events if isinstance(event, ToolCallResult)]
    assert (called.tool_name, called.tool_kwargs, called.tool_output.content) == ("multiply", {"a": 6, "b": 7}, "42")
    pieces = [event for event in events if isinstance(event, AgentStream)]
    assert "".join(piece.delta for piece in pieces) == f"{CALL}\n{END}\n"
    assert [piece.raw["usage"] for piece in pieces if "usage" in piece.raw] == [usage(3, 5)] * 2
    first, second = (body["prompt"] for body in wire.bodies)
    assert first.startswith("<|im_start|>system\nBe kind.\n\nYou are designed to help")
    assert first.count("<|im_start|>system") == 1
    assert "Multiply two numbers." in first
    assert "Observation: 42" in second


def test_react_agent_works_without_streaming(wire: WireServer, make_llm: Make) -> None:
    wire.script(reply(completion(CALL)), reply(completion(END)))
    _, answer = asyncio.run(talk(agent_of(make_llm(), streaming=False)))
    assert answer.strip() == "It is 42."


def test_agent_workflow_chooses_a_react_agent_for_paradigm_llm(wire: WireServer, make_llm: Make) -> None:
    """The metadata say that there is no function calling."""
    wire.script(streamed(CALL), streamed(END))
    workflow = AgentWorkflow.from_tools_or_functions([multiply], llm=make_llm())
    assert [type(agent) for agent in workflow.agents.values()] == [ReActAgent]
    _, answer = asyncio.run(talk(workflow))
    assert answer.strip() == "It is 42."


def test_example_in_the_docs_runs(wire: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The one that no small model can follow; the others run on one."""
    monkeypatch.setenv("PARADIGM_BASE_URL", wire.url)
    monkeypatch.setenv("PARADIGM_API_KEY", "k")
    wire.script(streamed(CALL), streamed(END))
    (example,) = re.findall(r"^```py\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    example = example.replace('agent.run("What is 6 times 7?")', 'agent.run("How much?", memory=memory)')
    memory = ChatMemoryBuffer.from_defaults(token_limit=1000)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    asyncio.run(eval(compile(example, "example", "exec", flags, dont_inherit=True), {"memory": memory}))
    assert capsys.readouterr().out == f"{CALL}\n{END}\nIt is 42.\n"
