"""What a route sends for a dialect, and how it reads the answer; sync and async."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paradigm_transport import BadRequestError, InvalidParameterError, JinjaTemplate
from paradigm_transport.chat.dialects.choosing import TOOL_PARSERS
from paradigm_transport.chat.events import ParsedMessage
from paradigm_transport.chat.fields import ChatFields
from paradigm_transport.chat.prompt_route import PromptRoute
from paradigm_transport.chat.routes import ChatRequest
from paradigm_transport.endpoints.completions.fields import CompletionFields
from paradigm_transport.messages import Message, NamedTool, ToolCall
from tests.transport.answers import BARE_OSLO, HARMONY_OSLO, HARMONY_THOUGHT, HERMES_NOW, HERMES_OSLO, TOOLS, WEATHER
from tests.transport.conftest import MODEL, Api
from tests.wire import WireServer, chunk, completion, reply, sse

HELLO = [Message("user", "Hello")]
WITH_TOOLS = ChatRequest(HELLO, TOOLS)
FORCED = ChatRequest(HELLO, TOOLS, NamedTool("get_weather"))
ANY = ChatRequest(HELLO, TOOLS, "any", parallel_tool_calls=False)


class Fields(ChatFields, CompletionFields):
    """The fields of a chat model, without a framework."""


def fields(**options: Any) -> Fields:
    return Fields(**{"model": MODEL, "chat_template": "chatml", **options})


def ask(api: Api, wire: WireServer, request: ChatRequest, *, client: Any = None, **options: Any) -> ParsedMessage:
    """Ask for a whole answer."""
    chosen = fields(**options)
    answer = (client or api.client(wire)).send(PromptRoute.of(chosen).call(request, chosen))
    return answer.messages[0]  # type: ignore[no-any-return]


def stream(api: Api, wire: WireServer, request: ChatRequest, **options: Any) -> ParsedMessage:
    """Ask for a streamed answer."""
    chosen, message = fields(**options), ParsedMessage()
    for piece in api.client(wire).open(PromptRoute.of(chosen).stream_call(request, chosen)):
        message.add(piece.events)
    return message


def test_thoughts_and_calls_are_read_whole_and_streamed(api: Api, wire: WireServer) -> None:
    answer = f"<think>\nHm.\n</think>\n\nI look.\n{HERMES_OSLO}"
    wire.script(reply(completion(answer)), sse(*map(chunk, answer), chunk("", "stop")))
    for message in (
        ask(api, wire, WITH_TOOLS, reasoning_parser="qwen3"),
        stream(api, wire, WITH_TOOLS, reasoning_parser="qwen3"),
    ):
        assert (message.thoughts, message.text) == ("Hm.", "I look.")
        assert [(call.name, call.arguments) for call in message.calls] == [("get_weather", {"city": "Oslo"})]


@pytest.mark.parametrize(
    ("request_", "options", "sent"),
    [
        (ChatRequest(HELLO), {}, False),
        (WITH_TOOLS, {}, True),
        (
            ChatRequest([*HELLO, Message("assistant", "", (ToolCall("1", "time", {}),)), Message("tool", "noon")]),
            {},
            True,
        ),
        (ChatRequest(HELLO), {"reasoning_parser": "qwen3"}, True),
        (ChatRequest(HELLO), {"tool_call_parser": "openai"}, True),
    ],
)
def test_special_tokens_are_asked_for_if_the_answer_has_marks(
    api: Api, wire: WireServer, request_: ChatRequest, options: dict[str, Any], sent: bool
) -> None:
    wire.always(reply(completion("Hi")))
    ask(api, wire, request_, **options)
    assert wire.bodies[0].get("skip_special_tokens", True) is not sent


def test_special_tokens_of_the_caller_are_not_changed(api: Api, wire: WireServer) -> None:
    wire.always(reply(completion("Hi")))
    ask(api, wire, WITH_TOOLS, extra_body={"skip_special_tokens": True})
    assert wire.bodies[0]["skip_special_tokens"] is True


def test_special_tokens_of_the_caller_are_not_left_out_if_the_server_refuses_them(api: Api, wire: WireServer) -> None:
    wire.always(reply({"error": {"message": "Unknown field: skip_special_tokens"}}, 400))
    with pytest.raises(BadRequestError, match="skip_special_tokens"):
        ask(api, wire, WITH_TOOLS, extra_body={"skip_special_tokens": False})
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("skip_special_tokens", "Unknown field: skip_special_tokens"),
        ("structured_outputs", "structural_tag is not supported"),
        ("structured_outputs", "Give exactly one field of structured_outputs"),
    ],
)
def test_fields_of_vllm_are_left_out_for_good_once_the_server_refuses_them(
    api: Api, wire: WireServer, caplog: pytest.LogCaptureFixture, field: str, words: str
) -> None:
    wire.script(reply({"error": {"message": words}}, 400))
    wire.always(reply(completion(HERMES_OSLO)))
    client = api.client(wire, max_retries=0)
    for _ in range(2):
        assert ask(api, wire, WITH_TOOLS, client=client, constrain="vllm").calls
    assert [field in body for body in wire.bodies] == [True, False, False]
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert f"refuses {field}" in warning.getMessage()


def test_forced_call_goes_without_a_constraint_that_an_older_server_refuses(api: Api, wire: WireServer) -> None:
    wire.script(
        reply({"error": {"message": "structural_tag is not supported"}}, 400),
        reply(completion("<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>")),
    )
    message = ask(api, wire, FORCED, constrain="vllm", tool_call_parser="qwen3_coder")
    assert [(call.name, call.arguments) for call in message.calls] == [("get_weather", {"city": "Oslo"})]
    assert ["structured_outputs" in body for body in wire.bodies] == [True, False]


def test_calls_that_the_model_may_make_are_held_to_their_schemas(api: Api, wire: WireServer) -> None:
    wire.always(reply(completion(HERMES_OSLO)))
    ask(api, wire, WITH_TOOLS, constrain="vllm")
    form = json.loads(wire.bodies[0]["structured_outputs"]["structural_tag"])["format"]
    assert form["type"] == "triggered_tags"
    assert (form["at_least_one"], form["stop_after_first"]) == (False, False)
    assert all(tag["begin"].startswith(tuple(form["triggers"])) for tag in form["tags"])
    ask(api, wire, ChatRequest(HELLO, TOOLS, parallel_tool_calls=False), constrain="vllm")
    form = json.loads(wire.bodies[1]["structured_outputs"]["structural_tag"])["format"]
    assert form["stop_after_first"] is True


@pytest.mark.parametrize("name", sorted(TOOL_PARSERS))
@pytest.mark.parametrize("request_", [FORCED, ANY, WITH_TOOLS])
def test_constraint_is_one_that_the_server_knows(name: str, request_: ChatRequest) -> None:
    chosen = fields(tool_call_parser=name, constrain="vllm")
    route = PromptRoute.of(chosen)
    call = route.call(request_, chosen)
    outputs = (call.parameters.extra_body or {}).get("structured_outputs") or call._optional.get("structured_outputs")
    if outputs is None:
        return
    (kind,) = outputs
    if kind == "json":
        assert outputs["json"].get("type") in ("object", "array") or "anyOf" in outputs["json"]
    elif kind == "grammar":
        assert outputs["grammar"].startswith("root ::= ")
    else:
        assert json.loads(outputs["structural_tag"])["type"] == "structural_tag"
        assert kind == "structural_tag"


THINKING = JinjaTemplate(
    source="{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% else %}<think>\n{% endif %}",
)


def test_prompt_tells_whether_the_answer_begins_in_thoughts(api: Api, wire: WireServer) -> None:
    wire.always(reply(completion("Hm.\n</think>\n\nHi")))
    message = ask(api, wire, ChatRequest(HELLO), chat_template=THINKING)
    assert (message.thoughts, message.text) == ("Hm.", "Hi")
    wire.always(reply(completion("Hi")))
    quick = THINKING.model_copy(update={"variables": {"enable_thinking": False}})
    message = ask(api, wire, ChatRequest(HELLO), chat_template=quick)
    assert (message.thoughts, message.text) == ("", "Hi")


@pytest.mark.parametrize(
    ("options", "end"),
    [
        ({"chat_template": THINKING}, '<think>\n\n</think>\n\n<tool_call>\n{"name": "get_weather", "arguments":'),
        (
            {"reasoning_parser": "qwen3"},
            'assistant\n<think>\n\n</think>\n\n<tool_call>\n{"name": "get_weather", "arguments":',
        ),
        (
            {"tool_call_parser": "kimi_k2"},
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>",
        ),
        ({"tool_call_parser": "openai"}, "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"),
        ({"tool_call_parser": "llama3_json"}, 'assistant\n{"name": "get_weather", "parameters":'),
    ],
)
def test_forced_call_closes_thoughts_first(options: dict[str, Any], end: str) -> None:
    assert PromptRoute.of(fields(**options)).prompt(FORCED).endswith(end)


def test_schema_closes_thoughts_only_if_the_server_enforces_it(api: Api, wire: WireServer) -> None:
    asked = ChatRequest(HELLO, schema={"type": "object", "properties": {"a": {"type": "integer"}}})
    wire.script(reply(completion('I think {"a": 1}.\n</think>\n\n{"a": 2}')), reply(completion('{"a": 2}')))
    for constrain, tail in ((None, "<think>\n"), ("vllm", "<think>\n\n</think>\n\n")):
        message = ask(api, wire, asked, chat_template=THINKING, constrain=constrain)
        assert message.text == '{"a": 2}'
        assert wire.bodies[-1]["prompt"].endswith(tail)


def test_stops_of_channels_are_sent(api: Api, wire: WireServer) -> None:
    wire.always(reply(completion(f"{HARMONY_THOUGHT}{HARMONY_OSLO}")))
    message = ask(api, wire, WITH_TOOLS, tool_call_parser="openai", chat_template="alfred")
    assert wire.bodies[0]["stop"] == ["<end_message>", "<|call|>", "<|return|>"]
    assert (message.thoughts, [call.name for call in message.calls]) == ("I look.", ["get_weather"])


def test_call_is_read_after_its_stop_sequence_was_cut_off(api: Api, wire: WireServer) -> None:
    wire.always(reply(completion(HERMES_NOW.removesuffix("</tool_call>"))))
    message = ask(api, wire, ChatRequest(HELLO, TOOLS, parallel_tool_calls=False))
    assert wire.bodies[0]["stop"] == ["<|im_end|>", "</tool_call>"]
    assert [call.name for call in message.calls] == ["time"]


def test_tools_calls_and_results_are_written_in_the_form_of_the_parser() -> None:
    call = ToolCall("a1b2c3d4e", "get_weather", {"city": "Oslo"})
    chat = [*HELLO, Message("assistant", "", (call,)), Message("tool", "7 degrees", tool_call_id=call.id)]
    prompt = PromptRoute.of(fields(tool_call_parser="llama3_json")).prompt(ChatRequest(chat, [WEATHER]))
    assert f"assistant\n{BARE_OSLO}<|im_end|>" in prompt
    assert '{"name": "NAME", "parameters": {"KEY": "VALUE"}}' in prompt
    assert "<tool_response>\n7 degrees\n</tool_response>" in prompt
    mistral = PromptRoute.of(fields(tool_call_parser="mistral")).prompt(ChatRequest(chat, [WEATHER]))
    assert "[TOOL_RESULTS]7 degrees[/TOOL_RESULTS]" in mistral


@pytest.mark.parametrize("argument", ["tool_call_parser", "reasoning_parser"])
@pytest.mark.parametrize("name", ["llama", "minimax_m3", "hf"])
def test_unknown_parser_is_refused_with_the_known_ones(argument: str, name: str) -> None:
    expected = rf"^{argument}: unknown parser '{name}'; known are .*, mistral, .* leave it out, and chat_template"
    with pytest.raises(InvalidParameterError, match=expected):
        fields(**{argument: name})


def test_named_parser_wins_over_the_template_without_a_warning() -> None:
    calls = "{% for c in m.tool_calls %}@{{ c.function.name }}{% endfor %}"
    source = f"{{% for m in messages %}}{{{{ m.content }}}}{calls}{{% endfor %}}"
    with pytest.warns(UserWarning, match="pass tool_call_parser"):
        fields(chat_template=source)
    fields(chat_template=source, tool_call_parser="llama3_json")


@pytest.mark.parametrize("parser", ["llama3_json", "xlam", "pythonic"])
def test_bare_call_that_is_not_allowed_is_text(api: Api, wire: WireServer, parser: str) -> None:
    written = TOOL_PARSERS[parser].calls.write([ToolCall("1", "time", {})])
    wire.always(reply(completion(written)))
    message = ask(api, wire, ChatRequest(HELLO, TOOLS, "none"), tool_call_parser=parser)
    assert (message.text, message.calls) == (written, [])
    assert ask(api, wire, WITH_TOOLS, tool_call_parser=parser).calls


def test_id_of_a_call_is_the_models(api: Api, wire: WireServer) -> None:
    wire.script(
        reply(completion("<|tool_call_begin|>functions.time:4<|tool_call_argument_begin|>{}<|tool_call_end|>")),
        reply(completion("[TOOL_CALLS]time[CALL_ID]a1b2c3d4e[ARGS]{}")),
        reply(completion("[TOOL_CALLS]time[CALL_ID]a[ARGS]{}[TOOL_CALLS]time[CALL_ID]a[ARGS]{}")),
    )
    assert [call.id for call in ask(api, wire, WITH_TOOLS, tool_call_parser="kimi_k2").calls] == ["functions.time:4"]
    assert [call.id for call in ask(api, wire, WITH_TOOLS, tool_call_parser="mistral").calls] == ["a1b2c3d4e"]
    twice = ask(api, wire, WITH_TOOLS, tool_call_parser="mistral").calls
    assert twice[0].id == "a" != twice[1].id


OLMO = JinjaTemplate(
    source="{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls %}<function_calls>\n{{ call.function.name }}("
    "{% for key, value in call.function.arguments.items() %}{{ key }}='{{ value }}'{% endfor %})\n</function_calls>"
    "{% endfor %}<|im_end|>\n{% endfor %}{{ tools | tojson if tools }}<|im_start|>assistant\n"
)


@pytest.mark.parametrize(("parser", "text"), [(None, "It is foggy."), ("olmo3", "")])
def test_answer_is_text_if_the_template_opens_no_thoughts(
    api: Api, wire: WireServer, parser: str | None, text: str
) -> None:
    wire.script(reply(completion("It is foggy.")), sse(chunk("It is "), chunk("foggy.", "stop")))
    options = {"chat_template": OLMO, "tool_call_parser": "olmo3", "reasoning_parser": parser}
    assert ask(api, wire, WITH_TOOLS, **options).text == text
    assert stream(api, wire, WITH_TOOLS, **options).text == text
