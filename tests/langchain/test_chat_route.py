"""`ChatParadigm` over the chat endpoint: what goes out and comes in there, and nowhere else."""

from __future__ import annotations

import json
from functools import reduce
from operator import add
from typing import Any, get_type_hints

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, FunctionMessage, HumanMessage, SystemMessage, ToolMessage, trim_messages
from langchain_core.runnables import ConfigurableField
from pydantic import BaseModel

from langchain_paradigm import ChatParadigm, ParadigmLLM
from paradigm_transport import BadRequestError, InvalidParameterError
from tests.langchain.conftest import KEY, Calls
from tests.langchain.obedient import weather
from tests.wire import Request, Script, WireServer, reply, sse, usage


@pytest.fixture
def chat(wire: WireServer) -> ChatParadigm:
    return ChatParadigm(model="alfred-4.2", api_key=KEY, base_url=wire.url)


def message(finish_reason: str = "stop", **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "model": "alfred-4.2", "choices": [choice], "usage": usage(3, 5)}


def delta(finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}


def call(name: str = "weather", arguments: str = '{"city": "Rome"}', id_: str = "call_1") -> dict[str, Any]:
    return {"index": 0, "id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


class City(BaseModel):
    """A city."""

    name: str
    people: int


def test_messages_go_out_in_openai_form(wire: WireServer, chat: ChatParadigm, calls: Calls) -> None:
    wire.script(reply(message(content="Fine.")))
    asked = [
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": "How is "}, "it?"], name="Ann"),
        AIMessage(
            "I look.",
            tool_calls=[{"name": "weather", "args": {"city": "Köln"}, "id": "1"}],
            additional_kwargs={"reasoning_content": "Hm."},
        ),
        ToolMessage("sunny", tool_call_id="1", name="weather"),
        AIMessage("", additional_kwargs={"function_call": {"name": "weather", "arguments": "{}"}}),
        FunctionMessage("rain", name="weather"),
    ]
    answer = calls.invoke(chat, asked)
    assert answer.content == "Fine."
    assert (wire.requests[0].path, wire.bodies[0].keys()) == ("/api/v2/chat/completions", {"model", "messages"})
    function = {"name": "weather", "arguments": '{"city": "Köln"}'}
    empty = {"name": "weather", "arguments": "{}"}
    assert wire.bodies[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How is \nit?", "name": "Ann"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [{"id": "1", "type": "function", "function": function}],
            "reasoning_content": "Hm.",
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "1", "name": "weather"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call00002", "type": "function", "function": empty}],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "call00002", "name": "weather"},
    ]


IMAGES = [
    ({"type": "image_url", "image_url": {"url": "data:,", "detail": "low"}}, {"url": "data:,", "detail": "low"}),
    ({"type": "image_url", "image_url": "data:,"}, {"url": "data:,"}),
    ({"type": "image", "url": "https://images.example/a.png"}, {"url": "https://images.example/a.png"}),
    ({"type": "image", "base64": "aGk=", "mime_type": "image/jpeg"}, {"url": "data:image/jpeg;base64,aGk="}),
    (
        {"type": "image", "source_type": "base64", "data": "aGk=", "mime_type": "image/png"},
        {"url": "data:image/png;base64,aGk="},
    ),
    ({"type": "image", "source_type": "url", "url": "data:,"}, {"url": "data:,"}),
    (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"url": "data:image/png;base64,aGk="},
    ),
]


@pytest.mark.parametrize(("block", "expected"), IMAGES)
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_images_go_through(
    wire: WireServer, chat: ChatParadigm, calls: Calls, block: Any, expected: Any, way: str
) -> None:
    wire.script(reply(message(content="A cat.")))
    getattr(calls, way)(chat, [HumanMessage([{"type": "text", "text": "What is"}, block, "this?"])])
    assert wire.bodies[0]["messages"][0]["content"] == [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": expected},
        {"type": "text", "text": "this?"},
    ]


def test_rows_beside_an_image_of_a_tool_are_json(wire: WireServer, chat: ChatParadigm, calls: Calls) -> None:
    wire.script(reply(message(content="A cat.")))
    result: list[Any] = [{"type": "file", "name": "cat.png"}, IMAGES[0][0]]
    call: Any = {"name": "look", "args": {}, "id": "1"}
    calls.invoke(chat, [HumanMessage("?"), AIMessage("", tool_calls=[call]), ToolMessage(result, tool_call_id="1")])
    assert wire.bodies[0]["messages"][2]["content"] == [
        {"type": "text", "text": '{"type": "file", "name": "cat.png"}'},
        {"type": "image_url", "image_url": IMAGES[0][1]},
    ]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "file_id": "f-1"},
        {"type": "audio", "base64": "aGk=", "mime_type": "audio/wav"},
        {"type": "file", "file_id": "f-1"},
    ],
)
def test_other_blocks_are_refused(wire: WireServer, chat: ChatParadigm, calls: Calls, block: Any) -> None:
    with pytest.raises(InvalidParameterError, match=f"a block of type {block['type']}; the endpoint accepts text and"):
        calls.invoke(chat, [HumanMessage([block])])
    assert not wire.requests


@pytest.mark.parametrize("behind", [[], ["What is this?"], [{"type": "text", "text": "What is this?"}]])
def test_images_on_completions_name_the_chat_endpoint(wire: WireServer, calls: Calls, behind: list[Any]) -> None:
    over_completions = ChatParadigm(model="m", api_key=KEY, base_url=wire.url, chat_template="chatml")
    with pytest.raises(InvalidParameterError, match="for images, use ChatParadigm without chat_template"):
        calls.invoke(over_completions, [HumanMessage([IMAGES[0][0], *behind])])


def test_calls_thoughts_and_usage_come_in(wire: WireServer, chat: ChatParadigm, calls: Calls) -> None:
    details = {**usage(3, 5), "completion_tokens_details": {"reasoning_tokens": 2}}
    wire.script(reply({**message("tool_calls", content=None, reasoning="Hm.", tool_calls=[call()]), "usage": details}))
    answer = calls.invoke(chat.bind_tools([weather]), "Hi")
    assert (answer.content, answer.additional_kwargs) == ("", {"reasoning_content": "Hm."})
    assert [(each["name"], each["args"], each["id"]) for each in answer.tool_calls] == [
        ("weather", {"city": "Rome"}, "call_1")
    ]
    assert answer.response_metadata["finish_reason"] == "tool_calls"
    assert answer.usage_metadata["output_token_details"] == {"reasoning": 2}


def test_calls_thoughts_and_usage_are_streamed(wire: WireServer, chat: ChatParadigm, calls: Calls) -> None:
    parts = [{"index": 0, "function": {"arguments": text}} for text in ('{"city": ', '"Rome"}')]
    wire.script(
        sse(
            delta(role="assistant", content=""),
            delta(reasoning_content="H"),
            delta(reasoning_content="m."),
            delta(content="I look."),
            delta(tool_calls=[call(arguments="")]),
            *[delta(tool_calls=[part]) for part in parts],
            delta("tool_calls"),
            {"choices": [], "usage": usage(3, 5)},
        )
    )
    chunks = calls.stream(chat.bind_tools([weather]), "Hi")
    whole = reduce(add, chunks)
    assert (whole.content, whole.additional_kwargs["reasoning_content"]) == ("I look.", "Hm.")
    assert [(each["name"], each["args"], each["id"]) for each in whole.tool_calls] == [
        ("weather", {"city": "Rome"}, "call_1")
    ]
    assert "".join(part["args"] or "" for each in chunks for part in each.tool_call_chunks) == '{"city": "Rome"}'
    assert whole.usage_metadata["total_tokens"] == 8


def test_calls_whose_parts_alternate_stay_apart(wire: WireServer, chat: ChatParadigm, calls: Calls) -> None:
    first, second = call(arguments='{"city": '), {**call(arguments='{"city": ', id_="call_2"), "index": 1}
    ends = [{"index": 0, "function": {"arguments": '"Rome"}'}}, {"index": 1, "function": {"arguments": '"Os'}}]
    wire.script(sse(*[delta(tool_calls=[part]) for part in (first, second, *ends)], delta("length")))
    whole = reduce(add, calls.stream(chat.bind_tools([weather]), "Hi"))
    assert [each["args"] for each in whole.tool_calls] == [{"city": "Rome"}]
    assert [each["id"] for each in whole.invalid_tool_calls] == ["call_2"]


@pytest.mark.parametrize("arguments", ['{"city": "Ro', "Rome", '["Rome"]', '{"city": Rome}'])
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_broken_call_is_an_invalid_tool_call(
    wire: WireServer, chat: ChatParadigm, calls: Calls, arguments: str, way: str
) -> None:
    if way == "stream":
        wire.script(sse(delta(content="Hm."), delta(tool_calls=[call(arguments=arguments)]), delta("stop")))
    else:
        wire.script(reply(message(content="Hm.", tool_calls=[call(arguments=arguments)])))
    answer = getattr(calls, way)(chat.bind_tools([weather]), "Hi")
    answer = reduce(add, answer) if way == "stream" else answer
    assert (answer.content, answer.tool_calls) == ("Hm.", [])
    assert [each["name"] for each in answer.invalid_tool_calls] == ["weather"]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        ("auto", None),
        ("any", "required"),
        (True, "required"),
        ("none", "none"),
        ("weather", {"type": "function", "function": {"name": "weather"}}),
    ],
)
def test_tool_choice_goes_out(wire: WireServer, chat: ChatParadigm, calls: Calls, choice: Any, sent: Any) -> None:
    wire.script(reply(message(content="")))
    calls.invoke(chat.bind_tools([weather], tool_choice=choice, strict=True), "Hi")
    assert wire.bodies[0].get("tool_choice") == sent
    assert wire.bodies[0]["tools"][0]["function"]["strict"] is True


def test_functions_of_the_older_api_are_tools(wire: WireServer, chat: ChatParadigm, calls: Calls) -> None:
    wire.script(reply(message(content=None, tool_calls=[call()])))
    function = {"name": "weather", "description": "", "parameters": {"type": "object", "properties": {}}}
    answer = calls.invoke(chat, "Hi", functions=[function], function_call={"name": "weather"})
    assert wire.bodies[0]["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert wire.bodies[0]["parallel_tool_calls"] is False
    assert answer.additional_kwargs["function_call"] == {"name": "weather", "arguments": '{"city": "Rome"}'}


def test_refused_tools_say_what_to_do(wire: WireServer, chat: ChatParadigm, calls: Calls) -> None:
    words = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    wire.script(reply({"object": "error", "message": words, "code": 400}, 400))
    with pytest.raises(BadRequestError, match="pass chat_template: ChatParadigm then uses the completions endpoint"):
        calls.invoke(chat.bind_tools([weather]), "Hi")


@pytest.mark.parametrize("choice", ["any", "weather"])
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_required_call_that_the_server_leaves_out_is_warned_of(
    wire: WireServer, chat: ChatParadigm, calls: Calls, choice: str, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = sse(delta(content="It rains."), delta("stop")) if way == "stream" else reply(message(content="It rains."))
    wire.always(text)
    for _ in range(2):
        answer = getattr(calls, way)(chat.bind_tools([weather], tool_choice=choice), "Hi")
        assert (reduce(add, answer) if way == "stream" else answer).content == "It rains."
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "sent no tool call, although tool_choice requires one. If this server cannot call tools" in warning


@pytest.mark.parametrize("template", [None, "chatml"])
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_chat_without_messages_is_refused(
    wire: WireServer, chat: ChatParadigm, calls: Calls, template: str | None, way: str
) -> None:
    with pytest.raises(InvalidParameterError, match="a chat needs at least one message"):
        getattr(calls, way)(chat.model_copy(update={"chat_template": template}), [])
    assert not wire.requests


ROME = '{"name": "Rome", "people": 2800000}'
FIELDS = {
    None: "response_format",
    "vllm": "structured_outputs",
    "guided_json": "guided_json",
    "prompt": "messages",
}


@pytest.mark.parametrize("constrain", FIELDS)
def test_structured_answer_is_enforced_validated_and_repaired(
    wire: WireServer, chat: ChatParadigm, calls: Calls, constrain: Any
) -> None:
    model = chat.model_copy(update={"constrain": constrain})
    wire.script(reply(message(content='{"name": "Rome"}')), reply(message(content=ROME)))
    ask = model.with_structured_output(City, method="json_schema")
    assert calls.invoke(ask, "Where?") == City(name="Rome", people=2800000)
    assert all(FIELDS[constrain] in body for body in wire.bodies)
    assert len(FIELDS.keys() & {name for name, field in FIELDS.items() if field in wire.bodies[0]} - {"prompt"}) <= 1
    assert "Field required" in wire.bodies[1]["messages"][-1]["content"]
    assert "JSON schema" in wire.bodies[0]["messages"][0]["content"]


def test_structured_answer_by_a_call_is_validated_and_repaired(
    wire: WireServer, chat: ChatParadigm, calls: Calls
) -> None:
    wire.script(
        reply(message(content=None, tool_calls=[call("City", '{"name": "Rome"}')])),
        reply(message(content=None, tool_calls=[call("City", ROME)])),
    )
    ask = chat.with_structured_output(City)
    assert calls.invoke(ask, "Where?") == City(name="Rome", people=2800000)
    assert wire.bodies[0]["tool_choice"] == {"type": "function", "function": {"name": "City"}}


def test_answer_that_never_fits_raises(wire: WireServer, chat: ChatParadigm, calls: Calls) -> None:
    wire.always(reply(message(content="It is Rome.")))
    for method in ("function_calling", "json_schema", "json_mode"):
        wire.requests.clear()
        with pytest.raises(OutputParserException) as caught:
            calls.invoke(chat.with_structured_output(City, method=method), "Where?")
        assert len(wire.requests) == 2
        advice = "method='json_schema' needs no tool calls. If this server cannot call tools with this model, pass"
        assert (advice in str(caught.value)) == (method == "function_calling")
        assert "json_schema" not in wire.bodies[-1]["messages"][-1]["content"]


def test_fields_of_one_endpoint_are_refused_on_the_other(chat: ChatParadigm) -> None:
    for field in ({"echo": True}, {"best_of": 2}, {"suffix": "x"}):
        with pytest.raises(InvalidParameterError, match="it is a field of the completions endpoint"):
            ChatParadigm(model="m", api_key=KEY, **field)
        with pytest.raises(InvalidParameterError, match="it is a field of the completions endpoint"):
            chat.invoke("Hi", **field)
    with pytest.raises(InvalidParameterError, match="it is for the chat endpoint"):
        ChatParadigm(model="m", api_key=KEY, chat_template="chatml", top_logprobs=2)


def test_log_probabilities_are_asked_for_and_read(wire: WireServer, chat: ChatParadigm, calls: Calls) -> None:
    body = message(content="Hi")
    entry = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}
    body["choices"][0]["logprobs"] = {"content": [entry]}
    wire.script(reply(body))
    answer = calls.invoke(chat, "Hi", top_logprobs=1)
    assert (wire.bodies[0]["logprobs"], wire.bodies[0]["top_logprobs"]) == (True, 1)
    assert answer.response_metadata["logprobs"]["content"][0]["token"] == "Hi"


def test_tokens_of_messages_are_counted_by_the_chat_endpoint(wire: WireServer, chat: ChatParadigm) -> None:
    wire.always(reply({**message(content=""), "usage": usage(42, 1)}))
    for _ in range(2):
        assert chat.get_num_tokens_from_messages([HumanMessage("Hi")], [weather]) == 42
    (body,) = wire.bodies
    assert (body["max_tokens"], body["tools"][0]["function"]["name"]) == (1, "weather")
    assert chat.get_num_tokens("Hi") == 42
    assert chat.get_num_tokens_from_messages([]) == 0


def test_part_of_a_chat_that_the_server_refuses_is_counted_message_by_message(
    wire: WireServer, chat: ChatParadigm
) -> None:
    def count_characters(request: Request) -> Script:
        (*_, last) = messages = request.body["messages"]
        if len(messages) > 1 or last["role"] != "user":
            return reply({"error": "messages with tool_calls must be followed by their results"}, 400)
        return reply({**message(content=""), "usage": usage(len(last["content"]), 1)})

    wire.always(count_characters)
    asked = AIMessage("I look.", tool_calls=[{"name": "weather", "args": {"city": "R" * 3000}, "id": "1"}])
    history = [HumanMessage("Hi"), asked]
    assert 3000 < chat.get_num_tokens_from_messages(history) < 3200
    assert chat.get_num_tokens_from_messages(history, [weather]) > chat.get_num_tokens_from_messages(history) + 50
    assert trim_messages(history, max_tokens=5, token_counter=chat, strategy="first") == history[:1]


def test_copy_for_the_other_endpoint_has_the_default_limit_of_that(
    wire: WireServer, chat: ChatParadigm, calls: Calls
) -> None:
    wire.always(reply({"choices": [{"text": "Hello", "finish_reason": "stop"}]}))
    switched = chat.configurable_fields(chat_template=ConfigurableField(id="template"))
    calls.invoke(switched, "Hi", {"configurable": {"template": "chatml"}})
    assert wire.bodies[0]["max_tokens"] == 2048


def test_tools_are_bound_to_a_model_and_its_fallbacks(wire: WireServer, chat: ChatParadigm, calls: Calls) -> None:
    wire.script(reply("", 401), reply(message(tool_calls=[call()])))
    model = chat.with_fallbacks([chat.model_copy(update={"model": "b"})]).bind_tools([weather])
    assert [each["name"] for each in calls.invoke(model, "Rome?").tool_calls] == ["weather"]
    assert [(body["model"], len(body["tools"])) for body in wire.bodies] == [("alfred-4.2", 1), ("b", 1)]


@pytest.mark.parametrize("kind", [ChatParadigm, ParadigmLLM])
def test_annotations_of_our_methods_can_be_read(kind: type) -> None:
    ours = [base for base in kind.__mro__ if base.__module__.split(".")[0] == "langchain_paradigm"]
    members = [each for base in ours for name, each in vars(base).items() if callable(each) and name[0] != "_"]
    methods = [each for each in members if each.__module__.startswith("langchain_paradigm")]
    assert methods
    for method in methods:
        assert get_type_hints(method)


def test_switching_the_route_changes_one_argument(wire: WireServer, chat: ChatParadigm, calls: Calls) -> None:
    wire.script(reply(message(content="Hello")), reply({"choices": [{"text": "Hello", "finish_reason": "stop"}]}))
    over_completions = chat.model_copy(update={"chat_template": "chatml"})
    assert [calls.invoke(model, "Hi").content for model in (chat, over_completions)] == ["Hello", "Hello"]
    assert ["messages" in body for body in wire.bodies] == [True, False]
    assert ["max_tokens" in body for body in wire.bodies] == [False, True]
    assert json.loads(json.dumps(wire.bodies[1]))["max_tokens"] == 2048
