"""What the server answers when it does not answer: each refusal in its family's shape."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from paradigm_local.contract import InvalidRequest
from paradigm_local.engine import EngineError
from paradigm_local.faults import ConnectionCut, FaultInjected
from paradigm_local.generation import Interrupted

_RETRY_AFTER_SECONDS = 1.0
_CLIENT_LEFT = 499  # nginx's number; only the log sees it


class Overload(Exception):  # noqa: N818  a state, not a mistake
    """More requests wait than the queue holds."""


_MESSAGES: Mapping[type[Exception], tuple[int, str]] = {
    EngineError: (500, "The model failed."),
    FaultInjected: (500, "The model failed, as was asked for."),
    Interrupted: (503, "The server is shutting down."),
}


def refusal(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Give a refusal with a JSON body."""
    content = json.dumps(body, ensure_ascii=False)
    return Response(content, status, headers, media_type="application/json")


def too_many_requests(retry_after: float) -> Response:
    """Refuse for now; ``retry_after`` in seconds."""
    return refusal(429, {"detail": "Too many requests wait already."}, {"Retry-After": f"{retry_after:g}"})


def error_event(error: Exception) -> bytes:
    """Tell inside a stream, whose status has gone out already, what went wrong: as vLLM does."""
    if isinstance(error, InvalidRequest):
        status, message = 400, " ".join(message for messages in error.errors.values() for message in messages)
    else:
        status, message = _MESSAGES[type(error)]
    kind = "BadRequestError" if status == 400 else "InternalServerError"
    body = {"error": {"message": message, "type": kind, "param": None, "code": status}}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


class BrokenReply(Response):
    """A reply that ends in the middle: the server closes the connection before the promised length."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the beginning only."""
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"id":', "more_body": True})


async def _invalid(_: Request, error: Exception) -> Response:
    return refusal(400, cast("InvalidRequest", error).errors)


async def _http(_: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    return refusal(error.status_code, {"detail": error.detail}, error.headers)


async def _overload(_: Request, __: Exception) -> Response:
    return too_many_requests(_RETRY_AFTER_SECONDS)


async def _message(_: Request, error: Exception) -> Response:
    status, message = _MESSAGES[type(error)]
    return refusal(status, {"detail": message})


async def _bug(_: Request, __: Exception) -> Response:
    return refusal(500, {"detail": "The server has a bug; its log tells more."})


async def _cut(_: Request, __: Exception) -> Response:
    return BrokenReply()


async def _left(_: Request, __: Exception) -> Response:
    return Response(status_code=_CLIENT_LEFT)


HANDLERS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    InvalidRequest: _invalid,
    HTTPException: _http,
    Overload: _overload,
    ConnectionCut: _cut,
    ClientDisconnect: _left,
    Exception: _bug,
    **dict.fromkeys(_MESSAGES, _message),
}
"""The answer to each exception."""
