"""From the server's replies to LlamaIndex's completions; and what chats have in common with them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import TypeVar

from llama_index.core.base.llms.types import LogProb
from llama_index.core.llms import ChatResponse, CompletionResponse

from llama_index_paradigm._compat import raw_with_usage
from paradigm_transport import Choice, Completion, CompletionChunk, Logprobs
from paradigm_transport.endpoints.completions.logprobs import as_entries
from paradigm_transport.json_object import JsonObject
from paradigm_transport.streams import AsyncStream, Stream

Chunk = TypeVar("Chunk")
Response = TypeVar("Response")


def responses(stream: Stream[Chunk], read: Callable[[Chunk], Response]) -> Generator[Response, None, None]:
    """Read a stream, and close it when the generator is left."""
    with stream:
        for chunk in stream:
            yield read(chunk)


async def aresponses(stream: AsyncStream[Chunk], read: Callable[[Chunk], Response]) -> AsyncGenerator[Response, None]:
    """As `responses`."""
    async with stream:
        async for chunk in stream:
            yield read(chunk)


class CompletionReader:
    """Reads the completion of a prompt, whole or chunk by chunk.

    What the model thought before is `additional_kwargs["reasoning_content"]`.
    """

    def __init__(self) -> None:
        self._text = self._thoughts = ""

    def read(self, completion: Completion) -> CompletionResponse:
        """Return the response to a whole completion, to its first choice."""
        self._thoughts = completion.choices[0].thoughts
        return self._response(completion.text, beside_text(completion, completion.choices[0]))

    def read_chunk(self, chunk: CompletionChunk) -> CompletionResponse:
        """Return the response to a stream so far."""
        self._text += chunk.text
        self._thoughts += chunk.thoughts
        details = beside_text(chunk, chunk, chunk.is_last)
        if chunk.thoughts:
            details["additional_kwargs"]["thinking_delta"] = chunk.thoughts
        return self._response(self._text, {**details, "delta": chunk.text})

    def _response(self, text: str, details: JsonObject) -> CompletionResponse:
        if self._thoughts:
            details["additional_kwargs"]["reasoning_content"] = self._thoughts
        return CompletionResponse(text=text, **details)


def is_cut_off(response: CompletionResponse | ChatResponse) -> bool:
    """Return whether `max_tokens` ended an answer."""
    return response.additional_kwargs.get("finish_reason") == "length"


def beside_text(
    reply: Completion | CompletionChunk, choice: Choice | CompletionChunk, is_whole: bool = True
) -> JsonObject:
    """Return what a response holds beside its text; details of the whole only once it has ended."""
    details: JsonObject = {}
    if is_whole:
        known = {"request_id": reply.request_id, "latency": reply.latency, "retries": reply.retries or None}
        details = {"finish_reason": choice.finish_reason}
        details.update({name: value for name, value in known.items() if value is not None})
        details.update(reply.usage.as_dict() if reply.usage is not None else {})
    raw = raw_with_usage(reply.raw, reply.usage)
    return {"raw": raw, "logprobs": _logprobs(choice.logprobs), "additional_kwargs": details}


def _logprobs(logprobs: Logprobs | None) -> list[list[LogProb]] | None:
    """Return the most likely tokens at each position, the chosen one first."""
    if logprobs is None:
        return None
    return [list(map(_logprob, _with_the_chosen_one_first(entry))) for entry in as_entries(logprobs)]


def _with_the_chosen_one_first(entry: JsonObject) -> Iterator[JsonObject]:
    if entry["logprob"] is not None:  # the model did not choose the first token of an echoed prompt
        yield entry
    chosen = entry["token"], entry["bytes"]
    for other in entry["top_logprobs"]:
        if other["logprob"] is not None and (entry["logprob"] is None or (other["token"], other["bytes"]) != chosen):
            yield other


def _logprob(entry: JsonObject) -> LogProb:
    return LogProb(token=entry["token"], logprob=entry["logprob"], bytes=entry["bytes"] or [])
