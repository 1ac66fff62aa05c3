"""The endpoint's fields, once: types, ranges, merging, the JSON body."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, to_json
from typing_extensions import Self

from paradigm_transport.errors import InvalidParameterError

MAX_STOPS = 4
"""The most stop sequences the endpoint takes; more are enforced on our side."""


def _as_list(stop: Any) -> Any:
    if isinstance(stop, str):
        return [stop]
    return list(stop) if isinstance(stop, (tuple, set, frozenset)) else stop


def _check_stops(stops: list[str]) -> list[str] | None:
    if "" in stops:
        raise ValueError("an empty string is no stop sequence")
    return list(dict.fromkeys(stops)) or None


def _text_keys(bias: Any) -> Any:
    return {str(token): value for token, value in bias.items()} if isinstance(bias, Mapping) else bias


Stops = Annotated[list[str], BeforeValidator(_as_list), AfterValidator(_check_stops)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]

_OWN_FIELDS = frozenset({"prompt", "stream", "stream_options"})
"""Fields of the body that the client sets itself."""


class CompletionParameters(BaseModel):
    """The fields of `POST /api/v2/completions` that a caller chooses.

    A field left at None is not sent, so that the server's own default holds.

    Raises:
        InvalidParameterError: a name is unknown, or a value is of a wrong type or out of its range.
    """

    model_config = ConfigDict(protected_namespaces=())

    model: str = Field(min_length=1, description="The model's name, as the administrator set it up.")
    max_tokens: int | None = Field(
        default=256,
        ge=1,
        description="The most tokens to generate, 1 or more. None leaves it to the server, whose default may be 16.",
    )
    temperature: float | None = Field(
        default=None,
        ge=0,
        le=2,
        allow_inf_nan=False,
        description="The sampling temperature, 0 to 2.",
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
        default=None, ge=1, description="Generate so many on the server, `n` or more, and return the best `n`."
    )
    logprobs: int | None = Field(
        default=None,
        ge=0,
        description="Give the log-probabilities of each token and of so many of the likeliest ones, 0 or more.",
    )
    echo: bool | None = Field(default=None, description="Give the prompt back in front of the completion.")
    stop: Stops | None = Field(
        default=None,
        description="Where generation stops: one sequence or several. They are not part of the text.",
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

    if not TYPE_CHECKING:  # pragma: no branch  # type checkers read the signature off the fields

        def __init__(self, **fields: Any) -> None:
            construct_clearly(type(self), super().__init__, fields)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.best_of is not None and self.best_of < (self.n or 1):
            raise ValueError("best_of must be at least n")
        for name in self.extra_body or ():
            if name in _OWN_FIELDS or name in _FIELDS:
                raise ValueError(f"extra_body holds {name}, which has an argument of its own or is set by the client")
        return self

    def merged(self, overrides: Mapping[str, Any]) -> CompletionParameters:
        """These parameters with those of a call put over them; the call wins, and None leaves a field out.

        `extra_body` is merged field by field.

        Args:
            overrides: the call's fields.

        Raises:
            InvalidParameterError: as at construction.
        """
        values = {name: getattr(self, name) for name in self.model_fields_set if name in _FIELDS}
        values.update(overrides)
        if self.extra_body and isinstance(overrides.get("extra_body"), Mapping):
            values["extra_body"] = {**self.extra_body, **overrides["extra_body"]}
        return CompletionParameters(**values)

    def body(self, prompt: str, *, stream: bool = False, stream_usage: bool = False) -> bytes:
        """The request's JSON: only what was set, and no nulls.

        Args:
            prompt: the text to complete.
            stream: ask for a stream.
            stream_usage: ask for usage at its end.

        Raises:
            InvalidParameterError: the prompt is no text, or a field holds what JSON cannot carry.
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
        body = _to_json(fields)
        if body is None:
            name = next((name for name, value in fields.items() if _to_json(value) is None), "extra_body")
            raise InvalidParameterError(f"{name} holds something that JSON in UTF-8 cannot carry")
        return body


_FIELDS = CompletionParameters.model_fields
_SENT = tuple(name for name in _FIELDS if name != "extra_body")


def _to_json(value: Any) -> bytes | None:
    try:
        return to_json(value)
    except ValueError:  # of pydantic, of an encoding
        return None


def construct_clearly(model: type[BaseModel], construct: Callable[..., None], values: dict[str, Any]) -> None:
    """Call a model's constructor; what is refused becomes one line for each argument, without the values.

    Raises:
        InvalidParameterError: in place of pydantic's ValidationError, and for unknown names.
    """
    check_names(values, model.model_fields)
    try:
        construct(**values)
        return
    except ValidationError as refused:
        problems = [_problem(model, error) for error in refused.errors(include_input=False, include_url=False)]
    # Raised out here, so that pydantic's error, which holds the values, does not travel along: one may be a key.
    raise InvalidParameterError("; ".join(dict.fromkeys(problems)))


def check_names(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse unknown arguments by name.

    Raises:
        InvalidParameterError: names the argument, and the one that was probably meant.
    """
    for name in given:
        if name not in known:
            raise InvalidParameterError(f"unknown argument {name}; {_hint(name, known)}")


def _hint(name: str, known: Collection[str]) -> str:
    if name in _RENAMED and _RENAMED[name] in known:
        return f"here it is {_RENAMED[name]}"
    if name in _SERVER_FIELDS:
        return f'it is a field of some servers: extra_body={{"{name}": ...}}'
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else "fields beyond Paradigm's own go into extra_body"


# What other classes for completions, and LightOn's earlier client, call the same things.
_RENAMED = {
    "additional_kwargs": "extra_body",
    "api_base": "base_url",
    "base_address": "base_url",
    "biases": "logit_bias",
    "extra_kwargs": "extra_body",
    "generate_kwargs": "extra_body",
    "headers": "default_headers",
    "host": "base_url",
    "max_new_tokens": "max_tokens",
    "model_id": "model",
    "model_kwargs": "extra_body",
    "model_name": "model",
    "n_completions": "n",
    "n_tokens": "max_tokens",
    "openai_api_base": "base_url",
    "openai_api_key": "api_key",
    "openai_proxy": "http_client",
    "paradigm_api_key": "api_key",
    "request_timeout": "timeout",
    "return_log_probs": "logprobs",
    "return_logprobs": "logprobs",
    "stop_regex": "stop",
    "stop_sequences": "stop",
    "stop_words": "stop",
    "timeout_s": "timeout",
}

# Fields of the servers behind the endpoint, some of which look like a slip of one of Paradigm's own.
_SERVER_FIELDS = frozenset(
    {
        "guided_json",
        "guided_regex",
        "ignore_eos",
        "length_penalty",
        "min_p",
        "min_tokens",
        "repetition_penalty",
        "response_format",
        "seed",
        "stop_token_ids",
        "structured_outputs",
        "top_k",
    }
)


def _problem(model: type[BaseModel], error: ErrorDetails) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "missing":
        return f"{name} is required"
    message = error["msg"].removeprefix("Value error, ")
    if not name:
        return message
    field = model.model_fields.get(name)
    meaning = f". {field.description}" if field and field.description and error["type"] != "value_error" else ""
    return f"{name}: {message[:1].lower()}{message[1:]}{meaning}"
