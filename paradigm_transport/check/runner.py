"""Asks questions one after the other, within a time; an error of the server's is a finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from paradigm_transport.check.findings import Finding, Question, UnclearError
from paradigm_transport.check.routes import CHAT, COMPLETIONS, Route
from paradigm_transport.check.server import Server
from paradigm_transport.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    NotFoundError,
    ParadigmError,
    StreamInterruptedError,
)

_FORBIDDEN = (401, 403)
_NAMED = 8
"""The most models that are named to a user who chose another one."""

OPENING_SECONDS = 60.0
"""How long a first request may take: a model may have to be loaded."""


class CheckError(Exception):
    """The server cannot be checked; the message says why and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A question and what was found.

    Attributes:
        question: the question.
        finding: what was found.
        seconds: how long that took.
    """

    question: Question
    finding: Finding
    seconds: float


def connect(server: Server, seconds: float = OPENING_SECONDS) -> None:
    """Check that there is a server which takes the key and serves something, before anything else is asked.

    Args:
        server: who is asked.
        seconds: how long each of three requests may take.

    Raises:
        CheckError: there is not.
    """
    server.ends = server.timer() + seconds
    if isinstance(server.listed, APIConnectionError):
        raise CheckError(str(server.listed))
    errors = [_error_of(server, route, seconds) for route in (COMPLETIONS, CHAT)]
    if None in errors:
        return
    for error in errors:
        if isinstance(error, APIConnectionError) or (
            isinstance(error, APIStatusError) and error.status_code in _FORBIDDEN
        ):
            raise CheckError(str(error))
    if isinstance(server.listed, ParadigmError):
        if all(isinstance(error, NotFoundError | APIResponseError) for error in (*errors, server.listed)):
            raise CheckError(f"{errors[0]} chat/completions and models fail too.")
    elif server.entry is None:
        raise CheckError(_unknown_model(server, [model.id for model in server.listed]))


def _error_of(server: Server, route: Route, seconds: float) -> ParadigmError | None:
    server.ends = server.timer() + seconds
    try:
        server.opening(route)
    except ParadigmError as error:
        return error
    return None


def _unknown_model(server: Server, names: list[str]) -> str:
    known = ", ".join(names[:_NAMED]) + ", …" * (len(names) > _NAMED)
    return (
        f"{server.client.settings.host} does not serve the model {server.model!r}. Its models are: {known or 'none'}."
    )


def run(
    server: Server, questions: Iterable[Question], seconds: float, report_progress: Callable[[Question], object]
) -> list[Answer]:
    """Ask questions.

    Args:
        server: who is asked.
        questions: what.
        seconds: how long all may take.
        report_progress: is called before each.
    """
    began = server.timer()
    answers = []
    for each in questions:
        report_progress(each)
        start = server.timer()
        server.ends = min(start + each.seconds, began + seconds)
        answers.append(Answer(each, _ask(server, each), server.timer() - start))
    return answers


def _ask(server: Server, each: Question) -> Finding:
    try:
        return each.ask(server)
    except UnclearError as problem:
        return Finding("unknown", str(problem))
    except APIStatusError as error:
        return _of_status(server, error)
    except APITimeoutError:
        return Finding("unknown", "no response in time")
    except StreamInterruptedError:
        return Finding("failed", "the stream broke off")
    except APIConnectionError:
        return Finding("failed", "the connection broke")
    except APIResponseError as error:
        words = server.words.of_error(error)
        return Finding("failed", f"unexpected response{': ' * bool(words)}{words}")


def _of_status(server: Server, error: APIStatusError) -> Finding:
    words = server.words.of_error(error)
    detail = f"{error.status_code}: {words}" if words else f"{error.status_code}"
    if error.status_code == 429:
        return Finding("unknown", f"rate limited, {detail}")
    return Finding("failed" if error.status_code >= 500 else "refused", detail)
