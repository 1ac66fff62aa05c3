"""A chat as a request: what is written, what the server is told, how the answer is read."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from paradigm_transport import CHAT_TEMPLATES, InvalidParameterError, JinjaTemplate
from paradigm_transport.chat.dialects.hermes import Answer, TextPiece
from paradigm_transport.chat.routes import ParadigmChatModel, repair
from paradigm_transport.messages import Message, OneTool, Tool, ToolCall, call_schema

HELLO = [Message("user", "Hello")]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOSED = {**CITY, "additionalProperties": False}
WEATHER, TIME = Tool("weather", "", CITY), Tool("time")


def model(**arguments: Any) -> ParadigmChatModel:
    return ParadigmChatModel(**{"model": "m", "api_key": "k", "chat_template": "chatml", **arguments})


def test_messages_alone() -> None:
    request = model(stop="x").chat_request(HELLO, overrides={"temperature": 0})
    assert request.prompt == CHAT_TEMPLATES["chatml"].render_prompt("Hello")
    assert request.parameters.stop == ["<|im_end|>", "x"]
    assert request.parameters.temperature == 0
    assert request.parameters.extra_body is None
    assert request.reader().feed("<tool_call>") == [TextPiece("<tool_call>")]


def test_tools_that_may_be_called() -> None:
    request = model().chat_request(HELLO, tools=[WEATHER, TIME], stop=["x"])
    assert '"name": "weather"' in request.prompt
    assert request.prompt.endswith("Hello<|im_end|>\n<|im_start|>assistant\n")
    assert request.parameters.stop == ["<|im_end|>", "x"]
    answer = request.reader().read('Yes.\n<tool_call>{"name": "time"}</tool_call>')
    assert (answer.text, [call.name for call in answer.calls]) == ("Yes.", ["time"])
    assert request.reader() is not request.reader()


def test_no_tool_may_be_called() -> None:
    request = model().chat_request(HELLO, tools=[TIME], tool_choice="none")
    assert request.prompt == CHAT_TEMPLATES["chatml"].render_prompt("Hello")
    assert request.parameters.stop == ["<|im_end|>", "<tool_call>"]
    after_a_call = [*HELLO, Message("assistant", "", (ToolCall("1", "time", {}),)), Message("tool", "noon")]
    for messages in (after_a_call, after_a_call[2:]):
        request = model().chat_request(messages)
        assert request.parameters.stop == ["<|im_end|>", "<tool_call>"]
        assert request.reader().read("<tool_response>\nNoon.\n").text == "Noon.\n"


def test_a_tool_must_be_called() -> None:
    request = model().chat_request(HELLO, tools=[WEATHER, TIME], tool_choice="any")
    assert request.prompt.endswith("<|im_start|>assistant\n<tool_call>\n")
    assert request.parameters.stop == ["<|im_end|>"]
    assert request.parameters.extra_body is None
    assert request.reader().read('{"name": "time"}').calls[0].name == "time"


def test_one_tool_must_be_called() -> None:
    request = model().chat_request(HELLO, tools=[WEATHER, TIME], tool_choice=OneTool("weather"))
    assert request.prompt.endswith('<|im_start|>assistant\n<tool_call>\n{"name": "weather", "arguments":')
    assert '"name": "time"' in request.prompt
    assert request.parameters.stop == ["<|im_end|>", "</tool_call>"]
    answer = request.reader().read(' {"city": "Rome"}}\n```\nIt is sunny. <tool_call>{"name": "time"}</tool_call>')
    assert [(call.name, call.arguments) for call in answer.calls] == [("weather", {"city": "Rome"})]
    assert answer.text == ""


def test_one_call_at_most() -> None:
    request = model().chat_request(HELLO, tools=[WEATHER, TIME], parallel=False)
    assert request.parameters.stop == ["<|im_end|>", "</tool_call>"]
    assert model().chat_request(HELLO, parallel=False).parameters.stop == ["<|im_end|>"]
    answer = request.reader().read('Yes. <tool_call>{"a": 1}{"name": "time"}, {"name": "weather"}</tool_call> So.')
    assert (answer.text, [call.name for call in answer.calls], len(answer.invalid)) == ("Yes.", ["time"], 1)


def test_a_tool_may_be_called_any() -> None:
    request = model().chat_request(HELLO, tools=[Tool("any"), TIME], tool_choice=OneTool("any"))
    assert request.prompt.endswith('{"name": "any", "arguments":')


def test_a_call_that_must_be_is_constrained() -> None:
    constrained = model(constrain="vllm")
    both = constrained.chat_request(HELLO, tools=[WEATHER, TIME], tool_choice="any")
    assert both.parameters.extra_body == {"structured_outputs": {"json": call_schema([WEATHER, TIME])}}
    assert both.parameters.stop == ["<|im_end|>"]
    one = constrained.chat_request(HELLO, tools=[WEATHER, TIME], tool_choice=OneTool("weather"))
    assert one.parameters.extra_body == {"structured_outputs": {"json": CLOSED}}
    assert constrained.chat_request(HELLO, tools=[TIME]).parameters.extra_body is None


def test_an_answer_under_a_schema() -> None:
    request = model().chat_request(HELLO, schema=CITY)
    assert '"required": ["city"]}<|im_end|>' in request.prompt
    assert request.parameters.extra_body is None
    constrained = model(constrain="vllm").chat_request([Message("system", "Be brief."), *HELLO], schema=CITY)
    assert constrained.prompt.startswith("<|im_start|>system\nBe brief.\n\n")
    assert constrained.parameters.extra_body == {"structured_outputs": {"json": CLOSED}}
    assert constrained.reader().read('{"city": "<tool_call>"}') == Answer('{"city": "<tool_call>"}')


def test_an_answer_under_a_schema_or_a_call() -> None:
    request = model(constrain="vllm").chat_request(HELLO, schema=CITY, tools=[TIME])
    assert request.parameters.extra_body is None
    assert '"required": ["city"]}\n\nYou can call tools.' in request.prompt
    assert request.reader().read('<tool_call>{"name": "time"}').calls


def test_the_callers_own_fields_win() -> None:
    own = model(constrain="vllm", extra_body={"top_k": 1, "seed": 1})
    request = own.chat_request(HELLO, schema=CITY, overrides={"extra_body": {"seed": 2}})
    assert request.parameters.extra_body == {"structured_outputs": {"json": CLOSED}, "top_k": 1, "seed": 2}
    mine = {"structured_outputs": {"regex": "x"}}
    assert own.chat_request(HELLO, schema=CITY, overrides={"extra_body": mine}).parameters.extra_body == {
        **mine,
        "top_k": 1,
        "seed": 1,
    }
    with pytest.raises(InvalidParameterError, match="extra_body"):
        own.chat_request(HELLO, schema=CITY, overrides={"extra_body": 3})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tool_choice": "any"}, "tool_choice: a tool must be called, and there is none"),
        (
            {"tools": [TIME, WEATHER], "tool_choice": OneTool("x")},
            "tool_choice: there is no tool named x; known are: time, weather",
        ),
        ({"overrides": {"echo": True}}, "echo gives the prompt back"),
        ({"overrides": {"n": 2}, "stream": True}, "n must be 1 while streaming"),
        ({"overrides": {"temperatur": 2}}, "did you mean temperature"),
    ],
)
def test_what_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        model().chat_request(HELLO, **options)


def test_a_template_is_required() -> None:
    with pytest.raises(InvalidParameterError, match=r"^chat_template is required$"):
        ParadigmChatModel(model="m", api_key="k")  # type: ignore[call-arg]
    for none_such in (None, "x"):
        with pytest.raises(InvalidParameterError, match="chat_template: ") as raised:
            model(chat_template=none_such)
        assert "\n" not in str(raised.value)
        assert "chat_template: chat_template" not in str(raised.value)


def test_a_template_in_jinja() -> None:
    source = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ tools | length if tools }}"
    request = model(chat_template=source).chat_request(HELLO, tools=[TIME])
    assert request.prompt == "user: Hello\n1"
    assert request.parameters.stop is None
    assert model(chat_template=source).chat_request(HELLO).parameters.stop is None
    with_end = pickle.loads(pickle.dumps(model(chat_template=JinjaTemplate(source=source, eos_token="</s>"))))
    assert with_end.chat_request(HELLO).parameters.stop == ["</s>"]
    with pytest.raises(InvalidParameterError, match="it is no Jinja template"):
        model(chat_template="{% if %}")


def test_an_attempt_at_repair() -> None:
    answer, request = repair("Rome", "it is no JSON")
    assert answer == Message("assistant", "Rome")
    assert request.role == "user"
    assert "it is no JSON" in request.content
