"""A reply and a chunk of a stream of the endpoints that generate text: parsed JSON in, plain data out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from paradigm_transport.endpoints.completions.logprobs import Logprobs, read_logprobs
from paradigm_transport.json_object import JsonObject
from paradigm_transport.refusals import Origin, aborted, unexpected_response
from paradigm_transport.stops import find_stop
from paradigm_transport.usage import Usage, read_count, read_usage


@dataclass(frozen=True, slots=True)
class CallPart:
    """What a reply or a chunk of a chat holds of a call of a tool, as the server sent it.

    Attributes:
        index: the call's place among the calls of the message; None if the server does not say.
        id: the call's id; empty if it was sent before, or never.
        name: the tool's name; empty if it was sent before.
        arguments: the arguments' JSON; in a stream, the next part of it.
    """

    index: int | None
    id: str
    name: str
    arguments: str


@dataclass(slots=True)
class Choice:
    """One completion of a prompt, or one message of a chat.

    Attributes:
        index: its position among the `n` completions.
        text: the completion, without its stop sequence.
        finish_reason: why it ended: `stop`, `length`, or another word of the server's; None if it sent none.
        stop_reason: the stop sequence or token id that ended it, if the server says so.
        logprobs: the log-probabilities, if they were asked for.
        thoughts: what the model thought, if it is kept apart from the text.
        calls: the calls of tools, if the endpoint keeps them apart from the text.
    """

    index: int
    text: str
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    logprobs: Logprobs | None = None
    thoughts: str = ""
    calls: tuple[CallPart, ...] = ()


@dataclass(slots=True)
class Completion:
    """A whole reply.

    Attributes:
        id: the server's id of the completion.
        model: the model that answered, as the server names it.
        created: Unix seconds.
        choices: in the order of their indexes, at least one.
        usage: None if the server sent none.
        request_id: the id of the HTTP request, if the server sent one.
        raw: the reply as it arrived.
        latency: seconds from the first request to the reply's end.
        retries: the number of requests that failed before.
    """

    id: str | None
    model: str | None
    created: int | None
    choices: list[Choice]
    usage: Usage | None = None
    request_id: str | None = None
    raw: JsonObject = field(default_factory=dict, repr=False)
    latency: float | None = field(default=None, compare=False)
    retries: int = 0

    @property
    def text(self) -> str:
        """Return the text of the first choice."""
        return self.choices[0].text


@dataclass(slots=True)
class CompletionChunk:
    """A piece of a stream.

    Pieces of text come first, as they arrive. Each choice then ends with one piece without text, which carries its
    finish reason; the last piece of all carries the usage.

    Attributes:
        text: what this piece adds to the text of choice `index`.
        index: the choice that it belongs to.
        logprobs: of the tokens in `text`, if they were asked for.
        raw: the event as it arrived; on a last piece, the last event of the stream.
        finish_reason: on the last piece of a choice, if the server sent one.
        stop_reason: likewise: the stop sequence or token id that ended the choice.
        is_last: True only on the last piece of the stream, which also carries what follows.
        usage: None if the server sent none.
        id: the server's id of the completion.
        model: the model that answered, as the server names it.
        created: Unix seconds.
        request_id: the id of the HTTP request, if the server sent one.
        latency: seconds from the first request to the stream's end.
        retries: the number of requests that failed before.
        thoughts: what this piece adds to what the model thought, if that is kept apart from the text.
        calls: what this piece adds to the calls of tools, if the endpoint keeps them apart from the text.
    """

    text: str
    index: int = 0
    logprobs: Logprobs | None = None
    raw: JsonObject = field(default_factory=dict, repr=False)
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    is_last: bool = False
    usage: Usage | None = None
    id: str | None = None
    model: str | None = None
    created: int | None = None
    request_id: str | None = None
    latency: float | None = field(default=None, compare=False)
    retries: int = 0
    thoughts: str = ""
    calls: tuple[CallPart, ...] = ()


class Contents(NamedTuple):
    """What the model wrote in a choice; see `Choice`."""

    text: str
    thoughts: str = ""
    calls: tuple[CallPart, ...] = ()


ReadContents = Callable[[JsonObject, bool], Contents | None]
"""Reads a choice as an endpoint writes it, whole or (False) as a part of a stream; None if it cannot be read."""


def read_text(choice: JsonObject, is_whole: bool) -> Contents | None:
    """Read a choice of `POST /completions`; see `ReadContents`. A gateway may send it in the form of chats."""
    text = choice.get("text")
    if type(text) is str:
        return Contents(text)
    message = choice.get("message") or choice.get("delta")
    message = message if isinstance(message, dict) else {}
    text = message.get("content") if text is None else text
    if text is not None:
        return Contents(text) if isinstance(text, str) else None
    # A null means no text. Nothing at all may mean anything, as may a call of a tool.
    is_empty = not message.get("tool_calls") and (not is_whole or "text" in choice or "content" in message)
    return Contents("") if is_empty else None


def read_completion(
    body: object,
    origin: Origin,
    *,
    stops: list[str],
    n: int = 1,
    echoed: int = 0,
    read_contents: ReadContents = read_text,
) -> Completion:
    """Read a whole reply.

    Args:
        body: the parsed reply.
        origin: where it came from.
        stops: stop sequences to enforce.
        n: the number of choices that were asked for; further ones are left out.
        echoed: the number of characters at the start of each text that are the echoed prompt.
        read_contents: reads a choice of the endpoint.

    Raises:
        APIResponseError: the reply holds no choices that can be read.
        ServerError: the server gave up a completion.
    """
    if not isinstance(body, dict):
        raise unexpected_response(body, origin)
    choices = sorted(read_choices(body, origin, n, {}, read_contents, is_whole=True), key=lambda choice: choice.index)
    for choice in choices:
        at = find_stop(choice.text[echoed:], stops)
        if at is not None:
            choice.text = choice.text[: echoed + at]
            choice.finish_reason, choice.calls = "stop", ()  # which the model wrote after the text
            if choice.logprobs is not None:
                choice.logprobs = choice.logprobs[: choice.logprobs.count_within(len(choice.text))]
        if choice.finish_reason in ABORTED:
            raise aborted(choice.finish_reason, choices[0].text, body, origin)
    return Completion(*read_identity(body), choices, read_usage(body.get("usage")), origin.request_id, body)


UNREADABLE = (
    "A choice holds no text and no tool call that can be read: the server, or a gateway before it, does not follow "
    "OpenAI's API. Report this to its administrator."
)
"""What is wrong with a reply that has choices."""

ABORTED = frozenset({"abort", "aborted", "cancelled", "canceled", "error", "failed"})
"""Finish reasons of completions that the server gave up."""


def read_identity(body: JsonObject) -> tuple[str | None, str | None, int | None]:
    """Read the id, model and time of a reply or chunk."""
    return _string(body.get("id")), _string(body.get("model")), read_count(body.get("created"))


def read_choices(
    body: JsonObject,
    origin: Origin,
    n: int,
    received: Mapping[int, int],
    read_contents: ReadContents,
    *,
    is_whole: bool = False,
) -> list[Choice]:
    """Read those choices of a reply or chunk that were asked for.

    A choice without an index has that of its position.

    Args:
        body: the reply or chunk.
        origin: where it came from.
        n: the number of choices that were asked for.
        received: the length of the text so far, by index.
        read_contents: reads a choice of the endpoint.
        is_whole: whether it is a whole reply, which must hold a choice, and each a text.

    Raises:
        APIResponseError: they are not a list of objects that can be read.
    """
    wires = body.get("choices")
    wires = [] if wires is None else wires
    if not isinstance(wires, list):
        raise unexpected_response(body, origin)
    choices = []
    for position, wire in enumerate(wires):
        contents = read_contents(wire, is_whole) if isinstance(wire, dict) else None
        if contents is None:
            raise unexpected_response(body, origin, UNREADABLE)
        index = wire.get("index")
        index = index if type(index) is int else position
        if 0 <= index < n:
            stop_reason = wire.get("stop_reason")
            stop_reason = stop_reason if isinstance(stop_reason, (str, int)) else None
            given = wire.get("logprobs")
            logprobs = read_logprobs(given, received.get(index, 0)) if given else None
            finish_reason = _string(wire.get("finish_reason")) or None  # some servers write "" for null
            text, thoughts, calls = contents
            choices.append(Choice(index, text, finish_reason, stop_reason, logprobs, thoughts, calls))
    if is_whole and not choices:
        raise unexpected_response(body, origin)
    return choices


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None
