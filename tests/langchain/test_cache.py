"""LangChain's cache: a hit if and only if the request would be the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.outputs import Generation

from paradigm_transport import ChatTemplate
from tests.langchain.conftest import KEY, Calls, Make, Recorder
from tests.langchain.test_parameters import FIELDS
from tests.langchain.test_results import by_prompt
from tests.wire import WireServer, completion, reply

# LangChain's own warnings about its own calls: `loads` is in beta, and its defaults will change.
pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore:The default value of `allowed_objects`"),
]


def in_memory(_: Path) -> BaseCache:
    return InMemoryCache()


def sqlite(folder: Path) -> BaseCache:
    caches = pytest.importorskip("langchain_community.cache")
    cache: BaseCache = caches.SQLiteCache(str(folder / "cache.db"))
    return cache


@pytest.fixture(params=[in_memory, sqlite], ids=["memory", "sqlite"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
    cache = request.param(tmp_path)
    yield cache
    if hasattr(cache, "engine"):
        cache.engine.dispose()


def test_cached_result_equals_original(wire: WireServer, make: Make, calls: Calls, cache: BaseCache) -> None:
    wire.script(reply(completion("Paris", "Lyon")))
    llm = make(cache=cache, n=2)
    first, second = calls.generate(llm, ["x"]), calls.generate(llm, ["x"])
    assert len(wire.requests) == 1
    assert second.generations == first.generations
    assert all(type(generation) is Generation for generation in second.generations[0])
    assert calls.invoke(llm, "x") == "Paris"


def test_sync_and_async_calls_share_cache(wire: WireServer, make: Make, cache: BaseCache) -> None:
    import asyncio

    wire.script(reply(completion("Hi")))
    llm = make(cache=cache)
    assert llm.invoke("x") == asyncio.run(llm.ainvoke("x")) == "Hi"


DIFFERENT: list[dict[str, Any]] = [{name: value} for name, value in FIELDS.items()]


@pytest.mark.parametrize("different", DIFFERENT, ids=[next(iter(each)) for each in DIFFERENT])
def test_parameters_are_part_of_cache_key(
    wire: WireServer, make: Make, calls: Calls, different: dict[str, Any]
) -> None:
    wire.always(by_prompt)
    cache = InMemoryCache()
    calls.invoke(make(cache=cache), "x")
    calls.invoke(make(cache=cache, **different), "x")
    assert len(wire.requests) == 2
    # The key does not depend on whether the constructor, the call or a binding sets a parameter.
    calls.invoke(make(cache=cache), "x", **different)
    calls.invoke(make(cache=cache).bind(**different), "x")
    assert len(wire.requests) == 2
    calls.invoke(make(cache=cache), "x")
    assert len(wire.requests) == 2


@pytest.mark.parametrize("way", ["call", "bind", "batch", "generate"])
def test_temperatures_do_not_share_cache_entries(
    wire: WireServer, make: Make, calls: Calls, cache: BaseCache, way: str
) -> None:
    wire.always(by_prompt)
    llm = make(cache=cache)
    for temperature in (0.1, 0.9, 0.1):
        if way == "call":
            calls.invoke(llm, "x", temperature=temperature)
        elif way == "bind":
            calls.invoke(llm.bind(temperature=temperature), "x")
        elif way == "batch":
            calls.batch(llm, ["x"], temperature=temperature)
        else:
            calls.generate(llm, ["x"], temperature=temperature)
    assert [body["temperature"] for body in wire.bodies] == [0.1, 0.9]


def test_stops_of_call_and_constructor_are_part_of_cache_key(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(by_prompt)
    cache = InMemoryCache()
    calls.invoke(make(cache=cache), "x")
    calls.invoke(make(cache=cache, stop="a"), "x")
    calls.invoke(make(cache=cache, stop="b"), "x")
    assert [body.get("stop") for body in wire.bodies] == [None, "a", "b"]
    calls.invoke(make(cache=cache, stop="b"), "x", stop=["a"])
    calls.invoke(make(cache=cache, stop="b"), "x", stop=[])
    assert len(wire.requests) == 3


def test_servers_do_not_share_cache_entries(wire: WireServer, make: Make, calls: Calls) -> None:
    cache = InMemoryCache()
    with WireServer() as other:
        wire.script(reply(completion("here")))
        other.script(reply(completion("there")))
        assert calls.invoke(make(cache=cache), "x") == "here"
        assert calls.invoke(make(cache=cache, base_url=other.url), "x") == "there"


def test_chat_template_is_part_of_cache_key(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(by_prompt)
    cache = InMemoryCache()
    own = ChatTemplate(turn="<{role}>{content}", opening="<ai>", stop="<")
    other_stop = own.model_copy(update={"stop": "!"})
    for template in (None, "alfred", own, other_stop, "alfred", own, other_stop, None):
        calls.generate(make(cache=cache, chat_template=template), ["x"])
        calls.invoke(make(cache=cache, chat_template=template), "x")
    assert len(wire.requests) == 4


def test_only_uncached_prompts_are_sent(wire: WireServer, make: Make, calls: Calls, recorder: Recorder) -> None:
    wire.always(by_prompt)
    llm = make(cache=InMemoryCache())
    calls.batch(llm, ["a", "bb"])
    result = calls.generate(llm, ["a", "cccc", "bb"], callbacks=[recorder])
    assert [generation.text for (generation,) in result.generations] == ["aa", "cccccccc", "bbbb"]
    assert [body["prompt"] for body in wire.bodies[2:]] == ["cccc"]
    # Cached prompts add no usage and start no run.
    assert (result.llm_output or {})["token_usage"]["prompt_tokens"] == 4
    assert [start["prompts"] for start in recorder.starts] == [["cccc"]]


def test_global_cache_is_used_unless_cache_is_false(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(by_prompt)
    set_llm_cache(InMemoryCache())
    try:
        for _ in range(2):
            calls.invoke(make(), "x")
            calls.invoke(make(cache=True), "x")
        assert len(wire.requests) == 1
        calls.invoke(make(cache=False), "x")
        assert len(wire.requests) == 2
    finally:
        set_llm_cache(None)


def test_cache_does_not_contain_api_key_or_headers(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(by_prompt)

    class Spy(InMemoryCache):
        def lookup(self, prompt: str, llm_string: str) -> Any:
            assert KEY not in llm_string
            assert "header-secret" not in llm_string
            assert "alfred-4.2" in llm_string
            return super().lookup(prompt, llm_string)

    llm = make(cache=Spy(), default_headers={"X-Secret": "header-secret"})
    assert calls.invoke(llm, "a", temperature=0.5) == "aa"
    assert calls.invoke(llm, "a", temperature=0.5) == "aa"
    assert len(wire.requests) == 1
