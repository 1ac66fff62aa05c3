"""What messages may hold: text of any form; what other providers' models wrote; nothing else of a user."""

from __future__ import annotations

import json
import logging
from datetime import date
from typing import Any

import pytest
from langchain_core import exceptions
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompt_values import ImagePromptValue
from langchain_core.version import VERSION

from langchain_paradigm import ParadigmLLM
from langchain_paradigm._in import to_messages
from paradigm_transport import InvalidParameterError
from tests.chat_form import prompt_of
from tests.langchain.conftest import Calls, Make, MakeChat, over_completions
from tests.wire import WireServer, chunk, completion, reply, sse

IMAGES: list[Any] = [
    {"type": "image_url", "image_url": {"url": "data:,"}},
    {"type": "image", "base64": "aGk=", "mime_type": "image/png"},
    {"type": "audio", "base64": "aGk=", "mime_type": "audio/wav"},
    {"type": "file", "file_id": "f-1"},
    {"type": "non_standard", "value": {"video": "x"}},
]
FOREIGN: list[Any] = [
    {"type": "redacted_thinking", "data": "x"},
    {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "1"},
    {"type": "server_tool_use", "id": "1", "name": "web_search", "input": {"query": "x"}},
    {"type": "server_tool_call", "id": "1", "name": "web_search", "args": {"query": "x"}},
    {"type": "server_tool_result", "tool_call_id": "1", "status": "success", "output": {"text": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "1", "content": []},
    {"type": "web_search_call", "id": "1", "status": "completed"},
    {"type": "non_standard", "value": {"a": 1}},
    {"reasoningContent": {"reasoningText": {"text": "x"}}},
    *IMAGES,
]


@pytest.fixture(params=["ParadigmLLM", "ParadigmLLM with a template", "ChatParadigm"])
def model(request: pytest.FixtureRequest, make: Make, make_chat: MakeChat) -> Any:
    if request.param == "ChatParadigm":
        return make_chat()
    return make(chat_template="chatml") if "template" in request.param else make()


@pytest.mark.parametrize("way", ["invoke", "stream", "batch"])
@pytest.mark.parametrize("block", IMAGES, ids=lambda block: block["type"])
@over_completions
def test_block_that_is_not_text_raises(wire: WireServer, model: Any, calls: Calls, way: str, block: Any) -> None:
    content = [{"type": "text", "text": "What is this?"}, block]
    for message in (HumanMessage(content), SystemMessage(content), ToolMessage(content, tool_call_id="1")):
        with pytest.raises(InvalidParameterError, match=f"contains a block of type {block['type']}") as raised:
            getattr(calls, way)(model, [[message]] if way == "batch" else [message])
        assert isinstance(raised.value, getattr(exceptions, "ModelInvalidRequestError", exceptions.LangChainException))
        with pytest.raises(InvalidParameterError, match=block["type"]):
            model.get_num_tokens_from_messages([message])
    assert wire.requests == []


def test_prompt_of_an_image_raises(wire: WireServer, model: Any, calls: Calls) -> None:
    with pytest.raises(InvalidParameterError, match="contains a block of type"):
        calls.invoke(model, ImagePromptValue(image_url={"url": "http://x"}))
    assert wire.requests == []


@pytest.mark.parametrize("kind", [HumanMessage, AIMessage, SystemMessage])
def test_text_blocks_are_joined_by_newlines(wire: WireServer, model: Any, calls: Calls, kind: Any) -> None:
    wire.script(reply(completion("So.")))
    calls.invoke(model, [kind([{"type": "text", "text": "one"}, "two", {"type": "text", "text": ""}, {"text": "3"}])])
    assert "one\ntwo\n3" in prompt_of(wire.bodies[0])
    assert "one\ntwo\n3\n3" not in prompt_of(wire.bodies[0])


# LangChain takes rows that a tool returns for blocks if they happen to have such a `type`.
ROWS: list[Any] = [
    {"type": "file", "name": "Congés.txt", "size": 3},
    {"type": "document", "title": "Congés.txt", "since": date(2026, 1, 2)},
    {"type": "json", "json": {"name": "Congés.txt"}},
    {"type": "text", "name": "Congés.txt"},
    {"type": "document", "title": "Congés.txt", "url": "https://x", "text": "Twenty days."},
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row))
def test_rows_that_a_tool_returns_are_json_whatever_their_type_is(
    wire: WireServer, model: Any, calls: Calls, row: Any
) -> None:
    wire.script(reply(completion("So.")))
    call: Any = {"name": "search", "args": {"word": "leave"}, "id": "1"}
    messages = [HumanMessage("Hi"), AIMessage("", tool_calls=[call]), ToolMessage([row, row], tool_call_id="1")]
    calls.invoke(model, messages)
    text = json.dumps(row, ensure_ascii=False, default=str)
    assert f"{text}\n{text}" in prompt_of(wire.bodies[0])


def test_refusal_is_text_of_the_assistant(wire: WireServer, model: Any, calls: Calls) -> None:
    wire.script(reply(completion("So.")))
    calls.invoke(
        model, [HumanMessage("Hi"), AIMessage([{"type": "refusal", "refusal": "I won't."}]), HumanMessage("?")]
    )
    assert "I won't." in prompt_of(wire.bodies[0])


@pytest.mark.parametrize("block", FOREIGN, ids=lambda block: str(block.get("type")))
@pytest.mark.parametrize(
    "kind", [AIMessage, lambda content: ChatMessage(content, role="assistant")], ids=["ai", "chat"]
)
@over_completions
def test_foreign_blocks_of_an_assistant_are_left_out(
    wire: WireServer, model: Any, calls: Calls, caplog: pytest.LogCaptureFixture, block: Any, kind: Any
) -> None:
    wire.script(reply(completion("So.")))
    messages: list[BaseMessage] = [HumanMessage("Hi"), kind(["Before.", block, "After."]), HumanMessage("And?")]
    with caplog.at_level(logging.DEBUG, "langchain_paradigm"):
        calls.invoke(model, messages)
    assert "Before.\nAfter." in prompt_of(wire.bodies[0])
    (line,) = (record.getMessage() for record in caplog.records if record.name == "langchain_paradigm")
    assert str(block.get("type", "unknown")) in line


def test_calls_beside_foreign_blocks_are_kept(wire: WireServer, model: Any, calls: Calls) -> None:
    wire.script(reply(completion("So.")))
    call: Any = {"name": "weather", "args": {"city": "Rome"}, "id": "1"}
    blocks: list[Any] = [
        {"type": "redacted_thinking", "data": "x"},
        {"type": "function_call", "name": "weather", "arguments": '{"city": "Rome"}', "call_id": "1"},
    ]
    calls.invoke(model, [HumanMessage("Hi"), AIMessage(blocks, tool_calls=[call]), ToolMessage("17", tool_call_id="1")])
    written_by_langchain = isinstance(model, ParadigmLLM) and model.chat_template is None
    is_silent = written_by_langchain and VERSION.startswith("0.")  # it leaves out calls
    assert ("weather" in prompt_of(wire.bodies[0])) is not is_silent
    assert "redacted" not in prompt_of(wire.bodies[0])


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("So.", additional_kwargs={"reasoning_content": "Hm."}),
        AIMessage([{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "So."}]),
        AIMessage([{"type": "thinking", "thinking": "Hm.", "signature": "x"}, "So."]),
    ],
    ids=["reasoning_content", "reasoning", "thinking"],
)
def test_thoughts_of_earlier_messages_stay_apart_from_their_text(message: AIMessage) -> None:
    (read,) = to_messages([message])
    assert (read.thoughts, read.content) == ("Hm.", "So.")


def test_reasoning_that_is_no_text_is_left_out() -> None:
    blocks: list[Any] = [{"type": "reasoning", "summary": []}, {"type": "thinking", "thinking": 7}, "So."]
    assert to_messages([AIMessage(blocks)])[0].thoughts == ""


def test_streamed_text_in_standard_blocks_stays_one_text(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(sse(chunk("Hel"), chunk("lo", "stop")), reply(completion("So.")))
    chat = make_chat()
    if not hasattr(chat, "output_version"):
        pytest.skip("LangChain has no standard blocks")
    chat = chat.model_copy(update={"output_version": "v1"})
    first, *others = calls.stream(chat, "Hi")
    for other in others:
        first += other
    calls.invoke(chat, [HumanMessage("Hi"), first])
    assert "assistant\nHello<|im_end|>" in prompt_of(wire.bodies[1])
