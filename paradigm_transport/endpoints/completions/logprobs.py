"""Log-probabilities of tokens, of either shape that servers send."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from paradigm_transport.json_object import JsonObject
from paradigm_transport.usage import read_count


@dataclass(slots=True)
class Logprobs:
    """Log-probabilities, in the four parallel arrays that the endpoint documents.

    Attributes:
        tokens: the tokens of the text.
        token_logprobs: the log-probability of each; None if the server sends none (an echoed first token).
        top_logprobs: for each, the likeliest tokens and their log-probabilities.
        text_offset: where in the text each token begins, in characters.
        entries: for each, what OpenAI's chats have in place of the arrays: `token`, `logprob`, `bytes` and a list of
            `top_logprobs`, which tells apart alternatives that are written alike; None if the server sent the arrays.
    """

    tokens: list[str] = field(default_factory=list)
    token_logprobs: list[float | None] = field(default_factory=list)
    top_logprobs: list[dict[str, float] | None] = field(default_factory=list)
    text_offset: list[int] = field(default_factory=list)
    entries: list[JsonObject | None] = field(default_factory=list, compare=False, repr=False)

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.tokens)

    def __getitem__(self, part: slice) -> Logprobs:
        """Return a part of the tokens."""
        return Logprobs(
            self.tokens[part],
            self.token_logprobs[part],
            self.top_logprobs[part],
            self.text_offset[part],
            self.entries[part],
        )

    def __add__(self, other: Logprobs) -> Logprobs:
        """Return these tokens, then those of another."""
        return Logprobs(
            self.tokens + other.tokens,
            self.token_logprobs + other.token_logprobs,
            self.top_logprobs + other.top_logprobs,
            self.text_offset + other.text_offset,
            self.entries + other.entries,
        )

    def extend(self, other: Logprobs) -> None:
        """Add tokens in place, which takes no longer for those that are here already.

        Args:
            other: the tokens behind these.
        """
        self.tokens += other.tokens
        self.token_logprobs += other.token_logprobs
        self.top_logprobs += other.top_logprobs
        self.text_offset += other.text_offset
        self.entries += other.entries

    def count_within(self, characters: int, first: int = 0) -> int:
        """Count the tokens that begin within the first characters of the text that they spell.

        Args:
            characters: the number of these characters.
            first: the index of the token that the count and the text begin with.
        """
        begin = 0
        for place in range(first, len(self.tokens)):
            if begin >= characters:
                return place - first
            begin += len(self.tokens[place])
        return len(self.tokens) - first

    def as_dict(self) -> JsonObject:
        """Return the four arrays under the endpoint's names."""
        return {
            "tokens": self.tokens,
            "token_logprobs": self.token_logprobs,
            "top_logprobs": self.top_logprobs,
            "text_offset": self.text_offset,
        }


def read_logprobs(wire: object, offset: int = 0) -> Logprobs | None:
    """Read logprobs of either shape: the documented four arrays, or the list of objects of chats and llama.cpp."""
    if not isinstance(wire, dict):
        return None
    entries: list[JsonObject] = []
    if isinstance(wire.get("content"), list):
        entries = [_entry(each) for each in wire["content"] if isinstance(each, dict)]
        wire = _as_arrays(entries)
    if not isinstance(wire.get("tokens"), list):
        return None
    tokens = [str(token) for token in wire["tokens"]]
    return Logprobs(
        tokens,
        [_number(value) for value in _array(wire, "token_logprobs", tokens)],
        [_table(value) for value in _array(wire, "top_logprobs", tokens)],
        _offsets(tokens, wire.get("text_offset"), offset),
        [*entries] or [None] * len(tokens),
    )


def as_entries(logprobs: Logprobs) -> list[JsonObject]:
    """Return log-probabilities as OpenAI's chats have them; bytes that the server did not send are those of the text.

    Args:
        logprobs: the log-probabilities.
    """
    arrays = zip(logprobs.entries, logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True)
    return [entry or _entry_of_arrays(token, logprob, top) for entry, token, logprob, top in arrays]


def _entry_of_arrays(token: str, logprob: float | None, top: Mapping[str, float] | None) -> JsonObject:
    likeliest = [{"token": each, "logprob": value} for each, value in (top or {}).items()]
    return _entry({"token": token, "logprob": logprob, "top_logprobs": likeliest})


def _entry(wire: JsonObject) -> JsonObject:
    top = wire.get("top_logprobs")
    alternatives = top if isinstance(top, list) else []
    return {**_one(wire), "top_logprobs": [_one(each) for each in alternatives if isinstance(each, dict)]}


def _one(wire: JsonObject) -> JsonObject:
    token = str(wire.get("token", ""))
    sent = wire.get("bytes")
    is_sent = isinstance(sent, list) and all(type(byte) is int and 0 <= byte < 256 for byte in sent)
    return {"token": token, "logprob": _number(wire.get("logprob")), "bytes": sent if is_sent else _bytes_of(token)}


def _bytes_of(token: str) -> list[int] | None:
    """Return the bytes of a token; None if it ends within a character, which servers write as a replacement character.

    Args:
        token: its text.
    """
    return None if "\ufffd" in token else list(token.encode(errors="surrogatepass"))


def _as_arrays(entries: list[JsonObject]) -> JsonObject:
    return {
        "tokens": [entry["token"] for entry in entries],
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [_by_token(entry["top_logprobs"]) for entry in entries],
    }


def _by_token(entries: list[JsonObject]) -> JsonObject:
    table: JsonObject = {}
    for entry in entries:  # parts of characters are written alike: the first is the likeliest, and stays
        table.setdefault(entry["token"], entry["logprob"])
    return table


def _array(wire: JsonObject, name: str, tokens: list[str]) -> list[object]:
    """Return one of the parallel arrays, cut or filled to the number of tokens."""
    values = wire.get(name)
    values = values if isinstance(values, list) else []
    return (values + [None] * len(tokens))[: len(tokens)]


def _offsets(tokens: list[str], given: object, offset: int) -> list[int]:
    if isinstance(given, list) and len(given) == len(tokens) and all(read_count(value) is not None for value in given):
        return given
    return list(accumulate(map(len, tokens), initial=offset))[:-1]


def _table(value: object) -> dict[str, float] | None:
    if not isinstance(value, dict):
        return None
    return {str(token): number for token, logprob in value.items() if (number := _number(logprob)) is not None}


def _number(value: object) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if number < math.inf else None
