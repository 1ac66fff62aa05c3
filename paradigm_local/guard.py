"""Checks of a request's head, before any route sees it: its size, and whether the request is meant for this server.

A web page can send requests to a server on its reader's machine, and by DNS rebinding also read the replies. Browsers
show it: `Host` or `Origin` then name the host of the page.
"""

import re
from collections.abc import Iterable, Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from paradigm_local.hosts import is_loopback
from paradigm_local.refusals import refusal

MOST_HEAD_BYTES = 16 << 10

_SHOWN_CHARACTERS = 100
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::[0-9]{1,5})?")


class RequestGuard:
    """ASGI middleware that refuses requests for other hosts, requests of foreign web pages, and oversized heads.

    Loopback names and addresses are always allowed, and the address that the connection was made to.

    Args:
        app: the application behind it.
        allowed_hosts: host names and addresses that are allowed, too, as `read_host` returns them.
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
        """The status and the reason of a refusal; None if there is nothing to refuse."""
        if _head_size(scope) > MOST_HEAD_BYTES:
            return 431, f"The path and the headers may have at most {MOST_HEAD_BYTES} bytes."
        headers = Headers(scope=scope)
        for host in headers.getlist("host") or [""]:
            if not self._allows(host, scope["server"]):
                return 403, f"The host {_shown(host)} is not allowed; {_ADVICE}"
        for origin in headers.getlist("origin"):
            if not self._allows(origin.partition("://")[2], scope["server"]):
                return 403, f"Requests of web pages from {_shown(origin)} are not allowed; {_ADVICE}"
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
