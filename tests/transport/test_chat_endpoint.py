"""The chat endpoint: what is sent, and every form of message that servers answer with, whole and streamed."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paradigm_transport import APIResponseError, BadRequestError, InvalidParameterError
from paradigm_transport.chat.dialects.base import TextReader
from paradigm_transport.chat.events import CallArguments, CallBegin, CallEnd, ParsedMessage, Text
from paradigm_transport.chat.message_reader import MessageReader
from paradigm_transport.chat.message_route import MessageRoute
from paradigm_transport.chat.prompt_route import PromptRoute
from paradigm_transport.chat.routes import ChatChunk, ChatRequest
from paradigm_transport.endpoints.chat_completions import read_message
from paradigm_transport.endpoints.completions.reply import CallPart, Choice
from paradigm_transport.messages import Message, NamedTool, Tool, ToolCall, ToolChoice
from tests.transport.conftest import KEY, MODEL, Api
from tests.wire import WireServer, reply, sse, usage

HELLO = [Message("user", "Hello there, how are you?")]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOSED = {**CITY, "additionalProperties": False}
MARKED = 'I look.\n<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'
WEATHER, TIME = Tool("weather", "The weather.", CITY), Tool("time")


def message(finish_reason: str | None = "stop", **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": fields, "finish_reason": finish_reason}], "usage": usage(3, 5)}


def delta(finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}


def call(name: str | None = None, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {"function": function, **fields}


def whole(api: Api, wire: WireServer, body: Any, *, request: ChatRequest | None = None, **fields: Any) -> ParsedMessage:
    wire.script(reply(body))
    sent = MessageRoute().call(request or ChatRequest(HELLO, [WEATHER, TIME]), {"model": MODEL, **fields})
    (answer,) = api.client(wire).send(sent).messages
    return answer


def streamed(api: Api, wire: WireServer, *parts: Any, request: ChatRequest | None = None, **fields: Any) -> Any:
    wire.script(sse(*parts))
    sent = MessageRoute().stream_call(request or ChatRequest(HELLO, [WEATHER, TIME]), {"model": MODEL, **fields})
    answer = ParsedMessage()
    chunks: list[ChatChunk] = list(api.client(wire).open(sent))
    for chunk in chunks:
        answer.add(chunk.events)
    assert chunks[-1].chunk.is_last
    return answer


# What is sent


def sent_by(route: MessageRoute, request: ChatRequest, **fields: Any) -> dict[str, Any]:
    bodies = [make(request, {"model": MODEL, **fields}) for make in (route.call, route.stream_call)]
    encoded = [json.loads(body.encode_as(stream=False, stream_usage=False)) for body in bodies]
    assert encoded[0] == encoded[1]
    return encoded[0]


sent = partial(sent_by, MessageRoute())


def test_only_what_was_set_is_sent() -> None:
    assert sent(ChatRequest(HELLO)) == {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello there, how are you?"}],
    }


def test_stop_is_a_list_of_four_at_most() -> None:
    assert sent(ChatRequest(HELLO), stop="a")["stop"] == ["a"]
    assert sent(ChatRequest(HELLO), stop=["a", "b", "c", "d", "e"])["stop"] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
        ({"logprobs": 0}, {"logprobs": True}),
        ({"logprobs": True, "top_logprobs": 5}, {"logprobs": True, "top_logprobs": 5}),
        ({"top_logprobs": 5}, {"logprobs": True, "top_logprobs": 5}),
        ({"logprobs": False}, {}),
    ],
)
def test_logprobs_have_the_form_of_chats(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    body = sent(ChatRequest(HELLO), **fields)
    assert {name: value for name, value in body.items() if "logprobs" in name} == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", None),
        ("any", "required"),
        ("none", "none"),
        (NamedTool("time"), {"type": "function", "function": {"name": "time"}}),
    ],
)
def test_tools_are_sent_in_openai_form(choice: ToolChoice, expected: Any) -> None:
    body = sent(ChatRequest(HELLO, [WEATHER, TIME], choice))
    assert body["tools"] == [WEATHER.to_openai(), TIME.to_openai()]
    assert body.get("tool_choice") == expected
    assert "parallel_tool_calls" not in body


def test_strict_and_single_calls_are_sent() -> None:
    tool = Tool("time", strict=True)
    body = sent(ChatRequest(HELLO, [tool], parallel_tool_calls=False))
    assert body["tools"][0]["function"]["strict"] is True
    assert body["parallel_tool_calls"] is False


def test_vllm_is_asked_to_hold_calls_to_their_schemas() -> None:
    tools = [Tool("open"), Tool("loose", strict=False)]
    body = sent_by(MessageRoute("vllm"), ChatRequest(HELLO, tools, NamedTool("open")))
    assert [tool["function"]["strict"] for tool in body["tools"]] == [True, False]


def test_required_call_without_its_tool_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match="tool_choice requires a tool call, but there are no tools"):
        sent(ChatRequest(HELLO, (), "any"))
    with pytest.raises(InvalidParameterError, match="unknown tool 'x'; known tools: weather"):
        sent(ChatRequest(HELLO, [WEATHER], NamedTool("x")))


@pytest.mark.parametrize(
    ("constrain", "expected"),
    [
        (
            None,
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": CLOSED}}},
        ),
        ("vllm", {"structured_outputs": {"json": CLOSED}}),
        ("guided_json", {"guided_json": CLOSED}),
        ("prompt", {}),
    ],
)
def test_schema_is_enforced_by_the_chosen_mechanism(constrain: Any, expected: dict[str, Any]) -> None:
    route = MessageRoute(constrain)
    body = sent_by(route, ChatRequest(HELLO, schema=CITY))
    assert {name: value for name, value in body.items() if name not in ("model", "messages")} == expected
    assert body["messages"][0]["role"] == "system"
    assert json.dumps(CITY) in body["messages"][0]["content"]
    assert (
        not {"response_format", "structured_outputs", "guided_json"}
        & sent_by(route, ChatRequest(HELLO, [WEATHER], schema=CITY)).keys()
    )


def test_schema_of_any_object_is_a_json_object() -> None:
    assert sent(ChatRequest(HELLO, schema={"type": "object"}))["response_format"] == {"type": "json_object"}
    named = sent(ChatRequest(HELLO, schema={**CITY, "title": "A city, or so"}))
    assert named["response_format"]["json_schema"]["name"] == "A_city__or_so"


def test_calls_and_results_are_sent_with_ids_and_arguments_as_text() -> None:
    calls = (ToolCall("", "weather", {"city": "Köln"}), ToolCall("x", "time", {}))
    chat = [
        Message("user", "Hi"),
        Message("assistant", "I look.", calls, thoughts="Hm."),
        Message("tool", "7", name="weather"),
        Message("tool", "noon", tool_call_id="x"),
    ]
    _, asked, warm, noon = sent(ChatRequest(chat))["messages"]
    assert asked["tool_calls"] == [
        {"id": "call00001", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}},
        {"id": "x", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]
    assert (asked["content"], asked["reasoning_content"]) == ("I look.", "Hm.")
    assert warm == {"role": "tool", "content": "7", "name": "weather", "tool_call_id": "call00001"}
    assert noon == {"role": "tool", "content": "noon", "tool_call_id": "x"}


def test_results_of_no_call_are_sent_as_the_users_after_the_results_of_calls() -> None:
    calls = (ToolCall("1", "time", {}),)
    chat = [
        Message("tool", "cut off", tool_call_id="0"),
        Message("user", "Hi"),
        Message("assistant", '{"city": ', calls),
        Message("tool", "malformed", tool_call_id="2", name="weather"),
        Message("tool", "noon", tool_call_id="1"),
        Message("tool", "late"),
    ]
    first, *_, noon, malformed, late = sent(ChatRequest(chat))["messages"]
    assert first == {"role": "user", "content": "cut off"}
    assert noon == {"role": "tool", "content": "noon", "tool_call_id": "1"}
    assert malformed == {"role": "user", "content": "malformed"}
    assert late == {"role": "user", "content": "late"}


def test_parts_of_a_message_are_sent_as_they_are() -> None:
    parts = ({"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "data:,"}})
    (user,) = sent(ChatRequest([Message("user", "What?", parts=parts)]))["messages"]
    assert user["content"] == list(parts)
    system, _ = sent(ChatRequest([Message("system", "What?", parts=parts), *HELLO], schema=CITY))["messages"]
    assert [part["type"] for part in system["content"]] == ["text", "image_url", "text"]


def test_variables_of_the_template_go_out_those_of_the_call_over_those_of_the_route() -> None:
    route = MessageRoute(chat_template_kwargs={"enable_thinking": True, "mood": "calm"})
    body = sent_by(route, ChatRequest(HELLO), chat_template_kwargs={"enable_thinking": False})
    assert body["chat_template_kwargs"] == {"enable_thinking": False, "mood": "calm"}
    with pytest.raises(InvalidParameterError, match="chat_template_kwargs must be an object"):
        sent(ChatRequest(HELLO), chat_template_kwargs="x")


def test_last_message_of_an_assistant_is_continued_on_request() -> None:
    story = ChatRequest([*HELLO, Message("assistant", "Once upon")])
    assert sent(story).keys() == {"model", "messages"}
    body = sent(story, continue_final_message=True)
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


def test_stream_asks_for_usage(api: Api, wire: WireServer) -> None:
    streamed(api, wire, delta("stop", content="a"))
    assert (wire.requests[0].path, wire.bodies[0]["stream"]) == ("/api/v2/chat/completions", True)
    assert wire.bodies[0]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("field", ["response_format", "parallel_tool_calls"])
def test_field_that_the_server_refuses_is_left_out(api: Api, wire: WireServer, field: str) -> None:
    request = ChatRequest(HELLO, [TIME], parallel_tool_calls=False)
    if field == "response_format":
        request = ChatRequest(HELLO, schema=CITY)
    client = api.client(wire, max_retries=0)
    wire.script(reply({"error": {"message": f"Extra inputs are not permitted: {field}", "code": 400}}, 400))
    wire.always(reply(message(content="{}")))
    for _ in range(2):
        client.send(MessageRoute().call(request, {"model": MODEL}))
    assert [field in body for body in wire.bodies] == [True, False, False]


def test_unrelated_refusal_of_a_call_without_the_field_is_not_sent_again(api: Api, wire: WireServer) -> None:
    wire.always(reply({"error": {"message": "response_format: no.", "code": 400}}, 400))
    with pytest.raises(BadRequestError):
        api.client(wire).chat([{"role": "user", "content": "Hi"}], model=MODEL)
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    "words",
    [
        '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        "tools is not supported in this model",
        "This model does not support tools. Please remove `tools`.",
    ],
)
def test_refusal_of_tools_says_what_to_do(api: Api, wire: WireServer, words: str) -> None:
    wire.always(reply({"object": "error", "message": words, "code": 400}, 400))
    client, route, fields = api.client(wire), MessageRoute(), {"model": MODEL}

    for request, is_told in ((ChatRequest(HELLO, [TIME]), True), (ChatRequest(HELLO), False)):
        with pytest.raises(BadRequestError) as whole_error:
            client.send(route.call(request, fields))
        with pytest.raises(BadRequestError) as stream_error:
            list(client.open(route.stream_call(request, fields)))
        for error in (whole_error, stream_error):
            what_to_do = "pass chat_template: ChatParadigm then uses the completions endpoint"
            assert (what_to_do in str(error.value)) == is_told


def test_texts_and_arguments_are_redacted_from_errors(api: Api, wire: WireServer) -> None:
    secret, said = "A secret of the user's.", "Another of the tool's."
    calls = (ToolCall("1", "time", {"note": "A note of the call's."}),)
    chat = [Message("user", secret), Message("assistant", "", calls), Message("tool", said, tool_call_id="1")]
    for echo in (secret, said, '{"note": "A note of the call\'s."}'):
        wire.script(reply({"detail": f"Cannot read {echo} of {KEY}"}, 400))
        with pytest.raises(BadRequestError, match=r"Cannot read \[…\] of \[…\]"):
            api.client(wire).send(MessageRoute().call(ChatRequest(chat), {"model": MODEL}))


# What is read

ANSWERS: list[tuple[dict[str, Any], ParsedMessage]] = [
    ({"content": "Hello"}, ParsedMessage("Hello")),
    ({"content": "Hello", "tool_calls": None, "refusal": None, "function_call": None}, ParsedMessage("Hello")),
    ({"content": None}, ParsedMessage()),
    ({"content": "", "refusal": "I will not."}, ParsedMessage("I will not.")),
    ({"refusal": "I will not."}, ParsedMessage("I will not.")),
    ({"content": "Hello", "reasoning_content": "Hm."}, ParsedMessage("Hello", "Hm.")),
    ({"content": "Hello", "reasoning": "Hm."}, ParsedMessage("Hello", "Hm.")),
    ({"content": "Hello", "reasoning": "Hm.", "reasoning_content": "Hm."}, ParsedMessage("Hello", "Hm.")),
    ({"content": "Hello", "reasoning": {"effort": "low"}, "reasoning_content": None}, ParsedMessage("Hello")),
    ({"reasoning_content": "Hm."}, ParsedMessage("", "Hm.")),
    ({"content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}, ParsedMessage("Hello")),
    ({"content": ["Hel", "lo", None, 5]}, ParsedMessage("Hello")),
    ({"content": [{"type": "thinking", "thinking": "Hm."}, {"text": "Hello"}]}, ParsedMessage("Hello", "Hm.")),
    (
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, "Hello"]},
        ParsedMessage("Hello", "Hm."),
    ),
    ({"content": [{"type": "refusal", "refusal": "No."}]}, ParsedMessage("No.")),
]


@pytest.mark.parametrize(("fields", "expected"), ANSWERS)
def test_texts_and_thoughts_of_any_form_are_read(
    api: Api, wire: WireServer, fields: dict[str, Any], expected: ParsedMessage
) -> None:
    assert whole(api, wire, message(**fields)) == expected
    assert streamed(api, wire, delta(**fields), delta("stop")) == expected
    assert streamed(api, wire, message(**fields)) == expected
    wire.script(reply(message(**fields)))
    assert streamed_as_one_reply(api, wire) == expected


def streamed_as_one_reply(api: Api, wire: WireServer) -> ParsedMessage:
    answer = ParsedMessage()
    for chunk in api.client(wire).open(MessageRoute().stream_call(ChatRequest(HELLO), {"model": MODEL})):
        answer.add(chunk.events)
    return answer


CALLS: list[tuple[Any, str, dict[str, Any]]] = [
    ([call("time", "{}", id="1", type="function")], "time", {}),
    ([call("time", "", id="1")], "time", {}),
    ([call("time", id="1")], "time", {}),
    ([call("time", "null", id="1")], "time", {}),
    ([call("weather", '{"city": "Rome"}', id="1")], "weather", {"city": "Rome"}),
    ([call("weather", {"city": "Rome"}, id="1")], "weather", {"city": "Rome"}),
    ([call("weather", '{"city": "Rome"}{"city": "Rome"}', id="1")], "weather", {"city": "Rome"}),
    ([call("weather", '{"city": "Rome"}}', id="1")], "weather", {"city": "Rome"}),
    ([call("weather", '"{\\"city\\": \\"Rome\\"}"', id="1")], "weather", {"city": "Rome"}),
    ([call("weather", "{'city': 'Rome',}", id="1")], "weather", {"city": "Rome"}),
    ([call("weather", '{"name": "weather", "arguments": {"city": "Rome"}}', id="1")], "weather", {"city": "Rome"}),
]


@pytest.mark.parametrize(("calls", "name", "arguments"), CALLS)
def test_calls_of_any_form_are_read(
    api: Api, wire: WireServer, calls: Any, name: str, arguments: dict[str, Any]
) -> None:
    expected = ParsedMessage(calls=[ToolCall("1", name, arguments)])
    assert whole(api, wire, message("tool_calls", content=None, tool_calls=calls)) == expected
    assert streamed(api, wire, delta(tool_calls=[{"index": 0, **calls[0]}]), delta("tool_calls")) == expected


def test_call_of_the_older_api_gets_an_id(api: Api, wire: WireServer) -> None:
    older = {"name": "weather", "arguments": '{"city": "Rome"}'}
    parts = [{"name": "weather", "arguments": ""}, {"arguments": '{"city": '}, {"arguments": '"Rome"}'}]
    for answer in (
        whole(api, wire, message("function_call", content=None, function_call=older)),
        streamed(api, wire, *[delta(function_call=part) for part in parts], delta("function_call")),
    ):
        (read,) = answer.calls
        assert (read.name, read.arguments, len(read.id)) == ("weather", {"city": "Rome"}, 9)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"city": "Ro', "the answer ends before the call does"),
        ("{", "the answer ends before the call does"),
        ("Rome", "not valid JSON"),
        ('{"city": Rome}', "not valid JSON"),
        ('["Rome"]', "the arguments are not a JSON object"),
        ('{"city": "Rome"}{"city": "Oslo"}', "the arguments are more than one JSON object"),
        ('{"city": "Rome"}\n\n{"city": "Oslo"', "the arguments are more than one JSON object"),
    ],
)
def test_broken_call_is_invalid(api: Api, wire: WireServer, arguments: str, reason: str) -> None:
    calls = [call("weather", arguments, id="1", index=0)]
    parts = [delta(tool_calls=[call("weather", arguments[:3], id="1", index=0)])]
    parts += [delta(tool_calls=[call(None, letter, index=0)]) for letter in arguments[3:]]
    for answer in (
        whole(api, wire, message(content="Hm.", tool_calls=calls)),
        streamed(api, wire, delta(content="Hm."), *parts, delta("stop")),
    ):
        (invalid,) = answer.invalid_calls
        assert (answer.text, answer.calls) == ("Hm.", [])
        assert (invalid.id, invalid.name, invalid.text, invalid.reason) == ("1", "weather", arguments, reason)


def test_cut_call_names_max_tokens(api: Api, wire: WireServer) -> None:
    calls = [call("weather", '{"city": "Ro', id="1", index=0)]
    for answer in (
        whole(api, wire, message("length", content=None, tool_calls=calls), max_tokens=9),
        streamed(api, wire, delta(tool_calls=calls), delta("length"), max_tokens=9),
    ):
        assert "max_tokens (9)" in answer.invalid_calls[0].reason


def test_call_without_a_name_is_invalid(api: Api, wire: WireServer) -> None:
    answer = whole(api, wire, message(content=None, tool_calls=[call(None, "{}", id="1")]))
    assert [(each.name, each.text, each.reason) for each in answer.invalid_calls] == [
        (None, "{}", "the call names no tool")
    ]


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {}},
        {"message": {"role": "assistant"}},
        {"message": "Hello"},
        {"message": {"content": 5}},
        {"message": {"content": {}}},
        {"message": {"content": None, "tool_calls": "time"}},
        {"message": {"content": None, "tool_calls": ["time"]}},
    ],
)
def test_message_that_cannot_be_read_raises(api: Api, wire: WireServer, choice: dict[str, Any]) -> None:
    for way, part in ((whole, choice), (streamed, {"delta": choice["message"]})):
        if part in ({"delta": {}}, {"delta": {"role": "assistant"}}):  # which is the beginning of any stream
            continue
        with pytest.raises(APIResponseError, match="returned an unexpected response") as caught:
            way(api, wire, {"choices": [part]})
        assert "A choice holds no text and no tool call that can be read" in str(caught.value)
        assert "base_url" not in str(caught.value)


def test_text_in_the_form_of_completions_is_read(api: Api, wire: WireServer) -> None:
    assert whole(api, wire, {"choices": [{"text": "Hello", "finish_reason": "stop"}]}).text == "Hello"
    parts = [{"choices": [{"text": text}]} for text in ("Hel", "lo")]
    assert streamed(api, wire, *parts, {"choices": [{"finish_reason": "stop"}]}).text == "Hello"


def test_stop_beyond_the_fourth_ends_the_message_here(api: Api, wire: WireServer) -> None:
    stops = ["1", "2", "3", "4", "END"]
    calls = [call("time", "{}", id="1", index=0)]
    answer = whole(api, wire, message(content="One END two", tool_calls=calls, reasoning="Hm."), stop=stops)
    assert answer == ParsedMessage("One ", "Hm.")
    parts = [delta(reasoning="Hm."), delta(content="One E"), delta(content="ND two", tool_calls=calls), delta("stop")]
    assert streamed(api, wire, *parts, stop=stops) == answer


def test_single_call_ends_the_message(api: Api, wire: WireServer) -> None:
    calls = [call("time", "{}", id="1", index=0), call("weather", '{"city": "Rome"}', id="2", index=1)]
    request = ChatRequest(HELLO, [WEATHER, TIME], parallel_tool_calls=False)
    expected = ParsedMessage(calls=[ToolCall("1", "time", {})])
    assert whole(api, wire, message(content=None, tool_calls=calls), request=request) == expected
    parts = [delta(tool_calls=calls[:1]), delta(tool_calls=calls[1:]), delta(tool_calls=[call(None, "x", index=1)])]
    assert streamed(api, wire, *parts, delta("stop"), request=request) == expected


@pytest.mark.parametrize("text", ["I look.\n", ""], ids=["text", "no text"])
@pytest.mark.parametrize("order", ["beside it first", "text first", "text in pieces"])
def test_single_call_is_single_if_another_stands_in_the_text(api: Api, wire: WireServer, order: str, text: str) -> None:
    marked, calls = MARKED.replace("I look.\n", text), [call("weather", '{"city": "Rome"}', id="1", index=0)]
    parts = [delta(content=marked), delta(tool_calls=calls)]
    if order == "beside it first":
        parts.reverse()
    elif order == "text in pieces":  # the call in the text is not known before the other
        parts = [delta(content=marked[:-40]), delta(tool_calls=calls), delta(content=marked[-40:])]
    wire.script(sse(*parts, delta("stop")), reply(message(content=marked, tool_calls=calls)))
    route = MessageRoute(tool_call_parser="hermes")
    request = ChatRequest(HELLO, [WEATHER, TIME], parallel_tool_calls=False)
    answer = ParsedMessage()
    for chunk in api.client(wire).open(route.stream_call(request, {"model": MODEL})):
        answer.add(chunk.events)
    assert [each.name for each in answer.calls] == ["time" if order == "text first" else "weather"]
    (at_once,) = api.client(wire).send(route.call(request, {"model": MODEL})).messages
    assert len(at_once.calls) == 1


def test_two_calls_in_the_text_are_one_if_one_is_wanted(api: Api, wire: WireServer) -> None:
    wire.script(reply(message(content=MARKED + MARKED)))
    request = ChatRequest(HELLO, [TIME], parallel_tool_calls=False)
    (answer,) = api.client(wire).send(MessageRoute(tool_call_parser="hermes").call(request, {"model": MODEL})).messages
    assert [each.name for each in answer.calls] == ["time"]


# A required call that the server leaves out


@pytest.mark.parametrize("choice", ["any", NamedTool("time"), "auto", "none"])
@pytest.mark.parametrize(
    ("text", "ends"), [("Hello", "stop"), ("Hello", "length"), (MARKED, "stop"), ("<tool_call>\n{", "stop")]
)
def test_required_call_that_is_missing_is_warned_of_once(
    api: Api, wire: WireServer, caplog: pytest.LogCaptureFixture, choice: ToolChoice, text: str, ends: str
) -> None:
    route, request = MessageRoute(tool_call_parser="hermes"), ChatRequest(HELLO, [TIME], choice)
    client, fields = api.client(wire), {"model": MODEL, "max_tokens": 9}
    wire.script(reply(message(ends, content=text)), sse(delta(content=text), delta(ends)))
    client.send(route.call(request, fields))
    list(client.open(route.stream_call(request, fields)))
    is_missing = choice not in ("auto", "none") and text == "Hello" and ends == "stop"
    warnings = [record.getMessage() for record in caplog.records]
    assert ["sent no tool call, although tool_choice requires one." in each for each in warnings] == [True] * is_missing
    if is_missing:
        assert "pass chat_template: ChatParadigm then uses the completions endpoint" in warnings[0]


@pytest.mark.parametrize("schema", [None, CITY])
def test_chat_without_messages_is_refused(schema: Any) -> None:
    for route in (MessageRoute(), PromptRoute("chatml")):
        for make in (route.call, route.stream_call):
            with pytest.raises(InvalidParameterError, match="a chat needs at least one message"):
                make(ChatRequest([], schema=schema), {"model": MODEL})


# Text that the server has not parsed


@pytest.mark.parametrize("name", ["hermes", "qwen3_coder"])
def test_calls_in_the_text_are_read_if_the_parser_is_named(api: Api, wire: WireServer, name: str) -> None:
    text = MARKED if name == "hermes" else "I look.\n<tool_call>\n<function=time>\n</function>\n</tool_call>"
    route, request = MessageRoute(tool_call_parser=name), ChatRequest(HELLO, [TIME])
    wire.script(reply(message(content=text)), sse(*[delta(content=letter) for letter in text], delta("stop")))
    (at_once,) = api.client(wire).send(route.call(request, {"model": MODEL})).messages
    in_parts = ParsedMessage()
    for chunk in api.client(wire).open(route.stream_call(request, {"model": MODEL})):
        in_parts.add(chunk.events)
    for answer in (at_once, in_parts):
        assert (answer.text, [(each.name, each.arguments) for each in answer.calls]) == ("I look.", [("time", {})])
    assert whole(api, wire, message(content=text), request=request).text == text


def test_calls_in_the_text_and_beside_it_are_numbered_together(api: Api, wire: WireServer) -> None:
    calls = [call("weather", '{"city": "Rome"}', id="1", index=0)]
    wire.script(sse(delta(content=MARKED), delta(tool_calls=calls), delta("stop")))
    stream = MessageRoute(tool_call_parser="hermes").stream_call(ChatRequest(HELLO, [TIME]), {"model": MODEL})
    events = [event for chunk in api.client(wire).open(stream) for event in chunk.events]
    assert [(each.index, each.name) for each in events if isinstance(each, CallBegin)] == [(0, "time"), (1, "weather")]


@pytest.mark.parametrize("name", ["qwen3", "deepseek_r1"])
def test_thoughts_in_the_text_are_split_off_if_the_parser_is_named(api: Api, wire: WireServer, name: str) -> None:
    text = ("<think>" if name == "qwen3" else "") + "\nHm.\n</think>\n\nHello"
    route = MessageRoute(reasoning_parser=name)
    wire.script(
        reply(message(content=text)),
        sse(*[delta(content=letter) for letter in text], delta("stop")),
        reply(message(content="Hello", reasoning_content="Hm.")),
    )
    client, fields = api.client(wire), {"model": MODEL}
    (at_once,) = client.send(route.call(ChatRequest(HELLO), fields)).messages
    in_parts = ParsedMessage()
    for chunk in client.open(route.stream_call(ChatRequest(HELLO), fields)):
        in_parts.add(chunk.events)
    (apart,) = client.send(route.call(ChatRequest(HELLO), fields)).messages
    assert at_once == in_parts == apart == ParsedMessage("Hello", "Hm.")
    assert whole(api, wire, message(content=text)).text == text


# Calls in parts

ONE, TWO = ToolCall("a", "weather", {"city": "Rome"}), ToolCall("b", "time", {})


def part(index: int | None, id_: str = "", name: str = "", arguments: str = "") -> CallPart:
    return CallPart(index, id_, name, arguments)


IN_PARTS = {
    "as OpenAI sends them": [
        part(0, "a", "weather"),
        part(0, arguments='{"city": '),
        part(0, arguments='"Rome"}'),
        part(1, "b", "time"),
        part(1, arguments="{}"),
    ],
    "with the name in every part": [
        part(0, "a", "weather", '{"city": '),
        part(0, "a", "weather", '"Rome"}'),
        part(1, "b", "time", "{}"),
    ],
    "with the name in every part, and in one more": [
        part(0, "a", "weather", '{"city": "Rome"}'),
        part(0, "", "weather"),
        part(1, "b", "time"),
        part(1, "", "time", "{}"),
        part(1, "", "time"),
    ],
    "with the name in pieces": [
        part(0, "a", "wea"),
        part(0, "", "ther"),
        part(0, arguments='{"city": "Rome"}'),
        part(1, "b", "ti"),
        part(1, "b", "time"),
        part(1, arguments="{}"),
    ],
    "with another id in every part": [
        part(0, "a", "weather"),
        part(0, "x", "", '{"city": '),
        part(0, "y", "", '"Rome"}'),
        part(1, "b", "time", "{}"),
    ],
    "all under one index": [part(0, "a", "weather", '{"city": "Rome"}'), part(0, "b", "time", "{}")],
    "without indexes": [part(None, "a", "weather"), part(None, "", "", '{"city": "Rome"}'), part(None, "b", "time")],
    "without arguments": [part(0, "a", "weather", '{"city": "Rome"}'), part(1, "b", "time")],
    "one between the parts of the other": [
        part(0, "a", "weather", '{"city": '),
        part(1, "b", "time", "{"),
        part(0, arguments='"Rome"}'),
        part(1, arguments="}"),
    ],
    "with arguments before the name": [
        part(0, "a", "", '{"city": '),
        part(0, "", "weather", '"Rome"}'),
        part(1, "b", "time"),
    ],
    "with indexes from 1": [part(1, "a", "weather", '{"city": "Rome"}'), part(2, "b", "time")],
}


def read_parts(parts: list[CallPart]) -> tuple[ParsedMessage, list[Any]]:
    reader, answer = MessageReader(lambda _: TextReader()), ParsedMessage()
    events = [event for each in parts for event in reader.feed(Choice(0, "", calls=(each,)))] + reader.finish()
    answer.add(events)
    return answer, events


@pytest.mark.parametrize("way", IN_PARTS)
def test_calls_in_parts_are_put_together(way: str) -> None:
    answer, events = read_parts(IN_PARTS[way])
    assert answer == ParsedMessage(calls=[ONE, TWO])
    for index, expected in enumerate((ONE, TWO)):
        own = [event for event in events if not isinstance(event, Text) and event.index == index]
        assert isinstance(own[0], CallBegin)
        assert isinstance(own[-1], CallEnd)
        arguments = "".join(event.text for event in own if isinstance(event, CallArguments))
        assert json.loads(arguments) == expected.arguments


@pytest.mark.parametrize("index", [0, None])
def test_calls_of_one_tool_without_ids_are_two(index: int | None) -> None:
    parts = [part(index, "", "weather"), part(index, arguments='{"city": "Rome"}')]
    answer, _ = read_parts(parts * 2)
    assert [each.arguments for each in answer.calls] == [ONE.arguments] * 2


def test_arguments_are_reported_as_they_arrive() -> None:
    reader = MessageReader(lambda _: TextReader())
    (begin, arguments) = reader.feed(Choice(0, "", calls=(part(0, "a", "weather", '{"city": "R'),)))
    assert begin == CallBegin(0, "a", "weather")
    assert arguments == CallArguments(0, '{"city": "R')


@given(st.text('{}[]":, aé\\"\n', max_size=30), st.data())
def test_any_split_of_arguments_gives_the_same_call(arguments: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arguments)), max_size=4)))
    places = [0, *cuts, len(arguments)]
    split = [arguments[begin:end] for begin, end in pairwise(places)]
    at_once, _ = read_parts([part(0, "a", "weather", arguments)])
    in_parts, _ = read_parts([part(0, "a", "weather"), *[part(0, arguments=text) for text in split]])
    assert in_parts == at_once


def keyed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = ("content", "text", "tool_calls", "function", "name", "arguments", "reasoning", "refusal", "thinking")
    return st.dictionaries(st.sampled_from(names), inner)


WIRE = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | keyed(inner))


@given(WIRE)
def test_no_choice_raises(body: Any) -> None:
    for fields in ({"message": body}, {"delta": body}, {"message": {"content": body}}, {"delta": {"tool_calls": body}}):
        for is_whole in (True, False):
            read_message(fields, is_whole)
    read_message({"message": {"tool_calls": [{"function": body, "id": body, "index": body}]}}, True)


# The client


def test_client_answers_and_streams_chats(api: Api, wire: WireServer) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    wire.script(reply(message(content="Hello", tool_calls=[call("time", "{}", id="1")])))
    answer = api.client(wire).chat(messages, model=MODEL, tools=[TIME.to_openai()], tool_choice="auto")
    assert (answer.text, answer.choices[0].calls) == ("Hello", (CallPart(0, "1", "time", "{}"),))
    assert wire.bodies[0]["tools"] == [TIME.to_openai()]
    wire.script(sse(delta(content="Hel"), delta(content="lo", reasoning="Hm."), delta("stop")))
    chunks = list(api.client(wire).stream_chat(messages, model=MODEL))
    assert ["".join(each.text for each in chunks), "".join(each.thoughts for each in chunks)] == ["Hello", "Hm."]


@pytest.mark.parametrize("messages", ["Hi", {"role": "user"}, ["Hi"]])
def test_messages_of_another_form_are_refused(api: Api, wire: WireServer, messages: Any) -> None:
    with pytest.raises(InvalidParameterError, match="messages must be a list of messages"):
        api.client(wire).chat(messages, model=MODEL)
