"""A batch that fails or is interrupted ends its requests, and none of them is sent again."""

from __future__ import annotations

import _thread
import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest

from paradigm_transport import APIConnectionError, AsyncParadigmClient, BadRequestError, ParadigmClient
from paradigm_transport.fan_out import afan_out, fan_out
from paradigm_transport.http import pool
from tests.transport.conftest import KEY, MODEL
from tests.wire import STALL, Request, Script, WireServer, chunk, completion, head, reply, sse, texts

pytestmark = pytest.mark.usefixtures("collected")

STOPPED = "The batch that the call belongs to was stopped"

STAGES: dict[str, Script] = {
    "head": [STALL],
    "body": [head(200, {"Content-Length": "100"}), b"{", STALL],
    "text": sse(chunk("a"), STALL),
    "retry": reply({"detail": "busy"}, 500, {"Retry-After": "50"}),
}


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Restore the handler: a process that was started in the background ignores interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def failing(wire: WireServer, script: Script, fails: Callable[[], object]) -> Callable[[Request], Script]:
    """Answer with a script, but fail the prompt "bad" once the others have arrived."""

    def answer(request: Request) -> Script:
        if request.body["prompt"] != "bad":
            return script
        fails()
        return reply({"detail": "bad prompt"}, 400)

    return answer


PROMPTS = ["bad", *"abcdefgh"]


@pytest.mark.parametrize("at", STAGES)
@pytest.mark.parametrize("streams", [True, False], ids=["stream", "complete"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_first_error_ends_the_requests_in_flight(wire: WireServer, at: str, streams: bool, is_async: bool) -> None:
    everyone = len(PROMPTS)
    wire.always(failing(wire, STAGES[at], lambda: wire.wait_for(everyone)))
    with pytest.raises(BadRequestError, match="bad prompt"):
        asyncio.run(run_tasks(wire, streams), debug=True) if is_async else run_threads(wire, streams)
    assert len(wire.requests) == everyone
    for request in wire.requests:
        assert request.left.wait(30)


def run_threads(wire: WireServer, streams: bool) -> None:
    with ParadigmClient(api_key=KEY, base_url=wire.url) as client:

        def call(prompt: str) -> str:
            if streams:
                return texts(client.stream(prompt, model=MODEL))
            return client.complete(prompt, model=MODEL).text

        fan_out(call, PROMPTS, len(PROMPTS))


async def run_tasks(wire: WireServer, streams: bool) -> None:
    async with AsyncParadigmClient(api_key=KEY, base_url=wire.url) as client:

        async def call(prompt: str) -> str:
            if streams:
                return "".join([piece.text async for piece in client.stream(prompt, model=MODEL)])
            return (await client.complete(prompt, model=MODEL)).text

        await afan_out(call, PROMPTS, len(PROMPTS))


@pytest.mark.parametrize("at", STAGES)
@pytest.mark.parametrize("streams", [True, False], ids=["stream", "complete"])
def test_interrupt_ends_the_requests_in_flight(wire: WireServer, at: str, streams: bool) -> None:
    main_thread, prompts = threading.get_ident(), [prompt for prompt in PROMPTS if prompt != "bad"]
    wire.always(STAGES[at])
    errors: list[Exception] = []
    client = ParadigmClient(api_key=KEY, base_url=wire.url)

    def call(prompt: str) -> str:
        try:
            if streams:
                return texts(client.stream(prompt, model=MODEL))
            return client.complete(prompt, model=MODEL).text
        except Exception as error:
            errors.append(error)
            raise

    def interrupt() -> None:
        wire.wait_for(len(prompts))
        signal.pthread_kill(main_thread, signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        fan_out(call, prompts, len(prompts))
    other.join()
    assert len(wire.requests) == len(prompts)
    assert len(errors) == len(prompts)
    if at != "retry":  # there, a refusal that arrives at the same time is the error
        assert all(isinstance(error, APIConnectionError) and STOPPED in str(error) for error in errors)
    for request in wire.requests:
        assert request.left.wait(30)
    wire.always(reply(completion("b")))
    assert client.complete("Hi", model=MODEL).text == "b"
    client.close()


def test_interrupt_just_before_the_wait_is_noticed(wire: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradigm_transport.fan_out.NOTICED_WITHIN", 0.01)
    wire.always([STALL])
    with ParadigmClient(api_key=KEY, base_url=wire.url) as client:

        def interrupt() -> None:
            wire.wait_for(2)
            _thread.interrupt_main()  # as a signal before the wait, it wakes nobody

        other = threading.Thread(target=interrupt)
        other.start()
        with pytest.raises(KeyboardInterrupt):
            fan_out(lambda prompt: client.complete(prompt, model=MODEL), ["a", "b"], 2)
        other.join()


def test_stopped_batch_spares_the_other_calls_of_its_client(wire: WireServer) -> None:
    """Those of other threads and of other batches; also of those it waits for a connection with."""
    wire.always(failing(wire, [STALL, *reply(completion("a"))], lambda: wire.wait_for(4)))
    with ParadigmClient(api_key=KEY, base_url=wire.url) as client, ThreadPoolExecutor() as threads:

        def call(prompt: str) -> str:
            return client.complete(prompt, model=MODEL).text

        alone = threads.submit(call, "alone")
        other = threads.submit(fan_out, call, ["b", "c"], 2)
        assert wire.wait_for(3)
        with pytest.raises(BadRequestError):
            fan_out(call, ["a", "bad"], 2)
        wire.release()
        assert alone.result(30) == "a"
        assert other.result(30) == ["a", "a"]
        assert len(wire.requests) == 5
        assert call("again") == "a"


def test_stopped_batch_ends_its_calls_that_wait_for_a_connection(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MAX_CONNECTIONS", 1)
    wire.always([STALL, *reply(completion("a"))])
    with ParadigmClient(api_key=KEY, base_url=wire.url) as client, ThreadPoolExecutor() as threads:
        alone = threads.submit(lambda: client.complete("alone", model=MODEL).text)
        assert wire.wait_for(1)
        slots = client._connections.pool().slots

        def call(prompt: str) -> str:
            if prompt == "bad":
                while len(slots._waiting) < 2:
                    threading.Event().wait(0.001)
                raise LookupError
            return client.complete(prompt, model=MODEL).text

        with pytest.raises(LookupError):
            fan_out(call, ["a", "b", "bad"], 3)
        wire.release()
        assert alone.result(30) == "a"
    assert len(wire.requests) == 1


def test_batch_within_a_batch_ends_with_it(wire: WireServer) -> None:
    wire.always(failing(wire, [STALL], lambda: wire.wait_for(5)))
    with ParadigmClient(api_key=KEY, base_url=wire.url) as client:

        def call(prompt: str) -> str:
            return client.complete(prompt, model=MODEL).text

        def calls(prompt: str) -> list[str]:
            return [call(prompt)] if prompt == "bad" else fan_out(call, [prompt, prompt], 2)

        with pytest.raises(BadRequestError):
            fan_out(calls, ["a", "b", "bad"], 3)
    assert len(wire.requests) == 5


def test_batch_leaves_the_context_of_its_caller_alone(wire: WireServer) -> None:
    wire.always(reply(completion("a")))
    before = dict(copy_context())
    with ParadigmClient(api_key=KEY, base_url=wire.url) as client:

        def call(prompt: Any) -> str:
            return client.complete(prompt, model=MODEL).text

        assert fan_out(call, ["a", "b"], 2) == ["a", "a"]
    assert dict(copy_context()) == before
