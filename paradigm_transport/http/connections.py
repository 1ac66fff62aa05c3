"""Connections to the server, sync and async: heads of requests, and a pool per process and per event loop."""

from __future__ import annotations

import asyncio
import os
import ssl
import weakref
from functools import cached_property
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, TypeVar

import httpx

from paradigm_transport._version import __version__
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.http.borrowed import AsyncBorrowedPool, BorrowedPool
from paradigm_transport.http.closing import close_on_loop, finish_closing
from paradigm_transport.http.leases import AsyncLease, Lease
from paradigm_transport.http.pool import KEEPALIVE_SECONDS, AsyncPool, SyncPool
from paradigm_transport.http.protocols import AsyncHTTPClient, HTTPClient, Outgoing, Request, RequestBuilder, lower
from paradigm_transport.http.settings import Settings
from paradigm_transport.http.timeouts import seconds_of
from paradigm_transport.http.tls import create_ssl_context
from paradigm_transport.refusals import Redaction

if TYPE_CHECKING:
    from paradigm_transport.http.direct import Head

OwnClient = TypeVar("OwnClient", httpx.Client, httpx.AsyncClient)


class _BaseConnections:
    """What sync and async connections share: the head of each request, and how a client is made."""

    def __init__(self, settings: Settings, is_borrowed: bool) -> None:
        self.settings = settings
        self.host = settings.host
        self.is_borrowed = is_borrowed
        self._heads: dict[str, Head] = {}
        self._factory = _Factory(settings)

    def request(self, lease: Lease | AsyncLease, sent: Outgoing) -> Request:
        """Build a request for the client of a lease."""
        if self.is_borrowed:
            return self._build(lease.client, sent)
        head = self._heads.get(sent.url)
        if head is None:
            from paradigm_transport.http.direct import Head  # httpcore takes long to import

            head = self._heads[sent.url] = Head(self._build(lease.client, Outgoing(sent.method, sent.url)))
        return head.request_with(sent, lease.trace)

    def _build(self, client: RequestBuilder, sent: Outgoing) -> Request:
        timeouts = sent.timeouts
        headers = {**self._headers(), **lower(sent.headers)}
        if timeouts is None:
            if self.is_borrowed and "timeout" not in self.settings.model_fields_set:
                return client.build_request(sent.method, sent.url, headers=headers, content=sent.body)
            timeouts = seconds_of(self.settings.timeout)
        return client.build_request(sent.method, sent.url, headers=headers, content=sent.body, timeout=timeouts)

    def _headers(self) -> dict[str, str]:
        own = {
            **self.settings.authentication,
            "content-type": "application/json",
            "user-agent": f"paradigm-llm/{__version__}",
        }
        # In lower case, so that a header of the user's replaces ours however it is written.
        return own | lower(self.settings.default_headers)


class _Factory:
    """Makes clients. Pools keep it, so it must not keep the object whose end closes them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def make(self, kind: type[OwnClient]) -> OwnClient:
        try:
            return kind(
                verify=self._ssl_context,
                limits=httpx.Limits(max_connections=None, keepalive_expiry=KEEPALIVE_SECONDS),
                # Cookies are not kept: several users of the object must not share a session.
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            )
        except (ValueError, ImportError, httpx.InvalidURL) as error:
            cause = Redaction(self._settings.secrets).words(str(error))
        raise InvalidParameterError(f"The proxy set in the environment cannot be used: {cause}")

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        return create_ssl_context(self._settings)


class Connections(_BaseConnections):
    """The connections of a sync client: opened when first needed, shared by threads, opened anew after a fork.

    Args:
        settings: how to reach the server; read at the first request.
    """

    def __init__(self, settings: Settings) -> None:
        self._borrowed: HTTPClient | None = settings.http_client
        super().__init__(settings, self._borrowed is not None)
        self._by_process: dict[int, SyncPool | BorrowedPool] = {}
        weakref.finalize(self, _close_own, self._by_process)

    def pool(self) -> SyncPool | BorrowedPool:
        """Return the pool of this process."""
        # Connections opened before a fork are the parent's: they stay, untouched, under its id.
        process = os.getpid()
        return self._by_process.get(process) or self._by_process.setdefault(process, self._make_pool())

    def _make_pool(self) -> SyncPool | BorrowedPool:
        if self._borrowed is not None:
            return BorrowedPool(self._borrowed)
        from paradigm_transport.http.direct import DirectClient  # httpcore takes long to import

        factory = self._factory
        return SyncPool(lambda: DirectClient(factory.make(httpx.Client)))

    def close(self) -> None:
        """End the calls in progress and close the connections; a client that was passed in stays open.

        The calls of this process end with an APIConnectionError. Later ones open new connections.
        """
        _close_own(self._by_process)


def _close_own(by_process: dict[int, SyncPool | BorrowedPool]) -> None:
    pool = by_process.pop(os.getpid(), None)
    if pool is not None:
        pool.close()


class AsyncConnections(_BaseConnections):
    """The connections of an async client: as `Connections`, with a pool for each event loop.

    Args:
        settings: how to reach the server; read at the first request.
    """

    def __init__(self, settings: Settings) -> None:
        self._borrowed: AsyncHTTPClient | None = settings.http_async_client
        super().__init__(settings, self._borrowed is not None)
        self._by_loop: dict[asyncio.AbstractEventLoop, AsyncPool | AsyncBorrowedPool] = {}
        weakref.finalize(self, _close_all, self._by_loop)

    def pool(self) -> AsyncPool | AsyncBorrowedPool:
        """Return the pool of the running event loop.

        Raises:
            InvalidParameterError: no event loop of asyncio is running.
        """
        loop = _running_loop()
        pool = self._by_loop.get(loop)
        if pool is None:
            _forget_closed_loops(self._by_loop)
            pool = self._by_loop[loop] = self._make_pool()
        return pool

    def _make_pool(self) -> AsyncPool | AsyncBorrowedPool:
        if self._borrowed is not None:
            return AsyncBorrowedPool(self._borrowed)
        from paradigm_transport.http.direct import AsyncDirectClient  # httpcore takes long to import

        factory = self._factory
        return AsyncPool(lambda: AsyncDirectClient(factory.make(httpx.AsyncClient)))

    async def aclose(self) -> None:
        """As `Connections.close`, for the calls and connections of the running event loop."""
        pool = self._by_loop.pop(_running_loop(), None)
        if pool is not None:
            await finish_closing(pool.aclose)  # a cancelled caller leaves nothing half closed


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    raise InvalidParameterError(
        "AsyncParadigmClient needs a running event loop of asyncio (or of uvloop); trio is not supported. "
        "Call it in `asyncio.run`, or use ParadigmClient."
    )


def _forget_closed_loops(by_loop: dict[asyncio.AbstractEventLoop, AsyncPool | AsyncBorrowedPool]) -> None:
    for loop in list(by_loop):
        if loop.is_closed():
            pool = by_loop.pop(loop, None)
            if pool is not None:  # otherwise another thread was first
                pool.forget()


def _close_all(by_loop: dict[asyncio.AbstractEventLoop, AsyncPool | AsyncBorrowedPool]) -> None:
    _forget_closed_loops(by_loop)
    for loop, pool in by_loop.items():
        close_on_loop(loop, pool.aclose)
