"""Arguments: the base of all classes that declare fields, and argument errors that people can read."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, to_json

from paradigm_transport.errors import InvalidParameterError


class Fields(BaseModel):
    """Base of the classes that declare arguments, which may be mixed into a framework's class.

    A subclass that inherits from a framework, too, must not declare a name that the framework already uses: its
    values would reach the server unasked.

    Raises:
        InvalidParameterError: an argument is unknown, missing, of a wrong type or out of its range; in place of
            pydantic's ValidationError, which quotes the values: one may be a key.
    """

    model_config = ConfigDict(protected_namespaces=())

    _argument_aliases: ClassVar[Mapping[str, str]] = {}
    """Other names of arguments, under which a framework's users know them."""

    if not TYPE_CHECKING:  # pragma: no branch  # type checkers read the signature off the fields

        def __init__(self, **values: Any) -> None:
            values = _without_aliases(values, self._argument_aliases)
            check_names(values, type(self).model_fields)
            try:
                super().__init__(**values)
                return
            except ValidationError as refused:
                errors = refused.errors(include_input=False, include_url=False)
            # Raised out here, so that pydantic's error does not travel along as the context.
            raise InvalidParameterError("; ".join(dict.fromkeys(_problem(type(self), error) for error in errors)))

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        declared = {name for base in cls.__mro__ if _declares_alone(base) for name in base.__annotations__}
        for base in cls.__mro__:
            if not issubclass(base, Fields) and base not in Fields.__mro__:
                taken = declared.intersection({*vars(base), *vars(base).get("__annotations__", {})})
                if taken:
                    raise TypeError(f"{cls.__name__}: {base.__name__} already has {', '.join(sorted(taken))}")


def _declares_alone(kind: type) -> bool:
    """Whether a class declares fields and inherits from no framework."""
    return issubclass(kind, Fields) and all(issubclass(base, Fields) or base in Fields.__mro__ for base in kind.__mro__)


def _without_aliases(values: dict[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    for alias, name in aliases.items():
        if alias in values:
            if name in values:
                raise InvalidParameterError(f"{alias} is another name of {name}: pass one of them")
            values[name] = values.pop(alias)
    return values


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
    message = f"{name}: {message[:1].lower()}{message[1:]}"
    field = model.model_fields.get(name)
    if field is None or not field.description or error["type"] == "value_error":  # whose message says it all
        return message
    meaning = field.description.split(". ")[0].rstrip(".")
    return f"{message} ({meaning[:1].lower()}{meaning[1:]})"


def encode_body(fields: Mapping[str, object]) -> bytes:
    """Encode the body of a request as JSON.

    Raises:
        InvalidParameterError: names the field that cannot be encoded.
    """
    body = _to_json(fields)
    if body is None:
        name = next((name for name, value in fields.items() if _to_json(value) is None), "extra_body")
        raise InvalidParameterError(f"{name} cannot be encoded as JSON")
    return body


def _to_json(value: object) -> bytes | None:
    try:
        return to_json(value)
    except ValueError:  # of pydantic, of an encoding
        return None
