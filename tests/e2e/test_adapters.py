"""Both adapters on a real model: completed and streamed, sync and async, every token counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import LLMResult
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage

from langchain_paradigm import ParadigmLLM as LangChainLLM
from llama_index_paradigm import ParadigmLLM as LlamaIndexLLM
from paradigm_local import LocalParadigm
from paradigm_transport import AuthenticationError, BadRequestError, NotFoundError

PROMPT = "The capital of France is"
Counts = list[tuple[int, int]]


class UsageSeen(BaseCallbackHandler):
    """Records the prompt and completion tokens of each run that LangChain reports to callbacks."""

    def __init__(self) -> None:
        self.counts: Counts = []

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        usage = (response.generations[0][0].generation_info or {})["usage_metadata"]
        self.counts.append((usage["input_tokens"], usage["output_tokens"]))


def arguments(paradigm: LocalParadigm, **others: Any) -> dict[str, Any]:
    access = {"model": paradigm.model, "api_key": paradigm.api_key, "base_url": paradigm.base_url}
    return {**access, "max_tokens": 5, "temperature": 0.0, **others}


def invoke(llm: LangChainLLM) -> str:
    return llm.invoke(PROMPT)


def stream(llm: LangChainLLM) -> str:
    return "".join(llm.stream(PROMPT))


def batch(llm: LangChainLLM) -> str:
    return llm.batch([PROMPT])[0]


def generate(llm: LangChainLLM) -> str:
    return llm.generate([PROMPT]).generations[0][0].text


def ainvoke(llm: LangChainLLM) -> str:
    return asyncio.run(llm.ainvoke(PROMPT))


def astream(llm: LangChainLLM) -> str:
    async def joined() -> str:
        return "".join([text async for text in llm.astream(PROMPT)])

    return asyncio.run(joined())


def complete(llm: LlamaIndexLLM) -> str:
    return llm.complete(PROMPT).text


def stream_complete(llm: LlamaIndexLLM) -> str:
    return "".join(response.delta or "" for response in llm.stream_complete(PROMPT))


def acomplete(llm: LlamaIndexLLM) -> str:
    return asyncio.run(llm.acomplete(PROMPT)).text


def astream_complete(llm: LlamaIndexLLM) -> str:
    async def last() -> str:
        return [response.text async for response in await llm.astream_complete(PROMPT)][-1]

    return asyncio.run(last())


@pytest.mark.parametrize("call", [invoke, stream, batch, generate, ainvoke, astream])
def test_langchain_completes_and_counts_every_token(
    local_paradigm: LocalParadigm, call: Callable[[LangChainLLM], str]
) -> None:
    seen = UsageSeen()
    with LangChainLLM(**arguments(local_paradigm), callbacks=[seen]) as llm:
        text = call(llm)
    assert text.startswith(" Paris")
    assert seen.counts == [_served(local_paradigm)]


@pytest.mark.parametrize("call", [complete, stream_complete, acomplete, astream_complete])
def test_llama_index_completes_and_counts_every_token(
    local_paradigm: LocalParadigm, call: Callable[[LlamaIndexLLM], str]
) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    with LlamaIndexLLM(**arguments(local_paradigm), callback_manager=CallbackManager([counter])) as llm:
        text = call(llm)
    assert text.startswith(" Paris")
    assert [(each.prompt_token_count, each.completion_token_count) for each in counter.llm_token_counts] == [
        _served(local_paradigm)
    ]


def _served(paradigm: LocalParadigm) -> tuple[int, int]:
    return paradigm.usage[-1].prompt_tokens, paradigm.usage[-1].completion_tokens


QUESTION = "What is the opposite of hot? Answer in one word."


def test_both_adapters_render_chat_template(local_paradigm: LocalParadigm) -> None:
    chat = arguments(local_paradigm, chat_template="chatml")
    with LangChainLLM(**chat) as langchain, LlamaIndexLLM(**chat) as llama_index, LangChainLLM(**chat) as plain:
        plain.chat_template = None
        markup = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
        by_hand = plain.invoke(markup, stop=["<|im_end|>"])
        assert langchain.invoke([("human", QUESTION)]) == by_hand
        assert llama_index.chat([ChatMessage(content=QUESTION)]).message.content == by_hand
        assert plain.invoke(QUESTION) != by_hand


@pytest.mark.parametrize("llm_class", [LangChainLLM, LlamaIndexLLM])
@pytest.mark.parametrize(
    ("wrong", "prompt", "error"),
    [
        ({"api_key": "wrong"}, PROMPT, AuthenticationError),
        ({"model": "no-such-model"}, PROMPT, NotFoundError),
        ({}, PROMPT * 5000, BadRequestError),
    ],
    ids=["key", "model", "length"],
)
def test_refusals_raise_typed_one_line_errors(
    local_paradigm: LocalParadigm, llm_class: type[Any], wrong: dict[str, Any], prompt: str, error: type[Exception]
) -> None:
    with llm_class(**arguments(local_paradigm, **wrong)) as llm, pytest.raises(error) as raised:
        llm.invoke(prompt) if llm_class is LangChainLLM else llm.complete(prompt)
    assert local_paradigm.base_url.split("/")[2] in str(raised.value)
    assert "\n" not in str(raised.value)
