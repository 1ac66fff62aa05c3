"""The clients: send, judge, try again. Two shells of the same words over one core."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, Generic, TypeVar

from typing_extensions import Self

from paradigm_transport.endpoints.completions.fields import CompletionParameters
from paradigm_transport.endpoints.completions.reply import Completion, CompletionChunk, parse_reply, read_completion
from paradigm_transport.endpoints.completions.stream import StreamReader
from paradigm_transport.endpoints.models import Model, read_models
from paradigm_transport.errors import (
    APIStatusError,
    InvalidParameterError,
    Origin,
    ParadigmError,
    status_error,
)
from paradigm_transport.http.connections import Answer, AnyAnswer, AsyncAnswer, AsyncConnections, Connections
from paradigm_transport.http.retry import RetryPolicy
from paradigm_transport.http.settings import Settings
from paradigm_transport.usage import Meter

Reply = TypeVar("Reply")

logger = logging.getLogger("paradigm_transport")


class _Core:
    """What both clients know and decide without I/O.

    Args:
        settings: how to reach the server; or its fields, as keyword arguments.
        retry: when to send again; by default as `settings.max_retries` says.
        clock: gives Unix seconds.
        chance: gives random numbers from 0 to 1.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        retry: RetryPolicy | None = None,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        **fields: Any,
    ) -> None:
        if settings is not None and fields:
            raise InvalidParameterError(f"{type(self).__name__} takes settings or {next(iter(fields))}, not both")
        self.settings = settings or Settings(**fields)
        self.retry = retry or RetryPolicy(max_retries=self.settings.max_retries)
        self.clock = clock
        self.chance = chance
        self.asks_stream_usage = self.settings.stream_usage
        """False once the server has taken a stream without `stream_options` that it had refused with them."""
        self._warned_of_length = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.settings.base_url!r})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        # A client has no state that could differ between copies; they share its connections.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        borrowed = [name for name in ("http_client", "http_async_client") if getattr(self.settings, name) is not None]
        if borrowed:
            raise TypeError(f"{borrowed[0]} cannot be pickled; build the object in the worker, or leave it out")
        return type(self), (self.settings,), {"retry": self.retry, "asks_stream_usage": self.asks_stream_usage}

    def note_end(self, parameters: CompletionParameters, finish_reason: str | None) -> None:
        """Warn once in the log where an answer was cut at a length nobody chose.

        Args:
            parameters: what was asked for.
            finish_reason: why the answer ended.
        """
        chosen = parameters.max_tokens is not None and "max_tokens" in parameters.model_fields_set
        if finish_reason == "length" and not chosen and not self._warned_of_length:
            self._warned_of_length = True
            logger.warning(
                "An answer of %s was cut at its length limit, which was not chosen: set max_tokens (now %s).",
                self.settings.host,
                parameters.max_tokens or "the server's default",
            )


class _Call(ABC, Generic[Reply]):
    """One call: what is sent, how often, and how its answer is read."""

    method = "POST"
    path = "completions"
    prompt = ""
    body: bytes | None = None

    def __init__(self, core: _Core) -> None:
        self._core = core
        self._retries = 0

    def begin(self) -> None:
        """The first request goes out."""

    def fail(self) -> None:
        """There will be no answer, or none to its end."""

    @abstractmethod
    def read(self, answer: AnyAnswer, body: bytes) -> Reply:
        """Read the answer.

        Raises:
            APIStatusError: it is a refusal.
            APIResponseError: it is something else.
        """

    def wait_before_retry(self, error: ParadigmError) -> float | None:
        """Seconds after which to send again; None to give up."""
        delay = self._core.retry.delay(self._retries, error, self._core.chance())
        self._retries += 1
        return delay

    def _origin(self, answer: AnyAnswer) -> Origin:
        settings = self._core.settings
        return Origin(settings.host, answer.headers, settings.api_key.get_secret_value(), self.prompt)

    def _accepted(self, answer: AnyAnswer, body: bytes) -> Any:
        origin = self._origin(answer)
        if not answer.is_success:
            raise status_error(answer.status, body, origin, self._core.clock())
        return parse_reply(body, origin)


class _ModelsCall(_Call[list[Model]]):
    method = "GET"
    path = "models"

    def read(self, answer: AnyAnswer, body: bytes) -> list[Model]:
        return read_models(self._accepted(answer, body), self._origin(answer))


class _CompletionCall(_Call[Completion]):
    def __init__(
        self,
        core: _Core,
        prompt: str,
        parameters: CompletionParameters | None,
        overrides: dict[str, Any],
        *,
        stream: bool = False,
    ) -> None:
        super().__init__(core)
        if parameters is None:
            parameters = CompletionParameters(**overrides)
        elif overrides:
            parameters = parameters.merged(overrides)
        self.prompt = prompt
        self._parameters = parameters
        self._is_stream = stream
        self._handed_out = False
        self._encode(asks_usage=stream and core.asks_stream_usage)

    def _encode(self, *, asks_usage: bool) -> None:
        self._asks_usage = asks_usage
        self.body = self._parameters.body(self.prompt, stream=self._is_stream, stream_usage=asks_usage)

    @cached_property
    def _meter(self) -> Meter:
        return Meter(self._parameters.model)

    def begin(self) -> None:
        _ = self._meter  # it measures from here on; a stream comes here with each request

    def fail(self) -> None:
        self._meter.fail()

    def read(self, answer: AnyAnswer, body: bytes) -> Completion:
        reply = self._accepted(answer, body)
        completion = read_completion(
            reply, self._origin(answer), stops=self._parameters.stop or [], echoed=self._echoed
        )
        for choice in completion.choices:
            self._core.note_end(self._parameters, choice.finish_reason)
        completion.latency = self._meter.end(completion.usage)
        return completion

    def reader(self, answer: AnyAnswer) -> StreamReader:
        """What reads the answer as it comes."""
        if not self._asks_usage:  # the server takes it so; where it had refused it otherwise, that was the reason
            self._core.asks_stream_usage = False
        return StreamReader(
            self._origin(answer),
            stops=self._parameters.stop or [],
            echoed=self._echoed,
            n=self._parameters.n or 1,
        )

    def hand_out(self, chunk: CompletionChunk) -> CompletionChunk:
        """Note that a chunk goes to the caller: from now on nothing may be sent again."""
        self._handed_out = True
        if chunk.finish_reason is not None:
            self._core.note_end(self._parameters, chunk.finish_reason)
        if chunk.text:
            self._meter.text()
        if chunk.is_last:
            chunk.latency = self._meter.end(chunk.usage)
        return chunk

    def wait_before_retry(self, error: ParadigmError) -> float | None:
        if self._handed_out:
            return None
        if self._asks_usage and _refuses_stream_options(error):
            self._encode(asks_usage=False)
            return 0.0
        return super().wait_before_retry(error)

    @property
    def _echoed(self) -> int:
        return len(self.prompt) if self._parameters.echo else 0


def _refuses_stream_options(error: ParadigmError) -> bool:
    return (
        isinstance(error, APIStatusError)
        and error.status_code in (400, 422)
        and re.search("stream.?options|include_usage", f"{error} {error.body}", re.IGNORECASE) is not None
    )


class ParadigmClient(_Core):
    """The endpoint, sync. Safe to share between threads; works on after a fork.

    Args:
        settings: how to reach the server; its fields may be given as keyword arguments instead.
        sleep: waits for so many seconds before a retry.
        options: the fields of `Settings` (`api_key`, `base_url`, `timeout`…), where there are no `settings`; and
            `retry`, a `RetryPolicy` in place of what `max_retries` says; `clock`, which gives Unix seconds to read
            a Retry-After date against; `chance`, which gives random numbers from 0 to 1 for the jitter.

    Raises:
        InvalidParameterError: a setting is missing or wrong.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        **options: Any,
    ) -> None:
        super().__init__(settings, **options)
        self._sleep = sleep
        self._connections = Connections(self.settings)

    def complete(self, prompt: str, parameters: CompletionParameters | None = None, **overrides: Any) -> Completion:
        """Complete a prompt.

        Args:
            prompt: the text to complete.
            parameters: the endpoint's fields.
            overrides: fields that win over those in `parameters`; `model` and all others where there are none.

        Raises:
            InvalidParameterError: a field is wrong; nothing was sent.
            APIConnectionError: no answer came (APITimeoutError: not in time).
            APIStatusError: the server refused; a subclass for each status.
            APIResponseError: the answer is no completion.
        """
        return self._send(_CompletionCall(self, prompt, parameters, overrides))

    def stream(self, prompt: str, parameters: CompletionParameters | None = None, **overrides: Any) -> CompletionStream:
        """Complete a prompt, piece by piece.

        The request goes out with the first piece that is asked for. Closing or dropping the stream closes the
        connection, which makes the server stop generating.

        Args:
            prompt: the text to complete.
            parameters: the endpoint's fields.
            overrides: fields that win over those in `parameters`.

        Raises:
            ParadigmError: as `complete`, and StreamInterruptedError; `partial_text` is what was handed out before.
        """
        call = _CompletionCall(self, prompt, parameters, overrides, stream=True)
        return CompletionStream(self._connections, call, self._sleep)

    def models(self) -> list[Model]:
        """The models the server offers.

        Raises:
            ParadigmError: as `complete`.
        """
        return self._send(_ModelsCall(self))

    def _send(self, call: _Call[Reply]) -> Reply:
        call.begin()
        while True:
            try:
                with self._connections.open(call.method, call.path, call.body) as answer:
                    return call.read(answer, answer.read())
            except ParadigmError as error:
                delay = call.wait_before_retry(error)
                if delay is None:
                    call.fail()
                    raise error.bare() from None
            self._sleep(delay)

    def close(self) -> None:
        """Close the connections. A later call opens new ones. A client that was passed in stays open."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class CompletionStream:
    """The pieces of one completion, as they come. Iterate over it; `close` or `with` ends it early."""

    def __init__(self, connections: Connections, call: _CompletionCall, sleep: Callable[[float], None]) -> None:
        self._connections = connections
        self._call = call
        self._sleep = sleep
        self._answer: Answer | None = None
        self._reader: StreamReader | None = None
        self._ready: deque[CompletionChunk] = deque()
        self._error: ParadigmError | None = None
        self._ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> CompletionChunk:
        while not self._ready:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._ended:
                self._disconnect()  # what came when it was closed from elsewhere
                raise StopIteration
            self._advance()
        return self._call.hand_out(self._ready.popleft())

    def _advance(self) -> None:
        """Read once more, or come to an end; an error waits until all before it is handed out."""
        try:
            if self._answer is None or self._reader is None:
                self._open()
            elif self._reader.ended:
                self._end(self._answer, self._reader)
            else:
                self._read(self._answer, self._reader)
        except ParadigmError as error:
            if self._ended:  # closed from elsewhere while this one waited
                return
            self._disconnect()
            delay = None if self._ready else self._call.wait_before_retry(error)
            if delay is None:
                self._call.fail()
                self._error = error.bare()
                return
        except BaseException:  # an interrupt, a cancellation: the server must not go on
            self.close()
            raise
        else:
            return
        self._sleep(delay)
        self._ended = False  # only now: an interrupt of the sleep is the end

    def _open(self) -> None:
        self._call.begin()
        self._answer = self._connections.open(self._call.method, self._call.path, self._call.body)
        if not self._answer.is_success:
            self._call.read(self._answer, self._answer.read())
        self._reader = self._call.reader(self._answer)

    def _read(self, answer: Answer, reader: StreamReader) -> None:
        try:
            part = answer.next_part()
        except ParadigmError as error:
            self._ready.extend(reader.interrupted(error))
            return
        self._ready.extend(reader.finish() if part is None else reader.feed(part))

    def _end(self, answer: Answer, reader: StreamReader) -> None:
        if reader.done:
            answer.drain()
        self._disconnect()

    def _disconnect(self) -> None:
        self._ended = True
        answer, self._answer, self._reader = self._answer, None, None
        if answer is not None:
            answer.close()

    def close(self) -> None:
        """End the stream and close its connection, unless that is fit to serve again."""
        self._ready.clear()
        self._error = None
        self._disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class AsyncParadigmClient(_Core):
    """The endpoint, async. Works in one event loop after another, and in several at once.

    Args:
        settings: how to reach the server; its fields may be given as keyword arguments instead.
        sleep: waits for so many seconds before a retry.
        options: the fields of `Settings` (`api_key`, `base_url`, `timeout`…), where there are no `settings`; and
            `retry`, a `RetryPolicy` in place of what `max_retries` says; `clock`, which gives Unix seconds to read
            a Retry-After date against; `chance`, which gives random numbers from 0 to 1 for the jitter.

    Raises:
        InvalidParameterError: a setting is missing or wrong.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        **options: Any,
    ) -> None:
        super().__init__(settings, **options)
        self._sleep = sleep
        self._connections = AsyncConnections(self.settings)

    async def complete(
        self, prompt: str, parameters: CompletionParameters | None = None, **overrides: Any
    ) -> Completion:
        """Complete a prompt; as `ParadigmClient.complete`."""
        return await self._send(_CompletionCall(self, prompt, parameters, overrides))

    def stream(
        self, prompt: str, parameters: CompletionParameters | None = None, **overrides: Any
    ) -> AsyncCompletionStream:
        """Complete a prompt, piece by piece; as `ParadigmClient.stream`."""
        call = _CompletionCall(self, prompt, parameters, overrides, stream=True)
        return AsyncCompletionStream(self._connections, call, self._sleep)

    async def models(self) -> list[Model]:
        """The models the server offers; as `ParadigmClient.models`."""
        return await self._send(_ModelsCall(self))

    async def _send(self, call: _Call[Reply]) -> Reply:
        call.begin()
        while True:
            try:
                async with await self._connections.open(call.method, call.path, call.body) as answer:
                    return call.read(answer, await answer.read())
            except ParadigmError as error:
                delay = call.wait_before_retry(error)
                if delay is None:
                    call.fail()
                    raise error.bare() from None
            await self._sleep(delay)

    async def aclose(self) -> None:
        """Close the connections of this event loop; as `ParadigmClient.close`."""
        await self._connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


class AsyncCompletionStream:
    """The pieces of one completion, as they come; as `CompletionStream`."""

    def __init__(
        self, connections: AsyncConnections, call: _CompletionCall, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._connections = connections
        self._call = call
        self._sleep = sleep
        self._answer: AsyncAnswer | None = None
        self._reader: StreamReader | None = None
        self._ready: deque[CompletionChunk] = deque()
        self._error: ParadigmError | None = None
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CompletionChunk:
        while not self._ready:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._ended:
                await self._disconnect()  # what came when it was closed from elsewhere
                raise StopAsyncIteration
            await self._advance()
        return self._call.hand_out(self._ready.popleft())

    async def _advance(self) -> None:
        """Read once more, or come to an end; an error waits until all before it is handed out."""
        try:
            if self._answer is None or self._reader is None:
                await self._open()
            elif self._reader.ended:
                await self._end(self._answer, self._reader)
            else:
                await self._read(self._answer, self._reader)
        except ParadigmError as error:
            if self._ended:  # closed from elsewhere while this one waited
                return
            await self._disconnect()
            delay = None if self._ready else self._call.wait_before_retry(error)
            if delay is None:
                self._call.fail()
                self._error = error.bare()
                return
        except BaseException:  # an interrupt, a cancellation: the server must not go on
            await self.aclose()
            raise
        else:
            return
        await self._sleep(delay)
        self._ended = False  # only now: an interrupt of the sleep is the end

    async def _open(self) -> None:
        self._call.begin()
        self._answer = await self._connections.open(self._call.method, self._call.path, self._call.body)
        if not self._answer.is_success:
            self._call.read(self._answer, await self._answer.read())
        self._reader = self._call.reader(self._answer)

    async def _read(self, answer: AsyncAnswer, reader: StreamReader) -> None:
        try:
            part = await answer.next_part()
        except ParadigmError as error:
            self._ready.extend(reader.interrupted(error))
            return
        self._ready.extend(reader.finish() if part is None else reader.feed(part))

    async def _end(self, answer: AsyncAnswer, reader: StreamReader) -> None:
        if reader.done:
            await answer.drain()
        await self._disconnect()

    async def _disconnect(self) -> None:
        self._ended = True
        answer, self._answer, self._reader = self._answer, None, None
        if answer is not None:
            await answer.aclose()

    async def aclose(self) -> None:
        """End the stream; as `CompletionStream.close`."""
        self._ready.clear()
        self._error = None
        await self._disconnect()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
