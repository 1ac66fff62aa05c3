"""Completions with the chat template of a model that thinks: its thoughts are not in the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from llama_index_paradigm import ChatParadigm, ParadigmLLM
from llama_index_paradigm._compat import ThinkingBlock
from tests.llama_index.conftest import Method, text_of
from tests.transport.answers import TEXT_BEHIND, THINKS, THOUGHT, THOUGHT_BEFORE_TEXT, THOUGHTS_OPENED
from tests.wire import WireServer, chunk, completion, reply, sse

Make = Callable[..., Any]


class City(BaseModel):
    """A city."""

    city: str


def check_thoughts(responses: list[Any], thoughts: str, is_stream: bool) -> None:
    """Check that thoughts are where responses of this kind have them."""
    last = responses[-1]
    if not hasattr(last, "message"):
        assert last.additional_kwargs["reasoning_content"] == thoughts
    elif ThinkingBlock is not None:
        assert [block.content for block in last.message.blocks if block.block_type == "thinking"] == [thoughts]
    if is_stream:
        assert "".join(each.additional_kwargs.get("thinking_delta", "") for each in responses) == thoughts


@pytest.fixture(params=[ParadigmLLM, ChatParadigm], ids=lambda kind: kind.__name__)
def make(request: pytest.FixtureRequest, make_llm: Make, make_chat: Make) -> Make:
    return make_llm if request.param is ParadigmLLM else make_chat


@pytest.mark.parametrize(
    ("template", "answer"),
    [(THINKS, THOUGHT_BEFORE_TEXT), (THOUGHTS_OPENED, THOUGHT_BEFORE_TEXT.removeprefix("<think>\n"))],
)
def test_thoughts_are_apart_from_the_text(
    wire: WireServer, method: Method, make: Make, template: str, answer: str
) -> None:
    wire.script(method.answer(*(answer[at : at + 3] for at in range(0, len(answer), 3))))
    responses = method(make(chat_template=template))
    assert text_of(responses[-1]) == TEXT_BEHIND
    check_thoughts(responses, THOUGHT, method.is_stream)
    if method.is_stream:
        assert "".join(response.delta for response in responses) == TEXT_BEHIND
    assert wire.bodies[0]["skip_special_tokens"] is False


@pytest.mark.parametrize("route", ["chat"], indirect=True)
def test_thoughts_that_the_server_separates_are_kept_by_every_method(
    wire: WireServer, make_chat: Make, method: Method
) -> None:
    thought, text = {"reasoning_content": "Hm."}, {"content": "Rome"}
    if method.is_stream:
        parts = [{"reasoning_content": "H"}, {"reasoning_content": "m."}, text]
        wire.script(sse(*({"choices": [{"delta": part}]} for part in parts), chunk("", "stop")))
    else:
        wire.script(reply({"choices": [{"message": {**thought, **text}, "finish_reason": "stop"}]}))
    responses = method(make_chat())
    assert text_of(responses[-1]) == "Rome"
    check_thoughts(responses, "Hm.", method.is_stream)


def test_object_is_not_read_from_thoughts(wire: WireServer, make: Make) -> None:
    wire.script(reply(completion(THOUGHT_BEFORE_TEXT)))
    llm = make(chat_template=THINKS)
    assert llm.structured_predict(City, PromptTemplate("Where?")) == City(city="Rome")


def test_text_without_a_template_stays_as_it_is(wire: WireServer, make_llm: Make, method: Method) -> None:
    wire.script(method.answer(THOUGHT_BEFORE_TEXT))
    assert text_of(method(make_llm())[-1]) == THOUGHT_BEFORE_TEXT


def test_reasoning_parser_separates_thoughts_that_the_template_does_not_write(
    wire: WireServer, make_chat: Make
) -> None:
    wire.script(reply(completion(THOUGHT_BEFORE_TEXT)), reply(completion(THOUGHT_BEFORE_TEXT)))
    llm = make_chat(reasoning_parser="qwen3")
    assert llm.complete("Where?").text == TEXT_BEHIND
    assert llm.chat([ChatMessage("Where?")]).message.content == TEXT_BEHIND
