"""The errors of the transport, and how a reply becomes one.

    ParadigmError                       catches everything below
    ├── InvalidParameterError           an argument was refused before anything was sent (also a ValueError)
    ├── APIConnectionError              no answer: name not found, refused, reset, TLS, proxy
    │   ├── APITimeoutError             no answer in time
    │   └── StreamInterruptedError      a stream ended before its end
    ├── APIResponseError                an answer that is not a completion
    └── APIStatusError                  the server refused, with its status
        ├── BadRequestError             400
        ├── AuthenticationError         401
        ├── PermissionDeniedError       403
        ├── NotFoundError               404
        ├── UnprocessableEntityError    422
        ├── RateLimitError              429
        └── ServerError                 500 and above

No message holds the key, and none the prompt as a whole: the server's words are clipped and both are
struck out of them.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic_core import from_json
from typing_extensions import Self

MESSAGE_LIMIT = 500
"""The most characters of the server's words that go into a message."""

MIN_STRUCK_PROMPT = 12
"""Prompts of fewer characters are not struck out of a server's words: common words would go with them."""


class ParadigmError(Exception):
    """The base of every error this library raises.

    Args:
        message: what went wrong, in one line for people; `str(error)` gives it.

    Attributes:
        partial_text: what a stream had handed out before it failed; empty where nothing had.
    """

    def __init__(self, message: str, *, partial_text: str = "") -> None:
        super().__init__(message)
        self.partial_text = partial_text

    def bare(self) -> Self:
        """This error without the frames it came through: they hold the request's headers, and so the key."""
        self.__context__ = None
        return self.with_traceback(None)

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders (worker pools); the default would call __init__ without its keywords.
        return rebuild, (type(self), self.args, self.__dict__)


def rebuild(kind: type[ParadigmError], args: tuple[Any, ...], state: dict[str, Any]) -> ParadigmError:
    """An error of a kind, as it was pickled."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidParameterError(ParadigmError, ValueError):
    """An argument has a wrong name, type or range; nothing was sent."""


class APIConnectionError(ParadigmError):
    """The server could not be reached, or the connection broke before the answer was whole."""


class APITimeoutError(APIConnectionError):
    """Connecting, sending or waiting for the next byte took longer than `timeout` allows."""


class StreamInterruptedError(APIConnectionError):
    """A stream ended with neither a finish reason nor `[DONE]`; `partial_text` is what had come."""


class APIResponseError(ParadigmError):
    """The server answered with something that is not a completion.

    Attributes:
        body: what it answered, as far as it was read.
        request_id: the server's id of the request; None where it gave none.
    """

    def __init__(
        self,
        message: str,
        *,
        body: Any = None,
        request_id: str | None = None,
        partial_text: str = "",
    ) -> None:
        super().__init__(message, partial_text=partial_text)
        self.body = body
        self.request_id = request_id


class APIStatusError(ParadigmError):
    """The server refused the request.

    Attributes:
        status_code: the HTTP status, or the code an error inside a 200 answer named (500 where it named none).
        body: the error as the server sent it, JSON parsed; text where it is no JSON.
        request_id: the server's id of the request; None where it gave none.
        retry_after: seconds the server asked to wait before trying again; None where it did not ask.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        body: Any = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        partial_text: str = "",
    ) -> None:
        super().__init__(message, partial_text=partial_text)
        self.status_code = status_code
        self.body = body
        self.request_id = request_id
        self.retry_after = retry_after


class BadRequestError(APIStatusError):
    """400: the server does not accept the request as it stands."""


class AuthenticationError(APIStatusError):
    """401: the key is missing, wrong or expired."""


class PermissionDeniedError(APIStatusError):
    """403: the key is good, but not for this."""


class NotFoundError(APIStatusError):
    """404: no such model, or no such path under the base URL."""


class UnprocessableEntityError(APIStatusError):
    """422: a field has a wrong type or value."""


class RateLimitError(APIStatusError):
    """429: too many requests; `retry_after` says when to come back, where the server did."""


class ServerError(APIStatusError):
    """500 and above: the server, or a gateway before it, failed."""


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}

_HINTS = {
    401: "Check api_key (or PARADIGM_API_KEY), and that the key belongs to this host.",
    403: "The key has no right to this; ask the administrator of the platform.",
    404: "Check model and base_url (or PARADIGM_BASE_URL).",
    413: "The prompt is larger than the server takes.",
}


@dataclass(frozen=True)
class Origin:
    """Where an answer came from: what its errors say, and what they must not.

    Attributes:
        host: the host that was called.
        headers: the answer's headers, names in lower case.
        key: the key, which is struck out of messages and bodies: it can stand in an echo of the request.
        prompt: the prompt, which is struck out of messages.
    """

    host: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    key: str = field(default="", repr=False)
    prompt: str = field(default="", repr=False)

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, where it gave one."""
        return self.headers.get("x-request-id") or self.headers.get("request-id")

    def without_key(self, body: Any) -> Any:
        """A body, JSON parsed, with the key struck out wherever it stands."""
        return _strike(body, [self.key] if self.key else [])

    def quote(self, body: Any) -> str:
        """The server's words, fit for a message."""
        prompt = self.prompt
        forms = [prompt, " ".join(prompt.split()), repr(prompt)[1:-1], json.dumps(prompt)[1:-1]]
        words = server_words(_strike(body, forms if len(prompt) >= MIN_STRUCK_PROMPT else []))
        return words if len(words) <= MESSAGE_LIMIT else words[: MESSAGE_LIMIT - 1] + "…"


def _strike(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "[…]")
        return value
    if isinstance(value, list):
        return [_strike(entry, secrets) for entry in value]
    if isinstance(value, dict):
        return {_strike(name, secrets): _strike(entry, secrets) for name, entry in value.items()}
    return value


def status_error(status: int, body: Any, origin: Origin, now: float = 0.0) -> APIStatusError:
    """The error for a refusal.

    Args:
        status: the HTTP status, or the code of an error inside a 200 answer.
        body: the answer's body: bytes, or what they were parsed into.
        origin: where it came from.
        now: Unix seconds, to read a Retry-After date against.
    """
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else APIStatusError)
    body = origin.without_key(parse_body(body) if isinstance(body, bytes) else body)
    hint = _redirect_hint(origin) if 300 <= status < 400 else _HINTS.get(status, "")
    return kind(
        _sentences(f"{origin.host} answered {status}", origin.quote(body), hint),
        status_code=status,
        body=body,
        request_id=origin.request_id,
        retry_after=parse_retry_after(origin.headers.get("retry-after"), now),
    )


def unreadable(body: Any, origin: Origin) -> APIResponseError:
    """The error for an answer in which no completion can be found."""
    body = origin.without_key(parse_body(body) if isinstance(body, bytes) else body)
    said = f"{origin.host} answered with something that is not what was asked for"
    return APIResponseError(
        _sentences(said, origin.quote(body), "Check base_url (or PARADIGM_BASE_URL)."),
        body=body,
        request_id=origin.request_id,
    )


def _sentences(said: str, words: str, hint: str) -> str:
    said = f"{said}: {words}" if words else said
    return f"{said if said[-1] in '.!?…' else said + '.'} {hint}".strip()


def _redirect_hint(origin: Origin) -> str:
    target = origin.quote(origin.without_key(origin.headers.get("location", "another address").split("?")[0]))
    return f"It redirects to {target}; redirects are not followed: set base_url to the final address."


def parse_body(body: bytes) -> Any:
    """Read an error body: JSON where it is JSON, else text."""
    try:
        return from_json(body)
    except ValueError:
        return body.decode("utf-8", "replace")


def server_words(body: Any) -> str:
    """The server's own words, out of any of the shapes that servers of this family answer with."""
    if isinstance(body, str):
        return _text_of_page(body)
    if isinstance(body, list):
        return "; ".join(filter(None, map(server_words, body)))
    if not isinstance(body, dict):
        return ""
    if isinstance(body.get("msg"), str):  # {"loc": ["body", "temperature"], "msg": "…", "input": …}: never the input
        loc = body.get("loc")
        where = ".".join(str(part) for part in loc if part != "body") if isinstance(loc, list) else ""
        return f"{where}: {body['msg']}" if where else str(body["msg"])
    for key in ("error", "detail", "message"):
        words = server_words(body.get(key))
        if words:
            return words
    return _field_words(body)


def _field_words(body: dict[Any, Any]) -> str:
    """`{"field": ["message", …]}`: every field with its messages."""
    return "; ".join(
        f"{field}: {' '.join(str(message) for message in messages)}"
        for field, messages in body.items()
        if isinstance(messages, list) and messages and all(isinstance(message, str) for message in messages)
    )


def _text_of_page(text: str) -> str:
    """The words of a gateway's HTML page, its title first; plain text as it is."""
    if "<" in text and re.search(r"<(!doctype|html|head|body|title|h1|center)\b", text, re.IGNORECASE):
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = html.unescape(title.group(1) if title else re.sub(r"<[^>]*>", " ", text))
    return " ".join(text.split())


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Read a Retry-After header: seconds, or an HTTP date, as seconds from `now`; None where it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
        return seconds if 0 <= seconds < float("inf") else None
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
        # "-0000" reads as a naive date; HTTP dates are always UTC.
        date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
        return max(0.0, date.timestamp() - now)
    except (ValueError, OverflowError):
        return None


def error_code(body: Any) -> int | None:
    """The code of an error inside a 200 answer or a stream; None where the body is no error.

    `{"error": {…, "code": 400}}`, `{"error": "…", "code": 403}`, `{"object": "error", …, "code": 400}`.
    An error without a usable code counts as 500.
    """
    if not isinstance(body, dict) or (body.get("error") is None and body.get("object") != "error"):
        return None
    inner = body.get("error")
    code = inner.get("code") if isinstance(inner, dict) else body.get("code")
    if isinstance(code, str) and code.isdecimal():
        code = int(code)
    return code if isinstance(code, int) and 400 <= code < 600 else 500
