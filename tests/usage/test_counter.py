"""`get_paradigm_usage`: the usage of a block of code, through both frameworks and the clients."""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager

import langchain_paradigm
import llama_index_paradigm
import paradigm_transport.usage as module
from paradigm_transport import (
    AsyncParadigmClient,
    BadRequestError,
    InvalidParameterError,
    ParadigmClient,
    ParadigmUsage,
    StreamInterruptedError,
    get_paradigm_usage,
)
from tests.usage.test_tracing import answer
from tests.wire import CUT, RESET, WireServer, chunk, completion, reply, sse, usage

SETTINGS = {"api_key": "sk-never", "max_retries": 2}


async def collect(pieces: AsyncIterator[Any]) -> list[Any]:
    return [piece async for piece in pieces]


async def collect_later(pieces: Any) -> list[Any]:
    return await collect(await pieces)


def langchain(method: str) -> Callable[[str, str], None]:
    def call(url: str, prompt: str) -> None:
        llm = langchain_paradigm.ParadigmLLM(model="m", base_url=url, **SETTINGS)
        result = getattr(llm, method)([prompt] if "batch" in method or "generate" in method else prompt)
        finish(result)

    return call


def llama_index(method: str) -> Callable[[str, str], None]:
    def call(url: str, prompt: str) -> None:
        llm = llama_index_paradigm.ParadigmLLM(
            model="m", base_url=url, context_window=99, callback_manager=CallbackManager(),
            messages_to_prompt=lambda messages: str(messages[0].content), **SETTINGS,
        )  # fmt: skip
        result = getattr(llm, method)([ChatMessage(prompt)] if "chat" in method else prompt)
        finish(result)

    return call


def client(method: str) -> Callable[[str, str], None]:
    def call(url: str, prompt: str) -> None:
        kind = AsyncParadigmClient if method.startswith("a") else ParadigmClient
        finish(getattr(kind(base_url=url, **SETTINGS), method.removeprefix("a"))(prompt, model="m"))

    return call


def finish(result: Any) -> None:
    if hasattr(result, "__aiter__"):
        asyncio.run(collect(result))
    elif hasattr(result, "__await__"):
        asyncio.run(finish_later(result))
    elif isinstance(result, Iterator):
        list(result)


async def finish_later(result: Any) -> None:
    result = await result
    if hasattr(result, "__aiter__"):
        await collect(result)


CALLS = {
    **{f"langchain.{name}": langchain(name)
       for name in ("invoke", "ainvoke", "batch", "abatch", "generate", "agenerate", "stream", "astream")},
    **{f"llama_index.{a}{stream}{kind}": llama_index(f"{a}{stream}{kind}")
       for kind in ("complete", "chat") for stream in ("", "stream_") for a in ("", "a")},
    **{f"client.{name}": client(name) for name in ("complete", "acomplete", "stream", "astream")},
}  # fmt: skip


@pytest.fixture(params=CALLS)
def call(request: pytest.FixtureRequest, wire: WireServer) -> Callable[[str], None]:
    """Every way to complete a prompt, against the scripted server."""
    asyncio.set_event_loop(None)
    return lambda prompt: CALLS[request.param](wire.url, prompt)


@pytest.fixture
def api(wire: WireServer) -> ParadigmClient:
    return ParadigmClient(base_url=wire.url, sleep=lambda _: None, api_key="sk-never")


class Clock:
    """A clock that advances by a second each time it is read."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "perf_counter", clock)
    return clock


def counted(block: ParadigmUsage) -> tuple[int, int, int, int]:
    return block.calls, block.prompt_tokens, block.completion_tokens, block.total_tokens


def test_each_call_counts_once_on_every_path(wire: WireServer, call: Callable[[str], None]) -> None:
    wire.always(answer)
    with get_paradigm_usage() as block:
        call("a")
        call("bbb")
    assert counted(block) == (2, 4, 8, 12)
    assert (block.errors, block.uncounted) == (0, 0)
    assert list(block.by_model) == ["m"]


def test_call_outside_block_is_not_counted(wire: WireServer, api: ParadigmClient) -> None:
    wire.always(answer)
    with get_paradigm_usage() as block:
        pass
    api.complete("a", model="m")
    assert counted(block) == (0, 0, 0, 0)
    assert block.by_model == {}


def test_error_counts_once_on_every_path(wire: WireServer, call: Callable[[str], None]) -> None:
    wire.always(reply({"error": {"message": "no"}}, 400))
    with get_paradigm_usage() as block, pytest.raises(Exception, match="no"):
        call("a")
    assert (block.calls, block.errors, block.uncounted) == (1, 1, 0)


def test_retried_call_counts_once(wire: WireServer, api: ParadigmClient) -> None:
    busy = reply({"error": {"message": "busy"}}, 503)
    wire.script(busy, [RESET], reply(completion("a", usage=usage(1, 2))))
    wire.script(busy, [RESET], sse(chunk("a"), chunk("", "stop", usage=usage(1, 2))))
    with get_paradigm_usage() as block:
        api.complete("a", model="m")
        list(api.stream("a", model="m"))
    assert counted(block) == (2, 2, 4, 6)
    assert block.errors == 0
    assert len(wire.requests) == 6


def test_stream_repeated_without_stream_options_counts_once(wire: WireServer, api: ParadigmClient) -> None:
    wire.script(reply({"error": {"message": "stream_options is not allowed"}}, 400))
    wire.script(sse(chunk("a", usage=usage(1, 1)), chunk("", "stop", usage=usage(1, 2))))
    with get_paradigm_usage() as block:
        list(api.stream("a", model="m"))
    assert (*counted(block), block.errors) == (1, 1, 2, 3, 0)


def test_broken_stream_counts_as_error(wire: WireServer, api: ParadigmClient) -> None:
    wire.script(sse(chunk("a"), CUT))
    with get_paradigm_usage() as block, pytest.raises(StreamInterruptedError):
        list(api.stream("a", model="m"))
    assert (block.calls, block.errors, block.uncounted, block.total_tokens) == (1, 1, 0, 0)


def test_abandoned_stream_is_uncounted(wire: WireServer, api: ParadigmClient) -> None:
    wire.script(sse(chunk("a"), chunk("b"), chunk("", "stop"), chunk(usage=usage(1, 2))))
    with get_paradigm_usage() as block:
        with api.stream("a", model="m") as pieces:
            next(pieces)
        assert (block.calls, block.errors, block.uncounted) == (1, 0, 1)
        assert block.tokens_per_second is None


def test_unread_stream_does_not_count_as_call(wire: WireServer, api: ParadigmClient) -> None:
    with get_paradigm_usage() as block:
        api.stream("a", model="m").close()
    assert block.calls == 0
    assert wire.requests == []


def test_call_without_usage_is_uncounted(wire: WireServer, api: ParadigmClient) -> None:
    wire.script(reply(completion("a", usage=None)))
    with get_paradigm_usage() as block:
        api.complete("a", model="m")
    assert (block.calls, block.uncounted, block.total_tokens) == (1, 1, 0)


def test_cached_completion_is_not_counted(wire: WireServer) -> None:
    wire.always(answer)
    llm = langchain_paradigm.ParadigmLLM(model="m", base_url=wire.url, cache=InMemoryCache(), **SETTINGS)
    with get_paradigm_usage() as block:
        llm.invoke("a")
        llm.invoke("a")
    assert counted(block) == (1, 1, 2, 3)


def test_listing_models_does_not_count_as_call(wire: WireServer, api: ParadigmClient) -> None:
    wire.script(reply({"data": [{"id": "m"}]}))
    with get_paradigm_usage() as block:
        api.models()
    assert block.calls == 0


# Blocks


def test_outer_block_includes_calls_of_inner_block(wire: WireServer, api: ParadigmClient) -> None:
    wire.always(answer)
    with get_paradigm_usage() as outer:
        api.complete("a", model="m")
        with get_paradigm_usage() as inner:
            api.complete("bb", model="m")
        api.complete("cccc", model="m")
    assert counted(outer) == (3, 7, 14, 21)
    assert counted(inner) == (1, 2, 4, 6)


def test_block_ends_when_error_is_raised(wire: WireServer, api: ParadigmClient) -> None:
    wire.always(answer)
    block = get_paradigm_usage()
    with pytest.raises(KeyError), block:
        raise KeyError
    api.complete("a", model="m")
    assert block.calls == 0


def test_block_can_be_entered_again(wire: WireServer, api: ParadigmClient) -> None:
    wire.always(answer)
    block = get_paradigm_usage()
    for _ in range(2):
        with block:
            api.complete("a", model="m")
    assert block.calls == 2


def test_calls_in_threads_of_batch_are_counted(wire: WireServer) -> None:
    wire.always(answer)
    llm = langchain_paradigm.ParadigmLLM(model="m", base_url=wire.url, **SETTINGS)
    with get_paradigm_usage() as block:
        llm.batch(["a" * size for size in range(1, 21)])
        llm.generate(["a" * size for size in range(1, 21)])
    assert counted(block) == (40, 420, 840, 1260)


def test_calls_in_other_threads_count_only_with_copied_context(wire: WireServer, api: ParadigmClient) -> None:
    wire.always(answer)
    with ThreadPoolExecutor(4) as threads, get_paradigm_usage() as block:
        for _ in range(8):
            threads.submit(contextvars.copy_context().run, api.complete, "a", model="m")
            threads.submit(api.complete, "a", model="m")
    assert block.calls == 8


def test_calls_in_tasks_count_in_their_own_block_and_outer_block(wire: WireServer) -> None:
    wire.always(answer)
    llm = langchain_paradigm.ParadigmLLM(model="m", base_url=wire.url, **SETTINGS)

    async def ask(prompt: str) -> ParadigmUsage:
        async with get_paradigm_usage() as own:
            await llm.ainvoke(prompt)
            await asyncio.sleep(0)
            await collect(llm.astream(prompt))
        return own

    async def main() -> tuple[ParadigmUsage, list[ParadigmUsage]]:
        async with get_paradigm_usage() as outer:
            return outer, await asyncio.gather(*map(ask, ["a", "bb", "cccc"]))

    outer, blocks = asyncio.run(main())
    assert [counted(block) for block in blocks] == [(2, 2, 4, 6), (2, 4, 8, 12), (2, 8, 16, 24)]
    assert counted(outer) == (6, 14, 28, 42)


def test_stream_counts_in_block_where_it_began(wire: WireServer, api: ParadigmClient) -> None:
    wire.always(answer)
    with get_paradigm_usage() as began:
        pieces = api.stream("a", model="m")
        next(pieces)
    with get_paradigm_usage() as later:
        list(pieces)
    assert counted(began) == (1, 1, 2, 3)
    assert later.calls == 0


# Models, prices, seconds


def test_usage_is_grouped_by_requested_model(wire: WireServer, api: ParadigmClient) -> None:
    wire.always(answer)
    with get_paradigm_usage() as block:
        api.complete("a", model="small")
        api.complete("bb", model="large")
        api.complete("bb", model="large")
    assert [(name, each.calls, each.total_tokens) for name, each in block.by_model.items()] == [
        ("small", 1, 3),
        ("large", 2, 12),
    ]
    assert counted(block) == (3, 5, 10, 15)


@pytest.mark.parametrize(
    ("price", "cost"),
    [
        (None, None),
        (1_000_000, 9),
        ((1_000_000, 2_000_000), 15),
        ([1_000_000, 2_000_000], 15),
        ({"m": (1_000_000, 0.5), "other": 7}, 3.000003),
        ({"other": 7}, None),
        (0, 0),
    ],
)
def test_cost_is_computed_from_price(wire: WireServer, api: ParadigmClient, price: Any, cost: float | None) -> None:
    wire.script(reply(completion("a", usage=usage(3, 6))))
    with get_paradigm_usage(price) as block:
        api.complete("a", model="m")
    assert block.cost == (cost if cost is None else pytest.approx(cost))
    assert block.by_model["m"].cost == block.cost


@pytest.mark.parametrize("price", ["dear", [1, 2, 3], [1], {"m": "dear"}, {"m": {"prompt": 1}}, object()])
def test_price_of_another_form_is_refused_before_any_call(price: Any) -> None:
    with pytest.raises(InvalidParameterError, match="price must be a number"):
        get_paradigm_usage(price)


def test_total_cost_is_none_if_one_model_has_no_price(wire: WireServer, api: ParadigmClient) -> None:
    wire.always(answer)
    with get_paradigm_usage({"m": 1_000_000}) as block:
        assert block.cost == 0
        api.complete("a", model="m")
        assert block.cost == 3
        api.complete("a", model="other")
    assert block.cost is None
    assert block.by_model["m"].cost == 3


def test_latency_and_tokens_per_second_are_measured(wire: WireServer, api: ParadigmClient, clock: Clock) -> None:
    wire.script(reply(completion("a", usage=usage(1, 10))))
    wire.script(sse(chunk("a"), chunk("b"), chunk("", "stop"), chunk(usage=usage(1, 20))))
    with get_paradigm_usage() as block:
        assert api.complete("a", model="m").latency == 1  # read at the start and the end
        assert block.time_to_first_token is None
        assert block.tokens_per_second == 10
        *_, last = api.stream("a", model="m")  # read at the start, the first text and the end
    assert last.latency == 2
    assert block.time_to_first_token == 1
    assert block.tokens_per_second == 30 / 3


def test_stream_that_generates_nothing_has_no_speed(wire: WireServer, api: ParadigmClient, clock: Clock) -> None:
    wire.script(sse(chunk("", "stop"), chunk(usage=usage(1, 0))))
    with get_paradigm_usage() as block:
        list(api.stream("a", model="m"))
    assert block.time_to_first_token is None
    assert block.tokens_per_second is None


@pytest.mark.parametrize(
    "fields", [{"reasoning_content": "Hm"}, {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "time"}}]}]
)
def test_thoughts_and_calls_are_first_tokens(
    wire: WireServer, api: ParadigmClient, clock: Clock, fields: dict[str, Any]
) -> None:
    wire.script(sse({"choices": [{"index": 0, "delta": fields, "finish_reason": "stop"}]}))
    with get_paradigm_usage() as block:
        list(api.stream_chat([{"role": "user", "content": "a"}], model="m"))
    assert block.time_to_first_token == 1


# Output


def test_as_row_and_as_dict_hold_all_values(wire: WireServer, api: ParadigmClient, clock: Clock) -> None:
    wire.script(reply(completion("a", usage=usage(1, 10))))
    with get_paradigm_usage(1_000_000) as block:
        api.complete("a", model="m")
    row = {
        "calls": 1,
        "errors": 0,
        "uncounted": 0,
        "prompt_tokens": 1,
        "completion_tokens": 10,
        "total_tokens": 11,
        "time_to_first_token": None,
        "tokens_per_second": 10.0,
        "cost": 11.0,
    }
    assert block.as_row() == row
    assert list(block.as_row()) == list(row)
    assert block.as_dict() == {**row, "by_model": {"m": row}}
    assert json.loads(json.dumps(block.as_dict())) == block.as_dict()


def test_str_is_table_of_models(wire: WireServer, api: ParadigmClient, clock: Clock) -> None:
    wire.script(reply(completion("a", usage=usage(12, 30))), reply({}, 400))
    wire.script(sse(chunk("a"), chunk("", "stop"), chunk(usage=usage(1, 20))))
    with get_paradigm_usage({"alfred-4.2": 10}) as block:
        api.complete("a", model="alfred-4.2")
        assert str(block).splitlines() == [
            "model       calls  errors  uncounted  prompt  completion  total  first token  tokens/s    cost",
            "alfred-4.2      1       0          0      12          30     42            -      30.0  0.0004",
        ]
        with pytest.raises(BadRequestError):
            api.complete("a", model="alfred-4.2")
        list(api.stream("a", model="b"))
    assert str(block).splitlines() == [
        "model       calls  errors  uncounted  prompt  completion  total  first token  tokens/s    cost",
        "alfred-4.2      2       1          0      12          30     42            -      30.0  0.0004",
        "b               1       0          0       1          20     21       1.00 s      10.0       -",
        "all             3       1          0      13          50     63       1.00 s      16.7       -",
    ]
    assert str(get_paradigm_usage()).splitlines()[1].split() == ["all", *"000000", "-", "-", "-"]
    assert repr(block).startswith("ParadigmUsage(calls=3, errors=1, ")
