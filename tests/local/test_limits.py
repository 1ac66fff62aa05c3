"""Limits on slow clients and on connections, and the absence of limits on generations."""

from __future__ import annotations

import gc
import json
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from paradigm_local import LocalParadigm
from paradigm_local.limits import BoundedProtocol
from tests.local.conftest import Caller, eventually
from tests.local.fake import FakeEngine

Serve = Callable[..., Caller]

LIMIT_SECONDS = 0.3
GENEROUS_SECONDS = 1.5
"""The limit of tests that stay below it: a busy machine may stop them for a while."""
DRIP_SECONDS = 0.05
PATIENCE_SECONDS = 30

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /api/v2/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n"


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, LIMIT_SECONDS)


@pytest.fixture
def _generous_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, GENEROUS_SECONDS)


def limit(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    for name in ("head_seconds", "body_seconds", "reader_seconds"):
        monkeypatch.setattr(BoundedProtocol, name, seconds)


def connect(paradigm: LocalParadigm) -> socket.socket:
    address = httpx.URL(paradigm.base_url)
    return socket.create_connection((address.host, address.port), timeout=PATIENCE_SECONDS)


def connections_of(paradigm: LocalParadigm) -> Any:
    assert paradigm._server is not None
    return paradigm._server.server_state.connections


def drip(connection: socket.socket, data: bytes) -> bytes:
    """Send a byte at a time until the server closes the connection; return what it sent."""
    connection.settimeout(DRIP_SECONDS)
    received = b""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for number in range(10_000):
        assert time.monotonic() < deadline, "the server kept the connection"
        try:
            connection.sendall(data[number % len(data) :][:1])
            arrived = connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:  # closed while there was something unread
            return received
        if not arrived:
            return received
        received += arrived
    raise AssertionError


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def read_reply(connection: socket.socket) -> bytes:
    """Read one reply, whose body is a JSON object, from a connection that stays open."""
    received = b""
    while not received.endswith(b"}"):
        received += connection.recv(65536)
    return received


def status_and_detail(response: bytes) -> tuple[int, str]:
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["detail"]


@pytest.mark.parametrize("beginning", [b"", b"GET /he", b"GET /health HTTP/1.1\r\nHost: localhost\r\n"])
def test_slow_head_is_408(serve: Serve, beginning: bytes) -> None:
    with connect(serve().paradigm) as connection:
        connection.sendall(beginning)
        status, detail = status_and_detail(drip(connection, b"x"))
    assert status == 408
    assert detail == (
        "The request arrived too slowly. The limits are 0.3 seconds for the head of a request and 0.3 for its body."
    )


def test_connection_without_a_request_is_closed(serve: Serve) -> None:
    with connect(serve().paradigm) as connection:
        assert read_all(connection) == b""


def test_idle_connection_is_closed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "head_seconds", 2 * PATIENCE_SECONDS)
    paradigm = serve().paradigm
    assert paradigm._server is not None
    assert paradigm._server.config.timeout_keep_alive == 5
    monkeypatch.setattr(paradigm._server.config, "timeout_keep_alive", LIMIT_SECONDS)
    with connect(paradigm) as connection:
        connection.sendall(GET)
        read_reply(connection)
        assert read_all(connection) == b""


def test_slow_head_of_a_later_request_is_408(serve: Serve) -> None:
    with connect(serve().paradigm) as connection:
        connection.sendall(GET)
        assert b'{"status":"ok"}' in read_reply(connection)
        assert status_and_detail(drip(connection, b"x"))[0] == 408


@pytest.mark.parametrize("length", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
def test_slow_body_is_408(serve: Serve, length: bytes) -> None:
    paradigm = serve().paradigm
    with connect(paradigm) as connection:
        connection.sendall(POST % (b"local", length))
        assert status_and_detail(drip(connection, b"1\r\nx\r\n"))[0] == 408
    assert not paradigm._endpoint._running


def test_slow_body_of_a_refused_request_ends_its_connection(serve: Serve) -> None:
    with connect(serve().paradigm) as connection:
        connection.sendall(POST % (b"wrong", b"Content-Length: 1000"))
        assert status_and_detail(drip(connection, b"x")) == (401, "Invalid API key.")


@pytest.mark.usefixtures("_generous_limits")
def test_each_request_has_its_own_time(serve: Serve) -> None:
    with connect(serve().paradigm) as connection:
        for _ in range(4):
            time.sleep(GENEROUS_SECONDS / 3)
            connection.sendall(GET)
            assert read_reply(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.usefixtures("_generous_limits")
def test_late_body_of_a_refused_request_takes_no_time_from_the_next(serve: Serve) -> None:
    late = b""
    with connect(serve().paradigm) as connection:
        for _ in range(4):
            connection.sendall(late + POST % (b"wrong", b"Content-Length: 1"))
            assert read_reply(connection).startswith(b"HTTP/1.1 401 ")
            time.sleep(GENEROUS_SECONDS / 3)
            late = b"x"


def test_body_that_stalls_behind_an_earlier_request_is_408(serve: Serve) -> None:
    with connect(serve().paradigm) as connection:
        connection.sendall(GET + POST % (b"local", b"Content-Length: 1000"))
        first, second = read_all(connection).split(b'{"status":"ok"}')
    assert first.startswith(b"HTTP/1.1 200 ")
    assert status_and_detail(second)[0] == 408


@pytest.mark.parametrize("stream", [False, True])
def test_long_generation_is_not_cut(serve: Serve, stream: bool) -> None:
    caller = serve(ping_seconds=0.05)
    caller.paradigm.fail_next(f"slow={LIMIT_SECONDS * 3:.1f}")
    began = time.monotonic()
    response = caller.post(stream=stream)
    assert response.status_code == 200
    assert response.text.endswith("data: [DONE]\n\n" if stream else "}")
    assert time.monotonic() - began > 2 * LIMIT_SECONDS


def test_closed_connection_is_forgotten(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "head_seconds", 2 * PATIENCE_SECONDS)  # its timer would keep it
    paradigm = serve().paradigm
    with connect(paradigm):
        eventually(lambda: len(connections_of(paradigm)) == 1)
        connection = weakref.ref(*connections_of(paradigm))
    eventually(lambda: gc.collect() >= 0 and connection() is None)


PIECES = ["x" * 1_000_000] * 12  # more than the buffers of a loopback connection hold


@pytest.mark.parametrize("stream", [False, True])
def test_client_that_never_reads_is_cut(serve: Serve, stream: bool) -> None:
    paradigm = serve(FakeEngine(PIECES)).paradigm
    body = json.dumps({"model": paradigm.model, "prompt": "x", "stream": stream}).encode()
    with connect(paradigm) as connection:
        connection.sendall(POST % (b"local", b"Content-Length: %d" % len(body)) + body)
        eventually(lambda: len(paradigm.usage) == 1)
        eventually(lambda: not connections_of(paradigm))
        assert read_all(connection).count(b"x") < len(PIECES) * len(PIECES[0])


def test_any_unread_reply_starts_the_time_limit(serve: Serve) -> None:
    paradigm = serve().paradigm
    with connect(paradigm):
        eventually(lambda: len(connections_of(paradigm)) == 1)
        (connection,) = connections_of(paradigm)
        assert connection.transport.get_write_buffer_limits() == (0, 0)


@pytest.mark.usefixtures("_generous_limits")
def test_slow_reader_gets_the_whole_stream(serve: Serve) -> None:
    caller = serve(FakeEngine(PIECES))
    received = 0
    with caller.http.stream("POST", "/completions", json=caller.body(stream=True)) as response:
        for line in response.iter_lines():
            received += line.count("x")
            if line:
                time.sleep(GENEROUS_SECONDS / 8)
    assert line == ""
    assert received >= len(PIECES) * len(PIECES[0])


@pytest.fixture
def crowded(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Caller, list[socket.socket]]]:
    """A server with the maximum number of connections, 4."""
    monkeypatch.setattr("paradigm_local.local._SPARE_CONNECTIONS", 2)
    monkeypatch.setattr(BoundedProtocol, "head_seconds", PATIENCE_SECONDS)
    caller = serve(parallel=1, queue=1)
    connections = [connect(caller.paradigm) for _ in range(4)]
    eventually(lambda: len(connections_of(caller.paradigm)) == 4)
    yield caller, connections
    for connection in connections:
        connection.close()


def test_connections_above_the_limit_are_503(crowded: tuple[Caller, list[socket.socket]]) -> None:
    caller, _ = crowded
    for _ in range(20):
        with closing(connect(caller.paradigm)) as connection:
            assert status_and_detail(read_all(connection)) == (
                503,
                "Too many connections are open. Close some, or try again later.",
            )
    response = caller.http.post("/completions", json=caller.body())
    assert response.status_code == 503


def test_closed_connections_make_room(crowded: tuple[Caller, list[socket.socket]]) -> None:
    caller, connections = crowded
    connections.pop().close()
    eventually(lambda: len(connections_of(caller.paradigm)) == 3)
    assert caller.text() == "Hello world"


def test_open_connections_below_the_limit_are_served(crowded: tuple[Caller, list[socket.socket]]) -> None:
    for connection in crowded[1]:
        connection.sendall(GET)
        assert read_reply(connection).startswith(b"HTTP/1.1 200 ")


def test_slow_clients_do_not_lock_others_out(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradigm_local.local._SPARE_CONNECTIONS", 2)
    caller = serve(parallel=1, queue=1)
    slow = [connect(caller.paradigm) for _ in range(4)]
    for connection in slow:
        connection.sendall(b"GET")
    eventually(lambda: caller.post().status_code == 200)
    for connection in slow:
        connection.close()


def test_endless_head_is_refused(serve: Serve) -> None:
    with connect(serve().paradigm) as connection:
        try:
            for _ in range(1000):
                connection.sendall(b"x" * 10_000)
        except ConnectionError:
            return
    raise AssertionError("the server kept reading")


def test_endless_body_is_413(serve: Serve) -> None:
    response = serve().http.post("/completions", content=iter([b"x" * 100_000] * 100))
    assert response.status_code == 413
