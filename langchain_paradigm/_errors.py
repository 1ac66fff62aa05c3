"""Errors of the transport are LangChain's too: its agents ask an error whether to retry or to shorten the prompt."""

from __future__ import annotations

from contextlib import AbstractContextManager

from langchain_core import exceptions

from langchain_paradigm._compat import add_class
from paradigm_transport import errors
from paradigm_transport.refusals import is_context_overflow

_COUNTERPARTS: dict[type[errors.ParadigmError], str] = {
    errors.ParadigmError: "ModelError",
    errors.InvalidParameterError: "ModelInvalidRequestError",
    errors.APIConnectionError: "ModelConnectionError",
    errors.APITimeoutError: "ModelTimeoutError",
    errors.BadRequestError: "ModelInvalidRequestError",
    errors.AuthenticationError: "ModelAuthenticationError",
    errors.PermissionDeniedError: "ModelPermissionDeniedError",
    errors.NotFoundError: "ModelNotFoundError",
    errors.UnprocessableEntityError: "ModelInvalidRequestError",
    errors.RateLimitError: "ModelRateLimitError",
    errors.ServerError: "ModelAPIError",
}
"""The class of LangChain for each of ours and its subclasses, if `langchain_core.exceptions` has it (1.x)."""


class _AsLangChain(AbstractContextManager[object]):
    """Makes errors of the transport instances of LangChain's classes too."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, errors.ParadigmError):
            _add_langchain(error)


as_langchain = _AsLangChain()


def _add_langchain(error: errors.ParadigmError) -> errors.ParadigmError:
    if isinstance(error, exceptions.LangChainException):
        return error
    name = next(_COUNTERPARTS[base] for base in type(error).__mro__ if base in _COUNTERPARTS)
    if is_context_overflow(error):
        name = "ContextOverflowError"
    add_class(error, getattr(exceptions, name, exceptions.LangChainException), _reduce)
    return error


def _reduce(error: errors.ParadigmError) -> tuple[object, ...]:
    return _add_langchain, (errors.rebuild(type(error).__bases__[0], error.args, error.__dict__),)
