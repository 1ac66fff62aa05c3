"""Agents on the real local model, which writes its calls as other model families do."""

from __future__ import annotations

from typing import Any

import httpx
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool

from langchain_paradigm import ChatParadigm
from paradigm_local import LocalParadigm
from tests.langchain.test_chat_agents import create_agent, middleware, question
from tests.local_rows import City, Family, of_each_family, prompt_of, report


@tool
def weather(city: City) -> str:
    """The weather of a city."""
    return report(city)


@middleware.wrap_model_call
def call_first(request: Any, handler: Any) -> Any:
    """Require a call first, then an answer: so small a model does not decide this by itself."""
    has_result = isinstance(request.messages[-1], ToolMessage)
    settings = {"parallel_tool_calls": False}
    return handler(request.override(tool_choice="none" if has_result else "any", model_settings=settings))


@of_each_family
def test_agent_calls_a_tool_as_its_family_does_and_answers(local_paradigm: LocalParadigm, family: Family) -> None:
    prompts: list[str] = []
    with httpx.Client(
        timeout=120, event_hooks={"request": [lambda request: prompts.append(prompt_of(request))]}
    ) as client:
        chat = ChatParadigm(
            model=local_paradigm.model,
            api_key=local_paradigm.api_key,
            base_url=local_paradigm.base_url,
            http_client=client,
            chat_template=family.template,
            tool_call_parser=family.parser,
            constrain="vllm",
            temperature=0,
            max_tokens=40,
        )
        agent = create_agent(chat, [weather], middleware=[call_first])
        _, call, result, answer = agent.invoke(question("What is the weather in Rome?"))["messages"]
    (made,) = call.tool_calls
    city = made["args"]["city"]
    assert result.content == report(city)
    (_, prompt) = prompts  # none was sent again without its constraint
    assert f"{family.write(city)}<|im_end|>" in prompt
    assert report(city) in prompt
    assert "fog" in answer.text
    assert answer.tool_calls == []
