"""Responses other than 200, each in the shape that its kind has at Paradigm."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from paradigm_local.contract import InvalidRequest
from paradigm_local.engine import EngineError
from paradigm_local.faults import ConnectionCut, FaultInjected
from paradigm_local.generation import Interrupted

_RETRY_AFTER_SECONDS = 1.0
_CLIENT_CLOSED_REQUEST = 499  # nginx's number; it appears in the log only


class Overload(Exception):  # noqa: N818  not a failure
    """The queue of requests is full."""


_MESSAGES: Mapping[type[Exception], tuple[int, str]] = {
    EngineError: (500, "The model failed."),
    FaultInjected: (500, "The model failed, because a fault was requested."),
    Interrupted: (503, "The server is shutting down."),
}


def refusal(status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with a JSON body."""
    content = json.dumps(body, ensure_ascii=False)
    return Response(content, status, headers, media_type="application/json")


def too_many_requests(retry_after: float) -> Response:
    """Return a 429; ``retry_after`` is in seconds."""
    return refusal(
        429, {"detail": "Too many requests: wait before you send more."}, {"Retry-After": f"{retry_after:g}"}
    )


def error_event(error: Exception) -> bytes:
    """Return the event for an error inside a stream, whose status has been sent already; same shape as vLLM's."""
    if isinstance(error, InvalidRequest):
        status, message = 400, " ".join(message for messages in error.errors.values() for message in messages)
    else:
        status, message = _MESSAGES[type(error)]
    kind = "BadRequestError" if status == 400 else "InternalServerError"
    body = {"error": {"message": message, "type": kind, "param": None, "code": status}}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


class BrokenReply(Response):
    """A reply that is cut in the middle: the server closes the connection before the declared length."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send only the beginning."""
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"id":', "more_body": True})


async def _on_invalid_request(_: Request, error: Exception) -> Response:
    return refusal(400, cast("InvalidRequest", error).errors)


async def _on_http_exception(_: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    return refusal(error.status_code, {"detail": error.detail}, error.headers)


async def _on_overload(_: Request, __: Exception) -> Response:
    return too_many_requests(_RETRY_AFTER_SECONDS)


async def _on_failure(_: Request, error: Exception) -> Response:
    status, message = _MESSAGES[type(error)]
    return refusal(status, {"detail": message})


async def _on_bug(_: Request, __: Exception) -> Response:
    return refusal(500, {"detail": "Internal server error; the server's log has the traceback."})


async def _on_cut(_: Request, __: Exception) -> Response:
    return BrokenReply()


async def _on_disconnect(_: Request, __: Exception) -> Response:
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


HANDLERS: Mapping[object, Callable[[Request, Exception], Awaitable[Response]]] = {
    InvalidRequest: _on_invalid_request,
    HTTPException: _on_http_exception,
    Overload: _on_overload,
    ConnectionCut: _on_cut,
    ClientDisconnect: _on_disconnect,
    Exception: _on_bug,
    **dict.fromkeys(_MESSAGES, _on_failure),
}
"""The handler of each exception, for Starlette."""
