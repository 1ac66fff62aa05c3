"""How prompts and messages are written: once, and inside the turns where there is a template."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from llama_index.core import ChatPromptTemplate, PromptTemplate, SelectorPromptTemplate
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.prompts import RichPromptTemplate
from pydantic import BaseModel

from llama_index_paradigm import ParadigmLLM
from paradigm_transport import ChatTemplate, InvalidParameterError, JinjaTemplate
from tests.llama_index.conftest import Method, blocks_of_text, needs_citable_blocks
from tests.wire import WireServer, chunk, completion, reply, sse

Make = Callable[..., ParadigmLLM]

SYSTEM = ChatMessage(role=MessageRole.SYSTEM, content="Be brief.")
HELLO = ChatMessage("Hello")


def turns(*pairs: tuple[str, str]) -> str:
    """ChatML, by hand."""
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in pairs) + (
        "<|im_start|>assistant\n"
    )


def bracket(prompt: str) -> str:
    return f"[{prompt}]"


def shout(messages: Sequence[ChatMessage]) -> str:
    return "".join(f"{message.role.value}!{message.content}!" for message in messages)


def sent(wire: WireServer, method: Method, llm: ParadigmLLM, prompt: Any = "Hi", **kwargs: Any) -> str:
    wire.script(method.answer("Hello"))
    method(llm, prompt, **kwargs)
    prompt_sent: str = wire.bodies[-1]["prompt"]
    return prompt_sent


def predicted(wire: WireServer, how: str, llm: ParadigmLLM, prompt: Any, **prompt_args: Any) -> str:
    """The prompt that one of LlamaIndex's own methods over the eight sends."""
    wire.script(sse(chunk("Hello", "stop")) if "stream" in how else reply(completion("Hello")))
    called = getattr(llm, how)(prompt, **prompt_args)
    if how == "stream":
        list(called)
    elif how == "apredict":
        asyncio.run(called)
    elif how == "astream":
        asyncio.run(_drain(called))
    prompt_sent: str = wire.bodies[-1]["prompt"]
    return prompt_sent


async def _drain(coming: Any) -> None:
    async for _ in await coming:
        pass


@pytest.fixture(params=["predict", "apredict", "stream", "astream"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_prompt_functions_are_applied_once(wire: WireServer, method: Method, make_llm: Make) -> None:
    llm = make_llm(completion_to_prompt=bracket, messages_to_prompt=shout)
    assert sent(wire, method, llm) == ("user!Hi!" if method.is_chat else "[Hi]")


def test_formatted_prompt_is_sent_unchanged(wire: WireServer, method: Method, make_llm: Make) -> None:
    if not method.is_chat:
        wrapper = PromptTemplate("<{query_str}>")
        llm = make_llm(
            completion_to_prompt=bracket, chat_template="chatml", system_prompt="S", query_wrapper_prompt=wrapper
        )
        assert sent(wire, method, llm, formatted=True) == "Hi"


def test_chat_template_formats_a_prompt_as_a_user_turn(wire: WireServer, method: Method, make_llm: Make) -> None:
    assert sent(wire, method, make_llm(chat_template="chatml")) == turns(("user", "Hi"))
    assert wire.bodies[-1]["stop"] == "<|im_end|>"


def test_chat_template_formats_a_conversation(wire: WireServer, method: Method, make_llm: Make) -> None:
    if method.is_chat:
        llm = make_llm(chat_template="alfred")
        answer = ChatMessage(role=MessageRole.ASSISTANT, content="Yes?")
        assert sent(wire, method, llm, [SYSTEM, HELLO, answer, ChatMessage("Bye")]) == (
            "<start_system>Be brief.<end_message><start_user>Hello<end_message>"
            "<start_assistant>Yes?<end_message><start_user>Bye<end_message><start_assistant>"
        )


def test_prompt_functions_of_the_user_win_over_the_chat_template(
    wire: WireServer, method: Method, make_llm: Make
) -> None:
    llm = make_llm(chat_template="chatml", completion_to_prompt=bracket, messages_to_prompt=shout)
    assert sent(wire, method, llm) == ("user!Hi!" if method.is_chat else "[Hi]")
    assert wire.bodies[-1]["stop"] == "<|im_end|>"


def test_chat_template_assigned_later_is_applied(wire: WireServer, method: Method, llm: ParadigmLLM) -> None:
    llm.chat_template = "chatml"
    assert sent(wire, method, llm) == turns(("user", "Hi"))
    own = ChatTemplate(turn="({role}: {content})", opening="(", stop=")")
    assert sent(wire, method, llm.model_copy(update={"chat_template": own})) == "(user: Hi)("


def test_system_prompt_becomes_the_system_turn(wire: WireServer, method: Method, make_llm: Make) -> None:
    llm = make_llm(chat_template="chatml", system_prompt="Be kind.")
    assert sent(wire, method, llm) == turns(("system", "Be kind."), ("user", "Hi"))


def test_system_prompt_without_a_template_comes_first(wire: WireServer, method: Method, make_llm: Make) -> None:
    llm = make_llm(system_prompt="Be kind.")
    expected = "system: Be kind.\nuser: Hi\nassistant: " if method.is_chat else "Be kind.\n\nHi"
    assert sent(wire, method, llm) == expected


def test_system_prompt_and_system_message_make_one_turn(wire: WireServer, method: Method, make_llm: Make) -> None:
    if method.is_chat:
        llm = make_llm(chat_template="chatml", system_prompt="Be kind.")
        messages = [SYSTEM, HELLO]
        assert sent(wire, method, llm, messages) == turns(("system", "Be kind.\n\nBe brief."), ("user", "Hello"))
        assert messages == [ChatMessage(role=MessageRole.SYSTEM, content="Be brief."), HELLO]


@pytest.mark.parametrize("chat_template", [None, "chatml"])
def test_developer_message_joins_the_system_turn(
    wire: WireServer, method: Method, make_llm: Make, chat_template: Any
) -> None:
    if method.is_chat:
        llm = make_llm(chat_template=chat_template, system_prompt="Be kind.")
        written = sent(wire, method, llm, [ChatMessage(role=MessageRole.DEVELOPER, content="Be brief."), HELLO])
        lines = "system: Be kind.\n\nBe brief.\nuser: Hello\nassistant: "
        assert written == (turns(("system", "Be kind.\n\nBe brief."), ("user", "Hello")) if chat_template else lines)


def test_roles_of_other_models_map_to_the_template_roles(wire: WireServer, method: Method, make_llm: Make) -> None:
    if method.is_chat:
        roles = [MessageRole.DEVELOPER, MessageRole.USER, MessageRole.CHATBOT, MessageRole.MODEL, MessageRole.FUNCTION]
        messages = [ChatMessage(role=role, content=role.value) for role in roles]
        assert sent(wire, method, make_llm(chat_template="chatml"), messages) == turns(
            ("system", "developer"),
            ("user", "user"),
            ("assistant", "chatbot"),
            ("assistant", "model"),
            ("tool", "<tool_response>\nfunction\n</tool_response>"),
        )


CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
CALLED = [
    HELLO,
    ChatMessage(role=MessageRole.ASSISTANT, content="Yes.", additional_kwargs={"tool_calls": [CALL]}),
    ChatMessage(role=MessageRole.TOOL, content="3", additional_kwargs={"tool_call_id": "1"}),
]
WRITTEN_CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
CALLED_TURNS = turns(
    ("user", "Hello"), ("assistant", f"Yes.\n{WRITTEN_CALL}"), ("tool", "<tool_response>\n3\n</tool_response>")
)


def test_tool_calls_and_their_results_are_formatted(wire: WireServer, method: Method, make_llm: Make) -> None:
    if method.is_chat:
        assert sent(wire, method, make_llm(chat_template="chatml"), CALLED) == CALLED_TURNS
        jinja = "{% for m in messages %}[{{ m.role }}|{{ m.content }}|{{ m.name }}|{{ m.tool_calls }}]{% endfor %}>"
        written = sent(wire, method, make_llm(chat_template=jinja), CALLED[1:])
        assert written.startswith("[assistant|Yes.||[{'id': '1'")
        assert written.endswith("][tool|3|add|]>")


def test_tool_calls_in_chat_prompts_are_formatted(wire: WireServer, how: str, make_llm: Make) -> None:
    assert predicted(wire, how, make_llm(chat_template="chatml"), ChatPromptTemplate(CALLED)) == CALLED_TURNS


def test_query_wrapper_prompt_wraps_the_prompt(wire: WireServer, method: Method, make_llm: Make) -> None:
    wrapper = PromptTemplate("Q: {query_str}")
    llm = make_llm(chat_template="chatml", query_wrapper_prompt=wrapper)
    assert sent(wire, method, llm) == turns(("user", "Q: Hi"))
    plain = make_llm(query_wrapper_prompt=wrapper)
    assert sent(wire, method, plain) == ("user: Q: Hi\nassistant: " if method.is_chat else "Q: Hi")


def test_query_wrapper_prompt_does_not_wrap_an_assistants_message(
    wire: WireServer, method: Method, make_llm: Make
) -> None:
    if method.is_chat:
        llm = make_llm(chat_template="chatml", query_wrapper_prompt=PromptTemplate("Q: {query_str}"))
        answer = ChatMessage(role=MessageRole.ASSISTANT, content="Yes?")
        assert sent(wire, method, llm, [HELLO, answer]) == turns(("user", "Hello"), ("assistant", "Yes?"))


def test_empty_chat_is_sent_as_an_empty_prompt_with_the_opening(
    wire: WireServer, method: Method, make_llm: Make
) -> None:
    if method.is_chat:
        assert sent(wire, method, make_llm(chat_template="chatml"), []) == turns()


def test_predictions_are_formatted_like_calls(wire: WireServer, how: str, make_llm: Make) -> None:
    llm = make_llm(
        chat_template="chatml", system_prompt="Be kind.", query_wrapper_prompt=PromptTemplate("Q: {query_str}")
    )
    expected = turns(("system", "Be kind."), ("user", "Q: Say Hi"))
    assert predicted(wire, how, llm, PromptTemplate("Say {word}"), word="Hi") == expected
    wire.script(reply(completion("Hello")))
    llm.complete("Say Hi")
    assert wire.bodies[-1]["prompt"] == expected


def test_predictions_without_a_template_use_completion_to_prompt(wire: WireServer, how: str, make_llm: Make) -> None:
    llm = make_llm(completion_to_prompt=bracket, system_prompt="Be kind.")
    assert predicted(wire, how, llm, PromptTemplate("Say {word}"), word="Hi") == "Be kind.\n\n[Say Hi]"


def test_rich_prompts_are_formatted_like_others(wire: WireServer, how: str, make_llm: Make) -> None:
    prompt = RichPromptTemplate("Say {{ word }}")
    llm = make_llm(completion_to_prompt=bracket, system_prompt="Be kind.")
    assert predicted(wire, how, llm, prompt, word="{Hi}") == "Be kind.\n\n[Say {Hi}]"
    assert predicted(wire, how, llm, SelectorPromptTemplate(prompt), word="Hi") == "Be kind.\n\n[Say Hi]"
    chat = RichPromptTemplate("{% chat role='user' %}Say {{ word }}{% endchat %}")
    assert predicted(wire, how, llm, chat, word="Hi") == "Be kind.\n\nuser: Say Hi\nassistant: "


def test_chat_prompts_become_turns(wire: WireServer, how: str, make_llm: Make) -> None:
    prompt = ChatPromptTemplate([SYSTEM, ChatMessage("Say {word}")])
    llm = make_llm(chat_template="chatml")
    expected = turns(("system", "Be brief."), ("user", "Say Hi"))
    assert predicted(wire, how, llm, prompt, word="Hi") == expected


WRAPPER = PromptTemplate("Q: {query_str}")
IMAGE = ImageBlock(image=b"iVBORw0KGgo=")
PICTURE = ChatMessage(blocks=[TextBlock(text="What is this?"), IMAGE])
PICTURES = [ChatMessage(role=MessageRole.SYSTEM, blocks=[TextBlock(text="Be brief."), IMAGE]), HELLO]


@pytest.mark.parametrize("messages", [[PICTURE], [PICTURE, HELLO], PICTURES])
@pytest.mark.parametrize("chat_template", [None, "chatml"])
@pytest.mark.parametrize("arguments", [{}, {"system_prompt": "S"}, {"messages_to_prompt": shout}])
def test_images_are_refused_on_every_path(
    wire: WireServer, method: Method, make_llm: Make, messages: Any, chat_template: Any, arguments: Any
) -> None:
    if method.is_chat:
        llm = make_llm(query_wrapper_prompt=WRAPPER, chat_template=chat_template, **arguments)
        accepted = "text only; for images, use ChatParadigm without chat_template"
        with pytest.raises(InvalidParameterError, match=f"a block of type image; the endpoint accepts {accepted}"):
            method(llm, messages)
        assert not wire.requests


@pytest.mark.parametrize("chat_template", [None, "chatml"])
@pytest.mark.parametrize("arguments", [{}, {"completion_to_prompt": bracket}, {"messages_to_prompt": shout}])
def test_images_in_chat_prompts_are_refused(
    wire: WireServer, how: str, make_llm: Make, chat_template: Any, arguments: Any
) -> None:
    llm = make_llm(chat_template=chat_template, **arguments)
    with pytest.raises(InvalidParameterError, match="image"):
        predicted(wire, how, llm, ChatPromptTemplate([PICTURE]))
    assert not wire.requests


@needs_citable_blocks
def test_text_of_citable_blocks_and_citations_is_sent(wire: WireServer, method: Method, make_llm: Make) -> None:
    if method.is_chat:
        message = ChatMessage(blocks=blocks_of_text("One", "Two", "Three"))
        assert sent(wire, method, make_llm(), [message]) == "user: One\nTwo\nThree\nassistant: "
        wrapped = make_llm(chat_template="chatml", query_wrapper_prompt=WRAPPER)
        assert sent(wire, method, wrapped, [message]) == turns(("user", "Q: One\nTwo\nThree"))
        assert message.blocks == blocks_of_text("One", "Two", "Three")


@needs_citable_blocks
def test_text_of_citable_blocks_in_chat_prompts_is_sent(wire: WireServer, how: str, make_llm: Make) -> None:
    prompt = ChatPromptTemplate([ChatMessage(blocks=blocks_of_text("One", "Two", "Three"))])
    assert predicted(wire, how, make_llm(), prompt) == "user: One\nTwo\nThree\nassistant: "
    assert predicted(wire, how, make_llm(messages_to_prompt=shout), prompt) == "user!One\nTwo\nThree!"
    assert predicted(wire, how, make_llm(chat_template="chatml"), prompt) == turns(("user", "One\nTwo\nThree"))


class City(BaseModel):
    name: str


def test_output_parser_instructions_are_inside_the_turn(wire: WireServer, make_llm: Make) -> None:
    llm = make_llm(chat_template="chatml", output_parser=PydanticOutputParser(City))
    wire.script(reply(completion('{"name": "Paris"}')))
    llm.predict(PromptTemplate("A city"))
    prompt = wire.bodies[0]["prompt"]
    assert prompt.startswith("<|im_start|>user\nA city\n\n")
    assert "JSON schema" in prompt
    assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_template_gets_variables_and_writes_the_beginning(wire: WireServer, method: Method, make_llm: Make) -> None:
    source = "{{ bos_token }}{{ mood }}{% for m in messages %}[{{ m.content }}]{% endfor %}"
    template = JinjaTemplate(source=source, bos_token="<s>")
    llm = make_llm(chat_template=template, chat_template_kwargs={"mood": "calm"})
    assert sent(wire, method, llm) == "<s>calm[Hi]"
    assert wire.bodies[-1]["add_special_tokens"] is False
