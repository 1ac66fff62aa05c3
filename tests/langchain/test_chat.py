"""`ChatParadigm`: messages, tools, streams, usage, and the features of LangChain's chat models."""

from __future__ import annotations

import asyncio
import json
import pickle
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.load import dumps, loads
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import invalid_tool_call
from langchain_core.output_parsers.openai_functions import JsonOutputFunctionsParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField, RunnableLambda
from pydantic import BaseModel

from langchain_paradigm import ChatParadigm, get_paradigm_usage
from langchain_paradigm._out import ChunkWriter, chat_result
from paradigm_transport import (
    CHAT_TEMPLATES,
    BadRequestError,
    ChatTemplate,
    Choice,
    Completion,
    CompletionChunk,
    InvalidParameterError,
    JinjaTemplate,
    ServerError,
    StreamInterruptedError,
)
from paradigm_transport.chat.dialects.base import read_message
from paradigm_transport.chat.prompt_route import PromptRoute
from paradigm_transport.chat.routes import ChatCompletion, ChatRequest
from paradigm_transport.messages import Message, NamedTool, Tool
from tests.chat_form import prompt_of
from tests.langchain.conftest import KEY, Calls, MakeChat, Recorder, over_completions
from tests.langchain.obedient import call_text, streamed, time_there, weather
from tests.wire import CUT, WireServer, chunk, completion, reply, sse, usage

CHATML = CHAT_TEMPLATES["chatml"]


def merged(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    return reduce(add, chunks)


# Messages


@over_completions
def test_messages_of_every_role_are_rendered(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(reply(completion("Fine.")))
    chat = [
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": "How is "}, "it?"], name="Ann"),
        AIMessage(
            [{"type": "text", "text": "I look."}, {"type": "tool_use", "id": "1", "name": "weather", "input": {}}],
            tool_calls=[{"name": "weather", "args": {"city": "Rome"}, "id": "1"}],
        ),
        ToolMessage("sunny", tool_call_id="1", name="weather"),
        ChatMessage("noted", role="observer"),
    ]
    answer = calls.invoke(make_chat(), chat)
    assert answer.content == "Fine."
    assert prompt_of(wire.bodies[0]) == CHATML.render(
        [
            ("system", "Be brief."),
            ("user", "How is \nit?"),
            ("assistant", f"I look.\n{call_text('weather', city='Rome')}"),
            ("tool", "<tool_response>\nsunny\n</tool_response>"),
            ("observer", "noted"),
        ]
    )
    assert wire.bodies[0]["stop"] == ["<|im_end|>", "<tool_call>"]


@over_completions
def test_text_is_rendered_as_user_turn(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion("Hello.")))
    calls.invoke(make_chat(), "Hi")
    assert prompt_of(wire.bodies[0]) == CHATML.render_prompt("Hi")
    assert wire.bodies[0]["stop"] == "<|im_end|>"


@over_completions
def test_message_with_image_raises(make_chat: MakeChat, calls: Calls) -> None:
    picture = HumanMessage([{"type": "image_url", "image_url": {"url": "http://x"}}])
    with pytest.raises(InvalidParameterError, match="a message of type human contains a block of type image_url"):
        calls.invoke(make_chat(), [picture])


@pytest.mark.filterwarnings("ignore:chat_template writes tool calls in a form")
def test_jinja_template_renders_tools_and_calls(wire: WireServer, make_chat: MakeChat) -> None:
    source = (
        "{% for m in messages %}[{{ m.role }}{{ m.name or '' }}{{ m.tool_call_id or '' }}] {{ m.content }}"
        "{% for c in m.tool_calls or () %}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}"
        "{{ tools[0].function.name }}"
    )
    wire.script(reply(completion("Hi</s>and more")))
    chat = make_chat(chat_template=JinjaTemplate(source=source, eos_token="</s>")).bind_tools([weather])
    call = AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Köln"}, "id": "1"}])
    assert chat.invoke([call, ToolMessage("sunny", tool_call_id="1")]).content == "Hi"
    assert prompt_of(wire.bodies[0]) == '[assistant] {"city": "Köln"}[tool1] sunnyweather'


# Tools


@pytest.mark.parametrize(("finish_reason", "is_cut"), [("length", True), ("stop", False)])
@over_completions
def test_call_cut_at_the_length_limit_names_max_tokens(
    wire: WireServer, make_chat: MakeChat, calls: Calls, finish_reason: str, is_cut: bool
) -> None:
    text = '<tool_call>\n{"name": 3}\n</tool_call><tool_call>\n{"name": "weather", "argum'
    wire.script(reply(completion(text, finish_reason=finish_reason)))
    answer = calls.invoke(make_chat().bind_tools([weather]), "Hi")
    broken, cut = (call["error"] for call in answer.invalid_tool_calls)
    assert "max_tokens" not in broken
    assert ("max_tokens" in cut) == is_cut


def test_tool_calls_are_read(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    text = f"I look.\n{call_text('weather', city='Rome')}\n{call_text('time_there', city='Rome')}"
    wire.script(reply(completion(text)))
    answer = calls.invoke(make_chat().bind_tools([weather, time_there]), "Hi")
    assert answer.content == "I look."
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [
        ("weather", {"city": "Rome"}),
        ("time_there", {"city": "Rome"}),
    ]
    assert len({call["id"] for call in answer.tool_calls}) == 2
    assert answer.response_metadata["finish_reason"] == "stop"
    shown = Tool(
        "weather",
        "The weather of a city.",
        {"properties": {"city": {"type": "string"}}, "required": ["city"], "type": "object"},
    )
    assert json.dumps(shown.to_openai()) in prompt_of(wire.bodies[0])


def test_streamed_tool_calls_are_read(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(streamed(f"I look.\n{call_text('weather', city='Rome')}{call_text('time_there', city='Oslo')}\n"))
    chunks = calls.stream(make_chat().bind_tools([weather, time_there]), "Hi")
    whole = merged(chunks)
    assert whole.content == "I look."
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [
        ("weather", {"city": "Rome"}),
        ("time_there", {"city": "Oslo"}),
    ]
    assert [call["index"] for call in whole.tool_call_chunks] == [0, 1]
    arguments = [call["args"] for each in chunks for call in each.tool_call_chunks if call["index"] == 0]
    assert len(arguments) > 2
    assert "".join(arguments) == '{"city": "Rome"}'
    assert not any("tool_call" in str(each.content) for each in chunks)


@pytest.mark.skipif("output_version" not in ChatParadigm.model_fields, reason="LangChain before 1.0")
def test_stream_with_output_version_v1_yields_content_blocks(
    wire: WireServer, make_chat: MakeChat, calls: Calls
) -> None:
    both = f"{call_text('weather', city='Rome')}{call_text('time_there', city='Oslo')}"
    wire.script(streamed(f"I look.\n{both}\nDone."))
    chunks = calls.stream(make_chat(output_version="v1").bind_tools([weather, time_there]), "Hi")
    blocks: Any = merged(chunks).content
    assert [block["type"] for block in blocks] == ["text", "tool_call", "tool_call", "text"]
    assert [block["text"] for block in blocks if block["type"] == "text"] == ["I look.", "\nDone."]
    assert [block["args"] for block in blocks if block["type"] == "tool_call"] == [{"city": "Rome"}, {"city": "Oslo"}]


class Forecast(BaseModel):
    """A forecast."""

    city: str


@pytest.mark.parametrize(
    ("choice", "opened"),
    [
        (None, ""),
        ("auto", ""),
        ("any", "<tool_call>\n"),
        ("required", "<tool_call>\n"),
        (True, "<tool_call>\n"),
        ("weather", '<tool_call>\n{"name": "weather", "arguments":'),
        ({"type": "function", "function": {"name": "any"}}, '<tool_call>\n{"name": "any", "arguments":'),
        ({"type": "tool", "name": "Forecast"}, '<tool_call>\n{"name": "Forecast", "arguments":'),
    ],
)
def test_tool_choice_prefills_call(wire: WireServer, make_chat: MakeChat, choice: Any, opened: str) -> None:
    wire.script(reply(completion("")))
    make_chat().bind_tools([weather, Forecast, {"name": "any", "description": ""}], tool_choice=choice).invoke("Hi")
    assert prompt_of(wire.bodies[0]).endswith(f"<|im_start|>assistant\n{opened}")


@pytest.mark.parametrize("choice", ["none", False])
@over_completions
def test_tool_choice_none_stops_before_call(wire: WireServer, make_chat: MakeChat, choice: Any) -> None:
    wire.script(reply(completion(f"I look.{call_text('weather')}")))
    answer = make_chat().bind_tools([weather], tool_choice=choice).invoke("Hi")
    assert (answer.content, answer.tool_calls) == ("I look.", [])
    assert prompt_of(wire.bodies[0]) == CHATML.render_prompt("Hi")


def test_parallel_tool_calls_false_allows_one_call(wire: WireServer, make_chat: MakeChat) -> None:
    wire.script(reply(completion(call_text("weather") + call_text("weather"))))
    answer = make_chat().bind_tools([weather], parallel_tool_calls=False).invoke("Hi")
    assert len(answer.tool_calls) == 1


def test_invalid_tools_and_choices_raise(make_chat: MakeChat) -> None:
    with pytest.raises(InvalidParameterError, match="tool_choice must be auto, any, none, or the name of a tool"):
        make_chat().bind_tools([weather], tool_choice=3)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameterError, match="tool_choice must be auto, any, none, or the name of a tool"):
        make_chat().bind_tools([weather], tool_choice={"function": "weather"})
    with pytest.raises(InvalidParameterError, match="tools: web_search_preview is not a function"):
        make_chat().bind_tools([{"type": "web_search_preview"}])
    with pytest.raises(InvalidParameterError, match="unknown tool 'rain'; known tools: weather"):
        make_chat().bind_tools([weather], tool_choice="rain").invoke("Hi")
    with pytest.raises(InvalidParameterError, match="response_format must be"):
        make_chat().invoke("Hi", response_format={"type": "xml"})


@over_completions
def test_forced_call_is_constrained(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion('{"city": "Rome"}')))
    answer = calls.invoke(make_chat(constrain="vllm").bind_tools([weather, time_there], tool_choice="weather"), "Hi")
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("weather", {"city": "Rome"})]
    assert wire.bodies[0]["structured_outputs"]["json"]["required"] == ["city"]
    assert wire.bodies[0]["stop"] == "<|im_end|>"


# Broken calls


BROKEN = {
    "cut off in a text": ('<tool_call>{"name": "weather", "arguments": {"city": "Ro', "weather"),
    "cut off in a list": ('<tool_call>{"name": "weather", "arguments": {"city": ["Rome"', "weather"),
    "cut off after a value": ('<tool_call>{"name": "weather", "arguments": {"city": {"a": "b"}, ', "weather"),
    "cut off in an escape": ('<tool_call>{"name": "weather", "arguments": {"city": "a\\', "weather"),
    "cut off before the arguments": ('<tool_call>{"name": "weather", ', "weather"),
    "without a name": ('<tool_call>{"tool": "weather", "arguments": {}}</tool_call>', None),
    "no JSON": ("<tool_call>weather(Rome)</tool_call>", None),
    "no object": ('<tool_call>{"name": "weather", "arguments": ["Rome"]}</tool_call>', "weather"),
    "words": ('<tool_call>{"name": "weather", "arguments": {"city": Rome}}</tool_call>', "weather"),
    "empty": ("<tool_call></tool_call>", None),
}


@pytest.mark.parametrize("kind", BROKEN)
@over_completions
def test_broken_call_is_reported_as_invalid_tool_call(
    wire: WireServer, make_chat: MakeChat, calls: Calls, kind: str
) -> None:
    text, name = BROKEN[kind]
    chat = make_chat(max_tokens=9).bind_tools([weather])
    wire.script(reply(completion(f"Hm.{text}", finish_reason="length")))
    answer = calls.invoke(chat, "Hi")
    assert (answer.content, answer.tool_calls) == ("Hm.", [])
    (call,) = answer.invalid_tool_calls
    assert call["name"] == name
    assert call["args"] == text.removeprefix("<tool_call>").removesuffix("</tool_call>")
    assert call["error"]
    for size in (1, 5, 100):  # LangChain would repair truncated JSON and call the tool with half an argument
        wire.script(streamed(f"Hm.{text}", size, "length"))
        whole = merged(calls.stream(chat, "Hi"))
        assert (whole.content, whole.tool_calls) == ("Hm.", [])
        assert [call["name"] for call in whole.invalid_tool_calls] == [name]


PARTS = [
    "<tool_call>",
    "</tool_call>",
    '{"name": "weather", "arguments": ',
    '{"name": "weather", "arguments": "{\\',
    '{"city": "Rome"}',
    '{"city": ',
    '["Ro\\"me", ',
    "}}",
    "I look.",
]


@settings(deadline=None)  # a busy machine may be slow
@given(
    st.lists(st.sampled_from(PARTS) | st.text("ab{}[]\\\"':, \n", max_size=4), max_size=8).map("".join), st.booleans()
)
@example("<tool_call>{'\\", False)
@example(f'<tool_call>{{"name": "weather", "arguments": {"[" * 2000}', False)
@example(f'<tool_call>{{"name": "weather", "arguments": {{"city": {"[" * 2000}', False)
def test_stream_gives_same_calls_as_completion(text: str, is_forced: bool) -> None:
    request = ChatRequest([Message("user", "Hi")], [Tool("weather")], NamedTool("weather") if is_forced else "auto")
    route = PromptRoute("chatml")
    (whole,) = chat_result(
        ChatCompletion(Completion(None, None, None, [Choice(0, text)]), [read_message(route.reader(request), text)])
    ).generations
    stream = route.stream_call(request, {"model": "m"})
    pieces = [CompletionChunk(text[at : at + 3]) for at in range(0, len(text), 3)]
    chunks = map(stream.make_event, [*pieces, CompletionChunk("", finish_reason="stop", is_last=True)])
    written = map(ChunkWriter().write, chunks)
    streamed = merged([chunk.message for chunk in written if chunk])  # type: ignore[misc]

    def told(message: Any) -> Any:
        calls = [(call["name"], call["args"]) for call in message.tool_calls]
        return message.content, calls, [call["name"] for call in message.invalid_tool_calls]

    assert told(streamed) == told(whole.message)


WEATHER = {"name": "weather", "description": "The weather.", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize(
    ("choice", "tool_choice"),
    [(None, None), ("auto", "auto"), ("none", "none"), ("weather", "weather"), ({"name": "weather"}, "weather")],
)
@over_completions
def test_functions_of_the_older_api_are_tools(
    wire: WireServer, make_chat: MakeChat, calls: Calls, way: str, choice: Any, tool_choice: Any
) -> None:
    wire.always(lambda request: sse(chunk("", "stop")) if request.body.get("stream") else reply(completion("")))
    given = {} if choice is None else {"function_call": choice}
    getattr(calls, way)(make_chat().bind(functions=[WEATHER], **given), "Hi")
    tools = [{"type": "function", "function": WEATHER}]
    modern = make_chat().bind(tools=tools, tool_choice=tool_choice, parallel_tool_calls=False)
    getattr(calls, way)(modern, "Hi")
    first, second = wire.bodies
    assert first == second
    assert ("weather" in first["prompt"]) == (choice != "none")


@pytest.mark.parametrize("constrain", [None, "vllm"])
def test_calls_of_functions_are_written_as_the_older_api_does(
    wire: WireServer, make_chat: MakeChat, calls: Calls, constrain: str | None
) -> None:
    wire.always(
        lambda request: (
            streamed(call_text("weather", city="Köln"))
            if request.body.get("stream")
            else reply(completion(call_text("weather", city="Köln")))
        )
    )
    chat = make_chat(constrain=constrain).bind(functions=[WEATHER])
    answers = [calls.invoke(chat, "Hi"), merged(calls.stream(chat, "Hi"))]
    for answer in answers:
        call = answer.additional_kwargs["function_call"]
        assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "Köln"})
        assert [call["name"] for call in answer.tool_calls] == ["weather"]
    assert calls.invoke(chat | JsonOutputFunctionsParser(), "Hi") == {"city": "Köln"}


def test_calls_and_results_of_the_older_api_are_rendered(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion("Fine.")))
    call = AIMessage("", additional_kwargs={"function_call": {"name": "weather", "arguments": '{"city": "Rome"}'}})
    calls.invoke(make_chat(), [HumanMessage("Hi"), call, FunctionMessage(name="weather", content="17")])
    assert call_text("weather", city="Rome") in prompt_of(wire.bodies[0])
    assert "<tool_response>\n17" in prompt_of(wire.bodies[0])


@pytest.mark.parametrize("call", [None, {}, {"name": "weather", "arguments": "no"}, {"name": "weather"}])
def test_call_of_the_older_api_that_cannot_be_read_is_left_out(
    wire: WireServer, make_chat: MakeChat, calls: Calls, call: Any
) -> None:
    wire.script(reply(completion("Fine.")))
    calls.invoke(make_chat(), [HumanMessage("Hi"), AIMessage("So", additional_kwargs={"function_call": call})])
    assert "assistant\nSo<|im_end|>" in prompt_of(wire.bodies[0])


def test_functions_that_are_no_list_raise(make_chat: MakeChat, calls: Calls) -> None:
    with pytest.raises(InvalidParameterError, match="functions must be a list"):
        calls.invoke(make_chat().bind(functions=WEATHER), "Hi")


# Responses


def test_message_holds_metadata_and_usage(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    logprobs = {"tokens": ["é"], "token_logprobs": [-0.5], "top_logprobs": [{"é": -0.5}], "text_offset": [0]}
    details = {"prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 4}}
    body = completion("Hi", usage={**usage(3, 5), **details})
    body["choices"][0]["logprobs"] = logprobs
    wire.script(reply(body, headers={"X-Request-Id": "r1"}))
    answer = calls.invoke(make_chat(logprobs=1), "Hi")
    assert answer.response_metadata.pop("latency") > 0
    assert answer.response_metadata == {
        "finish_reason": "stop",
        "id": "cmpl-1",
        "logprobs": {
            "content": [
                {
                    "token": "é",
                    "logprob": -0.5,
                    "bytes": [0xC3, 0xA9],
                    "top_logprobs": [{"token": "é", "logprob": -0.5, "bytes": [0xC3, 0xA9]}],
                }
            ]
        },
        "model_name": "alfred-40b-1123",
        "model_provider": "paradigm",
        "request_id": "r1",
        "token_usage": usage(3, 5),
    }
    assert answer.usage_metadata == {
        "input_tokens": 3,
        "output_tokens": 5,
        "total_tokens": 8,
        "input_token_details": {"cache_read": 2},
        "output_token_details": {"reasoning": 4},
    }


def test_bytes_of_a_token_that_ends_within_a_character_are_not_made_up(
    wire: WireServer, make_chat: MakeChat, calls: Calls
) -> None:
    body = completion("\ufffd")
    tops = [{"\ufffd": -0.5, "a": -1.0}]
    body["choices"][0]["logprobs"] = {"tokens": ["\ufffd"], "token_logprobs": [-0.5], "top_logprobs": tops}
    wire.script(reply(body))
    (entry,) = calls.invoke(make_chat(logprobs=2), "Hi").response_metadata["logprobs"]["content"]
    assert entry["bytes"] is None
    assert [top["bytes"] for top in entry["top_logprobs"]] == [None, [97]]


HALVES = {
    "token": "\ufffd", "logprob": -0.1, "bytes": [240, 159],
    "top_logprobs": [
        {"token": "\ufffd", "logprob": -0.1, "bytes": [240, 159]}, {"token": "\ufffd", "logprob": -0.9, "bytes": [226]},
        {"token": "\u00e9", "logprob": -2.0, "bytes": [195, 169]},
    ],
}  # fmt: skip
"""The log-probabilities of half a character, as OpenAI's chats have them."""


def test_log_probabilities_of_chats_are_the_servers(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    entries = [HALVES, {**HALVES, "token": "\u00e9", "bytes": [195]}, {"token": "a", "logprob": -0.5}]
    parts = [{"text": "\ufffd\u00e9a", "logprobs": {"content": entries}, "finish_reason": "stop"}]
    body = completion("\ufffd\u00e9a")
    body["choices"][0].update(parts[0])
    wire.script(reply(body))
    (first, second, third) = calls.invoke(make_chat(logprobs=3), "Hi").response_metadata["logprobs"]["content"]
    assert (first, second) == (entries[0], entries[1])
    assert third == {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    wire.script(sse(*(chunk(choice={"text": entry["token"], "logprobs": {"content": [entry]}}) for entry in entries)))
    streamed = merged(calls.stream(make_chat(logprobs=3), "Hi")).response_metadata["logprobs"]["content"]
    assert streamed == [first, second, third]


def test_stream_holds_metadata_and_usage(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    def token(text: str) -> dict[str, Any]:
        logprobs = {"tokens": [text], "token_logprobs": [-0.5], "top_logprobs": [{"index": -0.5}], "text_offset": [0]}
        return {"text": text, "logprobs": logprobs}

    wire.script(sse(chunk(choice=token("Hi")), chunk(choice=token("!")), chunk("", "stop"), chunk(usage=usage(3, 5))))
    chunks = calls.stream(make_chat(logprobs=1), "Hi")
    assert [each.content for each in chunks] == ["Hi", "!", ""]
    assert [each.usage_metadata is not None for each in chunks] == [False, False, True]
    whole = merged(chunks)
    assert whole.usage_metadata == {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
    assert whole.response_metadata["model_name"] == "alfred-40b-1123"
    assert whole.response_metadata["finish_reason"] == "stop"
    content = whole.response_metadata["logprobs"]["content"]
    assert [each["token"] for each in content] == ["Hi", "!"]
    assert content[0]["top_logprobs"] == [{"token": "index", "logprob": -0.5, "bytes": list(b"index")}]


def test_callbacks_find_usage_and_model_of_each_chat_in_llm_output(
    wire: WireServer, make_chat: MakeChat, calls: Calls, recorder: Recorder
) -> None:
    wire.always(lambda request: reply(completion("Hi", usage=usage(3, 5))))
    calls.invoke(make_chat(callbacks=[recorder]), "Hi")
    calls.generate(make_chat(callbacks=[recorder]), [[HumanMessage("Hi")], [HumanMessage("Ho")]])
    output = {"token_usage": usage(3, 5), "model_name": "alfred-40b-1123"}
    assert [end.llm_output for end in recorder.ends] == [output, output, output]


@pytest.mark.parametrize("streaming", [False, True])
def test_generate_sums_usage_over_messages(
    wire: WireServer, make_chat: MakeChat, calls: Calls, streaming: bool
) -> None:
    wire.always(
        lambda request: (
            sse(chunk("Hi"), chunk("", "stop"), chunk(usage=usage(3, 5)))
            if request.body.get("stream")
            else reply(completion("Hi", usage=usage(3, 5)))
        )
    )
    chats = [[HumanMessage("Hi")], [HumanMessage("Ho")]]
    llm_output = calls.generate(make_chat(streaming=streaming), chats).llm_output
    assert llm_output == {"token_usage": usage(6, 10), "model_name": "alfred-40b-1123"}


def test_generate_without_usage_of_server_names_the_model_alone(
    wire: WireServer, make_chat: MakeChat, calls: Calls
) -> None:
    wire.script(reply(completion("Hi", usage=None, model=None)))
    assert calls.generate(make_chat(), [[HumanMessage("Hi")]]).llm_output == {"model_name": "alfred-4.2"}


def test_logprobs_without_top_logprobs_have_an_empty_list(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    body = completion("Hi")
    body["choices"][0]["logprobs"] = {"tokens": ["Hi"], "token_logprobs": [-0.5], "top_logprobs": None}
    wire.script(reply(body))
    answer = calls.invoke(make_chat(logprobs=0), "Hi")
    assert answer.response_metadata["logprobs"]["content"][0]["top_logprobs"] == []


def test_missing_usage_is_none(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion("Hi", usage=None)), sse(chunk("Hi", "stop")))
    assert calls.invoke(make_chat(), "Hi").usage_metadata is None
    assert merged(calls.stream(make_chat(), "Hi")).usage_metadata is None


def test_several_completions_are_several_generations(wire: WireServer, make_chat: MakeChat) -> None:
    wire.script(reply(completion("One", call_text("weather"))))
    function = {"type": "function", "function": {"name": "weather"}}
    ((first, second),) = make_chat(n=2).generate([[HumanMessage("Hi")]], tools=[function]).generations
    assert (first.text, second.text) == ("One", "")
    assert first.message.usage_metadata["total_tokens"] == 8  # type: ignore[union-attr]
    assert second.message.usage_metadata is None  # type: ignore[union-attr]
    assert second.message.tool_calls[0]["args"] == {}  # type: ignore[union-attr]
    with pytest.raises(InvalidParameterError, match="n must be 1 while streaming"):
        list(make_chat(n=2).stream("Hi"))


@over_completions
def test_stops_of_call_replace_those_of_constructor(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(reply(completion("one two three")))
    assert calls.invoke(make_chat(stop="two"), "Hi").content == "one "
    assert calls.invoke(make_chat(stop="two"), "Hi", stop=["three"]).content == "one two "
    assert calls.invoke(make_chat().bind(stop=["one"]), "Hi").content == ""
    assert [body["stop"][1] for body in wire.bodies] == ["two", "three", "one"]


def test_fields_of_call_override_those_of_constructor(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(reply(completion("Hi")))
    calls.invoke(make_chat(temperature=0.5, extra_body={"top_k": 1}), "Hi", temperature=0, extra_body={"seed": 2})
    body = wire.bodies[0]
    assert (body["temperature"], body["top_k"], body["seed"]) == (0, 1, 2)
    with pytest.raises(InvalidParameterError, match="unknown argument temprature; did you mean temperature"):
        calls.invoke(make_chat(), "Hi", temprature=0)


# Features of LangChain's chat models


def test_langchain_usage_callback_counts_tokens(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion("Hi")), streamed("Hi"), reply(completion("Hi")), reply(completion("Hi")))
    with get_usage_metadata_callback() as counted:
        calls.invoke(make_chat(), "Hi", {"callbacks": [counted]})
        calls.stream(make_chat(), "Hi", {"callbacks": [counted]})
        calls.batch(make_chat(), ["Hi", "Ho"], {"callbacks": [counted]})
    assert counted.usage_metadata["alfred-40b-1123"]["input_tokens"] == 12
    assert counted.usage_metadata["alfred-40b-1123"]["output_tokens"] == 20


def test_paradigm_usage_counts_tokens(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion("Hi")), streamed("Hi"))
    with get_paradigm_usage() as counted:
        calls.invoke(make_chat().bind_tools([weather]), "Hi")
        calls.stream(make_chat(), "Hi")
    assert (counted.calls, counted.prompt_tokens, counted.completion_tokens) == (2, 6, 10)


def test_handler_gets_tokens_and_end_of_streaming_invoke(
    wire: WireServer, make_chat: MakeChat, calls: Calls, recorder: Recorder
) -> None:
    wire.script(streamed("Hello"))
    calls.invoke(make_chat(streaming=True, callbacks=[recorder]), "Hi")
    assert [token for _, token, *_ in recorder.tokens][:1] == ["Hello"]
    (end,) = recorder.ends
    assert end.generations[0][0].message.usage_metadata["total_tokens"] == 8  # type: ignore[union-attr]


def test_errors_keep_their_types(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    chat = make_chat(max_retries=0)
    wire.script(reply({"error": "no"}, status=400), reply("", status=503), sse(chunk("Hello"), CUT))
    with pytest.raises(BadRequestError, match="no"):
        calls.invoke(chat, "Hi")
    with pytest.raises(ServerError):
        calls.stream(chat, "Hi")
    with pytest.raises(StreamInterruptedError) as raised:
        calls.stream(chat, "Hi")
    assert raised.value.partial_text == "Hello"


def test_with_retry_and_with_fallbacks_work(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply({}, status=400), reply(completion("a")), reply({}, status=400), reply(completion("b")))
    chat = make_chat(max_retries=0)
    assert calls.invoke(chat.with_retry(wait_exponential_jitter=False), "Hi").content == "a"
    assert calls.invoke(chat.with_fallbacks([make_chat(model="another")]), "Hi").content == "b"
    assert [body["model"] for body in wire.bodies] == ["alfred-4.2"] * 3 + ["another"]


def test_fields_can_be_configured(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion("a")))
    chat = make_chat().configurable_fields(temperature=ConfigurableField(id="heat"))
    calls.invoke(chat, "Hi", {"configurable": {"heat": 0.7}})
    assert wire.bodies[0]["temperature"] == 0.7


def test_model_works_in_chain(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion("Rome")))
    chain = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{question}")]) | make_chat()
    assert calls.invoke(chain, {"question": "Where?"}).content == "Rome"


def test_cache_key_depends_on_all_parameters(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(lambda request: reply(completion(f"{len(wire.requests)}")))
    chat = make_chat(cache=InMemoryCache())

    def ask(model: Any, **fields: Any) -> str:
        return str(calls.invoke(model, "Hi", **fields).content)

    asked = [
        lambda: ask(chat),
        lambda: ask(chat, temperature=0.5),
        lambda: ask(chat, stop=["x"]),
        lambda: ask(chat, extra_body={"top_k": 5}),
        lambda: ask(chat.model_copy(update={"extra_body": {"seed": 1}}), extra_body={"top_k": 5}),
        lambda: ask(chat.model_copy(update={"stop": ["x", "y"]})),
        lambda: ask(chat.bind_tools([weather])),
        lambda: ask(chat.bind_tools([time_there])),
        lambda: ask(chat.bind_tools([weather], tool_choice="any")),
        lambda: ask(chat.bind_tools([weather], parallel_tool_calls=False)),
        lambda: ask(chat.bind(response_format={"type": "json_object"})),
        lambda: ask(
            chat.bind(
                response_format={"type": "json_schema", "json_schema": {"schema": {"title": "City", "type": "object"}}}
            )
        ),
        lambda: ask(chat.model_copy(update={"tool_call_parser": "mistral"})),
        lambda: ask(chat.model_copy(update={"reasoning_parser": "qwen3"})),
        lambda: ask(chat.model_copy(update={"constrain": "vllm"})),
        lambda: ask(chat.model_copy(update={"chat_template": "alfred"})),
        lambda: ask(chat.model_copy(update={"temperature": 0.9})),
    ]
    first = [each() for each in asked]
    stops = chat.model_copy(update={"stop": ["x", "y"]})
    assert ask(stops, stop=[]) == first[0]
    assert len(set(first)) == len(asked)
    assert [each() for each in asked] == first
    assert KEY not in chat._get_llm_string()


def test_invalid_calls_are_rendered_as_text(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(reply(completion("So.")))
    failed = invalid_tool_call(name="weather", args='{"city": ', id="1", error="cut")
    chat = [HumanMessage("Hi"), AIMessage("I look.", invalid_tool_calls=[failed]), HumanMessage("Again.")]
    calls.invoke(make_chat(), chat)
    assert 'assistant\nI look.\n{"city": <|im_end|>' in prompt_of(wire.bodies[0])


def test_several_choices_are_not_streamed_for_events(wire: WireServer, make_chat: MakeChat) -> None:
    wire.always(reply(completion("One.", "Two.")))

    async def watched(chat: Any) -> list[str]:
        chain = RunnableLambda(chat.ainvoke)
        return [event["event"] async for event in chain.astream_events("Hi", version="v2")]

    assert "on_chat_model_end" in asyncio.run(watched(make_chat(n=2)))
    assert "on_chat_model_end" in asyncio.run(watched(make_chat().bind(n=2)))
    assert [body["n"] for body in wire.bodies] == [2, 2]
    assert not any(body.get("stream") for body in wire.bodies)


def test_cached_completion_counts_no_usage(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion("Hello", usage=usage(3, 5))))
    chat = make_chat(cache=InMemoryCache())
    with get_paradigm_usage() as counted:
        asked, cached = calls.invoke(chat, "Hi"), calls.invoke(chat, "Hi")
    assert cached.content == asked.content == "Hello"
    assert (counted.calls, counted.total_tokens) == (1, 8)
    assert cached.usage_metadata == {**asked.usage_metadata, "total_cost": 0}


def test_cached_completion_may_have_no_usage(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion("Hello", usage=None)))
    chat = make_chat(cache=InMemoryCache())
    assert [calls.invoke(chat, "Hi").content for _ in range(2)] == ["Hello", "Hello"]
    assert len(wire.requests) == 1


class Limiter(InMemoryRateLimiter):
    count = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.count += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire()


def test_rate_limiter_is_acquired_once_per_request(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    limiter = Limiter(requests_per_second=1)
    wire.script(reply(completion("a")), streamed("a"))
    chat = make_chat(rate_limiter=limiter)
    calls.invoke(chat, "Hi")
    calls.stream(chat, "Hi")
    assert limiter.count == 2


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize(
    "template",
    ["alfred", "{{ messages[0].content }}", CHATML, JinjaTemplate(source="{{ messages[0].content }}", eos_token="x")],
)
def test_dumped_and_pickled_models_are_restored(
    make_chat: MakeChat, template: str | ChatTemplate | JinjaTemplate
) -> None:
    chat = make_chat(chat_template=template, constrain="vllm", temperature=0.5)
    written = dumps(chat)
    assert KEY not in written
    secrets = {"PARADIGM_API_KEY": KEY}
    loaded = loads(
        written, allowed_objects=[ChatParadigm], valid_namespaces=["langchain_paradigm"], secrets_map=secrets
    )
    for again in (loaded, pickle.loads(pickle.dumps(chat))):
        assert again._get_llm_string() == chat._get_llm_string()
        assert again.chat_template == loaded.chat_template
        assert again.api_key == chat.api_key
    assert KEY not in repr(chat)


def test_model_with_the_path_of_a_template_is_restored_without_the_file(make_chat: MakeChat, tmp_path: Path) -> None:
    path = tmp_path / "chat_template.jinja"
    path.write_text(TOLD)
    chat = make_chat(chat_template=path, chat_template_kwargs={"mood": "calm"})
    written = dumps(chat)
    path.unlink()
    secrets = {"PARADIGM_API_KEY": KEY}
    loaded = loads(
        written, allowed_objects=[ChatParadigm], valid_namespaces=["langchain_paradigm"], secrets_map=secrets
    )
    for again in (loaded, pickle.loads(pickle.dumps(chat)), chat.model_copy()):
        assert again._prompt_of([HumanMessage("Hi")], ()) == "calm[Hi]"


@over_completions
def test_tokens_are_counted_by_server_or_given_tokenizer(wire: WireServer, make_chat: MakeChat) -> None:
    wire.always(reply(completion("", usage=usage(42, 1))))
    chat = make_chat()
    assert chat.get_num_tokens_from_messages([HumanMessage("Hi")], [weather]) == 42
    assert prompt_of(wire.bodies[0]).startswith("<|im_start|>system\nYou can call tools.")
    assert wire.bodies[0]["max_tokens"] == 1
    assert make_chat(custom_get_token_ids=lambda text: [1] * len(text)).get_num_tokens_from_messages(
        [HumanMessage("Hi")]
    ) == len(CHATML.render_prompt("Hi"))


@over_completions
def test_tracers_get_model_name_and_parameters(make_chat: MakeChat) -> None:
    params = make_chat(temperature=0.5)._get_ls_params(stop=["x"])
    assert params == {
        "ls_provider": "paradigm",
        "ls_model_name": "alfred-4.2",
        "ls_model_type": "chat",
        "ls_temperature": 0.5,
        "ls_max_tokens": 2048,
        "ls_stop": ["x"],
    }
    assert make_chat()._get_ls_params(model="another")["ls_model_name"] == "another"


@over_completions
def test_invalid_arguments_raise(make_chat: MakeChat) -> None:
    with pytest.raises(InvalidParameterError, match="constrain: "):
        make_chat(constrain="openai")
    with pytest.raises(InvalidParameterError, match="echo returns the prompt"):
        make_chat(echo=True).invoke("Hi")
    with pytest.raises(InvalidParameterError, match="unknown argument trace_as_chat"):
        make_chat(trace_as_chat=True)


TOLD = "{{ mood }}{% for m in messages %}[{{ m.content }}]{% endfor %}"


def test_variables_of_the_template_are_given_at_construction_and_per_call(
    wire: WireServer, make_chat: MakeChat, calls: Calls
) -> None:
    wire.always(reply(completion("Hello.")))
    chat = make_chat(chat_template=TOLD, chat_template_kwargs={"mood": "calm"})
    calls.invoke(chat, "Hi")
    calls.invoke(chat.bind(chat_template_kwargs={"mood": "glad"}), "Hi")
    assert [body["prompt"] for body in wire.bodies] == ["calm[Hi]", "glad[Hi]"]
    assert not any("chat_template_kwargs" in body for body in wire.bodies)


def test_answers_under_other_variables_are_cached_apart(wire: WireServer, make_chat: MakeChat) -> None:
    wire.script(*(reply(completion(text)) for text in "abcde"))
    cache = InMemoryCache()
    calm, glad = ({"mood": mood} for mood in ("calm", "glad"))
    chats = [make_chat(chat_template=TOLD, chat_template_kwargs=mood, cache=cache) for mood in (calm, glad)]
    answers = [chats[0].invoke("Hi"), chats[1].invoke("Hi"), chats[0].invoke("Hi", chat_template_kwargs={"mood": "x"})]
    answers += [chats[0].invoke("Hi"), chats[1].invoke("Hi")]
    answers += [chat.invoke("Hi", chat_template_kwargs={"lang": "fr"}) for chat in chats]
    assert [answer.content for answer in answers] == list("abcabde")


@over_completions
def test_last_message_of_an_assistant_is_continued(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(reply(completion(" a time.")))
    story = [HumanMessage("Tell."), AIMessage("Once upon")]
    assert calls.invoke(make_chat().bind(continue_final_message=True), story).content == " a time."
    assert wire.bodies[0]["prompt"].endswith("assistant\nOnce upon")


def test_template_of_the_server_is_looked_up_at_the_first_call(
    wire: WireServer, make_chat: MakeChat, calls: Calls
) -> None:
    wire.script(reply({"data": [{"name": "alfred-4.2", "prompt_template": TOLD}]}), reply(completion("Hello.")))
    chat = make_chat(chat_template="server", chat_template_kwargs={"mood": "calm"})
    assert not wire.requests
    assert calls.invoke(chat, "Hi").content == "Hello."
    wire.script(sse(chunk("Hel"), chunk("lo."), chunk("", "stop")))
    assert merged(calls.stream(pickle.loads(pickle.dumps(chat.model_copy())), "Ho")).content == "Hello."
    assert [request.path for request in wire.requests] == ["/api/v2/models", *["/api/v2/completions"] * 2]
    assert [body["prompt"] for body in wire.bodies[1:]] == ["calm[Hi]", "calm[Ho]"]
    assert chat.chat_template == "server"


def test_stream_looks_the_template_of_the_server_up(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    listed = reply({"data": [{"name": "alfred-4.2", "chat_template": TOLD}]})
    wire.script(listed, sse(chunk("Hello."), chunk("", "stop")))
    assert merged(calls.stream(make_chat(chat_template="server"), "Hi")).content == "Hello."
    assert wire.bodies[1]["prompt"] == "[Hi]"
