"""Questions about what the server says of requests that it cannot fulfil."""

from __future__ import annotations

from paradigm_transport.check.findings import Finding, UnclearError, question
from paradigm_transport.check.prompts import COUNT
from paradigm_transport.check.server import Server
from paradigm_transport.errors import APIStatusError
from paradigm_transport.refusals import is_context_overflow

GROUP = "Errors"

_MOST_TOKENS = 200_000
"""Prompts for longer context windows are not sent."""


@question("invalid value", GROUP)
def wrong_value(server: Server) -> Finding:
    """How the server responds to a field of the wrong type."""
    server.require(server.route)
    try:
        server.generate(COUNT, max_tokens=1, temperature="warm")
    except APIStatusError as error:
        return _shape(server, error)
    return Finding("ignored", "accepted")


@question("unknown model", GROUP)
def unknown_model(server: Server) -> Finding:
    """How the server responds to a model that does not exist."""
    try:
        server.generate(COUNT, max_tokens=1, model="paradigm-check-no-such-model")
    except APIStatusError as error:
        return _shape(server, error)
    return Finding("ignored", "accepted")


@question("long prompt", GROUP, seconds=30)
def long_prompt(server: Server) -> Finding:
    """How the server responds to a prompt longer than the context window."""
    window = server.entry and server.entry.context_window
    if not window:
        raise UnclearError("the context window is unknown")
    if window > _MOST_TOKENS:
        raise UnclearError(f"a prompt of {window:,} tokens is not sent")
    try:
        server.generate("a " * (window + 16), max_tokens=1)
    except APIStatusError as error:
        found = _shape(server, error)
        known = "" if is_context_overflow(error) else "; not recognised as a prompt that is too long"
        return Finding(found.status, found.detail + known)
    return Finding("ignored", "accepted, so a part of it is cut off")


@question("max_tokens over the context window", GROUP)
def long_completion(server: Server) -> Finding:
    """How the server responds if `max_tokens` exceeds the context window."""
    text = server.greedy(COUNT)
    window = server.entry and server.entry.context_window
    if not window:
        raise UnclearError("the context window is unknown")
    try:
        server.generate(COUNT, max_tokens=window + 1, stop=[text.strip()[:1]])
    except APIStatusError as error:
        return _shape(server, error)
    return Finding("works", "accepted")


def _shape(server: Server, error: APIStatusError) -> Finding:
    """Say how the server refuses."""
    words = server.words.of_error(error)
    detail = f"{error.status_code}: {words}" if words else f"{error.status_code}, without a message"
    return Finding("refused" if error.status_code < 500 else "failed", detail)


QUESTIONS = (wrong_value, unknown_model, long_prompt, long_completion)
