"""A connection is used again only if nothing arrived on it beyond the end of its response."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import trustme

from paradigm_transport.http import reuse
from tests.transport.conftest import MODEL, Api
from tests.wire import Request, Script, WireServer, chunk, completion, frame, head, reply, sse, texts, to_json

pytestmark = pytest.mark.usefixtures("collected")

OTHER = b"".join(reply(completion("of another prompt")))  # type: ignore[arg-type]
SURPLUS = {
    "a response": OTHER,
    "half a response": OTHER[:40],
    "a byte": b"x",
    "an informational response": b"HTTP/1.1 103 Early Hints\r\n\r\n" + OTHER,
    "the end of chunks": b"0\r\n\r\n",
}
RESPONSES: dict[str, Script] = {
    "whole": reply(completion("a")),
    "whole in chunks": [head(200, {"Transfer-Encoding": "chunked"}), frame(to_json(completion("a"))), b"0\r\n\r\n"],
    "streamed": sse(chunk("a", "stop")),
    "refusal": reply({"detail": "no"}, 400),
}


def joined(script: Script, *surplus: bytes) -> Script:
    """Everything in one write, so that it is received together."""
    return [b"".join([*script, *surplus])]  # type: ignore[list-item]


def call(client: Any, name: str) -> None:
    if name == "streamed":
        assert texts(client.stream("Hi", model=MODEL)) == "a"
    elif name == "refusal":
        with pytest.raises(Exception, match="answered 400"):
            client.complete("Hi", model=MODEL)
    else:
        assert client.complete("Hi", model=MODEL).text == "a"


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("surplus", SURPLUS.values(), ids=SURPLUS)
def test_bytes_after_a_response_are_not_read_as_the_next_one(
    api: Api, wire: WireServer, name: str, surplus: bytes
) -> None:
    wire.script(joined(RESPONSES[name], surplus))
    wire.always(reply(completion("mine")))
    client = api.client(wire, max_retries=0)
    call(client, name)
    assert client.complete("Hi", model=MODEL).text == "mine"
    assert wire.requests[0].left.wait(30)
    assert wire.connections == 2


@pytest.mark.parametrize("name", RESPONSES)
def test_connection_with_nothing_left_is_used_again(api: Api, wire: WireServer, name: str) -> None:
    wire.always(joined(RESPONSES[name]))
    client = api.client(wire, max_retries=0)
    for _ in range(3):
        call(client, name)
    assert wire.connections == 1


def test_bytes_that_arrive_while_a_connection_is_idle_end_it(api: Api, wire: WireServer) -> None:
    idle, sent = threading.Event(), threading.Event()

    def late(_: Request) -> Iterator[bytes]:
        yield from joined(reply(completion("a")))  # type: ignore[misc]
        assert idle.wait(30)
        yield OTHER
        sent.set()

    wire.script(late)  # type: ignore[arg-type]
    wire.always(reply(completion("mine")))
    client = api.client(wire, max_retries=0)
    call(client, "whole")
    idle.set()
    assert sent.wait(30)
    assert client.complete("Hi", model=MODEL).text == "mine"
    assert wire.connections == 2


def test_bytes_beyond_what_is_read_at_once_are_found(api: Api, wire: WireServer) -> None:
    """The response ends where a read of httpcore ends; what follows stays in the buffers of anyio."""
    size = 64 * 1024
    for rest in range(size - 300, size):
        script = joined(reply(completion("a", pad="x" * rest)))
        if len(script[0]) == size:  # type: ignore[arg-type]
            break
    wire.script(joined(script, OTHER))
    wire.always(reply(completion("mine")))
    client = api.client(wire, max_retries=0)
    call(client, "whole")
    assert client.complete("Hi", model=MODEL).text == "mine"
    assert wire.connections == 2


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
@pytest.mark.parametrize("name", ["whole", "streamed"])
def test_injected_client_does_not_reuse_a_connection_with_bytes_left(
    api: Api, wire: WireServer, library: str, name: str
) -> None:
    module = pytest.importorskip(library)
    borrowed = module.AsyncClient() if api.is_async else module.Client()
    wire.script(joined(RESPONSES[name], OTHER))
    wire.always(joined(RESPONSES["whole"]))
    client = api.client(wire, max_retries=0, **{api.client_field: borrowed})
    call(client, name)
    for _ in range(3):
        call(client, "whole")
    assert wire.connections == 2
    api.close_borrowed(borrowed)


class RecordsAtOnce:
    """A TLS server that answers each request on a connection with a list of parts: a record each, in one write."""

    def __init__(self, context: ssl.SSLContext, *answers: list[bytes]) -> None:
        self._context = context
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        for answer in self._answers:
            connection, _ = self._listener.accept()
            self.connections += 1
            with connection, suppress(ConnectionError):  # the client closes it with bytes unread
                self._serve(connection, answer)

    def _serve(self, connection: socket.socket, answer: list[bytes]) -> None:
        received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(received, to_send, server_side=True)
        is_ready, request = False, b""
        while data := connection.recv(65536):
            received.write(data)
            with suppress(ssl.SSLWantReadError):
                if not is_ready:
                    tls.do_handshake()
                    is_ready = True
                while True:
                    request += tls.read()
            if request.endswith(b"}"):
                request = b""
                for part in answer:
                    tls.write(part)
            if to_send.pending:
                connection.sendall(to_send.read())

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)


@pytest.mark.parametrize("name", ["whole", "streamed"])
def test_tls_records_after_a_response_are_found(api: Api, name: str) -> None:
    """Received together, they wait in the buffers of TLS: the socket has nothing more to read."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    answer, mine = b"".join(RESPONSES[name]), b"".join(reply(completion("mine")))  # type: ignore[arg-type]
    server = RecordsAtOnce(context, [answer, OTHER], [mine])
    client = api.client(base_url=server.url, verify=trusting, max_retries=0)
    call(client, name)
    for _ in range(3):
        assert client.complete("Hi", model=MODEL).text == "mine"
    assert server.connections == 2
    client.close()
    server.close()


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_connection_is_found_under_the_responses_of_httpx(api: Api, wire: WireServer, library: str) -> None:
    """Fails on the day that httpx, httpcore, h11 or anyio move what `reuse.py` looks into."""
    module = pytest.importorskip(library)
    wire.always(reply(completion("a")))

    def look(response: Any) -> None:
        connection = reuse.connection_of(response)
        assert connection is not None
        assert connection.is_idle()
        assert connection._h11_state.trailing_data == (b"", False)
        assert not reuse._is_buffered(connection._network_stream)

    async def main() -> None:
        async with module.AsyncClient() as client:
            look(await client.get(wire.url))

    if api.is_async:
        api.run(main())  # type: ignore[attr-defined]
    else:
        with module.Client() as client:
            look(client.get(wire.url))


def test_connection_that_cannot_be_looked_into_is_not_used_again(
    api: Api, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reuse, "connection_of", lambda _: None)
    wire.always(reply(completion("a")))
    client = api.client(wire)
    for i in range(3):
        call(client, "whole")
        assert wire.requests[i].left.wait(30)
    assert wire.connections == 3


def test_responses_of_other_libraries_have_no_connection() -> None:
    response = httpx.Response(200)
    assert reuse.connection_of(response) is None
    assert reuse.connection_is_reusable(response, otherwise=True)
    assert not reuse.connection_is_reusable(response, otherwise=False)
