"""Prompts and messages are rendered by the chat template, if set, on every path."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessageChunk,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
    ToolMessageChunk,
)
from langchain_core.messages.tool import tool_call
from langchain_core.prompt_values import StringPromptValue
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate

from langchain_paradigm._in import role_of
from paradigm_transport import ChatTemplate, InvalidParameterError, JinjaTemplate
from tests.langchain.conftest import Calls, Make
from tests.wire import WireServer, chunk, completion, reply, sse

CHAT = ChatPromptTemplate.from_messages([("system", "Be short."), ("human", "{question}")])
RENDERED = "<start_system>Be short.<end_message><start_user>Why?<end_message><start_assistant>"
ONE_TURN = "<start_user>Why?<end_message><start_assistant>"


def test_chat_prompt_piped_into_model_is_rendered(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion("So.")), sse(chunk("So.", "stop")))
    chain = CHAT | make(chat_template="alfred")
    calls.invoke(chain, {"question": "Why?"})
    calls.stream(chain, {"question": "Why?"})
    assert [body["prompt"] for body in wire.bodies] == [RENDERED, RENDERED]
    assert [body["stop"] for body in wire.bodies] == ["<end_message>"] * 2


def test_template_gets_variables_and_writes_the_beginning(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion("So.")), sse(chunk("So.", "stop")))
    source = "{{ bos_token }}{{ mood }}{% for m in messages %}[{{ m.content }}]{% endfor %}"
    template = JinjaTemplate(source=source, bos_token="<s>")
    llm = make(chat_template=template, chat_template_kwargs={"mood": "calm"})
    calls.invoke(llm, "Why?")
    calls.stream(CHAT | llm, {"question": "Why?"})
    assert [body["prompt"] for body in wire.bodies] == ["<s>calm[Why?]", "<s>calm[Be short.][Why?]"]
    assert [body["add_special_tokens"] for body in wire.bodies] == [False, False]


WAYS: dict[str, Any] = {
    "invoke": lambda calls, llm: calls.invoke(llm, "Why?"),
    "a template": lambda calls, llm: calls.invoke(PromptTemplate.from_template("{q}") | llm, {"q": "Why?"}),
    "batch": lambda calls, llm: calls.batch(llm, ["Why?"]),
    "generate": lambda calls, llm: calls.generate(llm, ["Why?"]),
    "generate with a call's parameter": lambda calls, llm: calls.generate(llm, ["Why?"], temperature=1),
    "generate_prompt": lambda calls, llm: calls.generate_prompt(llm, [StringPromptValue(text="Why?")]),
    "streaming": lambda calls, llm: calls.invoke(llm.model_copy(update={"streaming": True}), "Why?"),
    "stream": lambda calls, llm: calls.stream(llm, "Why?"),
    "retry": lambda calls, llm: calls.invoke(llm.with_retry(), "Why?"),
    "fallbacks": lambda calls, llm: calls.invoke(llm.with_fallbacks([llm]), "Why?"),
}


@pytest.mark.parametrize("way", WAYS)
def test_text_is_rendered_once(wire: WireServer, make: Make, calls: Calls, way: str) -> None:
    wire.always(lambda request: sse(chunk("So.", "stop")) if request.body.get("stream") else reply(completion("So.")))
    WAYS[way](calls, make(chat_template="alfred"))
    assert [body["prompt"] for body in wire.bodies] == [ONE_TURN]


def test_generate_prompt_renders_prompt_values(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(reply(completion("So.")))
    calls.generate_prompt(make(chat_template="alfred"), [CHAT.invoke({"question": "Why?"})])
    calls.generate_prompt(make(), [CHAT.invoke({"question": "Why?"})], stop=["x"])
    assert wire.bodies[0]["prompt"] == RENDERED
    assert wire.bodies[1]["prompt"] == "System: Be short.\nHuman: Why?"


@pytest.mark.parametrize(
    ("message", "role"),
    [
        (HumanMessageChunk(content="x"), "user"),
        (AIMessageChunk(content="x"), "assistant"),
        (SystemMessageChunk(content="x"), "system"),
        (ToolMessageChunk(content="x", tool_call_id="1"), "tool"),
        (FunctionMessageChunk(content="x", name="f"), "tool"),
        (ChatMessageChunk(content="x", role="observer"), "observer"),
    ],
)
def test_message_chunks_have_role_of_their_message(message: BaseMessage, role: str) -> None:
    assert role_of(message) == role


def test_tool_calls_and_results_are_rendered(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(reply(completion("So.")))
    call = tool_call(name="weather", args={"city": "Rome"}, id="1")
    chat = [HumanMessage("How is it?"), AIMessage("", tool_calls=[call]), ToolMessage("Sunny.", tool_call_id="1")]
    calls.invoke(make(chat_template="alfred"), chat)
    assert wire.bodies[0]["prompt"] == (
        "<start_user>How is it?<end_message>"
        '<start_assistant><tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call><end_message>'
        "<start_tool><tool_response>\nSunny.\n</tool_response><end_message><start_assistant>"
    )


def test_jinja_template_renders_messages_and_text(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(reply(completion("So.")))
    llm = make(chat_template="{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}[you]")
    calls.invoke(CHAT | llm, {"question": "Why?"})
    calls.invoke(llm, "Why?")
    assert [body["prompt"] for body in wire.bodies] == ["[system] Be short.[user] Why?[you]", "[user] Why?[you]"]
    assert all("stop" not in body for body in wire.bodies)


def test_prompt_without_template_is_sent_unchanged(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion("So.")))
    calls.invoke(make(), "Why?")
    assert wire.bodies[0] == {"model": "alfred-4.2", "prompt": "Why?", "max_tokens": 256}


def test_stop_of_template_is_added_to_those_of_constructor_and_call(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(reply(completion("So.<end_message>more")))
    llm = make(chat_template="alfred", stop=["zz"])
    assert calls.invoke(llm, "Why?") == "So."
    calls.invoke(llm, "Why?", stop=["yy"])
    assert [body["stop"] for body in wire.bodies] == [["<end_message>", "zz"], ["<end_message>", "yy"]]


def test_messages_of_every_role_are_rendered(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion("So.")))
    messages = [
        SystemMessage("s"),
        HumanMessage([{"type": "text", "text": "h"}, "i"]),
        AIMessage("a"),
        ToolMessage("t", tool_call_id="1"),
        ChatMessage("c", role="critic"),
    ]
    template = ChatTemplate(turn="[{role}:{content}]", opening="[assistant:", stop="]")
    calls.invoke(make(chat_template=template), messages)
    assert (
        wire.bodies[0]["prompt"]
        == "[system:s][user:h\ni][assistant:a][tool:<tool_response>\nt\n</tool_response>][critic:c][assistant:"
    )


def test_message_with_image_raises(wire: WireServer, make: Make, calls: Calls) -> None:
    picture = HumanMessage([{"type": "image_url", "image_url": {"url": "data:,"}}])
    with pytest.raises(InvalidParameterError, match="a message of type human contains a block of type image_url"):
        calls.invoke(make(chat_template="alfred"), [picture])
    assert wire.requests == []
