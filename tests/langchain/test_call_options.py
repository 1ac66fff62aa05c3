"""Arguments of a call that are not fields of the endpoint: headers and time-outs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache

from tests.langchain.conftest import Calls, Make, MakeChat
from tests.wire import WireServer, chunk, completion, reply, sse


@pytest.fixture(params=["llm", "chat"])
def make_any(request: pytest.FixtureRequest, make: Make, make_chat: MakeChat) -> Callable[..., Any]:
    return make if request.param == "llm" else make_chat


def test_headers_and_timeout_of_a_call_are_not_in_the_body(
    wire: WireServer, make_any: Callable[..., Any], calls: Calls
) -> None:
    wire.always(reply(completion("a")))
    llm = make_any()
    calls.invoke(llm, "Hi", extra_headers={"X-Team": "blue"}, timeout=30)
    calls.stream(llm, "Hi", extra_headers={"X-Team": "blue"}, timeout=30)
    calls.invoke(llm.bind(extra_headers={"X-Team": "blue"}), "Hi")
    assert [request.headers["x-team"] for request in wire.requests] == ["blue"] * 3
    assert all("extra_headers" not in body and "timeout" not in body for body in wire.bodies)
    calls.invoke(llm, "Hi")
    assert "x-team" not in wire.requests[-1].headers


def test_options_of_a_call_are_in_no_cache_key(wire: WireServer, make_any: Callable[..., Any]) -> None:
    wire.always(reply(completion("a")))
    cache = InMemoryCache()
    llm = make_any(cache=cache)
    for team, asks in (("blue-secret", True), ("green-secret", False)):
        llm.invoke("Hi", extra_headers={"X-Team": team}, timeout=30, stream_usage=asks)
    assert len(wire.requests) == 1
    assert "secret" not in str(cache._cache.keys())


def test_a_call_chooses_whether_its_stream_has_usage(
    wire: WireServer, make_any: Callable[..., Any], calls: Calls
) -> None:
    wire.always(
        lambda request: sse(chunk("a"), chunk("", "stop")) if "stream" in request.body else reply(completion("a"))
    )
    for usual in (True, False):
        llm = make_any(stream_usage=usual)
        calls.stream(llm, "Hi", stream_usage=not usual)
        assert ("stream_options" in wire.bodies[-1]) is not usual
        calls.invoke(llm, "Hi", stream_usage=not usual)
        assert "stream_usage" not in wire.bodies[-1]
