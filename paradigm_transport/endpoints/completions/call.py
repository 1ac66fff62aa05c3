"""The two calls of `POST /completions`: whole and streamed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic

from paradigm_transport.calls import Call, Event, Piece, Reply, Request, StreamCall
from paradigm_transport.endpoints.completions.fields import CompletionParameters
from paradigm_transport.endpoints.completions.reply import Completion, CompletionChunk, read_completion
from paradigm_transport.endpoints.completions.stream import StreamReader
from paradigm_transport.refusals import Origin


class _CompletionRequest(Request, Generic[Piece, Event]):
    path = "completions"
    _optional: Mapping[str, object] = {}

    def __init__(
        self,
        prompt: str,
        parameters: CompletionParameters,
        convert: Callable[[Piece], Event],
        optional: Mapping[str, object] | None = None,
    ) -> None:
        self.prompt = prompt
        self.prompts = (prompt,)
        self.parameters = parameters
        self.convert = convert
        self.model = parameters.model
        self.extra_headers = parameters.extra_headers
        if "timeout" in parameters.model_fields_set:
            self.timeout = parameters.timeout
        self.stops = parameters.stop or []
        self.n = parameters.n or 1
        self.echoed = len(prompt) if parameters.echo else 0
        if optional:
            given = parameters.extra_body or {}
            self._optional = {name: value for name, value in optional.items() if name not in given}
            self.optional = self.optional | self._optional.keys()

    @property
    def _wanted(self) -> CompletionParameters:
        """The parameters with the optional fields that the server has not refused."""
        if not self._optional:
            return self.parameters
        left = {name: value for name, value in self._optional.items() if name not in self._left_out}
        return self.parameters.with_extra_body(left)

    def note_end(self, finish_reason: str | None) -> None:
        """Warn once if a completion was cut at a length that nobody chose."""
        parameters = self.parameters
        is_chosen = parameters.max_tokens is not None and "max_tokens" in parameters.model_fields_set
        if finish_reason == "length" and not is_chosen:
            self.policy.warn_once(
                "A completion of %s was cut at a length limit that nobody chose: set max_tokens (now %s).",
                self.policy.host,
                parameters.max_tokens or "the server's default",
            )


class CompletionCall(_CompletionRequest[Completion, Reply], Call[Reply]):
    """A call that returns a whole completion.

    Args:
        prompt: the text to complete.
        parameters: the endpoint's fields.
        convert: what to make of the completion.
        optional: fields to send in `extra_body`, which are left out if the server refuses them.
    """

    def encode(self) -> bytes:
        """Return the body; see `Request.encode`."""
        return self._wanted.body(self.prompt)

    def read(self, body: object, origin: Origin) -> Reply:
        """Read the completion; see `Call.read`."""
        completion = read_completion(body, origin, stops=self.stops, n=self.n, echoed=self.echoed)
        for choice in completion.choices:
            self.note_end(choice.finish_reason)
        completion.latency = self.meter.end(completion.usage)
        completion.retries = self.retries
        return self.convert(completion)


class CompletionStreamCall(_CompletionRequest[CompletionChunk, Event], StreamCall[CompletionChunk, Event]):
    """A call that streams a completion.

    Args:
        prompt: the text to complete.
        parameters: the endpoint's fields.
        convert: what to make of each chunk, in order.
        optional: as for `CompletionCall`.
    """

    optional = frozenset({"stream_options"})

    def encode(self) -> bytes:
        """Return the body; see `Request.encode`."""
        return self._wanted.body(self.prompt, stream=True, stream_usage="stream_options" not in self._left_out)

    def make_reader(self, origin: Origin) -> StreamReader:
        """Return what reads a response; see `StreamCall.make_reader`."""
        return StreamReader(origin, stops=self.stops, n=self.n, echoed=self.echoed)

    def make_event(self, piece: CompletionChunk) -> Event:
        """Measure a chunk and convert it; see `StreamCall.make_event`."""
        if piece.finish_reason is not None:
            self.note_end(piece.finish_reason)
        if piece.text:
            self.meter.text()
        if piece.is_last:
            piece.latency = self.meter.end(piece.usage)
            piece.retries = self.retries
        return self.convert(piece)
