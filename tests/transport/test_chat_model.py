"""Chat requests: the rendered prompt, the fields that are sent, the reader of the completion."""

from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import pytest

from paradigm_transport import CHAT_TEMPLATES, InvalidParameterError, JinjaTemplate
from paradigm_transport.chat.dialects.base import read_message
from paradigm_transport.chat.events import ParsedMessage, Text
from paradigm_transport.chat.fields import ChatFields
from paradigm_transport.chat.message_route import MessageRoute, route_of
from paradigm_transport.chat.prompt_route import PromptRoute
from paradigm_transport.chat.routes import ChatRequest
from paradigm_transport.chat.structured import call_schema, repair_messages
from paradigm_transport.chat.template_fields import TemplateFields
from paradigm_transport.endpoints.completions.fields import CompletionFields, CompletionParameters
from paradigm_transport.endpoints.completions.reply import Choice, Completion, CompletionChunk
from paradigm_transport.messages import Message, NamedTool, Tool, ToolCall

HELLO = [Message("user", "Hello")]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOSED = {**CITY, "additionalProperties": False}
WEATHER, TIME = Tool("weather", "", CITY), Tool("time")


class Fields(ChatFields, CompletionFields):
    """The fields of a chat model, without a framework."""


class Asked:
    """What a route makes of a chat: the prompt, the parameters, a reader of the completion."""

    def __init__(self, fields: Fields, request: ChatRequest, overrides: dict[str, Any], stream: bool) -> None:
        route = PromptRoute.of(fields)
        call = (route.stream_call if stream else route.call)(request, fields, overrides)
        self.prompt, self.parameters = call.prompt, call.parameters
        self.reader = partial(route.reader, request)


class Model:
    def __init__(self, **arguments: Any) -> None:
        self.fields = Fields(**{"model": "m", "chat_template": "chatml", **arguments})

    def chat_request(
        self,
        messages: list[Message],
        stop: list[str] | None = None,
        overrides: dict[str, Any] | None = None,
        stream: bool = False,
        **chat: Any,
    ) -> Asked:
        stops = {} if stop is None else {"stop": stop}
        return Asked(self.fields, ChatRequest(messages, **chat), {**(overrides or {}), **stops}, stream)


def model(**arguments: Any) -> Model:
    return Model(**arguments)


def test_messages_without_tools_are_written_in_template() -> None:
    request = model(stop="x").chat_request(HELLO, overrides={"temperature": 0})
    assert request.prompt == CHAT_TEMPLATES["chatml"].render_prompt("Hello")
    assert request.parameters.stop == ["<|im_end|>", "x"]
    assert request.parameters.temperature == 0
    assert request.parameters.extra_body is None
    assert request.reader().feed("<tool_call>") == [Text("<tool_call>")]


def test_optional_tools_are_described_and_calls_are_read() -> None:
    request = model().chat_request(HELLO, tools=[WEATHER, TIME], stop=["x"])
    assert '"name": "weather"' in request.prompt
    assert request.prompt.endswith("Hello<|im_end|>\n<|im_start|>assistant\n")
    assert request.parameters.stop == ["<|im_end|>", "x"]
    answer = read_message(request.reader(), 'Yes.\n<tool_call>{"name": "time"}</tool_call>')
    assert (answer.text, [call.name for call in answer.calls]) == ("Yes.", ["time"])
    assert request.reader() is not request.reader()


def test_chat_without_callable_tools_stops_before_tool_call() -> None:
    request = model().chat_request(HELLO, tools=[TIME], tool_choice="none")
    assert request.prompt == CHAT_TEMPLATES["chatml"].render_prompt("Hello")
    assert request.parameters.stop == ["<|im_end|>", "<tool_call>"]
    after_a_call = [*HELLO, Message("assistant", "", (ToolCall("1", "time", {}),)), Message("tool", "noon")]
    for messages in (after_a_call, after_a_call[2:]):
        request = model().chat_request(messages)
        assert request.parameters.stop == ["<|im_end|>", "<tool_call>"]
        assert read_message(request.reader(), "<tool_response>\nNoon.\n").text == "Noon.\n"


def test_tool_choice_any_prefills_mark_of_call() -> None:
    request = model().chat_request(HELLO, tools=[WEATHER, TIME], tool_choice="any")
    assert request.prompt.endswith("<|im_start|>assistant\n<tool_call>\n")
    assert request.parameters.stop == ["<|im_end|>"]
    assert request.parameters.extra_body is None
    assert read_message(request.reader(), '{"name": "time"}').calls[0].name == "time"


def test_named_tool_choice_prefills_name_and_allows_one_call() -> None:
    request = model().chat_request(HELLO, tools=[WEATHER, TIME], tool_choice=NamedTool("weather"))
    assert request.prompt.endswith('<|im_start|>assistant\n<tool_call>\n{"name": "weather", "arguments":')
    assert '"name": "time"' in request.prompt
    assert request.parameters.stop == ["<|im_end|>", "</tool_call>"]
    answer = read_message(
        request.reader(), ' {"city": "Rome"}}\n```\nIt is sunny. <tool_call>{"name": "time"}</tool_call>'
    )
    assert [(call.name, call.arguments) for call in answer.calls] == [("weather", {"city": "Rome"})]
    assert answer.text == ""


def test_without_parallel_tool_calls_only_first_call_is_read() -> None:
    request = model().chat_request(HELLO, tools=[WEATHER, TIME], parallel_tool_calls=False)
    assert request.parameters.stop == ["<|im_end|>", "</tool_call>"]
    assert model().chat_request(HELLO, parallel_tool_calls=False).parameters.stop == ["<|im_end|>"]
    answer = read_message(
        request.reader(), 'Yes. <tool_call>{"a": 1}{"name": "time"}, {"name": "weather"}</tool_call> So.'
    )
    assert (answer.text, [call.name for call in answer.calls], len(answer.invalid_calls)) == ("Yes.", ["time"], 1)


def test_tool_may_be_named_any() -> None:
    request = model().chat_request(HELLO, tools=[Tool("any"), TIME], tool_choice=NamedTool("any"))
    assert request.prompt.endswith('{"name": "any", "arguments":')


def test_required_call_is_constrained() -> None:
    constrained = model(constrain="vllm")
    both = constrained.chat_request(HELLO, tools=[WEATHER, TIME], tool_choice="any")
    assert both.parameters.extra_body == {"structured_outputs": {"json": call_schema([WEATHER, TIME])}}
    assert both.parameters.stop == ["<|im_end|>"]
    one = constrained.chat_request(HELLO, tools=[WEATHER, TIME], tool_choice=NamedTool("weather"))
    assert one.parameters.extra_body == {"structured_outputs": {"json": CLOSED}}
    assert constrained.chat_request(HELLO, tools=[TIME]).parameters.extra_body is None


def test_schema_is_described_and_constrained() -> None:
    request = model().chat_request(HELLO, schema=CITY)
    assert '"required": ["city"]}<|im_end|>' in request.prompt
    assert request.parameters.extra_body is None
    constrained = model(constrain="vllm").chat_request([Message("system", "Be brief."), *HELLO], schema=CITY)
    assert constrained.prompt.startswith("<|im_start|>system\nBe brief.\n\n")
    assert constrained.parameters.extra_body == {"structured_outputs": {"json": CLOSED}}
    assert read_message(constrained.reader(), '{"city": "<tool_call>"}') == ParsedMessage('{"city": "<tool_call>"}')


def test_schema_with_tools_is_described_but_not_constrained() -> None:
    request = model(constrain="vllm").chat_request(HELLO, schema=CITY, tools=[TIME])
    assert request.parameters.extra_body is None
    assert '"required": ["city"]}\n\nYou can call tools.' in request.prompt
    assert read_message(request.reader(), '<tool_call>{"name": "time"}').calls


def test_extra_body_of_caller_overrides_constraint() -> None:
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
        ({"tool_choice": "any"}, "tool_choice requires a tool call, but there are no tools"),
        (
            {"tools": [TIME, WEATHER], "tool_choice": NamedTool("x")},
            "tool_choice: unknown tool 'x'; known tools: time, weather",
        ),
        ({"overrides": {"echo": True}}, "echo returns the prompt"),
        ({"overrides": {"extra_body": {"chat_template_kwargs": {}}}}, "pass the argument itself"),
        ({"overrides": {"n": 2}, "stream": True}, "n must be 1 while streaming"),
        ({"overrides": {"temperatur": 2}}, "did you mean temperature"),
    ],
)
def test_invalid_chat_options_raise(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        model().chat_request(HELLO, **options)


def test_chat_has_room_for_calls_and_objects_by_default() -> None:
    chosen = model(max_tokens=256).chat_request(HELLO).parameters
    default = model().chat_request(HELLO).parameters
    assert (chosen.max_tokens, default.max_tokens, model().fields.max_tokens) == (256, 2048, 2048)
    assert "max_tokens" not in default.model_fields_set  # so that the client warns when it cuts an answer
    assert model().chat_request(HELLO, overrides={"max_tokens": None}).parameters.max_tokens is None


CUT_CALLS = [
    '<tool_call>{"name": "time"',
    '<tool_call>{"name": ti',
    '<tool_call>{"name": "time", "arguments": {"a": "b',
    "<tool_call>",
]


@pytest.mark.parametrize("text", CUT_CALLS)
@pytest.mark.parametrize(
    ("finish_reason", "limit", "reason"),
    [
        ("length", 9, "the answer was cut off at max_tokens (9) before the call ended; raise max_tokens"),
        ("length", None, "the answer was cut off at max_tokens before the call ended; raise max_tokens"),
        ("stop", 9, "the answer ends before the call does"),
    ],
)
def test_reason_of_a_call_that_is_cut_off_names_max_tokens(
    text: str, finish_reason: str, limit: int | None, reason: str
) -> None:
    route, request = PromptRoute("chatml"), ChatRequest(HELLO, [TIME])
    fields = Fields(model="m", chat_template="chatml"), {"max_tokens": limit}
    whole = Completion(None, None, None, [Choice(0, f"Hi {text}", finish_reason)])
    (message,) = route.call(request, *fields).convert(whole).messages
    streamed = ParsedMessage()
    convert = route.stream_call(request, *fields).convert
    for chunk in (CompletionChunk(f"Hi {text}"), CompletionChunk("", finish_reason=finish_reason, is_last=True)):
        streamed.add(convert(chunk).events)
    for each in (message, streamed):
        assert each.text == "Hi"
        assert [call.reason for call in each.invalid_calls] == [reason]


def test_reason_of_an_earlier_call_does_not_name_max_tokens() -> None:
    whole = Completion(None, None, None, [Choice(0, "<tool_call>time</tool_call> Well,", "length")])
    (message,) = PromptRoute("chatml").call(ChatRequest(HELLO, [TIME]), {"model": "m"}).convert(whole).messages
    assert [call.reason for call in message.invalid_calls] == ["not valid JSON"]


def test_unknown_chat_template_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match="chat_template: ") as raised:
        model(chat_template="x")
    assert "\n" not in str(raised.value)
    assert "chat_template: chat_template" not in str(raised.value)


def test_chat_template_chooses_the_route() -> None:
    assert isinstance(route_of(Fields(model="m")), MessageRoute)
    assert isinstance(route_of(Fields(model="m", chat_template=None)), MessageRoute)
    assert isinstance(route_of(Fields(model="m", chat_template="chatml")), PromptRoute)


def test_max_tokens_has_a_default_on_completions_only() -> None:
    assert Fields(model="m").max_tokens is None
    assert Fields(model="m", max_tokens=5).max_tokens == 5
    assert Fields(model="m", chat_template="chatml").max_tokens == 2048


@pytest.mark.parametrize("field", [{"echo": True}, {"best_of": 2}, {"suffix": "x"}])
def test_fields_of_completions_are_refused_without_a_template(field: dict[str, Any]) -> None:
    (name,) = field
    with pytest.raises(InvalidParameterError, match=f"^{name}: it is a field of the completions endpoint"):
        Fields(model="m", **field)
    with pytest.raises(InvalidParameterError, match=f"^unknown argument {name}; it is a field of the completions"):
        MessageRoute().call(ChatRequest(HELLO), {"model": "m", **field})


def test_fields_of_the_chat_endpoint_are_refused_with_a_template() -> None:
    with pytest.raises(InvalidParameterError, match=r"^top_logprobs: it is for the chat endpoint"):
        Fields(model="m", chat_template="chatml", top_logprobs=1)
    with pytest.raises(InvalidParameterError, match=r"^unknown argument top_logprobs; here it is logprobs$"):
        PromptRoute("chatml").call(ChatRequest(HELLO), {"model": "m", "top_logprobs": 1})
    with pytest.raises(InvalidParameterError, match=r"^constrain='guided_json': it is for the chat endpoint"):
        Fields(model="m", chat_template="chatml", constrain="guided_json")


SOURCE = "{% for m in messages %}{{ m.content }}{% endfor %}"
TOOL_USE = {"name": "tool_use", "template": "{{ tools }}"}


@pytest.mark.parametrize(
    "value",
    [
        [{"name": "default", "template": SOURCE}, TOOL_USE],
        {"default": SOURCE, "tool_use": "{{ tools }}"},
        {"default": {"source": SOURCE}},
        {"source": SOURCE},
        JinjaTemplate(source=SOURCE),
        SOURCE,
    ],
)
def test_chat_template_is_taken_as_files_hold_it(value: object) -> None:
    assert model(chat_template=value).chat_request(HELLO).prompt == "Hello"
    assert TemplateFields(chat_template=value).chat_template in (SOURCE, JinjaTemplate(source=SOURCE))


@pytest.mark.parametrize(
    "value", [3, b"chatml", [], [3], [TOOL_USE], {}, {"turn": 3}, {"source": ""}, {"default": None}, {1: 2}]
)
def test_wrong_chat_template_gets_one_complaint(value: object) -> None:
    for kind in (partial(Fields, model="m"), TemplateFields):
        with pytest.raises(InvalidParameterError) as raised:
            kind(chat_template=value)
        assert str(raised.value).startswith(
            "chat_template: it must be 'alfred', 'chatml', Jinja source, a ChatTemplate"
        )
        assert "\n" not in str(raised.value)
        assert "; chat_template" not in str(raised.value)


def test_chat_template_with_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match=r"^chat_template: not a valid Jinja template: .* surrogate pair$"):
        model(chat_template="{{ '\ud800' }}")


def test_jinja_template_stops_only_at_its_end_token() -> None:
    source = "{{ tools[0].function.name if tools }}\n{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    with pytest.warns(UserWarning, match="writes no tool calls"):
        request = model(chat_template=source).chat_request(HELLO, tools=[TIME])
    assert request.prompt == "time\nuser: Hello\n"
    assert request.parameters.stop is None
    assert model(chat_template=source).chat_request(HELLO).parameters.stop is None
    with pytest.warns(UserWarning, match="writes no tool calls"):
        with_end = pickle.loads(pickle.dumps(model(chat_template=JinjaTemplate(source=source, eos_token="</s>"))))
    assert with_end.chat_request(HELLO).parameters.stop == ["</s>"]
    with pytest.raises(InvalidParameterError, match="not a valid Jinja template"):
        model(chat_template="{% if %}")


def test_repair_messages_hold_completion_and_problem() -> None:
    answer, request = repair_messages("Rome", "not valid JSON")
    assert answer == Message("assistant", "Rome")
    assert request.role == "user"
    assert "not valid JSON" in request.content


# What the template gets

SWITCHED = (
    "{{ bos_token }}{{ mood }}{% for m in messages %}[{{ m.content }}]{% endfor %}{{ '>' * add_generation_prompt }}"
)


@pytest.mark.parametrize("stream", [False, True])
def test_variables_of_a_template_are_merged_and_not_sent(stream: bool) -> None:
    template = JinjaTemplate(source=SWITCHED, variables={"mood": "a"})
    assert model(chat_template=template).chat_request(HELLO, stream=stream).prompt == "a[Hello]>"
    chosen = model(chat_template=template, chat_template_kwargs={"mood": "b"})
    assert chosen.chat_request(HELLO, stream=stream).prompt == "b[Hello]>"
    overrides = {"chat_template_kwargs": {"mood": "c"}, "temperature": 0}
    request = chosen.chat_request(HELLO, overrides=overrides, stream=stream)
    assert request.prompt == "c[Hello]>"
    assert request.parameters.body("", stream=stream) == CompletionParameters(
        model="m", max_tokens=2048, temperature=0
    ).body("", stream=stream)
    assert overrides["chat_template_kwargs"] == {"mood": "c"}
    assert chosen.chat_request(HELLO, overrides={"chat_template_kwargs": None}).prompt == "b[Hello]>"


def test_variables_that_a_template_cannot_take_are_refused() -> None:
    for kind in (partial(Fields, model="m"), TemplateFields):
        with pytest.raises(InvalidParameterError, match=r"^chat_template_kwargs needs a chat_template in Jinja"):
            kind(chat_template="chatml", chat_template_kwargs={"mood": "b"})
        with pytest.raises(InvalidParameterError, match=r"^chat_template_kwargs must not hold tools: "):
            kind(chat_template=SWITCHED, chat_template_kwargs={"tools": []})
    with pytest.raises(InvalidParameterError, match=r"^chat_template_kwargs needs a chat_template in Jinja"):
        TemplateFields(chat_template_kwargs={"mood": "b"})
    for wrong, said in (({"messages": []}, "must not hold messages"), (["a"], "must be an object .* not list")):
        with pytest.raises(InvalidParameterError, match=f"^chat_template_kwargs {said}"):
            model(chat_template=SWITCHED).chat_request(HELLO, overrides={"chat_template_kwargs": wrong})


def test_prompt_that_holds_its_beginning_gets_no_other() -> None:
    exact = model(chat_template=JinjaTemplate(source=SWITCHED, bos_token="<s>")).chat_request(HELLO)
    assert exact.prompt == "<s>[Hello]>"
    assert exact.parameters.extra_body == {"add_special_tokens": False}
    asked = {"extra_body": {"add_special_tokens": True}}
    told = model(chat_template=JinjaTemplate(source=SWITCHED, bos_token="<s>"), **asked).chat_request(HELLO)
    assert told.parameters.extra_body == {"add_special_tokens": True}
    assert model(chat_template="<s>" + SWITCHED).chat_request(HELLO).prompt == "<s>[Hello]>"
    for plain in ("chatml", SWITCHED, "<s>" + SWITCHED):
        assert model(chat_template=plain).chat_request(HELLO).parameters.extra_body is None


@pytest.mark.parametrize("template", ["chatml", SWITCHED])
def test_last_message_is_continued_only_if_that_is_asked_for(template: str) -> None:
    chat = [*HELLO, Message("assistant", "Once upon")]
    continued = model(chat_template=template).chat_request(chat, overrides={"continue_final_message": True})
    assert continued.prompt.endswith("Once upon")
    assert continued.reader().feed(" a time") == [Text(" a time")]
    ends = model(chat_template=template).chat_request(HELLO).prompt.rpartition("Hello")[2]
    for overrides in ({}, {"continue_final_message": False}):
        assert model(chat_template=template).chat_request(chat, overrides=overrides).prompt.endswith("upon" + ends)
    forced = {"tools": [TIME], "tool_choice": "any", "overrides": {"continue_final_message": True}}
    assert model().chat_request(chat, **forced).prompt.endswith("<|im_start|>assistant\n<tool_call>\n")
