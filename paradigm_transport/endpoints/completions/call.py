"""The two calls of `POST /completions`, whole and streamed; and what all calls that generate text have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from paradigm_transport.calls import Call, Event, Piece, Policy, Reply, Request, StreamCall
from paradigm_transport.endpoints.completions.fields import CompletionParameters, GenerationParameters
from paradigm_transport.endpoints.completions.reply import (
    Completion,
    CompletionChunk,
    Contents,
    read_completion,
    read_text,
)
from paradigm_transport.endpoints.completions.stream import StreamReader
from paradigm_transport.errors import ParadigmError
from paradigm_transport.json_object import JsonObject
from paradigm_transport.refusals import Origin, room_for_completion

Parameters = TypeVar("Parameters", bound=GenerationParameters)


class GenerationRequest(Request, Generic[Parameters, Piece, Event]):
    """A request that generates text.

    Args:
        parameters: the endpoint's fields.
        convert: what to make of the reply, or of each chunk, in order.
        optional: fields to send in `extra_body`, which are left out if the server refuses them.

    Attributes:
        echoed: the number of characters at the start of each text that are the echoed prompt.
    """

    echoed: int = 0
    _optional: Mapping[str, object] = {}
    _unfitted: int | None = None

    def __init__(
        self,
        parameters: Parameters,
        convert: Callable[[Piece], Event],
        optional: Mapping[str, object] | None = None,
    ) -> None:
        self.parameters = parameters
        self.convert = convert
        self.model = parameters.model
        self.extra_headers = parameters.extra_headers
        if "timeout" in parameters.model_fields_set:
            self.timeout = parameters.timeout
        self.stops = parameters.stop or []
        self.n = parameters.n or 1
        if optional:
            given = parameters.extra_body or {}
            self._optional = {name: value for name, value in optional.items() if name not in given}
            self.optional = self.optional | self._optional.keys()

    @property
    def _wanted(self) -> Parameters:
        """The parameters with the optional fields that the server has not refused."""
        if not self._optional:
            return self.parameters
        left = {name: value for name, value in self._optional.items() if name not in self._left_out}
        return self.parameters.with_extra_body(left)

    @abstractmethod
    def encode_as(self, *, stream: bool, stream_usage: bool) -> bytes:
        """Return the body.

        Args:
            stream: ask for a stream.
            stream_usage: ask for usage at its end.
        """

    @staticmethod
    @abstractmethod
    def read_contents(choice: JsonObject, is_whole: bool) -> Contents | None:
        """Read a choice of the endpoint; see `ReadContents`."""

    def _adapt_to(self, error: ParadigmError) -> bool:
        return super()._adapt_to(error) or self._fit(error)

    def _fit(self, error: ParadigmError) -> bool:
        """Ask for no more tokens than the server allows, once, if that is why it refused; return whether it is."""
        asked, room = self.parameters.max_tokens, room_for_completion(error)
        if self._unfitted is not None or asked is None or room is None or not 0 < room < asked:
            return False
        self._unfitted = asked
        self.parameters = self.parameters.model_copy(update={"max_tokens": room})
        self.body = self.encode()
        return True

    def note_end(self, finish_reason: str | None) -> None:
        """Warn once if a completion was cut at a default length limit."""
        parameters = self.parameters
        is_chosen = parameters.max_tokens is not None and "max_tokens" in parameters.model_fields_set
        if finish_reason != "length":
            return
        if self._unfitted is not None:
            self.policy.warn_once(
                "A completion of %s was cut at the most tokens that the server allows, fewer than max_tokens (%s).",
                self.policy.host,
                self._unfitted,
            )
        elif not is_chosen:
            self.policy.warn_once(
                "A completion of %s was cut at the default length limit: set max_tokens (now %s).",
                self.policy.host,
                parameters.max_tokens or "the server's default",
            )


class GenerationCall(GenerationRequest[Parameters, Completion, Reply], Call[Reply]):
    """A call that returns whole what it generates."""

    def encode(self) -> bytes:
        """Return the body; see `Request.encode`."""
        return self.encode_as(stream=False, stream_usage=False)

    def read(self, body: object, origin: Origin) -> Reply:
        """Read the reply; see `Call.read`."""
        completion = read_completion(
            body, origin, stops=self.stops, n=self.n, echoed=self.echoed, read_contents=self.read_contents
        )
        for choice in completion.choices:
            self.note_end(choice.finish_reason)
        completion.latency = self.meter.end(completion.usage)
        completion.retries = self.retries
        return self.convert(completion)


class GenerationStreamCall(GenerationRequest[Parameters, CompletionChunk, Event], StreamCall[CompletionChunk, Event]):
    """A call that streams what it generates."""

    optional = frozenset({"stream_options"})

    def bind(self, policy: Policy) -> None:
        """Prepare to be sent; see `Request.bind`."""
        wanted, usual = self.parameters.stream_usage, policy.settings.stream_usage
        if not (usual if wanted is None else wanted):
            self.optional = self.optional - {"stream_options"}
        super().bind(policy)

    def encode(self) -> bytes:
        """Return the body; see `Request.encode`."""
        return self.encode_as(stream=True, stream_usage="stream_options" in self.optional - self._left_out)

    def make_reader(self, origin: Origin) -> StreamReader:
        """Return what reads a response; see `StreamCall.make_reader`."""
        return StreamReader(origin, stops=self.stops, n=self.n, echoed=self.echoed, read_contents=self.read_contents)

    def make_event(self, piece: CompletionChunk) -> Event:
        """Measure a chunk and convert it; see `StreamCall.make_event`."""
        if piece.finish_reason is not None:
            self.note_end(piece.finish_reason)
        if piece.text or piece.thoughts or piece.calls:
            self.meter.text()
        if piece.is_last:
            if piece.finish_reason is None and piece.usage is None:  # so does llama-cpp-python interrupt streams
                self.policy.warn_once("A stream of %s ended without a reason: its text may be cut.", self.policy.host)
            piece.latency = self.meter.end(piece.usage)
            piece.retries = self.retries
        return self.convert(piece)


def as_is(completion: Completion) -> Completion:
    """Return a reply as it was read."""
    return completion


def chunk_as_is(chunk: CompletionChunk) -> CompletionChunk:
    """Return a chunk as it was read."""
    return chunk


class _CompletionRequest(GenerationRequest[CompletionParameters, Piece, Event]):
    path = "completions"
    read_contents = staticmethod(read_text)

    def __init__(
        self,
        prompt: str,
        parameters: CompletionParameters,
        convert: Callable[[Piece], Event],
        optional: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(parameters, convert, optional)
        self.prompt = prompt
        self.prompts = (prompt,)
        self.echoed = len(prompt) if parameters.echo else 0

    def encode_as(self, *, stream: bool, stream_usage: bool) -> bytes:
        """Return the body; see `GenerationRequest.encode_as`."""
        return self._wanted.body(self.prompt, stream=stream, stream_usage=stream_usage)


class CompletionCall(_CompletionRequest[Completion, Reply], GenerationCall[CompletionParameters, Reply]):
    """A call that returns a whole completion.

    Args:
        prompt: the text to complete.
        parameters: the endpoint's fields.
        convert: what to make of the completion.
        optional: fields to send in `extra_body`, which are left out if the server refuses them.
    """


class CompletionStreamCall(
    _CompletionRequest[CompletionChunk, Event], GenerationStreamCall[CompletionParameters, Event]
):
    """A call that streams a completion.

    Args:
        prompt: the text to complete.
        parameters: the endpoint's fields.
        convert: what to make of each chunk, in order.
        optional: as for `CompletionCall`.
    """
