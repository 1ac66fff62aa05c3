"""Tools: how they are offered, and what is made of the calls of them."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.callbacks import CallbackManager, EventPayload, TokenCountingHandler
from llama_index.core.tools import FunctionTool

from llama_index_paradigm import ChatParadigm, get_paradigm_usage
from llama_index_paradigm._compat import ToolCallBlock
from llama_index_paradigm._out import ChatReader
from paradigm_transport import Choice, Completion, CompletionChunk, InvalidParameterError
from paradigm_transport.chat.dialects.base import read_message
from paradigm_transport.chat.prompt_route import PromptRoute
from paradigm_transport.chat.routes import ChatCompletion, ChatRequest
from paradigm_transport.messages import Message, read_tools
from tests.chat_form import prompt_of
from tests.llama_index.conftest import Callbacks, Events, Limiter, Spans, needs_rate_limiter, over_completions
from tests.wire import Script, WireServer, chunk, completion, reply, sse, usage

Make = Callable[..., ChatParadigm]


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


TOOLS = [FunctionTool.from_defaults(multiply), FunctionTool.from_defaults(add)]


def written(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


SIX_BY_SEVEN = written("multiply", a=6, b=7)
ONE_AND_TWO = written("add", a=1, b=2)


@dataclass(frozen=True)
class Method:
    """One of the four that offer tools, called in the same way as the others."""

    name: str

    @property
    def is_async(self) -> bool:
        return self.name.startswith("a")

    @property
    def is_stream(self) -> bool:
        return "stream" in self.name

    def answer(self, text: str, size: int = 3, finish_reason: str = "stop") -> Script:
        """An answer of this text, where it is streamed in pieces of this size; its usage is 3 and 5."""
        if not self.is_stream:
            return reply(completion(text, finish_reason=finish_reason))
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        return sse(*map(chunk, pieces), chunk("", finish_reason), chunk(usage=usage(3, 5)))

    def __call__(self, llm: ChatParadigm, tools: Any = TOOLS, **kwargs: Any) -> list[ChatResponse]:
        kwargs = {"user_msg": "How much?", **kwargs}
        if self.is_async:
            return asyncio.run(self.run(llm, tools, **kwargs))
        result = getattr(llm, self.name)(tools, **kwargs)
        return list(result) if self.is_stream else [result]

    async def run(self, llm: ChatParadigm, tools: Any = TOOLS, **kwargs: Any) -> list[ChatResponse]:
        result = await getattr(llm, self.name)(tools, **kwargs)
        return [response async for response in result] if self.is_stream else [result]


NAMES = ["chat_with_tools", "achat_with_tools", "stream_chat_with_tools", "astream_chat_with_tools"]


@pytest.fixture(params=NAMES)
def method(request: pytest.FixtureRequest) -> Method:
    """Each of the four."""
    return Method(request.param)


@pytest.fixture(params=[name for name in NAMES if "stream" in name])
def stream_method(request: pytest.FixtureRequest) -> Method:
    """Each of the two that stream."""
    return Method(request.param)


def selected(llm: ChatParadigm, response: ChatResponse) -> list[tuple[str, dict[str, Any]]]:
    calls = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    return [(call.tool_name, call.tool_kwargs) for call in calls]


def test_tools_are_described_in_the_prompt(wire: WireServer, method: Method, chat: ChatParadigm) -> None:
    wire.script(method.answer("42."))
    method(chat)
    prompt = prompt_of(wire.bodies[0])
    told = [json.loads(line) for line in prompt.splitlines() if line.startswith('{"type"')]
    assert told == [tool.metadata.to_openai_tool() for tool in TOOLS]
    assert prompt.endswith("<|im_start|>user\nHow much?<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(("parallel", "count"), [({}, 2), (True, 2), (None, 2), (False, 1)])
def test_chat_reads_tool_calls_and_parallel_tool_calls_limits_them(
    wire: WireServer, chat: ChatParadigm, parallel: Any, count: int
) -> None:
    wire.script(reply(completion(f"{SIX_BY_SEVEN}\n{ONE_AND_TWO}")))
    asked = {} if parallel == {} else {"parallel_tool_calls": parallel}
    told = [tool.metadata.to_openai_tool() for tool in TOOLS]
    assert len(selected(chat, chat.chat([ChatMessage("How much?")], tools=told, **asked))) == count


def test_tool_calls_are_read_with_ids_names_and_arguments(wire: WireServer, method: Method, chat: ChatParadigm) -> None:
    wire.script(method.answer(f"Let us see.\n{SIX_BY_SEVEN}\n{ONE_AND_TWO}"))
    *earlier, last = method(chat, allow_parallel_tool_calls=True)
    first, second = chat.get_tool_calls_from_response(last)
    assert (first.tool_name, first.tool_kwargs) == ("multiply", {"a": 6, "b": 7})
    assert (second.tool_name, second.tool_kwargs) == ("add", {"a": 1, "b": 2})
    assert len(first.tool_id) == 9
    assert first.tool_id != second.tool_id
    assert last.message.content == "Let us see."
    assert "".join(response.delta or "" for response in [*earlier, last]) == ("Let us see." if method.is_stream else "")
    told = last.message.additional_kwargs["tool_calls"]
    assert [(call["id"], call["type"], call["function"]["name"]) for call in told] == [
        (call.tool_id, "function", call.tool_name) for call in (first, second)
    ]
    assert [json.loads(call["function"]["arguments"]) for call in told] == [{"a": 6, "b": 7}, {"a": 1, "b": 2}]
    assert json.loads(json.dumps(last.message.model_dump(mode="json")))
    assert last.raw["usage"] == usage(3, 5)
    assert last.additional_kwargs["finish_reason"] == "stop"


@pytest.mark.skipif(ToolCallBlock is None, reason="this LlamaIndex has no blocks for calls")
def test_tool_calls_are_blocks_of_the_message(wire: WireServer, method: Method, chat: ChatParadigm) -> None:
    wire.script(method.answer(f"Yes. {SIX_BY_SEVEN}"))
    text, call = method(chat)[-1].message.blocks
    assert text.text == "Yes."
    assert (call.tool_name, call.tool_kwargs) == ("multiply", {"a": 6, "b": 7})


def test_answer_of_tool_calls_only_has_no_text(wire: WireServer, method: Method, chat: ChatParadigm) -> None:
    wire.script(method.answer(SIX_BY_SEVEN))
    last = method(chat)[-1]
    assert not last.message.content
    assert len(chat.get_tool_calls_from_response(last)) == 1


@over_completions
def test_stream_gives_the_arguments_of_a_call_as_they_arrive(
    wire: WireServer, stream_method: Method, chat: ChatParadigm
) -> None:
    wire.script(stream_method.answer(f"Well. {SIX_BY_SEVEN}", size=1))
    responses = stream_method(chat)
    seen = [selected(chat, response) for response in responses]
    ids = {call.tool_id for each in responses for call in chat.get_tool_calls_from_response(each, False)}
    assert len(ids) == 1
    grown = [each[0][1] for each in seen if each]
    assert grown[0] == {}
    assert {"a": 6} in grown
    assert grown[-1] == {"a": 6, "b": 7}
    assert seen[:6] == [[]] * 6
    assert all("<" not in (response.message.content or "") for response in responses)


@given(
    pieces=st.lists(
        st.sampled_from(["So. ", "a < b", "\n", SIX_BY_SEVEN, ONE_AND_TWO, "<tool_call>", "</tool_call>", "{", "é"]),
        max_size=6,
    ),
    cuts=st.sets(st.integers(min_value=1, max_value=200)),
)
def test_stream_split_anywhere_reads_as_the_whole_answer(pieces: list[str], cuts: set[int]) -> None:
    llm = ChatParadigm(model="m", api_key="k", chat_template="chatml")
    request = ChatRequest([Message("user", "Hi")], read_tools([tool.metadata.to_openai_tool() for tool in TOOLS]))
    route = PromptRoute("chatml")
    text = "".join(pieces)
    completion = Completion("1", "m", 1, [Choice(0, text, "stop")])
    whole = ChatReader().read(ChatCompletion(completion, [read_message(route.reader(request), text)]))
    ends = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    chunks = [CompletionChunk(text[begin:end]) for begin, end in itertools.pairwise(ends)]
    call = route.stream_call(request, {"model": "m"})
    reader = ChatReader()
    responses = [
        reader.read_chunk(call.make_event(chunk))
        for chunk in [*chunks, CompletionChunk("", finish_reason="stop", is_last=True)]
    ]
    last = responses[-1].message
    assert "".join(response.delta or "" for response in responses) == (whole.message.content or "")
    assert (last.content or "") == (whole.message.content or "")
    assert "tool_call>" not in (last.content or "")
    assert selected(llm, responses[-1]) == selected(llm, whole)
    told, wanted = ({**each.additional_kwargs} for each in (last, whole.message))
    for calls in (*told.values(), *wanted.values()):
        for call in calls:
            call["id"] = ""
    assert told == wanted


def test_answer_without_a_call_raises_unless_allowed(wire: WireServer, method: Method, chat: ChatParadigm) -> None:
    wire.script(method.answer("It is 42."))
    last = method(chat)[-1]
    assert last.message.content == "It is 42."
    assert chat.get_tool_calls_from_response(last, error_on_no_tool_call=False) == []
    advice = r"\. If this server cannot call tools" if chat.chat_template is None else "$"
    with pytest.raises(ValueError, match=f"^the model did not call a tool{advice}"):
        chat.get_tool_calls_from_response(last)


def test_required_call_that_the_server_leaves_out_is_warned_of(
    wire: WireServer, method: Method, make_chat: Make, route: str, caplog: pytest.LogCaptureFixture
) -> None:
    wire.always(method.answer("It is 42."))
    chat = make_chat()
    for _ in range(2):
        content = method(chat, tool_required=True)[-1].message.content
        assert (content or "") == ("It is 42." if route == "chat" else "")
    warnings = [record for record in caplog.records if record.name == "paradigm_transport"]
    assert ["sent no tool call" in each.getMessage() for each in warnings] == [True] * (route == "chat")


def test_chat_without_messages_is_refused(wire: WireServer, method: Method, chat: ChatParadigm) -> None:
    with pytest.raises(InvalidParameterError, match="a chat needs at least one message"):
        method(chat, user_msg=None)
    assert not wire.requests


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('Yes. <tool_call>\n{"name": "multiply", "arguments": {"a": 6, "b"', "the answer ends before the call does"),
        ("Yes. <tool_call>\nmultiply(6, 7)\n</tool_call>", "not valid JSON"),
        (
            'Yes. <tool_call>\n{"name": "multiply", "arguments": [6, 7]}\n</tool_call>',
            "the arguments are not a JSON object",
        ),
    ],
)
@over_completions
def test_malformed_call_is_reported_with_its_reason(
    wire: WireServer, method: Method, chat: ChatParadigm, answer: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    wire.script(method.answer(answer))
    with caplog.at_level(logging.WARNING):
        last = method(chat)[-1]
    assert last.message.content == "Yes."
    assert "tool_calls" not in last.message.additional_kwargs
    (invalid,) = last.message.additional_kwargs["invalid_tool_calls"]
    assert invalid["reason"] == reason
    assert invalid["text"]
    ((name, arguments),) = selected(chat, last)
    assert name.endswith(f" (malformed call: {reason})")
    assert arguments == {}
    with pytest.raises(ValueError, match=f"^the model's tool call is malformed: {reason}$"):
        chat.get_tool_calls_from_response(last)
    (record,) = caplog.records
    assert record.message == f"Ignoring a malformed tool call: {reason}."


@over_completions
def test_malformed_call_does_not_affect_the_others(wire: WireServer, method: Method, chat: ChatParadigm) -> None:
    wire.script(method.answer(f"<tool_call>\nno\n</tool_call>\n{SIX_BY_SEVEN}"))
    last = method(chat, allow_parallel_tool_calls=True)[-1]
    (call,) = chat.get_tool_calls_from_response(last)
    assert (call.tool_name, call.tool_kwargs) == ("multiply", {"a": 6, "b": 7})
    assert len(last.message.additional_kwargs["invalid_tool_calls"]) == 1


def test_call_that_max_tokens_cut_off_raises_even_if_no_call_is_required(
    wire: WireServer, method: Method, chat: ChatParadigm
) -> None:
    wire.script(method.answer('<tool_call>\n{"name": "multiply", "arguments": {"a": 6', finish_reason="length"))
    last = method(chat)[-1]
    for required in (True, False):
        with pytest.raises(ValueError, match=r"^the model's tool call is malformed: "):
            chat.get_tool_calls_from_response(last, error_on_no_tool_call=required)


@pytest.mark.parametrize(
    ("kwargs", "opened", "answer"),
    [
        ({"tool_required": True}, "<tool_call>\n", '{"name": "add", "arguments": {"a": 1, "b": 2}}\n'),
        ({"tool_choice": "required"}, "<tool_call>\n", '{"name": "add", "arguments": {"a": 1, "b": 2}}\n'),
        ({"tool_choice": "any"}, "<tool_call>\n", '{"name": "add", "arguments": {"a": 1, "b": 2}}\n'),
        ({"tool_choice": "add"}, '<tool_call>\n{"name": "add", "arguments":', ' {"a": 1, "b": 2}}\n'),
        (
            {"tool_choice": {"type": "function", "function": {"name": "add"}}, "tool_required": True},
            '<tool_call>\n{"name": "add", "arguments":',
            ' {"a": 1, "b": 2}}\n',
        ),
    ],
)
@over_completions
def test_required_call_is_prefilled_and_constrained(
    wire: WireServer, method: Method, make_chat: Make, kwargs: dict[str, Any], opened: str, answer: str
) -> None:
    llm = make_chat(constrain="vllm", extra_body={"seed": 1})
    wire.script(method.answer(answer))
    last = method(llm, **kwargs)[-1]
    assert prompt_of(wire.bodies[0]).endswith(f"<|im_start|>assistant\n{opened}")
    assert selected(llm, last) == [("add", {"a": 1, "b": 2})]
    assert not last.message.content
    told = wire.bodies[0]["structured_outputs"]["json"]
    assert wire.bodies[0]["seed"] == 1
    if "name" in opened:
        assert told["properties"] == TOOLS[1].metadata.get_parameters_dict()["properties"]
    else:
        assert [each["properties"]["name"]["const"] for each in told["anyOf"]] == ["multiply", "add"]


@over_completions
@pytest.mark.parametrize("choice", ["none", False])
def test_tool_choice_none_gives_text_only(wire: WireServer, method: Method, chat: ChatParadigm, choice: Any) -> None:
    wire.script(method.answer(f"It is 42. {SIX_BY_SEVEN}"))
    last = method(chat, tool_choice=choice)[-1]
    assert "Multiply" not in prompt_of(wire.bodies[0])
    assert "<tool_call>" in wire.bodies[0]["stop"]
    assert (last.message.content, selected(chat, last)) == ("It is 42. ", [])


@pytest.mark.parametrize(
    ("tools", "kwargs", "said"),
    [
        (TOOLS, {"tool_choice": "divide"}, "tool_choice: unknown tool 'divide'; known tools: multiply, add"),
        ([], {"tool_required": True}, "tool_choice requires a tool call, but there are no tools"),
        (TOOLS, {"tool_choice": "add", "temprature": 1}, "did you mean temperature"),
    ],
)
def test_impossible_tool_choice_is_refused_before_a_request(
    wire: WireServer, method: Method, chat: ChatParadigm, tools: Any, kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        method(chat, tools, **kwargs)
    assert not wire.requests


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"tools": TOOLS}, "^tools: each must be"),
        ({"tools": [{"type": "web_search"}]}, "^tools: each must be"),
        ({"tool_choice": 3}, "^tool_choice must be"),
        ({"tool_choice": {"type": "web_search"}}, "^tool_choice must be"),
    ],
)
def test_tools_and_choices_of_an_unknown_form_are_refused(
    wire: WireServer, chat: ChatParadigm, kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        chat.chat([ChatMessage("Hi")], **kwargs)
    assert not wire.requests


def test_empty_list_of_tools_is_a_plain_chat(wire: WireServer, method: Method, chat: ChatParadigm) -> None:
    wire.script(method.answer("Hello"))
    assert method(chat, [])[-1].message.content == "Hello"
    assert prompt_of(wire.bodies[0]) == "<|im_start|>user\nHow much?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("text", [f"{SIX_BY_SEVEN}\n{ONE_AND_TWO} So.", f"<tool_call>[{SIX_BY_SEVEN[12:-13]},{{}}]"])
@over_completions
def test_without_parallel_calls_the_answer_ends_with_the_first_call(
    wire: WireServer, method: Method, chat: ChatParadigm, text: str
) -> None:
    wire.script(method.answer(text))
    last = method(chat)[-1]
    assert "</tool_call>" in wire.bodies[0]["stop"]
    assert selected(chat, last) == [("multiply", {"a": 6, "b": 7})]
    assert not last.message.content


def test_history_and_question_are_sent_in_order(wire: WireServer, method: Method, make_chat: Make) -> None:
    wire.script(method.answer("42."))
    history = [ChatMessage("Hello"), ChatMessage(role="assistant", content="Hi.")]
    method(make_chat(system_prompt="Be kind."), chat_history=history, user_msg=ChatMessage("And?"), temperature=0)
    prompt = prompt_of(wire.bodies[0])
    assert prompt.startswith("<|im_start|>system\nBe kind.\n\nYou can call tools.")
    assert prompt.count("Be kind.") == 1
    asked = (
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n"
    )
    assert prompt.endswith(f"{asked}<|im_start|>assistant\n")
    assert wire.bodies[0]["temperature"] == 0
    assert len(history) == 2


def test_call_and_its_result_are_written_as_the_model_wrote_them(
    wire: WireServer, method: Method, chat: ChatParadigm
) -> None:
    wire.script(method.answer(f"Well. {SIX_BY_SEVEN}"), method.answer("It is 42."))
    asked = [ChatMessage("How much?")]
    answer = method(chat, user_msg=None, chat_history=asked)[-1].message
    (call,) = chat.get_tool_calls_from_response(ChatResponse(message=answer))
    result = ChatMessage(role="tool", content="42", additional_kwargs={"tool_call_id": call.tool_id})
    assert method(chat, user_msg=None, chat_history=[*asked, answer, result])[-1].message.content == "It is 42."
    assert prompt_of(wire.bodies[1]).startswith(prompt_of(wire.bodies[0]))
    assert prompt_of(wire.bodies[1]).removeprefix(prompt_of(wire.bodies[0])) == (
        f"Well.\n{SIX_BY_SEVEN}<|im_end|>\n<|im_start|>tool\n<tool_response>\n42\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_predict_and_call_returns_the_results_of_tools(wire: WireServer, chat: ChatParadigm) -> None:
    wire.script(reply(completion(SIX_BY_SEVEN)), reply(completion(SIX_BY_SEVEN)), reply(completion(ONE_AND_TWO * 2)))
    assert str(chat.predict_and_call(TOOLS, "How much?")) == "42"
    assert str(asyncio.run(chat.apredict_and_call(TOOLS, "How much?"))) == "42"
    both = chat.predict_and_call(TOOLS, "How much?", allow_parallel_tool_calls=True)
    assert both.response == "3\n\n3"


# Events


def test_each_call_with_tools_reports_one_event_and_one_usage(
    wire: WireServer, method: Method, make_chat: Make, callbacks: Callbacks, events: Events, spans: Spans
) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    wire.script(method.answer(SIX_BY_SEVEN, size=20))
    with get_paradigm_usage() as counted:
        llm = make_chat(callback_manager=CallbackManager([callbacks, counter]))
        responses = method(llm, allow_parallel_tool_calls=True)
    (start,), (end,) = callbacks.starts, callbacks.ends
    assert start[EventPayload.ADDITIONAL_KWARGS] == {
        "tools": [tool.metadata.to_openai_tool() for tool in TOOLS],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    }
    assert end[EventPayload.RESPONSE] is responses[-1]
    progress = ["LLMChatInProgressEvent"] * len(responses) if method.is_stream else []
    assert events.names == ["LLMChatStartEvent", *progress, "LLMChatEndEvent"]
    assert events.seen[-1].response.message.additional_kwargs["tool_calls"]
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (3, 5)
    assert (counted.calls, counted.total_tokens) == (1, 8)
    names = [span.split("-")[0].split(".")[1] for span in spans.entered]
    assert names == ["_prepare_chat_with_tools", method.name.removesuffix("_with_tools")]


@needs_rate_limiter
def test_each_call_with_tools_acquires_the_rate_limiter_once(wire: WireServer, method: Method, make_chat: Make) -> None:
    wire.script(method.answer(SIX_BY_SEVEN))
    limiter = Limiter()
    method(make_chat(rate_limiter=limiter))
    assert limiter.acquired == ["async" if method.is_async else "sync"]


@over_completions
def test_tool_without_parameters_is_called_with_an_empty_object(wire: WireServer, make_chat: Make) -> None:
    wire.script(reply(completion("{}")))
    bare = {"type": "function", "function": {"name": "now", "description": None}}
    chat = make_chat(constrain="vllm")
    response = chat.chat([ChatMessage("How late is it?")], tools=[bare], tool_choice="now")
    assert [call.tool_kwargs for call in chat.get_tool_calls_from_response(response)] == [{}]
    if ToolCallBlock is not None:
        assert [block.tool_kwargs for block in response.message.blocks if isinstance(block, ToolCallBlock)] == [{}]
    nothing = {"type": "object", "properties": {}, "additionalProperties": False}
    assert wire.bodies[0]["structured_outputs"]["json"] == nothing
