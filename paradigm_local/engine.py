"""llama.cpp in this process: prompts in, pieces of text out, each piece as it is generated."""

import os
import secrets
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import xllamacpp

from paradigm_local.errors import ModelError

# A prompt is read in batches of this many tokens; between two of them a generation can be stopped.
_PROMPT_BATCH_TOKENS = 128
_TOKENIZE_TIMEOUT_SECONDS = 30
_LONGEST_SOCKET_PATH = 100  # in bytes; macOS takes 103, Linux 107


class EngineRefusal(Exception):  # noqa: N818  the request is at fault
    """llama.cpp will not run this request; the text is its reason."""


class PromptTooLong(EngineRefusal):
    """The prompt has more tokens than the context holds."""

    def __init__(self, tokens: int, context: int) -> None:
        super().__init__(
            f"The prompt has {tokens} tokens; with at least one more it must fit into the context of {context}."
        )


class EngineError(Exception):
    """llama.cpp failed; the text is its reason."""


class Token(NamedTuple):
    """A token with its natural log-probability and those of the likeliest tokens at its place."""

    text: str
    logprob: float
    likeliest: dict[str, float]


class Piece(NamedTuple):
    """What one step of a generation brought.

    Attributes:
        text: the new text; empty while the prompt is read and inside a character.
        token: the token behind the text, where log-probabilities were asked for.
        prompt_tokens: tokens of the prompt.
        completion_tokens: tokens generated so far.
        finish_reason: `stop` or `length` on the last piece.
    """

    text: str
    token: Token | None
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str | None


OnPiece = Callable[[Piece], bool]
"""Takes a piece and says whether the generation is to stop."""


class Engine:
    """A loaded model. Its methods block; they may be called from several threads at once.

    Args:
        path: the GGUF file.
        context: tokens that a prompt and its completion may have together.
        parallel: how many generations run at once.

    Attributes:
        pool: threads for generations, as many as can run at once; more of them wait here.
        running: how many generations run now.

    Raises:
        ModelError: llama.cpp cannot load the file.
    """

    def __init__(self, path: Path, context: int, parallel: int) -> None:
        secret = secrets.token_urlsafe()
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="paradigm-local-"))
            self._llama = _load(path, context * parallel, parallel, _listening_host(folder), secret)
            self._tokenizer = stack.enter_context(_tokenizer(self._llama.listening_address, secret))
            about = self._tokenizer.get("/v1/models").raise_for_status().json()["data"][0]["meta"]
            self._resources = stack.pop_all()
        self.context: int = about["n_ctx"]
        self.vocabulary: int = about["n_vocab"]
        self.pool = ThreadPoolExecutor(parallel, thread_name_prefix="paradigm-local")
        self.running = 0
        self._always = {
            "stream": True,
            "timings_per_token": True,
            "return_progress": True,
            "repeat_last_n": self.context,  # penalties look back over all the text
        }
        self._counting = threading.Lock()

    def generate(self, body: Mapping[str, Any], on_piece: OnPiece) -> None:
        """Generate, handing each piece to ``on_piece`` until it says stop or the text ends.

        Args:
            body: the request in llama.cpp's own terms.
            on_piece: must not raise.

        Raises:
            PromptTooLong: the prompt does not fit into the context.
            EngineRefusal: llama.cpp cannot do what the request asks for.
            EngineError: llama.cpp failed.
        """
        failures: list[Mapping[str, Any]] = []

        def take(chunk: Mapping[str, Any]) -> bool:
            if "error" in chunk:
                failures.append(chunk["error"])
                return True
            return on_piece(_piece(chunk))

        with self._counted():
            self._llama.handle_completions({**self._always, **body}, take)
        if failures:
            raise _failure(failures[0])

    def tokenize(self, prompt: str) -> list[tuple[int, bytes]]:
        """Give the tokens of a prompt: each one's id and its bytes.

        Raises:
            PromptTooLong: the prompt does not fit into the context.
        """
        body = {"content": prompt, "add_special": True, "with_pieces": True}
        answer = self._tokenizer.post("/tokenize", json=body).raise_for_status()
        tokens = [(token["id"], _bytes(token["piece"])) for token in answer.json()["tokens"]]
        if len(tokens) >= self.context:
            raise PromptTooLong(len(tokens), self.context)
        return tokens

    def close(self) -> None:
        """Wait for running generations, which their callers must have stopped, and unload."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        self._llama = None
        self._resources.close()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._counting:
            self.running += 1
        try:
            yield
        finally:
            with self._counting:
                self.running -= 1


def _listening_host(folder: str) -> str:
    """The host of llama.cpp's own HTTP server, which cannot be turned off: a Unix socket, which no browser can reach.

    Args:
        folder: a folder that only this user may enter.
    """
    path = str(Path(folder, "llama.sock"))
    is_possible = hasattr(socket, "AF_UNIX") and len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH
    return path if is_possible else "127.0.0.1"


def _tokenizer(address: str, secret: str) -> httpx.Client:
    """A client of llama.cpp's own HTTP server, which is the only way to its tokenizer."""
    path = address.removeprefix("unix://")
    is_socket = path != address
    return httpx.Client(
        base_url="http://llama.cpp" if is_socket else address,
        transport=httpx.HTTPTransport(uds=path if is_socket else None, trust_env=False),
        headers={"Authorization": f"Bearer {secret}"},
        timeout=_TOKENIZE_TIMEOUT_SECONDS,
        trust_env=False,
    )


def _load(path: Path, context: int, parallel: int, host: str, secret: str) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = context
    parameters.n_parallel = parallel
    parameters.n_batch = _PROMPT_BATCH_TOKENS
    # Its threads wait for each other spinning: where they are more than the cores that are free, they crawl.
    threads = max(1, (os.cpu_count() or 1) // 2)
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.cache_ram_mib = 0  # by default it may take 8 GiB
    if hasattr(parameters, "hostnames"):
        parameters.hostnames = [host]
    else:  # as in xllamacpp 2026.9
        parameters.hostname = host
    parameters.api_keys = [secret]
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.verbosity = 0
    try:
        return xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise ModelError(
            f"llama.cpp cannot load {path}: the file is damaged, of a kind it does not know, "
            "or too large for this machine's memory."
        ) from error


def _piece(chunk: Mapping[str, Any]) -> Piece:
    choice, timings = chunk["choices"][0], chunk["timings"]
    progress = chunk.get("prompt_progress")
    logprobs = choice["logprobs"]
    return Piece(
        choice["text"],
        _token(logprobs["content"][0]) if logprobs and logprobs["content"] else None,
        progress["total"] if progress else timings["cache_n"] + timings["prompt_n"],
        timings["predicted_n"],
        choice["finish_reason"],
    )


def _token(entry: Mapping[str, Any]) -> Token:
    likeliest: dict[str, float] = {}
    for other in entry["top_logprobs"]:
        # Tokens that are parts of characters may share a text; the first is the likeliest.
        likeliest.setdefault(other["token"], other["logprob"])
    return Token(entry["token"], entry["logprob"], likeliest)


def _bytes(piece: str | list[int]) -> bytes:
    return piece.encode() if isinstance(piece, str) else bytes(piece)


def _failure(error: Mapping[str, Any]) -> Exception:
    if error.get("type") == "exceed_context_size_error":
        return PromptTooLong(error["n_prompt_tokens"], error["n_ctx"])
    kind = EngineRefusal if error.get("code") == 400 else EngineError
    return kind(str(error.get("message", "")))
