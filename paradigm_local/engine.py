"""llama.cpp in this process: takes prompts, and passes on each piece of text as it is generated."""

import os
import secrets
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import xllamacpp

from paradigm_local.contract import JsonObject
from paradigm_local.errors import ModelError

# Prompts are processed in batches of this many tokens; a generation can be stopped between two of them.
_PROMPT_BATCH_TOKENS = 128
# Prompts that begin as an earlier one are not processed again. llama.cpp's default would keep 8 GiB of them.
_PROMPT_CACHE_MIB = 256
_TOKENIZE_TIMEOUT_SECONDS = 30
_MAX_SOCKET_PATH = 100  # in bytes; macOS allows 103, Linux 107


class EngineRefusal(Exception):  # noqa: N818  the request is at fault
    """llama.cpp refuses the request; the message is its reason."""


class PromptTooLong(EngineRefusal):
    """The prompt does not fit into the context."""

    def __init__(self, tokens: int, context: int) -> None:
        super().__init__(
            f"The prompt has {tokens} tokens; with at least one more it must fit into the context of {context}."
        )


class EngineError(Exception):
    """llama.cpp failed; the message is its reason."""


class Token(NamedTuple):
    """A token with its natural log-probability and those of the likeliest tokens at its place."""

    text: str
    logprob: float
    likeliest: dict[str, float]


class Piece(NamedTuple):
    """The result of one step of a generation.

    Attributes:
        text: the new text; empty while the prompt is processed, and inside a character.
        token: the token of the text, if log-probabilities were requested.
        prompt_tokens: number of tokens of the prompt.
        completion_tokens: number of tokens generated so far.
        finish_reason: `stop`, `length` or `tool_calls` on the last piece, otherwise None.
        thoughts: the new part of what the model thinks; only of a chat.
        calls: the new parts of calls of tools, in OpenAI's form; only of a chat.
    """

    text: str
    token: Token | None
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str | None
    thoughts: str = ""
    calls: Sequence[JsonObject] = ()


OnPiece = Callable[[Piece], bool]
"""Takes a piece and returns whether to stop the generation."""

OnChunk = Callable[[JsonObject], bool]
"""Takes a chunk of llama.cpp's and returns whether to stop the generation."""


class Engine:
    """A loaded model. Its methods block, and may be called from several threads at once.

    Args:
        path: the GGUF file.
        context: maximum number of tokens of a prompt and its completion together.
        parallel: number of generations that run at once.
        chat_template: the template of chats, in Jinja; None for the model's own.

    Attributes:
        context: the context that llama.cpp allocated, which may be larger.
        vocabulary: number of tokens that the model knows.
        pool: threads for generations, as many as run at once; further generations wait.
        running: number of generations that run at the moment.

    Raises:
        ModelError: llama.cpp cannot load the file.
    """

    def __init__(self, path: Path, context: int, parallel: int, chat_template: str | None = None) -> None:
        secret = secrets.token_urlsafe()
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="paradigm-local-"))
            parameters = common_parameters(path, context * parallel, parallel, listening_host(folder), secret)
            if chat_template is not None:
                parameters.chat_template = chat_template
            self._llama = load(parameters)
            self._tokenizer = stack.enter_context(llama_client(self._llama.listening_address, secret))
            about = self._tokenizer.get("/v1/models").raise_for_status().json()["data"][0]["meta"]
            self._resources = stack.pop_all()
        self.context: int = about["n_ctx"]
        self.vocabulary: int = about["n_vocab"]
        self.pool = ThreadPoolExecutor(parallel, thread_name_prefix="paradigm-local")
        self.running = 0
        self._running_lock = threading.Lock()
        self._fixed_fields = {
            "stream": True,
            "timings_per_token": True,
            "return_progress": True,
            "repeat_last_n": self.context,  # penalties cover the whole text
        }

    def generate(self, body: Mapping[str, object], on_piece: OnPiece) -> None:
        """Generate a completion, and pass each piece to ``on_piece`` until it returns True or the text ends.

        Args:
            body: the body of llama.cpp's completion request.
            on_piece: the function to call with each piece; it must not raise.

        Raises:
            PromptTooLong: the prompt does not fit into the context.
            EngineRefusal: llama.cpp cannot process the request.
            EngineError: llama.cpp failed.
        """
        self._run(self._llama.handle_completions, body, lambda chunk: on_piece(_piece(chunk)))

    def chat(self, body: Mapping[str, object], on_piece: OnPiece) -> None:
        """Answer a chat in the model's template, as `generate`.

        Args:
            body: the body of llama.cpp's chat request.
            on_piece: the function to call with each piece; it must not raise.

        Raises:
            EngineRefusal: llama.cpp cannot process the request.
            EngineError: llama.cpp failed.
        """
        counts = (0, 0)

        def handle(chunk: JsonObject) -> bool:
            nonlocal counts
            counts = _counts(chunk) if "timings" in chunk else counts
            return on_piece(_chat_piece(chunk["choices"][0], counts))

        try:
            self._run(self._llama.handle_chat_completions, body, handle)
        except (
            OverflowError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:  # of a template, or of a part that the model cannot read
            raise EngineRefusal(str(error)) from error

    def _run(
        self, request: Callable[[JsonObject, OnChunk], object], body: Mapping[str, object], on_chunk: OnChunk
    ) -> None:
        failures: list[JsonObject] = []

        def handle(chunk: JsonObject) -> bool:
            if "error" in chunk:
                failures.append(chunk["error"])
                return True
            return on_chunk(chunk)

        with self._count_running():
            request({**self._fixed_fields, **body}, handle)
        if failures:
            raise _failure(failures[0])

    def write_chat(self, chat: Mapping[str, object]) -> str:
        """Write a chat by the model's template, up to where the answer begins.

        Args:
            chat: messages and tools, as llama.cpp's chat request has them.

        Raises:
            EngineRefusal: the template cannot write it.
        """
        response = self._tokenizer.post("/apply-template", json=chat)
        if not response.is_success:
            raise EngineRefusal(str(response.json()["error"]["message"]))
        return str(response.json()["prompt"])

    def tokenize(self, prompt: str) -> list[tuple[int, bytes]]:
        """Return the tokens of a prompt: the id and the bytes of each.

        Raises:
            PromptTooLong: the prompt does not fit into the context.
        """
        body = {"content": prompt, "add_special": True, "with_pieces": True}
        response = self._tokenizer.post("/tokenize", json=body).raise_for_status()
        tokens = [(token["id"], _bytes(token["piece"])) for token in response.json()["tokens"]]
        if len(tokens) >= self.context:
            raise PromptTooLong(len(tokens), self.context)
        return tokens

    def close(self) -> None:
        """Wait for running generations, which the callers must have stopped, and unload the model."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        del self._llama
        self._resources.close()

    @contextmanager
    def _count_running(self) -> Iterator[None]:
        with self._running_lock:
            self.running += 1
        try:
            yield
        finally:
            with self._running_lock:
                self.running -= 1


def listening_host(folder: str) -> str:
    """Return the host for llama.cpp's own HTTP server, which cannot be turned off.

    It is the path of a Unix socket, which web pages cannot reach, or the loopback address if the system has no such
    sockets or the path is too long.

    Args:
        folder: a folder that only this user can enter.
    """
    path = str(Path(folder, "llama.sock"))
    is_possible = hasattr(socket, "AF_UNIX") and len(os.fsencode(path)) <= _MAX_SOCKET_PATH
    return path if is_possible else "127.0.0.1"


def llama_client(address: str, secret: str) -> httpx.Client:
    """Return a client for llama.cpp's own HTTP server, which is the only access to its tokenizer."""
    path = address.removeprefix("unix://")
    is_socket = path != address
    return httpx.Client(
        base_url="http://llama.cpp" if is_socket else address,
        transport=httpx.HTTPTransport(uds=path if is_socket else None, trust_env=False),
        headers={"Authorization": f"Bearer {secret}"},
        timeout=_TOKENIZE_TIMEOUT_SECONDS,
        trust_env=False,
    )


def common_parameters(path: Path, context: int, parallel: int, host: str, secret: str) -> xllamacpp.CommonParams:
    """Return the parameters of llama.cpp that any model is loaded with.

    Args:
        path: the GGUF file.
        context: the most tokens of all requests together.
        parallel: number of requests that run at once.
        host: what llama.cpp's own HTTP server listens on.
        secret: the key of that server.
    """
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = context
    parameters.n_parallel = parallel
    parameters.n_batch = _PROMPT_BATCH_TOKENS
    # llama.cpp's threads busy-wait for each other, and become very slow if there are more of them than free cores.
    threads = max(1, (os.cpu_count() or 1) // 2)
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.cache_ram_mib = _PROMPT_CACHE_MIB
    if hasattr(parameters, "hostnames"):
        parameters.hostnames = [host]
    else:  # as in xllamacpp 2026.9
        parameters.hostname = host
    parameters.api_keys = [secret]
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.verbosity = 0
    return parameters


def load(parameters: xllamacpp.CommonParams) -> xllamacpp.Server:
    """Load a model.

    Raises:
        ModelError: llama.cpp cannot load the file.
    """
    try:
        return xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise ModelError(
            f"llama.cpp cannot load {parameters.model.path}: the file is damaged, of an unknown kind, "
            "or too large for this machine's memory."
        ) from error


def _piece(chunk: JsonObject) -> Piece:
    choice = chunk["choices"][0]
    return Piece(choice["text"], _first_token(choice), *_counts(chunk), choice["finish_reason"])


def _chat_piece(choice: JsonObject, counts: tuple[int, int]) -> Piece:
    delta = choice["delta"]
    thoughts, calls = delta.get("reasoning_content") or "", delta.get("tool_calls") or ()
    return Piece(delta.get("content") or "", _first_token(choice), *counts, choice["finish_reason"], thoughts, calls)


def _counts(chunk: JsonObject) -> tuple[int, int]:
    """Return the number of tokens of the prompt, and of those generated so far."""
    progress, timings = chunk.get("prompt_progress"), chunk["timings"]
    return progress["total"] if progress else timings["cache_n"] + timings["prompt_n"], timings["predicted_n"]


def _first_token(choice: JsonObject) -> Token | None:
    logprobs = choice.get("logprobs")
    return _token(logprobs["content"][0]) if logprobs and logprobs["content"] else None


def _token(entry: JsonObject) -> Token:
    likeliest: dict[str, float] = {}
    for other in entry["top_logprobs"]:
        # Tokens that are parts of characters may have the same text; the first is the likeliest.
        likeliest.setdefault(other["token"], other["logprob"])
    return Token(entry["token"], entry["logprob"], likeliest)


def _bytes(piece: str | list[int]) -> bytes:
    return piece.encode() if isinstance(piece, str) else bytes(piece)


def _failure(error: JsonObject) -> Exception:
    if error.get("type") == "exceed_context_size_error":
        return PromptTooLong(error["n_prompt_tokens"], error["n_ctx"])
    kind = EngineRefusal if error.get("code") == 400 else EngineError
    return kind(str(error.get("message", "")))
