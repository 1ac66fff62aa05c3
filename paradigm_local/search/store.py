"""What has been read and embedded, by the content of files, on disk: a file is embedded once, wherever it is."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paradigm_local.search.passages import Passage
from paradigm_local.search.writing import written

FORMAT = 2
"""To be raised when files are read, divided or stored in another way."""

Vectors = NDArray[np.float32]


class Stored(NamedTuple):
    """A file that was read and embedded.

    Attributes:
        title: its title, if it has one.
        total_pages: the number of its pages.
        passages: its passages.
        vectors: their embeddings, one a row, of length 1.
    """

    title: str | None
    total_pages: int
    passages: list[Passage]
    vectors: Vectors


class Store:
    """Keeps files that were read and embedded.

    Args:
        folder: where to keep them.
        embedder: the name of what embeds them.
    """

    def __init__(self, folder: Path, embedder: str) -> None:
        self._folder = folder / f"{embedder}-{FORMAT}"

    def load(self, digest: str) -> Stored | None:
        """Return what is known of a content; None if it is new, or what is stored is damaged."""
        try:
            with self._path(digest).open("rb") as file, np.load(file) as arrays:
                content = json.loads(arrays["content"].tobytes())
                passages = [Passage(*each) for each in content["passages"]]
                return Stored(content["title"], content["total_pages"], passages, arrays["vectors"])
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, digest: str, stored: Stored) -> None:
        """Keep what was made of a content.

        Raises:
            LocalParadigmError: it cannot be written.
        """
        content = {"title": stored.title, "total_pages": stored.total_pages, "passages": stored.passages}
        with written(self._path(digest)) as file:
            np.savez(file, content=np.frombuffer(json.dumps(content).encode(), np.uint8), vectors=stored.vectors)

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.npz"


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
