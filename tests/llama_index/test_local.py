"""One run of each main use on a real model: what scripted answers cannot show is that prompts make sense to one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Literal

import pytest
from llama_index.core import Document, PromptTemplate, SummaryIndex, VectorStoreIndex, __version__
from llama_index.core.agent.workflow import AgentStream, ReActAgent
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.workflow import WorkflowRuntimeError
from pydantic import BaseModel, Field

from llama_index_paradigm import ParadigmLLM
from paradigm_local import LocalParadigm
from paradigm_transport import BadRequestError
from tests.llama_index.conftest import Method, text_of

Make = Callable[..., ParadigmLLM]

DOCUMENTS = [Document(text="The library opens at nine."), Document(text="The swimming pool opens at noon.")]

pytestmark = [
    pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset"),
    pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step"),
]


@pytest.fixture
def make_llm(local_paradigm: LocalParadigm) -> Iterator[Make]:
    """Makes objects that call the local Paradigm."""
    made: list[ParadigmLLM] = []

    def make(**arguments: Any) -> ParadigmLLM:
        access = {"api_key": local_paradigm.api_key, "base_url": local_paradigm.base_url}
        usual = {"model": local_paradigm.model, **access, "max_tokens": 20, "temperature": 0, "chat_template": "chatml"}
        made.append(ParadigmLLM(**{**usual, **arguments}))
        return made[-1]

    yield make
    for llm in made:
        llm.close()


def test_each_method_answers_and_counts_tokens(local_paradigm: LocalParadigm, method: Method, make_llm: Make) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    llm = make_llm(callback_manager=CallbackManager([counter]))
    responses = method(llm, "What is the capital of France?", logprobs=1)
    assert "Paris" in text_of(responses[-1])
    assert any(response.logprobs for response in responses)
    (event,) = counter.llm_token_counts
    told = local_paradigm.usage[-1]
    assert (event.prompt_token_count, event.completion_token_count) == (told.prompt_tokens, told.completion_tokens)


def test_context_window_is_the_servers(make_llm: Make) -> None:
    assert make_llm().metadata.context_window == 4096
    with pytest.raises(BadRequestError, match="context"):
        make_llm().complete("word " * 5000)


def test_query_engine_answers_from_documents(make_llm: Make) -> None:
    llm = make_llm()
    assert "nine" in str(
        SummaryIndex.from_documents(DOCUMENTS).as_query_engine(llm=llm).query("When does the library open?")
    )
    index = VectorStoreIndex.from_documents(DOCUMENTS[:1], embed_model=MockEmbedding(embed_dim=3))
    streamed = index.as_query_engine(llm=llm, streaming=True).query("When does the library open?")
    assert "nine" in "".join(streamed.response_gen)


def test_chat_engine_answers_from_documents(make_llm: Make) -> None:
    index = SummaryIndex.from_documents(DOCUMENTS)
    memory = ChatMemoryBuffer.from_defaults(token_limit=1000)
    engine = index.as_chat_engine(chat_mode="context", llm=make_llm(), memory=memory)
    assert "nine" in str(engine.chat("When does the library open?"))


class Opening(BaseModel):
    """When a place opens."""

    place: Literal["library", "swimming pool"]
    hour: int = Field(ge=0, le=23)


def test_structured_prediction_returns_the_object(make_llm: Make) -> None:
    llm = make_llm(structured_outputs="vllm", max_tokens=50)
    opening = llm.structured_predict(Opening, PromptTemplate("{text}"), text="The library opens at 9.")
    assert opening == Opening(place="library", hour=9)
    *_, last = llm.stream_structured_predict(Opening, PromptTemplate("{text}"), text="The library opens at 9.")
    assert last == opening


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def test_react_agent_streams(make_llm: Make) -> None:
    """That so small a model fails at the format does not matter here."""
    agent = ReActAgent(tools=[add], llm=make_llm(stop=["Observation:"], max_tokens=20))
    rounds = {} if __version__.startswith("0.12.") else {"max_iterations": 1}

    async def pieces() -> str:
        run = agent.run("How much is 2 + 3?", memory=ChatMemoryBuffer.from_defaults(token_limit=1000), **rounds)
        text = "".join([event.delta async for event in run.stream_events() if isinstance(event, AgentStream)])
        with suppress(WorkflowRuntimeError):  # it took too many rounds
            await run
        return text

    assert asyncio.run(pieces())
