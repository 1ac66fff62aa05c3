"""Errors do not quote the wire: a gateway may repeat the request in what its client cannot read."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from collections.abc import Callable

import httpx
import pytest

from paradigm_transport import APIConnectionError, InvalidParameterError, ParadigmError
from tests.transport.conftest import KEY, MODEL, Api, AsyncApi
from tests.wire import CUT, Request, Script, WireServer, chunk, frame, head, sse

pytestmark = pytest.mark.usefixtures("collected")

PROMPT = "Something private that nobody else should read: " + "0123456789 é\n" * 4000
"""52 kB, in the form of JSON more."""

LIMIT = 1000
"""The most characters of a whole message: the words of others are shortened to 500."""


def in_status_line(request: Request) -> Script:
    return [b"HTTP/1.1 what? " + one_line(request) + b"\r\n\r\n"]


def without_http(request: Request) -> Script:
    return [one_line(request) + b"\r\n\r\n"]


def in_reason(request: Request) -> Script:
    return [b"HTTP/1.1 200 \x01" + one_line(request) + b"\r\n\r\n"]


def in_header(request: Request) -> Script:
    return [b"HTTP/1.1 200 OK\r\nX-Echo: \x00" + one_line(request) + b"\r\n\r\n"]


def in_header_name(request: Request) -> Script:
    return [b"HTTP/1.1 200 OK\r\n" + one_line(request) + b"\r\n\r\n"]


def in_content_length(request: Request) -> Script:
    return [b"HTTP/1.1 200 OK\r\nContent-Length: " + one_line(request) + b"\r\n\r\n"]


def in_transfer_encoding(request: Request) -> Script:
    return [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + one_line(request) + b"\r\n\r\n"]


def in_chunk_size(request: Request) -> Script:
    return [head(200, {"Transfer-Encoding": "chunked"}), one_line(request) + b"\r\n"]


def in_chunk_size_of_a_stream(request: Request) -> Script:
    return [*sse(chunk("a"), done=False)[:-1], one_line(request) + b"\r\n"]


def in_chunk_end(request: Request) -> Script:
    return [head(200, {"Transfer-Encoding": "chunked"}), frame(b"{")[:-2] + one_line(request) + b"\r\n"]


def in_gzip(request: Request) -> Script:
    body = one_line(request)
    return [head(200, {"Content-Encoding": "gzip", "Content-Length": str(len(body))}), body]


def one_line(request: Request) -> bytes:
    """The key and the prompt as gateways write them: a piece of the prompt, and all of it."""
    prompt = json.dumps(request.body["prompt"], ensure_ascii=False)[1:-1].encode()
    return b"Bearer " + KEY.encode() + b" " + prompt[20:90] + b" " + prompt + b" " + repr(PROMPT).encode()[1:-1]


WAYS: list[Callable[[Request], Script]] = [
    in_status_line,
    without_http,
    in_reason,
    in_header,
    in_header_name,
    in_content_length,
    in_transfer_encoding,
    in_chunk_size,
    in_chunk_size_of_a_stream,
    in_chunk_end,
    in_gzip,
]


def assert_nothing_is_quoted(error: ParadigmError, caplog: pytest.LogCaptureFixture) -> None:
    again = pickle.loads(pickle.dumps(error))
    shown = "".join(traceback.TracebackException.from_exception(error).format(chain=True))
    said = [str(error), repr(error), str(again), str(vars(error)), shown.split("paradigm_transport.errors")[-1]]
    for text in [*said, *(record.getMessage() for record in caplog.records if record.name == "paradigm_transport")]:
        assert KEY not in text
        assert "private" not in text
        assert "0123456789" not in text
        assert len(text) < LIMIT


@pytest.mark.parametrize("call", ["complete", "stream"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("library", [None, "httpx", "httpx2"], ids=["own", "httpx", "httpx2"])
def test_malformed_response_is_not_quoted(
    api: Api,
    wire: WireServer,
    way: Callable[[Request], Script],
    call: str,
    library: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    wire.always(lambda request: [*way(request), CUT])
    module = pytest.importorskip(library) if library else None
    client_class = "AsyncClient" if api.is_async else "Client"
    borrowed = {} if module is None else {api.client_field: getattr(module, client_class)(verify=False)}
    with pytest.raises(ParadigmError) as caught:
        list(getattr(api.client(wire, max_retries=1, **borrowed), call)(PROMPT, model=MODEL))
    assert wire.host in str(caught.value)
    assert_nothing_is_quoted(caught.value, caplog)
    for each in borrowed.values():
        api.close_borrowed(each)


@pytest.mark.parametrize("call", ["complete", "stream"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.RemoteProtocolError, APIConnectionError),
        (httpx.ReadTimeout, APIConnectionError),
        (httpx.DecodingError, ParadigmError),
        (OSError, APIConnectionError),
        (RuntimeError, InvalidParameterError),
    ],
)
def test_text_of_an_injected_client_is_redacted(
    api: Api, error: type[Exception], kind: type[ParadigmError], call: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "gw-secret-0123456"

    def handler(_: httpx.Request) -> httpx.Response:
        raise error(f"cannot read this line: {KEY} {secret} {PROMPT} {PROMPT!r}")

    borrowed = api.borrowed(transport=httpx.MockTransport(handler))
    options = {"default_headers": {"X-Gateway": secret}, api.client_field: borrowed}
    with pytest.raises(kind, match="cannot read this line") as caught:
        list(getattr(api.client(base_url="https://host", **options), call)(PROMPT, model=MODEL))
    assert secret not in str(caught.value)
    assert_nothing_is_quoted(caught.value, caplog)
    api.close_borrowed(borrowed)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("illegal status line: bytearray(b'HTTP/1.1 a part of the prompt')", "illegal status line: …"),
        ("Illegal header value b'a part'", "Illegal header value …"),
        ('Illegal header value b"a part"', "Illegal header value …"),
        ("400, message:\n  Invalid status line:\n\n  b'a part'\n   ^", "400, message: Invalid status line: …"),
        ("[Errno 111] Connection refused", "[Errno 111] Connection refused"),
        ("the verb'b' and a web\"b\"", "the verb'…"),
    ],
)
def test_bytes_that_a_library_quotes_are_cut(api: Api, text: str, left: str) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError(text)

    borrowed = api.borrowed(transport=httpx.MockTransport(handler))
    with pytest.raises(APIConnectionError) as caught:
        api.client(base_url="https://host", **{api.client_field: borrowed}).complete("Hi", model=MODEL)
    assert f"(RemoteProtocolError: {left})" in str(caught.value)
    api.close_borrowed(borrowed)


@pytest.mark.parametrize("way", [way for way in WAYS if "chunk" not in way.__name__], ids=lambda way: way.__name__)
@pytest.mark.parametrize("api", [AsyncApi], indirect=True)
def test_aiohttp_is_not_quoted_either(
    api: Api, wire: WireServer, way: Callable[[Request], Script], caplog: pytest.LogCaptureFixture
) -> None:
    """Its errors reach us as they are. It waits for ever after a malformed chunk."""
    borrowed = pytest.importorskip("httpx_aiohttp").HttpxAiohttpClient(verify=False)
    wire.always(lambda request: [*way(request), CUT])
    with pytest.raises(ParadigmError) as caught:
        api.client(wire, max_retries=0, http_async_client=borrowed).complete(PROMPT, model=MODEL)
    assert_nothing_is_quoted(caught.value, caplog)
    api.close_borrowed(borrowed)
