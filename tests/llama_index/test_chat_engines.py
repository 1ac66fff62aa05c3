"""What LlamaIndex builds on a chat model that calls tools, beside its agents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.agent.workflow import ReActAgent
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.selectors import PydanticMultiSelector, PydanticSingleSelector
from llama_index.core.tools import ToolMetadata

from llama_index_paradigm import ChatParadigm
from tests.chat_form import prompt_of
from tests.llama_index.test_chat_tools import written
from tests.wire import WireServer, chunk, completion, reply, sse

Make = Callable[..., ChatParadigm]

DOCUMENTS = [Document(text="The library opens at nine.")]


def test_query_engine_answers_with_chat_paradigm(wire: WireServer, make_chat: Make) -> None:
    wire.script(reply(completion("At nine.")), sse(chunk("At "), chunk("nine.", "stop")))
    llm = make_chat(system_prompt="Be kind.")
    index = SummaryIndex.from_documents(DOCUMENTS)
    assert str(index.as_query_engine(llm=llm).query("When does it open?")) == "At nine."
    streamed = index.as_query_engine(llm=llm, streaming=True).query("When does it open?")
    assert "".join(streamed.response_gen) == "At nine."
    for body in wire.bodies:  # the prompts that LlamaIndex has for chat models
        assert prompt_of(body).startswith("<|im_start|>system\nBe kind.\n\nYou are an expert Q&A system")
        assert prompt_of(body).count("Be kind.") == 1
        assert "The library opens at nine." in prompt_of(body)


def test_chat_engine_keeps_the_conversation(wire: WireServer, make_chat: Make) -> None:
    wire.always(reply(completion("At nine.")))
    memory = ChatMemoryBuffer.from_defaults(token_limit=1000)
    index = SummaryIndex.from_documents(DOCUMENTS)
    engine = index.as_chat_engine(chat_mode="condense_plus_context", llm=make_chat(), memory=memory)
    assert str(engine.chat("When does the library open?")) == "At nine."
    assert str(asyncio.run(engine.achat("And the pool?"))) == "At nine."
    assert "<|im_start|>user\nWhen does the library open?<|im_end|>" in prompt_of(wire.bodies[-1])
    assert "<|im_start|>assistant\nAt nine.<|im_end|>" in prompt_of(wire.bodies[-1])


CHOICES = [ToolMetadata(name="rivers", description="Rivers."), ToolMetadata(name="hills", description="Hills.")]


def test_selectors_choose_with_chat_paradigm(wire: WireServer, make_chat: Make) -> None:
    llm = make_chat(constrain="vllm")
    one = written("SingleSelection", index=2, reason="It asks of hills.")
    many = written("MultiSelection", selections=[{"index": 1, "reason": "Yes."}, {"index": 2, "reason": "Yes."}])
    wire.script(reply(completion(one)), reply(completion(many)))
    try:
        selector = PydanticSingleSelector.from_defaults(llm=llm)
    except ImportError:
        pytest.skip("this LlamaIndex has them for OpenAI's models alone")
    single = selector.select(CHOICES, "Of hills?")
    assert (single.ind, single.reason) == (1, "It asks of hills.")
    several = PydanticMultiSelector.from_defaults(llm=llm).select(CHOICES, "Of both?")
    assert several.inds == [0, 1]


@pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset")
@pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")
@pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated")
@pytest.mark.filterwarnings("ignore:is_running called from within a step")
def test_react_agent_works_with_chat_paradigm(wire: WireServer, make_chat: Make) -> None:
    wire.script(sse(chunk("Thought: I can answer without using any more tools.\nAnswer: It is 42."), chunk("", "stop")))

    async def run() -> Any:
        agent = ReActAgent(tools=[], llm=make_chat())
        return await agent.run("How much?", memory=ChatMemoryBuffer.from_defaults(token_limit=1000))

    assert str(asyncio.run(run())).strip() == "It is 42."
