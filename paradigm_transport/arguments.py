"""Arguments: the base of all classes that declare fields, and argument errors that people can read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import AliasChoices, BaseModel, ConfigDict, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, to_json

from paradigm_transport.errors import InvalidParameterError

if TYPE_CHECKING:

    class Key:
        """A key, as type checkers see it: a string may be assigned, a `SecretStr` is read."""

        def __get__(self, settings: object, owner: type | None = None) -> SecretStr: ...
        def __set__(self, settings: object, key: SecretStr | str) -> None: ...

else:
    Key = SecretStr


class Fields(BaseModel):
    """Base of the classes that declare arguments, which may be mixed into a framework's class.

    A subclass that inherits from a framework, too, must not declare a name that the framework already uses: its
    values would reach the server unasked.

    Raises:
        InvalidParameterError: an argument is unknown, missing, of a wrong type or out of its range; in place of
            pydantic's ValidationError, which quotes the values: one may be a key.
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        defer_build=True,
        hide_input_in_errors=True,
        populate_by_name=True,
        protected_namespaces=(),
    )

    _argument_aliases: ClassVar[Mapping[str, str]] = {}
    """Other names of arguments, under which a framework's users know them."""

    _elsewhere: ClassVar[Mapping[str, str]] = {}
    """Names that belong elsewhere, with what to do instead."""

    _redeclared: ClassVar[frozenset[str]] = frozenset()
    """The fields that a framework's class, such as a user's subclass, gives another default."""

    if not TYPE_CHECKING:  # pragma: no branch  # type checkers read the signature off the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**self._named(values))
                return
            except ValidationError as refused:
                errors = refused.errors(include_input=False, include_url=False)
            # Raised out here, so that pydantic's error does not travel along as the context.
            raise InvalidParameterError("; ".join(dict.fromkeys(_problem(type(self), error) for error in errors)))

    @classmethod
    def _named(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments under the names of their fields.

        Raises:
            InvalidParameterError: a name is unknown, or an argument is given under two names.
        """
        named = dict(values)
        for alias, name in cls._argument_aliases.items():
            if alias in named and name in named:
                raise InvalidParameterError(f"{alias} is another name of {name}: pass one of them")
            if alias in named:
                named[name] = named.pop(alias)
        _check_names(named, cls.model_fields, cls._elsewhere)
        return named

    @property
    def _chosen(self) -> AbstractSet[str]:
        """The names of the arguments that were passed, or whose default the class changes."""
        return self.model_fields_set | self._redeclared

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        frameworks = {base for base in cls.__mro__ if not issubclass(base, Fields) and base not in Fields.__mro__}
        ours = [base for base in cls.__mro__ if issubclass(base, Fields) and frameworks.isdisjoint(base.__mro__)]
        declared = {name: base for base in reversed(ours) for name in base.__annotations__}
        usual = {name: base.model_fields[name].default for name, base in declared.items() if name in cls.model_fields}
        cls._redeclared = frozenset(name for name in usual if cls.model_fields[name].default != usual[name])
        for base in frameworks:
            taken = declared.keys() & {*vars(base), *vars(base).get("__annotations__", {})}
            if taken:
                raise TypeError(f"{cls.__name__}: {base.__name__} already has {', '.join(sorted(taken))}")


def _check_names(given: Iterable[str], known: Mapping[str, FieldInfo], elsewhere: Mapping[str, str]) -> None:
    """Refuse an unknown argument, with the one that was probably meant."""
    for name in given:
        if name in known or any(name in _aliases(field) for field in known.values()):
            continue
        meant = next((meant for meant, others in _OTHER_NAMES.items() if name in others and meant in known), None)
        if name in elsewhere:
            hint = elsewhere[name]
        elif meant is not None:
            hint = f"here it is {meant}"
        elif name in _SERVER_FIELDS:
            hint = f'it is a field of some servers: extra_body={{"{name}": ...}}'
        else:
            from difflib import get_close_matches  # only a mistake needs it

            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "fields beyond Paradigm's own go into extra_body"
        raise InvalidParameterError(f"unknown argument {name}; {hint}")


def _aliases(field: FieldInfo) -> Collection[object]:
    alias = field.validation_alias
    return alias.choices if isinstance(alias, AliasChoices) else (alias,)


# What other classes for completions, and LightOn's earlier client, call the same things.
_OTHER_NAMES = {
    "k": ("limit", "similarity_top_k", "top_k"),
    "max_results": ("k", "limit", "similarity_top_k", "top_k"),
    "similarity_top_k": ("k", "limit", "top_k"),
    "file_id": ("document_ids", "file_ids", "files"),
    "tag_id": ("tag_ids",),
    "workspace_id": ("workspace", "workspace_ids", "workspaces"),
    "api_key": ("openai_api_key", "paradigm_api_key"),
    "base_url": ("api_base", "base_address", "host", "openai_api_base"),
    "batch_inputs": ("batch_size", "chunk_size"),
    "default_headers": ("headers",),
    "dimensions": ("dimension", "output_dimensionality"),
    "document_prefix": ("embed_instruction", "text_instruction"),
    "extra_body": ("additional_kwargs", "extra_kwargs", "generate_kwargs", "model_kwargs"),
    "http_async_client": ("async_http_client",),
    "http_client": ("openai_proxy",),
    "logit_bias": ("biases",),
    "logprobs": ("return_log_probs", "return_logprobs", "top_logprobs"),
    "max_tokens": ("max_completion_tokens", "max_new_tokens", "n_tokens"),
    "model": ("model_id", "model_name"),
    "n": ("n_completions",),
    "query_prefix": ("query_instruction",),
    "stop": ("stop_regex", "stop_sequences", "stop_words"),
    "stream_usage": ("stream_options",),
    "timeout": ("request_timeout", "timeout_s"),
}

# Fields of the servers behind the endpoint, some of which look like a slip of one of Paradigm's own.
_SERVER_FIELDS = (
    "guided_json", "guided_regex", "ignore_eos", "length_penalty", "min_p", "min_tokens", "reasoning_effort",
    "repetition_penalty", "response_format", "seed", "stop_token_ids", "structured_outputs", "top_k",
    "truncate_prompt_tokens",
)  # fmt: skip


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
