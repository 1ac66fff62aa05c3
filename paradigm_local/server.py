"""The endpoint over HTTP: who may ask, replies and streams."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from paradigm_local import faults, openapi, refusals
from paradigm_local.constraints import constraint
from paradigm_local.contract import (
    API_PATH,
    WHOLE_BODY,
    CompletionRequest,
    InvalidRequest,
    Model,
    ModelList,
    read_request,
)
from paradigm_local.engine import Engine, EngineError, EngineRefusal, PromptTooLong
from paradigm_local.faults import ConnectionCut, Fault, FaultInjected, Faults, faulty
from paradigm_local.generation import Delta, Generation, Interrupted
from paradigm_local.guard import RequestGuard
from paradigm_local.ledger import Ledger
from paradigm_local.replies import Replies

_MOST_BODY_BYTES = 4 << 20
_PING = b": ping\n\n"
_DONE = b"data: [DONE]\n\n"

T = TypeVar("T")
Deltas = AsyncGenerator[Delta | None, None]


class Service(NamedTuple):
    """What is served, and to whom.

    Attributes:
        engine: the loaded model.
        model: the id under which it is served.
        api_key: the one key that is let in.
        most_requests: how many may be answered or wait at once; more are refused.
        ping_seconds: the silence after which a stream gets a comment.
        ledger: where to write down what was served.
        faults: the faults that wait for the next answers.
        allowed_hosts: host names and addresses that requests may name, besides those of `RequestGuard`.
    """

    engine: Engine
    model: str
    api_key: str
    most_requests: int
    ping_seconds: float
    ledger: Ledger
    faults: Faults
    allowed_hosts: Sequence[str]


class Endpoint:
    """The routes.

    Args:
        service: what is served, and to whom.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._started = int(time.time())
        self._running: set[Generation] = set()

    def app(self) -> Starlette:
        """Give the endpoint as an ASGI application."""
        routes = [
            Route("/health", self.health),
            Route("/openapi.json", self.openapi),
            Route(f"{API_PATH}/models", self.models),
            Route(f"{API_PATH}/completions", self.completions, methods=["POST"]),
        ]
        guard = Middleware(RequestGuard, allowed_hosts=self._service.allowed_hosts)
        return Starlette(routes=routes, middleware=[guard], exception_handlers=refusals.HANDLERS)

    def interrupt(self) -> None:
        """End all answers on their way with an error; may be called from any thread."""
        for generation in list(self._running):
            generation.interrupt()

    async def health(self, _: Request) -> Response:
        """Say that the server is up; needs no key."""
        return JSONResponse({"status": "ok"})

    async def openapi(self, _: Request) -> Response:
        """Describe the endpoint; needs no key."""
        return JSONResponse(openapi.document(self._service.model))

    async def models(self, request: Request) -> Response:
        """List the one model."""
        self._authenticate(request)
        service = self._service
        model = Model(id=service.model, created=self._started, max_model_len=service.engine.context)
        return _json(ModelList(data=[model]))

    async def completions(self, request: Request) -> Response:
        """Complete a prompt, as a whole or as a stream."""
        self._authenticate(request)
        fault = self._fault(request)
        if fault is not None and fault.kind == "429":
            return refusals.too_many_requests(fault.amount)
        if fault is not None and fault.kind == "503":
            return refusals.refusal(503, {"detail": "The server is overloaded, as was asked for."})
        asked = read_request(await _body(request))
        self._check(asked)
        return await self._answer(request, asked, fault)

    async def _answer(self, request: Request, asked: CompletionRequest, fault: Fault | None) -> Response:
        generation = Generation(self._service.engine, asked, await asyncio.to_thread(constraint, asked))
        deltas = self._counted(generation)
        if fault is not None:
            deltas = faulty(deltas, fault, self._service.ping_seconds)
        if asked.stream:
            # The model's own refusals come before all else: only then is the status known.
            first = await _unless_left(request, anext(deltas, None))
            return _EventStream(_events(asked, generation, first, deltas), deltas)
        gathered = await _unless_left(request, _gathered(deltas))
        return _json(Replies(asked).whole(gathered, generation.candidates, generation.usage))

    def _authenticate(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        right = secrets.compare_digest(key.strip().encode(), self._service.api_key.encode())
        if scheme.lower() != "bearer" or not right:
            raise HTTPException(401, "Invalid API key.", {"WWW-Authenticate": "Bearer"})

    def _fault(self, request: Request) -> Fault | None:
        try:
            return self._service.faults.next(request.headers.get(faults.HEADER))
        except ValueError as error:
            raise HTTPException(400, str(error)) from error

    def _check(self, asked: CompletionRequest) -> None:
        """Check what the contract alone cannot tell."""
        if asked.model != self._service.model:
            raise HTTPException(404, f"Unknown model: this server has {self._service.model}.")
        vocabulary = self._service.engine.vocabulary
        if any(int(token) >= vocabulary for token in asked.logit_bias):
            raise InvalidRequest({"logit_bias": [f"Token ids must be below {vocabulary}."]})

    async def _counted(self, generation: Generation) -> Deltas:
        """Generate within the bound on requests, and write down the usage at the end."""
        if len(self._running) >= self._service.most_requests:
            raise refusals.Overload
        self._running.add(generation)
        deltas = generation.deltas(self._service.ping_seconds)
        try:
            async for delta in deltas:
                yield delta
        except EngineRefusal as error:
            field = "prompt" if isinstance(error, PromptTooLong) else WHOLE_BODY
            raise InvalidRequest({field: [str(error)]}) from error
        finally:
            await deltas.aclose()
            self._running.discard(generation)
            self._service.ledger.add(generation.usage)


class _EventStream(StreamingResponse):
    """A stream that stops generating at once when its client leaves."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], deltas: Deltas) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache"})
        self._sources = (events, deltas)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            # Returning before the end is what breaks the connection.
            with suppress(ConnectionCut):
                await super().__call__(scope, receive, send)
        finally:
            # Left between two chunks, a generator would go on until it is collected.
            for source in self._sources:
                await source.aclose()


async def _events(
    asked: CompletionRequest, generation: Generation, first: Delta | None, deltas: Deltas
) -> AsyncGenerator[bytes, None]:
    """Write the events of a stream; ``first`` was taken from ``deltas`` already."""
    replies = Replies(asked)
    try:
        yield _PING if first is None else _event(replies.chunk(first))
        async for delta in deltas:
            yield _PING if delta is None else _event(replies.chunk(delta))
    except (EngineError, FaultInjected, Interrupted, InvalidRequest) as error:
        yield refusals.error_event(error)
    else:
        if asked.stream_options is not None and asked.stream_options.include_usage:
            yield _event(replies.usage_chunk(generation.usage))
    yield _DONE


def _event(reply: BaseModel) -> bytes:
    # Like vLLM's, the JSON is not escaped: U+2028 and its like stand raw in the line.
    return b"data: " + _bytes(reply) + b"\n\n"


def _json(reply: BaseModel) -> Response:
    return Response(_bytes(reply), media_type="application/json")


def _bytes(reply: BaseModel) -> bytes:
    """A reply without the usage that it does not have; other nulls belong to the contract."""
    missing = {"usage"} if getattr(reply, "usage", None) is None else None
    return reply.model_dump_json(exclude=missing).encode()


async def _gathered(deltas: Deltas) -> list[Delta]:
    return [delta async for delta in deltas if delta is not None]


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > _MOST_BODY_BYTES:
            raise HTTPException(413, f"The body may have at most {_MOST_BODY_BYTES} bytes.")
    return bytes(body)


async def _unless_left(request: Request, answer: Awaitable[T]) -> T:
    """Await an answer, or cancel it when the client leaves.

    Raises:
        ClientDisconnect: the client has left.
    """
    answering = asyncio.ensure_future(answer)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        raise ClientDisconnect
    finally:
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
