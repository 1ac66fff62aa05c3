"""Checks of the head of each request: its size, and whether it is meant for this server.

A web page can send requests to a server on its reader's machine and, by DNS rebinding, read the replies. The `Host` or
`Origin` header of such a request names the host of the page.
"""

import re
from collections.abc import Iterable, Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from paradigm_local.hosts import is_loopback
from paradigm_local.refusals import refusal

MAX_HEAD_BYTES = 16 << 10

_SHOWN_CHARACTERS = 100
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::[0-9]{1,5})?")


class RequestGuard:
    """ASGI middleware that refuses requests for other hosts, requests from web pages of other hosts, and large heads.

    Loopback hosts, and the address that the connection was made to, are always allowed.

    Args:
        app: the application to protect.
        allowed_hosts: further host names and addresses to allow, as `read_host` returns them.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str]) -> None:
        self._app = app
        self._allowed_hosts = frozenset(allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        problem = self._problem(scope)
        app = self._app if problem is None else refusal(problem[0], {"detail": problem[1]})
        await app(scope, receive, send)

    def _problem(self, scope: Scope) -> tuple[int, str] | None:
        """Return the status and the reason for refusing a request, or None."""
        if _head_size(scope) > MAX_HEAD_BYTES:
            return 431, f"The path and the headers may have at most {MAX_HEAD_BYTES} bytes."
        headers = Headers(scope=scope)
        for host in headers.getlist("host") or [""]:
            if not self._allows(host, scope["server"]):
                return 403, f"The host {_shown(host)} is not allowed; {_ADVICE}"
        for origin in headers.getlist("origin"):
            if not self._allows(origin.partition("://")[2], scope["server"]):
                return 403, f"Requests from web pages of {_shown(origin)} are not allowed; {_ADVICE}"
        return None

    def _allows(self, authority: str, server: Sequence[object]) -> bool:
        match = _AUTHORITY.fullmatch(authority)
        if match is None:
            return False
        host = match[1].strip("[]").lower()
        return is_loopback(host) or host in self._allowed_hosts or host == server[0]


_ADVICE = "use the server's own URL, or allow the host with --allowed-host or LocalParadigm(allowed_hosts=[…])."


def _head_size(scope: Scope) -> int:
    fields = sum(len(name) + len(value) for name, value in scope["headers"])
    return fields + len(scope["raw_path"]) + len(scope["query_string"])


def _shown(text: str) -> str:
    return repr(text[:_SHOWN_CHARACTERS])
