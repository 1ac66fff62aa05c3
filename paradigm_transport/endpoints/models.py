"""`GET /models`: the models that a server offers, in any form that servers list them."""

from __future__ import annotations

from dataclasses import dataclass, field

from paradigm_transport.calls import Call
from paradigm_transport.messages import JsonObject
from paradigm_transport.refusals import Origin, unexpected_response


@dataclass(frozen=True, slots=True)
class Model:
    """An entry of the model list.

    Attributes:
        id: the name to pass as `model`.
        context_window: the most tokens of prompt and completion together; None if the server does not say.
        raw: the entry as it arrived.
    """

    id: str
    context_window: int | None = None
    raw: JsonObject = field(default_factory=dict, repr=False)


class ModelsCall(Call[list[Model]]):
    """A call of the model list."""

    method = "GET"
    path = "models"

    def read(self, body: object, origin: Origin) -> list[Model]:
        """Read the list; see `Call.read`."""
        entries = body.get("data") if isinstance(body, dict) else body
        if not isinstance(entries, list):
            raise unexpected_response(body, origin)
        return [model for entry in entries if isinstance(entry, dict) and (model := _read_model(entry))]


def _read_model(entry: JsonObject) -> Model | None:
    names = [name for name in (entry.get("id"), entry.get("name")) if name and isinstance(name, str)]
    meta = entry.get("meta")
    window = entry.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None)
    return Model(names[0], window if isinstance(window, int) else None, entry) if names else None
