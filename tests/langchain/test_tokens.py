"""Counting tokens: by a given tokenizer, otherwise by the server; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, trim_messages

from paradigm_transport import APIResponseError, BadRequestError, InvalidParameterError
from tests.chat_form import prompt_of
from tests.langchain.conftest import STRICT, Make, MakeChat
from tests.wire import Request, Script, WireServer, completion, reply, usage


def count_words(request: Request) -> Script:
    return reply(completion("", usage=usage(max(1, len(text_of(request).split())), 1)))


def text_of(request: Request) -> str:
    """Return the text that a request has the server read."""
    chat = request.body.get("messages", ())
    return request.body.get("prompt") or "\n".join(message["content"] for message in chat)


def test_given_tokenizer_counts_tokens(wire: WireServer, make: Make) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"one": 7, "two": 8, "[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    llm = make(custom_get_token_ids=lambda text: tokenizer.encode(text).ids)
    assert llm.get_token_ids("one two three") == [7, 8, 0]
    assert llm.get_num_tokens("one two three") == 3
    assert wire.requests == []


def test_server_counts_each_text_once(wire: WireServer, make: Make) -> None:
    wire.always(count_words)
    llm = make(temperature=0.5, stop=["a"], user="u")
    assert [llm.get_num_tokens(text) for text in ("one two", "three", "one two")] == [2, 1, 2]
    assert wire.bodies == [
        {"model": "alfred-4.2", "prompt": "one two", "max_tokens": 1},
        {"model": "alfred-4.2", "prompt": "three", "max_tokens": 1},
    ]
    assert llm.model_copy(update={"model": "other"}).get_num_tokens("three") == 1
    assert len(wire.requests) == 3


def test_empty_text_has_no_tokens(wire: WireServer, make: Make) -> None:
    assert make().get_num_tokens("") == 0
    assert wire.requests == []


def test_cache_of_counts_is_bounded(wire: WireServer, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_paradigm._base.MOST_COUNTS", 2)
    wire.always(count_words)
    llm = make()
    for text in ("a", "b", "c", "c", "d e"):
        llm.get_num_tokens(text)
        assert len(llm._counts) <= 2
    assert len(wire.requests) == 4


def test_count_is_returned_if_its_cache_entry_is_dropped(
    wire: WireServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(dict[Any, int]):
        def __setitem__(self, key: Any, count: int) -> None:
            pass

    wire.always(count_words)
    llm = make()
    monkeypatch.setattr(llm, "_counts", Forgetful())
    assert llm.get_num_tokens("one two") == 2


@pytest.mark.filterwarnings("ignore:chat_template takes tools but")
def test_messages_that_template_rejects_are_still_counted(wire: WireServer, make: Make, make_chat: MakeChat) -> None:
    wire.always(count_words)
    answer = [AIMessage("three four")]
    refusing = "{% if not messages[0].content %}{{ raise_exception('No question') }}{% endif %}" + STRICT
    for llm in (make(chat_template=refusing), make_chat(chat_template=refusing)):
        assert llm.get_num_tokens_from_messages(answer) == 3  # AI: three four
        history = [HumanMessage("one"), AIMessage("two"), HumanMessage("three"), AIMessage("four")]
        trimmed = trim_messages(history, max_tokens=5, token_counter=llm, strategy="last", start_on="human")
        assert [message.content for message in trimmed] == ["three", "four"]
        with pytest.raises(InvalidParameterError, match="block of type image"):
            llm.get_num_tokens_from_messages([HumanMessage([{"type": "image", "url": "x"}])])


def test_token_ids_without_tokenizer_raise(wire: WireServer, make: Make) -> None:
    with pytest.raises(InvalidParameterError, match="custom_get_token_ids"):
        make().get_token_ids("one")
    assert wire.requests == []


def count_up_to(limit: int, status: int, words: str) -> Callable[[Request], Script]:
    """Count words, and refuse more of them than the context holds."""

    def answer(request: Request) -> Script:
        fits = len(text_of(request).replace("x", " x ").split()) <= limit
        return count_words(request) if fits else reply({"error": {"message": words}}, status)

    return answer


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "This model's maximum context length is 8 tokens. However, you requested 41 tokens"),
        (422, "Input validation error: `inputs` must have less than 8 tokens. Given: 41"),
        (413, "Payload too large"),
        (200, "request (41 tokens) exceeds the available context size (8 tokens)"),
    ],
)
@pytest.mark.parametrize("count", [9, 40, 1000])
def test_text_longer_than_context_is_counted_in_pieces(
    wire: WireServer, make: Make, make_chat: MakeChat, status: int, words: str, count: int
) -> None:
    wire.always(count_up_to(8, status, words))
    text = "\n".join(f"w{number}" for number in range(count))
    llm = make()
    assert llm.get_num_tokens(text) == count
    requests = len(wire.requests)
    assert requests < count
    assert llm.get_num_tokens(text) == count
    assert len(wire.requests) == requests
    messages = [HumanMessage(text)]
    for model in (llm, make_chat()):
        assert count <= model.get_num_tokens_from_messages(messages) <= count + 3


@pytest.mark.parametrize("text", ["x" * 50, " " * 30 + "x" * 20, "x" * 40 + "\n" * 40])
def test_text_without_white_space_is_counted_in_pieces(wire: WireServer, make: Make, text: str) -> None:
    wire.always(count_up_to(8, 400, "The prompt has 50 tokens; with at least one more it must fit into the context"))
    assert make().get_num_tokens(text) > 0
    assert len(wire.requests) < 40


def test_refusal_for_another_reason_is_not_counted_in_pieces(wire: WireServer, make: Make) -> None:
    wire.script(reply({"error": "max_tokens must be at least 2"}, 400))
    with pytest.raises(BadRequestError):
        make().get_num_tokens("one two three")
    assert len(wire.requests) == 1


def test_trim_messages_shortens_a_chat_longer_than_the_context(wire: WireServer, make_chat: MakeChat) -> None:
    wire.always(count_up_to(8, 400, "This model's maximum context length is 8 tokens."))
    history = [HumanMessage(f"{number} " * 9) for number in range(5)]
    trimmed = trim_messages(history, max_tokens=25, token_counter=make_chat(), strategy="last")
    assert trimmed == history[-2:]


@pytest.mark.parametrize("missing", [None, {"tokens": 3}])
def test_counting_without_usage_of_server_raises(wire: WireServer, make: Make, missing: Any) -> None:
    wire.script(reply(completion("", usage=missing)))
    with pytest.raises(APIResponseError, match="custom_get_token_ids"):
        make().get_num_tokens("one")


MESSAGES = [SystemMessage("Be short."), HumanMessage("How are you today?")]


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (None, "System: Be short.\nHuman: How are you today?"),
        (
            "alfred",
            "<start_system>Be short.<end_message><start_user>How are you today?<end_message><start_assistant>",
        ),
    ],
)
def test_messages_are_counted_as_their_rendered_prompt(
    wire: WireServer, make: Make, template: str | None, prompt: str
) -> None:
    wire.always(count_words)
    llm = make(chat_template=template)
    assert llm.get_num_tokens_from_messages(MESSAGES) == len(prompt.split())
    llm.invoke(MESSAGES)
    assert [prompt_of(body) for body in wire.bodies] == [prompt, prompt]


def test_trim_messages_counts_tokens_with_model(make: Make) -> None:
    llm = make(custom_get_token_ids=lambda text: list(range(len(text.split()))))
    messages = [HumanMessage("one two three"), HumanMessage("four five")]
    assert trim_messages(messages, max_tokens=4, token_counter=llm, strategy="last") == messages[1:]
