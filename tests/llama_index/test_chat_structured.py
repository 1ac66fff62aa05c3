"""Structured prediction of a chat model: by an answer under a schema, and by the call of a tool."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pytest
from llama_index.core import ChatPromptTemplate, PromptTemplate
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.prompts.default_prompt_selectors import DEFAULT_TEXT_QA_PROMPT_SEL
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, ConfigDict, Field

from llama_index_paradigm import ChatParadigm
from paradigm_transport import BadRequestError
from tests.chat_form import prompt_of
from tests.llama_index.conftest import Callbacks, Events, collected, over_completions
from tests.objects import Person
from tests.wire import Script, WireServer, chunk, completion, reply, sse, usage

Make = Callable[..., ChatParadigm]
Item = TypeVar("Item")


class River(BaseModel):
    """A river."""

    name: str
    length: int = Field(description="In kilometres.")


ASK = PromptTemplate("Tell of {what}.")
RHONE = River(name="Rhône", length=812)
RHONE_JSON = '{"name": "Rhône", "length": 812}'
OPENED = '<tool_call>\n{"name": "River", "arguments":'

SCHEMA, TOOL = PydanticProgramMode.LLM, PydanticProgramMode.DEFAULT


@pytest.fixture(params=[SCHEMA, TOOL], ids=["schema", "tool"])
def mode(request: pytest.FixtureRequest) -> PydanticProgramMode:
    """How the object comes."""
    chosen: PydanticProgramMode = request.param
    return chosen


def answer(mode: PydanticProgramMode, json: str) -> str:
    """What a model writes, where the prompt may end within a call."""
    return f" {json}}}\n" if mode is TOOL else json


def streamed(*texts: str) -> Script:
    return sse(*map(chunk, texts), chunk("", "stop"), chunk(usage=usage(3, 5)))


def test_llm_mode_asks_for_an_object_of_the_schema(
    wire: WireServer, make_chat: Make, predict: Callable[..., Any]
) -> None:
    wire.script(reply(completion(f"Here it is:\n```json\n{RHONE_JSON}\n```\nAnything else? {{}}")))
    llm = make_chat(system_prompt="Be kind.", pydantic_program_mode=SCHEMA)
    assert predict(llm, River, ASK, what="a river") == RHONE
    prompt = prompt_of(wire.bodies[0])
    assert prompt.startswith(
        "<|im_start|>system\nBe kind.\n\nAnswer with nothing but a JSON object of this JSON schema"
    )
    assert prompt.endswith("<|im_start|>user\nTell of a river.<|im_end|>\n<|im_start|>assistant\n")
    assert prompt.count("In kilometres.") == 1
    assert "structured_outputs" not in wire.bodies[0]


@pytest.mark.parametrize("named", [TOOL, PydanticProgramMode.FUNCTION])
def test_other_modes_ask_for_a_tool_call_with_the_object(
    wire: WireServer, make_chat: Make, predict: Callable[..., Any], named: PydanticProgramMode
) -> None:
    wire.script(reply(completion(f" {RHONE_JSON}}}\n")))
    llm = make_chat(system_prompt="Be kind.", pydantic_program_mode=named)
    assert predict(llm, River, ASK, what="a river") == RHONE
    prompt = prompt_of(wire.bodies[0])
    assert prompt.startswith("<|im_start|>system\nBe kind.\n\nYou can call tools.")
    assert '"name": "River", "description": "A river."' in prompt
    assert prompt.endswith(f"<|im_start|>user\nTell of a river.<|im_end|>\n<|im_start|>assistant\n{OPENED}")


@over_completions
def test_constrain_sends_the_schema_to_the_server(
    wire: WireServer, make_chat: Make, mode: PydanticProgramMode, predict: Callable[..., Any]
) -> None:
    wire.script(reply(completion(RHONE_JSON)))
    llm = make_chat(constrain="vllm", pydantic_program_mode=mode, additional_kwargs={"extra_body": {"min_p": 0.1}})
    assert predict(llm, River, ASK, {"extra_body": {"top_k": 5}, "max_tokens": 9}, what="a river") == RHONE
    body = wire.bodies[0]
    assert body["structured_outputs"]["json"]["properties"] == {
        "name": {"type": "string"},
        "length": {"type": "integer", "description": "In kilometres."},
    }
    assert [body[name] for name in ("min_p", "top_k", "max_tokens")] == [0.1, 5, 9]


def test_almost_valid_json_is_repaired_without_a_second_request(
    wire: WireServer, make_chat: Make, mode: PydanticProgramMode, predict: Callable[..., Any]
) -> None:
    wire.script(reply(completion(answer(mode, "{'name': 'Rhône', 'length': 812,}"))))
    assert predict(make_chat(pydantic_program_mode=mode), River, ASK, what="a river") == RHONE
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ('{"name": "Rhône", "length": "long"}', "length: Input should be a valid integer"),
        ('{"name": "Rhône", "leng', "the JSON object in the answer does not end"),
        ("«Rhône», 812 km", "there is no JSON object in the answer"),
    ],
)
@over_completions
def test_answer_that_does_not_fit_is_asked_for_once_more(
    wire: WireServer,
    make_chat: Make,
    mode: PydanticProgramMode,
    predict: Callable[..., Any],
    wrong: str,
    problem: str,
) -> None:
    wire.script(reply(completion(wrong)), reply(completion(answer(mode, RHONE_JSON))))
    llm = make_chat(pydantic_program_mode=mode)
    assert predict(llm, River, ASK, {"max_tokens": 9}, what="a river") == RHONE
    first, second = wire.bodies
    opened = OPENED if mode is TOOL else ""
    before = first["prompt"].removesuffix(f"<|im_start|>assistant\n{opened}")
    further = second["prompt"].removeprefix(before)
    assert further.startswith(f"<|im_start|>assistant\n{wrong}<|im_end|>\n<|im_start|>user\n")
    assert problem in further
    assert further.endswith(f"<|im_end|>\n<|im_start|>assistant\n{opened}")
    assert {**second, "prompt": ""} == {**first, "prompt": ""}


def test_second_answer_that_does_not_fit_raises_without_its_values(
    wire: WireServer, make_chat: Make, mode: PydanticProgramMode, predict: Callable[..., Any]
) -> None:
    wire.script(*[reply(completion(answer(mode, '{"name": "Rhône"}')))] * 2)
    with pytest.raises(ValueError, match="length") as raised:
        predict(make_chat(pydantic_program_mode=mode), River, ASK, what="a river")
    assert "Rhône" not in "".join(traceback.format_exception(raised.value))
    assert len(wire.requests) == 2


@pytest.mark.parametrize("route", ["chat"], indirect=True)
def test_object_that_is_not_a_call_points_to_other_ways(
    wire: WireServer, make_chat: Make, predict: Callable[..., Any], mode: PydanticProgramMode
) -> None:
    wire.always(reply(completion("It is the Rhône.")))
    with pytest.raises(ValueError, match="JSON") as caught:
        predict(make_chat(pydantic_program_mode=mode), River, ASK, what="a river")
    assert ("PydanticProgramMode.LLM needs no tool calls. If this server" in str(caught.value)) == (mode is TOOL)
    assert "PydanticProgramMode" not in prompt_of(wire.bodies[1])


def test_refused_request_is_not_repeated(wire: WireServer, chat: ChatParadigm, predict: Callable[..., Any]) -> None:
    wire.script(reply({"error": {"message": "no"}}, 400))
    with pytest.raises(BadRequestError):
        predict(chat, River, ASK, what="a river")
    assert len(wire.requests) == 1


def test_structured_predict_reports_start_chat_and_end(
    wire: WireServer,
    make_chat: Make,
    mode: PydanticProgramMode,
    predict: Callable[..., Any],
    callbacks: Callbacks,
    events: Events,
) -> None:
    wire.script(reply(completion(answer(mode, RHONE_JSON))))
    predict(make_chat(callback_manager=callbacks.manager, pydantic_program_mode=mode), River, ASK, what="a river")
    assert events.names == [
        "LLMStructuredPredictStartEvent",
        "LLMChatStartEvent",
        "LLMChatEndEvent",
        "LLMStructuredPredictEndEvent",
    ]
    assert events.seen[0].template is ASK
    assert events.seen[0].template_args == {"what": "a river"}
    assert events.seen[-1].output == RHONE
    assert len(callbacks.starts) == len(callbacks.ends) == 1


def test_stream_yields_the_object_as_it_grows(
    wire: WireServer, make_chat: Make, mode: PydanticProgramMode, stream: Callable[..., list[Any]], events: Events
) -> None:
    wire.script(streamed(" ", '{"name": "Rh', "ône", '",', ' "length":812', "}", "}\n" if mode is TOOL else " So."))
    llm = make_chat(pydantic_program_mode=mode)
    outputs = stream(llm, River, ASK, {"max_tokens": 9}, what="a river")
    assert [output.model_dump(exclude_none=True) for output in outputs] == [
        {"name": "Rh"},
        {"name": "Rhône"},
        RHONE.model_dump(),
        RHONE.model_dump(),
    ]
    assert outputs[-1] == RHONE
    assert wire.bodies[0]["max_tokens"] == 9
    assert prompt_of(wire.bodies[0]).endswith(OPENED) == (mode is TOOL)
    assert events.names.count("LLMStructuredPredictStartEvent") == 1
    assert events.names.count("LLMStructuredPredictInProgressEvent") == 4
    assert events.names.count("LLMStructuredPredictEndEvent") == 1


def test_stream_goes_on_where_a_validator_fails_for_want_of_the_rest(
    wire: WireServer, make_chat: Make, mode: PydanticProgramMode, stream: Callable[..., list[Any]]
) -> None:
    wire.script(streamed("{", '"name": "Ada', ' Love"', "}", "}" if mode is TOOL else ""))
    outputs = stream(make_chat(pydantic_program_mode=mode), Person, ASK, what="a person")
    assert [output.model_dump(exclude_none=True) for output in outputs[:2]] == [{}, {"name": "Ada"}]
    assert outputs[-1].model_dump() == {"first": "Ada", "last": "Love"}


@pytest.mark.parametrize("text", ['{"name": "Rhône", "length": 81', "No.", "{no}"])
def test_stream_with_an_incomplete_object_raises(
    wire: WireServer, make_chat: Make, mode: PydanticProgramMode, stream: Callable[..., list[Any]], text: str
) -> None:
    wire.script(sse(chunk(text[:2]), chunk(text[2:]), chunk("", "length")))
    with pytest.raises(ValueError, match=r"does not end|no JSON|not valid JSON|Invalid JSON"):
        stream(make_chat(pydantic_program_mode=mode, max_tokens=256), River, ASK, what="a river")


def test_structured_predict_accepts_chat_and_selector_prompts(
    wire: WireServer, make_chat: Make, mode: PydanticProgramMode, predict: Callable[..., Any]
) -> None:
    wire.always(reply(completion(answer(mode, RHONE_JSON))))
    llm = make_chat(pydantic_program_mode=mode)
    messages = [ChatMessage(role=MessageRole.SYSTEM, content="Be brief."), ChatMessage("Tell of {what}.")]
    assert predict(llm, River, ChatPromptTemplate(messages), what="a {river}") == RHONE
    assert prompt_of(wire.bodies[-1]).startswith("<|im_start|>system\nBe brief.\n\n")
    assert "<|im_start|>user\nTell of a {river}.<|im_end|>" in prompt_of(wire.bodies[-1])
    assert predict(llm, River, DEFAULT_TEXT_QA_PROMPT_SEL, context_str="none", query_str="what?") == RHONE


MESSAGES = [ChatMessage(role=MessageRole.SYSTEM, content="Be brief."), ChatMessage("A {river}")]


# of LlamaIndex's StructuredLLM, on its way to a message
@pytest.mark.filterwarnings("ignore:The `json` method is deprecated")
@pytest.mark.parametrize("name", ["complete", "acomplete", "chat", "achat", "stream_chat", "astream_chat"])
def test_as_structured_llm_returns_the_object_in_raw(
    wire: WireServer, make_chat: Make, mode: PydanticProgramMode, name: str
) -> None:
    structured = make_chat(pydantic_program_mode=mode).as_structured_llm(River)
    text = answer(mode, RHONE_JSON)
    wire.script(streamed(text) if "stream" in name else reply(completion(text)))
    result = getattr(structured, name)("A river" if "complete" in name else MESSAGES)
    if name == "astream_chat":
        result = asyncio.run(collected(result))[-1]
    elif name.startswith("a"):
        result = asyncio.run(result)
    elif name == "stream_chat":
        result = list(result)[-1]
    assert result.raw == RHONE
    if "chat" in name:
        assert "<|im_start|>user\nA {river}<|im_end|>" in prompt_of(wire.bodies[0])


def test_function_calling_program_adds_the_system_prompt_once(wire: WireServer, make_chat: Make) -> None:
    llm = make_chat(system_prompt="Be kind.")
    program = FunctionCallingProgram.from_defaults(River, prompt=ASK, llm=llm)
    called = f'{{"name": "River", "arguments": {RHONE_JSON}}}'
    called = f"<tool_call>{called}"  # older programs do not say that there must be a call
    wire.script(*[reply(completion(called))] * 2, streamed(called[:20], called[20:]))
    assert program(what="a river") == RHONE
    assert asyncio.run(program.acall(what="a river")) == RHONE
    assert list(program.stream_call(what="a river"))[-1] == RHONE
    assert [prompt_of(body).count("Be kind.") for body in wire.bodies] == [1, 1, 1]


def test_chat_accepts_a_schema_of_any_type(wire: WireServer, make_chat: Make) -> None:
    wire.script(reply(completion('["a"]')))
    schema = {"type": "array", "items": {"type": "string"}}
    response = make_chat(constrain="vllm").chat([ChatMessage("Hi")], schema=schema)
    assert response.message.content == '["a"]'
    assert wire.bodies[0]["structured_outputs"] == {"json": schema}


class Part(BaseModel):
    """A part."""

    name: str
    parts: list[Part] = []


@over_completions
def test_recursive_class_is_sent_with_its_schema_at_the_root(
    wire: WireServer, make_chat: Make, mode: PydanticProgramMode, predict: Callable[..., Any]
) -> None:
    wire.script(reply(completion('{"name": "car", "parts": []}')))
    assert predict(make_chat(constrain="vllm", pydantic_program_mode=mode), Part, ASK, what="a car") == Part(name="car")
    sent = wire.bodies[0]["structured_outputs"]["json"]
    for schema in (sent, sent["$defs"]["Part"]):
        assert schema["properties"]["parts"]["items"] == {"$ref": "#/$defs/Part"}
        assert schema["additionalProperties"] is False
    assert '"Part", "description": "A part."' in prompt_of(wire.bodies[0]) or mode is SCHEMA


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    items: list[Item]


class Untitled(BaseModel):
    model_config = ConfigDict(json_schema_extra=lambda schema: schema.pop("title", None))

    items: list[River]


@pytest.mark.parametrize(("kind", "name"), [(Page[River], "Page_River_"), (Untitled, "Untitled")])
def test_name_of_the_call_is_one_that_servers_take(
    wire: WireServer, make_chat: Make, predict: Callable[..., Any], kind: Any, name: str
) -> None:
    wire.script(reply(completion(answer(TOOL, f'{{"items": [{RHONE_JSON}]}}'))))
    assert predict(make_chat(), kind, ASK, what="rivers").items == [RHONE]
    assert prompt_of(wire.bodies[0]).endswith(OPENED.replace("River", name))


def test_answer_that_does_not_fit_an_enforced_schema_is_not_asked_for_again(
    wire: WireServer, make_chat: Make, mode: PydanticProgramMode, predict: Callable[..., Any]
) -> None:
    wire.always(reply(completion('{"name": "Rh', finish_reason="length")))
    with pytest.raises(ValueError, match="does not end"):
        predict(make_chat(constrain="vllm", pydantic_program_mode=mode), River, ASK, what="a river")
    assert len(wire.bodies) == 1


@pytest.mark.parametrize("text", ['{"name": "Rh', ""])
def test_prediction_that_max_tokens_cut_off_says_so_and_is_not_asked_for_again(
    wire: WireServer, make_chat: Make, mode: PydanticProgramMode, predict: Callable[..., Any], text: str
) -> None:
    wire.script(reply(completion(text, finish_reason="length")))
    with pytest.raises(ValueError, match=r"cut off at max_tokens \(9\); raise max_tokens$"):
        predict(make_chat(pydantic_program_mode=mode), River, ASK, {"max_tokens": 9}, what="a river")
    assert len(wire.requests) == 1


@over_completions
def test_second_answer_that_max_tokens_cut_off_says_so(
    wire: WireServer, make_chat: Make, mode: PydanticProgramMode, predict: Callable[..., Any]
) -> None:
    wire.script(
        reply(completion(answer(mode, '{"name": "Rhône"}'))), reply(completion('{"name": "Rh', finish_reason="length"))
    )
    with pytest.raises(ValueError, match=r"cut off at max_tokens \(2048\); raise max_tokens$"):
        predict(make_chat(pydantic_program_mode=mode), River, ASK, what="a river")


def test_whole_object_that_does_not_fit_is_asked_for_again_even_if_the_text_after_it_was_cut_off(
    wire: WireServer, make_chat: Make, mode: PydanticProgramMode, predict: Callable[..., Any]
) -> None:
    wrong = answer(mode, '{"name": "Rhône", "length": "long"}') + " So"
    wire.script(reply(completion(wrong, finish_reason="length")), reply(completion(answer(mode, RHONE_JSON))))
    assert predict(make_chat(pydantic_program_mode=mode), River, ASK, what="a river") == RHONE


@pytest.mark.parametrize("text", ['{"name": "Rh', "", "Well"])
@pytest.mark.parametrize(("limit", "named"), [(9, r"max_tokens \(9\)"), (None, "max_tokens")])
def test_streamed_prediction_that_max_tokens_cut_off_says_so(
    wire: WireServer,
    make_chat: Make,
    mode: PydanticProgramMode,
    stream: Callable[..., Any],
    text: str,
    limit: int | None,
    named: str,
) -> None:
    wire.script(sse(chunk(text), chunk("", "length"), chunk(usage=usage(3, 5))))
    llm = make_chat(pydantic_program_mode=mode, max_tokens=None, additional_kwargs={"max_tokens": limit})
    with pytest.raises(ValueError, match=f"cut off at {named}; raise max_tokens$"):
        stream(llm, River, ASK, what="a river")


def test_prediction_ignores_what_says_how_programs_call(
    wire: WireServer, make_chat: Make, mode: PydanticProgramMode
) -> None:
    wire.script(reply(completion(answer(mode, RHONE_JSON))))
    ways = {"allow_parallel_tool_calls": True, "tool_choice": "auto", "tool_required": True}
    llm = make_chat(pydantic_program_mode=mode)
    assert llm.structured_predict(River, ASK, llm_kwargs={**ways, "top_p": 0.5}, what="it") == RHONE
    assert wire.bodies[0]["top_p"] == 0.5
