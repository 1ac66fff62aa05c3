"""The scripted server and the guards of the tests work."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from tests.wire import CUT, RESET, STALL, WireServer, completion, pause, reply, sse, trickle

GET = b"GET /api/v2/models HTTP/1.1\r\nhost: x\r\n\r\n"


def ask(wire: WireServer) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", wire.port), timeout=5)
    connection.sendall(GET)
    return connection


def test_steps_are_sent_as_written(wire: WireServer) -> None:
    wire.script([b"one ", b"two", CUT])
    with ask(wire) as connection:
        assert connection.makefile("rb").read() == b"one two"
    assert wire.requests[0].raw == GET
    assert wire.connections == 1


def test_connection_serves_one_request_after_another(wire: WireServer) -> None:
    wire.script([b"one"], [b"two"])
    with ask(wire) as connection:
        assert connection.recv(100) == b"one"
        connection.sendall(GET)
        assert connection.recv(100) == b"two"
    assert wire.connections == 1
    assert wire.unused == 0


def test_reset_breaks_the_connection(wire: WireServer) -> None:
    wire.script([b"one", RESET])
    with ask(wire) as connection, pytest.raises(ConnectionResetError):
        connection.makefile("rb").read()


def test_stall_ends_when_released(wire: WireServer) -> None:
    wire.script([STALL, b"late", CUT])
    with ask(wire) as connection:
        threading.Timer(0.02, wire.release).start()
        assert connection.recv(100) == b"late"


@pytest.mark.parametrize("wait", [STALL, pause(60)], ids=["stall", "pause"])
def test_client_that_leaves_is_noticed(wire: WireServer, wait: object) -> None:
    wire.script([b"one", wait])
    with ask(wire) as connection:
        assert connection.recv(100) == b"one"
        assert not wire.requests[0].left.is_set()
    assert wire.requests[0].left.wait(30)


def test_trickle_sends_the_same_bytes_one_by_one() -> None:
    for script in (reply(completion("é")), [*sse(b"x"), STALL]):
        slow = trickle(script)
        assert b"".join(s for s in slow if isinstance(s, bytes)) == b"".join(s for s in script if isinstance(s, bytes))
        assert all(len(step) == 1 for step in slow if isinstance(step, bytes))


def test_script_may_depend_on_the_request(wire: WireServer) -> None:
    wire.always(lambda request: [request.path.encode(), CUT])
    with ask(wire) as connection:
        assert connection.recv(100) == b"/api/v2/models"


def test_tests_do_not_see_the_real_environment() -> None:
    assert not [name for name in os.environ if name in ("PARADIGM_API_KEY", "LIGHTON_API_KEY", "https_proxy")]


def test_tests_cannot_reach_beyond_this_machine(strays: list[str]) -> None:
    for reach in (
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=0.1),
        lambda: socket.getaddrinfo("paradigm.lighton.ai", 443),
    ):
        with pytest.raises(pytest.fail.Exception, match="tried to reach"):
            reach()
    assert len(strays) == 2
    strays.clear()
