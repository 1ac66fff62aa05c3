"""One request's completions: generated in threads, read from the event loop as they come."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import NamedTuple

from paradigm_local.constraints import Constraint
from paradigm_local.contract import CompletionRequest, Usage
from paradigm_local.engine import Engine, OnPiece, Piece
from paradigm_local.sampling import engine_body
from paradigm_local.scoring import PlacedToken, score_prompt
from paradigm_transport.stops import StopScanner


class Delta(NamedTuple):
    """What came to one of the completions."""

    candidate: int
    text: str
    tokens: list[PlacedToken]
    finish_reason: str | None


class Candidate:
    """One completion while it is generated: cuts at stops, places tokens, counts.

    Args:
        index: which of the request's completions.
        stops: the stop sequences.
        offset: characters of the echoed prompt in front.
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
        """The mean log-probability of the tokens; 0 where there are none."""
        return sum(self._logprobs) / max(len(self._logprobs), 1)

    def take(self, piece: Piece) -> Delta:
        """Take a piece and give what of it, and of earlier ones, can be shown."""
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
        return Delta(self.index, text, self._shown_tokens(), finish)

    def _shown_tokens(self) -> list[PlacedToken]:
        """A token goes with the text that it begins; one behind the end of the text never goes."""
        shown = [placed for placed in self._held if placed.offset < self._shown]
        del self._held[: len(shown)]
        return shown


class Interrupted(Exception):  # noqa: N818  nobody's mistake
    """The server ends before the completions do."""


class _Ended:
    """One of the completions has ended."""


class Generation:
    """The completions of one request.

    Args:
        engine: what generates.
        request: what was asked for.
        constraint: what the text must look like, or None.

    Attributes:
        candidates: the completions.
    """

    def __init__(self, engine: Engine, request: CompletionRequest, constraint: Constraint | None) -> None:
        self._engine = engine
        self._request = request
        self._constraint = constraint
        self._left = threading.Event()
        self._arrived: asyncio.Queue[Delta | Exception | _Ended] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._scoring = threading.Lock()
        self._scored: list[PlacedToken] | None = None
        self._prompt_tokens = 0
        offset = len(request.prompt) if request.echo else 0
        self.candidates = [Candidate(index, request.stops, offset) for index in range(request.candidates)]

    @property
    def usage(self) -> Usage:
        """Tokens used so far: the prompt once, and every completion generated."""
        completion = sum(candidate.completion_tokens for candidate in self.candidates)
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=completion,
            total_tokens=self._prompt_tokens + completion,
        )

    async def deltas(self, silence: float) -> AsyncGenerator[Delta | None, None]:
        """Generate, giving what comes to any of the completions; leaving stops all of them.

        Args:
            silence: seconds without anything new after which a None is given.

        Raises:
            EngineRefusal: the model cannot do what the request asks for.
            EngineError: the model failed.
            InvalidRequest: the model does not keep to the constraint.
            Interrupted: the server ends.
        """
        unfinished = len(self.candidates)
        for candidate in self.candidates:
            self._loop.run_in_executor(self._engine.pool, self._run, candidate)
        try:
            while unfinished:
                arrived = await self._next(silence)
                if isinstance(arrived, Exception):
                    raise arrived
                if isinstance(arrived, _Ended):
                    unfinished -= 1
                else:
                    yield arrived
        finally:
            self._left.set()

    def interrupt(self) -> None:
        """End the generation with an error; may be called from any thread."""
        self._hand_over(Interrupted())

    async def _next(self, silence: float) -> Delta | Exception | _Ended | None:
        with suppress(asyncio.TimeoutError):
            return await asyncio.wait_for(self._arrived.get(), silence)
        return None

    def _hand_over(self, item: Delta | Exception | _Ended) -> None:
        """Bring something to the event loop; after the loop's end nobody waits for it."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, item)

    def _run(self, candidate: Candidate) -> None:
        """Generate one completion, in a thread of the engine's."""
        try:
            if not self._left.is_set():
                self._generate(candidate)
            self._hand_over(_Ended())
        except Exception as error:  # noqa: BLE001  raised again where the request is answered
            self._hand_over(error)

    def _generate(self, candidate: Candidate) -> None:
        request = self._request
        if request.echo:
            finish = None if request.max_tokens else "length"
            self._hand_over(Delta(candidate.index, request.prompt, self._prompt(), finish))
        if request.max_tokens:
            grammar = self._constraint.lark if self._constraint else None
            self._engine.generate(engine_body(request, grammar, candidate.index), self._taker(candidate))

    def _taker(self, candidate: Candidate) -> OnPiece:
        constraint = self._constraint
        keeps = constraint.follow() if constraint else None

        def take(piece: Piece) -> bool:
            self._prompt_tokens = piece.prompt_tokens
            if constraint and keeps and not keeps(piece.text):
                self._hand_over(constraint.lost())
                return True
            delta = candidate.take(piece)
            if delta.text or delta.tokens or delta.finish_reason:
                self._hand_over(delta)
            return self._left.is_set() or delta.finish_reason is not None

        return take

    def _prompt(self) -> list[PlacedToken]:
        """The echoed prompt's tokens, where they are asked for; all completions share them."""
        with self._scoring:
            if self._scored is None:
                self._scored = self._score()
            return self._scored

    def _score(self) -> list[PlacedToken]:
        tokens = self._engine.tokenize(self._request.prompt)
        self._prompt_tokens = len(tokens)
        if self._request.logprobs is None:
            return []
        return score_prompt(self._engine, tokens, self._request.logprobs, self._left.is_set)
