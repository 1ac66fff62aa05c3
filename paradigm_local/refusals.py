"""What the server answers when it does not answer: each refusal in its family's shape."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from paradigm_local.contract import InvalidRequest
from paradigm_local.engine import EngineError

RETRY_AFTER_SECONDS = 1

_CLIENT_LEFT = 499  # nginx's number; nobody but the log sees it


class Overload(Exception):  # noqa: N818  a state, not a mistake
    """More requests wait than the queue holds."""


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidRequest)  # noqa: S101  tells the type checker
    return refusal(400, error.errors)


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  tells the type checker
    return refusal(error.status_code, {"detail": error.detail}, error.headers)


async def _overload(_: Request, __: Exception) -> Response:
    return too_many_requests(RETRY_AFTER_SECONDS)


async def _failure(_: Request, __: Exception) -> Response:
    return refusal(500, {"detail": "The model failed."})


async def _left(_: Request, __: Exception) -> Response:
    return Response(status_code=_CLIENT_LEFT)


def too_many_requests(retry_after: float) -> Response:
    """Refuse for now; ``retry_after`` in seconds."""
    headers = {"Retry-After": f"{retry_after:g}"}
    return refusal(429, {"detail": "Too many requests wait already."}, headers)


def refusal(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Give a refusal with a JSON body."""
    content = json.dumps(body, ensure_ascii=False)
    return Response(content, status, headers, media_type="application/json")


HANDLERS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    InvalidRequest: _invalid,
    HTTPException: _http,
    Overload: _overload,
    EngineError: _failure,
    ClientDisconnect: _left,
}
"""The refusal for each exception."""
