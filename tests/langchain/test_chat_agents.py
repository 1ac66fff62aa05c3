"""`ChatParadigm` in agents and graphs: tools, memory, streams, interrupts, structured responses."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.runnables import ConfigurableField, RunnableLambda
from pydantic import BaseModel

from langchain_paradigm import ChatParadigm
from paradigm_transport import AuthenticationError
from paradigm_transport.chat.dialects.choosing import TOOL_PARSERS
from paradigm_transport.messages import ToolCall
from tests.chat_form import prompt_of
from tests.langchain.conftest import Calls, MakeChat, collect, needs_contexts, over_completions
from tests.langchain.obedient import call_text, streamed, time_there, weather
from tests.wire import Request, Script, WireServer, completion, only_results_of_calls, reply

create_agent = pytest.importorskip("langchain.agents").create_agent
middleware = pytest.importorskip("langchain.agents.middleware")
structured = pytest.importorskip("langchain.agents.structured_output")
graphs = pytest.importorskip("langgraph.graph")
prebuilt = pytest.importorskip("langgraph.prebuilt")
memory = pytest.importorskip("langgraph.checkpoint.memory")
Command = pytest.importorskip("langgraph.types").Command

BOTH = f"I look.\n{call_text('weather', city='Rome')}\n{call_text('time_there', city='Oslo')}"

THREAD: dict[str, Any] = {"configurable": {"thread_id": "1"}}


def in_turn(*texts: str) -> Any:
    """Answer with one text after the other, streamed on request."""
    left = iter(texts)

    def answer(request: Request) -> Script:
        text = next(left)
        return streamed(text) if request.body.get("stream") else reply(completion(text))

    return answer


def question(text: str) -> dict[str, Any]:
    return {"messages": [HumanMessage(text)]}


def test_agent_calls_two_tools_at_once(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(in_turn(BOTH, "Sunny in Rome, noon in Oslo."))
    agent = create_agent(make_chat(), [weather, time_there], system_prompt="Be brief.")
    messages = calls.invoke(agent, question("How is it?"))["messages"]
    assert [type(message) for message in messages] == [HumanMessage, AIMessage, ToolMessage, ToolMessage, AIMessage]
    assert messages[1].content == "I look."
    assert messages[-1].content == "Sunny in Rome, noon in Oslo."
    second = prompt_of(wire.bodies[1])
    assert second.startswith("<|im_start|>system\nBe brief.\n\nYou can call tools.")
    assert second.endswith(
        f"<|im_start|>assistant\n{BOTH}<|im_end|>\n"
        "<|im_start|>tool\n<tool_response>\nIt is sunny in Rome.\n</tool_response><|im_end|>\n"
        "<|im_start|>tool\n<tool_response>\nIt is noon in Oslo.\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def graph_of(ask: Any, tools: Any, **options: Any) -> Any:
    """Build a graph with memory that runs the model and its tools in turn."""
    graph = graphs.StateGraph(graphs.MessagesState)
    graph.add_node("ask", ask)
    graph.add_node("tools", prebuilt.ToolNode(tools))
    graph.add_edge(graphs.START, "ask")
    graph.add_conditional_edges("ask", prebuilt.tools_condition)
    graph.add_edge("tools", "ask")
    return graph.compile(checkpointer=memory.InMemorySaver(), **options)


def loop(chat: ChatParadigm, **options: Any) -> Any:
    model = chat.bind_tools([weather, time_there])

    def ask(state: Any) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    async def aask(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return graph_of(RunnableLambda(ask, aask), [weather, time_there], **options)


def test_graph_with_tools_and_memory_streams_messages(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(in_turn(BOTH, "Sunny, and noon.", "As I said."))
    graph = loop(make_chat())
    told = calls.stream(graph, question("How is it?"), THREAD, stream_mode="messages")
    chunks = [message for message, place in told if place["langgraph_node"] == "ask"]
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert all(body["stream"] for body in wire.bodies)
    assert "".join(chunk.text for chunk in chunks) == "I look.Sunny, and noon."
    first = [chunk for chunk in chunks if chunk.id == chunks[0].id]
    whole = sum(first[1:], first[0])
    assert [call["name"] for call in whole.tool_calls] == ["weather", "time_there"]
    assert whole.usage_metadata == {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
    results = [message.content for message, place in told if place["langgraph_node"] == "tools"]
    assert results == ["It is sunny in Rome.", "It is noon in Oslo."]

    kept = calls.invoke(graph, question("Sure?"), THREAD)["messages"]
    assert kept[-1].content == "As I said."
    assert len(kept) == 7
    assert "Sunny, and noon.<|im_end|>\n<|im_start|>user\nSure?" in prompt_of(wire.bodies[-1])
    assert [message.usage_metadata["total_tokens"] for message in kept if message.type == "ai"] == [8, 8, 8]


def test_graph_is_interrupted_and_resumed(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(in_turn(BOTH, "Sunny, and noon."))
    graph = loop(make_chat(), interrupt_before=["tools"])
    halted = calls.invoke(graph, question("How is it?"), THREAD)["messages"]
    assert len(halted[-1].tool_calls) == 2
    assert graph.get_state(THREAD).next == ("tools",)
    resumed = calls.invoke(graph, None, THREAD)["messages"]
    assert resumed[-1].content == "Sunny, and noon."
    assert [each.tool_call_id for each in resumed[-3:-1]] == [call["id"] for call in halted[-1].tool_calls]


@needs_contexts
def test_human_edits_tool_call_of_agent(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(in_turn(call_text("weather", city="Rome"), "Rainy."))
    asks = middleware.HumanInTheLoopMiddleware(interrupt_on={"weather": True})
    agent = create_agent(make_chat(), [weather], middleware=[asks], checkpointer=memory.InMemorySaver())
    halted = calls.invoke(agent, question("How is it?"), THREAD)
    (request,) = halted["__interrupt__"][0].value["action_requests"]
    assert (request["name"], request["args"]) == ("weather", {"city": "Rome"})
    edited = {"type": "edit", "edited_action": {"name": "weather", "args": {"city": "Oslo"}}}
    messages = calls.invoke(agent, Command(resume={"decisions": [edited]}), THREAD)["messages"]
    assert messages[-2].content.endswith("It is sunny in Oslo.")
    assert messages[-1].content == "Rainy."


@over_completions
def test_agent_returns_broken_call_as_invalid_tool_call(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(in_turn("<tool_call>weather(Rome)</tool_call>"))
    messages = calls.invoke(create_agent(make_chat(), [weather]), question("How is it?"))["messages"]
    assert messages[-1].invalid_tool_calls[0]["args"] == "weather(Rome)"


def test_agent_goes_on_after_a_broken_call_on_a_strict_server(wire: WireServer, calls: Calls) -> None:
    functions = [{"name": "weather", "arguments": arguments} for arguments in ('{"city": "Rome"}', '{"city": ')]
    asked = [{"id": f"call_{number}", "type": "function", "function": each} for number, each in enumerate(functions)]
    choice = {"message": {"role": "assistant", "tool_calls": asked}, "finish_reason": "tool_calls"}
    wire.script(reply({"choices": [choice]}))
    wire.always(only_results_of_calls)
    chat = ChatParadigm(model="alfred-4.2", api_key="key", base_url=wire.url)
    messages = calls.invoke(create_agent(chat, [weather]), question("How is it?"))["messages"]
    assert messages[-1].content == "So."


class Answer(BaseModel):
    """The answer."""

    city: str


@pytest.mark.parametrize("strategy", ["ToolStrategy", "ProviderStrategy"])
@over_completions
def test_agent_returns_structured_response(wire: WireServer, make_chat: MakeChat, calls: Calls, strategy: str) -> None:
    answer = json.dumps({"city": "Rome"})
    last = f'{{"name": "Answer", "arguments": {answer}}}' if strategy == "ToolStrategy" else answer
    first = '{"name": "weather", "arguments": {"city": "Rome"}}'
    opened = "" if strategy == "ToolStrategy" else "<tool_call>"
    wire.always(in_turn(opened + first, last))
    agent = create_agent(make_chat(), [weather], response_format=getattr(structured, strategy)(Answer))
    state = calls.invoke(agent, question("Where is it sunny?"))
    assert state["structured_response"] == Answer(city="Rome")
    assert len(wire.bodies) == 2


def test_fence_around_a_structured_response_is_left_out(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(reply(completion('```json\n{"city": "Rome"}\n```')))
    agent = create_agent(make_chat(), [weather], response_format=structured.ProviderStrategy(Answer))
    assert calls.invoke(agent, question("Where?"))["structured_response"] == Answer(city="Rome")


@over_completions
def test_structured_response_of_an_agent_with_tools_is_constrained(
    wire: WireServer, make_chat: MakeChat, calls: Calls
) -> None:
    wire.always(reply(completion('{"city": "Rome"}')))
    agent = create_agent(make_chat(constrain="vllm"), [weather], response_format=Answer)
    assert calls.invoke(agent, question("Where?"))["structured_response"] == Answer(city="Rome")
    form = json.loads(wire.bodies[0]["structured_outputs"]["structural_tag"])["format"]
    anything, call = form["elements"]
    assert (form["type"], anything["json_schema"]["required"]) == ("or", ["city"])
    assert call["begin"].startswith("<tool_call>")


@needs_contexts
def test_agent_events_hold_tokens_and_tools(wire: WireServer, make_chat: MakeChat) -> None:
    wire.always(in_turn(call_text("weather", city="Rome"), "Sunny."))
    agent = create_agent(make_chat(), [weather])
    events = asyncio.run(collect(agent.astream_events(question("How is it?"), version="v2")))
    texts = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(texts) == "Sunny."
    assert [event["name"] for event in events if event["event"] == "on_tool_end"] == ["weather"]


def test_agent_summarises_history_that_exceeds_context(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(
        reply({"data": []}),
        reply({"error": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens"}, 400),
        reply(completion("All of it.")),
        reply(completion("So.")),
    )
    chat = make_chat(max_retries=0)
    assert "max_input_tokens" not in (chat.profile or {})
    summarises = middleware.SummarizationMiddleware(model=chat, trigger=("messages", 3), keep=("messages", 1))
    agent = create_agent(chat, [], middleware=[summarises])
    history = [HumanMessage(f"{word} " * 9) for word in ("one", "two", "three", "four")]
    assert calls.invoke(agent, {"messages": history})["messages"][-1].content == "So."
    first, second, _ = (prompt_of(body) for body in wire.bodies[1:])
    assert len(second) < len(first)


@over_completions
def test_agent_summarises_at_a_fraction_of_the_context_window(
    wire: WireServer, make_chat: MakeChat, calls: Calls
) -> None:
    listed = reply({"data": [{"id": "alfred-4.2", "max_model_len": 4096}]})
    wire.script(listed, reply(completion("So.")))
    chat = make_chat()
    summarises = middleware.SummarizationMiddleware(
        model=chat, trigger=("fraction", 0.9), keep=("messages", 1), token_counter=lambda messages: 9
    )
    assert chat.profile is not None
    assert chat.profile["max_input_tokens"] == 4096
    agent = create_agent(chat, [], middleware=[summarises])
    assert calls.invoke(agent, question("How is it?"))["messages"][-1].content == "So."
    assert [request.path for request in wire.requests] == ["/api/v2/models", "/api/v2/completions"]


@pytest.mark.parametrize("constrain", [None, "vllm"])
def test_profile_says_what_the_model_can_do(make_chat: MakeChat, constrain: str | None) -> None:
    chat = make_chat(constrain=constrain)
    profile = chat.profile
    assert profile is not None
    assert profile["tool_calling"]
    # Servers of the chat endpoint ignore fields that they do not know: agents then ask for a call, and ask again.
    assert profile["structured_output"] == (constrain == "vllm" and chat.chat_template is not None)


@over_completions
def test_profile_of_a_configured_copy_is_that_of_its_own_fields(wire: WireServer, make_chat: MakeChat) -> None:
    field = ConfigurableField(id="constrain")
    chat = make_chat()
    model, _ = chat.configurable_fields(constrain=field).prepare({"configurable": {"constrain": "vllm"}})
    for copy in (model, chat.model_copy(update={"constrain": "vllm"})):
        assert isinstance(copy, ChatParadigm)
        assert copy.profile is not None
        assert copy.profile["structured_output"]
    given = chat.model_copy(update={"profile": {"max_input_tokens": 5}})
    assert given.model_copy(update={"constrain": "vllm"}).profile == {"max_input_tokens": 5}
    assert not wire.requests


def test_agent_does_not_retry_authentication_error(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply({"error": "bad key"}, 401))
    retries = middleware.ModelRetryMiddleware(on_failure="error", initial_delay=0.0, jitter=False)
    agent = create_agent(make_chat(), [], middleware=[retries])
    with pytest.raises(AuthenticationError):
        calls.invoke(agent, {"messages": [HumanMessage("Hi")]})
    assert len(wire.requests) == 1


@over_completions
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("parser", sorted(TOOL_PARSERS))
def test_agent_runs_on_every_model_family(
    wire: WireServer, make_chat: MakeChat, calls: Calls, server_without_parser: None, parser: str, streaming: bool
) -> None:
    written = TOOL_PARSERS[parser].calls.write([ToolCall("a1b2c3d4e", "weather", {"city": "Rome"})])
    wire.always(in_turn(f"<think>Hm.</think>{written}", "It is sunny."))
    chat = make_chat(tool_call_parser=parser, reasoning_parser="qwen3", streaming=streaming)
    if TOOL_PARSERS[parser].has_channels:
        wire.always(in_turn(f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant{written}", "It is sunny."))
        chat = make_chat(tool_call_parser=parser, streaming=streaming)
    messages = calls.invoke(create_agent(chat, [weather]), question("How is it?"))["messages"]
    assert [type(message) for message in messages] == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert (messages[1].content, messages[1].additional_kwargs["reasoning_content"]) == ("", "Hm.")
    assert [(call["name"], call["args"]) for call in messages[1].tool_calls] == [("weather", {"city": "Rome"})]
    assert messages[2].content == "It is sunny in Rome."
    assert messages[3].content == "It is sunny."
    assert "Rome" in prompt_of(wire.bodies[1])
    assert "Hm." not in prompt_of(wire.bodies[1])
