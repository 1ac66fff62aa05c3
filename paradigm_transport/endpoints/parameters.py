"""What the parameters of every endpoint's requests share: options of one call, and merging layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import Field
from typing_extensions import Self

from paradigm_transport.arguments import Fields
from paradigm_transport.http.settings import Headers, Waits


class CallParameters(Fields):
    """Options of one call, which are not part of its body. Subclasses add the fields of their endpoint."""

    extra_headers: Headers | None = Field(
        default=None, exclude=True, repr=False, description="Further headers of this request, not of the body."
    )
    timeout: Waits = Field(
        default=None, description="The time-outs of this call, not of the body; by default those of the settings."
    )

    @classmethod
    def of(cls, *layers: Fields | Mapping[str, Any]) -> Self:
        """Merge layers of fields: a later layer wins, and None leaves a field out.

        `extra_body` is merged field by field.

        Args:
            layers: mappings, or sets of fields; a set counts only the fields that were passed, or whose default a
                subclass changes.

        Raises:
            InvalidParameterError: as at construction.
        """
        values: dict[str, Any] = {}
        for layer in layers:
            given = cls._given(layer) if isinstance(layer, Fields) else layer
            below, above = values.get("extra_body"), given.get("extra_body")
            values.update(given)
            if isinstance(below, Mapping) and isinstance(above, Mapping):
                values["extra_body"] = {**below, **above}
        return cls(**values)

    @classmethod
    def _given(cls, fields: Fields) -> dict[str, Any]:
        """Return the endpoint's fields that were given; of other parameters, the options of the call too."""
        values, known = vars(fields), _names(cls, isinstance(fields, CallParameters))
        return {name: values[name] for name in fields._chosen & known}


@lru_cache
def _names(kind: type[CallParameters], with_options: bool) -> frozenset[str]:
    """Return the names of fields, without the options of a call: the `timeout` of a model is that of its settings."""
    names = kind.model_fields.keys()
    return frozenset(names if with_options else names - CallParameters.model_fields.keys())
