"""`ParadigmLLM` with the chat template of a model that thinks: its thoughts are not in its text."""

from __future__ import annotations

import pytest
from langchain_core.output_parsers import JsonOutputParser

from tests.langchain.conftest import Calls, Make
from tests.wire import Script, WireServer, chunk, completion, reply, sse

THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    "{# a thought stands in <think> and </think> #}"
)
OPENED = THINKS.replace("assistant\n", "assistant\n<think>\n")
ANSWER = '<think>\nIs it {"city": "Paris"}?\n</think>\n\n{"city": "Rome"}'
THOUGHT = 'Is it {"city": "Paris"}?'
TEXT = '{"city": "Rome"}'


def streamed(text: str) -> Script:
    return sse(*(chunk(text[at : at + 3]) for at in range(0, len(text), 3)), chunk("", "stop"))


@pytest.mark.parametrize(("template", "answer"), [(THINKS, ANSWER), (OPENED, ANSWER.removeprefix("<think>\n"))])
def test_thoughts_are_apart_from_the_text(
    wire: WireServer, make: Make, calls: Calls, template: str, answer: str
) -> None:
    wire.script(reply(completion(answer)), streamed(answer))
    llm = make(chat_template=template)
    (generation,) = calls.generate(llm, ["Where?"]).generations[0]
    assert (generation.text, generation.generation_info["reasoning_content"]) == (TEXT, THOUGHT)
    assert "".join(calls.stream(llm, "Where?")) == TEXT
    assert [body["skip_special_tokens"] for body in wire.bodies] == [False, False]


def test_thoughts_of_a_stream_are_in_the_result_of_its_run(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(streamed(ANSWER))
    (generation,) = calls.generate(make(chat_template=THINKS, streaming=True), ["Where?"]).generations[0]
    assert (generation.text, generation.generation_info["reasoning_content"]) == (TEXT, THOUGHT)


def test_parser_behind_the_model_reads_no_thoughts(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion(ANSWER)))
    assert calls.invoke(make(chat_template=THINKS) | JsonOutputParser(), "Where?") == {"city": "Rome"}


@pytest.mark.parametrize("template", [None, "chatml"])
def test_text_without_a_template_that_thinks_stays_as_it_is(
    wire: WireServer, make: Make, calls: Calls, template: str | None
) -> None:
    wire.script(reply(completion(ANSWER)))
    assert calls.invoke(make(chat_template=template), "Where?") == ANSWER
    assert "skip_special_tokens" not in wire.bodies[0]


def test_echoed_prompt_stays_before_the_thoughts(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion(f"<|im_start|>user\nWhere?<|im_end|>\n{ANSWER}")))
    assert calls.invoke(make(chat_template=THINKS, echo=True), "Where?").endswith(ANSWER)
