"""Requests: fields are validated and sent under their names; arguments of a call win; no nulls; headers."""

from __future__ import annotations

import pytest

from paradigm_transport import (
    BadRequestError,
    CompletionParameters,
    InvalidParameterError,
    UnprocessableEntityError,
    __version__,
)
from tests.transport.conftest import KEY, MODEL, Api
from tests.wire import WireServer, chunk, completion, models, reply, sse

ALL_FIELDS = {
    "model": MODEL,
    "max_tokens": 12,
    "temperature": 0.5,
    "top_p": 0.9,
    "n": 2,
    "best_of": 3,
    "logprobs": 4,
    "echo": True,
    "presence_penalty": 0.25,
    "frequency_penalty": -0.25,
    "logit_bias": {"50256": -100},
    "user": "u-1",
    "suffix": "the end",
}


def test_every_field_is_sent_under_its_name(api: Api, wire: WireServer) -> None:
    wire.script(reply(completion("a", "b")))
    api.client(wire).complete("Hi", **ALL_FIELDS, stop="\n")
    assert wire.bodies == [{**ALL_FIELDS, "stop": "\n", "prompt": "Hi"}]


def test_fields_that_are_not_set_are_not_sent_as_null(api: Api, wire: WireServer) -> None:
    wire.always(reply(completion("a")))
    client = api.client(wire)
    client.complete("Hi", model=MODEL)
    client.complete("Hi", model=MODEL, **dict.fromkeys(list(ALL_FIELDS)[1:]), stop=None, extra_body=None)
    assert wire.bodies == [{"model": MODEL, "max_tokens": 256, "prompt": "Hi"}, {"model": MODEL, "prompt": "Hi"}]


def test_arguments_of_a_call_override_the_parameters(api: Api, wire: WireServer) -> None:
    wire.always(reply(completion("a")))
    parameters = CompletionParameters(model=MODEL, temperature=0.1, top_p=0.5, extra_body={"seed": 1, "top_k": 5})
    client = api.client(wire)
    client.complete("Hi", parameters)
    client.complete("Hi", parameters, temperature=0.9, top_p=None, extra_body={"seed": 2})
    first, second = wire.bodies
    assert (first["temperature"], first["top_p"], first["seed"], first["top_k"]) == (0.1, 0.5, 1, 5)
    assert (second["temperature"], second["seed"], second["top_k"]) == (0.9, 2, 5)
    assert "top_p" not in second


def test_extra_body_is_sent_unchanged(api: Api, wire: WireServer) -> None:
    wire.script(reply(completion("a")))
    extra = {"top_k": 5, "structured_outputs": {"json": {"type": "object"}}, "seed": None}
    api.client(wire).complete("Hi", model=MODEL, extra_body=extra)
    assert wire.bodies[0] == {"model": MODEL, "max_tokens": 256, "prompt": "Hi", **extra}


@pytest.mark.parametrize(
    ("stop", "sent"),
    [
        ("\n", "\n"),
        (["\n"], "\n"),
        (["a", "b"], ["a", "b"]),
        (("a", "b", "a"), ["a", "b"]),
        (["a", "b", "c", "d"], ["a", "b", "c", "d"]),
        (["a", "b", "c", "d", "e"], ["a", "b", "c", "d"]),
        ([], None),
    ],
)
def test_stops_are_sent_in_the_forms_that_the_endpoint_accepts(
    api: Api, wire: WireServer, stop: object, sent: object
) -> None:
    wire.script(reply(completion("x")))
    api.client(wire).complete("Hi", model=MODEL, stop=stop)
    assert wire.bodies[0].get("stop") == sent


def test_text_of_any_language_arrives_unchanged(api: Api, wire: WireServer) -> None:
    prompt = 'Été 数 🦜 \u2028 \x00 "\\'
    wire.script(reply(completion(prompt)))
    assert api.client(wire).complete(prompt, model=MODEL).text == prompt
    assert wire.bodies[0]["prompt"] == prompt


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 2.1}, "temperature: .*less than or equal to 2.*0 to 2"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p: .*greater than 0"),
        ({"n": 0}, "n: .*1 or more"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"stop": ["a", ""]}, "stop: stop sequences must not be empty"),
        ({"temprature": 1}, "temprature.*did you mean temperature"),
        ({"n": 2, "best_of": 1}, "best_of must be at least n"),
        ({"extra_body": {"stream": True}}, "extra_body holds stream"),
        ({"extra_body": {"stream_options": {}}}, "extra_body holds stream_options"),
        ({"extra_body": {"temperature": 1}}, "extra_body holds temperature"),
        ({"extra_body": {"seed": object()}}, "cannot be encoded"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
    ],
)
def test_wrong_field_is_reported_before_anything_is_sent(
    api: Api, wire: WireServer, fields: dict[str, object], message: str
) -> None:
    client = api.client(wire)
    for call in (client.complete, client.stream):
        with pytest.raises(InvalidParameterError, match=message):
            call("Hi", **{"model": MODEL, **fields})
    assert wire.connections == 0


@pytest.mark.parametrize("prompt", [None, 5, ["a", "b"], b"Hi", "\ud800"])
def test_prompt_that_is_not_one_string_raises(api: Api, wire: WireServer, prompt: object) -> None:
    with pytest.raises(InvalidParameterError, match="prompt"):
        api.client(wire).complete(prompt, model=MODEL)
    assert wire.connections == 0


def test_missing_model_raises(api: Api, wire: WireServer) -> None:
    with pytest.raises(InvalidParameterError, match="model is required"):
        api.client(wire).complete("Hi")


def test_request_has_our_headers_and_reply_has_its_id(api: Api, wire: WireServer) -> None:
    wire.script(reply(completion("a"), headers={"X-Request-Id": "req-7"}))
    answer = api.client(wire, default_headers={"X-Team": "search"}).complete("Hi", model=MODEL)
    [request] = wire.requests
    assert (request.method, request.path) == ("POST", "/api/v2/completions")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"paradigm-llm/{__version__}"
    assert request.headers["x-team"] == "search"
    assert answer.request_id == "req-7"


def test_default_headers_replace_ours_in_any_case(api: Api, wire: WireServer) -> None:
    wire.script(reply(completion("a")))
    api.client(wire, default_headers={"USER-AGENT": "mine/1", "Authorization": "Basic x"}).complete("Hi", model=MODEL)
    assert wire.requests[0].raw.lower().count(b"user-agent") == 1
    assert wire.requests[0].raw.lower().count(b"authorization") == 1
    assert wire.requests[0].headers["user-agent"] == "mine/1"
    assert wire.requests[0].headers["authorization"] == "Basic x"


def test_cookies_are_not_kept(api: Api, wire: WireServer) -> None:
    wire.always(reply(completion("a"), headers={"Set-Cookie": "session=of-somebody; Path=/"}))
    client = api.client(wire)
    client.complete("Hi", model=MODEL)
    client.complete("Hi", model=MODEL)
    assert "cookie" not in wire.requests[1].headers


def test_stream_options_are_sent_only_with_a_stream(api: Api, wire: WireServer) -> None:
    wire.script(reply(completion("a")), sse(chunk("a", "stop")), sse(chunk("a", "stop")))
    client = api.client(wire)
    client.complete("Hi", model=MODEL)
    list(client.stream("Hi", model=MODEL))
    list(api.client(wire, stream_usage=False).stream("Hi", model=MODEL))
    plain, streamed, without = wire.bodies
    assert "stream" not in plain
    assert "stream_options" not in plain
    assert streamed["stream"] is True
    assert streamed["stream_options"] == {"include_usage": True}
    assert without["stream"] is True
    assert "stream_options" not in without


@pytest.mark.parametrize("usual", [True, False])
@pytest.mark.parametrize("wanted", [None, True, False])
def test_a_stream_asks_for_usage_as_the_call_says_else_as_the_settings_do(
    api: Api, wire: WireServer, usual: bool, wanted: bool | None
) -> None:
    wire.script(sse(chunk("a", "stop")))
    list(api.client(wire, stream_usage=usual).stream("Hi", model=MODEL, stream_usage=wanted))
    assert ("stream_options" in wire.bodies[0]) is (usual if wanted is None else wanted)
    assert "stream_usage" not in wire.bodies[0]


REFUSALS = [
    reply({"error": {"message": "Unknown field: stream_options", "code": 400}}, 400),
    reply({"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}, 422),
    reply({"stream_options": ["Unexpected field."]}, 400),
    reply({"error": {"message": "Unexpected field", "param": "stream_options"}}, 400),
    sse({"error": {"message": "include_usage is not known", "code": 400}}),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_stream_options_are_dropped_for_good_once_the_server_refuses_them(
    api: Api, wire: WireServer, refusal: list[bytes]
) -> None:
    wire.script(refusal)
    wire.always(sse(chunk("a", "stop")))
    client = api.client(wire, max_retries=0)
    for _ in range(2):
        assert [c.text for c in client.stream("Hi", model=MODEL)] == ["a", ""]
    assert ["stream_options" in body for body in wire.bodies] == [True, False, False]
    assert api.slept == [0.0]


def test_stream_options_are_kept_if_the_refusal_had_another_reason(api: Api, wire: WireServer) -> None:
    echo = {"detail": [{"loc": ["body", "model"], "msg": "no", "input": {"stream_options": {}}}]}
    wire.script(reply(echo, 422), reply(echo, 422), sse(chunk("a", "stop")))
    client = api.client(wire)
    with pytest.raises(UnprocessableEntityError):
        list(client.stream("Hi", model=MODEL))
    list(client.stream("Hi", model=MODEL))
    assert ["stream_options" in body for body in wire.bodies] == [True, False, True]


def test_a_stream_that_did_not_ask_for_usage_is_not_sent_again_without(api: Api, wire: WireServer) -> None:
    wire.script(REFUSALS[0])
    with pytest.raises(BadRequestError, match="Unknown field"):
        list(api.client(wire).stream("Hi", model=MODEL, stream_usage=False))
    assert len(wire.requests) == 1


def test_unrelated_refusal_of_a_stream_is_not_retried(api: Api, wire: WireServer) -> None:
    wire.script(reply({"error": {"message": "no such model", "code": 400}}, 400))
    with pytest.raises(BadRequestError, match="no such model"):
        list(api.client(wire).stream("Hi", model=MODEL))
    assert len(wire.requests) == 1


def test_models_is_a_get_without_a_body(api: Api, wire: WireServer) -> None:
    wire.script(reply(models("a", "b")))
    assert [model.id for model in api.client(wire).models()] == ["a", "b"]
    [request] = wire.requests
    assert (request.method, request.path, request.body) == ("GET", "/api/v2/models", None)
    assert request.headers["authorization"] == f"Bearer {KEY}"
