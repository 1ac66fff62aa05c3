"""Clients that are written by hand: they have the methods of `http/protocols.py`, and nothing of httpx is in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from paradigm_transport import APIConnectionError, APITimeoutError, RateLimitError
from paradigm_transport.http.protocols import AsyncHTTPClient, HTTPClient
from tests.transport.conftest import KEY, MODEL, Api
from tests.wire import completion, event, to_json

pytestmark = pytest.mark.usefixtures("collected")

BODY = to_json(completion("Hello"))
EVENTS = [event(to_json({"choices": [{"text": text}]})) for text in ("Hel", "lo")] + [event("[DONE]")]


class BaseReply:
    """A response with a body in parts."""

    def __init__(self, status: int, parts: list[bytes]) -> None:
        self.status_code = status
        self.headers = {"X-Request-ID": "req-7"}
        self.extensions: dict[str, object] = {}
        self.is_closed = False
        self._parts = iter(parts)

    def unread(self) -> list[bytes]:
        return list(self._parts)


class Reply(BaseReply):
    def iter_bytes(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        self.is_closed = True


class AsyncReply(BaseReply):
    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part

    async def aclose(self) -> None:
        self.is_closed = True


class Base:
    def __init__(self, answer: Callable[[], list[bytes]], status: int = 200) -> None:
        self.answer = answer
        self.status = status
        self.built: list[dict[str, Any]] = []
        self.sent: list[Any] = []
        self.replies: list[Any] = []
        self.is_closed = False

    def build_request(self, method: str, url: str, **options: Any) -> tuple[str, str]:
        self.built.append(options)
        return method, url


class Client(Base):
    def send(self, request: Any, *, stream: bool) -> Reply:
        assert stream
        self.sent.append(request)
        self.replies.append(Reply(self.status, self.answer()))
        return self.replies[-1]

    def close(self) -> None:
        self.is_closed = True


class AsyncClient(Base):
    async def send(self, request: Any, *, stream: bool) -> AsyncReply:
        assert stream
        self.sent.append(request)
        self.replies.append(AsyncReply(self.status, self.answer()))
        return self.replies[-1]

    async def aclose(self) -> None:
        self.is_closed = True


def injected(api: Api, answer: Callable[[], list[bytes]], status: int = 200, **options: Any) -> tuple[Any, Any]:
    """A client of ours over one that is written by hand; both."""
    by_hand = (AsyncClient if api.is_async else Client)(answer, status)
    return api.client(base_url="https://host", **{api.client_field: by_hand}, **options), by_hand


def test_client_written_by_hand_completes(api: Api) -> None:
    client, by_hand = injected(api, lambda: [BODY[:9], BODY[9:]])
    reply = client.complete("Hi", model=MODEL)
    assert (reply.text, reply.request_id) == ("Hello", "req-7")
    assert by_hand.sent == [("POST", "https://host/api/v2/completions")]
    [built] = by_hand.built
    assert set(built) == {"headers", "content"}  # its own time-outs hold
    assert built["headers"]["authorization"] == f"Bearer {KEY}"
    assert b'"prompt":"Hi"' in built["content"]
    assert by_hand.replies[0].is_closed


def test_client_written_by_hand_streams(api: Api) -> None:
    client, by_hand = injected(api, lambda: EVENTS)
    assert [chunk.text for chunk in client.stream("Hi", model=MODEL)] == ["Hel", "lo", ""]
    assert by_hand.replies[0].is_closed


@pytest.mark.parametrize("leave", ["close", "drop"])
def test_leaving_a_stream_closes_the_response_of_a_client_written_by_hand(api: Api, leave: str) -> None:
    client, by_hand = injected(api, lambda: EVENTS)
    chunks = client.stream("Hi", model=MODEL)
    assert next(chunks).text == "Hel"
    assert not by_hand.replies[0].is_closed
    if leave == "close":
        chunks.close()
    del chunks
    api.turn()
    assert by_hand.replies[0].is_closed


def test_client_written_by_hand_is_never_closed(api: Api) -> None:
    client, by_hand = injected(api, lambda: [BODY])
    client.complete("Hi", model=MODEL)
    client.close()
    assert not by_hand.is_closed


def test_client_written_by_hand_gets_the_timeouts_that_were_set(api: Api) -> None:
    client, by_hand = injected(api, lambda: [BODY], timeout=7)
    client.complete("Hi", model=MODEL)
    assert by_hand.built[0]["timeout"] == (5, 7, 7, None)


@pytest.mark.parametrize(("error", "kind"), [(OSError, APIConnectionError), (TimeoutError, APITimeoutError)])
@pytest.mark.parametrize("call", ["complete", "stream"])
def test_os_errors_of_a_client_written_by_hand_are_translated_and_retried(
    api: Api, error: type[OSError], kind: type[APIConnectionError], call: str
) -> None:
    def fail() -> list[bytes]:
        raise error("no route")

    client, _ = injected(api, fail)
    with pytest.raises(kind, match=rf"^host .*{error.__name__}: no route") as caught:
        list(getattr(client, call)("Hi", model=MODEL))
    assert type(caught.value) is kind
    assert api.slept == [0.5, 1.0]


def test_refusals_through_a_client_written_by_hand_are_status_errors(api: Api) -> None:
    client, by_hand = injected(api, lambda: [b'{"detail": "slow down"}'], status=429, max_retries=0)
    with pytest.raises(RateLimitError, match="slow down"):
        client.complete("Hi", model=MODEL)
    assert by_hand.replies[0].is_closed


@pytest.mark.parametrize(
    ("library", "name", "is_async"),
    [
        ("httpx", "Client", False),
        ("httpx", "AsyncClient", True),
        ("httpx2", "Client", False),
        ("httpx2", "AsyncClient", True),
        ("httpx_aiohttp", "HttpxAiohttpClient", True),
    ],
)
def test_clients_of_httpx_and_its_kin_have_the_protocol(library: str, name: str, is_async: bool) -> None:
    kind = getattr(pytest.importorskip(library), name)
    assert issubclass(kind, AsyncHTTPClient if is_async else HTTPClient)
    assert not issubclass(kind, HTTPClient if is_async else AsyncHTTPClient)


def test_clients_written_by_hand_have_the_protocol() -> None:
    assert isinstance(Client(list), HTTPClient)
    assert isinstance(AsyncClient(list), AsyncHTTPClient)


@pytest.mark.parametrize("wrong", ["https://host", None, httpx.MockTransport(lambda _: httpx.Response(200)), object()])
def test_other_objects_do_not_have_the_protocol(wrong: object) -> None:
    assert not isinstance(wrong, HTTPClient)
    assert not isinstance(wrong, AsyncHTTPClient)
