"""Connections to the server, sync and async: heads of requests, and a pool per process and per event loop."""

from __future__ import annotations

import asyncio
import os
import ssl
import weakref
from collections.abc import Mapping
from functools import cached_property, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import NamedTuple, TypeVar

import httpx

from paradigm_transport._version import __version__
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.http.pool import KEEPALIVE_SECONDS, AsyncLease, AsyncPool, Lease, SyncPool
from paradigm_transport.http.protocols import AsyncHTTPClient, HTTPClient, Request, RequestBuilder, Timeouts
from paradigm_transport.http.responses import AsyncResponse, Response, close_on_loop, start_closing
from paradigm_transport.http.settings import Settings
from paradigm_transport.http.timeouts import seconds_of
from paradigm_transport.http.tls import create_ssl_context
from paradigm_transport.http.translate import CONNECTION_HINT, translate_errors

OwnClient = TypeVar("OwnClient", httpx.Client, httpx.AsyncClient)


class Outgoing(NamedTuple):
    """What is sent.

    Attributes:
        method: the HTTP method.
        path: the path under the base URL, without a slash in front.
        body: the JSON body.
        headers: further headers, which win over the settings'.
        timeouts: time-outs in place of the settings'.
    """

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] | None = None
    timeouts: Timeouts | None = None


class _BaseConnections:
    """What sync and async connections share: the head of each request, and how a client is made."""

    def __init__(self, settings: Settings, is_borrowed: bool) -> None:
        self._settings = settings
        self._is_borrowed = is_borrowed
        self._heads: dict[str, httpx.Request] = {}
        self._opening = translate_errors(settings.host, is_borrowed, "could not be reached", CONNECTION_HINT)
        self._reading = translate_errors(settings.host, is_borrowed, "ended its response early")

    def _request(self, client: RequestBuilder, sent: Outgoing) -> Request:
        if self._is_borrowed:
            return self._build(client, sent)
        # Everything but the body is the same each time, and takes most of the time to build.
        head = self._heads.get(sent.path)
        if head is None:
            head = self._build(client, Outgoing(sent.method, sent.path))
            head.headers.pop("content-length", None)
            self._heads[sent.path] = head  # only when finished: other threads use it as it is
        extensions = head.extensions
        if sent.timeouts is not None:
            extensions = {**extensions, "timeout": httpx.Timeout(sent.timeouts).as_dict()}
        request = httpx.Request(sent.method, head.url, headers=head.headers, content=sent.body, extensions=extensions)
        if sent.headers:
            request.headers.update(_lower(sent.headers))
        return request

    def _build(self, client: RequestBuilder, sent: Outgoing) -> Request:
        url, timeouts = f"{self._settings.base_url}/{sent.path}", sent.timeouts
        headers = {**self._headers(), **_lower(sent.headers)}
        if timeouts is None:
            if self._is_borrowed and "timeout" not in self._settings.model_fields_set:
                return client.build_request(sent.method, url, headers=headers, content=sent.body)
            timeouts = seconds_of(self._settings.timeout)
        return client.build_request(sent.method, url, headers=headers, content=sent.body, timeout=timeouts)

    def _headers(self) -> dict[str, str]:
        own = {
            "authorization": f"Bearer {self._settings.key}",
            "content-type": "application/json",
            "user-agent": f"paradigm-llm/{__version__}",
        }
        # In lower case, so that a header of the user's replaces ours however it is written.
        return own | _lower(self._settings.default_headers)

    def _make_client(self, kind: type[OwnClient]) -> OwnClient:
        try:
            return kind(
                verify=self._ssl_context,
                limits=httpx.Limits(max_connections=None, keepalive_expiry=KEEPALIVE_SECONDS),
                # Cookies are not kept: several users of the object must not share a session.
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            )
        except (ValueError, ImportError, httpx.InvalidURL) as error:
            cause = str(error)
        raise InvalidParameterError(f"The proxy set in the environment cannot be used: {cause}")

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        return create_ssl_context(self._settings)


def _lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}


class Connections(_BaseConnections):
    """The connections of a sync client: opened when first needed, shared by threads, opened anew after a fork.

    Args:
        settings: how to reach the server; read at the first request.
    """

    def __init__(self, settings: Settings) -> None:
        self._borrowed: HTTPClient | None = settings.http_client
        super().__init__(settings, self._borrowed is not None)
        self._by_process: dict[int, SyncPool] = {}
        weakref.finalize(self, _close_own, self._by_process)

    def open(self, sent: Outgoing) -> Response:
        """Send a request.

        Args:
            sent: the request.

        Returns:
            The response, whose body is still to be read.

        Raises:
            APIConnectionError: the server cannot be reached.
            APITimeoutError: it does not respond in time.
            InvalidParameterError: the proxy, a TLS file or the client that was passed in cannot be used.
        """
        lease = self._acquire()
        try:
            with self._opening:
                request = self._request(lease.client, sent)
                response = lease.client.send(request, stream=True)
        except BaseException:
            lease.release()
            raise
        return Response(response, self._reading, lease, self._settings.max_response_bytes)

    def close(self) -> None:
        """Close the connections. A later request opens new ones. A client that was passed in stays open."""
        _close_own(self._by_process)

    def _acquire(self) -> Lease:
        if self._borrowed is not None:
            return Lease(self._borrowed)
        # Connections opened before a fork are the parent's: they stay, untouched, under its id.
        process = os.getpid()
        pool = self._by_process.get(process) or self._by_process.setdefault(process, SyncPool())
        return pool.acquire(partial(self._make_client, httpx.Client))


def _close_own(by_process: dict[int, SyncPool]) -> None:
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
        self._by_loop: dict[asyncio.AbstractEventLoop, AsyncPool] = {}
        weakref.finalize(self, _close_all, self._by_loop)

    async def open(self, sent: Outgoing) -> AsyncResponse:
        """As `Connections.open`."""
        lease = await self._acquire()
        try:
            with self._opening:
                request = self._request(lease.client, sent)
                response = await lease.client.send(request, stream=True)
        except BaseException:
            await lease.release()
            raise
        return AsyncResponse(response, self._reading, lease, self._settings.max_response_bytes)

    async def aclose(self) -> None:
        """Close the connections of the running event loop, as `Connections.close`."""
        pool = self._by_loop.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await asyncio.shield(start_closing(pool.aclose))  # a cancelled caller leaves nothing half closed

    async def _acquire(self) -> AsyncLease:
        if self._borrowed is not None:
            return AsyncLease(self._borrowed)
        loop = asyncio.get_running_loop()
        pool = self._by_loop.get(loop)
        if pool is None:
            _forget_closed_loops(self._by_loop)
            # Nothing is awaited before the assignment, so no other task of this loop can come between.
            pool = self._by_loop[loop] = AsyncPool()
            await pool.bind()
        return await pool.acquire(partial(self._make_client, httpx.AsyncClient))


def _forget_closed_loops(by_loop: dict[asyncio.AbstractEventLoop, AsyncPool]) -> None:
    for loop in list(by_loop):
        if loop.is_closed():
            pool = by_loop.pop(loop, None)
            if pool is not None:  # otherwise another thread was first
                pool.forget()


def _close_all(by_loop: dict[asyncio.AbstractEventLoop, AsyncPool]) -> None:
    _forget_closed_loops(by_loop)
    for loop, pool in by_loop.items():
        close_on_loop(loop, pool.aclose)
