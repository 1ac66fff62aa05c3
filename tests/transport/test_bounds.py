"""Bounds: no response takes unlimited memory or time."""

from __future__ import annotations

import gzip
from functools import cache
from typing import Any

import pytest

from paradigm_transport import APIResponseError, InvalidParameterError, ServerError, Settings
from paradigm_transport.http.responses import DRAIN_BYTES, ERROR_BYTES
from tests.transport.conftest import KEY, MODEL, Api, over_completions
from tests.transport.test_protocols import BODY, EVENTS, injected
from tests.wire import STALL, WireServer, chunk, completion, frame, head, reply, sse, texts, usage

pytestmark = pytest.mark.usefixtures("endpoint")

LIMIT = 100_000
TOO_LARGE = r"more than 100,000 bytes \(max_response_bytes\)"


@cache
def bomb() -> bytes:
    return gzip.compress(b" " * 50_000_000)


def large_scripts() -> list[Any]:
    chunked = {"Transfer-Encoding": "chunked"}
    packed = {"Content-Encoding": "gzip"}
    return [
        reply(completion("x" * LIMIT)),
        [head(200, chunked), *[frame(b" " * 10_000)] * 11, STALL],
        reply(bomb(), headers=packed),
        [head(200, {**chunked, **packed}), frame(bomb()), STALL],
    ]


@pytest.mark.parametrize("number", range(4))
def test_reply_beyond_the_bound_raises(api: Api, wire: WireServer, number: int) -> None:
    wire.always(large_scripts()[number])
    client = api.client(wire, max_response_bytes=LIMIT)
    for call in (
        lambda: client.complete("Hi", model=MODEL),
        client.models,
        lambda: list(client.stream("Hi", model=MODEL)),
    ):
        with pytest.raises(APIResponseError, match=TOO_LARGE):
            call()


def test_stream_beyond_the_bound_raises_with_the_text_so_far(api: Api, wire: WireServer) -> None:
    wire.script(sse(*[chunk("x" * 10_000)] * 11, STALL))
    chunks = []
    with pytest.raises(APIResponseError, match=TOO_LARGE) as caught:
        chunks.extend(api.client(wire, max_response_bytes=LIMIT).stream("Hi", model=MODEL))
    assert caught.value.partial_text == "x" * 10_000 * (len(caught.value.partial_text) // 10_000)
    assert len(caught.value.partial_text) >= 80_000
    assert wire.requests[0].left.wait(30)


def test_response_at_the_bound_is_read(api: Api, wire: WireServer) -> None:
    wire.script(sse(chunk("x" * 80_000), chunk("", "stop"), chunk(usage=usage(1, 2))))
    assert len(texts(api.client(wire, max_response_bytes=LIMIT).stream("Hi", model=MODEL))) == 80_000


def test_body_of_an_error_is_cut(api: Api, wire: WireServer) -> None:
    page = b"<html><title>Bad gateway</title>" + b"x" * 3_000_000
    wire.always(reply(page, 502))
    client = api.client(wire, max_retries=0)
    for call in (lambda: client.complete("Hi", model=MODEL), lambda: list(client.stream("Hi", model=MODEL))):
        with pytest.raises(ServerError, match="Bad gateway") as caught:
            call()
        assert 1 << 20 <= len(caught.value.body) < 1_500_000


@over_completions
def test_reply_of_exactly_the_bound_is_read(api: Api) -> None:
    client, _ = injected(api, lambda: [BODY], max_response_bytes=len(BODY))
    assert client.complete("Hi", model=MODEL).text == "Hello"
    client, _ = injected(api, lambda: [BODY], max_response_bytes=len(BODY) - 1)
    with pytest.raises(APIResponseError, match="max_response_bytes"):
        client.complete("Hi", model=MODEL)


@over_completions
def test_only_refusals_are_cut(api: Api) -> None:
    client, by_hand = injected(api, lambda: [b" " * ERROR_BYTES, BODY])
    assert client.complete("Hi", model=MODEL).text == "Hello"
    client, by_hand = injected(api, lambda: [b"x" * ERROR_BYTES, b"unread"], status=502, max_retries=0)
    with pytest.raises(ServerError):
        client.complete("Hi", model=MODEL)
    assert by_hand.replies[0].unread() == [b"unread"]


@over_completions
def test_few_bytes_are_read_after_the_last_event(api: Api) -> None:
    rest = [b"x" * (DRAIN_BYTES - 1), b"x", b"unread", b"unread"]
    client, by_hand = injected(api, lambda: [*EVENTS, *rest])
    assert texts(client.stream("Hi", model=MODEL)) == "Hello"
    assert by_hand.replies[0].unread() == [b"unread"] * 2


def test_bound_is_64_mib_by_default() -> None:
    assert Settings(api_key=KEY).max_response_bytes == 64 << 20
    with pytest.raises(InvalidParameterError, match="max_response_bytes"):
        Settings(api_key=KEY, max_response_bytes=0)
