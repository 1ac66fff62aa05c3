"""Embeddings of passages and queries by the model that serves the embeddings endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from paradigm_local.embedding import TextTooLong

if TYPE_CHECKING:
    from paradigm_local.embedding import Embedder


class PassageEmbedder:
    """Embeds passages and queries; those that are longer than the model's context by their beginning.

    Args:
        embedder: the model.
        name: its name. A model of the E5 family gets the prefixes that it was trained with.
    """

    def __init__(self, embedder: Embedder, name: str) -> None:
        self.name = name
        self._embedder = embedder
        is_e5 = "e5" in name.lower()
        self._query, self._passage = ("query: ", "passage: ") if is_e5 else ("", "")

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed passages.

        Raises:
            ModelError: the model cannot be downloaded or loaded.
        """
        return [self._embed(self._passage + text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Embed a query; raises as `embed_documents`."""
        return self._embed(self._query + text)

    def _embed(self, text: str) -> list[float]:
        while True:
            try:
                return self._embedder.pool.submit(self._embedder.embed, text).result().vector
            except TextTooLong:
                text = text[: len(text) * 3 // 4]
