"""Async is async: it blocks no event loop, and many calls are on their way at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step

from llama_index_paradigm import ParadigmLLM
from tests.llama_index.conftest import Method, text_of
from tests.wire import STALL, Request, Script, WireServer, chunk, completion, models, pause, reply, sse

Make = Callable[..., ParadigmLLM]


def test_async_methods_do_not_block_the_event_loop(wire: WireServer, async_method: Method, make_llm: Make) -> None:
    wire.script(async_method.answer("Hel", "lo"))
    llm = make_llm(context_window=None)

    async def call() -> str:
        return text_of((await async_method.run(llm))[-1])

    with blockbuster_ctx():
        assert asyncio.run(call()) == "Hello"


def test_context_window_lookup_does_not_block_the_event_loop(wire: WireServer, make_llm: Make) -> None:
    wire.always(reply(models("alfred-40b-1123")))
    llm = make_llm(context_window=None)

    async def look() -> None:
        assert llm.metadata.context_window > 0
        assert await asyncio.to_thread(wire.wait_for, 1)

    with blockbuster_ctx():
        asyncio.run(look())


def test_event_loop_runs_while_a_call_waits(wire: WireServer, async_method: Method, llm: ParadigmLLM) -> None:
    has_turned = threading.Event()

    def answer(_: Request) -> Script:
        assert has_turned.wait(30)
        return async_method.answer("Hello")

    wire.script(answer)

    async def count() -> None:
        for _ in range(10):
            await asyncio.sleep(0.001)
        has_turned.set()

    async def call() -> None:
        counting = asyncio.create_task(count())
        await async_method.run(llm)
        await counting

    asyncio.run(call())


def test_stream_yields_each_piece_as_it_arrives(wire: WireServer, stream_method: Method, llm: ParadigmLLM) -> None:
    wire.script(sse(chunk("Hel"), STALL, chunk("lo", "stop")))
    stream = getattr(llm, stream_method.name)
    prompt = stream_method.input("Hi")

    async def watch() -> None:
        async for _ in await stream(prompt):
            wire.release()  # the server goes on once the first piece is here

    if stream_method.is_async:
        asyncio.run(watch())
    else:
        for _ in stream(prompt):
            wire.release()
    assert wire.unused == 0


def echoing(request: Request) -> Script:
    """Answers with what stands between brackets in the prompt."""
    text = request.body["prompt"].split("[")[1].split("]")[0]
    answer = sse(chunk(text, "stop")) if request.body.get("stream") else reply(completion(text))
    return [pause(0.05), *answer]


def test_many_async_calls_run_concurrently(wire: WireServer, async_method: Method, llm: ParadigmLLM) -> None:
    all_are_here = threading.Barrier(20, timeout=60)

    def answer(request: Request) -> Script:
        all_are_here.wait()
        return echoing(request)

    wire.always(answer)

    async def call() -> list[Any]:
        return await asyncio.gather(*[async_method.run(llm, f"[{number}]") for number in range(20)])

    answers = asyncio.run(call())
    assert [text_of(responses[-1]) for responses in answers] == [str(number) for number in range(20)]


def test_one_object_serves_many_threads(wire: WireServer, method: Method, llm: ParadigmLLM) -> None:
    wire.always(echoing)

    def call(number: int) -> str:
        return text_of(method(llm, f"[{number}]")[-1])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(16))) == [str(number) for number in range(16)]


def test_one_object_serves_one_event_loop_after_another(
    wire: WireServer, async_method: Method, llm: ParadigmLLM
) -> None:
    wire.always(async_method.answer("Hello"))
    assert [text_of(async_method(llm)[-1]) for _ in range(3)] == ["Hello"] * 3


class Ask(Event):
    number: int


class Answered(Event):
    text: str


class FanOut(Workflow):
    """Asks many questions at once."""

    llm: ParadigmLLM

    @step
    async def begin(self, context: Context, start: StartEvent) -> Ask | None:
        for number in range(start.count):
            context.send_event(Ask(number=number))

    @step(num_workers=16)
    async def ask(self, question: Ask) -> Answered:
        return Answered(text=str(await self.llm.acomplete(f"[{question.number}]")))

    @step
    async def end(self, context: Context, answer: Answered) -> StopEvent | None:
        answers = context.collect_events(answer, [Answered] * 16)
        return None if answers is None else StopEvent(result=[each.text for each in answers])


def test_workflow_runs_many_steps_concurrently(wire: WireServer, llm: ParadigmLLM) -> None:
    gate = threading.Barrier(16, timeout=60)

    def together(request: Request) -> Script:
        gate.wait()  # nobody is answered before all have asked
        return echoing(request)

    wire.always(together)
    workflow = FanOut(timeout=120)
    workflow.llm = llm

    async def run() -> Any:
        return await workflow.run(count=16)

    assert sorted(asyncio.run(run()), key=int) == [str(number) for number in range(16)]


def test_cancelled_call_closes_its_connection(wire: WireServer, async_method: Method, llm: ParadigmLLM) -> None:
    wire.script([pause(30)])

    async def call() -> None:
        task = asyncio.create_task(async_method.run(llm))
        assert await asyncio.to_thread(wire.wait_for, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(wire.requests[0].left.wait, 30)

    asyncio.run(call())
