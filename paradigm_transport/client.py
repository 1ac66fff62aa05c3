"""Sync and async clients: send, classify, retry; two mirrored shells over the calls."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from paradigm_transport.calls import Call, Event, Policy, Reply, Request, StreamCall
from paradigm_transport.endpoints.completions.call import CompletionCall, CompletionStreamCall, as_is, chunk_as_is
from paradigm_transport.endpoints.completions.fields import CompletionParameters
from paradigm_transport.endpoints.completions.reply import Completion, CompletionChunk
from paradigm_transport.errors import InvalidParameterError, ParadigmError
from paradigm_transport.http.attempts import AsyncAttempts, Attempts
from paradigm_transport.http.connections import AsyncConnections, Connections
from paradigm_transport.http.pacing import Pace
from paradigm_transport.http.retry import RetryPolicy
from paradigm_transport.http.settings import Settings
from paradigm_transport.streams import AsyncStream, Stream

if TYPE_CHECKING:
    from paradigm_transport.endpoints.chat_completions import ChatCompletionParameters
    from paradigm_transport.endpoints.embeddings import EmbeddingParameters, Embeddings
    from paradigm_transport.endpoints.models import Model
    from paradigm_transport.endpoints.search import SearchParameters, SearchResults

Messages = Sequence[Mapping[str, Any]]
Fields = dict[str, Any]


class _Client:
    """What both clients are without I/O: a policy; copies are the client itself, pickles leave connections behind."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        retry: RetryPolicy | None = None,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        pace: Pace | None = None,
        **fields: Any,
    ) -> None:
        if settings is not None and fields:
            raise InvalidParameterError(f"{type(self).__name__} takes settings or {next(iter(fields))}, not both")
        self.policy = Policy(settings or Settings(**fields), retry, clock, timer, chance, pace)

    @property
    def settings(self) -> Settings:
        """How the server is reached."""
        return self.policy.settings

    @property
    def pace(self) -> Pace:
        """How fast calls are sent: as fast as they come, or in turns if the server limits them."""
        return self.policy.pace

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.settings.base_url!r})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        # A client has no state that could differ between copies; they share its connections.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        borrowed = [name for name in ("http_client", "http_async_client") if getattr(self.settings, name) is not None]
        if borrowed:
            raise TypeError(f"{borrowed[0]} cannot be pickled; build the object in the worker, or leave it out")
        return _rebuild, (type(self), self.settings, self.policy.retry, self.policy.unsupported)


def _rebuild(kind: type[_Client], settings: Settings, retry: RetryPolicy, unsupported: set[str]) -> _Client:
    client = kind(settings, retry=retry)
    client.policy.unsupported = unsupported
    return client


def _parameters(parameters: CompletionParameters | None, overrides: Fields) -> CompletionParameters:
    if parameters is None:
        return CompletionParameters(**overrides)
    return parameters.merged(overrides) if overrides else parameters


# The other endpoints are imported by their first call: most programs use few of them.


def _chat_call(messages: Messages, parameters: ChatCompletionParameters | None, overrides: Fields) -> Call[Completion]:
    from paradigm_transport.endpoints.chat_completions import ChatCompletionCall

    return ChatCompletionCall(messages, _chat_parameters(parameters, overrides), as_is)


def _chat_stream_call(
    messages: Messages, parameters: ChatCompletionParameters | None, overrides: Fields
) -> StreamCall[Any, CompletionChunk]:
    from paradigm_transport.endpoints.chat_completions import ChatCompletionStreamCall

    return ChatCompletionStreamCall(messages, _chat_parameters(parameters, overrides), chunk_as_is)


def _chat_parameters(parameters: ChatCompletionParameters | None, overrides: Fields) -> ChatCompletionParameters:
    from paradigm_transport.endpoints.chat_completions import ChatCompletionParameters

    if parameters is None:
        return ChatCompletionParameters(**overrides)
    return parameters.merged(overrides) if overrides else parameters


def _embedding_call(
    texts: str | Sequence[str], parameters: EmbeddingParameters | None, overrides: Fields
) -> Call[Embeddings]:
    from paradigm_transport.endpoints.embeddings import EmbeddingCall, EmbeddingParameters

    return EmbeddingCall(texts, EmbeddingParameters.of(parameters or {}, overrides))


def _search_call(query: str, parameters: SearchParameters | None, overrides: Fields) -> Call[SearchResults]:
    from paradigm_transport.endpoints.search import SearchCall, SearchParameters

    return SearchCall(query, SearchParameters.of(parameters or {}, overrides))


def _models_call() -> Call[list[Model]]:
    from paradigm_transport.endpoints.models import ModelsCall

    return ModelsCall()


class ParadigmClient(_Client):
    """A sync client of the endpoints. Safe to share between threads; works after a fork.

    Args:
        settings: how to reach the server; its fields may be given as keyword arguments instead.
        sleep: waits for a number of seconds, for a turn or before a retry; by default, a wait that ends when the client
            is closed.
        before_retry: called after the wait before a retry, such as the `acquire` of a rate limiter.
        options: the fields of `Settings` (`api_key`, `base_url`, `timeout`…) if there are no `settings`; and `retry`,
            a `RetryPolicy` in place of what `max_retries` says; `clock`, which returns Unix seconds to read a
            Retry-After date against; `timer`, which returns seconds that only grow; `chance`, which returns random
            numbers from 0 to 1 for the jitter; `pace`, a `Pace` that several clients share.

    Raises:
        InvalidParameterError: a setting is missing or wrong.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        sleep: Callable[[float], object] | None = None,
        before_retry: Callable[[], object] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(settings, **options)
        self._sleep = sleep
        self._before_retry = before_retry
        self._connections = Connections(self.settings)

    def complete(self, prompt: str, parameters: CompletionParameters | None = None, **overrides: Any) -> Completion:
        """Complete a prompt.

        Args:
            prompt: the text to complete.
            parameters: the endpoint's fields.
            overrides: fields that win over those in `parameters`; without `parameters`, `model` and all others.

        Raises:
            InvalidParameterError: a field is wrong; nothing was sent.
            APIConnectionError: no response arrived (APITimeoutError: not in time).
            APIStatusError: the server refused; a subclass for each status.
            APIResponseError: the response is not a completion.
        """
        return self.send(CompletionCall(prompt, _parameters(parameters, overrides), as_is))

    def stream(
        self, prompt: str, parameters: CompletionParameters | None = None, **overrides: Any
    ) -> Stream[CompletionChunk]:
        """Stream the completion of a prompt.

        The request is sent when the first piece is asked for. Closing or dropping the stream closes the connection,
        which makes the server stop generating.

        Args:
            prompt: the text to complete.
            parameters: the endpoint's fields.
            overrides: fields that win over those in `parameters`.

        Raises:
            ParadigmError: as `complete`, and StreamInterruptedError; `partial_text` is what was handed out before.
        """
        return self.open(CompletionStreamCall(prompt, _parameters(parameters, overrides), chunk_as_is))

    def chat(
        self, messages: Messages, parameters: ChatCompletionParameters | None = None, **overrides: Any
    ) -> Completion:
        """Answer a chat over the chat endpoint.

        Args:
            messages: the chat, in OpenAI's form: `{"role": ..., "content": ...}`.
            parameters: the endpoint's fields.
            overrides: fields that win over those in `parameters`; without `parameters`, `model` and all others.

        Returns:
            The messages as choices: `text`, `thoughts` and `calls`, as the server sent them.

        Raises:
            ParadigmError: as `complete`.
        """
        return self.send(_chat_call(messages, parameters, overrides))

    def stream_chat(
        self, messages: Messages, parameters: ChatCompletionParameters | None = None, **overrides: Any
    ) -> Stream[CompletionChunk]:
        """Stream the answer to a chat over the chat endpoint; as `stream`.

        Args:
            messages: the chat, as for `chat`.
            parameters: the endpoint's fields.
            overrides: fields that win over those in `parameters`.

        Raises:
            ParadigmError: as `stream`.
        """
        return self.open(_chat_stream_call(messages, parameters, overrides))

    def embed(
        self, texts: str | Sequence[str], parameters: EmbeddingParameters | None = None, **overrides: Any
    ) -> Embeddings:
        """Embed a text, or several in one request.

        The contract knows one text a request; a list is refused by servers that keep to it.

        Args:
            texts: the text, or the texts.
            parameters: the endpoint's fields.
            overrides: fields that win over those in `parameters`; without `parameters`, `model` and all others.

        Raises:
            InvalidParameterError: a field is wrong; nothing was sent.
            APIConnectionError: no response arrived (APITimeoutError: not in time).
            APIStatusError: the server refused; a subclass for each status.
            APIResponseError: the response is not an embedding for each text, all of one length.
        """
        return self.send(_embedding_call(texts, parameters, overrides))

    def search(self, query: str, parameters: SearchParameters | None = None, **overrides: Any) -> SearchResults:
        """Search the documents that Paradigm holds, with version 3 of its API whatever that of `base_url` is.

        Args:
            query: what to search for.
            parameters: the endpoint's fields.
            overrides: fields that win over those in `parameters`; None leaves one out.

        Raises:
            InvalidParameterError: a field is wrong; nothing was sent.
            APIConnectionError: no response arrived (APITimeoutError: not in time).
            APIStatusError: the server refused; a subclass for each status.
            APIResponseError: the response does not hold results.
        """
        return self.send(_search_call(query, parameters, overrides))

    def models(self) -> list[Model]:
        """List the models that the server offers.

        Raises:
            ParadigmError: as `complete`.
        """
        return self.send(_models_call())

    def send(self, call: Call[Reply]) -> Reply:
        """Send a call of any endpoint, with retries; return its reply.

        Args:
            call: the call; each is sent once.

        Raises:
            ParadigmError: as `complete`.
        """
        call.bind(self.policy)
        call.begin()
        attempts = self._attempts(call)
        while True:
            try:
                with attempts.open(call) as response:
                    return call.read_response(response, response.read(call.check_time))
            except ParadigmError as error:
                delay = None if attempts.are_over else call.wait_before_retry(error)
                if delay is None:
                    call.fail()
                    raise error.bare() from None
            attempts.sleep(delay)

    def _attempts(self, call: Request) -> Attempts:
        return Attempts(self._connections, call.redact, self._sleep, self._before_retry)

    def open(self, call: StreamCall[Any, Event]) -> Stream[Event]:
        """Return the stream of a call of any endpoint; the request is sent when the first event is asked for.

        Args:
            call: the call; each is sent once.

        Raises:
            InvalidParameterError: the request cannot be encoded.
        """
        call.bind(self.policy)
        return Stream(partial(self._attempts, call), call)

    def close(self) -> None:
        """End the calls in progress, in any thread of this process, and close the connections.

        A call that waits for the server, for a connection or before a retry raises an APIConnectionError at once, and
        nothing more is sent. (A request over an injected client is ended once its response begins.) A later call opens
        new connections. An injected client stays open.
        """
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class AsyncParadigmClient(_Client):
    """An async client of the endpoints. Works in one event loop after another, and in several at once.

    Args:
        settings: how to reach the server; its fields may be given as keyword arguments instead.
        sleep: waits for a number of seconds, for a turn or before a retry; by default, a wait that ends when the client
            is closed.
        before_retry: called after the wait before a retry, such as the `acquire` of a rate limiter.
        options: the fields of `Settings` (`api_key`, `base_url`, `timeout`…) if there are no `settings`; and `retry`,
            a `RetryPolicy` in place of what `max_retries` says; `clock`, which returns Unix seconds to read a
            Retry-After date against; `timer`, which returns seconds that only grow; `chance`, which returns random
            numbers from 0 to 1 for the jitter; `pace`, a `Pace` that several clients share.

    Raises:
        InvalidParameterError: a setting is missing or wrong.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        sleep: Callable[[float], Awaitable[object]] | None = None,
        before_retry: Callable[[], Awaitable[object]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(settings, **options)
        self._sleep = sleep
        self._before_retry = before_retry
        self._connections = AsyncConnections(self.settings)

    async def complete(
        self, prompt: str, parameters: CompletionParameters | None = None, **overrides: Any
    ) -> Completion:
        """Complete a prompt; as `ParadigmClient.complete`."""
        return await self.send(CompletionCall(prompt, _parameters(parameters, overrides), as_is))

    def stream(
        self, prompt: str, parameters: CompletionParameters | None = None, **overrides: Any
    ) -> AsyncStream[CompletionChunk]:
        """Stream the completion of a prompt; as `ParadigmClient.stream`."""
        return self.open(CompletionStreamCall(prompt, _parameters(parameters, overrides), chunk_as_is))

    async def chat(
        self, messages: Messages, parameters: ChatCompletionParameters | None = None, **overrides: Any
    ) -> Completion:
        """Answer a chat over the chat endpoint; as `ParadigmClient.chat`."""
        return await self.send(_chat_call(messages, parameters, overrides))

    def stream_chat(
        self, messages: Messages, parameters: ChatCompletionParameters | None = None, **overrides: Any
    ) -> AsyncStream[CompletionChunk]:
        """Stream the answer to a chat over the chat endpoint; as `ParadigmClient.stream_chat`."""
        return self.open(_chat_stream_call(messages, parameters, overrides))

    async def embed(
        self, texts: str | Sequence[str], parameters: EmbeddingParameters | None = None, **overrides: Any
    ) -> Embeddings:
        """Embed a text, or several in one request; as `ParadigmClient.embed`."""
        return await self.send(_embedding_call(texts, parameters, overrides))

    async def search(self, query: str, parameters: SearchParameters | None = None, **overrides: Any) -> SearchResults:
        """Search the documents that Paradigm holds; as `ParadigmClient.search`."""
        return await self.send(_search_call(query, parameters, overrides))

    async def models(self) -> list[Model]:
        """List the models that the server offers; as `ParadigmClient.models`."""
        return await self.send(_models_call())

    async def send(self, call: Call[Reply]) -> Reply:
        """Send a call of any endpoint; as `ParadigmClient.send`."""
        call.bind(self.policy)
        call.begin()
        attempts = self._attempts(call)
        while True:
            try:
                async with await attempts.open(call) as response:
                    return call.read_response(response, await response.read(call.check_time))
            except ParadigmError as error:
                delay = None if attempts.are_over else call.wait_before_retry(error)
                if delay is None:
                    call.fail()
                    raise error.bare() from None
            await attempts.sleep(delay)

    def _attempts(self, call: Request) -> AsyncAttempts:
        return AsyncAttempts(self._connections, call.redact, self._sleep, self._before_retry)

    def open(self, call: StreamCall[Any, Event]) -> AsyncStream[Event]:
        """Return the stream of a call of any endpoint; as `ParadigmClient.open`."""
        call.bind(self.policy)
        return AsyncStream(partial(self._attempts, call), call)

    async def aclose(self) -> None:
        """End the calls and close the connections of the running event loop; as `ParadigmClient.close`."""
        await self._connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
