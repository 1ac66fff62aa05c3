"""`POST /embeddings`: fields, reply, call.

The contract types `input` as one string. Some servers take a list of them too, which a call of several texts sends.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from paradigm_transport.arguments import Fields, encode_body
from paradigm_transport.calls import Call
from paradigm_transport.endpoints.parameters import CallParameters
from paradigm_transport.errors import APIResponseError, APIStatusError, InvalidParameterError
from paradigm_transport.http.responses import BaseResponse
from paradigm_transport.refusals import Origin, unexpected_response
from paradigm_transport.usage import Usage, read_usage

Name = Callable[[int], str]
"""Names a text by its place among those that were given."""

REFUSED_INPUT = frozenset({400, 413, 422})
"""The statuses by which servers refuse what they were given to embed."""


class EmbeddingFields(Fields):
    """The fields of the endpoint that a caller chooses: declarations and checks only.

    A field left at None is not sent.
    """

    model: str = Field(min_length=1, description="The model's name, as the administrator set it up.")
    dimensions: int | None = Field(
        default=None, ge=1, description="How many numbers an embedding has, 1 or more; not every model can choose."
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        default="float",
        description="How the server writes numbers: `float`, or `base64`, which is shorter. Either is read.",
    )
    user: str | None = Field(default=None, description="An identifier of the end user.")
    extra_body: dict[str, Any] | None = Field(
        default=None,
        description="Further fields of the server behind the endpoint (`truncate_prompt_tokens`, …), sent as they are.",
    )

    @model_validator(mode="after")
    def _check_extra_body(self) -> Self:
        for name in self.extra_body or ():
            if name == "input" or name in EmbeddingFields.model_fields:
                raise ValueError(f"extra_body holds {name}, which is an argument itself or is set by the client")
        return self


class EmbeddingParameters(EmbeddingFields, CallParameters):
    """The fields of one request.

    Raises:
        InvalidParameterError: a name is unknown, or a value is of a wrong type or out of its range.
    """

    def body(self, texts: Sequence[str]) -> bytes:
        """Return the JSON of the request: only what was set, and no nulls.

        Args:
            texts: the texts to embed; one alone is sent as a string.

        Raises:
            InvalidParameterError: a field cannot be encoded as JSON.
        """
        names = [name for name in EmbeddingFields.model_fields if name != "extra_body"]
        fields = {name: value for name in names if (value := getattr(self, name)) is not None}
        return encode_body({**fields, "input": texts[0] if len(texts) == 1 else texts, **(self.extra_body or {})})


@dataclass(slots=True)
class Embeddings:
    """The embeddings of the texts of a request.

    Attributes:
        vectors: an embedding for each text, in the order of the texts.
        model: the model that embedded them, as the server names it.
        usage: the tokens of the texts, as the server counted them; None if it sent none.
        request_id: the id of the HTTP request, if the server sent one.
        latency: seconds from the first request to the end of the reply.
        retries: the number of requests that failed before.
    """

    vectors: list[list[float]]
    model: str | None = None
    usage: Usage | None = None
    request_id: str | None = None
    latency: float | None = None
    retries: int = 0


class EmbeddingCall(Call[Embeddings]):
    """A call that embeds one text, or several if the server takes a list.

    Args:
        texts: the text, or the texts.
        parameters: the endpoint's fields.
        name: names a text by its place, for errors; by default as `texts[0]`, or "the text" if it is alone.

    Raises:
        InvalidParameterError: there is nothing to embed, or something that is not a text.
    """

    path = "embeddings"

    def __init__(self, texts: str | Sequence[str], parameters: EmbeddingParameters, name: Name | None = None) -> None:
        self.prompts = (texts,) if isinstance(texts, str) else tuple(texts)
        self.parameters = parameters
        self.model = parameters.model
        self.extra_headers = parameters.extra_headers
        if "timeout" in parameters.model_fields_set:
            self.timeout = parameters.timeout
        self._is_one_of_many = name is not None
        self._name = name or ("the text" if len(self.prompts) == 1 else "texts[{}]").format
        if not self.prompts:
            raise InvalidParameterError("texts is empty: there is nothing to embed")
        for place, text in enumerate(self.prompts):
            if not isinstance(text, str):
                raise InvalidParameterError(f"{self._name(place)} must be a string, not {type(text).__name__}")

    def encode(self) -> bytes:
        """Return the body; see `Request.encode`."""
        try:
            return self.parameters.body(self.prompts)
        except InvalidParameterError:
            for place, text in enumerate(self.prompts):
                if any("\ud800" <= character <= "\udfff" for character in text):
                    problem = f"{self._name(place)} cannot be encoded as JSON: it holds half of a surrogate pair"
                    raise InvalidParameterError(problem) from None
            raise

    def read_response(self, response: BaseResponse, data: bytes) -> Embeddings:
        """As `Call.read_response`; a refusal of the input names the texts."""
        try:
            return super().read_response(response, data)
        except APIStatusError as error:
            if error.status_code in REFUSED_INPUT and self._is_one_of_many:
                places = dict.fromkeys((0, len(self.prompts) - 1))
                error.args = (f"{error} It was about {' to '.join(map(self._name, places))}.",)
            raise

    def read(self, body: object, origin: Origin) -> Embeddings:
        """Read the embeddings; see `Call.read`."""
        entries = body.get("data") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(entries, list):
            raise unexpected_response(body, origin)
        ordered = _in_order(entries, len(self.prompts))
        if len(entries) != len(ordered) or None in ordered:
            missing = f", none of {self._name(ordered.index(None))}" if None in ordered else ""
            raise _unfit(f"{len(entries)} embeddings for {len(ordered)} texts{missing}", body, origin)
        vectors = []
        for place, entry in enumerate(ordered):
            try:
                vectors.append(_read_vector(entry))
            except ValueError as problem:
                raise _unfit(f"an embedding of {self._name(place)} {problem}", body, origin) from None
        check_lengths(vectors, self.parameters.dimensions, self._name, origin.host)
        usage = body.get("usage")
        usage = read_usage({**usage, "completion_tokens": 0}) if isinstance(usage, dict) else None
        model = body.get("model")
        model = model if isinstance(model, str) else None
        return Embeddings(vectors, model, usage, origin.request_id, self.meter.end(usage), self.retries)


def check_lengths(vectors: Sequence[Sequence[float]], dimensions: int | None, name: Name, host: str) -> None:
    """Check that embeddings are of one length.

    Args:
        vectors: the embeddings.
        dimensions: the length that was asked for, if any.
        name: names a text by its place, for the error.
        host: the host that was called.

    Raises:
        APIResponseError: one differs; names its text.
    """
    wanted = dimensions or (len(vectors[0]) if vectors else 0)
    for place, vector in enumerate(vectors):
        if len(vector) != wanted:
            others = f"the {wanted} of dimensions" if dimensions else f"{wanted} for {name(0)}"
            raise APIResponseError(f"{host} returned {len(vector)} numbers for {name(place)}, not {others}.")


def _in_order(entries: Sequence[object], count: int) -> list[object]:
    """Return the entries by their index, or by their place if they have none; None where one is missing."""
    if count == 1:
        return list(entries[:1]) or [None]
    ordered: list[object] = [None] * count
    for place, entry in enumerate(entries):
        index = entry.get("index") if isinstance(entry, dict) else None
        index = place if index is None else index
        if type(index) is int and 0 <= index < count:
            ordered[index] = entry
    return ordered


def _read_vector(entry: object) -> list[float]:
    """Read an entry.

    Raises:
        ValueError: says what is wrong with it.
    """
    numbers = entry.get("embedding") if isinstance(entry, dict) else None
    if isinstance(numbers, str):
        numbers = _decode(numbers)
    if not isinstance(numbers, list) or not numbers or not set(map(type, numbers)) <= {float, int}:
        raise ValueError("that is not a list of numbers")
    try:
        vector = list(map(float, numbers))
    except OverflowError:
        vector = [float("inf")]
    if not all(map(isfinite, vector)):
        raise ValueError("with a number that is not finite")
    return vector


def _decode(text: str) -> list[float]:
    """Decode 32-bit floats, little-endian, in base64."""
    numbers = array("f")
    try:
        numbers.frombytes(b64decode(text, validate=True))
    except ValueError:
        raise ValueError("that is not base64 of 32-bit floats") from None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def _unfit(what: str, body: object, origin: Origin) -> APIResponseError:
    message = f"{origin.host} returned {what}."
    return APIResponseError(message, body=origin.redaction.body(body), request_id=origin.request_id)
