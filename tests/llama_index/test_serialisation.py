"""Dictionaries, JSON, pickles, copies: without the key where it must not be, working where they must."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from llama_index.core.callbacks import CallbackManager
from pydantic import create_model

from llama_index_paradigm import ChatParadigm, ParadigmEmbedding, ParadigmLLM, ParadigmRetriever
from paradigm_transport import ChatTemplate, InvalidParameterError
from tests.llama_index.conftest import KEY, MODEL, Callbacks, Limiter, needs_rate_limiter
from tests.wire import WireServer, completion, reply

Make = Callable[..., ParadigmLLM]

SECRET_HEADER = {"X-Tenant": "hush-hush"}

ARGUMENTS: dict[str, Any] = {
    "temperature": 0.5,
    "stop": ["END"],
    "logit_bias": {"7": -1.0},
    "extra_body": {"seed": 1},
    "additional_kwargs": {"top_p": 0.5},
    "chat_template": "chatml",
    "system_prompt": "Be kind.",
    "constrain": "vllm",
    "structured_outputs": "vllm",
    "max_retries": 1,
}


def pickled(llm: ParadigmLLM) -> ParadigmLLM:
    again: ParadigmLLM = pickle.loads(pickle.dumps(llm))
    return again


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": ParadigmLLM.model_copy,
    "pickle": pickled,
}


@pytest.fixture(params=COPIES)
def copied(request: pytest.FixtureRequest) -> Callable[[ParadigmLLM], ParadigmLLM]:
    return COPIES[request.param]


def test_class_name_is_paradigm_llm() -> None:
    assert ParadigmLLM.class_name() == "ParadigmLLM"


def test_repr_dict_and_json_do_not_contain_secrets(make_llm: Make) -> None:
    llm = make_llm(default_headers=SECRET_HEADER, **ARGUMENTS)
    shown = [repr(llm), str(llm), llm.to_dict(), llm.dict(), llm.model_dump(), llm.to_json(), llm.json()]
    shown += [llm.model_dump_json(), llm.to_payload(), llm.model_json_schema()]
    assert KEY not in repr(shown)
    assert "hush-hush" not in repr(shown)


def test_from_dict_restores_an_equal_model_without_the_key(make_llm: Make, wire: WireServer) -> None:
    llm = make_llm(default_headers=SECRET_HEADER, **ARGUMENTS)
    told = llm.to_dict()
    assert told["class_name"] == "ParadigmLLM"
    assert not {"api_key", "default_headers", "http_client", "http_async_client", "callback_manager"} & set(told)
    again = ParadigmLLM.from_dict(told, api_key="another")
    assert again.to_dict() == told
    assert again.api_key.get_secret_value() == "another"
    wire.script(reply(completion("Hi")), reply(completion("Hi")))
    llm.complete("Hi")
    again.complete("Hi")
    assert wire.bodies[0] == wire.bodies[1]


def test_from_json_restores_an_equal_model_with_the_key_of_the_environment(
    make_llm: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = make_llm(**ARGUMENTS)
    told = llm.to_json()
    assert json.loads(told)["temperature"] == 0.5
    with pytest.raises(InvalidParameterError, match="PARADIGM_API_KEY"):
        ParadigmLLM.from_json(told)
    monkeypatch.setenv("PARADIGM_API_KEY", "from-the-environment")
    assert ParadigmLLM.from_json(told).to_json() == told


@pytest.mark.parametrize("kind", [ParadigmLLM, ChatParadigm, ParadigmEmbedding, ParadigmRetriever])
def test_a_dump_is_read_again(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARADIGM_API_KEY", KEY)
    own = {"workspace_id": [4]} if kind is ParadigmRetriever else {"model": MODEL, "extra_body": {"seed": 1}}
    holder = create_model("Holder", held=(kind, ...))
    held = kind(base_url="http://localhost:1", **own)
    again = holder.model_validate_json(holder(held=held).model_dump_json()).held
    assert again.model_dump() == held.model_dump() == kind(**held.model_dump()).model_dump()
    with pytest.raises(InvalidParameterError, match="class_name"):
        kind(**{**held.model_dump(), "class_name": "Another"})


def test_from_json_restores_a_custom_template(make_llm: Make) -> None:
    own = ChatTemplate(turn="({role}: {content})", opening="(", stop=")")
    again = ParadigmLLM.from_json(make_llm(chat_template=own).to_json(), api_key="k")
    assert again.chat_template == own


def test_copies_send_the_same_requests(
    wire: WireServer, make_llm: Make, copied: Callable[[ParadigmLLM], ParadigmLLM]
) -> None:
    llm = make_llm(default_headers=SECRET_HEADER, timeout=7, **ARGUMENTS)
    wire.script(*[reply(completion("Hi"))] * 4)
    llm.complete("Hi")  # its connections are open
    again = copied(llm)
    assert again.complete("Hi").text == "Hi"
    assert asyncio.run(again.acomplete("Hi")).text == "Hi"
    assert wire.bodies[0] == wire.bodies[1] == wire.bodies[2]
    for request in wire.requests:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["x-tenant"] == "hush-hush"
    assert llm.complete("Hi").text == "Hi"
    again.close()


def test_copies_keep_which_fields_were_set(make_llm: Make, copied: Callable[[ParadigmLLM], ParadigmLLM]) -> None:
    """`timeout` beats that of a client that was passed in, and a cut at `max_tokens` is no surprise, where chosen."""
    plain = copied(make_llm())
    assert not {"max_tokens", "timeout"} & plain.model_fields_set
    chosen = copied(make_llm(max_tokens=256, timeout=7))
    assert {"max_tokens", "timeout"} <= chosen.model_fields_set
    assert chosen.timeout == 7


def test_copies_warn_of_a_cut_at_the_default_max_tokens_only(
    wire: WireServer,
    make_llm: Make,
    copied: Callable[[ParadigmLLM], ParadigmLLM],
    caplog: pytest.LogCaptureFixture,
) -> None:
    wire.script(*[reply(completion("Hi", finish_reason="length"))] * 2)
    copied(make_llm(max_tokens=256)).complete("Hi")
    assert not caplog.records
    copied(make_llm()).complete("Hi")
    assert "set max_tokens" in caplog.text


def test_changed_copy_leaves_the_original_unchanged(wire: WireServer, make_llm: Make) -> None:
    llm = make_llm()
    wire.script(reply(completion("Hi")), reply(completion("Hi")))
    changed = llm.model_copy(update={"temperature": 0.5, "default_headers": {"X-A": "b"}})
    changed.complete("Hi")
    llm.complete("Hi")
    assert wire.bodies[0]["temperature"] == 0.5
    assert wire.requests[0].headers["x-a"] == "b"
    assert "temperature" not in wire.bodies[1]
    assert "x-a" not in wire.requests[1].headers


class Unpicklable(Callbacks):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


@needs_rate_limiter
def test_unpicklable_rate_limiter_and_callbacks_are_left_out_of_a_pickle(
    make_llm: Make, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = Limiter()
    handler = Unpicklable()
    llm = make_llm(callback_manager=handler.manager, rate_limiter=limiter)
    with caplog.at_level(logging.WARNING):
        again = pickled(llm)
    assert again.callback_manager.handlers == []
    assert again.rate_limiter is None
    assert [record.message.split()[0] for record in caplog.records] == ["rate_limiter", "callback_manager"]
    # and the object itself is what it was
    assert llm.callback_manager.handlers == [handler]
    assert llm.rate_limiter is limiter


def test_picklable_callback_handlers_are_pickled(make_llm: Make) -> None:
    again = pickled(make_llm(callback_manager=CallbackManager([Callbacks()])))
    assert [type(handler) for handler in again.callback_manager.handlers] == [Callbacks]


@needs_rate_limiter
def test_deep_copies_share_rate_limiter_and_callback_handlers(make_llm: Make) -> None:
    limiter = Limiter()
    handler = Unpicklable()
    again = copy.deepcopy(make_llm(callback_manager=handler.manager, rate_limiter=limiter))
    assert again.rate_limiter is limiter
    assert again.callback_manager.handlers == [handler]


def test_unpicklable_prompt_function_raises(make_llm: Make) -> None:
    """LlamaIndex's own would leave the function out: the prompts in a worker would be others."""
    llm = make_llm(completion_to_prompt=lambda prompt: f"[{prompt}]")
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(llm)
    assert llm.completion_to_prompt("a") == "[a]"


def test_injected_client_is_shared_by_deep_copies_and_refused_by_pickle(wire: WireServer, make_llm: Make) -> None:
    wire.script(reply(completion("Hi")))
    with httpx.Client(headers={"X-Client": "mine"}, timeout=60) as client:
        llm = make_llm(http_client=client)
        assert "http_client" not in llm.to_dict()
        with pytest.raises(TypeError, match="http_client"):
            pickle.dumps(llm)
        copy.deepcopy(llm).complete("Hi")
    assert wire.requests[0].headers["x-client"] == "mine"


def test_pickled_model_calls_from_another_process(wire: WireServer, make_llm: Make) -> None:
    wire.script(reply(completion("Hi")))
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).complete('Hi').text)"
    llm = make_llm(**ARGUMENTS)
    run = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(llm), capture_output=True, check=True)
    assert run.stdout == b"Hi\n"
    assert wire.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert wire.bodies[0]["model"] == MODEL


def test_pickled_model_needs_no_environment(wire: WireServer, make_llm: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARADIGM_API_KEY", "sk-environment")
    monkeypatch.setenv("PARADIGM_BASE_URL", wire.url)
    dumped = pickle.dumps(make_llm(api_key=None, base_url=None))
    monkeypatch.delenv("PARADIGM_API_KEY")
    monkeypatch.delenv("PARADIGM_BASE_URL")
    wire.script(reply(completion("Hi")))
    with pickle.loads(dumped) as again:
        assert again.complete("Hi").text == "Hi"
    assert wire.requests[0].headers["authorization"] == "Bearer sk-environment"
