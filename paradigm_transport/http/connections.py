"""Connections to the server, sync and async. The only module that imports httpx.

`Connections` and `AsyncConnections` open an answer; what httpx raises comes out as errors of this library.
A client that was passed in may be of another library with the same interface, so errors are told by name.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import cached_property, lru_cache, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx
from typing_extensions import Self

from paradigm_transport._version import __version__
from paradigm_transport.errors import (
    APIConnectionError,
    APIResponseError,
    APITimeoutError,
    InvalidParameterError,
    ParadigmError,
)
from paradigm_transport.http.pool import KEEPALIVE_SECONDS, AsyncLease, AsyncPool, Lease, SyncPool
from paradigm_transport.http.settings import CONNECT_TIMEOUT, Settings

DRAIN_SECONDS = 0.5
DRAIN_BYTES = 64 * 1024


AnyClient = TypeVar("AnyClient", httpx.Client, httpx.AsyncClient)


class _Wire:
    """What sync and async connections share: what is sent with each request, and how a client is made."""

    def __init__(self, settings: Settings, borrowed: Any) -> None:
        self._settings = settings
        self._borrowed = borrowed
        self._heads: dict[str, httpx.Request] = {}
        self._opening = _Translated(settings.host, borrowed is not None, "could not be reached", _CONNECTION_HINT)
        self._reading = _Translated(settings.host, borrowed is not None, "broke off its answer", "")

    def _request(self, client: Any, method: str, path: str, body: bytes | None) -> Any:
        if self._borrowed is not None:
            return self._build(client, method, path, body)
        # All but the body is the same each time, and most of the work.
        like = self._heads.get(path)
        if like is None:
            like = self._build(client, method, path, None)
            like.headers.pop("content-length", None)
            self._heads[path] = like  # only now: other threads take it as it is
        return httpx.Request(method, like.url, headers=like.headers, content=body, extensions=like.extensions)

    def _build(self, client: Any, method: str, path: str, body: bytes | None) -> Any:
        options: dict[str, Any] = {}
        if self._borrowed is None or "timeout" in self._settings.model_fields_set:
            options["timeout"] = _timeout(self._settings.timeout)
        return client.build_request(
            method, f"{self._settings.base_url}/{path}", headers=self._headers(), content=body, **options
        )

    def _headers(self) -> dict[str, str]:
        own = {
            "authorization": f"Bearer {self._settings.api_key.get_secret_value()}",
            "content-type": "application/json",
            "user-agent": f"paradigm-llm/{__version__}",
        }
        # In lower case, so that a header of the user's takes the place of ours however it is written.
        return own | {name.lower(): value for name, value in (self._settings.default_headers or {}).items()}

    def _make(self, kind: Callable[..., AnyClient]) -> AnyClient:
        try:
            return kind(
                verify=self._ssl_context,
                limits=httpx.Limits(max_connections=None, keepalive_expiry=KEEPALIVE_SECONDS),
                # No cookie is kept: each request stands for itself, whoever of the object's users sent the last.
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            )
        except (ValueError, ImportError, httpx.InvalidURL) as problem:
            said = str(problem)
        raise InvalidParameterError(f"The proxy that the environment names cannot be used: {said}")

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        return _ssl_context(self._settings)


class Connections(_Wire):
    """The connections of a sync client; opened when first needed, shared by threads, made anew after a fork.

    Args:
        settings: how to reach the server, as they are at the first request.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, settings.http_client)
        self._by_process: dict[int, SyncPool] = {}
        weakref.finalize(self, _close_own, self._by_process)

    def open(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """Send a request; give its answer, whose body is still to be read.

        Raises:
            APIConnectionError: there is no answer, or an APITimeoutError: not in time.
        """
        lease = self._lease()
        try:
            with self._opening:
                response = lease.client.send(self._request(lease.client, method, path, body), stream=True)
        except BaseException:
            lease.end()
            raise
        return Answer(response, self._reading, lease)

    def close(self) -> None:
        """Close the connections. A later request opens new ones. A client that was passed in stays open."""
        _close_own(self._by_process)

    def _lease(self) -> Lease:
        if self._borrowed is not None:
            return Lease(self._borrowed)
        # Connections that were open before a fork belong to the parent: they are kept, untouched, under its id.
        process = os.getpid()
        pool = self._by_process.get(process) or self._by_process.setdefault(process, SyncPool())
        return pool.lease(partial(self._make, httpx.Client))


def _close_own(by_process: dict[int, SyncPool]) -> None:
    pool = by_process.pop(os.getpid(), None)
    if pool is not None:
        pool.close()


class AsyncConnections(_Wire):
    """The connections of an async client: as `Connections`, with a set of its own for each event loop.

    Args:
        settings: how to reach the server.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, settings.http_async_client)
        self._by_loop: dict[asyncio.AbstractEventLoop, AsyncPool] = {}
        weakref.finalize(self, _close_all_soon, self._by_loop)

    async def open(self, method: str, path: str, body: bytes | None = None) -> AsyncAnswer:
        """As `Connections.open`."""
        lease = await self._lease()
        try:
            with self._opening:
                response = await lease.client.send(self._request(lease.client, method, path, body), stream=True)
        except BaseException:
            await lease.end()
            raise
        return AsyncAnswer(response, self._reading, lease)

    async def aclose(self) -> None:
        """Close the connections of this event loop, as `Connections.close`."""
        pool = self._by_loop.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await asyncio.shield(_close_soon(pool.aclose))  # a caller that is cancelled leaves nothing half closed

    async def _lease(self) -> AsyncLease:
        if self._borrowed is not None:
            return AsyncLease(self._borrowed)
        loop = asyncio.get_running_loop()
        pool = self._by_loop.get(loop)
        if pool is None:
            _forget_closed(self._by_loop)
            # Nothing is awaited up to the assignment, so no other task of this loop can come between.
            pool = self._by_loop[loop] = AsyncPool()
            await pool.bind()
        return await pool.lease(partial(self._make, httpx.AsyncClient))


def _forget_closed(by_loop: dict[asyncio.AbstractEventLoop, AsyncPool]) -> None:
    for loop in list(by_loop):
        if loop.is_closed():
            pool = by_loop.pop(loop, None)
            if pool is not None:  # another thread was first
                pool.forget()


def _close_all_soon(by_loop: dict[asyncio.AbstractEventLoop, AsyncPool]) -> None:
    _forget_closed(by_loop)
    for loop, pool in by_loop.items():
        _call_soon(loop, pool.aclose)


class AnyAnswer:
    """What sync and async answers share.

    Attributes:
        status: the HTTP status.
        is_success: the status is one of the 200s.
        headers: names in lower case.
    """

    def __init__(self, response: Any, reading: _Translated) -> None:
        self._response = response
        self._reading = reading
        self.status: int = response.status_code
        self.is_success = 200 <= self.status < 300
        self.headers: dict[str, str] = {name.lower(): value for name, value in response.headers.items()}


class Answer(AnyAnswer):
    """An answer whose head has come; to be closed, by `close` or `with`. One that is dropped closes itself."""

    def __init__(self, response: Any, reading: _Translated, lease: Lease) -> None:
        self._lease = lease
        self._process = os.getpid()
        lease.shut_down = partial(_shut_down, response)  # not a method: what is held by the pool could not be dropped
        super().__init__(response, reading)
        self._parts = response.iter_bytes()

    def read(self) -> bytes:
        """The whole body."""
        with self._reading:
            body: bytes = self._response.read()
        return body

    def next_part(self) -> bytes | None:
        """What came next of the body; None at its end."""
        with self._reading:
            part: bytes | None = next(self._parts, None)
        return part

    def drain(self) -> None:
        """Read the few bytes after the last event, so that the connection can serve again.

        A server that does not come to an end within DRAIN_SECONDS or DRAIN_BYTES loses the connection.
        """
        # The read time-out, which httpx has taken in at the start, is too long, and only another thread can
        # end a read under way.
        end = threading.Lock()  # taken by whoever is first: the time or the end

        def give_up() -> None:
            if end.acquire(blocking=False):
                _shut_down(self._response)

        watch = threading.Timer(DRAIN_SECONDS, give_up)
        watch.daemon = True
        watch.start()
        try:
            self._read_rest()
        finally:
            watch.cancel()
            if not end.acquire(blocking=False):
                watch.join()  # or it would shut down the connection under the next request

    def _read_rest(self) -> None:
        left = DRAIN_BYTES
        try:
            while left > 0 and (part := self.next_part()) is not None:
                left -= len(part)
        except ParadigmError:
            pass  # the text is whole; only the connection is lost

    def close(self) -> None:
        """Give the connection back, or close it where the body is not at its end."""
        if not self._response.is_closed and self._process == os.getpid():  # not the parent's, in a fork
            # Closing alone wakes no thread that waits on it, and tells the server nothing while a fork holds it too.
            _shut_down(self._response)
        with self._reading:
            _close(self._response, self._lease)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._lease.ended:
            self.close()


class AsyncAnswer(AnyAnswer):
    """As `Answer`."""

    def __init__(self, response: Any, reading: _Translated, lease: AsyncLease) -> None:
        self._lease = lease
        self._loop = asyncio.get_running_loop()
        super().__init__(response, reading)
        self._parts = response.aiter_bytes()

    async def read(self) -> bytes:
        """The whole body."""
        with self._reading:
            body: bytes = await self._response.aread()
        return body

    async def next_part(self) -> bytes | None:
        """What came next of the body; None at its end."""
        with self._reading:
            part: bytes | None = await anext(self._parts, None)
        return part

    async def drain(self) -> None:
        """As `Answer.drain`."""
        with anyio.move_on_after(DRAIN_SECONDS):  # asyncio.wait_for of Python 3.10 and 3.11 loses cancellations
            await self._read_rest()

    async def _read_rest(self) -> None:
        left = DRAIN_BYTES
        try:
            while left > 0 and (part := await self.next_part()) is not None:
                left -= len(part)
        except ParadigmError:
            pass  # the text is whole; only the connection is lost

    async def aclose(self) -> None:
        """As `Answer.close`."""
        with self._reading:
            await _aclose(self._response, self._lease)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not self._lease.ended:
            _call_soon(self._loop, partial(_aclose, self._response, self._lease))


def _shut_down(response: Any) -> None:
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    with suppress(OSError):  # it is closed already
        if connection is not None:
            connection.shutdown(socket.SHUT_RDWR)


def _close(response: Any, lease: Lease) -> None:
    try:
        response.close()
    finally:
        lease.end()


async def _aclose(response: Any, lease: AsyncLease) -> None:
    try:
        await response.aclose()
    finally:
        await lease.end()


_closing: set[asyncio.Task[None]] = set()


def _call_soon(loop: asyncio.AbstractEventLoop, aclose: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with suppress(RuntimeError):  # the loop is closed, perhaps by another thread just now
        loop.call_soon_threadsafe(_close_soon, aclose)


def _close_soon(aclose: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
    task = asyncio.ensure_future(aclose())
    _closing.add(task)  # a loop holds its tasks weakly
    task.add_done_callback(_closed)
    return task


def _closed(task: asyncio.Task[None]) -> None:
    _closing.discard(task)
    if not task.cancelled():
        task.exception()  # seen; nobody waits for it


class _Translated:
    """Turns what httpx, or a library like it, raises within a `with` into errors of this library.

    Args:
        host: the host that was called.
        is_borrowed: the client was passed in.
        broken: what the host did where it was not slow but the connection failed.
        hint: what can be done about that.
    """

    def __init__(self, host: str, is_borrowed: bool, broken: str, hint: str) -> None:
        self._host = host
        self._is_borrowed = is_borrowed
        self._broken = broken
        self._hint = hint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if kind is not None:
            names = {base.__name__ for base in kind.__mro__}
            translation = self._translate(names, kind is RuntimeError, f"{kind.__name__}: {error}".removesuffix(": "))
            if translation is not None:
                raise translation from None

    def _translate(self, names: set[str], is_runtime_error: bool, said: str) -> ParadigmError | None:
        if "ConnectTimeout" in names:
            return APITimeoutError(f"{self._host} did not answer in time ({said}). {_CONNECTION_HINT}")
        if "TimeoutException" in names:
            return APITimeoutError(f"{self._host} did not answer in time ({said}). {_TIMEOUT_HINT}")
        if "DecodingError" in names:
            return APIResponseError(f"{self._host} sent a body that cannot be unpacked ({said}).")
        # Of a RuntimeError: the client is closed, or belongs to another event loop.
        if is_runtime_error and self._is_borrowed:
            return InvalidParameterError(f"The client that was passed in cannot be used here ({said}).")
        if is_runtime_error or not names.isdisjoint(_BROKEN):
            return APIConnectionError(f"{self._host} {self._broken} ({said}). {self._hint}".rstrip())
        return None


# An OSError that is none of httpx's slips through it now and then: an SSLError while reading.
_BROKEN = {"HTTPError", "StreamError", "InvalidURL", "OSError"}
_TIMEOUT_HINT = "Raise timeout, or ask for fewer tokens."
_CONNECTION_HINT = "Check base_url (or PARADIGM_BASE_URL), the network and the proxy."


def _timeout(timeout: Any) -> tuple[float | None, float | None, float | None, None]:
    """To connect, to read and to write; a tuple, which libraries like httpx take too.

    Waiting for a free connection has no bound: calls over the limit queue.
    """
    if timeout is None:
        return None, None, None, None
    if hasattr(timeout, "connect"):
        return timeout.connect, timeout.read, timeout.write, None
    return min(timeout, CONNECT_TIMEOUT), timeout, timeout, None


@lru_cache(maxsize=4)
def _usual_ssl_context(file: str | None, folder: str | None) -> ssl.SSLContext:
    # Reading the authorities takes longer than many a request, so objects share them.
    if file or folder:
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    return httpx.create_ssl_context()


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    verify, cert = settings.verify, settings.cert
    try:
        if verify is True and cert is None:
            return _usual_ssl_context(*map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))
        if isinstance(verify, (str, os.PathLike)):
            is_folder = Path(verify).is_dir()
            verify = ssl.create_default_context(
                cafile=None if is_folder else str(verify), capath=str(verify) if is_folder else None
            )
        context = httpx.create_ssl_context(verify=verify)
        if cert is not None:
            context.load_cert_chain(*([cert] if isinstance(cert, str) else cert))
    except OSError as problem:  # an SSLError is one
        said = f"{type(problem).__name__}: {problem}"
    else:
        return context
    raise InvalidParameterError(f"verify, cert or SSL_CERT_FILE cannot be used ({said})")
