"""The server answers requests for its own hosts, and none from foreign web pages, also not by DNS rebinding."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from paradigm_local import LocalParadigm, LocalParadigmError, cli
from paradigm_local.guard import RequestGuard
from tests.local.conftest import Caller

Serve = Callable[..., Caller]

FOREIGN = ["evil.example", "evil.example:8000", "192.0.2.1", "[2001:db8::1]:80", "0.0.0.0", "localhost.evil.example"]
MALFORMED = ["", ":8000", "localhost:port", "[::1", "::1", "localhost@evil.example", "localhost,evil.example", "127.1"]
LOOPBACK = ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:65535", "127.8.8.8", "[::1]", "[::1]:8000"]

PAGES = ["https://evil.example", "http://evil.example:8000", "http://192.0.2.1", "null", "", "chrome-extension://abc"]


def raw(paradigm: LocalParadigm, request: bytes) -> bytes:
    """Send a request that no HTTP client would send; return the response."""
    address = httpx.URL(paradigm.base_url)
    with socket.create_connection((address.host, address.port), timeout=60) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("host", FOREIGN + MALFORMED)
def test_request_for_another_host_is_403(serve: Serve, host: str) -> None:
    response = serve().post(headers={"Host": host})
    assert response.status_code == 403
    assert "--allowed-host" in response.json()["detail"]
    assert repr(host) in response.json()["detail"]


@pytest.mark.parametrize("path", ["/health", "/openapi.json", "/api/v2/models", "/nothing"])
def test_every_path_refuses_another_host(serve: Serve, path: str) -> None:
    url = httpx.URL(serve().paradigm.base_url).join(path)
    assert httpx.get(url, headers={"Host": "evil.example"}, timeout=60).status_code == 403


@pytest.mark.parametrize("host", LOOPBACK)
def test_request_for_a_loopback_host_is_answered(serve: Serve, host: str) -> None:
    assert serve().post(headers={"Host": host}).status_code == 200


def test_request_without_a_host_is_refused(serve: Serve) -> None:
    paradigm = serve().paradigm
    assert raw(paradigm, b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    assert raw(paradigm, b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_request_with_two_hosts_is_refused(serve: Serve) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert raw(serve().paradigm, request).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("page", PAGES)
def test_request_from_a_foreign_web_page_is_403(serve: Serve, page: str) -> None:
    response = serve().post(headers={"Origin": page})
    assert response.status_code == 403
    assert "--allowed-host" in response.json()["detail"]


@pytest.mark.parametrize("page", ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:3000"])
def test_request_from_a_local_web_page_is_answered(serve: Serve, page: str) -> None:
    assert serve().post(headers={"Origin": page}).status_code == 200


def test_long_host_is_shortened_in_the_refusal(serve: Serve) -> None:
    assert len(serve().post(headers={"Host": "x" * 10_000}).json()["detail"]) < 300


@pytest.mark.parametrize("allowed", ["box.example", "Box.Example"])
def test_allowed_host_is_answered_at_any_port(serve: Serve, allowed: str) -> None:
    caller = serve(allowed_hosts=[allowed, "[2001:db8::1]"])
    for host in ("box.example", "BOX.example:80", "[2001:db8::1]:80"):
        assert caller.post(headers={"Host": host, "Origin": f"http://{host}"}).status_code == 200
    assert caller.post(headers={"Host": "other.example"}).status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "Box.example"])
def test_host_that_the_server_is_bound_to_is_answered(serve: Serve, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr("paradigm_local.local._listen", lambda *_: socket.create_server(("127.0.0.1", 0)))
    caller = serve(host=host, api_key="mine")
    assert caller.post(headers={"Host": host}).status_code == 200
    assert caller.post(headers={"Host": "evil.example"}).status_code == 403


def test_address_that_the_connection_was_made_to_is_answered() -> None:
    async def ok(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("ok")(scope, receive, send)

    async def status(host: str) -> int:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "server": ("192.0.2.1", 8000), "headers": [(b"host", host.encode())]}
        await RequestGuard(ok, ())({**scope, "raw_path": b"/", "query_string": b""}, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(status("192.0.2.1:8000")) == 200
    assert asyncio.run(status("192.0.2.2:8000")) == 403


@pytest.mark.parametrize("host", ["", "*", "http://box.example", "box.example:80", "box.example/path", "a b"])
def test_invalid_allowed_host_is_an_error(capsys: pytest.CaptureFixture[str], host: str) -> None:
    with pytest.raises(LocalParadigmError, match="is not a host"):
        LocalParadigm(allowed_hosts=[host])
    assert cli.main(["serve", "--port", "0", "--allowed-host", host]) == 1
    assert "is not a host" in capsys.readouterr().err


@pytest.mark.parametrize("head", ["header", "path"])
def test_oversized_head_is_431(serve: Serve, head: str) -> None:
    caller = serve()
    more = {"headers": {"X-Padding": "x" * 17_000}} if head == "header" else {"params": {"padding": "x" * 17_000}}
    response = caller.http.get("/models", **more)
    assert response.status_code == 431
    assert response.json() == {"detail": "The path and the headers may have at most 16384 bytes."}
    assert caller.http.get("/models", headers={"X-Padding": "x" * 15_000}).status_code == 200
