"""Bodies in chunks: those that arrived together are read as one, whatever the chunks are."""

from __future__ import annotations

import itertools
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paradigm_transport.http import bodies, responses
from paradigm_transport.http.bodies import _JoinedChunks
from tests.transport.conftest import MODEL, Api
from tests.wire import WireServer, chunk, sse, texts

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def receiver() -> h11.Connection:
    """Return a connection that has received the head of a response in chunks."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "host")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(HEAD)
    assert type(connection.next_event()) is h11.Response
    return connection


def read(connection: h11.Connection, *received: bytes) -> list[Any]:
    """Return the events of a body that arrives in reads, or the class of the error that ends them."""
    events: list[Any] = []
    try:
        for data in (*received, b""):
            connection.receive_data(data)
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if type(event) is h11.ConnectionClosed:
                    return events
                events.append(event)
    except h11.RemoteProtocolError as error:
        events.append(type(error))
    return events


def joined() -> h11.Connection:
    connection = receiver()
    connection._reader = _JoinedChunks(connection._reader)
    return connection


def meaning(events: list[Any]) -> list[Any]:
    """Return the body, and what came after it."""
    body = b"".join(bytes(event.data) for event in events if type(event) is h11.Data)
    others = [event for event in events if type(event) is not h11.Data]
    return [body, *(event.headers.raw_items() if isinstance(event, h11.EndOfMessage) else event for event in others)]


def framed(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


@pytest.mark.usefixtures("collected")
def test_chunks_that_arrived_together_are_read_as_one(
    api: Api, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails on the day that httpx, httpcore or h11 move what `bodies.py` looks into."""
    parts: list[bytes] = []
    kind = responses.AsyncResponse if api.is_async else responses.Response
    next_part = kind.next_part

    def note(part: bytes | None) -> bytes | None:
        parts.extend([part] if part else [])
        return part

    async def anoted(self: Any) -> bytes | None:
        return note(await next_part(self))

    monkeypatch.setattr(kind, "next_part", anoted if api.is_async else lambda self: note(next_part(self)))
    wire.script([b"".join(sse(*[chunk("a")] * 9, chunk("", "stop")))])  # type: ignore[arg-type]
    assert texts(api.client(wire).stream("Hi", model=MODEL)) == "a" * 9
    assert len(parts) == 1


def test_joined_chunks_have_a_bound() -> None:
    events = read(joined(), framed(b"x" * 1000) * 60 + b"0\r\n\r\n")
    assert [len(event.data) for event in events[:-1]] == [17_000, 17_000, 17_000, 9_000]
    assert bodies.JOINED_BYTES < 17_000


BODIES = [
    framed(b"a") + framed(b"bc") + b"0\r\n\r\n",
    framed(b"a", b";name=value") + framed(b"bc") + b"0\r\n\r\n",
    framed(b"a") + b"0\r\nTrailer: 1\r\n\r\n",
    framed(b"a") + b"1\r\nbc\r\n0\r\n\r\n",  # a chunk that is longer than its size
    framed(b"a") + b"x\r\n",
    framed(b"a") + b"-1\r\nb\r\n0\r\n\r\n",
    framed(b"a") + b"00000000000000001\r\nb\r\n0\r\n\r\n",
    framed(b"a") + b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    framed(b"a") + b"5\r\nabc",
    framed(b"\r\n0\r\n\r\n") + b"0\r\n\r\n",
    b"",
]


@pytest.mark.parametrize("body", BODIES)
@given(cuts=st.lists(st.integers(1, 60), max_size=5))
def test_joined_chunks_mean_what_h11_makes_of_them(body: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    reads = [body[begin:end] for begin, end in itertools.pairwise(places)]
    connection, plain = joined(), receiver()
    assert meaning(read(connection, *reads)) == meaning(read(plain, *reads))
    assert (connection.their_state, connection.trailing_data) == (plain.their_state, plain.trailing_data)


def test_chunks_are_read_one_by_one_if_the_connection_cannot_be_looked_into(
    api: Api, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "connection_of", lambda _: None)
    wire.always(sse(chunk("a"), chunk("b", "stop")))
    client = api.client(wire)
    for _ in range(2):
        assert texts(client.stream("Hi", model=MODEL)) == "ab"


def test_chunks_are_read_one_by_one_if_h11_keeps_its_state_in_another_way(
    api: Api, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_STATE", ("_moved",))
    monkeypatch.setattr(bodies, "_JoinedChunks", None)  # would fail if it were made
    wire.always(sse(chunk("a"), chunk("b", "stop")))
    assert texts(api.client(wire).stream("Hi", model=MODEL)) == "ab"
