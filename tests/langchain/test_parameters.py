"""Parameters of the constructor and of calls reach the server on every path."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.runnables import ConfigurableField, RunnableConfig

from paradigm_transport import (
    APIStatusError,
    InvalidParameterError,
    RateLimitError,
    ServerError,
)
from paradigm_transport.endpoints.completions.fields import CompletionFields
from tests.langchain.conftest import Calls, Make, MakeChat, Recorder
from tests.wire import WireServer, chunk, completion, reply, sse

FIELDS: dict[str, Any] = {
    "model": "alfred-ft5",
    "max_tokens": 7,
    "temperature": 0.5,
    "top_p": 0.9,
    "n": 2,
    "best_of": 3,
    "logprobs": 2,
    "echo": True,
    "stop": ["a", "b"],
    "presence_penalty": 0.25,
    "frequency_penalty": -0.25,
    "logit_bias": {"5": 1.0},
    "user": "u",
    "suffix": "s",
    "extra_body": {"top_k": 5},
}
SENT = {**{name: value for name, value in FIELDS.items() if name != "extra_body"}, "top_k": 5, "prompt": "x"}

STREAMED = {name: value for name, value in FIELDS.items() if name not in ("n", "best_of")}
STREAM_SENT = {
    **{name: value for name, value in SENT.items() if name not in ("n", "best_of")},
    "stream": True,
    "stream_options": {"include_usage": True},
}


def test_table_covers_all_parameters() -> None:
    assert set(FIELDS) == set(CompletionFields.model_fields)


WAYS = {
    "constructor": lambda calls, make: calls.invoke(make(**FIELDS), "x"),
    "invoke": lambda calls, make: calls.invoke(make(), "x", **FIELDS),
    "bind": lambda calls, make: calls.invoke(make().bind(**FIELDS), "x"),
    "batch": lambda calls, make: calls.batch(make(), ["x"], **FIELDS),
    "generate": lambda calls, make: calls.generate(make(), ["x"], **FIELDS),
    "over the constructor": lambda calls, make: calls.invoke(
        make(temperature=2, stop="never", n=1, logit_bias={"9": 9}, extra_body={"top_k": 1}), "x", **FIELDS
    ),
    "configured": lambda calls, make: calls.invoke(
        make().configurable_fields(**{name: ConfigurableField(id=name) for name in FIELDS}),
        "x",
        config={"configurable": FIELDS},
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_field_is_sent(wire: WireServer, make: Make, calls: Calls, way: str) -> None:
    wire.script(reply(completion("x one", "x two")))
    WAYS[way](calls, make)
    assert wire.bodies == [SENT]


STREAM_WAYS = {
    "constructor": lambda calls, make: calls.stream(make(**STREAMED), "x"),
    "stream": lambda calls, make: calls.stream(make(), "x", **STREAMED),
    "bind": lambda calls, make: calls.stream(make().bind(**STREAMED), "x"),
    "streaming": lambda calls, make: calls.invoke(make(streaming=True), "x", **STREAMED),
}


@pytest.mark.parametrize("way", STREAM_WAYS)
def test_every_field_is_sent_in_streams(wire: WireServer, make: Make, calls: Calls, way: str) -> None:
    wire.script(sse(chunk("x one", "stop")))
    STREAM_WAYS[way](calls, make)
    assert wire.bodies == [STREAM_SENT]


def test_unset_fields_are_not_sent(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(reply(completion("Hi")))
    calls.invoke(make(), "x")
    calls.invoke(make(max_tokens=None), "x")
    calls.invoke(make(temperature=0.5), "x", temperature=None)
    assert wire.bodies == [
        {"model": "alfred-4.2", "prompt": "x", "max_tokens": 256},
        {"model": "alfred-4.2", "prompt": "x"},
        {"model": "alfred-4.2", "prompt": "x", "max_tokens": 256},
    ]


def test_call_leaves_model_unchanged(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(reply(completion("Hi")))
    llm = make(stop=["a"], extra_body={"seed": 1})
    calls.invoke(llm, "x", stop=["b"], temperature=0.9, extra_body={"top_k": 3})
    calls.invoke(llm, "x")
    assert wire.bodies[0]["stop"] == "b"
    assert (wire.bodies[0]["seed"], wire.bodies[0]["top_k"]) == (1, 3)
    assert wire.bodies[1] == {"model": "alfred-4.2", "prompt": "x", "max_tokens": 256, "stop": "a", "seed": 1}


def test_calls_with_arguments_share_one_connection(wire: WireServer, make: Make) -> None:
    wire.always(reply(completion("Hi")))
    llm = make()
    for temperature in (0.1, 0.2, 0.3):
        llm.invoke("x", temperature=temperature)
    assert wire.connections == 1


def test_stops_of_call_replace_those_of_constructor(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(reply(completion("one a two b three")))
    llm = make(stop=["a"])
    assert calls.invoke(llm, "x") == "one "
    assert calls.invoke(llm, "x", stop=["b"]) == "one a two "
    assert calls.invoke(llm, "x", stop="three") == "one a two b "
    assert calls.invoke(llm, "x", stop=[]) == "one a two b three"
    assert [body.get("stop") for body in wire.bodies] == ["a", "b", "three", None]


@pytest.mark.parametrize("way", ["invoke", "stream", "batch"])
@pytest.mark.parametrize("given", [None, ["b"]])
@pytest.mark.parametrize("chats", [False, True])
def test_traces_show_the_stops_that_are_sent(
    wire: WireServer,
    make: Make,
    make_chat: MakeChat,
    calls: Calls,
    recorder: Recorder,
    way: str,
    given: Any,
    chats: bool,
) -> None:
    wire.always(lambda request: sse(chunk("x", "stop")) if request.body.get("stream") else reply(completion("x")))
    model = (make_chat if chats else make)(stop=["a"], callbacks=[recorder])
    getattr(calls, way)(model, ["x"] if way == "batch" else "x", stop=given)
    (start,) = recorder.starts
    shown = [start["invocation_params"]["stop"], start["metadata"]["ls_stop"]]
    assert shown == [given or ["a"]] * 2
    sent = wire.bodies[0]["stop"]
    assert shown[0][0] in ([sent] if isinstance(sent, str) else sent)


def test_stops_beyond_limit_of_server_are_enforced_by_client(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion("one 6 two")), sse(chunk("one"), chunk(" 6"), chunk(" two", "stop")))
    stops = ["1", "2", "3", "4", "5", " 6"]
    assert calls.invoke(make(), "x", stop=stops) == "one"
    assert "".join(calls.stream(make(), "x", stop=stops)) == "one"
    assert [body["stop"] for body in wire.bodies] == [["1", "2", "3", "4"]] * 2


REFUSED: dict[str, Any] = {
    "invoke": lambda calls, llm, **wrong: calls.invoke(llm, "x", **wrong),
    "bind": lambda calls, llm, **wrong: calls.invoke(llm.bind(**wrong), "x"),
    "stream": lambda calls, llm, **wrong: calls.stream(llm, "x", **wrong),
    "batch": lambda calls, llm, **wrong: calls.batch(llm, ["x", "y"], **wrong),
    "generate": lambda calls, llm, **wrong: calls.generate(llm, ["x"], **wrong),
}


@pytest.mark.parametrize("way", REFUSED)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temprature": 1}, "unknown argument temprature; did you mean temperature?"),
        ({"n_tokens": 1}, "unknown argument n_tokens; here it is max_tokens"),
        ({"top_k": 1}, "unknown argument top_k; it is a field of some servers: extra_body="),
        ({"temperature": 2.5}, "temperature: input should be less than or equal to 2"),
        ({"stop": [""]}, "stop: stop sequences must not be empty"),
    ],
)
def test_invalid_arguments_of_call_raise_before_anything_is_sent(
    wire: WireServer, make: Make, calls: Calls, way: str, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        REFUSED[way](calls, make(), **wrong)
    assert message in str(refused.value)
    assert wire.requests == []


def test_streaming_several_completions_raises(wire: WireServer, make: Make, calls: Calls) -> None:
    for call in (
        lambda: calls.stream(make(n=2), "x"),
        lambda: calls.stream(make(), "x", n=2),
        lambda: calls.invoke(make(streaming=True), "x", n=2),
    ):
        with pytest.raises(InvalidParameterError, match="n must be 1 while streaming"):
            call()
    assert wire.requests == []


def test_configurable_alternatives_are_chosen_by_config(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(reply(completion("Hi")))
    llm = make(model="small").configurable_alternatives(
        ConfigurableField(id="size"), default_key="small", large=make(model="large")
    )
    config: RunnableConfig = {"configurable": {"size": "large"}}
    calls.invoke(llm, "x")
    calls.invoke(llm, "x", config=config)
    assert [body["model"] for body in wire.bodies] == ["small", "large"]


def test_fallback_is_used_after_server_error(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply({"error": {"message": "down"}}, 500), reply(completion("second")))
    llm = make(model="first", max_retries=0).with_fallbacks([make(model="second")], exceptions_to_handle=(ServerError,))
    assert calls.invoke(llm, "x") == "second"
    assert [body["model"] for body in wire.bodies] == ["first", "second"]


def test_fallback_is_not_used_after_other_errors(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply({"error": {"message": "no"}}, 400))
    llm = make(max_retries=0).with_fallbacks([make()], exceptions_to_handle=(ServerError,))
    with pytest.raises(APIStatusError, match="no"):
        calls.invoke(llm, "x")


def test_with_retry_retries_our_errors(wire: WireServer, make: Make, calls: Calls) -> None:
    busy = reply({"error": {"message": "slow down"}}, 429)
    wire.script(busy, reply(completion("Hi")), busy, busy)
    llm = make(max_retries=0).with_retry(
        retry_if_exception_type=(RateLimitError,), wait_exponential_jitter=False, stop_after_attempt=2
    )
    assert calls.invoke(llm, "x") == "Hi"
    with pytest.raises(RateLimitError, match="slow down"):
        calls.invoke(llm, "x")
    assert wire.unused == 0
