"""Counts: the tokens of texts and chats, and the context window."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

import langchain_paradigm
import llama_index_paradigm
from paradigm_transport import ParadigmClient
from tests.conformance.paths import PATHS, TEMPLATE, Path
from tests.conformance.running import Running

TEXT = "What is the capital of France? Answer in one word."
CHAT = [SystemMessage("Be brief."), HumanMessage(TEXT)]


def test_model_list_has_the_context_window(server: Running, client: ParadigmClient) -> None:
    windows = {model.id: model.context_window for model in client.models()}
    listed = "listed" if windows[server.model] == server.server.context else "not listed"
    assert listed == server.expects("context window")


def test_frameworks_plan_with_the_context_window(server: Running) -> None:
    access: dict[str, Any] = {"model": server.model, **server.address}
    with llama_index_paradigm.ParadigmLLM(**access) as llm, langchain_paradigm.ChatParadigm(**access) as chat:
        profile = getattr(chat, "profile", None)  # which older LangChain has not
        planned = [llm.metadata.context_window, *([] if profile is None else [profile.get("max_input_tokens")])]
    outcomes = {"listed" if window == server.server.context else "not listed" for window in planned}
    assert outcomes == {server.expects("context window")}


def test_tokens_of_a_text_are_those_of_its_prompt(server: Running, client: ParadigmClient) -> None:
    usage = client.complete(TEXT, model=server.model, max_tokens=1).usage
    with langchain_paradigm.ParadigmLLM(model=server.model, **server.address) as llm:
        assert usage is not None
        assert llm.get_num_tokens(TEXT) == usage.prompt_tokens


@pytest.mark.parametrize("template", [None, TEMPLATE], ids=["chat", "template"])
def test_tokens_of_messages_are_those_of_their_prompt(server: Running, template: str | None) -> None:
    access: dict[str, Any] = {"model": server.model, **server.address, "chat_template": template, "max_tokens": 1}
    with langchain_paradigm.ChatParadigm(**access) as chat:
        usage = chat.invoke(CHAT).usage_metadata
        assert usage is not None
        assert chat.get_num_tokens_from_messages(CHAT) == usage["input_tokens"]


@pytest.mark.parametrize("path", [path for path in PATHS if path.library == "transport"], ids=str)
def test_limit_beyond_the_context_does_not_fail(server: Running, path: Path) -> None:
    answer = path.ask(server, TEXT, max_tokens=10 * server.server.context, stop=[" ", "\n", "a", "e", "i"])
    assert answer.finish_reason == "stop"
