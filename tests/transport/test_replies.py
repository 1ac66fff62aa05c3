"""Completions and model lists, in every format that OpenAI-compatible servers send."""

from __future__ import annotations

import gzip
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from paradigm_transport import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    BadRequestError,
    Logprobs,
    Model,
    ParadigmError,
    ServerError,
    StreamInterruptedError,
    Usage,
    get_paradigm_usage,
)
from paradigm_transport.endpoints.completions.logprobs import read_logprobs
from paradigm_transport.endpoints.completions.reply import read_completion
from paradigm_transport.endpoints.models import ModelsCall
from paradigm_transport.http.sse import BOM
from paradigm_transport.refusals import Origin, parse_reply
from paradigm_transport.usage import read_usage
from tests.transport.conftest import MODEL, Api, over_completions
from tests.wire import CUT, WireServer, chunk, completion, event, head, models, reply, sse, texts, trickle

pytestmark = pytest.mark.usefixtures("endpoint")

HOST = Origin("host")


def read(**fields: Any) -> Any:
    return read_completion({**completion("a"), **fields}, HOST, stops=[], n=len(fields.get("choices", "a")))


@over_completions
def test_full_reply_fills_every_field_of_completion(api: Api, wire: WireServer) -> None:
    body = completion("Hello", system_fingerprint="fp", timings={"ms": 5}, kv_transfer_params=None)
    wire.script(reply(body))
    answer = api.client(wire).complete("Hi", model=MODEL)
    assert answer.text == answer.choices[0].text == "Hello"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.id, answer.model, answer.created) == ("cmpl-1", "alfred-40b-1123", 1700000000)
    assert answer.usage == Usage(3, 5, 8)
    assert answer.usage.as_dict() == body["usage"]
    assert answer.raw == body
    assert answer.request_id is None


def test_minimal_reply_leaves_optional_fields_none() -> None:
    answer = read_completion({"choices": [{"text": ""}]}, HOST, stops=[])
    assert answer.text == ""
    assert (answer.id, answer.model, answer.created, answer.usage) == (None, None, None, None)
    assert (answer.choices[0].finish_reason, answer.choices[0].stop_reason) == (None, None)


def test_choices_are_ordered_by_index(api: Api, wire: WireServer) -> None:
    body = completion("a", "b", "c")
    body["choices"].reverse()
    wire.script(reply(body))
    assert [c.text for c in api.client(wire).complete("Hi", model=MODEL, n=3).choices] == ["a", "b", "c"]
    unnumbered = read(choices=[{"text": "a"}, {"text": "b", "index": None}])
    assert [(c.index, c.text) for c in unnumbered.choices] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize("text", ["", None])
def test_null_text_is_read_as_empty(text: str | None) -> None:
    assert read(choices=[{"index": 0, "text": text}]).text == ""


@pytest.mark.parametrize("reason", ["stop", "length", "repetition", "content_filter", "néw", None])
def test_any_finish_reason_is_kept(reason: str | None) -> None:
    assert read(choices=[{"text": "a", "finish_reason": reason}]).choices[0].finish_reason == reason


@pytest.mark.parametrize("reason", ["abort", "error", "cancelled"])
def test_aborted_completion_raises_with_its_text(api: Api, wire: WireServer, reason: str) -> None:
    body = completion("Once upon", "b")
    body["choices"][0]["finish_reason"] = reason
    wire.always(reply(body, headers={"X-Request-Id": "req-7"}))
    with pytest.raises(ServerError, match=f"{wire.host} ended the completion before its end .*'{reason}'") as caught:
        api.client(wire).complete("Hi", model=MODEL, n=2)
    assert (caught.value.partial_text, caught.value.request_id) == ("Once upon", "req-7")
    assert len(wire.requests) == 3, "a completion that was given up is retried"


def test_stop_before_abort_ends_completion_normally() -> None:
    body = {"choices": [{"text": "a END b", "finish_reason": "abort"}]}
    assert read_completion(body, HOST, stops=["END"]).choices[0].finish_reason == "stop"


IN_FORM_OF_CHATS = [
    ({"message": {"role": "assistant", "content": "Hello"}}, "Hello"),
    ({"message": {"content": "Hello"}, "text": None}, "Hello"),
    ({"delta": {"content": "Hello"}}, "Hello"),
    ({"message": {"content": None, "tool_calls": None}}, ""),
    ({"message": {"content": "Hello"}, "text": "Text"}, "Text"),
]


@pytest.mark.parametrize(("choice", "text"), IN_FORM_OF_CHATS)
@over_completions
def test_choice_in_chat_format_is_read(api: Api, wire: WireServer, choice: dict[str, Any], text: str) -> None:
    body = {"choices": [{"index": 0, "finish_reason": "stop", **choice}]}
    wire.always(reply(body))
    client = api.client(wire)
    assert client.complete("Hi", model=MODEL).text == text
    assert texts(client.stream("Hi", model=MODEL)) == text
    wire.always(sse(body))
    assert texts(client.stream("Hi", model=MODEL)) == text


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"finish_reason": "stop"},
        {"message": {}},
        {"message": "Hello"},
        {"message": {"content": ["Hello"]}},
        {"message": {"content": 5}},
        {"message": {"content": None, "tool_calls": [{"id": "1"}]}},
    ],
)
@over_completions
def test_choice_without_text_raises(api: Api, wire: WireServer, choice: dict[str, Any]) -> None:
    wire.always(reply({"choices": [choice]}))
    client = api.client(wire)
    for call in (lambda: client.complete("Hi", model=MODEL), lambda: list(client.stream("Hi", model=MODEL))):
        with pytest.raises(APIResponseError, match="returned an unexpected response"):
            call()


def test_choices_beyond_n_are_dropped(api: Api, wire: WireServer) -> None:
    wire.always(reply(completion("a", "b", "c")))
    client = api.client(wire)
    assert [choice.text for choice in client.complete("Hi", model=MODEL, n=2).choices] == ["a", "b"]
    assert texts(client.stream("Hi", model=MODEL)) == "a"
    wire.script(reply({"choices": [{"index": 1, "text": "b"}, {"index": -1, "text": "c"}]}))
    with pytest.raises(APIResponseError):
        client.complete("Hi", model=MODEL)


@pytest.mark.parametrize("digits", [400, 5000])
def test_reply_with_huge_numbers_is_read_whole_and_streamed(api: Api, wire: WireServer, digits: int) -> None:
    logprobs = b'{"tokens": ["a"], "token_logprobs": [%s], "top_logprobs": [{"a": %s}]}'
    number = b"9" * digits
    choice = b'{"index": 0, "text": "a", "finish_reason": "stop", "logprobs": ' + logprobs % (number, number) + b"}"
    usage = b'{"prompt_tokens": %s, "completion_tokens": %s}' % (number, number)
    body = b'{"created": ' + number + b', "choices": [' + choice + b'], "usage": ' + usage + b"}"
    wire.always(reply(body))
    client = api.client(wire)
    with get_paradigm_usage(price=1.5) as counted:
        whole = client.complete("Hi", model=MODEL)
        (streamed, _) = client.stream("Hi", model=MODEL)
        wire.always(sse(event(body)))
        (chunk, _) = client.stream("Hi", model=MODEL)
    assert (counted.uncounted, counted.cost, counted.tokens_per_second) == (3, 0, None)
    assert whole.text == streamed.text == chunk.text == "a"
    assert whole.usage is None
    assert whole.choices[0].logprobs == streamed.logprobs == chunk.logprobs == Logprobs(["a"], [None], [{}], [0])


@pytest.mark.parametrize("code", [b"9" * 400, b"9" * 5000, b'"' + b"9" * 5000 + b'"', b"true", b"[]", b"1e400"])
def test_error_with_invalid_code_counts_as_500(api: Api, wire: WireServer, code: bytes) -> None:
    body = b'{"error": {"message": "oh", "code": ' + code + b"}}"
    client = api.client(max_retries=0, wire=wire)
    for script in (reply(body), sse(event(body))):
        wire.always(script)
        with pytest.raises(ServerError, match="answered 500: oh"):
            list(client.stream("Hi", model=MODEL))
    wire.always(reply(body))
    with pytest.raises(ServerError, match="answered 500: oh"):
        client.complete("Hi", model=MODEL)


@pytest.mark.parametrize("lead", [BOM, BOM + b" \n", b" \r\n"])
def test_bom_before_reply_is_skipped(api: Api, wire: WireServer, lead: bytes) -> None:
    wire.always(trickle(reply(lead + to_json(completion("a")))))
    client = api.client(wire)
    assert client.complete("Hi", model=MODEL).text == "a"
    assert texts(client.stream("Hi", model=MODEL)) == "a"
    wire.always(trickle(sse(lead, chunk("a", "stop"))))
    assert texts(client.stream("Hi", model=MODEL)) == "a"


@pytest.mark.parametrize(("reason", "read_as"), [("END", "END"), (50256, 50256), (None, None), ([], None)])
def test_stop_reason_is_text_or_token_id(reason: object, read_as: object) -> None:
    assert read(choices=[{"text": "a", "stop_reason": reason}]).choices[0].stop_reason == read_as


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}, Usage(1, 2, 3)),
        ({"prompt_tokens": 1, "completion_tokens": 2}, Usage(1, 2, 3)),
        ({"prompt_tokens": 1.0, "completion_tokens": 2, "total_tokens": None}, Usage(1, 2, 3)),
        ({"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}, Usage(1, 0, 1)),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 0}, Usage(1, 2, 3)),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 8}},
            Usage(9, 2, 11, cached_tokens=8),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 1}},
            Usage(9, 2, 11, reasoning_tokens=1),
        ),
        ({"prompt_tokens": 1, "completion_tokens": 2, "completion_tokens_details": 7}, Usage(1, 2, 3)),
        ({"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(1, 2, 3)),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cost": 0.1}, Usage(1, 2, 3)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
        ({"prompt_tokens": 0, "completion_tokens": 5, "total_tokens": 5}, None),
        ({"prompt_tokens": 1}, None),
        ({"prompt_tokens": None, "completion_tokens": None}, None),
        ({"prompt_tokens": "1", "completion_tokens": 2}, None),
        ({"prompt_tokens": True, "completion_tokens": 2}, None),
        ({"prompt_tokens": -1, "completion_tokens": 2}, None),
        ({"prompt_tokens": 1.5, "completion_tokens": 2}, None),
        ({"prompt_tokens": math.nan, "completion_tokens": math.inf}, None),
        ({"prompt_tokens": 2**53, "completion_tokens": 0}, Usage(2**53, 0, 2**53)),
        ({"prompt_tokens": 1, "completion_tokens": 2**53 + 1}, None),
        ({"prompt_tokens": 1e300, "completion_tokens": 1}, None),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 10**400}, Usage(1, 2, 3)),
        ({"input_tokens": 1, "output_tokens": 2}, None),
        ({}, None),
        (None, None),
        ("many", None),
        ([1, 2], None),
        (5, None),
    ],
)
def test_usage_is_exact_or_absent(wire: object, usage: Usage | None) -> None:
    assert read_usage(wire) == usage
    assert read(usage=wire).usage == usage


def test_logprobs_in_documented_format_are_read() -> None:
    wire = {
        "tokens": ["a", "b"],
        "token_logprobs": [None, -1],
        "top_logprobs": [None, {"b": -1, "c": -2.5, "d": None}],
        "text_offset": [7, 8],
    }
    logprobs = read_logprobs(wire)
    assert logprobs == Logprobs(["a", "b"], [None, -1.0], [None, {"b": -1.0, "c": -2.5}], [7, 8])
    assert logprobs is not None
    assert logprobs.as_dict() == {**wire, "top_logprobs": [None, {"b": -1, "c": -2.5}]}


def test_logprobs_of_llama_cpp_are_converted() -> None:
    top = [{"token": "é", "logprob": -0.5}, {"token": "e", "logprob": -1}]
    entries = [{"token": "é", "logprob": -0.5, "top_logprobs": top}, {"token": "t", "logprob": None}, {}, "odd"]
    assert read_logprobs({"content": entries}, offset=4) == Logprobs(
        ["é", "t", ""], [-0.5, None, None], [{"é": -0.5, "e": -1.0}, {}, {}], [4, 5, 6]
    )


def test_likeliest_of_the_tokens_that_are_written_alike_stays() -> None:
    top = [{"token": "\ufffd", "logprob": -0.5}, {"token": "a", "logprob": -2}, {"token": "\ufffd", "logprob": -3}]
    logprobs = read_logprobs({"content": [{"token": "\ufffd", "logprob": -0.5, "top_logprobs": top}]})
    assert logprobs is not None
    assert logprobs.top_logprobs == [{"\ufffd": -0.5, "a": -2.0}]


@pytest.mark.parametrize(
    ("wire", "logprobs"),
    [
        ({"tokens": ["a"]}, Logprobs(["a"], [None], [None], [0])),
        ({"tokens": ["a", "b"], "token_logprobs": [-1]}, Logprobs(["a", "b"], [-1.0, None], [None, None], [0, 1])),
        (
            {"tokens": ["a"], "token_logprobs": [-1, -2], "top_logprobs": "odd", "text_offset": [0, 1]},
            Logprobs(["a"], [-1.0], [None], [0]),
        ),
        (
            {"tokens": [5], "token_logprobs": ["odd"], "top_logprobs": [["odd"]], "text_offset": [None]},
            Logprobs(["5"], [None], [None], [0]),
        ),
        (
            {"tokens": ["a", "b"], "token_logprobs": [True, -1], "text_offset": [7, None]},
            Logprobs(["a", "b"], [None, -1.0], [None, None], [0, 1]),
        ),
        ({"tokens": []}, Logprobs()),
        ({"tokens": None}, None),
        ({"content": None}, None),
        ({"content": [{"token": "a", "top_logprobs": [None, {}]}]}, Logprobs(["a"], [None], [{}], [0])),
        ({"content": [{"token": "a", "top_logprobs": 5}]}, Logprobs(["a"], [None], [{}], [0])),
        ({}, None),
        ([], None),
        (None, None),
        (5, None),
    ],
)
def test_malformed_logprobs_do_not_fail_completion(wire: object, logprobs: Logprobs | None) -> None:
    assert read_logprobs(wire) == logprobs
    assert read(choices=[{"text": "a", "logprobs": wire}]).text == "a"


ODD = st.sampled_from([None, True, 0, 1, -1, 1.5, math.nan, math.inf, "", "a", "stop", [], [None], {}, {"a": 1}, [5]])


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Generate objects with some of these fields, or values of other types."""
    return ODD | st.fixed_dictionaries({}, optional=fields)


def listed(entry: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return ODD | st.lists(entry, max_size=3)


TOP = some(token=ODD, logprob=ODD)
CONTENT = listed(some(token=ODD, logprob=ODD, top_logprobs=listed(TOP)))
LOGPROBS = some(tokens=listed(ODD), token_logprobs=listed(ODD), top_logprobs=listed(ODD), text_offset=ODD)
CHOICE = some(index=ODD, text=ODD, finish_reason=ODD, stop_reason=ODD, logprobs=LOGPROBS | some(content=CONTENT))
USAGE = some(prompt_tokens=ODD, completion_tokens=ODD, total_tokens=ODD, prompt_tokens_details=some(cached_tokens=ODD))
ERROR = some(message=ODD, code=ODD, error=ODD, detail=listed(some(loc=ODD, msg=ODD)))
REPLY = some(id=ODD, model=ODD, created=ODD, choices=listed(CHOICE), usage=USAGE, error=ERROR, object=ODD, detail=ERROR)


@given(REPLY | st.fixed_dictionaries({"choices": st.lists(CHOICE, min_size=1)}))
def test_any_json_is_read_or_raises_paradigm_error(body: Any) -> None:
    try:
        answer = read_completion(parse_reply(to_json(body, inf_nan_mode="constants"), HOST), HOST, stops=["a"])
    except ParadigmError as error:
        assert str(error)  # noqa: PT017
    else:
        assert isinstance(answer.text, str)
        assert all(isinstance(choice.text, str) for choice in answer.choices)


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_parsed_or_raise_paradigm_error(data: bytes) -> None:
    try:
        parse_reply(data, HOST)
    except ParadigmError as error:
        assert str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"choices": [{"text": "\\ud83e\\udd9c"}]}', "🦜"),
        (b'{"choices": [{"text": "a\\ud83eb"}]}', "a\ufffdb"),
        (b'{"choices": [{"text": "a\\udd9cb"}]}', "a\ufffdb"),
        (b'{"choices": [{"text": "a\xffb"}]}', "a\ufffdb"),
        (b'\xef\xbb\xbf{"choices": [{"text": "a"}]}', "a"),
        (b' \r\n{"choices": [{"text": "a", "logprobs": NaN, "x": -Infinity}]}\n', "a"),
        ('{"choices": [{"text": "\u2028\u0085"}]}'.encode(), "\u2028\u0085"),
        (b'{"choices": [{"text": "\\u0000"}]}', "\x00"),
    ],
)
def test_unusual_characters_do_not_fail_completion(api: Api, wire: WireServer, data: bytes, text: str) -> None:
    wire.script(reply(data))
    answer = api.client(wire).complete("Hi", model=MODEL)
    assert answer.text == text
    answer.text.encode()  # raises if it holds a lone surrogate


NO_COMPLETIONS = [
    b"",
    b"null",
    b"5",
    b'"text"',
    b"[]",
    b"{}",
    b'{"choices": null}',
    b'{"choices": []}',
    b'{"choices": {}}',
    b'{"choices": [5]}',
    b'{"choices": [{"text": 5}]}',
    b'{"choices": [{"text": ["a"]}]}',
    b'{"status": "ok"}',
    b"<html><head><title>Sign in</title></head></html>",
    b"pong",
    b'{"choices": [{"text": "a"}]} trailing',
    b'{"a":' * 100_000,
    b'{"a":' * 300 + b"1" + b"}" * 300,
    b"{" + b"9" * 5000,
]


@pytest.mark.parametrize("body", NO_COMPLETIONS, ids=lambda body: repr(body[:24]))
def test_reply_without_completion_raises_without_retry(api: Api, wire: WireServer, body: bytes) -> None:
    wire.script(reply(body, headers={"X-Request-Id": "req-7"}))
    with pytest.raises(APIResponseError, match=rf"^{wire.host} returned an unexpected response") as caught:
        api.client(wire).complete("Hi", model=MODEL)
    assert caught.value.request_id == "req-7"
    assert len(str(caught.value)) < 800
    assert len(wire.requests) == 1


def test_response_error_quotes_unexpected_body(api: Api, wire: WireServer) -> None:
    wire.script(reply("<html><head><title>Sign &amp; in</title></head><body>…</body></html>"))
    with pytest.raises(APIResponseError, match=r"response: Sign & in\. Check base_url") as caught:
        api.client(wire).complete("Hi", model=MODEL)
    assert caught.value.body == "<html><head><title>Sign & in</title></head><body>…</body></html>".replace("&", "&amp;")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"message": "too long", "type": "BadRequestError", "code": 400}}, BadRequestError),
        ({"error": {"message": "too long", "code": "400"}}, BadRequestError),
        ({"error": "too long", "code": 400}, BadRequestError),
        ({"object": "error", "message": "too long", "code": 400}, BadRequestError),
        ({"object": "error", "message": "too long", "choices": []}, ServerError),
        ({"error": "too long"}, ServerError),
        ({"error": {"message": "too long", "code": "context_length_exceeded"}}, ServerError),
        ({"error": {"message": "too long", "code": 7}}, ServerError),
        ({**completion("a"), "error": {"message": "too long", "code": 400}}, BadRequestError),
    ],
)
def test_error_in_200_response_raises(api: Api, wire: WireServer, body: Any, kind: type[APIStatusError]) -> None:
    wire.script(reply(to_json(body)))
    with pytest.raises(kind, match="too long") as caught:
        api.client(wire, max_retries=0).complete("Hi", model=MODEL)
    assert caught.value.body == body


def test_null_error_field_is_ignored(api: Api, wire: WireServer) -> None:
    wire.script(reply(completion("a", error=None)))
    assert api.client(wire).complete("Hi", model=MODEL).text == "a"


def test_gzip_reply_sent_byte_by_byte_is_read(api: Api, wire: WireServer) -> None:
    packed = gzip.compress(to_json(completion("Hello" * 1000)))
    wire.script(trickle(reply(packed, headers={"Content-Encoding": "gzip"})))
    assert api.client(wire).complete("Hi", model=MODEL).text == "Hello" * 1000


@pytest.mark.parametrize(
    "packed", [b"not gzip", gzip.compress(b"x" * 1000)[:20] + b"\0" * 40], ids=["not gzip", "damaged"]
)
def test_body_that_cannot_be_decompressed_raises(api: Api, wire: WireServer, packed: bytes) -> None:
    wire.script(reply(packed, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(APIResponseError, match="cannot be decompressed"):
        api.client(wire).complete("Hi", model=MODEL)


def test_reply_cut_in_middle_raises(api: Api, wire: WireServer) -> None:
    wire.always([head(200, {"Content-Type": "application/json"}), to_json(completion("a"))[:-20], CUT])
    with pytest.raises(APIConnectionError, match="broke off its response in the middle") as caught:
        api.client(wire, max_retries=0).complete("Hi", model=MODEL)
    assert type(caught.value) is APIConnectionError
    with pytest.raises(StreamInterruptedError, match="broke off its response in the middle"):
        list(api.client(wire, max_retries=0).stream("Hi", model=MODEL))


def test_reply_without_content_length_ends_with_connection(api: Api, wire: WireServer) -> None:
    wire.script([head(200, {"Content-Type": "application/json"}), to_json(completion("a")), CUT])
    assert api.client(wire).complete("Hi", model=MODEL).text == "a"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (models("a", "b"), [("a", None), ("b", None)]),
        ({"data": [{"id": "a", "max_model_len": 8192}]}, [("a", 8192)]),
        ({"data": [{"id": 7, "name": "a"}]}, [("a", None)]),
        ({"data": [{"name": "a", "meta": {"n_ctx": 2048}}]}, [("a", 2048)]),
        ({"data": [{"id": "a", "max_input_tokens": 2048}]}, [("a", 2048)]),
        ({"data": [{"id": "a", "max_model_len": 0, "max_input_tokens": True}]}, [("a", None)]),
        ({"data": [{"id": "a", "meta": {}}, {"id": "b", "meta": None}]}, [("a", None), ("b", None)]),
        ({"data": [{"id": "a", "max_model_len": "8192"}]}, [("a", None)]),
        ({"data": [{}, None, {"id": 5}, {"id": "a"}]}, [("a", None)]),
        ({"data": []}, []),
        ([{"name": "a"}], [("a", None)]),
    ],
)
def test_models_are_read_in_every_format(api: Api, wire: WireServer, body: Any, expected: list[Any]) -> None:
    wire.script(reply(body))
    found = api.client(wire).models()
    assert [(model.id, model.context_window) for model in found] == expected


def test_model_keeps_raw_entry() -> None:
    entry = {"id": "a", "owned_by": "lighton"}
    assert ModelsCall().read([entry], HOST) == [Model("a", None, entry)]


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": "a"}, completion("a"), 5])
def test_body_without_model_list_raises(api: Api, wire: WireServer, body: Any) -> None:
    wire.script(reply(to_json(body)))
    with pytest.raises(APIResponseError):
        api.client(wire).models()


@pytest.mark.parametrize("empty", [{}, [], "", 0, False])
def test_empty_logprobs_are_none_also_where_a_stop_ends_the_text(api: Api, wire: WireServer, empty: Any) -> None:
    body = completion("one\ntwo")
    body["choices"][0]["logprobs"] = empty
    wire.script(reply(body))
    (choice,) = api.client(wire).complete("Hi", model=MODEL, stop="\n").choices
    assert (choice.text, choice.logprobs) == ("one", None)
