"""Agents, chains, streams and usage on the real local model."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.output_parsers import PydanticOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from pydantic import BaseModel

from langchain_paradigm import ParadigmLLM
from tests.langchain.conftest import Recorder
from tests.langchain.test_agents import (
    Shelf,
    State,
    StreamWriter,
    chains,
    documents,
    executor,
    graph_of,
    parsers,
)

ACTION = r" I must count\.\nAction: count\nAction Input: [A-Z][a-z]{2,9}"


@pytest.mark.paradigm_llm(temperature=0, max_tokens=40, extra_body={"structured_outputs": {"regex": ACTION}})
def test_agent_uses_tool(paradigm_llm: ParadigmLLM) -> None:
    agent = executor(paradigm_llm)
    agent.max_iterations = 2
    answer = agent.invoke({"input": "How many letters has Paris?"})
    assert len(answer["intermediate_steps"]) == 2
    for action, observation in answer["intermediate_steps"]:
        assert observation == f"{len(action.tool_input.strip())} characters"


@pytest.mark.paradigm_llm(temperature=0, max_tokens=60)
def test_stop_cuts_off_invented_observation(paradigm_llm: ParadigmLLM) -> None:
    prompt = (
        "Thought: a\nAction: count\nAction Input: Rome\nObservation: 4\n"
        "Thought: b\nAction: count\nAction Input: Oslo\nObservation: 4\nThought: c\nAction:"
    )
    assert "\nObservation" in paradigm_llm.invoke(prompt)
    cut = paradigm_llm.bind(stop=["\nObservation"])
    assert "\nObservation" not in cut.invoke(prompt)
    assert "".join(cut.stream(prompt)) == cut.invoke(prompt)


@pytest.mark.paradigm_llm(temperature=0, max_tokens=5)
def test_graph_node_streams(paradigm_llm: ParadigmLLM) -> None:
    def ask(state: State, writer: StreamWriter) -> State:
        pieces = []
        for piece in paradigm_llm.stream(state["question"]):
            writer(piece)
            pieces.append(piece)
        return {"answer": "".join(pieces)}

    updates = list(graph_of(ask).stream({"question": "The capital of France is"}, stream_mode=["custom", "values"]))
    pieces = [update for kind, update in updates if kind == "custom"]
    assert len(pieces) > 3
    assert "".join(pieces).startswith(" Paris")
    assert updates[-1][1]["answer"] == "".join(pieces)


@pytest.mark.paradigm_llm(temperature=0, max_tokens=12, stop="\n")
def test_retrieval_chain_answers_from_documents(paradigm_llm: ParadigmLLM) -> None:
    shelf = Shelf(texts=["The tower of Zubrin was built in 1742.", "Cheese is made of milk."])
    prompt = PromptTemplate.from_template("{context}\nQuestion: {input}\nAnswer: It was built in")
    chain = chains.create_retrieval_chain(shelf, documents.create_stuff_documents_chain(paradigm_llm, prompt))
    assert "1742" in chain.invoke({"input": "When was the tower built?"})["answer"]


class City(BaseModel):
    """A city."""

    name: str


@pytest.mark.paradigm_llm(temperature=0, max_tokens=30)
def test_retry_parser_asks_again(paradigm_llm: ParadigmLLM) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}}, "required": ["name"]}
    strict = paradigm_llm.model_copy(update={"extra_body": {"structured_outputs": {"json": schema}}})
    parser = parsers.RetryOutputParser.from_llm(parser=PydanticOutputParser(pydantic_object=City), llm=strict)
    prompt = PromptTemplate.from_template("The capital of {country} is").invoke({"country": "France"})
    assert parser.parse_with_prompt(paradigm_llm.invoke(prompt), prompt).name


@pytest.mark.paradigm_llm(temperature=0, max_tokens=12, chat_template="chatml")
def test_chat_prompt_is_completed(paradigm_llm: ParadigmLLM) -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "Answer in one word."), ("human", "{question}")])
    assert "Paris" in (prompt | paradigm_llm).invoke({"question": "What is the capital of France?"})


@pytest.mark.paradigm_llm(temperature=0, max_tokens=4)
def test_all_methods_give_same_text_and_usage(paradigm_llm: ParadigmLLM) -> None:
    prompt = "The capital of France is"

    async def alone() -> list[str]:
        streamed = [piece async for piece in paradigm_llm.astream(prompt)]
        return [await paradigm_llm.ainvoke(prompt), "".join(streamed), *await paradigm_llm.abatch([prompt])]

    recorder = Recorder()
    paradigm_llm.callbacks = [recorder]
    texts = [paradigm_llm.invoke(prompt), "".join(paradigm_llm.stream(prompt)), *paradigm_llm.batch([prompt])]
    texts += asyncio.run(alone())
    assert len(set(texts)) == 1
    usages = [_usage(end) for end in recorder.ends]
    assert len(usages) == 6
    assert all(usage == usages[0] for usage in usages)
    assert usages[0]["output_tokens"] == 4
    assert paradigm_llm.get_num_tokens(prompt) == usages[0]["input_tokens"]


def _usage(end: Any) -> dict[str, int]:
    usage: dict[str, int] = end.generations[0][0].generation_info["usage_metadata"]
    return usage


@pytest.mark.paradigm_llm(temperature=1, max_tokens=8, logprobs=2)
def test_cached_completions_keep_their_logprobs(paradigm_llm: ParadigmLLM) -> None:
    llm = paradigm_llm.model_copy(update={"cache": InMemoryCache(), "n": 3})
    first, second = (llm.generate(["Once upon a time"]).generations for _ in range(2))
    assert first == second
    assert len(first[0]) == 3
    for generation in first[0]:
        logprobs = (generation.generation_info or {})["logprobs"]
        assert re.sub(r"\s", "", "".join(logprobs["tokens"])).startswith(re.sub(r"\s", "", generation.text)[:5])
