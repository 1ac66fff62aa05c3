"""An engine and an embedder without models, for tests of the server around them."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from paradigm_local.embedding import Embedder, Embedding
from paradigm_local.engine import Engine, OnPiece, Piece, Token
from paradigm_local.local import LocalParadigm
from paradigm_local.search.index import TextEmbedder

GATE_POLL_SECONDS = 0.005


class FakeEngine:
    """Generates the given texts, one per piece, each with the log-probability -1.

    Generations wait until the `gate` is set.
    """

    context = 100
    vocabulary = 1000

    def __init__(self, texts: Sequence[str] = ("Hello", " world"), parallel: int = 4) -> None:
        self.texts = texts
        self.failure: Exception | None = None
        self.bodies: list[Mapping[str, Any]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.pool = ThreadPoolExecutor(parallel)
        self.running = 0

    def generate(self, body: Mapping[str, Any], on_piece: OnPiece) -> None:
        self.bodies.append(body)
        self.running += 1
        try:
            self._generate(on_piece)
        finally:
            self.running -= 1

    def _generate(self, on_piece: OnPiece) -> None:
        while not self.gate.wait(GATE_POLL_SECONDS):
            if on_piece(Piece("", None, 3, 0, None)):
                return
        for count, text in enumerate(self.texts, start=1):
            if on_piece(Piece(text, Token(text, -1.0, {}), 3, count, None)):
                return
        if self.failure is not None:
            raise self.failure
        on_piece(Piece("", None, 3, len(self.texts), "length"))

    def tokenize(self, prompt: str) -> list[tuple[int, bytes]]:
        return [(number, word.encode()) for number, word in enumerate(prompt.split())]

    def close(self) -> None:
        self.pool.shutdown()


class FakePassageEmbedder:
    """Embeds texts by the words in them: those of a group of synonyms count as one.

    Attributes:
        embedded: the passages that were embedded, in order.
    """

    name = "fake"
    SYNONYMS = (("leave", "holiday", "vacation"), ("salary", "wage", "pay"), ("dog", "hound"))

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        self.embedded += texts
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        words = re.findall(r"\w+", text.lower())
        return [float(sum(word in group for word in words)) for group in self.SYNONYMS] + [0.01]


class FakeEmbedder:
    """Embeds a text as its length and 3, in as many tokens as it has words. Waits until the `gate` is set."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.texts: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.pool = ThreadPoolExecutor(1)

    def embed(self, text: str) -> Embedding:
        self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.texts.append(text)
        return Embedding([float(len(text)), 3.0], len(text.split()))

    def close(self) -> None:
        self.gate.set()
        self.pool.shutdown(cancel_futures=True)


class Served(LocalParadigm):
    """A local Paradigm with a fake engine and a fake embedder."""

    def __init__(self, engine: FakeEngine, embedder: FakeEmbedder | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.fake = engine
        self.fake_embedder = embedder or FakeEmbedder()

    def _make_embedder(self) -> Embedder:
        return cast("Embedder", self.fake_embedder)

    def _load_engine(self) -> Engine:
        return cast("Engine", self.fake)

    def _make_passage_embedder(self) -> TextEmbedder:
        return FakePassageEmbedder()
