"""A reply, a chunk of a stream, and usage: parsed JSON in, plain data out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from pydantic_core import from_json

from paradigm_transport.errors import APIConnectionError, Origin, error_code, status_error, unreadable
from paradigm_transport.stops import find_stop


@dataclass(slots=True)
class Usage:
    """The tokens that the server counted. Never an estimate.

    Attributes:
        prompt_tokens: tokens of the prompt.
        completion_tokens: tokens generated, over all choices.
        total_tokens: both together.
        cached_tokens: those of the prompt that the server had in a cache, where it says so.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int | None = None

    def as_dict(self) -> dict[str, int]:
        """The three counts under the endpoint's names."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }


@dataclass(slots=True)
class Logprobs:
    """Log-probabilities, in the four parallel arrays that the endpoint documents.

    Attributes:
        tokens: the tokens of the text.
        token_logprobs: the log-probability of each; None where the server gives none (an echoed first token).
        top_logprobs: for each, the likeliest tokens with theirs.
        text_offset: where in the text each token begins, in characters.
    """

    tokens: list[str] = field(default_factory=list)
    token_logprobs: list[float | None] = field(default_factory=list)
    top_logprobs: list[dict[str, float] | None] = field(default_factory=list)
    text_offset: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        """How many tokens there are."""
        return len(self.tokens)

    def __getitem__(self, part: slice) -> Logprobs:
        """Some of the tokens."""
        return Logprobs(
            self.tokens[part],
            self.token_logprobs[part],
            self.top_logprobs[part],
            self.text_offset[part],
        )

    def __add__(self, other: Logprobs) -> Logprobs:
        """These tokens and then those of another."""
        return Logprobs(
            self.tokens + other.tokens,
            self.token_logprobs + other.token_logprobs,
            self.top_logprobs + other.top_logprobs,
            self.text_offset + other.text_offset,
        )

    def count_within(self, characters: int) -> int:
        """How many tokens begin at the start of the text that the tokens spell.

        Args:
            characters: how many characters the start of the text has.
        """
        begin = 0
        for count, token in enumerate(self.tokens):
            if begin >= characters:
                return count
            begin += len(token)
        return len(self.tokens)

    def as_dict(self) -> dict[str, Any]:
        """The four arrays under the endpoint's names."""
        return {
            "tokens": self.tokens,
            "token_logprobs": self.token_logprobs,
            "top_logprobs": self.top_logprobs,
            "text_offset": self.text_offset,
        }


@dataclass(slots=True)
class Choice:
    """One completion of a prompt.

    Attributes:
        index: which of the `n` completions this is.
        text: the completion; without its stop sequence.
        finish_reason: why it ended: `stop`, `length`, or another word of the server's; None where it gave none.
        stop_reason: the stop sequence or token id that ended it, where the server says so.
        logprobs: where they were asked for.
    """

    index: int
    text: str
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    logprobs: Logprobs | None = None


@dataclass(slots=True)
class Completion:
    """A whole reply.

    Attributes:
        id: the server's id of the completion.
        model: the model that answered, as the server names it.
        created: Unix seconds.
        choices: by index, at least one.
        usage: None where the server gave none.
        request_id: the id of the HTTP request, where the server gave one.
        raw: the reply as it came.
        latency: seconds from the first request to the reply's end.
    """

    id: str | None
    model: str | None
    created: int | None
    choices: list[Choice]
    usage: Usage | None = None
    request_id: str | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False)
    latency: float | None = field(default=None, compare=False)

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return self.choices[0].text


@dataclass(slots=True)
class CompletionChunk:
    """A piece of a stream.

    Pieces of text come first, as they arrive. Each choice then ends with one piece without text that carries
    its finish reason; the last piece of all carries the usage.

    Attributes:
        text: what this piece adds to the text of choice `index`.
        index: which of the `n` completions it belongs to.
        logprobs: of the tokens in `text`, where they were asked for.
        raw: the event as it came; on a last piece, the last event of the stream.
        finish_reason: on the last piece of a choice, where the server gave one.
        stop_reason: likewise; the stop sequence or token id that ended the choice.
        is_last: True on the last piece of the stream alone, which also carries what follows.
        usage: None where the server gave none.
        id: the server's id of the completion.
        model: the model that answered, as the server names it.
        created: Unix seconds.
        request_id: the id of the HTTP request, where the server gave one.
        latency: seconds from the first request to the stream's end.
    """

    text: str
    index: int = 0
    logprobs: Logprobs | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False)
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    is_last: bool = False
    usage: Usage | None = None
    id: str | None = None
    model: str | None = None
    created: int | None = None
    request_id: str | None = None
    latency: float | None = field(default=None, compare=False)


def parse_reply(data: bytes, origin: Origin, *, is_error: bool = False) -> Any:
    """Read the JSON of a reply or of an event of a stream.

    Args:
        data: the bytes.
        origin: where they came from.
        is_error: the event was named an error.

    Raises:
        APIStatusError: it is an error of the server's.
        APIConnectionError: it breaks off in its middle.
        APIResponseError: it is no JSON.
    """
    is_cut = False
    try:
        body = from_json(data)
    except ValueError as problem:
        is_cut = data.lstrip()[:1] in (b"{", b"[") and str(problem).startswith("EOF")
        body = None if is_cut else _parse_loosely(data)
    code = error_code(body)
    if is_error and code is None:
        code = error_code({"error": body}) or 500
    if code is not None:
        raise status_error(code, data if body is None else body, origin)
    if is_cut:
        raise APIConnectionError(f"{origin.host} broke off its answer in the middle.")
    if body is None:
        raise unreadable(data, origin)
    return body


def _parse_loosely(data: bytes) -> Any:
    """What a byte that is no UTF-8, a BOM or half a surrogate pair must not cost; None where it is no JSON."""
    try:
        body = json.loads(data.decode("utf-8-sig", "replace"))
        text = json.dumps(body, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return from_json(text)
    except (ValueError, RecursionError):
        return None


def read_completion(body: Any, origin: Origin, *, stops: list[str], echoed: int = 0) -> Completion:
    """Read a whole reply.

    Args:
        body: the reply, JSON parsed.
        origin: where it came from.
        stops: stop sequences to enforce.
        echoed: characters at the start of each text that are the prompt given back.

    Raises:
        APIResponseError: the reply holds no choices.
    """
    choices = [_cut(read_choice(wire, index), stops, echoed) for index, wire in choices_of(body, origin)]
    if not choices:
        raise unreadable(body, origin)
    return Completion(
        **identity(body),
        choices=sorted(choices, key=lambda choice: choice.index),
        usage=read_usage(body.get("usage")),
        request_id=origin.request_id,
        raw=body,
    )


def identity(body: dict[str, Any]) -> dict[str, Any]:
    """The id, model and time of a reply or chunk."""
    return {
        "id": _text(body.get("id")),
        "model": _text(body.get("model")),
        "created": _count(body.get("created")),
    }


def choices_of(body: Any, origin: Origin) -> list[tuple[int, dict[str, Any]]]:
    """The choices of a reply or chunk with their indexes; their positions where they carry none.

    Raises:
        APIResponseError: it is no object, or they are no list of objects with text.
    """
    if not isinstance(body, dict):
        raise unreadable(body, origin)
    choices = body.get("choices")
    if choices is None:
        return []
    if not isinstance(choices, list):
        raise unreadable(body, origin)
    found = []
    for position, choice in enumerate(choices):
        if not isinstance(choice, dict) or not isinstance(choice.get("text"), (str, NoneType)):
            raise unreadable(body, origin)
        index = choice.get("index")
        found.append((index if type(index) is int else position, choice))
    return found


def read_choice(wire: dict[str, Any], index: int, offset: int = 0) -> Choice:
    """Read one choice of a reply or chunk; `offset` is how much of its text came before."""
    stop_reason = wire.get("stop_reason")
    logprobs = wire.get("logprobs")
    return Choice(
        index,
        wire.get("text") or "",
        _text(wire.get("finish_reason")),
        stop_reason if isinstance(stop_reason, (str, int)) else None,
        read_logprobs(logprobs, offset) if logprobs else None,
    )


def _cut(choice: Choice, stops: list[str], echoed: int) -> Choice:
    at = find_stop(choice.text[echoed:], stops) if stops else None
    if at is not None:
        choice.text = choice.text[: echoed + at]
        choice.finish_reason = "stop"
        if choice.logprobs is not None:
            choice.logprobs = choice.logprobs[: choice.logprobs.count_within(len(choice.text))]
    return choice


def read_usage(wire: Any) -> Usage | None:
    """Read usage; None where it is missing, null or of another shape."""
    if not isinstance(wire, dict):
        return None
    prompt, completion = _count(wire.get("prompt_tokens")), _count(wire.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    total = _count(wire.get("total_tokens"))
    details = wire.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Usage(prompt, completion, prompt + completion if total is None else total, cached)


def read_logprobs(wire: Any, offset: int = 0) -> Logprobs | None:
    """Read logprobs of either shape: the documented four arrays, or llama.cpp's list of objects."""
    if not isinstance(wire, dict):
        return None
    content = wire.get("content")
    if isinstance(content, list):
        return _from_objects([entry for entry in content if isinstance(entry, dict)], offset)
    tokens = wire.get("tokens")
    if not isinstance(tokens, list):
        return None
    tokens = [str(token) for token in tokens]
    return Logprobs(
        tokens,
        [_number(value) for value in _array(wire, "token_logprobs", tokens)],
        [_table(value) for value in _array(wire, "top_logprobs", tokens)],
        _offsets(tokens, wire.get("text_offset"), offset),
    )


def _from_objects(entries: list[dict[str, Any]], offset: int) -> Logprobs:
    tokens = [str(entry.get("token", "")) for entry in entries]
    return Logprobs(
        tokens,
        [_number(entry.get("logprob")) for entry in entries],
        [_table_of_objects(entry.get("top_logprobs")) for entry in entries],
        _offsets(tokens, None, offset),
    )


def _array(wire: dict[str, Any], name: str, tokens: list[str]) -> list[Any]:
    """One of the parallel arrays, of the tokens' length."""
    values = wire.get(name)
    values = values if isinstance(values, list) else []
    return (values + [None] * len(tokens))[: len(tokens)]


def _offsets(tokens: list[str], given: Any, offset: int) -> list[int]:
    if isinstance(given, list) and len(given) == len(tokens) and all(_count(value) is not None for value in given):
        return given
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return offsets


def _table(value: Any) -> dict[str, float] | None:
    if not isinstance(value, dict):
        return None
    return {str(token): number for token, logprob in value.items() if (number := _number(logprob)) is not None}


def _table_of_objects(entries: Any) -> dict[str, float] | None:
    entries = entries if isinstance(entries, list) else []
    return _table({str(entry.get("token")): entry.get("logprob") for entry in entries if isinstance(entry, dict)})


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _count(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
