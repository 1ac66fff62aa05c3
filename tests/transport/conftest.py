"""The fixture `api` runs each test with the sync and with the async client.

The async client runs in its own event loop behind sync methods, so that each test is written once.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar

import httpx
import pytest
from hypothesis import settings
from typing_extensions import Self

from paradigm_transport import AsyncParadigmClient, ParadigmClient
from tests.chat_form import ENDPOINTS, call_chats, write_as_chats
from tests.wire import WireServer

settings.register_profile("unhurried", deadline=None)  # on a busy machine any example may take long
settings.load_profile("unhurried")

asyncio.constants.DEBUG_STACK_DEPTH = 1  # in debug mode, loops walk the stack at each step: a tenth of all the time

T = TypeVar("T")

KEY = "sk-0123456789abcdef"
MODEL = "alfred-40b-1123"

BORROWED = {"verify": False, "timeout": 60}
"""Reading certificates takes longer than a test, and answers of a busy machine longer than httpx's 5 seconds."""


class Api:
    """Makes clients whose backoff takes no time.

    Attributes:
        slept: the seconds of each wait before a retry.
        now: the time of the clients' clock, in seconds since the epoch.
        client_field: the name of the setting for an injected client.
    """

    is_async = False
    client_field = "http_client"

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.now = 1_700_000_000.0
        self.made: list[Any] = []

    def client(self, wire: WireServer | None = None, **options: Any) -> Any:
        """Return a client of the server, with `complete`, `stream`, `embed`, `search`, `models` and `close`."""
        if wire is not None:
            options.setdefault("base_url", wire.url)
        if "settings" not in options:
            options.setdefault("api_key", KEY)
        client = self._make(clock=lambda: self.now, chance=lambda: 1.0, **options)
        self.made.append(client)
        return client

    def _make(self, **options: Any) -> Any:
        return ParadigmClient(sleep=self.slept.append, **options)

    def borrowed(self, **options: Any) -> Any:
        """Return an httpx client to inject."""
        return httpx.Client(**{**BORROWED, **options})

    def close_borrowed(self, client: Any) -> None:
        client.close()

    def turn(self) -> None:
        """Let the event loop run its pending callbacks."""

    def close(self) -> None:
        for client in self.made:
            client.close()


class AsyncApi(Api):
    is_async = True
    client_field = "http_async_client"

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.loop.set_debug(True)
        self.loop.get_debug = lambda: False  # type: ignore[method-assign]  # futures ask, and would walk the whole stack
        self.loop.slow_callback_duration = 60  # a busy machine is slow
        self.noise: list[Any] = []
        self.loop.set_exception_handler(lambda _, context: self.noise.append(context))

    def _make(self, **options: Any) -> Any:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        return _Client(self, AsyncParadigmClient(sleep=sleep, **options))

    def borrowed(self, **options: Any) -> Any:
        return httpx.AsyncClient(**{**BORROWED, **options})

    def close_borrowed(self, client: Any) -> None:
        self.run(client.aclose())

    def run(self, awaitable: Awaitable[T]) -> T:
        return self.loop.run_until_complete(awaitable)

    def turn(self) -> None:
        self.run(asyncio.sleep(0.01))

    def close(self) -> None:
        super().close()
        self.run(self.loop.shutdown_asyncgens())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        assert self.noise == []


class _Client:
    """An async client with the methods of the sync one."""

    def __init__(self, api: AsyncApi, client: AsyncParadigmClient) -> None:
        self._api = api
        self.real = client

    def complete(self, *args: Any, **options: Any) -> Any:
        return self._api.run(self.real.complete(*args, **options))

    def stream(self, *args: Any, **options: Any) -> _Stream:
        return _Stream(self._api, self.real.stream(*args, **options))

    def chat(self, *args: Any, **options: Any) -> Any:
        return self._api.run(self.real.chat(*args, **options))

    def stream_chat(self, *args: Any, **options: Any) -> _Stream:
        return _Stream(self._api, self.real.stream_chat(*args, **options))

    def embed(self, *args: Any, **options: Any) -> Any:
        return self._api.run(self.real.embed(*args, **options))

    def search(self, *args: Any, **options: Any) -> Any:
        return self._api.run(self.real.search(*args, **options))

    def models(self) -> Any:
        return self._api.run(self.real.models())

    def send(self, call: Any) -> Any:
        return self._api.run(self.real.send(call))

    def open(self, call: Any) -> _Stream:
        return _Stream(self._api, self.real.open(call))

    def close(self) -> None:
        self._api.run(self.real.aclose())

    def __enter__(self) -> Self:
        self._api.run(self.real.__aenter__())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._api.run(self.real.__aexit__(*exc_info))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class _Stream:
    def __init__(self, api: AsyncApi, stream: Any) -> None:
        self._api = api
        self.real = stream

    def __iter__(self) -> _Stream:
        return self

    def __next__(self) -> Any:
        try:
            return self._api.run(self.real.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        self._api.run(self.real.aclose())

    def __enter__(self) -> Self:
        self._api.run(self.real.__aenter__())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._api.run(self.real.__aexit__(*exc_info))


@pytest.fixture(params=[Api, AsyncApi], ids=["sync", "async"])
def api(request: pytest.FixtureRequest) -> Iterator[Api]:
    api = request.param()
    yield api
    api.close()


over_completions = pytest.mark.parametrize("endpoint", ["completions"], indirect=True)
"""Marks a test of what only completions have."""


@pytest.fixture(params=ENDPOINTS)
def endpoint(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test over both endpoints that generate text: its completions are chats, too."""
    if request.param == "chat":
        write_as_chats(monkeypatch, parses=False)
        call_chats(monkeypatch)
    return str(request.param)


_COLLECTIONS = itertools.count(1)


@pytest.fixture(scope="session")
def _survivors_set_aside() -> Iterator[None]:
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def collected(_survivors_set_aside: None) -> Iterator[None]:
    """Collect garbage within the test that made it, so that a ResourceWarning fails that test."""
    yield
    gc.collect()
    if next(_COLLECTIONS) % 100 == 0:
        gc.unfreeze()
        gc.collect()
    gc.freeze()  # what is alive now is looked at again only then: collecting takes no time
