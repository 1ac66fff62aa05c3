"""The fields of `POST /api/v2/completions`, once: types, ranges, merging, the JSON body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from typing_extensions import Self

from paradigm_transport.arguments import Fields, encode_body
from paradigm_transport.endpoints.parameters import CallParameters
from paradigm_transport.errors import InvalidParameterError

MAX_STOPS = 4
"""The most stop sequences that the endpoint accepts; further ones are enforced here."""

_SET_BY_CLIENT = frozenset({"prompt", "stream", "stream_options"})


def join_stops(*groups: Iterable[str] | None) -> list[str] | None:
    """Join groups of stop sequences, each sequence once, in order; None if there is none."""
    return list(dict.fromkeys(chain.from_iterable(filter(None, groups)))) or None


def _as_list(stop: object) -> object:
    if isinstance(stop, str):
        return [stop]
    return list(stop) if isinstance(stop, (tuple, set, frozenset)) else stop


def _check_stops(stops: list[str]) -> list[str] | None:
    if "" in stops:
        raise ValueError("stop sequences must not be empty")
    return join_stops(stops)


def _text_keys(bias: object) -> object:
    return {str(token): value for token, value in bias.items()} if isinstance(bias, Mapping) else bias


Stops = Annotated[list[str], BeforeValidator(_as_list), AfterValidator(_check_stops)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
MaxTokens = Annotated[
    int | None,
    Field(
        ge=1,
        description="The most tokens to generate, 1 or more. None leaves it to the server, whose default may be 16.",
    ),
]


def name_limit(max_tokens: int | None) -> str:
    """Name `max_tokens`, with its value if it has one, in a message about what it cut off."""
    return "max_tokens" if max_tokens is None else f"max_tokens ({max_tokens})"


Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]


class CompletionFields(Fields):
    """The fields of the endpoint that a caller chooses: declarations and checks only.

    A field left at None is not sent, so that the server's default holds.
    """

    model: str = Field(min_length=1, description="The model's name, as the administrator set it up.")
    max_tokens: MaxTokens = 256
    temperature: float | None = Field(
        default=None, ge=0, le=2, allow_inf_nan=False, description="The sampling temperature, 0 to 2."
    )
    top_p: float | None = Field(
        default=None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="Nucleus sampling, above 0 and up to 1: only the likeliest tokens with this probability together.",
    )
    n: int | None = Field(default=None, ge=1, description="How many completions to generate, 1 or more.")
    best_of: int | None = Field(
        default=None, ge=1, description="Generate this many on the server, `n` or more, and return the best `n`."
    )
    logprobs: int | None = Field(
        default=None,
        ge=0,
        description="Return the log-probabilities of each token and of this many of the likeliest ones, 0 or more.",
    )
    echo: bool | None = Field(default=None, description="Return the prompt in front of the completion.")
    stop: Stops | None = Field(
        default=None, description="The sequence or sequences at which generation stops. They are not part of the text."
    )
    presence_penalty: Penalty | None = Field(
        default=None, description="Penalty for tokens that occurred at all, -2 to 2."
    )
    frequency_penalty: Penalty | None = Field(
        default=None, description="Penalty for tokens by how often they occurred, -2 to 2."
    )
    logit_bias: Annotated[dict[str, Bias], BeforeValidator(_text_keys)] | None = Field(
        default=None, description="Bias by token id, -100 to 100."
    )
    user: str | None = Field(default=None, description="An identifier of the end user.")
    suffix: str | None = Field(default=None, description="Text that comes after the completion.")
    extra_body: dict[str, Any] | None = Field(
        default=None,
        description="Further fields of the server behind the endpoint (`top_k`, `seed`, …), sent as they are.",
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.best_of is not None and self.best_of < (self.n or 1):
            raise ValueError("best_of must be at least n")
        for name in self.extra_body or ():
            if name in _SET_BY_CLIENT or name in FIELDS:
                raise ValueError(f"extra_body holds {name}, which has an argument of its own or is set by the client")
        return self


FIELDS = frozenset(CompletionFields.model_fields)
_SENT = tuple(name for name in CompletionFields.model_fields if name != "extra_body")


class CompletionParameters(CompletionFields, CallParameters):
    """The fields of one request.

    Raises:
        InvalidParameterError: a name is unknown, or a value is of a wrong type or out of its range.
    """

    def merged(self, overrides: Mapping[str, Any]) -> CompletionParameters:
        """Return these parameters with those of a call over them; see `of`.

        Args:
            overrides: the call's fields.

        Raises:
            InvalidParameterError: as at construction.
        """
        return CompletionParameters.of(self, overrides)

    def with_stops(self, *, first: Iterable[str] = (), last: Iterable[str] = ()) -> Self:
        """Return these parameters with further stop sequences.

        Args:
            first: those that the server must know: it gets the first four of all.
            last: those that may be enforced here.
        """
        stops = join_stops(first, self.stop, last)
        return self if stops == self.stop else self.model_copy(update={"stop": stops})

    def with_extra_body(self, defaults: Mapping[str, Any]) -> Self:
        """Return these parameters with fields in `extra_body` that it does not have yet.

        Args:
            defaults: the fields.
        """
        return self.model_copy(update={"extra_body": {**defaults, **(self.extra_body or {})}})

    def body(self, prompt: str, *, stream: bool = False, stream_usage: bool = False) -> bytes:
        """Return the JSON of the request: only what was set, and no nulls.

        Args:
            prompt: the text to complete.
            stream: ask for a stream.
            stream_usage: ask for usage at its end.

        Raises:
            InvalidParameterError: the prompt is not a string, or a field cannot be encoded as JSON.
        """
        if not isinstance(prompt, str):
            raise InvalidParameterError(f"prompt must be a string, not {type(prompt).__name__}")
        fields = {name: value for name in _SENT if (value := getattr(self, name)) is not None}
        if self.stop:
            fields["stop"] = self.stop[0] if len(self.stop) == 1 else self.stop[:MAX_STOPS]
        fields["prompt"] = prompt
        if stream:
            fields["stream"] = True
            if stream_usage:
                fields["stream_options"] = {"include_usage": True}
        if self.extra_body:
            fields.update(self.extra_body)
        return encode_body(fields)
