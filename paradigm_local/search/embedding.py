"""Embeddings of passages and queries by the model that serves the embeddings endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paradigm_local.embedding import TextTooLong
from paradigm_local.model import sha256_of

if TYPE_CHECKING:
    from paradigm_local.embedding import Embedder

_DIGITS = 16


class PassageEmbedder:
    """Embeds passages and queries; those that are longer than the model's context by their beginning.

    Args:
        embedder: the model.
        model: its name. A model of the E5 family gets the prefixes that it was trained with.
        file: its file, if it is not the default model: files of different models may have the same name.
    """

    def __init__(self, embedder: Embedder, model: str, file: Path | None = None) -> None:
        self.name = model if file is None else f"{model}-{sha256_of(file)[:_DIGITS]}"
        self._embedder = embedder
        is_e5 = "e5" in model.lower()
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
