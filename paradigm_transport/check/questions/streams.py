"""Questions about streams, about the tokens that the server counts, and about its speed."""

from __future__ import annotations

from paradigm_transport.check.findings import Finding, UnclearError, question
from paradigm_transport.check.probes import Reply
from paradigm_transport.check.prompts import COUNT
from paradigm_transport.check.routes import CHAT, Route
from paradigm_transport.check.server import Server
from paradigm_transport.errors import APIStatusError
from paradigm_transport.json_object import JsonObject
from paradigm_transport.usage import read_count, read_usage

GROUP = "Streams and usage"

_FEW, _MANY = 5, 40
_REFUSED = (400, 422)
_USAGE = {"stream_options": {"include_usage": True}}


@question("usage", GROUP)
def usage(server: Server) -> Finding:
    """Whether a response reports plausible token counts."""
    generated = server.generate(COUNT, max_tokens=_FEW)
    return _usage_finding(generated.body.get("usage"), _FEW)


def _usage_finding(wire: object, most: int) -> Finding:
    if not wire:
        return Finding("missing")
    counted = read_usage(wire)
    if counted is None:
        zero = isinstance(wire, dict) and read_count(wire.get("prompt_tokens")) == 0
        return Finding("missing", "only zeros" if zero else "in an unknown form")
    if not counted.completion_tokens or counted.completion_tokens > most:
        return Finding("failed", f"{counted.completion_tokens} tokens reported for a text of at most {most}")
    if counted.total_tokens != counted.prompt_tokens + counted.completion_tokens:
        return Finding("failed", "the total is not the sum")
    return Finding("works")


@question("stream", GROUP)
def stream(server: Server) -> Finding:
    """Whether a completion arrives in pieces while it is generated."""
    return _stream_finding(server.stream(server.route, COUNT))


@question("stream (chat)", GROUP)
def stream_of_a_chat(server: Server) -> Finding:
    """Whether an answer of the chat endpoint arrives in pieces."""
    server.require(CHAT)
    if server.route is CHAT:
        raise UnclearError("same as above")
    return _stream_finding(server.stream(CHAT, COUNT))


def _stream_finding(reply: Reply) -> Finding:
    if not reply.is_stream:
        return Finding("ignored", "the response arrives in one piece")
    texts = [event for _, event in reply.events if has_text(event)]
    if not texts:
        return Finding("failed", "no event contains text")
    if _finish_reason(reply) is None:
        return Finding("failed", "ends without finish_reason" + ("" if reply.is_done else " and without [DONE]"))
    if len(texts) == 1:
        return Finding("ignored", "all text arrives in one event")
    return Finding("honoured", "" if reply.is_done else "ends without [DONE]")


def has_text(event: JsonObject) -> bool:
    """Whether an event of a stream holds text, thoughts, or a part of a call."""
    for choice in _choices(event):
        delta = choice.get("delta")
        parts = (*delta.values(), "") if isinstance(delta, dict) else (choice.get("text"),)
        if any(part for part in parts if part != "assistant"):
            return True
    return False


def _choices(event: JsonObject) -> list[JsonObject]:
    choices = event.get("choices")
    return [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []


def _finish_reason(reply: Reply) -> object:
    reasons = [choice.get("finish_reason") for _, event in reply.events for choice in _choices(event)]
    return next(filter(None, reasons), None)


@question("stream_options", GROUP, is_quick=True)
def stream_options(server: Server) -> Finding:
    """Whether `stream_options` adds token counts to a stream of completions."""
    return _streamed_usage(server, server.route)


@question("stream_options (chat)", GROUP)
def stream_options_of_a_chat(server: Server) -> Finding:
    """Whether `stream_options` adds token counts to a stream of a chat."""
    server.require(CHAT)
    if server.route is CHAT:
        raise UnclearError("same as above")
    return _streamed_usage(server, CHAT)


def _streamed_usage(server: Server, route: Route) -> Finding:
    unasked = last_usage(server.stream(route, COUNT, max_tokens=_FEW))
    try:
        reply = server.stream(route, COUNT, max_tokens=_FEW, **_USAGE)
    except APIStatusError as error:
        if error.status_code in _REFUSED and isinstance(unasked, dict):
            return Finding("refused", "but streams report usage without it")
        raise
    found = _usage_finding(last_usage(reply), _FEW)
    if found.status == "missing":
        return Finding("ignored", f"the stream has no usage{': ' * bool(found.detail)}{found.detail}")
    if found.is_good:
        if read_usage(unasked) is not None:
            return Finding("honoured", "usage with and without it")
        return Finding("honoured", f"usage with it{'; zeros without it' * (unasked is not None)}")
    return found


def last_usage(reply: Reply) -> object:
    """Return the last usage in a stream that is not null."""
    found = [event["usage"] for _, event in reply.events if event.get("usage") is not None]
    return found[-1] if found else None


@question("finish_reason", GROUP)
def finish_reason(server: Server) -> Finding:
    """Whether a completion that is cut off says so."""
    reason = server.generate(COUNT, max_tokens=_FEW).finish_reason
    if reason == "length":
        return Finding("works")
    return Finding("missing" if reason is None else "unknown", f"it is {reason!r}"[:40] if reason else "")


@question("speed", "Speed", seconds=30)
def speed(server: Server) -> Finding:
    """How soon the first token arrives after a short prompt, and how many follow per second."""
    route = server.route
    fields: JsonObject = {"max_tokens": _MANY}
    try:
        reply = server.stream(route, COUNT, **fields, **_USAGE)
    except APIStatusError as error:
        if error.status_code not in _REFUSED:
            raise
        reply = server.stream(route, COUNT, **fields)
    seconds = [at for at, event in reply.events if has_text(event)]
    if not seconds:
        raise UnclearError("no text arrived")
    counted = read_usage(last_usage(reply))
    count = len(seconds) if counted is None else counted.completion_tokens
    took = seconds[-1] - seconds[0]
    detail = f"first token after {seconds[0]:.2f} s"
    if len(seconds) > 1 and took > 0:
        unit = "events" if counted is None else "tokens"
        detail += f", then {(count - 1) / took:.0f} {unit} a second"
    return Finding("works", detail, round(seconds[0], 3))


@question("rate limit headers", "Speed")
def announced_limits(server: Server) -> Finding:
    """Whether responses report rate limits in their headers."""
    server.require(server.route)  # which has asked
    if not server.limits:
        return Finding("missing")
    announced = ", ".join(f"{name}: {value}" for name, value in sorted(server.limits.items()))
    return Finding("works", server.words.clean(announced))


QUESTIONS = (
    usage, stream_options, stream, finish_reason, stream_of_a_chat, stream_options_of_a_chat, speed, announced_limits,
)  # fmt: skip
