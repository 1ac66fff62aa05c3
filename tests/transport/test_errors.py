"""Errors: one class per status, the message of the server, secrets and prompts redacted."""

from __future__ import annotations

import copy
import json
import pickle
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

import paradigm_transport
from paradigm_transport import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    InvalidParameterError,
    NotFoundError,
    ParadigmError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    Settings,
    StreamInterruptedError,
    UnprocessableEntityError,
)
from paradigm_transport.refusals import (
    MAX_DIGITS,
    MESSAGE_LIMIT,
    Origin,
    Redaction,
    error_code,
    parse_reply,
    parse_retry_after,
    server_words,
    status_error,
)
from tests.growth import growth
from tests.transport.conftest import KEY, MODEL, Api
from tests.wire import CUT, RESET, STALL, Script, WireServer, chunk, completion, head, reply, sse, texts

pytestmark = pytest.mark.usefixtures("endpoint")

STATUSES = [
    (400, BadRequestError),
    (401, AuthenticationError),
    (402, APIStatusError),
    (403, PermissionDeniedError),
    (404, NotFoundError),
    (408, APIStatusError),
    (409, APIStatusError),
    (413, APIStatusError),
    (418, APIStatusError),
    (422, UnprocessableEntityError),
    (429, RateLimitError),
    (500, ServerError),
    (502, ServerError),
    (503, ServerError),
    (504, ServerError),
    (529, ServerError),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_each_status_raises_its_class(api: Api, wire: WireServer, status: int, kind: type[APIStatusError]) -> None:
    body = {"detail": "no luck"}
    headers = {"X-Request-Id": "req-7", "Retry-After": "1.5"}
    wire.always(reply(body, status, headers))
    client = api.client(wire, max_retries=0)
    for call in (
        lambda: client.complete("Hi", model=MODEL),
        lambda: list(client.stream("Hi", model=MODEL)),
        client.models,
    ):
        with pytest.raises(kind) as caught:
            call()
        error = caught.value
        assert type(error) is kind
        assert (error.status_code, error.body, error.request_id, error.retry_after) == (status, body, "req-7", 1.5)
        assert str(error).startswith(f"{wire.host} answered {status}: no luck.")
        assert error.partial_text == ""


UNREADABLE = {
    "not compressed as it says": lambda status: reply(b"no luck", status, {"Content-Encoding": "gzip"}),
    "too long": lambda status: reply(b"no luck" * 100, status),
    "cut": lambda status: [head(status, {"Content-Length": "100"}) + b"no luck", CUT],
    "reset": lambda status: [head(status, {"Content-Length": "100"}) + b"no luck", RESET],
}


@pytest.mark.parametrize("script", UNREADABLE.values(), ids=UNREADABLE)
def test_refusal_that_cannot_be_read_is_what_its_status_says(
    api: Api, wire: WireServer, script: Callable[[int], Script]
) -> None:
    client = api.client(wire, max_response_bytes=600)
    for call in (
        lambda: client.complete("Hi", model=MODEL),
        lambda: list(client.stream("Hi", model=MODEL)),
        client.models,
    ):
        wire.script(script(401))
        with pytest.raises(AuthenticationError, match="answered 401"):
            call()
    assert len(wire.requests) == 3
    wire.script(script(503), reply(completion("a")))
    assert client.complete("Hi", model=MODEL).retries == 1


def test_refusal_that_stalls_is_what_its_status_says(api: Api, wire: WireServer) -> None:
    wire.always([head(401, {"Content-Length": "100"}) + b"no luck", STALL])
    client = api.client(wire, timeout=0.3, max_retries=20)  # on a busy machine, the head may take longer
    with pytest.raises(AuthenticationError, match="answered 401"):
        client.complete("Hi", model=MODEL)


BODIES: list[tuple[Any, str]] = [
    ({"detail": "Not here"}, "Not here"),
    ({"detail": [{"loc": ["body", "temperature"], "msg": "too hot", "input": "SECRET"}]}, "temperature: too hot"),
    ({"detail": [{"loc": ["body", "a", 0], "msg": "x"}, {"msg": "y", "loc": None}]}, "a.0: x; y"),
    ({"model": ["Unknown model.", "Ask."], "n": ["Too many."]}, "model: Unknown model. Ask.; n: Too many."),
    ({"error": "Forbidden here", "code": 403}, "Forbidden here"),
    ({"error": {"message": "Too long", "type": "BadRequestError", "param": None, "code": 400}}, "Too long"),
    ({"object": "error", "message": "Too long", "type": "BadRequestError", "code": 400}, "Too long"),
    ({"error": "Unauthorized"}, "Unauthorized"),
    ({"error": {"error": {"message": "deep"}}}, "deep"),
    ({"error": True, "message": "odd"}, "odd"),
    ({"error": {"message": "Too long"}, "detail": "validation"}, "Too long"),
    (["one", {"message": "two"}, 3], "one; two"),
    ("<html>\n<head><title>502 Bad\nGateway</title></head><body>nginx</body></html>", "502 Bad Gateway"),
    ("<html><body><h1>Oh</h1>&amp; no</body></html>", "Oh & no"),
    (f"<h1>Oh</h1>&amp; &#{'9' * 5000};", f"Oh &amp; &#{'9' * 488}…"),
    ({"error": {"message": f"<h1>&#{'9' * 5000};</h1>"}}, f"&#{'9' * 497}…"),
    ("upstream connect\n error", "upstream connect error"),
    ("a < b and b > c", "a < b and b > c"),
    ({"error": {"message": ""}}, ""),
    ({"items": [1, 2], "names": [], "both": ["a", 1]}, ""),
    (b"\xff\xfe", "\ufffd\ufffd"),
    (b"null", ""),
    (b"5", ""),
    (b"", ""),
]


@pytest.mark.parametrize(("body", "words"), BODIES)
def test_error_quotes_message_of_server_in_every_format(api: Api, wire: WireServer, body: Any, words: str) -> None:
    wire.script(reply(body, 418))
    with pytest.raises(APIStatusError) as caught:
        api.client(wire).complete("Hi", model=MODEL)
    said = f": {words}" if words else ""
    assert str(caught.value).rstrip(".") == f"{wire.host} answered 418{said}".rstrip(".")


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "api_key (or PARADIGM_API_KEY)"), (403, "administrator"), (404, "base_url"), (413, "larger")],
)
def test_error_ends_with_hint_for_its_status(status: int, hint: str) -> None:
    assert hint in str(status_error(status, {"detail": "No."}, Origin("host")))
    assert str(status_error(status, {}, Origin("host"))).startswith(f"host answered {status}. ")


def test_message_of_greatest_length_is_whole() -> None:
    words = "x" * MESSAGE_LIMIT
    assert str(status_error(400, {"detail": words}, Origin("host"))) == f"host answered 400: {words}."


def test_long_message_is_truncated() -> None:
    error = status_error(400, {"detail": "x" * 100_000}, Origin("host"))
    assert str(error) == f"host answered 400: {'x' * (MESSAGE_LIMIT - 1)}…"


@pytest.mark.parametrize("prompt", ["Tell me\n about 'my'  secret", "<title>a secret</title> of mine"])
def test_echoed_prompt_is_redacted(api: Api, wire: WireServer, prompt: str) -> None:
    for said in (prompt, repr([prompt]), " ".join(prompt.split())):
        wire.script(reply({"error": {"message": f"cannot complete {said} today"}}, 400))
        with pytest.raises(BadRequestError) as caught:
            api.client(wire).complete(prompt, model=MODEL)
        assert "secret" not in str(caught.value)
        assert "today" in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "words"), [("a", "not a few"), ("eleven char", "eleven char"), ("twelve chars", "[…]")]
)
def test_short_prompt_is_not_redacted(prompt: str, words: str) -> None:
    said = words.replace("[…]", prompt)
    assert Redaction(prompts=(prompt,)).words({"detail": said}) == words


def test_prompt_that_holds_another_is_redacted_whole() -> None:
    prompts = ("Tell me a secret", "Tell me a secret of the king")
    assert Redaction(prompts=prompts).words("cannot complete Tell me a secret of the king") == "cannot complete […]"


def test_prompt_of_white_space_leaves_words_as_they_are() -> None:
    assert Redaction(prompts=(" " * 12,)).words("no luck") == "no luck"


def test_words_behind_a_long_prompt_are_quoted() -> None:
    prompt = "word " * 50_000
    assert Redaction(prompts=(prompt,)).words(f"cannot complete {prompt}today") == "cannot complete […]today"


@pytest.mark.parametrize("length", range(0, 12_000, 500))
def test_prompt_is_redacted_wherever_it_stands_in_a_long_text(length: int) -> None:
    prompt, secret = "prompt " * 500, "s " * 50 + "secret"
    text = "- " * (length // 2) + (prompt + "\n" * length + secret) * 5 + "- " * 20_000
    for body in (text, {"errors": [text]}, [{"loc": [text], "msg": text}], {"a": [text]}, {"fields": {text: [text]}}):
        words = Redaction((secret,), (prompt,)).words(body)
        assert set(words) <= set("-[…];:.a ")
        assert len(words) == MESSAGE_LIMIT


@pytest.mark.parametrize(
    "echo",
    [
        lambda chat: {"detail": [{"loc": ["body"], "msg": "too long", "input": chat}] * 2},
        lambda chat: {"errors": [message["content"] for message in chat]},
        lambda chat: {"messages": [message["content"] for message in chat]},
        lambda chat: {"errors": [f"again and again {number}" for number in range(10 * len(chat))]},
    ],
)
def test_echo_of_a_long_chat_is_redacted_in_linear_time(echo: Callable[[Any], Any]) -> None:
    def redact(messages: int) -> None:
        prompts = tuple(f"{number} é\n" * 30 for number in range(messages))
        words = Redaction(prompts=prompts).words(echo([{"content": prompt} for prompt in prompts]))
        assert "é" not in words

    assert growth(redact, 50, 16) < 1.5


def test_redirect_raises_and_is_not_followed(api: Api, wire: WireServer) -> None:
    with WireServer() as other:
        wire.always(reply(b"", 307, {"Location": f"{other.url}/completions?token=secret"}))
        with pytest.raises(APIStatusError, match=f"answered 307. It redirects to {other.url}/completions; ") as caught:
            api.client(wire).complete("Hi", model=MODEL)
        assert caught.value.status_code == 307
        assert "secret" not in str(caught.value)
        assert other.connections == 0
    for status in (300, 304, 399):
        wire.always(reply(b"", status))
        with pytest.raises(APIStatusError, match="redirects to another address"):
            api.client(wire).complete("Hi", model=MODEL)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:30 -0000", 10.0),
        ("Wed, 15 Nov 2023 00:13:30 +0200", 10.0),
        ("5".rjust(64), 5.0),
        ("Tuesday, 14-Nov-23 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("Tue, 14 Nov 99999 22:00:00 GMT", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, 1_700_000_000.0) == seconds


@given(st.text(max_size=30))
def test_parse_retry_after_accepts_any_text(value: str) -> None:
    seconds = parse_retry_after(value, 0.0)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    "script",
    [
        [CUT],
        [RESET],
        [b"nonsense\r\n\r\n", CUT],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", CUT],
        [head(200, {"Content-Length": "100"}), b"{", CUT],
        [head(200, {"Content-Length": "nonsense"}), CUT],
        [head(200, {"Transfer-Encoding": "chunked"}), b"nonsense\r\n", CUT],
        [head(200, {"Transfer-Encoding": "chunked"}), b"5\r\nab", RESET],
        [head(200, {"X": "y" * 200_000})],
    ],
    ids=repr,
)
def test_broken_connection_raises_connection_error(api: Api, wire: WireServer, script: list[Any]) -> None:
    wire.always(script)
    client = api.client(wire, max_retries=0)
    for call in (lambda: client.complete("Hi", model=MODEL), lambda: list(client.stream("Hi", model=MODEL))):
        with pytest.raises(APIConnectionError, match=wire.host) as caught:
            call()
        assert not isinstance(caught.value, APITimeoutError)


def test_refused_connection_is_retried_then_raises_connection_error(api: Api) -> None:
    with WireServer() as gone:
        pass
    with pytest.raises(APIConnectionError, match=rf"^{gone.host} could not be reached .*Check base_url"):
        api.client(gone).complete("Hi", model=MODEL)
    assert api.slept == [0.5, 1.0]


def test_unknown_host_raises_connection_error(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    with pytest.raises(APIConnectionError, match=r"^nowhere\.invalid could not be reached"):
        api.client(base_url="https://nowhere.invalid", max_retries=0).complete("Hi", model=MODEL)


def every_error() -> list[ParadigmError]:
    origin = Origin("host", {"x-request-id": "req-7", "retry-after": "3"})
    return [
        ParadigmError("a", partial_text="text"),
        InvalidParameterError("a"),
        APIConnectionError("a"),
        APITimeoutError("a"),
        StreamInterruptedError("a", partial_text="text"),
        APIResponseError("a", body={"b": 1}, request_id="req-7"),
        *(status_error(status, {"detail": "b"}, origin) for status, _ in STATUSES),
    ]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_every_error_can_be_pickled_and_copied(error: ParadigmError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert twin.args == error.args
        assert vars(twin) == vars(error)


def test_all_exported_errors_derive_from_paradigm_error() -> None:
    exported = [getattr(paradigm_transport, name) for name in paradigm_transport.__all__]
    errors = {each for each in exported if isinstance(each, type) and issubclass(each, Exception)}
    assert {type(error) for error in every_error()} == errors
    assert all(issubclass(error, ParadigmError) for error in errors)
    assert issubclass(InvalidParameterError, ValueError)


def test_errors_carry_no_cause_and_no_frames_of_httpx(api: Api, wire: WireServer) -> None:
    wire.always([CUT])
    client = api.client(wire, max_retries=0)
    for call in (lambda: client.complete("Hi", model=MODEL), lambda: list(client.stream("Hi", model=MODEL))):
        with pytest.raises(APIConnectionError) as caught:
            call()
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert not any("httpx" in str(entry.path) for entry in caught.traceback)


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(
    "echo",
    [
        {"error": {"message": f"bad key {KEY}", "code": 401}},
        {"headers": {"authorization": f"Bearer {KEY}", KEY: [KEY]}},
        f"Authorization: Bearer {KEY}",
        f"<html><title>{KEY}</title></html>",
        b"\xff" + KEY.encode(),
    ],
)
def test_echoed_key_is_redacted(api: Api, wire: WireServer, status: int, echo: Any) -> None:
    wire.always(reply(echo, status))
    client = api.client(wire, max_retries=0)
    for call in (
        lambda: client.complete("Hi", model=MODEL),
        lambda: list(client.stream("Hi", model=MODEL)),
        client.models,
    ):
        with pytest.raises(ParadigmError) as caught:
            call()
        assert KEY not in str(caught.value)
        assert KEY not in repr(getattr(caught.value, "body", None))
        assert KEY.encode() not in pickle.dumps(caught.value)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": {"message": "no", "code": 400}}, 400),
        ({"error": {"message": "no", "code": "404"}}, 404),
        ({"error": {"message": "no", "code": 399}}, 500),
        ({"error": {"message": "no", "code": 599}}, 599),
        ({"error": {"message": "no", "code": 600}}, 500),
        ({"error": {"message": "no", "code": "40"}}, 500),
        ({"error": {"message": "no", "code": "4o4"}}, 500),
        ({"error": {"message": "no", "code": "0404"}}, 500),
        ({"error": {"message": "no", "code": "4" * 5000}}, 500),
        ({"error": {}}, 500),
        ({"object": "error"}, 500),
        ({"error": "no", "choices": []}, 500),
        ({"object": "error", "message": "no", "code": 403}, 403),
        ({"detail": "no"}, 500),
        ({"code": 429}, 429),
        ({"model": ["no"]}, 500),
        ({"choices": [], "message": "hello"}, None),
        ({"data": [], "message": "hello"}, None),
        ({"object": "list", "message": "hello"}, None),
        ({"usage": {}, "message": "hello"}, None),
        ({"error": None, "id": "x"}, None),
        ({"error": "", "choices": []}, None),
        ({"error": {}, "choices": []}, None),
        ({"error": False, "data": []}, None),
        ({"error": [], "results": []}, None),
        ({"error": False}, 500),
        ({}, None),
        (["no"], None),
    ],
)
def test_error_in_place_of_reply_is_recognised(body: Any, code: int | None) -> None:
    assert error_code(body) == code
    data = json.dumps(body).encode()
    if code is None:
        assert parse_reply(data, Origin("host")) == body
    else:
        with pytest.raises(APIStatusError) as caught:
            parse_reply(data, Origin("host"))
        assert (caught.value.status_code, caught.value.body) == (code, body)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"error": {"message": "no", "code": 400}}, 400),
        ({"message": "no", "code": 400}, 400),
        ({"message": "no"}, 500),
        ({"object": "event", "message": "no", "code": 400}, 400),
        ("no", 500),
        (None, 500),
    ],
)
def test_event_named_an_error_is_one_with_any_body(data: Any, code: int) -> None:
    with pytest.raises(APIStatusError) as caught:
        parse_reply(json.dumps(data).encode(), Origin("host"), is_error=True)
    assert (caught.value.status_code, caught.value.body) == (code, data)


@pytest.mark.parametrize(
    ("data", "body"),
    [(b"overloaded", "overloaded"), (b'\xef\xbb\xbf{"detail": "overloaded"}', {"detail": "overloaded"})],
)
def test_event_named_an_error_keeps_a_body_that_is_not_strict_json(data: bytes, body: Any) -> None:
    with pytest.raises(ServerError, match=r"answered 500: overloaded\.") as caught:
        parse_reply(data, Origin("host"), is_error=True)
    assert caught.value.body == body


@pytest.mark.parametrize(("digits", "kind"), [(1, int), (MAX_DIGITS - 1, int), (MAX_DIGITS, float), (5000, float)])
def test_numbers_of_a_lenient_reply_are_integers_unless_nobody_counts_so_far(digits: int, kind: type) -> None:
    body = parse_reply(b'\xef\xbb\xbf{"number": ' + b"9" * digits + b"}", Origin("host"))
    assert type(body["number"]) is kind


def test_server_words_skip_null_and_empty_fields() -> None:
    assert server_words({"error": None, "detail": [], "message": {"message": "in"}}) == "in"
    assert server_words(None) == ""


@pytest.mark.parametrize(
    "page",
    [
        "<html>" + "<" * 1_000_000,
        "<html>" + "<title" * 200_000,
        "<html><title>" + "</titl" * 200_000,
        "<html>" + "</title>" * 200_000,
        " " * 2_000_000 + "<html>",
        "<html><title>" + " \n" * 1_000_000,
        "&" * 1_000_000,
        "<html>" + "&#" * 500_000,
        "9" * 1_000_000,
    ],
    ids=lambda page: page[:16],
)
def test_large_error_page_is_read_in_linear_time(page: str) -> None:
    # In quadratic time, each of these pages would exceed the timeout of the test.
    assert len(str(status_error(502, page.encode(), Origin("host")))) < 2 * MESSAGE_LIMIT


@pytest.mark.parametrize("field", ["code", "type", "message"])
@pytest.mark.parametrize(
    "value", ["9" * 1_000_000, "9" * 15 + " in the completion, context length is " + "9" * 1_000_000]
)
def test_large_field_of_an_error_is_read_in_linear_time(field: str, value: str) -> None:
    body = {"error": {"message": "oh", field: value}}
    assert len(str(status_error(400, body, Origin("host")))) < 2 * MESSAGE_LIMIT


@pytest.mark.parametrize("value", ["5".rjust(65), " " * 60_000 + "x", "9" * 60_000, "1 " * 30_000, "Tue, " * 12_000])
def test_long_retry_after_is_ignored(value: str) -> None:
    assert parse_retry_after(value, 0.0) is None


@pytest.mark.parametrize("name", ["x-request-id", "request-id"])
def test_request_id_is_read_from_either_header(name: str) -> None:
    assert status_error(400, {}, Origin("host", {name: "req-7"})).request_id == "req-7"


def test_request_id_is_redacted_and_shortened() -> None:
    headers = {"x-request-id": f"{KEY} " + "x" * 10_000}
    error = status_error(400, {}, Origin("host", headers, Redaction((KEY,))))
    assert error.request_id is not None
    assert error.request_id.startswith("[…] xxx")
    assert len(error.request_id) == MESSAGE_LIMIT


def test_header_with_a_character_of_5000_digits_is_quoted_as_it_is(api: Api, wire: WireServer) -> None:
    words = f"<h1>&#{'9' * 5000};"
    wire.script(
        reply(completion("a"), headers={"X-Request-Id": words}),
        sse(chunk("a", "stop"), headers={"X-Request-Id": words}),
        reply(b"", 302, {"Location": words}),
    )
    client = api.client(wire)
    shown = f"&#{'9' * 497}…"
    assert client.complete("Hi", model=MODEL).request_id == shown
    assert texts(client.stream("Hi", model=MODEL)) == "a"
    with pytest.raises(APIStatusError, match=f"redirects to {shown}; "):
        client.complete("Hi", model=MODEL)


def test_values_of_default_headers_are_redacted(api: Api, wire: WireServer) -> None:
    secret = 'top "secret" value'
    wire.always(reply({"detail": f"cannot accept {secret}", "headers": [f"X-Auth: {secret}"]}, 400))
    with pytest.raises(BadRequestError, match=r"cannot accept \[…\]\.") as caught:
        api.client(wire, default_headers={"X-Auth": secret, "X-On": "yes"}).complete("Hi", model=MODEL)
    assert "secret" not in repr(vars(caught.value))


def test_credentials_of_a_proxy_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pa%20ss-word@proxy.example:3128")
    secrets = Settings(api_key=KEY, base_url="host").secrets
    basic = b64encode(b"user:pa ss-word").decode()
    echo = {"detail": f"bad password pa ss-word in http://user:pa%20ss-word@proxy or Basic {basic}"}
    words = str(status_error(407, echo, Origin("host", redaction=Redaction(secrets))))
    assert words == "host answered 407: bad password […] in http://user:[…]@proxy or Basic […]."


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("http://token123:@proxy.example:3128", "No: […], and retry"),
        ("http://:token123@proxy.example:3128", "No: […], and retry"),
        ("http://:@proxy.example:3128", "No: token123, and retry"),
    ],
)
def test_proxy_without_user_or_password_garbles_no_words(
    monkeypatch: pytest.MonkeyPatch, proxy: str, words: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    redaction = Redaction(Settings(api_key=KEY, base_url="host").secrets)
    assert redaction.words("No: token123, and retry") == words


def test_short_key_is_redacted_only_as_a_word() -> None:
    error = status_error(
        401, {"detail": "localhost: local is not local_key"}, Origin("host", redaction=Redaction(("local",)))
    )
    assert str(error).startswith("host answered 401: localhost: […] is not local_key.")


def test_short_secret_has_fewer_than_eight_characters() -> None:
    assert Redaction(("1234567",)).words("x1234567y") == "x1234567y"
    assert Redaction(("12345678",)).words("x12345678y") == "x[…]y"


def test_secret_that_begins_with_another_is_redacted_whole() -> None:
    assert Redaction((KEY, f"{KEY}-2")).words(f"{KEY}-2 {KEY}") == "[…] […]"


def in_json(text: str) -> str:
    """A text as it stands in the middle of a JSON string."""
    return json.dumps(f"({text})")[2:-2]


def in_html(text: str) -> str:
    """A text as Handlebars escapes it."""
    return escape(text).replace("/", "&#x2F;").replace("=", "&#61;")


def in_a_page(text: str) -> str:
    return f"<html><h1>no</h1>: {escape(text)}</html>"


@pytest.mark.parametrize("form", [str, in_json, quote, partial(quote, safe=""), quote_plus, escape, in_html])
def test_secret_is_redacted_whole_in_every_form(form: Callable[[str], str]) -> None:
    secret = '"top" / <secret>&='
    redaction = Redaction((secret,))
    assert redaction.words(f"no: ({form(secret)})") == "no: ([…])"
    assert redaction.body(f"<h1>no: ({form(secret)})</h1>") == "<h1>no: ([…])</h1>"


FORMS: list[tuple[Callable[[str], str], str]] = [
    (str, "no: […]"),
    (lambda prompt: " ".join(prompt.split()), "no: […]"),
    (repr, "no: '[…]'"),
    (lambda prompt: repr(prompt.encode()), "no: b'[…]'"),
    (json.dumps, 'no: "[…]"'),
    (lambda prompt: json.dumps(prompt, ensure_ascii=False), 'no: "[…]"'),
    (escape, "no: […]"),
    (lambda prompt: escape(prompt).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"), "no: […]"),
    (in_a_page, "no: no : […]"),
]


@pytest.mark.parametrize(("form", "words"), FORMS)
def test_prompt_is_redacted_in_every_form(form: Callable[[str], str], words: str) -> None:
    prompt = "Tell me\nabout 'my' \"secret\" in Besançon"
    assert Redaction(prompts=(prompt,)).words(f"no: {form(prompt)}") == words
