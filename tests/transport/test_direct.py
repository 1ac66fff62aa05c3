"""Our own clients send straight over their connection; whoever watches httpx sees each request all the same."""

from __future__ import annotations

import functools
import gzip
import logging
import socket
from typing import Any

import h11
import httpcore
import httpx
import pytest

from paradigm_transport import APIConnectionError
from paradigm_transport.http import direct
from tests.transport.conftest import MODEL, Api
from tests.wire import CUT, WireServer, chunk, completion, frame, head, models, reply, sse, texts, to_json

pytestmark = pytest.mark.usefixtures("collected")


@pytest.fixture
def long_way(api: Api, monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    """Collects the requests that httpx sends."""
    taken: list[httpx.Request] = []
    kind = direct.AsyncDirectClient if api.is_async else direct.DirectClient
    send = kind._send

    def collect(self: Any, request: httpx.Request, stream: bool) -> Any:
        taken.append(request)
        return send(self, request, stream)

    monkeypatch.setattr(kind, "_send", collect)
    return taken


def complete(client: Any, times: int = 3) -> None:
    for _ in range(times):
        assert client.complete("Hi", model=MODEL).text == "a"


def test_only_the_first_request_of_a_connection_takes_the_long_way(
    api: Api, wire: WireServer, long_way: list[httpx.Request]
) -> None:
    """Fails on the day that httpx or httpcore move what `direct.py` looks into."""
    wire.always(lambda request: sse(chunk("a", "stop")) if request.body.get("stream") else reply(completion("a")))
    client = api.client(wire)
    complete(client)
    assert texts(client.stream("Hi", model=MODEL)) == "a"
    assert len(wire.requests) == 4
    assert wire.connections == len(long_way) == 1


def test_requests_of_both_ways_are_alike(api: Api, wire: WireServer) -> None:
    wire.always(reply(completion("a")))
    client = api.client(wire, default_headers={"X-Team": "search"})
    for _ in range(2):
        client.complete("Hi", model=MODEL)
        client.complete("Hi", model=MODEL, extra_headers={"X-TEAM": "other", "X-Id": "7"}, timeout=3)
    usual, other, *rest = [request.headers for request in wire.requests]
    assert rest == [usual, other]
    assert (usual["x-team"], other["x-team"], other["x-id"]) == ("search", "other", "7")
    assert [request.body for request in wire.requests[2:]] == wire.bodies[:2]


WRAPPED = {
    False: [(httpx.Client, "send"), (httpx.Client, "_send_single_request"), (httpx.HTTPTransport, "handle_request"),
            (httpcore.ConnectionPool, "handle_request"), (httpcore.HTTPConnection, "handle_request")],
    True: [(httpx.AsyncClient, "send"), (httpx.AsyncClient, "_send_single_request"),
           (httpx.AsyncHTTPTransport, "handle_async_request"),
           (httpcore.AsyncConnectionPool, "handle_async_request"),
           (httpcore.AsyncHTTPConnection, "handle_async_request")],
}  # fmt: skip


@pytest.mark.parametrize("place", range(5))
def test_library_that_wraps_httpx_sees_each_request(
    api: Api, wire: WireServer, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    wire.always(reply(completion("a")))
    client = api.client(wire)
    complete(client)
    kind, name = WRAPPED[api.is_async][place]
    method, seen = getattr(kind, name), []

    @functools.wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        seen.append(args[1])
        return method(*args, **kwargs)

    with monkeypatch.context() as wrapped:
        wrapped.setattr(kind, name, wrapper)
        complete(client)
    complete(client)
    assert len(seen) == 3


def test_log_of_httpx_has_a_line_for_each_request(api: Api, wire: WireServer, caplog: pytest.LogCaptureFixture) -> None:
    wire.always(reply(completion("a")))
    caplog.set_level(logging.INFO, "httpx")
    complete(api.client(wire))
    assert [record.name for record in caplog.records if "200 OK" in record.getMessage()] == ["httpx"] * 3


@pytest.mark.filterwarnings("ignore:paradigm.test is called over http")
def test_each_request_over_a_proxy_takes_the_long_way(
    api: Api, wire: WireServer, monkeypatch: pytest.MonkeyPatch, long_way: list[httpx.Request]
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{wire.host}")
    wire.always(reply(completion("a")))
    complete(api.client(base_url="http://paradigm.test"))
    assert len(long_way) == 3
    assert {request.path for request in wire.requests} == {"http://paradigm.test/api/v2/completions"}


@pytest.mark.parametrize("chunked", [True, False])
def test_compressed_response_is_decompressed(api: Api, wire: WireServer, chunked: bool) -> None:
    body = gzip.compress(to_json(completion("a")))
    if chunked:
        script = [head(200, {"Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}), frame(body), b"0\r\n\r\n"]
    else:
        script = [head(200, {"Content-Encoding": "gzip", "Content-Length": str(len(body))}), body]
    wire.always(script)
    complete(api.client(wire))
    assert wire.connections == 1


def test_connection_that_was_closed_while_idle_is_not_used(api: Api, wire: WireServer) -> None:
    wire.script(reply(completion("a")), [*reply(completion("a")), CUT])
    wire.always(reply(completion("a")))
    client = api.client(wire, max_retries=0)
    complete(client, 2)
    assert wire.requests[1].left.wait(30)
    complete(client)
    assert wire.connections == 2


@pytest.mark.parametrize(
    "script", [[CUT], [b"no HTTP\r\n\r\n"], [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", CUT]]
)
def test_failures_of_the_direct_way_are_connection_errors(api: Api, wire: WireServer, script: Any) -> None:
    wire.script(reply(completion("a")), script)
    client = api.client(wire, max_retries=0)
    complete(client, 1)
    with pytest.raises(APIConnectionError, match=f"^{wire.host} "):
        client.complete("Hi", model=MODEL)


def test_head_is_checked_by_h11_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails on the day that h11 moves what `direct.py` looks into; then it checks each head."""
    head = direct.Head(httpx.Request("POST", "http://host/path", headers={"X-Team": "search"}))
    headers = head.headers_for(b"four")
    assert h11.Request(method=b"POST", target=b"/path", headers=headers).headers is headers
    assert headers.raw_items() == [*head.raw, (b"Content-Length", b"4")]
    monkeypatch.setattr(head, "_checked", [])
    assert head.headers_for(b"four") == headers.raw_items()


def test_head_and_body_of_a_request_are_sent_by_one_system_call(
    api: Api, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails on the day that httpx, httpcore or h11 move what `direct.py` looks into."""
    wire.always(lambda request: reply(completion("a") if request.body else models("m")))
    client = api.client(wire)
    complete(client, 1)
    send, sent = socket.socket.send, []

    def record(self: socket.socket, data: bytes, *flags: int) -> int:
        sent.append(bytes(data))
        return send(self, data, *flags)

    monkeypatch.setattr(socket.socket, "send", record)
    complete(client, 2)
    client.models()
    heads = [data.partition(b" ")[0] for data in sent if len(data) > 1]  # the event loop wakes itself by one byte
    assert heads == [b"POST", b"POST", b"GET"]
    assert [request.body and request.body["prompt"] for request in wire.requests] == ["Hi", "Hi", "Hi", None]
