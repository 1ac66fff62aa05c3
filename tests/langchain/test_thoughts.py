"""`ParadigmLLM` with the chat template of a model that thinks: its thoughts are not in its text."""

from __future__ import annotations

import pytest
from langchain_core.output_parsers import JsonOutputParser

from tests.langchain.conftest import Calls, Make
from tests.transport.answers import TEXT_BEHIND, THINKS, THOUGHT, THOUGHT_BEFORE_TEXT, THOUGHTS_OPENED
from tests.wire import Script, WireServer, chunk, completion, reply, sse


def streamed(text: str) -> Script:
    return sse(*(chunk(text[at : at + 3]) for at in range(0, len(text), 3)), chunk("", "stop"))


@pytest.mark.parametrize(
    ("template", "answer"),
    [(THINKS, THOUGHT_BEFORE_TEXT), (THOUGHTS_OPENED, THOUGHT_BEFORE_TEXT.removeprefix("<think>\n"))],
)
def test_thoughts_are_apart_from_the_text(
    wire: WireServer, make: Make, calls: Calls, template: str, answer: str
) -> None:
    wire.script(reply(completion(answer)), streamed(answer))
    llm = make(chat_template=template)
    (generation,) = calls.generate(llm, ["Where?"]).generations[0]
    assert (generation.text, generation.generation_info["reasoning_content"]) == (TEXT_BEHIND, THOUGHT)
    assert "".join(calls.stream(llm, "Where?")) == TEXT_BEHIND
    assert [body["skip_special_tokens"] for body in wire.bodies] == [False, False]


def test_thoughts_of_a_stream_are_in_the_result_of_its_run(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(streamed(THOUGHT_BEFORE_TEXT))
    (generation,) = calls.generate(make(chat_template=THINKS, streaming=True), ["Where?"]).generations[0]
    assert (generation.text, generation.generation_info["reasoning_content"]) == (TEXT_BEHIND, THOUGHT)


def test_parser_behind_the_model_reads_no_thoughts(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion(THOUGHT_BEFORE_TEXT)))
    assert calls.invoke(make(chat_template=THINKS) | JsonOutputParser(), "Where?") == {"city": "Rome"}


@pytest.mark.parametrize("template", [None, "chatml"])
def test_text_without_a_template_that_thinks_stays_as_it_is(
    wire: WireServer, make: Make, calls: Calls, template: str | None
) -> None:
    wire.script(reply(completion(THOUGHT_BEFORE_TEXT)))
    assert calls.invoke(make(chat_template=template), "Where?") == THOUGHT_BEFORE_TEXT
    assert "skip_special_tokens" not in wire.bodies[0]


def test_echoed_prompt_stays_before_the_thoughts(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion(f"<|im_start|>user\nWhere?<|im_end|>\n{THOUGHT_BEFORE_TEXT}")))
    assert calls.invoke(make(chat_template=THINKS, echo=True), "Where?").endswith(THOUGHT_BEFORE_TEXT)
