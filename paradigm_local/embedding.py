"""llama.cpp in this process with a model that embeds texts; it is loaded when the first text arrives."""

import secrets
import tempfile
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from paradigm_local.engine import (
    EngineError,
    EngineRefusal,
    common_parameters,
    listening_host,
    llama_client,
    load,
)

CONTEXT = 512
"""The most tokens of a text, with the two that the model puts around it."""


class TextTooLong(EngineRefusal):
    """The text does not fit into the context."""

    def __init__(self, tokens: int) -> None:
        super().__init__(f"The text has {tokens} tokens; it must fit into the context of {CONTEXT}.")


class Embedding(NamedTuple):
    """The embedding of a text, of length 1, and the number of its tokens."""

    vector: list[float]
    tokens: int


class EmbeddingEngine:
    """A loaded model that embeds texts.

    Args:
        path: the GGUF file.

    Raises:
        ModelError: llama.cpp cannot load the file.
    """

    def __init__(self, path: Path) -> None:
        secret = secrets.token_urlsafe()
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="paradigm-local-"))
            parameters = common_parameters(path, CONTEXT, 1, listening_host(folder), secret)
            parameters.embedding = True
            parameters.n_batch = parameters.n_ubatch = CONTEXT  # a text is embedded in one step
            self._llama = load(parameters)
            self._tokenizer = stack.enter_context(llama_client(self._llama.listening_address, secret))
            self._resources = stack.pop_all()

    def embed(self, text: str) -> Embedding:
        """Embed a text.

        Raises:
            TextTooLong: it has more tokens than the context.
            EngineError: llama.cpp failed.
        """
        text = normalised(text)
        try:
            reply = self._llama.handle_embeddings({"input": text})
        except RuntimeError as error:
            raise EngineError(str(error)) from error
        if "error" in reply:
            tokens = self._count(text)
            raise TextTooLong(tokens) if tokens > CONTEXT else EngineError(str(reply["error"]))
        return Embedding(reply["data"][0]["embedding"], reply["usage"]["prompt_tokens"])

    def _count(self, text: str) -> int:
        body = {"content": text, "add_special": True}
        return len(self._tokenizer.post("/tokenize", json=body).raise_for_status().json()["tokens"])

    def close(self) -> None:
        """Unload the model."""
        del self._llama
        self._resources.close()


def normalised(text: str) -> str:
    """Return a text as the model's tokenizer expects it: NFKC, spaces for other white space, no invisible characters.

    llama.cpp would do that by a table in the model file, which this one does not have.
    """
    return "".join(_SHOWN.get(unicodedata.category(each), each) for each in unicodedata.normalize("NFKC", text))


_SHOWN = {**dict.fromkeys(("Cc", "Zl", "Zp", "Zs"), " "), "Cf": ""}
"""What stands for characters of these categories."""


class Embedder:
    """A model that embeds texts, loaded when it is first needed.

    Args:
        find: returns the GGUF file; it may download it.

    Attributes:
        pool: the thread that `embed` must be called in. There is one: texts are embedded one after the other.
    """

    def __init__(self, find: Callable[[], Path]) -> None:
        self._find = find
        self._engine: EmbeddingEngine | None = None
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="paradigm-local-embedding")

    def embed(self, text: str) -> Embedding:
        """Embed a text; see `EmbeddingEngine.embed`.

        Raises:
            ModelError: the model cannot be downloaded or loaded.
        """
        if self._engine is None:
            self._engine = EmbeddingEngine(self._find())
        return self._engine.embed(text)

    def close(self) -> None:
        """Wait for the text that is being embedded, and unload the model."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        if self._engine is not None:
            self._engine.close()
