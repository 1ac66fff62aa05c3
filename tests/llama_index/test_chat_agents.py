"""LlamaIndex's agents for models that call tools, on scripted answers; as in the examples of its documentation."""

import asyncio
import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.agent.workflow import (
    AgentOutput,
    AgentStream,
    AgentWorkflow,
    FunctionAgent,
    ToolCallResult,
)
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool, ToolSelection
from llama_index.core.workflow import (
    Context,
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    JsonPickleSerializer,
    JsonSerializer,
    StartEvent,
    StopEvent,
    Workflow,
    step,
)
from pydantic import BaseModel

from llama_index_paradigm import ChatParadigm
from paradigm_transport.chat.dialects.choosing import TOOL_PARSERS
from paradigm_transport.messages import ToolCall
from tests.chat_form import prompt_of
from tests.llama_index.conftest import KEY, Events, Limiter, needs_rate_limiter, over_completions
from tests.llama_index.test_chat_tools import ONE_AND_TWO, SIX_BY_SEVEN, add, multiply, written
from tests.wire import Script, WireServer, chunk, completion, only_results_of_calls, reply, sse, usage

Make = Callable[..., ChatParadigm]

pytestmark = [
    # where LangChain is installed too, LlamaIndex imports that
    pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset"),
    # and it looks at each attribute of an agent
    pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step"),
]

newer = pytest.mark.skipif(
    "initial_tool_choice" not in FunctionAgent.model_fields, reason="a newer LlamaIndex has this"
)


def streamed(text: str) -> Script:
    return sse(
        *[chunk(text[at : at + 7]) for at in range(0, len(text), 7)], chunk("", "stop"), chunk(usage=usage(3, 5))
    )


def agent_of(llm: ChatParadigm, **options: Any) -> FunctionAgent:
    return FunctionAgent(**{"tools": [multiply, add], "llm": llm, "system_prompt": "You calculate.", **options})


def streaming_of(streaming: bool) -> dict[str, Any]:
    return {} if streaming else {"streaming": False}  # an older LlamaIndex only streams


def memory() -> ChatMemoryBuffer:
    return ChatMemoryBuffer.from_defaults(token_limit=2000)


async def talk(agent: Any, question: str = "How much is 6 times 7?", **options: Any) -> tuple[list[Any], Any]:
    run = agent.run(question, **{"memory": memory(), **options})
    events = [event async for event in run.stream_events()]
    return events, await run


def of(kind: Any, events: list[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def turns_of(body: dict[str, Any]) -> list[str]:
    return [turn.removesuffix("<|im_end|>\n") for turn in prompt_of(body).split("<|im_start|>")[1:]]


def test_function_agent_calls_a_tool_and_uses_its_result(wire: WireServer, make_chat: Make, events: Events) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    wire.script(streamed(f"I need a tool.\n{SIX_BY_SEVEN}"), streamed("It is 42."))
    llm = make_chat(system_prompt="Be kind.", callback_manager=CallbackManager([counter]))
    seen, answer = asyncio.run(talk(agent_of(llm)))
    assert str(answer) == "It is 42."
    (called,) = of(ToolCallResult, seen)
    assert (called.tool_name, called.tool_kwargs, called.tool_output.content) == ("multiply", {"a": 6, "b": 7}, "42")
    pieces = of(AgentStream, seen)
    assert "".join(piece.delta for piece in pieces) == "I need a tool.It is 42."
    assert {len(piece.tool_calls) for piece in pieces} == {0, 1}
    assert [piece.raw["usage"] for piece in pieces if "usage" in piece.raw] == [usage(3, 5)] * 2
    first, second = map(turns_of, wire.bodies)
    assert first[0].startswith("system\nBe kind.\n\nYou calculate.\n\nYou can call tools.")
    assert first[1:] == ["user\nHow much is 6 times 7?", "assistant\n"]
    assert second == [
        *first[:-1],
        f"assistant\nI need a tool.\n{SIX_BY_SEVEN}",
        "tool\n<tool_response>\n42\n</tool_response>",
        "assistant\n",
    ]
    assert events.names.count("LLMChatStartEvent") == events.names.count("LLMChatEndEvent") == 2
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (6, 10)


def test_function_agent_runs_parallel_tool_calls(wire: WireServer, make_chat: Make) -> None:
    wire.script(streamed(f"{SIX_BY_SEVEN}\n{ONE_AND_TWO}"), streamed("42 and 3."))
    seen, answer = asyncio.run(talk(agent_of(make_chat())))
    assert str(answer) == "42 and 3."
    assert {result.tool_output.content for result in of(ToolCallResult, seen)} == {"42", "3"}
    assert turns_of(wire.bodies[1])[2] == f"assistant\n{SIX_BY_SEVEN}\n{ONE_AND_TWO}"


def test_function_agent_without_parallel_calls_runs_only_the_first(wire: WireServer, make_chat: Make) -> None:
    wire.script(streamed(f"{SIX_BY_SEVEN}\n{ONE_AND_TWO}"), streamed("42."))
    seen, _ = asyncio.run(talk(agent_of(make_chat(), allow_parallel_tool_calls=False)))
    assert [result.tool_output.content for result in of(ToolCallResult, seen)] == ["42"]


def test_errors_of_failing_and_unknown_tools_go_to_the_model(wire: WireServer, make_chat: Make) -> None:
    wire.script(streamed(f"{written('divide', a=1)}\n{written('multiply', a=6)}"), streamed("I cannot."))
    _, answer = asyncio.run(talk(agent_of(make_chat())))
    assert str(answer) == "I cannot."
    results = turns_of(wire.bodies[1])[3:5]
    assert any("divide not found" in result for result in results)
    assert any("'b'" in result for result in results)


MALFORMED = "<tool_call>\nmultiply(6, 7)\n</tool_call>"
ARGUMENTS_NO_OBJECT = '<tool_call>\n{"name": "now", "arguments": [1]}\n</tool_call>'
CUT_OFF = '<tool_call>\n{"name": "multiply", "arguments": {"a": 6'


def workflow_of(llm: ChatParadigm, **options: Any) -> AgentWorkflow:
    return AgentWorkflow(agents=[agent_of(llm, **options)])


def answers(texts: list[str], streaming: bool, finish_reason: str = "stop") -> list[Script]:
    whole = [reply(completion(text, finish_reason=finish_reason)) for text in texts]
    return [sse(chunk(text), chunk("", finish_reason)) for text in texts] if streaming else whole


@pytest.fixture(params=[True, pytest.param(False, marks=newer)], ids=["streamed", "whole"])
def streaming(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("make_agent", [agent_of, workflow_of])
@pytest.mark.parametrize("before", ["", "Let me see. "])
@over_completions
def test_reason_of_a_malformed_call_goes_to_the_model_which_tries_again(
    wire: WireServer, make_chat: Make, caplog: Any, make_agent: Any, before: str, streaming: bool
) -> None:
    wire.script(*answers([f"{before}{MALFORMED}", SIX_BY_SEVEN, "It is 42."], streaming))
    seen, answer = asyncio.run(talk(make_agent(make_chat(), **streaming_of(streaming))))
    assert str(answer) == "It is 42."
    assert [result.tool_output.content for result in of(ToolCallResult, seen) if result.tool_name == "multiply"] == [
        "42"
    ]
    said, reason = turns_of(wire.bodies[1])[2:4]
    assert "multiply(6, 7)" in said
    assert "malformed call: not valid JSON" in reason
    assert "Ignoring a malformed tool call" in caplog.text


@over_completions
def test_malformed_call_of_a_tool_without_arguments_does_not_run_it(wire: WireServer, make_chat: Make) -> None:
    ran: list[str] = []
    now = FunctionTool.from_defaults(lambda: ran.append("now"), name="now", description="The time.")
    wire.script(streamed(ARGUMENTS_NO_OBJECT), streamed("I cannot."))
    _, answer = asyncio.run(talk(agent_of(make_chat(), tools=[now])))
    assert str(answer) == "I cannot."
    assert ran == []
    assert "now (malformed call: the arguments are not a JSON object)" in turns_of(wire.bodies[1])[3]


@over_completions
def test_malformed_call_beside_another_is_reported_with_its_result(wire: WireServer, make_chat: Make) -> None:
    wire.script(streamed(f"{MALFORMED}\n{ONE_AND_TWO}"), streamed("3."))
    seen, _ = asyncio.run(talk(agent_of(make_chat())))
    assert len(of(ToolCallResult, seen)) == 2
    results = turns_of(wire.bodies[1])[3:5]
    assert "\n3\n" in results[0]
    assert "malformed call: not valid JSON" in results[1]


def asks_to_multiply(wire: WireServer, arguments: str) -> ChatParadigm:
    """A model that first asks for a call with these arguments, on a strict server."""
    asked = [{"id": "call_1", "type": "function", "function": {"name": "multiply", "arguments": arguments}}]
    choice = {"message": {"role": "assistant", "tool_calls": asked}, "finish_reason": "tool_calls"}
    wire.script(reply({"choices": [choice]}))
    wire.always(only_results_of_calls)
    return ChatParadigm(model="alfred-4.2", api_key=KEY, base_url=wire.url, context_window=4096)


@newer
def test_agent_goes_on_after_a_malformed_call_on_a_strict_server(wire: WireServer) -> None:
    llm = asks_to_multiply(wire, '{"a": ')
    _, answer = asyncio.run(talk(agent_of(llm, streaming=False)))
    assert (str(answer), len(wire.bodies)) == ("So.", 2)


@newer
def test_result_that_went_to_the_user_is_later_an_answer_without_the_id_of_a_call(wire: WireServer) -> None:
    llm = asks_to_multiply(wire, '{"a": 6, "b": 7}')
    agent = agent_of(llm, streaming=False, tools=[FunctionTool.from_defaults(multiply, return_direct=True)])
    kept = memory()
    for question in ("How much is 6 times 7?", "Are you sure?"):
        asyncio.run(talk(agent, question, memory=kept))
    with_id = [message["role"] for message in wire.bodies[1]["messages"] if "tool_call_id" in message]
    assert ("42" in str(wire.bodies[1]), with_id) == (True, ["tool"])


@newer
@over_completions
def test_malformed_calls_without_end_end_in_an_error(wire: WireServer, make_chat: Make) -> None:
    wire.always(streamed(MALFORMED))
    with pytest.raises(Exception, match="Max iterations"):
        asyncio.run(talk(agent_of(make_chat()), max_iterations=3))
    assert len(wire.requests) <= 3


@pytest.mark.parametrize("make_agent", [agent_of, workflow_of])
def test_call_that_max_tokens_cut_off_is_an_error_of_the_agent(
    wire: WireServer, make_chat: Make, make_agent: Any, streaming: bool
) -> None:
    wire.script(*answers([CUT_OFF], streaming, "length"))
    with pytest.raises(Exception, match="the model's tool call is malformed"):  # an older LlamaIndex wraps it
        asyncio.run(talk(make_agent(make_chat(max_tokens=9), **streaming_of(streaming))))
    assert len(wire.requests) == 1


@needs_rate_limiter
def test_each_agent_step_acquires_the_rate_limiter_once(wire: WireServer, make_chat: Make) -> None:
    wire.script(streamed(SIX_BY_SEVEN), streamed("42."))
    limiter = Limiter()
    asyncio.run(talk(agent_of(make_chat(rate_limiter=limiter))))
    assert limiter.acquired == ["async", "async"]


@newer
def test_function_agent_works_without_streaming(wire: WireServer, make_chat: Make) -> None:
    wire.script(reply(completion(SIX_BY_SEVEN)), reply(completion("42.")))
    _, answer = asyncio.run(talk(agent_of(make_chat(), streaming=False)))
    assert str(answer) == "42."


@newer
@pytest.mark.parametrize("streaming", [True, False])
@over_completions
def test_initial_tool_choice_makes_the_first_step_a_tool_call(
    wire: WireServer, make_chat: Make, streaming: bool
) -> None:
    texts = [' {"a": 6, "b": 7}', "42."]
    wire.script(*[streamed(text) if streaming else reply(completion(text)) for text in texts])
    agent = agent_of(make_chat(constrain="vllm"), initial_tool_choice="multiply", streaming=streaming)
    seen, answer = asyncio.run(talk(agent))
    assert str(answer) == "42."
    assert of(ToolCallResult, seen)[0].tool_kwargs == {"a": 6, "b": 7}
    assert prompt_of(wire.bodies[0]).endswith('<tool_call>\n{"name": "multiply", "arguments":')
    assert wire.bodies[0]["structured_outputs"]["json"]["required"] == ["a", "b"]
    assert "structural_tag" in wire.bodies[1]["structured_outputs"]  # of a call that the model may choose


class Product(BaseModel):
    """A product."""

    value: int


@newer
def test_output_cls_turns_the_final_answer_into_an_object(wire: WireServer, make_chat: Make) -> None:
    wire.script(streamed(SIX_BY_SEVEN), streamed("It is 42."), reply(completion('{"value": 42}')))
    _, answer = asyncio.run(talk(agent_of(make_chat(), output_cls=Product)))
    assert answer.structured_response == {"value": 42}
    assert "It is 42." in prompt_of(wire.bodies[2])


def test_agent_workflow_chooses_a_function_agent_for_chat_paradigm(wire: WireServer, make_chat: Make) -> None:
    """The metadata say that there is function calling."""
    wire.script(streamed(SIX_BY_SEVEN), streamed("42."))
    workflow = AgentWorkflow.from_tools_or_functions([multiply], llm=make_chat())
    assert [type(agent) for agent in workflow.agents.values()] == [FunctionAgent]
    _, answer = asyncio.run(talk(workflow))
    assert str(answer) == "42."


def test_agents_hand_off_to_each_other(wire: WireServer, make_chat: Make) -> None:
    llm = make_chat()
    research = FunctionAgent(
        name="Research",
        description="Looks things up.",
        system_prompt="You look things up.",
        tools=[FunctionTool.from_defaults(lambda topic: f"{topic}: 812 km", name="look_up", description="Look up.")],
        llm=llm,
        can_handoff_to=["Writer"],
    )
    writer = FunctionAgent(
        name="Writer",
        description="Writes.",
        system_prompt="You write.",
        tools=[multiply],
        llm=llm,
        can_handoff_to=["Research"],
    )
    workflow = AgentWorkflow(agents=[research, writer], root_agent="Research", initial_state={"notes": {}})
    wire.script(
        streamed(written("look_up", topic="Rhône")),
        streamed(f"Now the writer.\n{written('handoff', to_agent='Writer', reason='It is known.')}"),
        streamed("The Rhône is 812 km long."),
    )
    seen, answer = asyncio.run(talk(workflow, "Write of the Rhône."))
    assert str(answer) == "The Rhône is 812 km long."
    outputs = of(AgentOutput, seen)
    assert [output.current_agent_name for output in outputs] == ["Research", "Research", "Writer"]
    assert [call.tool_name for output in outputs[:2] for call in output.tool_calls] == ["look_up", "handoff"]
    last = turns_of(wire.bodies[2])
    assert last[0].startswith("system\nYou write.\n\nYou can call tools.")
    assert '"name": "multiply"' in last[0]
    assert '"name": "look_up"' not in last[0]
    assert f"assistant\n{written('look_up', topic='Rhône')}" in [json_free(turn) for turn in last]
    assert "tool\n<tool_response>\nRhône: 812 km\n</tool_response>" in last


def json_free(turn: str) -> str:
    return turn.replace("ô", "\\u00f4")


def json_can_hold_a_memory() -> bool:
    held = memory()
    held.put(ChatMessage("Hello"))
    try:
        JsonSerializer().serialize(held)
    except ValueError:
        return False
    return True


@pytest.fixture(params=["JSON", "pickle"])
def serializer(request: pytest.FixtureRequest) -> Any:
    """Either way in which LlamaIndex saves a context."""
    if request.param == "pickle":
        return JsonPickleSerializer()
    if not json_can_hold_a_memory():
        pytest.skip("this LlamaIndex cannot write a memory as JSON with this pydantic")
    return JsonSerializer()


def test_saved_context_resumes_with_its_history_and_without_the_key(
    wire: WireServer, make_chat: Make, serializer: Any
) -> None:
    wire.script(streamed(SIX_BY_SEVEN), streamed("It is 42."), streamed("I said 42."))

    async def first() -> str:
        agent = agent_of(make_chat())
        context = Context(agent)
        await agent.run("How much is 6 times 7?", ctx=context)
        return json.dumps(context.to_dict(serializer=serializer))

    async def second(saved: str) -> str:
        agent = agent_of(make_chat())
        context = Context.from_dict(agent, json.loads(saved), serializer=serializer)
        return str(await agent.run("What did you say?", ctx=context))

    saved = asyncio.run(first())
    assert KEY not in saved
    assert not any(KEY.encode() in base64.b64decode(f"{each}==") for each in re.findall(r"[A-Za-z0-9+/]{40,}", saved))
    assert asyncio.run(second(saved)) == "I said 42."
    assert turns_of(wire.bodies[2])[1:] == [
        "user\nHow much is 6 times 7?",
        f"assistant\n{SIX_BY_SEVEN}",
        "tool\n<tool_response>\n42\n</tool_response>",
        "assistant\nIt is 42.",
        "user\nWhat did you say?",
        "assistant\n",
    ]


async def delete(ctx: Context, path: str) -> str:
    """Delete a file, if a person agrees."""
    question = f"Delete {path}?"
    answer = await ctx.wait_for_event(
        HumanResponseEvent,
        waiter_id=question,
        waiter_event=InputRequiredEvent(prefix=question, user_name="Ada"),
        requirements={"user_name": "Ada"},
    )
    return "deleted" if answer.response == "yes" else "left"


def test_tool_can_wait_for_a_person(wire: WireServer, make_chat: Make) -> None:
    wire.script(streamed(written("delete", path="a.txt")), streamed("It is gone."))

    async def run() -> str:
        agent = agent_of(make_chat(), tools=[delete])
        running = agent.run("Delete a.txt.", memory=memory())
        async for event in running.stream_events():
            if isinstance(event, InputRequiredEvent):
                assert event.prefix == "Delete a.txt?"
                running.ctx.send_event(HumanResponseEvent(response="yes", user_name="Ada"))
        return str(await running)

    assert asyncio.run(run()) == "It is gone."
    assert turns_of(wire.bodies[1])[3] == "tool\n<tool_response>\ndeleted\n</tool_response>"


def test_interrupted_run_is_saved_and_resumed(wire: WireServer, make_chat: Make, serializer: Any) -> None:
    wire.script(streamed(written("delete", path="a.txt")), streamed("It is still there."))

    async def first() -> str:
        agent = agent_of(make_chat(), tools=[delete])
        running = agent.run("Delete a.txt.")
        async for event in running.stream_events():
            if isinstance(event, InputRequiredEvent):
                break
        saved = json.dumps(running.ctx.to_dict(serializer=serializer))
        await running.cancel_run()
        return saved

    async def second(saved: str) -> str:
        agent = agent_of(make_chat(), tools=[delete])
        context = Context.from_dict(agent, json.loads(saved), serializer=serializer)
        running = agent.run(ctx=context)
        running.ctx.send_event(HumanResponseEvent(response="no", user_name="Ada"))
        return str(await running)

    assert asyncio.run(second(asyncio.run(first()))) == "It is still there."
    assert turns_of(wire.bodies[1])[3] == "tool\n<tool_response>\nleft\n</tool_response>"


class Asked(Event):
    """The model is to be asked."""

    messages: list[ChatMessage]


class Chosen(Event):
    """The model chose to call tools."""

    messages: list[ChatMessage]
    calls: list[ToolSelection]


class Calculator(Workflow):
    """An agent from scratch, over LlamaIndex's own methods."""

    def __init__(self, llm: ChatParadigm) -> None:
        super().__init__(timeout=30)
        self.llm = llm
        self.tools = {tool.metadata.get_name(): tool for tool in map(FunctionTool.from_defaults, [multiply, add])}

    @step
    async def begin(self, ev: StartEvent) -> Asked:
        return Asked(messages=[ChatMessage(ev.question)])

    @step
    async def ask(self, ev: Asked) -> Chosen | StopEvent:
        stream = await self.llm.astream_chat_with_tools(list(self.tools.values()), chat_history=ev.messages)
        async for response in stream:
            last = response
        calls = self.llm.get_tool_calls_from_response(last, error_on_no_tool_call=False)
        messages = [*ev.messages, last.message]
        return Chosen(messages=messages, calls=calls) if calls else StopEvent(result=last.message.content)

    @step
    async def call(self, ev: Chosen) -> Asked:
        results = [
            ChatMessage(
                role="tool",
                content=self.tools[call.tool_name](**call.tool_kwargs).content,
                additional_kwargs={"tool_call_id": call.tool_id, "name": call.tool_name},
            )
            for call in ev.calls
        ]
        return Asked(messages=[*ev.messages, *results])


def test_custom_workflow_calls_tools_until_an_answer(wire: WireServer, make_chat: Make) -> None:
    wire.script(streamed(ONE_AND_TWO), streamed(written("multiply", a=3, b=14)), streamed("It is 42."))

    async def run() -> Any:
        return await Calculator(make_chat()).run(question="How much is (1 + 2) * 14?")

    assert asyncio.run(run()) == "It is 42."
    assert turns_of(wire.bodies[2])[2:6] == [
        f"assistant\n{ONE_AND_TWO}",
        "tool\n<tool_response>\n3\n</tool_response>",
        f"assistant\n{written('multiply', a=3, b=14)}",
        "tool\n<tool_response>\n42\n</tool_response>",
    ]


@over_completions
@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("parser", sorted(TOOL_PARSERS))
@newer
def test_function_agent_runs_on_every_model_family(
    wire: WireServer, make_chat: Make, server_without_parser: None, parser: str, streaming: bool
) -> None:
    row = TOOL_PARSERS[parser]
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant" if row.has_channels else "<think>Hm.</think>"
    written = row.calls.write([ToolCall("a1b2c3d4e", "multiply", {"a": 6, "b": 7})])
    texts = [thought + written, "It is 42."]
    wire.script(*[streamed(text) if streaming else reply(completion(text)) for text in texts])
    llm = make_chat(tool_call_parser=parser, reasoning_parser=None if row.has_channels else "qwen3")
    seen, answer = asyncio.run(talk(agent_of(llm, streaming=streaming)))
    assert str(answer) == "It is 42."
    (called,) = of(ToolCallResult, seen)
    assert (called.tool_name, called.tool_kwargs, called.tool_output.content) == ("multiply", {"a": 6, "b": 7}, "42")
    if streaming:
        assert "".join(piece.thinking_delta or "" for piece in of(AgentStream, seen)) == "Hm."
    assert "Hm." not in prompt_of(wire.bodies[1])
