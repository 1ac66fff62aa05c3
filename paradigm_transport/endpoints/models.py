"""The models a server offers, in whichever way it lists them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from paradigm_transport.errors import Origin, unreadable


@dataclass(frozen=True, slots=True)
class Model:
    """An entry of the model list.

    Attributes:
        id: the name to pass as `model`.
        context_window: the most tokens of prompt and completion together; None where the server does not say.
        raw: the entry as it came.
    """

    id: str
    context_window: int | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False)


def read_models(body: Any, origin: Origin) -> list[Model]:
    """Read an answer of `GET /models`.

    Raises:
        APIResponseError: it holds no list of models.
    """
    entries = body.get("data") if isinstance(body, dict) else body
    if not isinstance(entries, list):
        raise unreadable(body, origin)
    return [model for entry in entries if isinstance(entry, dict) and (model := _read_model(entry))]


def _read_model(entry: dict[str, Any]) -> Model | None:
    names = [name for name in (entry.get("id"), entry.get("name")) if name and isinstance(name, str)]
    meta = entry.get("meta")
    window = entry.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None)
    return Model(names[0], window if isinstance(window, int) else None, entry) if names else None
