"""Classes that the tests of both frameworks ask a model for."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, model_validator


class Person(BaseModel):
    """A person, whose validator needs the name."""

    first: str
    last: str

    @model_validator(mode="before")
    @classmethod
    def split(cls, value: Any) -> Any:
        first, last = value["name"].split()
        return {"first": first, "last": last}
