"""Agents on the real local model, which writes its calls as other model families do."""

# No postponed annotations: LlamaIndex does not resolve those of a tool.

import asyncio
from typing import Any

import httpx
import pytest
from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.memory import ChatMemoryBuffer

from llama_index_paradigm import ChatParadigm
from paradigm_local import LocalParadigm
from tests.llama_index.test_chat_agents import newer
from tests.local_rows import City, Family, of_each_family, prompt_of, report

pytestmark = [
    pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset"),
    pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step"),
]


def weather(city: City) -> str:
    """The weather of a city."""
    return report(city)


@newer
@of_each_family
def test_agent_calls_a_tool_as_its_family_does_and_answers(local_paradigm: LocalParadigm, family: Family) -> None:
    prompts: list[str] = []

    async def collect(request: httpx.Request) -> None:
        prompts.append(prompt_of(request))

    async def talk() -> tuple[list[Any], str]:
        async with httpx.AsyncClient(timeout=120, event_hooks={"request": [collect]}) as client:
            llm = ChatParadigm(
                model=local_paradigm.model,
                api_key=local_paradigm.api_key,
                api_base=local_paradigm.base_url,
                http_async_client=client,
                chat_template=family.template,
                tool_call_parser=family.parser,
                constrain="vllm",
                temperature=0,
                max_tokens=40,
            )
            agent = FunctionAgent(
                tools=[weather], llm=llm, initial_tool_choice="weather", allow_parallel_tool_calls=False
            )
            run = agent.run("What is the weather in Rome?", memory=ChatMemoryBuffer.from_defaults(token_limit=1000))
            events = [event async for event in run.stream_events()]
            return events, str(await run)

    events, answer = asyncio.run(talk())
    (result,) = [event for event in events if isinstance(event, ToolCallResult)]
    city = result.tool_kwargs["city"]
    (_, prompt) = prompts  # none was sent again without its constraint
    assert f"{family.write(city)}<|im_end|>" in prompt
    assert report(city) in prompt
    assert "fog" in answer
