"""The errors of the transport.

    ParadigmError                       catches everything below
    ├── InvalidParameterError           an argument was refused before anything was sent (also a ValueError)
    ├── APIConnectionError              no response: name not found, refused, reset, TLS, proxy
    │   ├── APITimeoutError             no response in time
    │   └── StreamInterruptedError      a stream broke off before its end
    ├── APIResponseError                a response that is not what was asked for
    └── APIStatusError                  the server refused, with its status
        ├── BadRequestError             400
        ├── AuthenticationError         401
        ├── PermissionDeniedError       403
        ├── NotFoundError               404
        ├── UnprocessableEntityError    422
        ├── RateLimitError              429
        └── ServerError                 500 and above

No message contains the key or the whole prompt: the server's words are shortened, and both are redacted from them.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import Self


class ParadigmError(Exception):
    """The base of every error that this library raises.

    Args:
        message: what went wrong, in one readable line; `str(error)` returns it.

    Attributes:
        partial_text: the text that a stream had handed out before it failed; empty if there was none.
    """

    def __init__(self, message: str, *, partial_text: str = "") -> None:
        super().__init__(message)
        self.partial_text = partial_text

    def bare(self) -> Self:
        """Return this error without its traceback, whose frames hold the request's headers and so the key."""
        self.__context__ = None
        return self.with_traceback(None)

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders (worker pools); the default would call __init__ without its keywords.
        return rebuild, (type(self), self.args, self.__dict__)


def rebuild(kind: type[ParadigmError], args: tuple[object, ...], state: dict[str, object]) -> ParadigmError:
    """Rebuild a pickled error."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidParameterError(ParadigmError, ValueError):
    """An argument has a wrong name, type or range; nothing was sent."""


class UnwritableError(InvalidParameterError):
    """A chat template cannot write these messages; perhaps they are only a part of a chat. Not public."""


class APIConnectionError(ParadigmError):
    """The server could not be reached, or the connection broke before the response was complete."""


class APITimeoutError(APIConnectionError):
    """Connecting, sending or waiting for the next byte took longer than `timeout` allows."""


class StreamInterruptedError(APIConnectionError):
    """A stream ended with neither a finish reason nor `[DONE]`; `partial_text` is what had arrived."""


class APIResponseError(ParadigmError):
    """The server returned something that is not what was asked for.

    Attributes:
        body: the response, as far as it was read.
        request_id: the server's id of the request; None if it sent none.
    """

    def __init__(
        self, message: str, *, body: Any = None, request_id: str | None = None, partial_text: str = ""
    ) -> None:
        super().__init__(message, partial_text=partial_text)
        self.body = body
        self.request_id = request_id


class APIStatusError(ParadigmError):
    """The server refused the request.

    Attributes:
        status_code: the HTTP status, or the code that an error inside a 200 response named (500 if it named none).
        body: the error as the server sent it, parsed if it is JSON, else text.
        request_id: the server's id of the request; None if it sent none.
        retry_after: seconds that the server asked to wait before trying again; None if it did not ask.
        should_retry: whether the server says that trying again may help; None if it does not say.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        body: Any = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
        partial_text: str = "",
    ) -> None:
        super().__init__(message, partial_text=partial_text)
        self.status_code = status_code
        self.body = body
        self.request_id = request_id
        self.retry_after = retry_after
        self.should_retry = should_retry


class BadRequestError(APIStatusError):
    """400: the server does not accept the request as it stands."""


class AuthenticationError(APIStatusError):
    """401: the key is missing, wrong or expired."""


class PermissionDeniedError(APIStatusError):
    """403: the key is valid, but not for this."""


class NotFoundError(APIStatusError):
    """404: no such model, or no such path under the base URL."""


class UnprocessableEntityError(APIStatusError):
    """422: a field has a wrong type or value."""


class RateLimitError(APIStatusError):
    """429: too many requests; `retry_after` says when to come back, if the server did."""


class ServerError(APIStatusError):
    """500 and above: the server, or a gateway before it, failed."""


BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}
