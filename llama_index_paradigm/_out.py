"""The server's answers, as LlamaIndex's responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LogProb, MessageRole

from paradigm_transport import Completion, CompletionChunk, Logprobs, Usage

Response = TypeVar("Response", CompletionResponse, ChatResponse)


class Reader(Generic[Response]):
    """Makes responses of one answer, whole or chunk by chunk."""

    def __init__(self) -> None:
        self.text = ""

    def read(self, completion: Completion) -> Response:
        """The response to a whole answer: to its first choice."""
        choice = completion.choices[0]
        self._take(choice.text, is_last=True)
        return self._respond(
            raw=_raw(completion.raw, completion.usage),
            logprobs=_logprobs(choice.logprobs),
            additional_kwargs=_details(completion, choice.finish_reason),
        )

    def read_chunk(self, chunk: CompletionChunk) -> Response:
        """The response to a stream so far."""
        return self._respond(
            delta=self._take(chunk.text, is_last=chunk.is_last),
            raw=_raw(chunk.raw, chunk.usage),
            logprobs=_logprobs(chunk.logprobs),
            additional_kwargs=_details(chunk, chunk.finish_reason) if chunk.is_last else {},
        )

    def _take(self, text: str, *, is_last: bool) -> str:
        """Take what has come; return what a user sees of it."""
        self.text += text
        return text

    def _respond(self, **rest: Any) -> Response:
        raise NotImplementedError


class CompletionReader(Reader[CompletionResponse]):
    """Reads the completion of a prompt."""

    def _respond(self, **rest: Any) -> CompletionResponse:
        return CompletionResponse(text=self.text, **rest)


class ChatReader(Reader[ChatResponse]):
    """Reads the answer to messages."""

    def _respond(self, **rest: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=self.text), **rest)


def _raw(raw: dict[str, Any], usage: Usage | None) -> dict[str, Any]:
    """The server's answer, with usage where counters look for it: exact and last, or not at all."""
    rest = dict(raw)
    told = rest.pop("usage", None)
    if usage is not None:
        rest["usage"] = {**(told if isinstance(told, dict) else {}), **usage.as_dict()}
    return rest


def _details(answer: Completion | CompletionChunk, finish_reason: str | None) -> dict[str, Any]:
    known = {"request_id": answer.request_id, "latency": answer.latency}
    counts = answer.usage.as_dict() if answer.usage is not None else {}
    return {
        "finish_reason": finish_reason,
        **{name: each for name, each in known.items() if each is not None},
        **counts,
    }


def _logprobs(logprobs: Logprobs | None) -> list[list[LogProb]] | None:
    """For each token the likeliest ones, the token itself first."""
    if logprobs is None:
        return None
    return [
        _alternatives(token, logprob, top or {})
        for token, logprob, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True)
    ]


def _alternatives(token: str, logprob: float | None, top: Mapping[str, float]) -> list[LogProb]:
    # A first echoed token has no log-probability; it is no token the model chose.
    own = {} if logprob is None else {token: logprob}
    return [
        LogProb(token=word, logprob=value, bytes=list(word.encode(errors="surrogatepass")))
        for word, value in {**own, **top, **own}.items()
    ]
