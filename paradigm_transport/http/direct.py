"""Our own clients: each sends its requests straight over its one connection, once httpx has opened it.

`httpx.Client.send` handles event hooks, authentication, redirects and cookies, its transport and httpcore's pool look
for a connection. That takes half of a call, and is of no use here: the clients have no hooks and no cookies, and one
connection each. What is sent is seen all the same by a library that wraps what it would have passed through, as Sentry,
Datadog, OpenTelemetry, respx, pytest-httpx and vcrpy do, and in httpx's log: then each request takes the long way, as
do those over a proxy and over HTTP/2.

What is needed of httpx 0.28, httpcore 1.0 and h11 0.16 has no public access. If it moves, requests take the long way,
or h11 checks each head again; tests/transport/test_direct.py fails.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cached_property, lru_cache
from types import FunctionType
from typing import Any

import h11
import httpcore
import httpx

from paradigm_transport.http.protocols import Outgoing, lower
from paradigm_transport.http.reuse import connection_of

_httpx_log = logging.getLogger("httpx")


class Head:
    """What is the same in all requests to one address, which takes most of the time to build.

    Args:
        request: a request without a body.
    """

    def __init__(self, request: httpx.Request) -> None:
        request.headers.pop("content-length", None)
        self.request = request
        self.method = request.method.encode()
        self.raw = request.headers.raw
        url = request.url
        self.url = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)

    @cached_property
    def _checked(self) -> Any:
        """The headers as h11 keeps them once it has checked them, which takes longer than to send them."""
        return h11.Request(method=self.method, target=self.url.target, headers=self.raw).headers

    def headers_for(self, body: bytes | None) -> Any:
        """Return the headers of a request with a body, as h11 takes them."""
        if body is None:
            return self.raw
        length, checked = b"%d" % len(body), self._checked
        if not hasattr(checked, "_full_items"):
            return [*self.raw, (b"Content-Length", length)]
        return type(checked)([*checked._full_items, (b"Content-Length", b"content-length", length)])

    def request_with(self, sent: Outgoing, trace: Callable[..., object]) -> OwnRequest:
        """Return a request.

        Args:
            sent: what is sent.
            trace: takes httpcore's events, if the request may open a connection.
        """
        return OwnRequest(self, sent, trace)


class OwnRequest:
    """A request of our own clients, for httpx or for httpcore.

    Args:
        head: all but the body.
        sent: what is sent.
        trace: takes httpcore's events, if the request may open a connection.
    """

    __slots__ = ("head", "sent", "trace")

    def __init__(self, head: Head, sent: Outgoing, trace: Callable[..., object]) -> None:
        self.head = head
        self.sent = sent
        self.trace = trace

    def for_httpx(self) -> httpx.Request:
        """Return the request as httpx sends it."""
        head, sent = self.head.request, self.sent
        extensions = {**self._extensions(), "trace": self.trace}
        request = httpx.Request(sent.method, head.url, headers=head.headers, content=sent.body, extensions=extensions)
        request.headers.update(lower(sent.headers))
        return request

    def for_httpcore(self) -> httpcore.Request:
        """Return the request as httpcore sends it, over a connection that is open."""
        head, body = self.head, self.sent.body
        headers = self.for_httpx().headers.raw if self.sent.headers else head.headers_for(body)
        return _CoreRequest(head, headers, httpx.ByteStream(body or b""), self._extensions())

    def _extensions(self) -> dict[str, Any]:
        timeouts = self.sent.timeouts
        if timeouts is None:
            return self.head.request.extensions
        return {"timeout": dict(zip(("connect", "read", "write", "pool"), timeouts, strict=True))}


class _CoreRequest(httpcore.Request):
    """A request of httpcore, without the checks of what was sent before."""

    def __init__(self, head: Head, headers: Any, stream: httpx.ByteStream, extensions: dict[str, Any]) -> None:
        self.method, self.url = head.method, head.url
        self.headers = headers
        self.stream = stream
        self.extensions = extensions


class _BaseReply:
    """A response of httpcore, whose body is not compressed, in the place of httpx's."""

    def __init__(self, reply: httpcore.Response) -> None:
        self.status_code = reply.status
        self.headers = {name.decode("ascii"): value.decode("iso-8859-1") for name, value in reply.headers}
        self.extensions = reply.extensions
        self.stream: Any = reply.stream
        self.is_closed = False


class Reply(_BaseReply):
    """As `HTTPResponse`."""

    def iter_bytes(self) -> Iterator[bytes]:
        """Read the body; see `HTTPResponse.iter_bytes`."""
        yield from self.stream
        self.close()

    def close(self) -> None:
        """End the response; see `HTTPResponse.close`."""
        if not self.is_closed:
            self.is_closed = True
            self.stream.close()


class AsyncReply(_BaseReply):
    """As `Reply`, on an event loop."""

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """As `Reply.iter_bytes`."""
        async for part in self.stream:
            yield part
        await self.aclose()

    async def aclose(self) -> None:
        """As `Reply.close`."""
        if not self.is_closed:
            self.is_closed = True
            await self.stream.aclose()


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A stream of httpcore, as httpx takes it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _compressed(reply: httpcore.Response) -> httpx.Response | None:
    """Return a response as one of httpx if its body is compressed."""
    if all(name.lower() != b"content-encoding" for name, _ in reply.headers):
        return None
    return httpx.Response(reply.status, headers=reply.headers, stream=_Body(reply.stream), extensions=reply.extensions)


@lru_cache
def _are_plain(*methods: object) -> bool:
    """Whether methods are those of httpx and httpcore, and not wrapped."""
    own = ("httpx", "httpcore")
    return all(type(each) is FunctionType and each.__globals__["__name__"].partition(".")[0] in own for each in methods)


def _kinds_under(client: object, request: httpx.Request) -> tuple[type, type]:
    """Return the classes of the transport that a client sends a request by, and of its pool."""
    find = getattr(client, "_transport_for_url", None)
    transport = find(request.url) if find is not None else None
    return type(transport), type(getattr(transport, "_pool", None))


def _join_writes(state: Any) -> None:
    """Have a connection send the head of each request with what follows it: one packet, by one system call.

    Args:
        state: h11's. A request does not end with its head: its body follows, or its end.
    """
    send, head = state.send, b""

    def send_joined(event: h11.Event) -> bytes | None:
        nonlocal head
        data: bytes | None = send(event)
        if isinstance(event, h11.Request):
            head, data = data or b"", b""
        elif head:
            head, data = b"", head + (data or b"")
        return data

    state.send = send_joined


class DirectClient:
    """A sync client for one host, and one request at a time.

    Args:
        client: a client of httpx without hooks, authentication or cookies.
    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._connection: Any = None
        self.build_request = client.build_request

    def send(self, request: OwnRequest, *, stream: bool) -> httpx.Response | Reply:
        """Send a request; see `HTTPClient.send`."""
        connection = self._connection
        if connection is None or not connection.is_idle() or connection.has_expired() or not self._is_plain():
            return self._send(request.for_httpx(), stream)
        reply = connection.handle_request(request.for_httpcore())
        return _compressed(reply) or Reply(reply)

    def _is_plain(self) -> bool:
        """Whether nobody sees what takes the long way."""
        return not _httpx_log.isEnabledFor(logging.INFO) and _are_plain(
            type(self._client).send,
            getattr(type(self._client), "_send_single_request", None),
            httpx.HTTPTransport.handle_request,
            httpcore.ConnectionPool.handle_request,
            httpcore.HTTPConnection.handle_request,
        )

    def _send(self, request: httpx.Request, stream: bool) -> httpx.Response:
        response = self._client.send(request, stream=stream)
        kinds = _kinds_under(self._client, request)
        is_direct = kinds == (httpx.HTTPTransport, httpcore.ConnectionPool)  # and not over a proxy
        connection = connection_of(response) if is_direct else None
        if connection is not None and connection is not self._connection:
            _join_writes(connection._h11_state)
        self._connection = connection
        return response

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class AsyncDirectClient:
    """As `DirectClient`, on an event loop."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._connection: Any = None
        self.build_request = client.build_request

    async def send(self, request: OwnRequest, *, stream: bool) -> httpx.Response | AsyncReply:
        """As `DirectClient.send`."""
        connection = self._connection
        if connection is None or not connection.is_idle() or connection.has_expired() or not self._is_plain():
            return await self._send(request.for_httpx(), stream)
        reply = await connection.handle_async_request(request.for_httpcore())
        return _compressed(reply) or AsyncReply(reply)

    def _is_plain(self) -> bool:
        """As `DirectClient._is_plain`."""
        return not _httpx_log.isEnabledFor(logging.INFO) and _are_plain(
            type(self._client).send,
            getattr(type(self._client), "_send_single_request", None),
            httpx.AsyncHTTPTransport.handle_async_request,
            httpcore.AsyncConnectionPool.handle_async_request,
            httpcore.AsyncHTTPConnection.handle_async_request,
        )

    async def _send(self, request: httpx.Request, stream: bool) -> httpx.Response:
        response = await self._client.send(request, stream=stream)
        kinds = _kinds_under(self._client, request)
        is_direct = kinds == (httpx.AsyncHTTPTransport, httpcore.AsyncConnectionPool)  # and not over a proxy
        connection = connection_of(response) if is_direct else None
        if connection is not None and connection is not self._connection:
            _join_writes(connection._h11_state)
        self._connection = connection
        return response

    async def aclose(self) -> None:
        """As `DirectClient.close`."""
        await self._client.aclose()
