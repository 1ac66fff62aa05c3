"""Chat templates: messages in, the model's own markup out."""

from __future__ import annotations

import pytest

from paradigm_transport import CHAT_TEMPLATES, ChatTemplate, InvalidParameterError
from paradigm_transport.chat.templates.named import find_template

TURNS = [("system", "Be brief."), ("user", "Hi {role}"), ("assistant", "{content}"), ("user", "Bye")]


def test_the_two_that_are_known() -> None:
    assert CHAT_TEMPLATES["alfred"].render(TURNS) == (
        "<start_system>Be brief.<end_message><start_user>Hi {role}<end_message>"
        "<start_assistant>{content}<end_message><start_user>Bye<end_message><start_assistant>"
    )
    assert CHAT_TEMPLATES["chatml"].render(TURNS[:2]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi {role}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_prompt_is_the_one_turn_of_a_user() -> None:
    assert CHAT_TEMPLATES["alfred"].render_prompt("Hi") == "<start_user>Hi<end_message><start_assistant>"


def test_a_template_of_ones_own() -> None:
    own = ChatTemplate(turn="[{role}] {content}\n", opening="[bot] ", stop="\n", roles={"assistant": "bot"})
    assert own.render([("assistant", "a"), ("user", "b")]) == "[bot] a\n[user] b\n[bot] "
    assert find_template(own) is own


def test_finding() -> None:
    assert find_template(None) is None
    assert find_template("chatml") is CHAT_TEMPLATES["chatml"]
    with pytest.raises(InvalidParameterError, match=r"^there is none named x; known are alfred, chatml"):
        find_template("x")
