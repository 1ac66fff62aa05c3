"""Errors of an HTTP library, as errors of this one."""

from __future__ import annotations

import re
from collections.abc import Callable

from paradigm_transport.errors import (
    APIConnectionError,
    APIResponseError,
    APITimeoutError,
    InvalidParameterError,
    ParadigmError,
)
from paradigm_transport.http.scopes import CallScope

CONNECTION_HINT = "Check base_url (or PARADIGM_BASE_URL), the network and the proxy."
TIMEOUT_HINT = "Raise timeout, or ask for fewer tokens."

_TIMEOUTS = {"TimeoutException", "TimeoutError"}
# httpx lets an OSError through now and then (an SSLError while reading), httpx-aiohttp a ClientError of aiohttp. Those
# of httpcore are named as httpx's are, but have no base in common.
_FAILURES = {"HTTPError", "StreamError", "InvalidURL", "OSError", "ClientError", "NetworkError", "ProtocolError"}


_BYTES = r"\b(?:bytearray\(|b['\"])"
"""How libraries quote the bytes of a line that they cannot read."""


class translate_errors:  # noqa: N801  # a context manager, named as those of contextlib are
    """Map the errors of httpx, or of a library like it, to errors of this library, within a `with`.

    Classes are recognised by name, for a client that was passed in may be of a library that is not imported here.
    One object serves any number of `with` statements, in any threads.

    Args:
        host: the host that is called.
        is_borrowed: the client was passed in.
        scope: the scope of the call.
        redact: makes the library's words fit for a message.
        failure: what the message says of the host if the connection failed ("could not be reached").
        hint: what the user can do about that.

    Raises:
        APITimeoutError: connecting, sending or reading took too long.
        APIConnectionError: the connection failed, or the calls of the scope have ended.
        APIResponseError: the body cannot be decompressed.
        InvalidParameterError: the client that was passed in is closed, or belongs to another event loop.
    """

    def __init__(
        self,
        host: str,
        is_borrowed: bool,
        scope: CallScope,
        redact: Callable[[str], str],
        failure: str,
        hint: str = "",
    ) -> None:
        self._host = host
        self._is_borrowed = is_borrowed
        self._scope = scope
        self._redact = redact
        self._failure = failure
        self._hint = hint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            self.translate(error)

    def translate(self, error: BaseException) -> None:
        """Raise this library's error for a caught one; return if it has none."""
        translation = self._translate(type(error), str(error))
        if translation is not None:
            raise self._scope.error or translation from None

    def _translate(self, kind: type[BaseException], words: str) -> ParadigmError | None:
        names = {base.__name__ for base in kind.__mro__}
        cause = f"{kind.__name__}: {self._redact(_without_bytes(words))}".removesuffix(": ")
        if "ConnectTimeout" in names:
            return APITimeoutError(f"{self._host} did not respond in time ({cause}). {CONNECTION_HINT}")
        if not names.isdisjoint(_TIMEOUTS):
            return APITimeoutError(f"{self._host} did not respond in time ({cause}). {TIMEOUT_HINT}")
        if "DecodingError" in names:
            return APIResponseError(f"{self._host} sent a body that cannot be decompressed ({cause}).")
        # A RuntimeError means that the client is closed, or belongs to another event loop.
        if kind is RuntimeError and self._is_borrowed:
            return InvalidParameterError(f"The client that was passed in cannot be used here ({cause}).")
        if kind is RuntimeError or not names.isdisjoint(_FAILURES):
            return APIConnectionError(f"{self._host} {self._failure} ({cause}). {self._hint}".rstrip())
        return None


def _without_bytes(words: str) -> str:
    """Cut an error's words before the bytes that it quotes: they may hold a part of the prompt, which is not found."""
    quoted = re.search(_BYTES, words)
    return words if quoted is None else f"{words[: quoted.start()]}…"
