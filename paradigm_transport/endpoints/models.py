"""`GET /models`: the models that a server offers, in any form that servers list them."""

from __future__ import annotations

from dataclasses import dataclass, field

from paradigm_transport.calls import Call
from paradigm_transport.json_object import JsonObject
from paradigm_transport.refusals import Origin, unexpected_response
from paradigm_transport.usage import read_count


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
    return Model(names[0], _read_window(entry), entry) if names else None


def _read_window(entry: JsonObject) -> int | None:
    meta = entry.get("meta")
    by_llama_cpp = meta.get("n_ctx") if isinstance(meta, dict) else None
    windows = (entry.get("max_model_len"), by_llama_cpp, entry.get("max_input_tokens"))  # the last is LiteLLM's
    return next(filter(None, map(read_count, windows)), None)


class PropertiesCall(Call[JsonObject]):
    """A call of `GET /props`, where llama.cpp's server describes its one model."""

    method = "GET"
    path = "props"
    version = ""

    def read(self, body: object, origin: Origin) -> JsonObject:
        """Read the properties; see `Call.read`."""
        if not isinstance(body, dict):
            raise unexpected_response(body, origin)
        return body
