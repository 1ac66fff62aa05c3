"""`ChatParadigm`: the eight methods, messages of every kind, events; without tools."""

from __future__ import annotations

import asyncio
import copy
import importlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from blockbuster import blockbuster_ctx
from llama_index.core import PromptTemplate
from llama_index.core.base.llms import types
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.callbacks import CallbackManager, EventPayload, TokenCountingHandler
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel

from llama_index_paradigm import ChatParadigm, get_paradigm_usage
from llama_index_paradigm._compat import ToolCallBlock
from llama_index_paradigm._in import plain_messages
from paradigm_transport import ChatTemplate, InvalidParameterError, JinjaTemplate, RateLimitError
from tests.chat_form import prompt_of
from tests.llama_index.conftest import (
    KEY,
    MODEL,
    Callbacks,
    Events,
    Limiter,
    Method,
    Spans,
    blocks_of_text,
    needs_citable_blocks,
    needs_rate_limiter,
    over_completions,
    text_of,
)
from tests.wire import WireServer, chunk, completion, reply, sse, usage

Make = Callable[..., ChatParadigm]

JINJA = JinjaTemplate(
    source="{{ bos_token }}{% for m in messages %}[{{ m.role }}|{{ m.content }}|{{ m.name }}"
    "{% for c in m.tool_calls %}|{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}]{% endfor %}>",
    eos_token="</s>",
)


def turns(*pairs: tuple[str, str]) -> str:
    """ChatML, by hand."""
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in pairs) + "<|im_start|>assistant\n"


def kind(method: Method) -> str:
    return "Chat" if method.is_chat else "Completion"


@over_completions
def test_call_sends_the_formatted_prompt_and_all_parameters(wire: WireServer, method: Method, make_chat: Make) -> None:
    wire.script(method.answer("Hel", "lo"))
    llm = make_chat(temperature=0.5, max_tokens=7, extra_body={"seed": 1}, additional_kwargs={"top_p": 0.5})
    responses = method(llm, "Hi", user="me")
    assert text_of(responses[-1]) == "Hello"
    streamed = {"stream": True, "stream_options": {"include_usage": True}} if method.is_stream else {}
    sent = {"temperature": 0.5, "max_tokens": 7, "seed": 1, "top_p": 0.5, "user": "me", "stop": "<|im_end|>"}
    assert wire.bodies == [{"model": MODEL, "prompt": turns(("user", "Hi")), **sent, **streamed}]


def test_stream_responses_hold_the_delta_and_the_text_so_far(
    wire: WireServer, stream_method: Method, chat: ChatParadigm
) -> None:
    wire.script(stream_method.answer("One", " two", " three"))
    responses = stream_method(chat)
    assert [response.delta for response in responses] == ["One", " two", " three", ""]
    assert [text_of(response) for response in responses] == ["One", "One two", *["One two three"] * 2]


def test_last_response_holds_finish_reason_and_usage(wire: WireServer, method: Method, chat: ChatParadigm) -> None:
    wire.script(method.answer("Hel", "lo"))
    with get_paradigm_usage() as counted:
        *earlier, last = method(chat)
    assert last.additional_kwargs == {"finish_reason": "stop", "latency": ANY, **usage(3, 5)}
    assert last.raw["usage"] == usage(3, 5)
    assert not any("usage" in response.raw or response.additional_kwargs for response in earlier)
    assert (counted.calls, counted.total_tokens, counted.uncounted) == (1, 8, 0)


@over_completions
def test_all_choices_are_in_raw(wire: WireServer, method: Method, chat: ChatParadigm) -> None:
    wire.script(reply(completion("one", "two")))
    if method.is_stream:
        with pytest.raises(InvalidParameterError, match="n must be 1 while streaming"):
            method(chat, n=2)
        assert not wire.requests
    else:
        (response,) = method(chat, n=2)
        assert text_of(response) == "one"
        assert [choice["text"] for choice in response.raw["choices"]] == ["one", "two"]


def test_formatted_prompt_is_sent_unchanged(wire: WireServer, method: Method, make_chat: Make) -> None:
    if not method.is_chat:
        wire.script(method.answer("Hello"))
        wrapper = PromptTemplate("<{query_str}>")
        method(make_chat(system_prompt="Be kind.", query_wrapper_prompt=wrapper), "Hi", formatted=True)
        body = wire.bodies[0]
        assert body.get("messages", body.get("prompt")) in ("Hi", [{"role": "user", "content": "Hi"}])


async def drained(coming: Any) -> None:
    async for _ in await coming:
        pass


@pytest.mark.parametrize("how", ["predict", "apredict", "stream", "astream"])
def test_predictions_send_messages_with_the_system_prompt_once(wire: WireServer, make_chat: Make, how: str) -> None:
    wire.script(sse(chunk("Hello", "stop")) if "stream" in how else reply(completion("Hello")))
    llm = make_chat(system_prompt="Be kind.")
    result = getattr(llm, how)(PromptTemplate("Say {what}."), what="hello")
    if how == "stream":
        assert "".join(result) == "Hello"
    elif how == "astream":
        asyncio.run(drained(result))
    else:
        assert (asyncio.run(result) if how == "apredict" else result) == "Hello"
    assert prompt_of(wire.bodies[0]) == turns(("system", "Be kind."), ("user", "Say hello."))


def test_system_prompt_is_added_once_and_joined_to_a_system_message(
    wire: WireServer, method: Method, make_chat: Make
) -> None:
    llm = make_chat(system_prompt="Be kind.")
    wire.script(*[method.answer("Hello")] * 3)
    method(llm)
    assert prompt_of(wire.bodies[0]) == turns(("system", "Be kind."), ("user", "Hi"))
    if method.is_chat:
        for role in (MessageRole.SYSTEM, MessageRole.DEVELOPER):
            method(llm, [ChatMessage(role=role, content="Be brief."), ChatMessage("Hi")])
            assert prompt_of(wire.bodies[-1]) == turns(("system", "Be kind.\n\nBe brief."), ("user", "Hi"))


def test_query_wrapper_prompt_wraps_the_users_message(wire: WireServer, method: Method, make_chat: Make) -> None:
    wire.script(method.answer("Hello"))
    llm = make_chat(query_wrapper_prompt=PromptTemplate("<{query_str}>"))
    method(llm)
    assert prompt_of(wire.bodies[0]) == turns(("user", "<Hi>"))
    if method.is_chat and llm.chat_template is None:
        wire.script(method.answer("Hello"))
        method(llm, [ChatMessage("Hi", additional_kwargs={"name": "Ann"})])
        assert wire.bodies[1]["messages"] == [{"role": "user", "content": "<Hi>", "name": "Ann"}]


CALLS = [
    {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
    {"id": "2", "type": "function", "function": {"name": "get", "arguments": "{"}},
]


class Function(BaseModel):
    name: str
    arguments: str


class Called(BaseModel):
    """As OpenAI's client has it."""

    id: str
    type: str = "function"
    function: Function


def called_messages(calls: Any) -> list[ChatMessage]:
    return [
        ChatMessage("Add."),
        ChatMessage(role=MessageRole.ASSISTANT, content="Yes.", additional_kwargs={"tool_calls": calls}),
        ChatMessage(role=MessageRole.TOOL, content="3", additional_kwargs={"tool_call_id": "1"}),
        ChatMessage(role=MessageRole.TOOL, content="none", additional_kwargs={"tool_call_id": "2", "name": "got"}),
    ]


def calls_as_blocks() -> list[ChatMessage]:
    messages = called_messages([])
    messages[1].blocks += [
        ToolCallBlock(tool_call_id="1", tool_name="add", tool_kwargs={"a": 1}),
        ToolCallBlock(tool_call_id="2", tool_name="get", tool_kwargs="{"),
    ]
    return messages


needs_call_blocks = pytest.mark.skipif(ToolCallBlock is None, reason="this LlamaIndex has no blocks for calls")


@pytest.mark.parametrize(
    "make_messages",
    [
        lambda: called_messages(CALLS),
        lambda: called_messages([Called.model_validate(call) for call in CALLS]),
        pytest.param(calls_as_blocks, marks=needs_call_blocks),
    ],
    ids=["dictionaries", "objects", "blocks"],
)
@pytest.mark.filterwarnings("ignore:chat_template")
def test_tool_calls_and_their_results_are_formatted_in_the_prompt(
    wire: WireServer, make_chat: Make, make_messages: Callable[[], Any]
) -> None:
    wire.always(reply(completion("Hello")))
    make_chat().chat(make_messages())
    calls = [
        f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'
        for name, arguments in (("add", '{"a": 1}'), ("get", "{}"))
    ]
    assert prompt_of(wire.bodies[0]) == turns(
        ("user", "Add."),
        ("assistant", "\n".join(["Yes.", *calls])),
        ("tool", "<tool_response>\n3\n</tool_response>"),
        ("tool", "<tool_response>\nnone\n</tool_response>"),
    )
    make_chat(chat_template=JINJA).chat(make_messages())
    assert prompt_of(wire.bodies[1]) == ('[user|Add.|][assistant|Yes.||add{"a": 1}|get{}][tool|3|add][tool|none|got]>')


@pytest.mark.filterwarnings("ignore:chat_template")
def test_tool_name_is_added_to_results_only(wire: WireServer, make_chat: Make) -> None:
    wire.script(reply(completion("Hello")))
    call = {**CALLS[0], "id": None}
    further = [ChatMessage(role=MessageRole.ASSISTANT, content="It is 3."), ChatMessage("Thanks")]
    result = ChatMessage(role=MessageRole.TOOL, content="3")
    make_chat(chat_template=JINJA).chat([*called_messages([call])[:2], result, *further])
    assert prompt_of(wire.bodies[0]) == (
        '[user|Add.|][assistant|Yes.||add{"a": 1}][tool|3|add][assistant|It is 3.|][user|Thanks|]>'
    )


def test_call_of_the_older_api_is_sent_with_its_result(wire: WireServer, chat: ChatParadigm) -> None:
    wire.script(reply(completion("Hello")))
    call = {"function_call": {"name": "add", "arguments": '{"a": 1}'}}
    asked = ChatMessage(role=MessageRole.ASSISTANT, content=None, additional_kwargs=call)
    result = ChatMessage(role=MessageRole.FUNCTION, content="3", additional_kwargs={"name": "add"})
    chat.chat([ChatMessage("Add."), asked, result])
    assert prompt_of(wire.bodies[0]) == turns(
        ("user", "Add."),
        ("assistant", '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'),
        ("tool", "<tool_response>\n3\n</tool_response>"),
    )


@over_completions
def test_malformed_call_stays_in_the_history_as_text(wire: WireServer, method: Method, chat: ChatParadigm) -> None:
    if method.is_chat:
        wire.script(reply(completion('Let me see. <tool_call>\n{"name": "add"')), method.answer("Hello"))
        tools = [{"type": "function", "function": {"name": "add"}}]
        answer = chat.chat([ChatMessage("Add.")], tools=tools).message
        (invalid,) = answer.additional_kwargs["invalid_tool_calls"]
        method(chat, [ChatMessage("Add."), answer, ChatMessage("Well?")])
        assert prompt_of(wire.bodies[1]) == turns(
            ("user", "Add."), ("assistant", f"Let me see.\n{invalid['text']}"), ("user", "Well?")
        )


@pytest.mark.parametrize("calls", [[{"name": "add"}], ["add"], [{"id": "1", "function": None}]])
def test_tool_calls_of_an_unknown_form_are_refused(
    wire: WireServer, method: Method, chat: ChatParadigm, calls: Any
) -> None:
    if method.is_chat:
        with pytest.raises(InvalidParameterError, match="tool_calls of a message"):
            method(chat, called_messages(calls))
        assert not wire.requests


def test_roles_of_other_models_map_to_the_template_roles(wire: WireServer, chat: ChatParadigm) -> None:
    wire.script(reply(completion("Hello")))
    roles = [MessageRole.DEVELOPER, MessageRole.USER, MessageRole.CHATBOT, MessageRole.MODEL]
    chat.chat([ChatMessage(role=role, content=role.value) for role in roles])
    assert prompt_of(wire.bodies[0]) == turns(
        ("system", "developer"), ("user", "user"), ("assistant", "chatbot"), ("assistant", "model")
    )


IMAGE = ImageBlock(image=b"iVBORw0KGgo=")


@pytest.mark.parametrize("role", [MessageRole.SYSTEM, MessageRole.USER, MessageRole.TOOL])
@over_completions
def test_message_with_an_image_is_refused(wire: WireServer, method: Method, make_chat: Make, role: MessageRole) -> None:
    if method.is_chat:
        llm = make_chat(system_prompt="Be kind.", query_wrapper_prompt=PromptTemplate("<{query_str}>"))
        with pytest.raises(InvalidParameterError, match="image"):
            method(llm, [ChatMessage(role=role, blocks=[TextBlock(text="This?"), IMAGE])])
        assert not wire.requests


@pytest.mark.parametrize("texts", [["This is our logo."], []])
def test_image_of_a_system_message_is_kept_beside_the_system_prompt(
    wire: WireServer, method: Method, texts: list[str]
) -> None:
    if method.is_chat:
        wire.always(method.answer("Hello"))
        llm = ChatParadigm(model=MODEL, api_key=KEY, base_url=wire.url, context_window=4096, system_prompt="Be kind.")
        system = ChatMessage(role=MessageRole.SYSTEM, blocks=[*(TextBlock(text=text) for text in texts), IMAGE])
        method(llm, [system, ChatMessage("Hi")])
        text, image = wire.bodies[0]["messages"][0]["content"]
        assert text["text"] == "\n\n".join(["Be kind.", *texts])
        assert image["type"] == "image_url"
        llm.close()


@needs_citable_blocks
def test_text_of_citable_blocks_and_citations_is_sent(wire: WireServer, method: Method, make_chat: Make) -> None:
    if method.is_chat:
        wire.script(method.answer("Hello"))
        blocks = blocks_of_text("One", "Two", "Three")
        messages = [ChatMessage(role=role, blocks=blocks) for role in (MessageRole.SYSTEM, MessageRole.USER)]
        method(make_chat(system_prompt="Be kind."), messages)
        assert prompt_of(wire.bodies[0]) == turns(
            ("system", "Be kind.\n\nOne\nTwo\nThree"), ("user", "One\nTwo\nThree")
        )


@needs_citable_blocks
@pytest.mark.parametrize("block", [1, 2])
@over_completions
def test_image_inside_a_citable_block_or_citation_is_refused(wire: WireServer, chat: ChatParadigm, block: int) -> None:
    with pytest.raises(InvalidParameterError, match="image"):
        chat.chat([ChatMessage(blocks=[blocks_of_text("One", [IMAGE], IMAGE)[block]])])
    assert not wire.requests


def test_unknown_block_is_refused_by_its_type(wire: WireServer, chat: ChatParadigm) -> None:
    class NewBlock(TextBlock):
        block_type: str = "new"  # type: ignore[assignment]

    message = ChatMessage("Hi")
    message.blocks.append(NewBlock(text="Hello"))
    with pytest.raises(InvalidParameterError, match="a message contains a block of type new"):
        chat.chat([message])
    assert not wire.requests


@pytest.mark.skipif(not hasattr(types, "ThinkingBlock"), reason="this LlamaIndex has no blocks of thoughts")
def test_thinking_blocks_and_cache_points_are_left_out(wire: WireServer, chat: ChatParadigm) -> None:
    wire.script(reply(completion("Hello")))
    point = types.CachePoint(cache_control=types.CacheControl(type="ephemeral"))
    chat.chat([ChatMessage(blocks=[types.ThinkingBlock(content="Hm."), TextBlock(text="Hi"), point])])
    assert prompt_of(wire.bodies[0]) == turns(("user", "Hi"))


@pytest.mark.skipif(not hasattr(types, "ThinkingBlock"), reason="this LlamaIndex has no blocks of thoughts")
def test_thoughts_of_earlier_messages_stay_apart_from_their_text() -> None:
    blocks = [types.ThinkingBlock(content="Hm."), types.ThinkingBlock(content=None), TextBlock(text="So.")]
    (read,) = plain_messages([ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks)])
    assert (read.thoughts, read.content) == ("Hm.", "So.")


@pytest.mark.filterwarnings("ignore:chat_template")
def test_jinja_template_formats_messages_and_sets_the_stop(wire: WireServer, method: Method, make_chat: Make) -> None:
    wire.script(method.answer("Hello</s> and more"))
    responses = method(make_chat(chat_template=JINJA, system_prompt="Be kind."))
    assert prompt_of(wire.bodies[0]) == "[system|Be kind.|][user|Hi|]>"
    assert wire.bodies[0]["stop"] == "</s>"
    assert text_of(responses[-1]) == "Hello"


TOLD = "{{ mood }}{% for m in messages %}[{{ m.content }}]{% endfor %}"


def test_variables_of_the_template_are_given_at_construction_and_per_call(
    wire: WireServer, method: Method, make_chat: Make
) -> None:
    wire.always(method.answer("Hello"))
    llm = make_chat(chat_template=TOLD, chat_template_kwargs={"mood": "calm"})
    method(llm)
    assert wire.bodies[0]["prompt"] == "calm[Hi]"
    method(llm, chat_template_kwargs={"mood": "glad"})
    assert wire.bodies[1]["prompt"] == "glad[Hi]"
    assert "chat_template_kwargs" not in wire.bodies[1]


def test_template_of_the_server_is_looked_up_at_the_first_call(
    wire: WireServer, method: Method, make_chat: Make
) -> None:
    llm = make_chat(chat_template="server", chat_template_kwargs={"mood": "calm"})
    assert not wire.requests
    wire.script(reply({"data": [{"name": MODEL, "prompt_template": TOLD}]}), *[method.answer("Hello")] * 2)
    assert text_of(method(llm)[-1]) == "Hello"
    assert text_of(method(pickle.loads(pickle.dumps(llm)))[-1]) == "Hello"
    assert [request.path for request in wire.requests] == ["/api/v2/models", *["/api/v2/completions"] * 2]
    assert [body["prompt"] for body in wire.bodies[1:]] == ["calm[Hi]"] * 2
    assert ChatParadigm.from_dict(llm.to_dict(), api_key="key").chat_template == "server"


class City(BaseModel):
    """A city."""

    name: str


def test_structured_prediction_looks_the_template_of_the_server_up_without_blocking(
    wire: WireServer, make_chat: Make
) -> None:
    llm = make_chat(chat_template="server", pydantic_program_mode=PydanticProgramMode.LLM)
    wire.script(reply({"data": [{"name": MODEL, "chat_template": TOLD}]}), reply(completion('{"name": "Rome"}')))

    async def predict() -> Any:
        with blockbuster_ctx():
            return await llm.astructured_predict(City, PromptTemplate("A city?"))

    assert asyncio.run(predict()) == City(name="Rome")


def test_copy_for_the_other_endpoint_has_the_default_limit_of_that(make_chat: Make) -> None:
    fields = make_chat(chat_template=None).to_dict()
    assert fields["max_tokens"] is None
    assert ChatParadigm.from_dict(fields, api_key="key", chat_template="chatml").max_tokens == 2048


def test_model_with_the_path_of_a_template_is_restored_without_the_file(make_chat: Make, tmp_path: Path) -> None:
    path = tmp_path / "chat_template.jinja"
    path.write_text(TOLD)
    llm = make_chat(chat_template=path, chat_template_kwargs={"mood": "calm"})
    path.unlink()
    for again in (ChatParadigm.from_dict(llm.to_dict(), api_key="key"), pickle.loads(pickle.dumps(llm))):
        assert again._format("Hi", False, {}) == ("calm[Hi]", {})


@over_completions
def test_last_message_of_an_assistant_is_continued(wire: WireServer, method: Method, make_chat: Make) -> None:
    if method.is_chat:
        wire.script(method.answer(" a time."))
        story = [ChatMessage("Tell."), ChatMessage(role=MessageRole.ASSISTANT, content="Once upon")]
        responses = method(make_chat(), story, continue_final_message=True)
        assert text_of(responses[-1]) == " a time."
        assert wire.bodies[0]["prompt"].endswith("assistant\nOnce upon")


@over_completions
def test_call_markup_is_text_if_no_tools_are_offered(wire: WireServer, method: Method, chat: ChatParadigm) -> None:
    text = 'So: <tool_call>{"name": "a"}</tool_call>'
    wire.script(method.answer(text[:7], text[7:]))
    assert text_of(method(chat)[-1]) == text


# Events


def test_each_call_reports_one_event_one_callback_and_one_span(
    wire: WireServer, method: Method, make_chat: Make, callbacks: Callbacks, events: Events, spans: Spans
) -> None:
    wire.script(method.answer("Hel", "lo"))
    responses = method(make_chat(callback_manager=callbacks.manager), temperature=0.5)
    (start,), (end,) = callbacks.starts, callbacks.ends
    assert start[EventPayload.ADDITIONAL_KWARGS] == {"temperature": 0.5}
    assert start[EventPayload.SERIALIZED]["class_name"] == "ChatParadigm"
    assert end[EventPayload.RESPONSE if method.is_chat else EventPayload.COMPLETION] is responses[-1]
    progress = [f"LLM{kind(method)}InProgressEvent"] * len(responses) if method.is_stream else []
    assert events.names == [f"LLM{kind(method)}StartEvent", *progress, f"LLM{kind(method)}EndEvent"]
    (span,) = spans.entered
    assert f".{method.name}-" in span  # older ones go by the name of the class that the method is written in
    assert spans.ended == [(span, "exit")]


def test_refused_call_reports_its_error_to_callbacks(
    wire: WireServer, method: Method, make_chat: Make, callbacks: Callbacks
) -> None:
    wire.script(reply({"error": {"message": "slow down"}}, 429))
    with pytest.raises(RateLimitError):
        method(make_chat(callback_manager=callbacks.manager, max_retries=0))
    (end,) = callbacks.ends
    assert isinstance(end[EventPayload.EXCEPTION], RateLimitError)


def test_events_and_callbacks_do_not_contain_secrets(
    wire: WireServer, method: Method, make_chat: Make, callbacks: Callbacks, events: Events
) -> None:
    wire.script(method.answer("Hello"))
    method(make_chat(callback_manager=callbacks.manager, default_headers={"X-Tenant": "hush-hush"}))
    told = repr([callbacks.starts, callbacks.ends, [event.model_dump() for event in events.seen]])
    assert KEY not in told
    assert "hush-hush" not in told


@needs_rate_limiter
def test_each_call_acquires_the_rate_limiter_once(wire: WireServer, method: Method, make_chat: Make) -> None:
    wire.script(method.answer("Hello"))
    limiter = Limiter()
    method(make_chat(rate_limiter=limiter))
    assert limiter.acquired == ["async" if method.is_async else "sync"]


def test_token_counter_counts_the_servers_tokens(wire: WireServer, method: Method, make_chat: Make) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    wire.script(method.answer("Hel", "lo"))
    method(make_chat(callback_manager=CallbackManager([counter])))
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (3, 5)


# The object


def test_metadata_say_chat_model_and_function_calling(chat: ChatParadigm) -> None:
    assert (chat.metadata.is_chat_model, chat.metadata.is_function_calling_model) == (True, True)
    assert (chat.metadata.model_name, chat.metadata.context_window) == (MODEL, 4096)


@pytest.mark.parametrize("name", ["messages_to_prompt", "completion_to_prompt"])
def test_prompt_functions_are_refused(make_chat: Make, name: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"^{name} does not apply to ChatParadigm"):
        make_chat(**{name: str})
    assert make_chat(**{name: None})


@over_completions
def test_unknown_arguments_are_refused_before_a_request(wire: WireServer, method: Method, chat: ChatParadigm) -> None:
    with pytest.raises(InvalidParameterError, match="did you mean temperature"):
        method(chat, temprature=1)
    if not method.is_chat:
        with pytest.raises(InvalidParameterError, match="unknown argument tools"):
            method(chat, tools=[])
    assert not wire.requests


ARGUMENTS: dict[str, Any] = {
    "temperature": 0.5,
    "stop": ["END"],
    "additional_kwargs": {"top_p": 0.5},
    "system_prompt": "Be kind.",
    "constrain": "vllm",
}
TEMPLATES = ["chatml", ChatTemplate(turn="({role}: {content})", opening="(", stop=")"), JINJA]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.filterwarnings("ignore:chat_template")
def test_from_dict_restores_an_equal_model_without_the_key(wire: WireServer, make_chat: Make, template: Any) -> None:
    llm = make_chat(chat_template=template, default_headers={"X-Tenant": "hush-hush"}, **ARGUMENTS)
    told = llm.to_dict()
    assert told["class_name"] == "ChatParadigm"
    assert KEY not in repr([llm, told, llm.to_json(), llm.to_payload(), llm.model_dump()])
    assert "hush-hush" not in repr([llm, told, llm.to_json(), llm.to_payload(), llm.model_dump()])
    again = ChatParadigm.from_dict(json.loads(json.dumps(told)), api_key="another")
    wire.script(reply(completion("Hi")), reply(completion("Hi")))
    llm.chat([ChatMessage("Hi")])
    again.chat([ChatMessage("Hi")])
    assert wire.bodies[0] == wire.bodies[1]
    assert again.constrain == "vllm"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda llm: pickle.loads(pickle.dumps(llm))])
@pytest.mark.filterwarnings("ignore:chat_template")
def test_copies_send_the_same_requests(
    wire: WireServer, make_chat: Make, copied: Callable[[ChatParadigm], ChatParadigm]
) -> None:
    llm = make_chat(chat_template=JINJA, **ARGUMENTS)
    wire.script(*[reply(completion("Hi"))] * 3)
    llm.chat([ChatMessage("Hi")])
    again = copied(llm)
    assert again.chat([ChatMessage("Hi")]).message.content == "Hi"
    assert asyncio.run(again.achat([ChatMessage("Hi")])).message.content == "Hi"
    assert wire.bodies[0] == wire.bodies[1] == wire.bodies[2]
    assert {request.headers["authorization"] for request in wire.requests} == {f"Bearer {KEY}"}
    again.close()


def test_hub_import_path_exports_the_same_chat_class() -> None:
    assert importlib.import_module("llama_index.llms.paradigm").ChatParadigm is ChatParadigm
