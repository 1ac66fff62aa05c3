"""The fields of `POST /completions`, and those that it shares with `POST /chat/completions`: types, ranges, merging."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from typing_extensions import Self

from paradigm_transport.arguments import Fields, encode_body
from paradigm_transport.endpoints.parameters import CallParameters
from paradigm_transport.errors import InvalidParameterError

MAX_STOPS = 4
"""The most stop sequences that the endpoint accepts; further ones are enforced here."""

_NOT_SENT = frozenset({"extra_body", "stream_usage", *CallParameters.model_fields})
"""Fields of parameters that are not fields of the body."""

_SET_BY_CLIENT = frozenset({"messages", "prompt", "stream", "stream_options"})


def join_stops(*groups: Iterable[str] | None) -> list[str] | None:
    """Join groups of stop sequences, each sequence once, in order, or None."""
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


def _none_of_false(logprobs: object) -> object:
    return None if logprobs is False else logprobs  # OpenAI's chats take a bool here, and False is not 0


class GenerationFields(Fields):
    """The fields that both endpoints that generate text share: declarations and checks only.

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
    logprobs: Annotated[int | None, BeforeValidator(_none_of_false)] = Field(
        default=None,
        ge=0,
        description="Return the log-probabilities of each token and of this many of the likeliest ones, 0 or more.",
    )
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
    extra_body: dict[str, Any] | None = Field(
        default=None,
        description="Further fields of the server behind the endpoint (`top_k`, `seed`, …), sent as they are.",
    )

    @model_validator(mode="after")
    def _check_extra_body(self) -> Self:
        for name in self.extra_body or ():
            if name in _SET_BY_CLIENT or name in self._fields():
                raise ValueError(f"extra_body holds {name}, which is an argument itself or is set by the client")
        return self

    def _fields(self) -> Collection[str]:
        """The names of the endpoint's fields; a framework's class has more arguments."""
        return GenerationFields.model_fields


class CompletionFields(GenerationFields):
    """The fields of `POST /completions` that a caller chooses: declarations and checks only."""

    best_of: int | None = Field(
        default=None, ge=1, description="Generate this many on the server, `n` or more, and return the best `n`."
    )
    echo: bool | None = Field(default=None, description="Return the prompt in front of the completion.")
    suffix: str | None = Field(default=None, description="Text that comes after the completion.")

    @model_validator(mode="after")
    def _check_best_of(self) -> Self:
        if self.best_of is not None and self.best_of < (self.n or 1):
            raise ValueError("best_of must be at least n")
        return self

    def _fields(self) -> Collection[str]:
        return FIELDS


FIELDS = frozenset(CompletionFields.model_fields)


class GenerationParameters(GenerationFields, CallParameters):
    """The fields of one request: merging, and what the bodies of both endpoints have in common.

    Raises:
        InvalidParameterError: a name is unknown, or a value is of a wrong type or out of its range.
    """

    stream_usage: bool | None = Field(
        default=None, description="Ask for usage at the end of a stream; by default as the settings say."
    )

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

    def _body(self, changed: Mapping[str, object], *, stream: bool, stream_usage: bool) -> bytes:
        """Return the JSON of a request: only what was set, and no nulls.

        Args:
            changed: the endpoint's own fields, which win; a None leaves one out.
            stream: ask for a stream.
            stream_usage: ask for usage at its end.
        """
        values = {**vars(self), **changed}
        fields = {name: value for name, value in values.items() if value is not None and name not in _NOT_SENT}
        if stream:
            fields["stream"] = True
            if stream_usage:
                fields["stream_options"] = {"include_usage": True}
        if self.extra_body:
            fields.update(self.extra_body)
        return encode_body(fields)


class CompletionParameters(CompletionFields, GenerationParameters):
    """The fields of one request of `POST /completions`.

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
        stop = self.stop and (self.stop[0] if len(self.stop) == 1 else self.stop[:MAX_STOPS])
        return self._body({"stop": stop or None, "prompt": prompt}, stream=stream, stream_usage=stream_usage)
