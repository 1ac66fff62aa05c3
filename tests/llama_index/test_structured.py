"""Structured prediction: pydantic objects out of a model that completes text."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import ChatPromptTemplate, PromptTemplate, SelectorPromptTemplate
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.prompts import RichPromptTemplate
from llama_index.core.prompts.default_prompt_selectors import DEFAULT_TEXT_QA_PROMPT_SEL
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, Field

from llama_index_paradigm import ParadigmLLM
from paradigm_transport import BadRequestError, InvalidParameterError
from tests.chat_form import prompt_of
from tests.llama_index.conftest import Callbacks, Events, Spans, blocks_of_text, collected, needs_citable_blocks
from tests.wire import WireServer, chunk, completion, reply, sse, usage

Make = Callable[..., ParadigmLLM]


class River(BaseModel):
    """A river."""

    name: str
    length: int = Field(description="In kilometres.")


class Country(BaseModel):
    """A country."""

    name: str
    rivers: list[River]


ASK = PromptTemplate("Tell of {what}.")
RHONE = River(name="Rhône", length=812)
RHONE_JSON = '{"name": "Rhône", "length": 812}'


@pytest.mark.parametrize(
    "answer",
    [
        RHONE_JSON,
        f"Here it is:\n```json\n{RHONE_JSON}\n```\nAnything else? {{}}",
        f'{RHONE_JSON}\n\nTell of the "Rhine".\n{{"name": "Rhine"}}',
        '{"name": "Rhône", "length": 812, "note": "a } and a \\" and a {"}',
    ],
    ids=["alone", "in a fence", "and more", "braces in strings"],
)
def test_structured_predict_reads_the_first_object_of_the_answer(
    wire: WireServer, llm: ParadigmLLM, predict: Callable[..., Any], answer: str
) -> None:
    wire.script(reply(completion(answer)))
    assert predict(llm, River, ASK, what="a river") == RHONE
    assert len(wire.requests) == 1


def test_structured_predict_reads_nested_objects(
    wire: WireServer, llm: ParadigmLLM, predict: Callable[..., Any]
) -> None:
    wire.script(reply(completion(f'{{"name": "France", "rivers": [{RHONE_JSON}]}} and so on')))
    assert predict(llm, Country, ASK, what="a country") == Country(name="France", rivers=[RHONE])


def test_prompt_contains_system_prompt_request_and_schema(
    wire: WireServer, make_llm: Make, predict: Callable[..., Any]
) -> None:
    wire.script(reply(completion(RHONE_JSON)))
    predict(make_llm(system_prompt="Be kind."), River, ASK, what="a river")
    prompt = prompt_of(wire.bodies[0])
    assert prompt.startswith("Be kind.\n\nTell of a river.\n\n")
    assert '"properties": {"name": {"title": "Name", "type": "string"}' in prompt
    assert "{{" not in prompt


def test_request_and_schema_are_in_one_turn(wire: WireServer, make_llm: Make, predict: Callable[..., Any]) -> None:
    llm = make_llm(chat_template="chatml", system_prompt="Be kind.")
    wire.script(reply(completion(RHONE_JSON)), reply(completion(RHONE_JSON)))
    predict(llm, River, ASK, what="a river")
    prompt = prompt_of(wire.bodies[0])
    begin = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nTell of a river.\n\n"
    assert prompt.startswith(begin)
    assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert prompt.count("<|im_start|>") == 3
    predict(llm, River, ChatPromptTemplate([ChatMessage("Tell of {what}.")]), what="a river")
    assert prompt_of(wire.bodies[1]) == prompt


@pytest.mark.parametrize("chat_template", [None, "chatml"])
def test_images_are_refused_before_a_request(
    wire: WireServer, make_llm: Make, predict: Callable[..., Any], stream: Callable[..., Any], chat_template: Any
) -> None:
    prompt = ChatPromptTemplate([ChatMessage(blocks=[TextBlock(text="Which?"), ImageBlock(image=b"iVBORw0KGgo=")])])
    for call in (predict, stream):
        with pytest.raises(InvalidParameterError, match="image"):
            call(make_llm(chat_template=chat_template), River, prompt)
    assert not wire.requests


@needs_citable_blocks
def test_text_of_citable_blocks_and_citations_is_sent(
    wire: WireServer, llm: ParadigmLLM, predict: Callable[..., Any]
) -> None:
    wire.script(reply(completion("No.")), reply(completion(RHONE_JSON)))
    assert predict(llm, River, ChatPromptTemplate([ChatMessage(blocks=blocks_of_text("A", "river", "!"))])) == RHONE
    assert ["\nriver\n!" in prompt_of(body) for body in wire.bodies] == [True, True]  # the schema stands before it


RICH = RichPromptTemplate("Tell of {{ what }}.")
IN_A_SELECTOR = SelectorPromptTemplate(RICH)


@pytest.mark.parametrize("rich", [RICH, IN_A_SELECTOR], ids=["alone", "selected"])
@pytest.mark.parametrize("arguments", [{}, {"chat_template": "chatml"}, {"completion_to_prompt": "[{}]".format}])
def test_rich_prompts_are_formatted_like_others(
    wire: WireServer, make_llm: Make, predict: Callable[..., Any], stream: Callable[..., Any], rich: Any, arguments: Any
) -> None:
    llm = make_llm(system_prompt="Be kind.", **arguments)
    for call in (predict, stream):
        for prompt in (ASK, rich):
            wire.script(reply(completion(RHONE_JSON)) if call is predict else sse(chunk(RHONE_JSON, "stop")))
            call(llm, River, prompt, what="a {river}")
    first, *others = [prompt_of(body) for body in wire.bodies]
    assert "Tell of a {river}.\n\n" in first
    assert "JSON schema" in first
    assert others == [first] * 3


def test_schema_is_not_left_in_the_prompt_template(
    wire: WireServer, llm: ParadigmLLM, predict: Callable[..., Any]
) -> None:
    wire.always(reply(completion(RHONE_JSON)))
    for prompt in (ASK, DEFAULT_TEXT_QA_PROMPT_SEL):
        arguments = dict.fromkeys(prompt.template_vars, "a river")
        predict(llm, River, prompt, **arguments)
        assert "JSON schema" in prompt_of(wire.bodies[-1])
        assert getattr(prompt, "default_template", prompt).output_parser is None
        llm.predict(prompt, **arguments)
        assert "JSON schema" not in prompt_of(wire.bodies[-1])


def test_structured_outputs_sends_the_schema_to_the_server(
    wire: WireServer, make_llm: Make, predict: Callable[..., Any]
) -> None:
    wire.script(reply(completion(RHONE_JSON)), reply(completion(RHONE_JSON)))
    predict(make_llm(extra_body={"seed": 1}), River, ASK, what="a river")
    assert "structured_outputs" not in wire.bodies[0]
    llm = make_llm(structured_outputs="vllm", extra_body={"seed": 1}, additional_kwargs={"extra_body": {"min_p": 0.1}})
    predict(llm, River, ASK, {"extra_body": {"top_k": 5}, "max_tokens": 9}, what="a river")
    body = wire.bodies[1]
    assert body["structured_outputs"] == {"json": River.model_json_schema()}
    assert [body[name] for name in ("seed", "min_p", "top_k", "max_tokens")] == [1, 0.1, 5, 9]


def test_schema_that_the_model_repeats_does_not_hide_the_object(
    wire: WireServer, make_llm: Make, make_chat: Callable[..., Any], predict: Callable[..., Any]
) -> None:
    wire.always(reply(completion(f"{json.dumps(River.model_json_schema())} So: {RHONE_JSON}")))
    for llm in (make_llm(), make_chat(pydantic_program_mode=PydanticProgramMode.LLM)):
        assert predict(llm, River, ASK, what="a river") == RHONE


def test_constrain_sends_the_closed_schema_to_the_server(
    wire: WireServer, make_llm: Make, predict: Callable[..., Any]
) -> None:
    wire.script(reply(completion(f'{{"name": "France", "rivers": [{RHONE_JSON}]}}')))
    llm = make_llm(constrain="vllm", structured_outputs="vllm", extra_body={"seed": 1})
    predict(llm, Country, ASK, {"extra_body": {"top_k": 5}}, what="a country")
    schema = wire.bodies[0]["structured_outputs"]["json"]
    for closed in (schema, schema["$defs"]["River"]):
        assert closed["additionalProperties"] is False
    assert [wire.bodies[0][name] for name in ("seed", "top_k")] == [1, 5]


def test_constrain_and_chat_paradigm_send_the_same_schema(
    wire: WireServer, make_llm: Make, make_chat: Callable[..., Any], predict: Callable[..., Any]
) -> None:
    wire.always(reply(completion(RHONE_JSON)))
    predict(make_llm(constrain="vllm"), River, ASK, what="a river")
    chat = make_chat(constrain="vllm", pydantic_program_mode=PydanticProgramMode.LLM)
    predict(chat, River, ASK, what="a river")
    first, second = [body["structured_outputs"] for body in wire.bodies]
    assert first == second


@pytest.mark.parametrize("where", ["constructor", "additional_kwargs", "call"])
@pytest.mark.parametrize("argument", ["constrain", "structured_outputs"])
def test_extra_body_of_the_user_wins_over_the_schema(
    wire: WireServer, make_llm: Make, predict: Callable[..., Any], argument: str, where: str
) -> None:
    wire.script(reply(completion(RHONE_JSON)))
    own = {"extra_body": {"structured_outputs": {"regex": "x"}}}
    arguments: Any = {"constructor": own, "additional_kwargs": {"additional_kwargs": own}, "call": {}}[where]
    llm = make_llm(**{argument: "vllm"}, **arguments)
    predict(llm, River, ASK, own if where == "call" else None, what="a river")
    assert wire.bodies[0]["structured_outputs"] == {"regex": "x"}


@pytest.mark.parametrize("argument", ["constrain", "structured_outputs"])
def test_malformed_extra_body_is_reported_as_such(
    wire: WireServer, make_llm: Make, predict: Callable[..., Any], argument: str
) -> None:
    with pytest.raises(InvalidParameterError, match="extra_body"):
        predict(make_llm(**{argument: "vllm"}), River, ASK, {"extra_body": 7}, what="a river")
    assert not wire.requests


def test_answer_that_does_not_fit_an_enforced_schema_is_not_asked_for_again(
    wire: WireServer, make_llm: Make, predict: Callable[..., Any]
) -> None:
    wire.script(reply(completion('{"name": "Rh', finish_reason="length")))
    with pytest.raises(ValueError, match="does not end"):
        predict(make_llm(constrain="vllm", max_tokens=256), River, ASK, what="a river")
    assert len(wire.requests) == 1


@pytest.mark.parametrize("argument", ["constrain", "structured_outputs"])
def test_unknown_structured_outputs_are_refused(make_llm: Make, argument: str) -> None:
    with pytest.raises(InvalidParameterError, match=rf"{argument}.*vllm"):
        make_llm(**{argument: "grammar"})


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("The Rhône, 812 km.", "there is no JSON object in the answer"),
        ('{"name": "Rhône", "length": "long"}', "length: Input should be a valid integer"),
        ('{"name": "Rhône", "leng', "the JSON object in the answer does not end"),
    ],
)
def test_answer_that_does_not_fit_is_asked_for_once_more(
    wire: WireServer, make_llm: Make, predict: Callable[..., Any], answer: str, problem: str
) -> None:
    wire.script(reply(completion(answer)), reply(completion(RHONE_JSON)))
    llm = make_llm(chat_template="chatml", structured_outputs="vllm")
    assert predict(llm, River, ASK, {"max_tokens": 9}, what="a {river}") == RHONE
    first, second = wire.bodies
    assert second["prompt"].startswith("<|im_start|>user\nTell of a {river}.\n\n")
    assert second["prompt"].count("<|im_start|>") == 2
    for told in (answer, problem, "JSON schema"):
        assert told in second["prompt"]
    assert {**second, "prompt": ""} == {**first, "prompt": ""}


def test_second_answer_that_does_not_fit_raises_without_its_values(
    wire: WireServer, llm: ParadigmLLM, predict: Callable[..., Any]
) -> None:
    wire.script(reply(completion("No.")), reply(completion('{"name": "Rhône"}')))
    with pytest.raises(ValueError, match="length") as raised:
        predict(llm, River, ASK, what="a river")
    assert "Rhône" not in "".join(traceback.format_exception(raised.value))
    assert len(wire.requests) == 2


def test_refused_request_is_not_repeated(wire: WireServer, llm: ParadigmLLM, predict: Callable[..., Any]) -> None:
    wire.script(reply({"error": {"message": "no"}}, 400))
    with pytest.raises(BadRequestError):
        predict(llm, River, ASK, what="a river")
    assert len(wire.requests) == 1


def test_structured_predict_reports_events_and_spans(
    wire: WireServer,
    make_llm: Make,
    predict: Callable[..., Any],
    callbacks: Callbacks,
    events: Events,
    spans: Spans,
) -> None:
    wire.script(reply(completion(RHONE_JSON)))
    predict(make_llm(callback_manager=callbacks.manager), River, ASK, what="a river")
    assert events.names == [
        "LLMStructuredPredictStartEvent",
        "LLMCompletionStartEvent",
        "LLMCompletionEndEvent",
        "LLMStructuredPredictEndEvent",
    ]
    assert events.seen[0].output_cls is River
    assert events.seen[-1].output == RHONE
    assert [name.split("-")[0].split(".")[1].removeprefix("a") for name in spans.entered] == [
        "structured_predict",
        "complete",
    ]
    assert len(callbacks.starts) == len(callbacks.ends) == 1


def test_stream_yields_the_object_as_it_grows(
    wire: WireServer, llm: ParadigmLLM, stream: Callable[..., list[Any]]
) -> None:
    pieces = ["Well: ", '{"name": "Rh', 'ône", ', '"length": 812', "} So", " much"]
    wire.script(sse(*map(chunk, pieces), chunk("", "stop")))
    outputs = stream(llm, River, ASK, what="a river")
    assert [output.model_dump(exclude_none=True) for output in outputs] == [
        {"name": "Rh"},
        {"name": "Rhône"},
        RHONE.model_dump(),
        RHONE.model_dump(),
    ]
    assert outputs[-1] == RHONE


def test_streams_send_the_same_request_and_report_progress(
    wire: WireServer, make_llm: Make, stream: Callable[..., list[Any]], events: Events
) -> None:
    llm = make_llm(structured_outputs="vllm", chat_template="chatml", system_prompt="Be kind.")
    wire.script(reply(completion(RHONE_JSON)), sse(chunk(RHONE_JSON, "stop")))
    llm.structured_predict(River, ASK, {"max_tokens": 9}, what="a river")
    stream(llm, River, ASK, {"max_tokens": 9}, what="a river")
    whole, streamed = wire.bodies
    assert {name: streamed[name] for name in whole} == whole
    assert events.names.count("LLMStructuredPredictStartEvent") == 2
    assert events.names.count("LLMStructuredPredictEndEvent") == 2
    assert "LLMStructuredPredictInProgressEvent" in events.names


@pytest.mark.parametrize("answer", ['{"name": "Rhône", "length": 81', "", "No."])
def test_stream_with_an_incomplete_object_raises(
    wire: WireServer, llm: ParadigmLLM, stream: Callable[..., list[Any]], answer: str
) -> None:
    wire.script(sse(chunk(answer), chunk("", "length")))
    with pytest.raises(ValueError, match=r"does not end|no JSON object"):
        stream(llm, River, ASK, what="a river")


MESSAGES = [ChatMessage(role=MessageRole.SYSTEM, content="Be brief."), ChatMessage("A {river}")]


# of LlamaIndex's StructuredLLM, on its way to a message
@pytest.mark.filterwarnings("ignore:The `json` method is deprecated")
@pytest.mark.parametrize("name", ["complete", "acomplete", "chat", "achat", "stream_chat", "astream_chat"])
def test_as_structured_llm_returns_the_object_in_raw(wire: WireServer, make_llm: Make, name: str) -> None:
    structured = make_llm(chat_template="chatml").as_structured_llm(River)
    wire.script(sse(chunk(RHONE_JSON, "stop")) if "stream" in name else reply(completion(RHONE_JSON)))
    result = getattr(structured, name)("A river" if "complete" in name else MESSAGES)
    if name == "astream_chat":
        result = asyncio.run(collected(result))[-1]
    elif name.startswith("a"):
        result = asyncio.run(result)
    elif name == "stream_chat":
        result = list(result)[-1]
    assert result.raw == RHONE
    prompt = prompt_of(wire.bodies[0])
    if "chat" in name:
        assert prompt.startswith("<|im_start|>system\nBe brief.")
        assert "<|im_start|>user\nA {river}<|im_end|>" in prompt
    assert "JSON schema" in prompt


@pytest.mark.parametrize("mode", [PydanticProgramMode.DEFAULT, PydanticProgramMode.LLM])
def test_program_modes_default_and_llm_complete_text(
    wire: WireServer, make_llm: Make, mode: PydanticProgramMode
) -> None:
    wire.script(reply(completion(RHONE_JSON)))
    assert make_llm(pydantic_program_mode=mode).structured_predict(River, ASK, what="a river") == RHONE


@pytest.mark.parametrize("text", ['{"name": "Rh', ""])
def test_prediction_that_max_tokens_cut_off_says_so_and_is_not_asked_for_again(
    wire: WireServer, make_llm: Make, predict: Callable[..., Any], text: str
) -> None:
    wire.script(reply(completion(text, finish_reason="length")))
    with pytest.raises(ValueError, match=r"cut off at max_tokens \(9\); raise max_tokens$"):
        predict(make_llm(), River, ASK, {"max_tokens": 9}, what="a river")
    assert len(wire.requests) == 1


def test_second_answer_that_max_tokens_cut_off_says_so(
    wire: WireServer, make_llm: Make, predict: Callable[..., Any]
) -> None:
    wire.script(reply(completion("No.")), reply(completion('{"name": "Rh', finish_reason="length")))
    with pytest.raises(ValueError, match=r"cut off at max_tokens \(256\); raise max_tokens$"):
        predict(make_llm(), River, ASK, what="a river")


def test_whole_object_that_does_not_fit_is_asked_for_again_even_if_the_text_after_it_was_cut_off(
    wire: WireServer, make_llm: Make, predict: Callable[..., Any]
) -> None:
    wrong = '{"name": "Rhône", "length": "long"} So '
    wire.script(reply(completion(wrong, finish_reason="length")), reply(completion(RHONE_JSON)))
    assert predict(make_llm(), River, ASK, what="a river") == RHONE


@pytest.mark.parametrize("text", ['{"name": "Rh', "", "Well"])
@pytest.mark.parametrize(("limit", "named"), [(9, r"max_tokens \(9\)"), (None, "max_tokens")])
def test_streamed_prediction_that_max_tokens_cut_off_says_so(
    wire: WireServer, make_llm: Make, stream: Callable[..., Any], text: str, limit: int | None, named: str
) -> None:
    wire.script(sse(chunk(text), chunk("", "length"), chunk(usage=usage(3, 5))))
    llm = make_llm(max_tokens=None, additional_kwargs={"max_tokens": limit})
    with pytest.raises(ValueError, match=f"cut off at {named}; raise max_tokens$"):
        stream(llm, River, ASK, what="a river")
