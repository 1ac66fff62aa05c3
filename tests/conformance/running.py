"""A server that runs, as tests see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from paradigm_local.model import SMOLLM2, default_model
from paradigm_transport import ParadigmError
from tests.conformance.servers import Server
from tests.conformance.starting import TEMPLATE


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        server: its row of the table.
        base_url: where it is.
        api_key: the key that it takes.
        model: the model's name.
        embedding_model: the name of a model that embeds texts; None if it has none.
    """

    server: Server
    base_url: str
    api_key: str
    model: str
    embedding_model: str | None = None

    @property
    def template(self) -> str:
        """The template by which the server writes chats, in Jinja."""
        return _template_in(default_model(SMOLLM2)) if self.server.has_own_template else TEMPLATE.read_text()

    @property
    def address(self) -> dict[str, Any]:
        """The arguments of every class that say where the server is."""
        return {"base_url": self.base_url, "api_key": self.api_key}

    def expects(self, behaviour: str) -> str:
        """Return what the table says of a behaviour."""
        return self.server.expects(behaviour)

    def post(self, path: str, **body: Any) -> httpx.Response:
        """Send a request that nothing of ours has touched."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return httpx.post(f"{self.base_url}/{path}", json={"model": self.model, **body}, headers=headers, timeout=300)


def kind_of(error: ParadigmError) -> str:
    """Return the name of the transport's class of an error."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "paradigm_transport.errors")


def _template_in(gguf: Path) -> str:
    with gguf.open("rb") as file:
        metadata = file.read(8 << 20)
    begin = metadata.index(b"tokenizer.chat_template") + len("tokenizer.chat_template") + 4  # after the value's type
    length = int.from_bytes(metadata[begin : begin + 8], "little")
    return metadata[begin + 8 : begin + 8 + length].decode()
