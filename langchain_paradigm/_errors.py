"""Errors of the transport are LangChain's too: its agents ask an error whether to retry or to shorten the prompt."""

from __future__ import annotations

import re

from langchain_core import exceptions

from langchain_paradigm._compat import add_class
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
"""The class of LangChain for each of ours and its subclasses, if `langchain_core.exceptions` has it (1.x)."""

_OVERFLOW = re.compile(r"context.(length|window|size)|fit into the context", re.IGNORECASE)
"""How servers say that a prompt is too long."""


class _AsLangChain:
    """A context manager that makes errors of the transport instances of LangChain's classes too."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, ParadigmError):
            _add_langchain(error)


as_langchain = _AsLangChain()


def _add_langchain(error: ParadigmError) -> ParadigmError:
    if not isinstance(error, exceptions.LangChainException):
        add_class(error, getattr(exceptions, _counterpart(error), exceptions.LangChainException), _reduce)
    return error


def _counterpart(error: ParadigmError) -> str:
    if isinstance(error, BadRequestError) and _OVERFLOW.search(str(error)):
        return "ContextOverflowError"
    return next(_COUNTERPARTS[base] for base in type(error).__mro__ if base in _COUNTERPARTS)


def _reduce(error: ParadigmError) -> tuple[object, ...]:
    return _add_langchain, (rebuild(type(error).__bases__[0], error.args, error.__dict__),)
