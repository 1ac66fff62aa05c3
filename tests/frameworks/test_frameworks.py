"""Calls of tools, objects, streams and usage of other frameworks, over the chat endpoint of the local Paradigm."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel

from paradigm_local import LocalParadigm

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the frameworks

City = Literal["Rome", "Oslo"]
QUESTION = "How far is Rome from Paris?"


class Distance(BaseModel):
    """The distance from Paris to a city."""

    city: City


def test_pydantic_ai_gets_an_object_by_a_forced_call(local_paradigm: LocalParadigm) -> None:
    agent = pydantic_ai_agent(local_paradigm, output_type=Distance)
    result = agent.run_sync(QUESTION)
    assert isinstance(result.output, Distance)
    counted = local_paradigm.usage[-1]
    assert (result.usage.input_tokens, result.usage.output_tokens) == (counted.prompt_tokens, counted.completion_tokens)


def test_pydantic_ai_streams(local_paradigm: LocalParadigm) -> None:
    with pydantic_ai_agent(local_paradigm).run_stream_sync(QUESTION) as stream:
        assert "".join(stream.stream_text(delta=True))
        assert stream.usage.output_tokens == local_paradigm.usage[-1].completion_tokens


def pydantic_ai_agent(paradigm: LocalParadigm, **arguments: Any) -> Any:
    pydantic_ai = pytest.importorskip("pydantic_ai")
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel(
        paradigm.model, provider=OpenAIProvider(base_url=paradigm.base_url, api_key=paradigm.api_key)
    )
    return pydantic_ai.Agent(model, model_settings={"max_tokens": 30, "temperature": 0}, **arguments)


def test_crewai_counts_usage(local_paradigm: LocalParadigm) -> None:
    crewai = pytest.importorskip("crewai")
    access = {"base_url": local_paradigm.base_url, "api_key": local_paradigm.api_key}
    llm = crewai.LLM(model=f"openai/{local_paradigm.model}", temperature=0, max_tokens=10, **access)
    agent = crewai.Agent(role="Guide", goal="Answer questions", backstory="You know Europe.", llm=llm)
    before = local_paradigm.total_usage
    answer = agent.kickoff(QUESTION)
    assert answer.raw
    counted = local_paradigm.total_usage.completion_tokens - before.completion_tokens
    assert answer.usage_metrics["completion_tokens"] == counted


def test_smolagents_runs_a_call_and_counts_usage(local_paradigm: LocalParadigm) -> None:
    smolagents = pytest.importorskip("smolagents")
    access = {"api_base": local_paradigm.base_url, "api_key": local_paradigm.api_key}
    model = smolagents.OpenAIModel(local_paradigm.model, temperature=0, max_tokens=200, **access)
    result = smolagents.ToolCallingAgent(tools=[], model=model, return_full_result=True, max_steps=1).run(QUESTION)
    (call,) = [call for step in result.steps if step.get("tool_calls") for call in step["tool_calls"]]
    assert call["function"]["name"] == "final_answer"
    assert result.token_usage.output_tokens >= local_paradigm.usage[-1].completion_tokens


def test_dspy_predicts_under_a_schema_and_counts_usage(local_paradigm: LocalParadigm) -> None:
    dspy = pytest.importorskip("dspy")

    class EnforcedLM(dspy.LM):  # type: ignore[misc,name-defined]
        supports_response_schema = True
        supported_params = {"response_format"}  # noqa: RUF012

    class Ask(dspy.Signature):  # type: ignore[misc,name-defined]
        """Answer with a city."""

        question: str = dspy.InputField()
        city: City = dspy.OutputField()

    access = {"api_base": local_paradigm.base_url, "api_key": local_paradigm.api_key}
    lm = EnforcedLM(f"openai/{local_paradigm.model}", temperature=0, max_tokens=30, cache=False, **access)
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
        assert dspy.Predict(Ask)(question=QUESTION).city in ("Rome", "Oslo")
    assert lm.history[-1]["usage"]["prompt_tokens"] == local_paradigm.usage[-1].prompt_tokens


def test_haystack_forces_a_call(local_paradigm: LocalParadigm) -> None:
    generator, chat = haystack_generator(local_paradigm)
    from haystack.tools import create_tool_from_function

    def distance(city: Annotated[City, "the city"]) -> str:
        """Return the distance from Paris to a city."""
        return f"{city} is far."

    forced = {"tool_choice": "required"}
    reply = generator.run(chat, tools=[create_tool_from_function(distance)], generation_kwargs=forced)["replies"][0]
    (call,) = reply.tool_calls
    assert (call.tool_name, call.arguments["city"] in ("Rome", "Oslo")) == ("distance", True)
    assert reply.meta["usage"]["completion_tokens"] == local_paradigm.usage[-1].completion_tokens


def test_haystack_streams(local_paradigm: LocalParadigm) -> None:
    generator, chat = haystack_generator(local_paradigm)
    pieces: list[Any] = []
    reply = generator.run(chat, streaming_callback=pieces.append)["replies"][0]
    assert "".join(piece.content for piece in pieces) == reply.text != ""


def haystack_generator(paradigm: LocalParadigm) -> tuple[Any, list[Any]]:
    pytest.importorskip("haystack")
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.dataclasses import ChatMessage
    from haystack.utils import Secret

    fields = {"temperature": 0, "max_tokens": 30}
    access = {"api_key": Secret.from_token(paradigm.api_key), "api_base_url": paradigm.base_url}
    generator = OpenAIChatGenerator(model=paradigm.model, generation_kwargs=fields, **access)
    return generator, [ChatMessage.from_user(QUESTION)]
