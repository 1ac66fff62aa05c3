"""A streamed completion or message of a chat: bytes in, chunks out; no HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import suppress

from paradigm_transport.endpoints.completions.logprobs import Logprobs
from paradigm_transport.endpoints.completions.reply import (
    ABORTED,
    CallPart,
    Choice,
    CompletionChunk,
    ReadContents,
    read_choices,
    read_identity,
    read_text,
)
from paradigm_transport.errors import APIConnectionError, APIStatusError, ParadigmError, StreamInterruptedError
from paradigm_transport.http.sse import BOM, Event, SSEDecoder
from paradigm_transport.json_object import JsonObject
from paradigm_transport.refusals import Origin, aborted, ends_in_half, join_halves, parse_reply, unexpected_response
from paradigm_transport.stops import StopScanner
from paradigm_transport.usage import Usage, read_usage

MAX_START = 1024
"""The most bytes of white space before a response that are kept."""


class StreamReader:
    """Reads one streamed completion.

    Feed it the bytes as they arrive; at their end call `finish`, or `interrupted` if they broke off. Each yields
    chunks. Once `ended` is true, nothing more is wanted.

    Args:
        origin: where the response comes from. One JSON reply in place of a stream is read as if it were streamed.
        stops: stop sequences to enforce.
        echoed: the number of characters at the start of each text that are the echoed prompt.
        n: the number of choices that were asked for.
        read_contents: reads a choice of the endpoint.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        stops: list[str],
        echoed: int = 0,
        n: int = 1,
        read_contents: ReadContents = read_text,
    ) -> None:
        self._origin = origin
        self._read_contents = read_contents
        self._stops = stops
        self._echoed = echoed
        self._n = n
        self._is_stream: bool | None = None  # decided by the first byte, not by the headers
        self._start = b""  # white space, and perhaps a BOM
        self._whole: list[bytes] = []
        self._decoder = SSEDecoder()
        self._held = b""  # the data of an event that ends in the middle of a character
        self._choices: dict[int, _StreamedChoice] = {}
        self._received: Counter[int] = Counter()  # characters of each choice
        self._identity: tuple[str | None, str | None, int | None] = (None, None, None)
        self._usage: Usage | None = None
        self._raw: JsonObject = {}
        self._shown: list[str] = []  # of choice 0
        self._aborted: ParadigmError | None = None  # raised once the text before it is handed out
        self.ended = False
        self.done = False
        """The server said `[DONE]`: the few bytes left are worth reading, to keep the connection."""

    def feed(self, data: bytes) -> Iterator[CompletionChunk]:
        """Take the bytes of one read.

        Raises:
            APIStatusError: the stream holds an error.
            APIResponseError: an event is not a chunk of a completion.
        """
        if self._is_stream is None:
            data = self._start + data
            first = data.removeprefix(BOM).lstrip()[:1]
            if not first or BOM.startswith(data):
                self._start = data if len(data) < MAX_START else b""
                return
            self._is_stream = first not in (b"{", b"[", b"<")
        if not self._is_stream:
            self._whole.append(data)
            return
        try:
            for event in self._decoder.feed(data):
                if self._held:
                    event = event._replace(data=(yield from self._read_held(event.data)))
                yield from self._read_event(event)
                if self._aborted is not None:
                    raise self._aborted
                if self.ended:
                    return
        except ParadigmError as error:
            yield from self._fail(error)

    def finish(self) -> Iterator[CompletionChunk]:
        """Take the regular end of the bytes.

        Raises:
            StreamInterruptedError: the completion had not ended.
            APIResponseError: it was not a completion.
        """
        try:
            if self._is_stream:
                for event in self._decoder.finish():
                    yield from self._read_event(event._replace(data=(yield from self._read_held(event.data))))
                yield from self._read_held()
            elif self._whole:
                yield from self._read_chunk(parse_reply(b"".join(self._whole), self._origin), is_whole=True)
            if self._aborted is not None:
                raise self._aborted
            if self._whole:
                yield from self._end()
        except ParadigmError as error:
            # A last event that is cut in the middle is not a bad one: the stream was interrupted.
            if isinstance(error, APIStatusError) or not self._is_stream:
                yield from self._fail(error)
        yield from self.interrupted(
            StreamInterruptedError(f"The stream of {self._origin.host} ended with neither a finish reason nor [DONE].")
        )

    def interrupted(self, error: ParadigmError) -> Iterator[CompletionChunk]:
        """Take the error that broke off the bytes.

        Raises:
            StreamInterruptedError: the completion had not ended. An error that is not the connection's is raised as
                it is.
        """
        if not self.ended:
            with suppress(ParadigmError):
                yield from self._read_held()
            yield from self._end() if self._is_finished() else self._fail(error)

    def _read_event(self, event: Event) -> list[CompletionChunk]:
        data = event.data.strip()
        if data == b"[DONE]":
            self.done = True
            return self._end()
        is_error = event.name == b"error"
        if not data and not is_error:  # it only keeps the connection open
            return []
        body = parse_reply(data, self._origin, is_error=is_error, is_held=None if is_error else self._hold)
        return [] if self._held else self._read_chunk(body)

    def _hold(self, data: bytes) -> bool:
        self._held = data if ends_in_half(data) else b""
        return bool(self._held)

    def _read_held(self, following: bytes = b"") -> Generator[CompletionChunk, None, bytes]:
        """Read what is held, with the rest of its last character; return the next event's data without that."""
        if self._held:
            (data, following), self._held = join_halves(self._held, following), b""
            yield from self._read_chunk(parse_reply(data, self._origin))
        return following

    def _read_chunk(self, body: object, *, is_whole: bool = False) -> list[CompletionChunk]:
        if not isinstance(body, dict):
            raise unexpected_response(body, self._origin)
        choices = read_choices(body, self._origin, self._n, self._received, self._read_contents, is_whole=is_whole)
        self._raw = body
        if not self._identity[0]:
            self._identity = read_identity(body)
        if body.get("usage") is not None:  # running totals, on some servers: the last one counts
            self._usage = read_usage(body["usage"]) or self._usage
        chunks = []
        is_any_finished = False
        for choice in choices:
            self._received[choice.index] += len(choice.text)
            streamed = self._choices.get(choice.index)
            if streamed is None:
                scanner = StopScanner(self._stops, self._echoed) if self._stops else None
                streamed = self._choices[choice.index] = _StreamedChoice(scanner)
            text, logprobs = streamed.take(choice)
            calls = () if streamed.is_stopped else choice.calls  # which the model wrote after the text
            if text or logprobs or choice.thoughts or calls:
                chunks.append(self._chunk(choice.index, text, logprobs, choice.thoughts, calls))
            if streamed.finish_reason is not None:
                is_any_finished = True
                if streamed.finish_reason in ABORTED:
                    self._aborted = aborted(streamed.finish_reason, "", body, self._origin)
        # The server does not know of a stop that ended a choice here, and would go on.
        if is_any_finished and self._is_finished() and any(each.stopped_here for each in self._choices.values()):
            chunks += self._end()
        return chunks

    def _is_finished(self) -> bool:
        """Whether all choices have ended."""
        return sum(choice.finish_reason is not None for choice in self._choices.values()) >= self._n

    def _chunk(
        self,
        index: int,
        text: str,
        logprobs: Logprobs | None,
        thoughts: str = "",
        calls: tuple[CallPart, ...] = (),
    ) -> CompletionChunk:
        if index == 0:
            self._shown.append(text)
        return CompletionChunk(text, index, logprobs, self._raw, thoughts=thoughts, calls=calls)

    def _release(self) -> list[CompletionChunk]:
        """Return what was held back and did not become a stop."""
        released = [(index, *choice.release()) for index, choice in sorted(self._choices.items())]
        return [self._chunk(*piece) for piece in released if any(piece[1:])]

    def _end(self) -> list[CompletionChunk]:
        """End the completion: one last piece for each choice; the very last carries usage and ids."""
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
        last.id, last.model, last.created = self._identity
        return self._release() + ends

    def _fail(self, error: ParadigmError) -> Iterator[CompletionChunk]:
        """Hand out what was held back, then raise with all the text so far."""
        yield from self._release()
        if type(error) is APIConnectionError:
            error = StreamInterruptedError(str(error))
        error.partial_text = "".join(self._shown)
        raise error


class _StreamedChoice:
    """One choice of a stream: what was held back and shown."""

    def __init__(self, scanner: StopScanner | None) -> None:
        self._scanner = scanner
        self._held = Logprobs()  # of text that is held back, from `_first` on
        self._first = 0
        self._ahead = 0  # characters shown beyond the tokens shown; less than 0 within a token
        self._server_finished = False
        self.finish_reason: str | None = None
        self.stop_reason: str | int | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether a stop ended it."""
        return self._scanner is not None and self._scanner.stopped

    @property
    def stopped_here(self) -> bool:
        """Whether a stop ended it here, unknown to the server."""
        return self.is_stopped and not self._server_finished

    def take(self, choice: Choice) -> tuple[str, Logprobs | None]:
        """Take what an event adds to this choice; return what of it, and of what was held, may be shown."""
        if choice.finish_reason is not None and not self._server_finished:  # some servers send it twice
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
        """Return what was held back and did not become a stop."""
        if self._scanner is None or self._scanner.stopped:
            return "", None
        return self._scanner.finish(), self._take_up_to(len(self._held))

    def _ready(self, scanner: StopScanner, shown: int, new: Logprobs | None) -> Logprobs | None:
        """Return the log-probabilities of the tokens whose text may be shown."""
        if new:
            self._held.extend(new)
        if not scanner.held and not scanner.stopped:  # all text is out, and so may all tokens be
            self._ahead = 0
            return self._take_up_to(len(self._held))
        self._ahead += shown
        ready = self._take_up_to(self._first + self._held.count_within(self._ahead, self._first))
        self._ahead -= sum(map(len, ready.tokens)) if ready else 0
        return ready

    def _take_up_to(self, end: int) -> Logprobs | None:
        """Return the tokens that are held back, up to a place; the others stay, since moving them would take time."""
        taken, self._first = self._held[self._first : end], end
        if end == len(self._held):
            self._held, self._first = Logprobs(), 0
        return taken or None
