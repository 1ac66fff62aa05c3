"""The completions of one request: generated in threads, read by the event loop as they arrive."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import NamedTuple

from paradigm_local.constraints import Constraint
from paradigm_local.contract import CompletionRequest, JsonObject, Usage
from paradigm_local.engine import Engine, OnPiece, Piece
from paradigm_local.sampling import completion_body
from paradigm_local.scoring import PlacedToken, score_prompt
from paradigm_transport.stops import StopScanner


class Delta(NamedTuple):
    """New text and tokens of one of the completions; of a chat, also new thoughts and parts of calls."""

    candidate: int
    text: str
    tokens: list[PlacedToken]
    finish_reason: str | None
    thoughts: str = ""
    calls: Sequence[JsonObject] = ()


class Candidate:
    """One completion while it is generated: cuts it at stop sequences, places its tokens, counts them.

    Args:
        index: index of the completion in its request.
        stops: the stop sequences.
        offset: length of the echoed prompt, in characters.
    """

    def __init__(self, index: int, stops: list[str], offset: int) -> None:
        self.index = index
        self.completion_tokens = 0
        self._scanner = StopScanner(stops)
        self._generated = offset
        self._shown = offset
        self._held: list[PlacedToken] = []
        self._logprobs: list[float] = []

    @property
    def mean_logprob(self) -> float:
        """Mean log-probability of the tokens; 0 without tokens."""
        return sum(self._logprobs) / max(len(self._logprobs), 1)

    def feed(self, piece: Piece) -> Delta:
        """Add a piece; return the text and tokens, of this and earlier pieces, that can no longer begin a stop."""
        self.completion_tokens = piece.completion_tokens
        if piece.token is not None:
            self._logprobs.append(piece.token.logprob)
            self._held.append(PlacedToken(piece.text, self._generated, piece.token))
        self._generated += len(piece.text)
        text = self._scanner.feed(piece.text)
        if piece.finish_reason is not None:
            text += self._scanner.finish()
        self._shown += len(text)
        finish = "stop" if self._scanner.stopped else piece.finish_reason
        return Delta(self.index, text, self._release_tokens(), finish, piece.thoughts, piece.calls)

    def _release_tokens(self) -> list[PlacedToken]:
        """Return the tokens whose text has begun to be shown; those after the end of the text never are."""
        shown = [placed for placed in self._held if placed.offset < self._shown]
        del self._held[: len(shown)]
        return shown


class Interrupted(Exception):  # noqa: N818  not a failure
    """The server shuts down before the completions are finished."""


class _Finished:
    """One of the completions is finished."""


class Generation(ABC):
    """The completions of one request.

    Args:
        engine: the model.
        constraint: the constraint on the text, or None.
        candidates: the completions.

    Attributes:
        candidates: the completions.
    """

    def __init__(self, engine: Engine, constraint: Constraint | None, candidates: list[Candidate]) -> None:
        self.candidates = candidates
        self._engine = engine
        self._constraint = constraint
        self._cancelled = threading.Event()
        self._arrived: asyncio.Queue[Delta | Exception | _Finished] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._prompt_tokens = 0

    @property
    def usage(self) -> Usage:
        """Tokens used so far: the prompt once, and all completions."""
        completion = sum(candidate.completion_tokens for candidate in self.candidates)
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=completion,
            total_tokens=self._prompt_tokens + completion,
        )

    async def deltas(self, silence: float) -> AsyncGenerator[Delta | None, None]:
        """Generate the completions, and yield the deltas of all of them as they arrive; closing it stops them.

        Args:
            silence: seconds without a delta after which a None is yielded.

        Raises:
            EngineRefusal: the model cannot process the request.
            EngineError: the model failed.
            InvalidRequest: the model did not follow the constraint.
            Interrupted: the server shuts down.
        """
        unfinished = len(self.candidates)
        for candidate in self.candidates:
            self._loop.run_in_executor(self._engine.pool, self._run, candidate)
        try:
            while unfinished:
                arrived = await self._next(silence)
                if isinstance(arrived, Exception):
                    raise arrived
                if isinstance(arrived, _Finished):
                    unfinished -= 1
                else:
                    yield arrived
        finally:
            self._cancelled.set()

    def interrupt(self) -> None:
        """End the generation with an error; may be called from any thread."""
        self._send(Interrupted())

    async def _next(self, silence: float) -> Delta | Exception | _Finished | None:
        with suppress(asyncio.TimeoutError):
            return await asyncio.wait_for(self._arrived.get(), silence)
        return None

    def _send(self, item: Delta | Exception | _Finished) -> None:
        """Pass an item to the event loop; once the loop is closed, drop it."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, item)

    def _run(self, candidate: Candidate) -> None:
        """Generate one completion, in a thread of the engine's pool."""
        try:
            if not self._cancelled.is_set():
                self._generate(candidate)
            self._send(_Finished())
        except Exception as error:  # noqa: BLE001  raised again in `deltas`
            self._send(error)

    @property
    def _grammar(self) -> str | None:
        return self._constraint.lark if self._constraint else None

    @abstractmethod
    def _generate(self, candidate: Candidate) -> None:
        """Generate one completion."""

    def _handler(self, candidate: Candidate) -> OnPiece:
        constraint = self._constraint
        matches = constraint.checker() if constraint else None

        def handle(piece: Piece) -> bool:
            self._prompt_tokens = piece.prompt_tokens
            if constraint and matches and not matches(piece.text):
                self._send(constraint.violation())
                return True
            delta = candidate.feed(piece)
            if delta.text or delta.tokens or delta.finish_reason or delta.thoughts or delta.calls:
                self._send(delta)
            return self._cancelled.is_set() or delta.finish_reason is not None

        return handle


class CompletionGeneration(Generation):
    """The completions of a prompt.

    Args:
        engine: the model.
        request: the request.
        constraint: the constraint on the text, or None.
    """

    def __init__(self, engine: Engine, request: CompletionRequest, constraint: Constraint | None) -> None:
        offset = len(request.prompt) if request.echo else 0
        candidates = [Candidate(index, request.stops, offset) for index in range(request.candidates)]
        super().__init__(engine, constraint, candidates)
        self._request = request
        self._prompt_lock = threading.Lock()
        self._echoed_tokens: list[PlacedToken] | None = None

    def _generate(self, candidate: Candidate) -> None:
        request = self._request
        if request.echo:
            finish = None if request.max_tokens else "length"
            self._send(Delta(candidate.index, request.prompt, self._score_once(), finish))
        if request.max_tokens:
            body = completion_body(request, self._grammar, candidate.index)
            self._engine.generate(body, self._handler(candidate))

    def _score_once(self) -> list[PlacedToken]:
        """Return the tokens of the echoed prompt, if requested; all completions share them."""
        with self._prompt_lock:
            if self._echoed_tokens is None:
                self._echoed_tokens = self._score()
            return self._echoed_tokens

    def _score(self) -> list[PlacedToken]:
        tokens = self._engine.tokenize(self._request.prompt)
        self._prompt_tokens = len(tokens)
        if self._request.logprobs is None:
            return []
        return score_prompt(self._engine, tokens, self._request.logprobs, self._cancelled.is_set)
