"""The index of a folder: BM25 over words and cosine over embeddings, fused by reciprocal rank."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from bm25s import BM25, stopwords
from numpy.typing import NDArray

from paradigm_local.errors import LocalParadigmError
from paradigm_local.search.folder import File, Ids, files_in
from paradigm_local.search.passages import Passage, split
from paradigm_local.search.reading import Content, UnreadableError, read
from paradigm_local.search.store import Store, Stored, Vectors, digest_of

BATCH = 16
CANDIDATES = 100
"""The number of passages that each signal proposes."""

DAMPING = 60
"""The constant of reciprocal rank fusion: how little the first ranks count above the next."""

MOST_NAMED = 5
"""The number of files that are named as left out."""

_TINY = np.float32(1e-30)
_WORD = re.compile(r"\w+")
_COMMON = frozenset(
    chain(
        stopwords.STOPWORDS_EN_PLUS,
        stopwords.STOPWORDS_FRENCH,
        stopwords.STOPWORDS_GERMAN,
        stopwords.STOPWORDS_ITALIAN,
        stopwords.STOPWORDS_SPANISH,
    )
)
"""Words that say nothing about a query."""

Scores = NDArray[np.float32]
Mask = NDArray[np.bool_]
Progress = Callable[[int, int], None]
"""Called with the number of passages that are embedded, and that of all that must be."""


class TextEmbedder(Protocol):
    """What embeds passages and queries.

    Attributes:
        name: the name of the model, fit for the name of a folder.
    """

    name: str

    def embed_documents(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Embed passages."""

    def embed_query(self, text: str) -> Sequence[float]:
        """Embed a query."""


class Indexed(NamedTuple):
    """A file of the index.

    Attributes:
        file: the file.
        size: its size in bytes.
        stored: its passages.
    """

    file: File
    size: int
    stored: Stored


class Hit(NamedTuple):
    """A passage that was found.

    Attributes:
        document: its file.
        place: its position among the passages of the file, from 0.
        score: by what hits are ordered.
        text: the similarity of its meaning to that of the query, 0 to 1.
        keyword: its BM25 score; 0 if no word of the query is in it.
    """

    document: Indexed
    place: int
    score: float
    text: float
    keyword: float

    @property
    def passage(self) -> Passage:
        """The passage."""
        return self.document.stored.passages[self.place]


class Index:
    """The index of a folder.

    Args:
        documents: the files, at least one.
        embedder: embeds queries.
        left_out: the names of the files that are not in it, with the reason.
    """

    def __init__(self, documents: Sequence[Indexed], embedder: TextEmbedder, left_out: dict[str, str]) -> None:
        self.documents = documents
        self.left_out = left_out
        self._embedder = embedder
        self._places = [(document, place) for document in documents for place in range(len(document.stored.passages))]
        self._vectors = np.concatenate([document.stored.vectors for document in documents])
        self._words = BM25()
        self._words.index([_words(each.text) for each in self._passages()], show_progress=False)

    def describe(self) -> str:
        """Return what is in it and what is not, for people."""
        workspaces = {document.file.workspace: document.file.workspace_id for document in self.documents}
        names = ", ".join(f"{name} ({number})" for name, number in workspaces.items())
        lines = [f"Documents: {len(self.documents)}; passages: {len(self)}; workspaces: {names}"]
        lines += [f"Left out {name}: {reason}" for name, reason in list(self.left_out.items())[:MOST_NAMED]]
        if len(self.left_out) > MOST_NAMED:
            lines.append(f"Left out {len(self.left_out) - MOST_NAMED} further files")
        return "\n".join(lines)

    def __len__(self) -> int:
        return len(self._places)

    def _passages(self) -> Iterator[Passage]:
        return (document.stored.passages[place] for document, place in self._places)

    def search(self, query: str, limit: int, is_wanted: Callable[[File], bool]) -> list[Hit]:
        """Return the best passages, best first.

        Args:
            query: what to search for.
            limit: the most passages to return.
            is_wanted: whether a file may be searched.
        """
        wanted = {id(document) for document in self.documents if is_wanted(document.file)}
        mask = np.array([id(document) in wanted for document, _ in self._places])
        words = [word for word in _words(query) if word not in _COMMON] or _words(query)
        keyword: Scores = self._words.get_scores(words) if words else np.zeros(len(self), np.float32)
        text = np.clip(self._vectors @ _unit([self._embedder.embed_query(query)])[0], 0, 1)
        fused: dict[int, float] = {}
        for signal in (keyword, text):
            for rank, row in enumerate(_best(signal, mask), start=1):
                fused[row] = fused.get(row, 0.0) + 1 / (DAMPING + rank)
        best = sorted(fused, key=lambda row: (-fused[row], row))[:limit]
        return [Hit(*self._places[row], fused[row], float(text[row]), float(keyword[row])) for row in best]


def build_index(folder: Path, embedder: TextEmbedder, cache: Path, progress: Progress) -> Index:
    """Index a folder; only files with a new content are read and embedded.

    Args:
        folder: the folder.
        embedder: embeds passages and queries.
        cache: the folder for what was embedded, and for ids.
        progress: called while passages are embedded.

    Raises:
        LocalParadigmError: the folder has no document that can be read, `paradigm.json` is wrong, or the cache cannot
            be written.
    """
    ids = Ids(cache / f"ids-{digest_of(os.fsencode(folder.resolve()))[:16]}.json")
    files, left_out = files_in(folder, ids)
    store = Store(cache, embedder.name)
    documents: dict[str, Indexed] = {}
    new: list[_New] = []
    for file in files:
        try:
            _look_up(file, store, documents, new)
        except UnreadableError as error:
            left_out[file.name] = str(error)
    _embed_all(new, store, embedder, documents, progress)
    if not documents:
        raise LocalParadigmError(f"{folder} holds no text, Markdown, HTML or PDF that can be read.")
    ids.save()
    return Index([documents[file.name] for file in files if file.name in documents], embedder, left_out)


class _New(NamedTuple):
    """A file with a content that is not stored."""

    file: File
    size: int
    digest: str
    content: Content
    passages: list[Passage]


def _look_up(file: File, store: Store, documents: dict[str, Indexed], new: list[_New]) -> None:
    """Add a file to those that are known or to those that are new."""
    try:
        data = file.path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"it cannot be read: {error.strerror}") from None
    digest = f"{digest_of(data)}-{file.kind}"
    stored = store.load(digest)
    if stored is not None:
        documents[file.name] = Indexed(file, len(data), stored)
    else:
        content = read(data, file.kind)
        new.append(_New(file, len(data), digest, content, split(content.pages)))


def _embed_all(
    new: Sequence[_New], store: Store, embedder: TextEmbedder, documents: dict[str, Indexed], progress: Progress
) -> None:
    """Embed new files; each is stored as soon as it is done, so that an interrupted start loses little."""
    done, total = 0, sum(len(each.passages) for each in new)
    if total:
        progress(done, total)
    for file, size, digest, content, passages in new:
        vectors = []
        for first in range(0, len(passages), BATCH):
            batch = [passage.text for passage in passages[first : first + BATCH]]
            vectors.append(_unit(embedder.embed_documents(batch)))
            done += len(batch)
            progress(done, total)
        stored = Stored(content.title, len(content.pages), passages, np.concatenate(vectors))
        store.save(digest, stored)
        documents[file.name] = Indexed(file, size, stored)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _unit(vectors: Sequence[Sequence[float]]) -> Vectors:
    """Return vectors as rows of length 1."""
    rows: Vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32)
    unit: Vectors = rows / np.maximum(lengths, _TINY)
    return unit


def _best(scores: Scores, mask: Mask) -> list[int]:
    """Return the rows with the best scores above 0, best first."""
    rows = np.flatnonzero(mask & (scores > 0))
    return [int(row) for row in rows[np.argsort(-scores[rows], kind="stable")][:CANDIDATES]]
