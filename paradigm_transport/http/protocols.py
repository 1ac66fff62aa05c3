"""The seam to an HTTP library: protocols of a client and of its responses.

The clients of httpx, httpx2 and httpx-aiohttp have these methods; so can a class written by hand. Its failures are
recognised by the name of the exception's class: httpx's names, or `OSError` (`TimeoutError` for a time-out).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

Request: TypeAlias = Any
"""A request of the client's own library; passed from `build_request` to `send`, and not looked into."""

Timeouts: TypeAlias = tuple[float | None, float | None, float | None, float | None]
"""The most seconds to connect, to read, to write and to wait for a free connection; None for no limit."""


class Outgoing(NamedTuple):
    """What is sent.

    Attributes:
        method: the HTTP method.
        url: the whole address.
        body: the JSON body.
        headers: further headers, which win over the settings'.
        timeouts: time-outs in place of the settings'.
    """

    method: str
    url: str
    body: bytes | None = None
    headers: Mapping[str, str] | None = None
    timeouts: Timeouts | None = None


def lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return headers by their names in lower case."""
    return {name.lower(): value for name, value in headers.items()} if headers else {}


class TimeoutLike(Protocol):
    """Time-outs by phase, as `httpx.Timeout` has them, in seconds; None for no limit."""

    @property
    def connect(self) -> float | None:
        """To connect."""

    @property
    def read(self) -> float | None:
        """To wait for the next bytes."""

    @property
    def write(self) -> float | None:
        """To send the next bytes."""


class RequestBuilder(Protocol):
    """Builds requests: what sync and async clients share."""

    def build_request(
        self, method: str, url: str, *, headers: dict[str, str], content: bytes | None, timeout: Timeouts = ...
    ) -> Request:
        """Build a request. Without `timeout`, the client's own time-outs hold."""


@runtime_checkable
class HTTPClient(RequestBuilder, Protocol):
    """A sync client."""

    def send(self, request: Request, *, stream: bool) -> HTTPResponse:
        """Send a request; return its response once the headers have arrived, with the body unread."""

    def close(self) -> None:
        """Close the client's connections. Not called on a client that was passed in."""


@runtime_checkable
class AsyncHTTPClient(RequestBuilder, Protocol):
    """An async client."""

    async def send(self, request: Request, *, stream: bool) -> AsyncHTTPResponse:
        """As `HTTPClient.send`."""

    async def aclose(self) -> None:
        """As `HTTPClient.close`."""


class ResponseHead(Protocol):
    """What sync and async responses share: all but the body."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, names in any case."""

    @property
    def extensions(self) -> Mapping[str, object]:
        """May hold a `NetworkStream` as `network_stream`; empty is fine."""

    @property
    def is_closed(self) -> bool:
        """Whether the body was read to its end, or the response closed."""


class HTTPResponse(ResponseHead, Protocol):
    """A sync response; one thread reads it, another may close it."""

    def iter_bytes(self) -> Iterator[bytes]:
        """Read the body in parts as they arrive, decompressed."""

    def close(self) -> None:
        """End the response. If the body was not read to its end, its connection cannot be used again."""


class AsyncHTTPResponse(ResponseHead, Protocol):
    """An async response."""

    def aiter_bytes(self) -> AsyncIterator[bytes]:
        """As `HTTPResponse.iter_bytes`."""

    async def aclose(self) -> None:
        """As `HTTPResponse.close`."""


@runtime_checkable
class NetworkStream(Protocol):
    """The connection under a response, as httpx has it in `extensions["network_stream"]`."""

    def get_extra_info(self, info: str) -> object:
        """Return the connection's socket for `info="socket"`; None if it has none."""
