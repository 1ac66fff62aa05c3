"""The chat endpoint: the official `openai` client, calls of tools, constraints, refusals and faults."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

import paradigm_local
from paradigm_local import LocalParadigm
from paradigm_local.chat_contract import FunctionChoice, FunctionName
from paradigm_local.chat_generation import ForcedCall
from paradigm_local.engine import Engine, Piece
from paradigm_transport import CHAT_TEMPLATES, JinjaTemplate
from paradigm_transport.messages import Message, Tool, ToolCall
from tests.local.conftest import Caller

QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": CITY}}
TIME = {"type": "function", "function": {"name": "time"}}
NAMED = {"type": "function", "function": {"name": "weather"}}
OBJECT = {
    "type": "object",
    "properties": {"n": {"type": "integer", "maximum": 9, "minimum": 1}},
    "required": ["n"],
    "additionalProperties": False,
}


@pytest.fixture
def ask(local_paradigm: LocalParadigm) -> Iterator[Callable[..., Any]]:
    """Return a function that asks the real model by the official client."""
    defaults = {"model": local_paradigm.model, "messages": QUESTION, "temperature": 0, "max_tokens": 40}
    url, key = local_paradigm.base_url, local_paradigm.api_key
    with openai.OpenAI(base_url=url, api_key=key, max_retries=0) as client:
        yield lambda **fields: client.chat.completions.create(**{**defaults, **fields})


def test_openai_client_gets_an_answer(ask: Callable[..., Any]) -> None:
    answer = ask(messages=[{"role": "user", "content": "What is the capital of France?"}])
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("The capital of France is Paris.", "stop")
    assert choice.message.tool_calls is None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_stream_has_the_text_of_the_whole_answer(ask: Callable[..., Any]) -> None:
    chunks = list(ask(seed=1, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == ask(seed=1).choices[0].message.content  # with a seed, both are computed in the same way
    assert chunks[-1].usage.completion_tokens > 0


def test_stop_sequences_end_the_text(ask: Callable[..., Any]) -> None:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    (choice,) = ask(messages=question, stop=[" Paris"]).choices
    assert (choice.message.content, choice.finish_reason) == ("The capital of France is", "stop")


def test_log_probabilities_have_the_form_of_chats(ask: Callable[..., Any]) -> None:
    first, second = ask(logprobs=True, top_logprobs=2, max_tokens=2).choices[0].logprobs.content
    assert len(first.top_logprobs) == len(second.top_logprobs) == 2
    assert first.logprob == first.top_logprobs[0].logprob < 0
    assert bytes(first.bytes).decode() == first.token


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_required_call_is_made(ask: Callable[..., Any], choice: Any) -> None:
    fields = {"tools": [WEATHER], "tool_choice": choice}
    (whole,) = ask(**fields).choices
    (call,) = whole.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Paris"})
    assert (whole.message.content, whole.finish_reason) == (None, "tool_calls")
    parts = [choice.delta for chunk in ask(**fields, stream=True) for choice in chunk.choices]
    calls = [call for part in parts for call in part.tool_calls or ()]
    assert [bool(call.id) for call in calls] == [True] + [False] * (len(calls) - 1)
    assert all(len(part.tool_calls or ()) <= 1 for part in parts), "clients merge calls of several chunks only"
    assert len(calls) > 3
    assert json.loads("".join(call.function.arguments for call in calls)) == {"city": "Paris"}


def test_call_that_llama_reads_is_passed_on(ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[Any] = []

    def chat(self: Engine, body: Any, on_piece: Callable[[Piece], bool]) -> None:  # no small model calls by itself
        bodies.append(body)
        begin = {"index": 0, "id": "1", "type": "function", "function": {"name": "weather", "arguments": ""}}
        on_piece(Piece("", None, 9, 1, None, calls=[begin]))
        on_piece(Piece("", None, 9, 2, None, calls=[{"index": 0, "function": {"arguments": '{"city": "Paris"}'}}]))
        on_piece(Piece("", None, 9, 3, "tool_calls"))

    monkeypatch.setattr(Engine, "chat", chat)
    fields = {"tools": [WEATHER], "parallel_tool_calls": False}
    (whole,) = ask(**fields).choices
    (call,) = whole.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Paris"})
    assert whole.finish_reason == "tool_calls"
    parts = [choice.delta for chunk in ask(**fields, stream=True) for choice in chunk.choices]
    calls = [call for part in parts for call in part.tool_calls or ()]
    assert "".join(call.function.arguments for call in calls) == '{"city": "Paris"}'
    assert [(body["tools"][0]["function"]["name"], body["parallel_tool_calls"]) for body in bodies] == [
        ("weather", False)
    ] * 2


def test_results_are_used(ask: Callable[..., Any]) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    called = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "It is 17 degrees and foggy."},
    ]
    assert "17 degrees" in ask(messages=called, tools=[WEATHER], tool_choice="none").choices[0].message.content


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": OBJECT}}},
        {"extra_body": {"structured_outputs": {"json": OBJECT}}},
        {"extra_body": {"guided_json": OBJECT}},
    ],
)
def test_schema_is_enforced(ask: Callable[..., Any], fields: Any) -> None:
    assert json.loads(ask(**fields).choices[0].message.content)["n"] in range(1, 10)


def test_several_answers_are_numbered(ask: Callable[..., Any]) -> None:
    answer = ask(n=2, temperature=1, max_tokens=3)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage.completion_tokens == 6


def test_newer_name_of_max_tokens_wins(ask: Callable[..., Any]) -> None:
    assert ask(max_tokens=9, max_completion_tokens=2).usage.completion_tokens == 2


def test_template_gets_its_variables(ask: Callable[..., Any]) -> None:
    plain = ask(max_tokens=1)
    opened = ask(max_tokens=1, extra_body={"chat_template_kwargs": {"messages": [], "add_generation_prompt": False}})
    assert opened.usage.prompt_tokens < plain.usage.prompt_tokens


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "poet", "content": "x"}]}, "messages"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tools": [WEATHER], "response_format": {"type": "json_object"}}, "tools"),
        ({"guided_json": {}, "response_format": {"type": "json_object"}}, "guided_json"),
        ({"guided_json": {"type": "x"}}, "guided_json"),
        ({"messages": [{"role": "user", "content": "word " * 9000}]}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            "non_field_errors",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_refusal_names_the_field(caller: Caller, fields: dict[str, Any], named: str, stream: bool) -> None:
    body = {"model": caller.paradigm.model, "messages": QUESTION, "stream": stream, **fields}
    response = caller.http.post("/chat/completions", json=body)
    assert (response.status_code, list(response.json())) == (400, [named])


@pytest.mark.parametrize("stream", [False, True])
def test_key_model_and_faults_are_those_of_completions(caller: Caller, stream: bool) -> None:
    paradigm = caller.paradigm
    body = {"model": paradigm.model, "messages": QUESTION, "max_tokens": 2, "stream": stream}
    wrong = {"Authorization": "Bearer wrong"}
    assert caller.http.post("/chat/completions", json=body, headers=wrong).status_code == 401
    assert caller.http.post("/chat/completions", json={**body, "model": "x"}).status_code == 404
    paradigm.fail_next("429=3")
    refused = caller.http.post("/chat/completions", json=body)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "3")
    paradigm.fail_next("error")
    assert "because a fault was requested" in caller.http.post("/chat/completions", json=body).text
    before = len(paradigm.usage)
    assert caller.http.post("/chat/completions", json=body).status_code == 200
    assert [usage.completion_tokens for usage in paradigm.usage[before:]] == [2]


# Without a model


def test_template_writes_what_the_built_in_one_does() -> None:
    ours = JinjaTemplate(source=Path(paradigm_local.__file__).with_name("chatml_tools.jinja").read_text())
    chat = [
        Message("system", "Be brief."),
        Message("user", "How warm is it?"),
        Message("assistant", "I look.", (ToolCall("1", "weather", {"city": "Köln"}), ToolCall("2", "time", {}))),
        Message("tool", "7", tool_call_id="1"),
        Message("tool", "noon", tool_call_id="2"),
    ]
    tools = [Tool.from_openai(WEATHER), Tool.from_openai(TIME)]
    for messages in (chat, chat[1:], [*chat[1:2], Message("assistant", "", chat[2].tool_calls)]):
        for offered in (tools, []):
            assert ours.render_chat(messages, offered) == CHAT_TEMPLATES["chatml"].render_chat(messages, offered)


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("choice", ["required", FunctionChoice(type="function", function=FunctionName(name="f"))])
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_forced_call_is_sent_in_parts(size: int, choice: Any, finish: str) -> None:
    arguments = '{"a": {"b": "}"}}' if finish == "stop" else '{"a": {"b'
    call = ForcedCall(0, ["b"], 0)
    opening = call.open(choice)
    named = opening == '<tool_call>\n{"name": "f", "arguments":'
    assert named or opening == "<tool_call>\n"
    text = arguments if named else f'{{"name": "f", "arguments": {arguments}' + ("}" if finish == "stop" else "")
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    deltas = [call.feed(Piece(piece, None, 3, count, None)) for count, piece in enumerate(pieces)]
    deltas.append(call.feed(Piece("", None, 3, len(pieces), finish)))
    parts = [part["function"] for delta in deltas for part in delta.calls]
    assert [part.get("name") for part in parts] == ["f"] + [None] * (len(parts) - 1)
    assert "".join(part["arguments"] for part in parts) == arguments
    assert deltas[-1].finish_reason == ("tool_calls" if finish == "stop" else "length")
    assert not any(delta.text for delta in deltas)
