"""Chat templates: messages in, the model's own markup out."""

from __future__ import annotations

import pytest

from paradigm_transport import CHAT_TEMPLATES, ChatTemplate, InvalidParameterError
from paradigm_transport.chat.templates import find_template

TURNS = [("system", "Be brief."), ("user", "Hi {role}"), ("assistant", "{content}"), ("user", "Bye")]


def test_named_templates_write_their_markup() -> None:
    assert CHAT_TEMPLATES["alfred"].render(TURNS) == (
        "<start_system>Be brief.<end_message><start_user>Hi {role}<end_message>"
        "<start_assistant>{content}<end_message><start_user>Bye<end_message><start_assistant>"
    )
    assert CHAT_TEMPLATES["chatml"].render(TURNS[:2]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi {role}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_prompt_becomes_the_one_turn_of_a_user() -> None:
    assert CHAT_TEMPLATES["alfred"].render_prompt("Hi") == "<start_user>Hi<end_message><start_assistant>"


def test_own_template_writes_its_roles() -> None:
    own = ChatTemplate(turn="[{role}] {content}\n", opening="[bot] ", stop="\n", roles={"assistant": "bot"})
    assert own.render([("assistant", "a"), ("user", "b")]) == "[bot] a\n[user] b\n[bot] "
    assert find_template(own) is own


def test_template_is_found_by_its_name() -> None:
    assert find_template(None) is None
    assert find_template("chatml") is CHAT_TEMPLATES["chatml"]
    with pytest.raises(InvalidParameterError) as raised:
        find_template("llama")
    assert str(raised.value) == (
        "unknown template 'llama'; use 'alfred', 'chatml', a ChatTemplate, Jinja source or the path of a file"
    )
