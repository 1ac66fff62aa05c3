"""Clients that pass requests straight to the transport of an httpx client, past what our own clients do not have.

`httpx.Client.send` handles event hooks, authentication, redirects and cookies, which takes a fifth of a call. Clients
made here have none of them. What is sent is seen all the same:

- by a library that wraps the methods of httpx's clients, as Sentry, Datadog and vcrpy do, and by whoever reads httpx's
  log: then each request takes the long way;
- by a library that wraps the transports of httpx or httpcore, as OpenTelemetry, respx and pytest-httpx do: they are
  called on either way.
"""

from __future__ import annotations

import logging
from types import FunctionType
from typing import Any

import httpx

from paradigm_transport.http.protocols import Request

_logger = logging.getLogger("httpx")
_PLAIN = vars(httpx).get("_client")
"""The module that httpx's own methods are defined in; without it, requests take the long way."""


def _is_watched(kind: type[Any]) -> bool:
    """Whether somebody sees what the methods of a client send: httpx's log is read, or they are wrapped."""
    return _logger.isEnabledFor(logging.INFO) or not (_is_plain(kind.send) and _is_plain(kind._send_single_request))


def _is_plain(method: Any) -> bool:
    return type(method) is FunctionType and method.__globals__ is getattr(_PLAIN, "__dict__", None)


class DirectClient:
    """A sync client for one host.

    Args:
        client: a client without hooks, authentication or cookies.
    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._transport: httpx.BaseTransport | None = None
        self.build_request = client.build_request

    def send(self, request: Request, *, stream: bool) -> httpx.Response:
        """Send a request; see `HTTPClient.send`."""
        if _is_watched(type(self._client)):
            return self._client.send(request, stream=stream)
        if self._transport is None:
            self._transport = self._client._transport_for_url(request.url)
        return self._transport.handle_request(request)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class AsyncDirectClient:
    """As `DirectClient`, on an event loop."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._transport: httpx.AsyncBaseTransport | None = None
        self.build_request = client.build_request

    async def send(self, request: Request, *, stream: bool) -> httpx.Response:
        """As `DirectClient.send`."""
        if _is_watched(type(self._client)):
            return await self._client.send(request, stream=stream)
        if self._transport is None:
            self._transport = self._client._transport_for_url(request.url)
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """As `DirectClient.close`."""
        await self._client.aclose()
