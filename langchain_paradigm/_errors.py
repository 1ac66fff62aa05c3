"""The transport's errors as LangChain's too: its agents ask an error whether to try again or to shorten the prompt."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from langchain_core import exceptions

from paradigm_transport import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    InvalidParameterError,
    NotFoundError,
    ParadigmError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UnprocessableEntityError,
)
from paradigm_transport.errors import rebuild

_COUNTERPARTS: dict[type[ParadigmError], str] = {
    ParadigmError: "ModelError",
    InvalidParameterError: "ModelInvalidRequestError",
    APIConnectionError: "ModelConnectionError",
    APITimeoutError: "ModelTimeoutError",
    BadRequestError: "ModelInvalidRequestError",
    AuthenticationError: "ModelAuthenticationError",
    PermissionDeniedError: "ModelPermissionDeniedError",
    NotFoundError: "ModelNotFoundError",
    UnprocessableEntityError: "ModelInvalidRequestError",
    RateLimitError: "ModelRateLimitError",
    ServerError: "ModelAPIError",
}
"""LangChain's class for each of ours and for those below it."""

_OVERFLOW = re.compile(r"context.(length|window|size)|fit into the context", re.IGNORECASE)
"""How servers say that a prompt is too long."""


class _AsLangChain:
    """Makes an error of the transport that is raised within a `with` one of LangChain's too."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, ParadigmError):
            _make_langchains(error)


as_langchain = _AsLangChain()


def _make_langchains(error: ParadigmError) -> ParadigmError:
    if not isinstance(error, exceptions.LangChainException):
        kind: Any = type(error)
        error.__class__ = _both(kind, _counterpart(error))  # in place: what it holds and where it was raised stay
    return error


def _counterpart(error: ParadigmError) -> str:
    if isinstance(error, BadRequestError) and _OVERFLOW.search(str(error)):
        return "ContextOverflowError"
    return next(_COUNTERPARTS[base] for base in type(error).__mro__ if base in _COUNTERPARTS)


@lru_cache
def _both(kind: Any, counterpart: str) -> Any:
    langchains = getattr(exceptions, counterpart, exceptions.LangChainException)  # older ones have none of models
    attributes = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce__": _reduce}
    return type(kind.__name__, (kind, langchains), attributes)


def _reduce(error: ParadigmError) -> tuple[Any, ...]:
    return _make_langchains, (rebuild(type(error).__bases__[0], error.args, error.__dict__),)
