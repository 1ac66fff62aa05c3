"""Replies in the shape of the contract: full completions, and chunks of a stream."""

import math
import struct
import time
import uuid
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from pydantic import BaseModel

from paradigm_local import contract
from paradigm_local.contract import Choice, Completion, CompletionRequest, TokenLogprobs, Usage
from paradigm_local.embedding import Embedding
from paradigm_local.generation import Candidate, Delta
from paradigm_local.scoring import PlacedToken

AnyChoice = TypeVar("AnyChoice")


class Replies(ABC, Generic[AnyChoice]):
    """Builds the replies to one request, which share an id and a time.

    Args:
        kind: the beginning of the id.
        n: the number of completions to return.
    """

    def __init__(self, kind: str, n: int) -> None:
        self._id = f"{kind}-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._n = n

    def chunk(self, delta: Delta) -> BaseModel:
        """Return the chunk of a stream for one delta."""
        return self._reply([self._part(delta)], None, is_chunk=True)

    def usage_chunk(self, usage: Usage) -> BaseModel:
        """Return the last chunk of a stream with `include_usage`."""
        return self._reply([], usage, is_chunk=True)

    def full(self, deltas: Iterable[Delta], candidates: list[Candidate], usage: Usage) -> BaseModel:
        """Return the reply of a request without `stream`.

        Args:
            deltas: the deltas of all candidates, in the order in which they arrived.
            candidates: the candidates; if there are more than `n`, the ones with the best mean log-probability are
                returned.
            usage: the usage.
        """
        parts: dict[int, list[Delta]] = {candidate.index: [] for candidate in candidates}
        for delta in deltas:
            parts[delta.candidate].append(delta)
        if len(candidates) > self._n:
            candidates = sorted(candidates, key=lambda one: one.mean_logprob, reverse=True)
        best = candidates[: self._n]
        choices = [self._choice(index, parts[one.index]) for index, one in enumerate(best)]
        return self._reply(choices, usage, is_chunk=False)

    @abstractmethod
    def _reply(self, choices: list[AnyChoice], usage: Usage | None, *, is_chunk: bool) -> BaseModel: ...

    @abstractmethod
    def _choice(self, index: int, deltas: list[Delta]) -> AnyChoice: ...

    @abstractmethod
    def _part(self, delta: Delta) -> AnyChoice: ...


class CompletionReplies(Replies[Choice]):
    """Builds the replies to a request for completions.

    Args:
        request: the request.
    """

    def __init__(self, request: CompletionRequest) -> None:
        super().__init__("cmpl", request.n)
        self._request = request

    def _reply(self, choices: list[Choice], usage: Usage | None, *, is_chunk: bool) -> Completion:
        return Completion(
            id=self._id,
            created=self._created,
            model=self._request.model,
            choices=choices,
            usage=usage,
        )

    def _part(self, delta: Delta) -> Choice:
        return self._choice(delta.candidate, [delta])

    def _choice(self, index: int, deltas: list[Delta]) -> Choice:
        tokens = [placed for delta in deltas for placed in delta.tokens]
        return Choice(
            index=index,
            text="".join(delta.text for delta in deltas),
            logprobs=None if self._request.logprobs is None else self._logprobs(tokens),
            finish_reason=deltas[-1].finish_reason,
        )

    def _logprobs(self, tokens: list[PlacedToken]) -> TokenLogprobs:
        return TokenLogprobs(
            tokens=[placed.text for placed in tokens],
            token_logprobs=[placed.token.logprob if placed.token else None for placed in tokens],
            top_logprobs=[self._likeliest(placed) for placed in tokens],
            text_offset=[placed.offset for placed in tokens],
        )

    def _likeliest(self, placed: PlacedToken) -> dict[str, float] | None:
        """Return the likeliest tokens at a place, and the chosen one if it is not among them."""
        if placed.token is None:
            return None
        likeliest = list(placed.token.likeliest.items())[: self._request.logprobs]
        return {**dict(likeliest), placed.text: placed.token.logprob}


def embedding_list(request: contract.EmbeddingRequest, embeddings: Sequence[Embedding]) -> contract.EmbeddingList:
    """Return the reply to a request for embeddings.

    Args:
        request: the request.
        embeddings: those of its texts, in order.
    """
    data = [
        contract.Embedding(index=index, embedding=_written(_shortened(each.vector, request.dimensions), request))
        for index, each in enumerate(embeddings)
    ]
    tokens = sum(each.tokens for each in embeddings)
    usage = contract.EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens)
    return contract.EmbeddingList(id=f"embd-{uuid.uuid4().hex}", model=request.model, data=data, usage=usage)


def _shortened(vector: list[float], dimensions: int | None) -> list[float]:
    """Return the first numbers of an embedding, again of length 1; all without `dimensions`."""
    first = vector[:dimensions]
    length = math.sqrt(math.fsum(number * number for number in first)) if dimensions else 1.0
    return [number / (length or 1.0) for number in first]


def _written(vector: list[float], request: contract.EmbeddingRequest) -> list[float] | str:
    if request.encoding_format == "float":
        return vector
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
