"""A streamed answer: bytes in, chunks out; no HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paradigm_transport.endpoints.completions.reply import (
    Choice,
    CompletionChunk,
    Logprobs,
    Usage,
    choices_of,
    identity,
    parse_reply,
    read_choice,
    read_usage,
)
from paradigm_transport.errors import (
    APIConnectionError,
    APIResponseError,
    APITimeoutError,
    Origin,
    ParadigmError,
    StreamInterruptedError,
    unreadable,
)
from paradigm_transport.http.sse import Event, SSEDecoder
from paradigm_transport.stops import StopScanner


class StreamReader:
    """Reads one streamed answer.

    Feed it the bytes as they come; at their end call `finish`, or `interrupted` where they broke off. Each
    yields chunks. Once `ended` is true nothing more is wanted.

    Args:
        origin: where the answer comes from. One JSON reply where a stream was asked for is read as if streamed.
        stops: stop sequences to enforce.
        echoed: characters at the start of each text that are the prompt given back.
        n: how many choices were asked for.
    """

    def __init__(self, origin: Origin, *, stops: list[str], echoed: int = 0, n: int = 1) -> None:
        self._origin = origin
        self._stops = stops
        self._echoed = echoed
        self._n = n
        self._is_stream: bool | None = None  # the first byte will tell, whatever the headers say
        self._whole: list[bytes] = []
        self._decoder = SSEDecoder()
        self._choices: dict[int, _StreamedChoice] = {}
        self._identity: dict[str, Any] = {}
        self._usage: Usage | None = None
        self._raw: dict[str, Any] = {}
        self._shown: list[str] = []  # of choice 0
        self._was_cut = False  # a stop has ended a choice on our side
        self.ended = False
        self.done = False
        """The server said `[DONE]`: the few bytes left are worth reading, to keep the connection."""

    def feed(self, data: bytes) -> Iterator[CompletionChunk]:
        """Take one read's bytes.

        Raises:
            APIStatusError: the stream holds an error.
            APIResponseError: an event is no chunk of a completion.
        """
        if self._is_stream is None:
            data = data.lstrip()
            if not data:
                return
            self._is_stream = data[:1] not in (b"{", b"[", b"<")
        if not self._is_stream:
            self._whole.append(data)
            return
        try:
            for event in self._decoder.feed(data):
                yield from self._read_event(event)
                if self.ended:
                    return
        except ParadigmError as error:
            yield from self._fail(error)

    def finish(self) -> Iterator[CompletionChunk]:
        """The bytes have ended in good order.

        Raises:
            StreamInterruptedError: the answer had not.
            APIResponseError: it was no completion.
        """
        try:
            if self._is_stream:
                yield from self._read_last_event()
            elif self._whole:
                yield from self._read_whole()
        except ParadigmError as error:
            yield from self._fail(error)
        yield from self.interrupted(
            StreamInterruptedError(f"The stream of {self._origin.host} ended with neither a finish reason nor [DONE].")
        )

    def interrupted(self, error: ParadigmError) -> Iterator[CompletionChunk]:
        """The bytes have broken off.

        Raises:
            StreamInterruptedError: the answer had not ended; an error of another kind than of the connection as it is.
        """
        if not self.ended:
            yield from self._end() if self._finished() >= self._n else self._fail(error)

    def _read_last_event(self) -> Iterator[CompletionChunk]:
        for event in self._decoder.finish():
            try:
                yield from self._read_event(event)
            except (APIResponseError, APIConnectionError):
                return  # cut in its middle: not a bad event, but a stream that was interrupted

    def _read_whole(self) -> Iterator[CompletionChunk]:
        body = parse_reply(b"".join(self._whole), self._origin)
        if not choices_of(body, self._origin):
            raise unreadable(body, self._origin)
        yield from self._read_chunk(body)
        yield from self._end()

    def _read_event(self, event: Event) -> list[CompletionChunk]:
        data = event.data.strip()
        is_error = event.name == b"error"
        if data == b"[DONE]":
            self.done = True
            return self._end()
        if data or is_error:  # without data it only keeps the connection open
            return self._read_chunk(parse_reply(data, self._origin, is_error=is_error))
        return []

    def _read_chunk(self, body: Any) -> list[CompletionChunk]:
        choices = choices_of(body, self._origin)
        self._raw = body
        if not self._identity.get("id"):
            self._identity = identity(body)
        if body.get("usage") is not None:  # running totals, on some servers: the last one counts
            self._usage = read_usage(body["usage"]) or self._usage
        chunks = []
        for index, wire in choices:
            streamed = self._choices.get(index) or self._begin(index)
            text, logprobs = streamed.take(read_choice(wire, index, streamed.received))
            if text or logprobs:
                chunks.append(self._chunk(index, text, logprobs))
            self._was_cut = self._was_cut or streamed.stopped_here
        # Where a stop ended a choice on our side, the server does not know, and would go on.
        if self._was_cut and self._finished() >= self._n and any(c.stopped_here for c in self._choices.values()):
            chunks += self._end()
        return chunks

    def _begin(self, index: int) -> _StreamedChoice:
        scanner = StopScanner(self._stops, self._echoed) if self._stops else None
        streamed = self._choices[index] = _StreamedChoice(scanner)
        return streamed

    def _finished(self) -> int:
        """How many choices have ended."""
        return sum(choice.finish_reason is not None for choice in self._choices.values())

    def _chunk(self, index: int, text: str, logprobs: Logprobs | None) -> CompletionChunk:
        if index == 0:
            self._shown.append(text)
        return CompletionChunk(text, index, logprobs, self._raw)

    def _release(self) -> list[CompletionChunk]:
        """What was held back and became no stop."""
        released = [(index, *choice.release()) for index, choice in sorted(self._choices.items())]
        return [self._chunk(*piece) for piece in released if any(piece[1:])]

    def _end(self) -> list[CompletionChunk]:
        """The answer is whole: one last piece for each choice, and all that is known on the very last."""
        if self.ended:
            return []
        self.ended = True
        ends = [
            CompletionChunk("", index, None, self._raw, choice.finish_reason, choice.stop_reason)
            for index, choice in sorted(self._choices.items())
        ] or [CompletionChunk("", raw=self._raw)]
        last = ends[-1]
        last.is_last = True
        last.usage = self._usage
        last.request_id = self._origin.request_id
        for name, value in self._identity.items():
            setattr(last, name, value)
        return self._release() + ends

    def _fail(self, error: ParadigmError) -> Iterator[CompletionChunk]:
        """Hand out what was held back, then raise with all the text there was."""
        self.ended = True
        yield from self._release()
        if isinstance(error, APIConnectionError) and not isinstance(error, APITimeoutError):
            error = StreamInterruptedError(str(error))
        error.partial_text = "".join(self._shown)
        raise error


class _StreamedChoice:
    """How far one choice has come."""

    def __init__(self, scanner: StopScanner | None) -> None:
        self._scanner = scanner
        self._held: Logprobs | None = None  # of text that is held back
        self._ahead = 0  # characters shown beyond the tokens shown; less than 0 within a token
        self._server_finished = False
        self.received = 0
        self.finish_reason: str | None = None
        self.stop_reason: str | int | None = None

    @property
    def stopped_here(self) -> bool:
        """True where a stop ended it on our side alone."""
        return self._scanner is not None and self._scanner.stopped and not self._server_finished

    def take(self, choice: Choice) -> tuple[str, Logprobs | None]:
        """Take what an event adds to this choice; return what of it, and of what was held, may be shown."""
        self.received += len(choice.text)
        if choice.finish_reason is not None and not self._server_finished:  # some servers say it twice
            self._server_finished = True
            self.finish_reason = self.finish_reason or choice.finish_reason
            self.stop_reason = choice.stop_reason
        if self._scanner is None:
            return choice.text, choice.logprobs
        if self._scanner.stopped:
            return "", None
        text = self._scanner.feed(choice.text)
        if self._scanner.stopped:
            self.finish_reason = "stop"
        return text, self._ready(self._scanner, len(text), choice.logprobs)

    def release(self) -> tuple[str, Logprobs | None]:
        """What was held back and became no stop."""
        if self._scanner is None or self._scanner.stopped:
            return "", None
        logprobs, self._held = self._held, None
        return self._scanner.finish(), logprobs

    def _ready(self, scanner: StopScanner, shown: int, new: Logprobs | None) -> Logprobs | None:
        """The log-probabilities of the tokens whose text may be shown."""
        held = self._held + new if self._held and new else self._held or new
        if not scanner.held and not scanner.stopped:  # all text is out, and so may all tokens be
            self._ahead, self._held = 0, None
            return held
        self._ahead += shown
        if not held:
            return None
        count = held.count_within(self._ahead)
        ready, self._held = held[:count], held[count:]
        self._ahead -= sum(map(len, ready.tokens))
        return ready or None
