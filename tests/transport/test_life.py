"""The life of a client: threads, forks, event loops, copies, pickles, injected clients."""

from __future__ import annotations

import asyncio
import copy
import gc
import multiprocessing
import pickle
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from paradigm_transport import (
    APIConnectionError,
    APIResponseError,
    APITimeoutError,
    AsyncParadigmClient,
    InvalidParameterError,
    ParadigmClient,
    RetryPolicy,
    Settings,
)
from paradigm_transport.http import pool, responses
from paradigm_transport.http.closing import _closing
from tests.transport.conftest import KEY, MODEL, Api
from tests.wire import CUT, STALL, Request, Script, WireServer, chunk, completion, pause, reply, sse, texts

pytestmark = pytest.mark.usefixtures("collected")


def echo(request: Request) -> Script:
    """Return the prompt, whole or streamed as requested."""
    prompt = request.body["prompt"]
    if request.body.get("stream"):
        return sse(*map(chunk, prompt), chunk("", "stop"))
    return reply(completion(prompt))


@pytest.fixture
def echoes(wire: WireServer) -> WireServer:
    wire.always(echo)
    return wire


def both(client: ParadigmClient, prompt: str) -> list[str]:
    return [client.complete(prompt, model=MODEL).text, texts(client.stream(prompt, model=MODEL))]


async def aboth(client: AsyncParadigmClient, prompt: str) -> list[str]:
    whole = await client.complete(prompt, model=MODEL)
    return [whole.text, "".join([piece.text async for piece in client.stream(prompt, model=MODEL)])]


def test_threads_share_one_client(echoes: WireServer) -> None:
    ready = threading.Barrier(32)
    with ParadigmClient(api_key=KEY, base_url=echoes.url) as client, ThreadPoolExecutor(32) as pool:

        def work(i: int) -> list[list[str]]:
            ready.wait(30)  # so that all make the first connection together
            return [both(client, f"{i}.{j}") for j in range(3)]

        assert list(pool.map(work, range(32))) == [[[f"{i}.{j}"] * 2 for j in range(3)] for i in range(32)]


def test_client_works_in_one_event_loop_after_another(echoes: WireServer) -> None:
    client = AsyncParadigmClient(api_key=KEY, base_url=echoes.url)
    for i in range(3):
        assert asyncio.run(aboth(client, str(i))) == [str(i)] * 2
    assert echoes.connections == 3
    for request in echoes.requests:
        assert request.left.wait(30)
    assert len(client._connections._by_loop) == 1  # pools of closed loops do not pile up


def test_client_works_in_two_event_loops_at_once(echoes: WireServer) -> None:
    client = AsyncParadigmClient(api_key=KEY, base_url=echoes.url)
    ready = threading.Barrier(2)

    async def main(prompt: str) -> list[list[str]]:
        ready.wait(30)
        return list(await asyncio.gather(*(aboth(client, prompt) for _ in range(8))))

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda prompt: asyncio.run(main(prompt)), "ab"))
    assert results == [[["a", "a"]] * 8, [["b", "b"]] * 8]


def test_client_closed_by_hand_leaves_nothing_on_a_bare_loop(echoes: WireServer) -> None:
    """Loops that are closed by `close` alone, without `shutdown_asyncgens`; the client is closed first."""
    client = AsyncParadigmClient(api_key=KEY, base_url=echoes.url)
    for i in range(2):
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(aboth(client, str(i))) == [str(i)] * 2
        loop.run_until_complete(client.aclose())
        loop.close()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_connections_of_a_closed_loop_are_forgotten_at_the_next_use(echoes: WireServer) -> None:
    """Connections of a closed loop cannot be closed any more: they are dropped, with asyncio's warning."""
    before = set(pool._open_pools)
    client = AsyncParadigmClient(api_key=KEY, base_url=echoes.url)
    for i in range(3):
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(aboth(client, str(i))) == [str(i)] * 2
        loop.close()
        del loop
    gc.collect()
    assert echoes.requests[0].left.wait(30)
    assert len(client._connections._by_loop) == 1
    del client
    gc.collect()
    assert echoes.requests[-1].left.wait(30)
    assert pool._open_pools <= before


def forked(client: ParadigmClient, aclient: AsyncParadigmClient, results: Any) -> None:
    results.put([both(client, "child"), asyncio.run(aboth(aclient, "child"))])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_forked_children_open_their_own_connections(echoes: WireServer) -> None:
    context = multiprocessing.get_context("fork")
    client = ParadigmClient(api_key=KEY, base_url=echoes.url)
    aclient = AsyncParadigmClient(api_key=KEY, base_url=echoes.url)
    assert both(client, "parent") == ["parent"] * 2
    assert asyncio.run(aboth(aclient, "parent")) == ["parent"] * 2
    results = context.Queue()
    children = [context.Process(target=forked, args=(client, aclient, results)) for _ in range(2)]
    for child in children:
        child.start()
    assert [results.get(timeout=30) for _ in children] == [[["child"] * 2] * 2] * 2
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    # The parent's connection was not touched.
    before = echoes.connections
    assert both(client, "parent") == ["parent"] * 2
    assert echoes.connections == before
    results.close()
    results.join_thread()
    client.close()


def test_copies_are_the_client_itself(api: Api, echoes: WireServer) -> None:
    client = api.client(echoes)
    real = getattr(client, "real", client)
    assert copy.copy(real) is real
    assert copy.deepcopy(real) is real
    assert copy.deepcopy({"a": [real]})["a"][0] is real


def test_pickled_client_works_in_another_process(echoes: WireServer) -> None:
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).complete('Hi', model='m').text)"
    client = ParadigmClient(api_key=KEY, base_url=echoes.url)
    client.complete("Hi", model=MODEL)
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(client), capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"Hi\n", b"")
    client.close()


def test_pickle_keeps_settings_retry_policy_and_stream_options(api: Api, wire: WireServer) -> None:
    wire.script(reply({"stream_options": ["Unexpected field."]}, 400))
    wire.always(sse(chunk("a", "stop")))
    options = {
        "timeout": httpx.Timeout(7, connect=3),
        "default_headers": {"X-Team": "a"},
        "max_retries": 4,
        "verify": False,
    }
    client = api.client(wire, **options, retry=RetryPolicy(max_retries=1))
    list(client.stream("Hi", model=MODEL))
    real = getattr(client, "real", client)
    twin = pickle.loads(pickle.dumps(real))
    assert type(twin) is type(real)
    assert twin.settings == real.settings
    assert twin.settings.api_key.get_secret_value() == KEY
    assert twin.policy.retry == RetryPolicy(max_retries=1)
    assert twin.policy.unsupported == {"stream_options"}


def test_client_with_an_injected_client_cannot_be_pickled(api: Api) -> None:
    borrowed = api.borrowed()
    client = api.client(**{api.client_field: borrowed})
    with pytest.raises(TypeError, match=f"{api.client_field} cannot be pickled"):
        pickle.dumps(getattr(client, "real", client))
    api.close_borrowed(borrowed)


def test_closed_client_opens_new_connections(api: Api, echoes: WireServer) -> None:
    client = api.client(echoes)
    client.close()
    for i in range(2):
        assert client.complete("Hi", model=MODEL).text == "Hi"
        client.close()
        client.close()
        assert echoes.requests[i].left.wait(30)
    assert echoes.connections == 2


def test_with_closes_the_connections(api: Api, echoes: WireServer) -> None:
    with api.client(echoes) as client:
        client.complete("Hi", model=MODEL)
    assert echoes.requests[0].left.wait(30)


def test_call_sends_nothing_when_the_client_closes_just_before(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.always(echo)
    client = ParadigmClient(api_key=KEY, base_url=wire.url, sleep=lambda _: None)
    send = httpx.Client.send

    def closing_send(self: httpx.Client, *args: Any, **options: Any) -> Any:
        monkeypatch.setattr(httpx.Client, "send", send)
        client.close()
        return send(self, *args, **options)

    monkeypatch.setattr(httpx.Client, "send", closing_send)
    with pytest.raises(APIConnectionError, match="client was closed"):
        client.complete("Hi", model=MODEL)
    assert wire.requests == []


def at_once(client: Any, count: int) -> None:
    """Open `count` streams at the same time, and read them to their ends."""
    streams = [client.stream("Hi", model=MODEL) for _ in range(count)]
    for stream in streams:
        next(stream)
    for stream in streams:
        assert texts(stream) == "i"


def test_idle_connections_beyond_the_limit_are_closed(
    api: Api, echoes: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MAX_IDLE", 2)
    client = api.client(echoes)
    at_once(client, 5)
    for request in echoes.requests[:3]:
        assert request.left.wait(30)
    at_once(client, 2)
    assert echoes.connections == 5
    assert not any(request.left.is_set() for request in echoes.requests[3:])


def test_connections_idle_for_too_long_are_closed(
    api: Api, echoes: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = api.client(echoes)
    at_once(client, 2)
    monkeypatch.setattr(pool, "KEEPALIVE_SECONDS", 0.0)
    assert client.complete("Hi", model=MODEL).text == "Hi"
    assert echoes.requests[0].left.wait(30)
    assert not echoes.requests[1].left.is_set()


def test_loop_may_end_while_its_connections_close(echoes: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    aclose = httpx.AsyncClient.aclose

    async def slow_aclose(self: httpx.AsyncClient) -> None:
        if not self.is_closed:
            await aclose(self)
            for _ in range(9):  # as with TLS
                await asyncio.sleep(0)

    async def main(client: AsyncParadigmClient) -> None:
        await client.complete("Hi", model=MODEL)

    monkeypatch.setattr(httpx.AsyncClient, "aclose", slow_aclose)

    noise: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: noise.append(context))
    loop.run_until_complete(main(AsyncParadigmClient(api_key=KEY, base_url=echoes.url)))
    gc.collect()  # the client is dropped: its connections are to be closed when the loop runs next
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert noise == []
    assert _closing == set()
    assert echoes.requests[0].left.wait(30)


def test_loop_without_asyncgen_hooks_closes_without_noise(wire: WireServer) -> None:
    """As nest_asyncio runs it."""
    wire.script(reply(completion("Hello"), headers={"Connection": "close"}))
    client = AsyncParadigmClient(api_key=KEY, base_url=wire.url)

    async def main(client: AsyncParadigmClient) -> str:
        sys.set_asyncgen_hooks(None, None)
        return (await client.complete("Hi", model=MODEL)).text

    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(main(client)) == "Hello"
    loop.close()
    asyncio.run(client.aclose())
    del client
    gc.collect()  # pytest fails if the generator warns here


def test_request_head_is_shared_only_once_it_is_finished(wire: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread sends a request while the first one builds the head that all share."""
    wire.always(echo)
    client = ParadigmClient(api_key=KEY, base_url=wire.url)
    build = client._connections._build

    def interrupted(*args: Any) -> Any:
        monkeypatch.setattr(client._connections, "_build", build)
        built = build(*args)
        pop = type(built.headers).pop

        def slow_pop(self: Any, *names: Any) -> Any:
            monkeypatch.setattr(type(built.headers), "pop", pop)
            with ThreadPoolExecutor(1) as other:
                assert other.submit(client.complete, "second", model=MODEL).result(30).text == "second"
            return pop(self, *names)

        monkeypatch.setattr(type(built.headers), "pop", slow_pop)
        return built

    monkeypatch.setattr(client._connections, "_build", interrupted)
    assert client.complete("first", model=MODEL).text == "first"
    client.close()


def test_closing_wakes_a_thread_that_waits_for_the_server(wire: WireServer) -> None:
    wire.script(sse(chunk("a"), STALL))
    client = ParadigmClient(api_key=KEY, base_url=wire.url, max_retries=0)
    stream = client.stream("Hi", model=MODEL)
    next(stream)
    with ThreadPoolExecutor(1) as other:
        reading = other.submit(next, stream)
        time.sleep(0.2)  # by now it waits for the server
        client.close()
        assert wire.requests[0].left.wait(30)
        with pytest.raises(APIConnectionError):
            reading.result(30)


def test_closing_completes_although_its_caller_is_cancelled(echoes: WireServer) -> None:
    async def main() -> None:
        client = AsyncParadigmClient(api_key=KEY, base_url=echoes.url)
        await asyncio.gather(*(client.complete("Hi", model=MODEL) for _ in range(4)))
        closing = asyncio.create_task(client.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await asyncio.gather(*_closing)
        for request in echoes.requests:
            assert await asyncio.to_thread(request.left.wait, 30)

    asyncio.run(main())
    assert not pool._open_pools


def test_call_cancelled_while_closing_idle_connections_leaves_the_rest_in_the_pool(
    echoes: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    aclose = httpx.AsyncClient.aclose

    async def main() -> None:
        client = AsyncParadigmClient(api_key=KEY, base_url=echoes.url)
        await asyncio.gather(*(client.complete("Hi", model=MODEL) for _ in range(4)))
        monkeypatch.setattr(pool, "KEEPALIVE_SECONDS", 0.0)
        task = asyncio.create_task(client.complete("Hi", model=MODEL))

        async def cancelling_aclose(self: httpx.AsyncClient) -> None:
            monkeypatch.setattr(httpx.AsyncClient, "aclose", aclose)
            task.cancel()
            await aclose(self)

        monkeypatch.setattr(httpx.AsyncClient, "aclose", cancelling_aclose)
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.aclose()
        for request in echoes.requests:
            assert await asyncio.to_thread(request.left.wait, 30)

    asyncio.run(main())


def close_in_a_fork(stream: Any) -> None:
    stream.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_stream_closed_in_a_fork_goes_on_in_the_parent(wire: WireServer) -> None:
    wire.script(sse(chunk("a"), pause(0.5), chunk("b", "stop")))
    with ParadigmClient(api_key=KEY, base_url=wire.url, max_retries=0) as client:
        stream = client.stream("Hi", model=MODEL)
        assert next(stream).text == "a"
        child = multiprocessing.get_context("fork").Process(target=close_in_a_fork, args=(stream,))
        child.start()
        child.join(10)
        assert texts(stream) == "b"


def test_drain_that_times_out_as_the_response_ends_spares_the_next_request(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paradigm_transport.http.responses.DRAIN_SECONDS", 0.01)
    wire.script([*sse(chunk("a", "stop"))[:-1], pause(0.05), sse()[-1]], [pause(0.4), *reply(completion("b"))])
    with ParadigmClient(api_key=KEY, base_url=wire.url, max_retries=0) as client:
        assert texts(client.stream("Hi", model=MODEL)) == "a"
        assert client.complete("Hi", model=MODEL).text == "b"


def test_cancellation_at_the_end_of_a_drain_is_not_lost(wire: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    wire.script(sse(chunk("a", "stop")))
    read_rest = responses.AsyncResponse._read_rest

    async def main() -> None:
        async def read() -> None:
            async with AsyncParadigmClient(api_key=KEY, base_url=wire.url) as client:
                async for _ in client.stream("Hi", model=MODEL):
                    pass
                await asyncio.sleep(0)
                pytest.fail("it went on")

        async def cancelled(self: responses.AsyncResponse) -> None:
            await read_rest(self)
            task.cancel()

        monkeypatch.setattr(responses.AsyncResponse, "_read_rest", cancelled)
        task = asyncio.create_task(read())
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


# Injected clients.


def library(name: str) -> Any:
    return pytest.importorskip(name)


@pytest.fixture(params=["httpx", "httpx2", "httpx_aiohttp"])
def borrowed(request: pytest.FixtureRequest, api: Api) -> Any:
    module = library(request.param)
    if request.param != "httpx_aiohttp":
        kind = module.AsyncClient if api.is_async else module.Client
    elif api.is_async:
        kind = module.HttpxAiohttpClient
    else:
        pytest.skip("httpx-aiohttp is async only")
    client = kind(headers={"X-Mine": "1"}, params={"tenant": "a"}, timeout=5)
    yield client
    api.close_borrowed(client)


def test_injected_client_is_used_as_it_is_and_stays_open(api: Api, echoes: WireServer, borrowed: Any) -> None:
    client = api.client(echoes, **{api.client_field: borrowed})
    for _ in range(2):
        assert client.complete("Hi", model=MODEL).text == "Hi"
        assert texts(client.stream("Hi", model=MODEL)) == "Hi"
    client.close()
    with client:
        pass
    api.made.clear()
    del client
    gc.collect()
    assert not borrowed.is_closed
    assert echoes.connections == 1
    for request in echoes.requests:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["x-mine"] == "1"
        assert request.path == "/api/v2/completions?tenant=a"


def test_errors_of_an_injected_client_are_translated_and_retried(api: Api, wire: WireServer, borrowed: Any) -> None:
    wire.always([CUT])
    with pytest.raises(APIConnectionError, match=wire.host):
        api.client(wire, **{api.client_field: borrowed}).complete("Hi", model=MODEL)
    assert api.slept == [0.5, 1.0]


def test_injected_client_keeps_its_timeout_unless_ours_is_set(api: Api, wire: WireServer, borrowed: Any) -> None:
    wire.always([STALL])
    with pytest.raises(APIConnectionError, match="in time"):
        api.client(wire, timeout=0.1, max_retries=0, **{api.client_field: borrowed}).complete("Hi", model=MODEL)
    borrowed.timeout = 0.1
    with pytest.raises(APIConnectionError, match="in time"):
        api.client(wire, max_retries=0, **{api.client_field: borrowed}).complete("Hi", model=MODEL)


def test_leaving_a_stream_of_an_injected_client_ends_its_connection(api: Api, wire: WireServer, borrowed: Any) -> None:
    wire.script(sse(chunk("a"), STALL), sse(chunk("a"), STALL))
    client = api.client(wire, **{api.client_field: borrowed})
    for i in range(2):
        chunks = client.stream("Hi", model=MODEL)
        next(chunks)
        if i == 0:
            chunks.close()
        del chunks
        api.turn()
        assert wire.requests[i].left.wait(30)


def test_closed_injected_client_is_reported(api: Api, wire: WireServer) -> None:
    borrowed = api.borrowed()
    api.close_borrowed(borrowed)
    with pytest.raises(InvalidParameterError, match=r"client that was passed in cannot be used here .*closed"):
        api.client(wire, **{api.client_field: borrowed}).complete("Hi", model=MODEL)
    assert api.slept == []


def test_mock_transport_works_as_injected_client(api: Api) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if b'"stream":true' in request.content:
            return httpx.Response(200, content=b'data: {"choices": [{"text": "b"}]}\n\ndata: [DONE]\n\n')
        return httpx.Response(200, json=completion("a"))

    borrowed = api.borrowed(transport=httpx.MockTransport(handler))
    client = api.client(base_url="https://host", **{api.client_field: borrowed})
    assert client.complete("Hi", model=MODEL).text == "a"
    assert texts(client.stream("Hi", model=MODEL)) == "b"
    api.close_borrowed(borrowed)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (httpx.ConnectError("x"), APIConnectionError),
        (httpx.InvalidURL("x"), APIConnectionError),
        (httpx.StreamClosed(), APIConnectionError),
        (httpx.PoolTimeout("x"), APITimeoutError),
        (httpx.DecodingError("x"), APIResponseError),
        (ssl.SSLError(1, "x"), APIConnectionError),
        (OSError(5, "x"), APIConnectionError),
        (RuntimeError("x"), InvalidParameterError),
        (ZeroDivisionError(), ZeroDivisionError),
        (NotImplementedError(), NotImplementedError),
    ],
    ids=repr,
)
def test_exceptions_of_an_injected_client_become_ours(api: Api, raised: Exception, kind: type[Exception]) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise raised

    borrowed = api.borrowed(transport=httpx.MockTransport(handler))
    with pytest.raises(kind) as caught:
        api.client(base_url="https://host", **{api.client_field: borrowed}).complete("Hi", model=MODEL)
    assert type(caught.value) is kind
    api.close_borrowed(borrowed)


@pytest.mark.parametrize("leave", ["close", "drop"])
def test_leaving_a_stream_without_a_connection_closes_its_body(api: Api, leave: str) -> None:
    closed: list[bool] = []

    class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b'data: {"choices": [{"text": "a"}]}\n\n'

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for part in self:
                yield part

        def close(self) -> None:
            closed.append(True)

        async def aclose(self) -> None:
            closed.append(True)

    borrowed = api.borrowed(transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=Body())))
    chunks = api.client(base_url="https://host", **{api.client_field: borrowed}).stream("Hi", model=MODEL)
    assert next(chunks).text == "a"
    if leave == "close":
        chunks.close()
    del chunks
    api.turn()
    assert closed
    api.close_borrowed(borrowed)


@pytest.mark.parametrize("wrong", ["the other", "no client"])
def test_wrong_kind_of_client_is_reported(api: Api, wrong: str) -> None:
    other: Any = httpx.AsyncClient if api.client_field == "http_client" else httpx.Client
    client = other() if wrong == "the other" else "http://host"
    with pytest.raises(InvalidParameterError, match=rf"{api.client_field}: .*must be an httpx\.\w+ or like one"):
        api.client(**{api.client_field: client})
    if wrong == "the other":
        asyncio.run(client.aclose()) if hasattr(client, "aclose") else client.close()


def test_client_takes_settings_or_their_fields_but_not_both(api: Api, echoes: WireServer) -> None:
    settings = Settings(api_key=KEY, base_url=echoes.url)
    assert api.client(settings=settings).complete("Hi", model=MODEL).text == "Hi"
    with pytest.raises(InvalidParameterError, match="settings or timeout, not both"):
        api.client(settings=settings, timeout=5)
    with pytest.raises(InvalidParameterError, match="nonsense"):
        api.client(nonsense=1)
