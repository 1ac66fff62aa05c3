"""A chat model that is real: so small a one calls a tool where it must, and then uses what the tool said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, Field

from llama_index_paradigm import ChatParadigm
from paradigm_local import LocalParadigm
from paradigm_transport import JinjaTemplate
from tests.llama_index.test_chat_agents import newer
from tests.llama_index.test_chat_tools import NAMES, Method

Make = Callable[..., ChatParadigm]

pytestmark = [
    pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset"),
    pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step"),
]

# As the model's own repository ships it, tools added.
JINJA = JinjaTemplate(
    source=(
        "{% for message in messages %}"
        "{% if loop.first and tools %}{{ '<|im_start|>system\nTools: ' + tools | tojson + '<|im_end|>\n' }}{% endif %}"
        "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    stop="<|im_end|>",
)


def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"In {city} it rains, at 7 degrees."


WEATHER = FunctionTool.from_defaults(weather)
ANSWERS = [f"In Rome it rains, at {degrees} degrees." for degrees in (7, 25)]
ONE_OF_TWO: Any = {"extra_body": {"structured_outputs": {"choice": ANSWERS}}}
"""So small a model may not repeat a result, but it can choose."""


def told_more(paradigm: LocalParadigm) -> bool:
    """Whether the last prompt is longer than the one before by more than the tool's result."""
    before, last = paradigm.usage[-2:]
    return last.prompt_tokens - before.prompt_tokens > len(weather("Rome").split())


@pytest.fixture(params=["chatml", None], ids=["completions", "chat"])
def make_chat(request: pytest.FixtureRequest, local_paradigm: LocalParadigm) -> Iterator[Make]:
    """Makes objects that call the local Paradigm."""
    made: list[ChatParadigm] = []

    def make(**arguments: Any) -> ChatParadigm:
        access = {"model": local_paradigm.model, "api_key": local_paradigm.api_key, "base_url": local_paradigm.base_url}
        usual = {**access, "chat_template": request.param, "constrain": "vllm", "max_tokens": 40, "temperature": 0}
        made.append(ChatParadigm(**{**usual, **arguments}))
        return made[-1]

    yield make
    for llm in made:
        llm.close()


@pytest.mark.parametrize(
    ("method", "given"),
    [*[(Method(name), {}) for name in NAMES], (Method(NAMES[0]), {"chat_template": JINJA})],
    ids=[*NAMES, "jinja"],
)
@pytest.mark.filterwarnings("ignore:chat_template")
def test_model_calls_a_tool_and_uses_its_result(
    local_paradigm: LocalParadigm, make_chat: Make, method: Method, given: dict[str, Any]
) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    llm = make_chat(callback_manager=CallbackManager([counter]), **given)
    question = ChatMessage("What is the weather in Rome?")
    answer = method(llm, [WEATHER], user_msg=question, tool_required=True)[-1].message
    assert not answer.content
    (call,) = llm.get_tool_calls_from_response(method(llm, [WEATHER], user_msg=question, tool_choice="weather")[-1])
    assert (call.tool_name, call.tool_kwargs) == ("weather", {"city": "Rome"})
    result = ChatMessage(role="tool", content=weather("Rome"), additional_kwargs={"tool_call_id": call.tool_id})
    last = method(
        llm, [WEATHER], user_msg=None, chat_history=[question, answer, result], tool_choice="none", **ONE_OF_TWO
    )[-1]
    assert last.message.content == ANSWERS[0]
    told = local_paradigm.usage[-3:]
    assert [event.total_token_count for event in counter.llm_token_counts] == [each.total_tokens for each in told]


@newer
def test_function_agent_answers_with_a_tool(make_chat: Make, local_paradigm: LocalParadigm) -> None:
    agent = FunctionAgent(tools=[weather], llm=make_chat(), initial_tool_choice="weather")

    async def talk() -> tuple[list[Any], str]:
        run = agent.run("What is the weather in Rome?", memory=ChatMemoryBuffer.from_defaults(token_limit=1000))
        events = [event async for event in run.stream_events()]
        return events, str(await run)

    events, answer = asyncio.run(talk())
    (result,) = [event for event in events if isinstance(event, ToolCallResult)]
    assert (result.tool_kwargs, result.tool_output.content) == ({"city": "Rome"}, weather("Rome"))
    assert answer
    assert told_more(local_paradigm)
    assert "".join(event.delta for event in events if isinstance(event, AgentStream)) == answer


@newer
def test_agent_workflow_answers_with_a_tool(make_chat: Make, local_paradigm: LocalParadigm) -> None:
    agent = FunctionAgent(
        name="Weather",
        description="Knows the weather.",
        tools=[weather],
        llm=make_chat(),
        initial_tool_choice="weather",
    )
    workflow = AgentWorkflow(agents=[agent], root_agent="Weather")

    async def talk() -> str:
        memory = ChatMemoryBuffer.from_defaults(token_limit=1000)
        return str(await workflow.run("What is the weather in Paris?", memory=memory))

    assert asyncio.run(talk())
    assert told_more(local_paradigm)


class Opening(BaseModel):
    """When a place opens."""

    place: Literal["library", "swimming pool"]
    hour: int = Field(ge=0, le=23)


@pytest.mark.parametrize("mode", [PydanticProgramMode.LLM, PydanticProgramMode.DEFAULT], ids=["schema", "tool"])
def test_structured_prediction_returns_the_object(make_chat: Make, mode: PydanticProgramMode) -> None:
    llm = make_chat(pydantic_program_mode=mode)
    ask = PromptTemplate("{text}")
    opening = llm.structured_predict(Opening, ask, text="The library opens at 9.")
    assert opening == Opening(place="library", hour=9)
    assert asyncio.run(llm.astructured_predict(Opening, ask, text="The library opens at 9.")) == opening
    *_, last = llm.stream_structured_predict(Opening, ask, text="The library opens at 9.")
    assert last == opening


def test_chat_and_complete_answer_a_question(make_chat: Make) -> None:
    llm = make_chat()
    assert "Paris" in (llm.chat([ChatMessage("What is the capital of France?")]).message.content or "")
    assert "Paris" in llm.complete("What is the capital of France?").text
