"""The endpoint over HTTP: authentication, replies and streams."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from paradigm_local import faults, openapi, refusals
from paradigm_local.chat_contract import ChatCompletion, ChatCompletionRequest
from paradigm_local.chat_generation import ChatGeneration
from paradigm_local.chat_replies import ChatReplies
from paradigm_local.constraints import Constraint, read_constraint
from paradigm_local.contract import (
    API_PATH,
    NEXT_API_PATH,
    WHOLE_BODY,
    CompletionRequest,
    EmbeddingRequest,
    GenerationRequest,
    InvalidRequest,
    Model,
    ModelList,
    Usage,
    read_request,
)
from paradigm_local.embedding import CONTEXT, Embedder, Embedding
from paradigm_local.engine import Engine, EngineError, EngineRefusal, PromptTooLong
from paradigm_local.errors import ModelError
from paradigm_local.faults import ConnectionCut, Fault, FaultInjected, Faults, inject_fault, inject_fault_at_once
from paradigm_local.generation import CompletionGeneration, Delta, Generation, Interrupted
from paradigm_local.guard import RequestGuard
from paradigm_local.ledger import Ledger
from paradigm_local.replies import CompletionReplies, Replies, embedding_list
from paradigm_local.search.contract import SEARCH_PATH
from paradigm_local.search.endpoint import answer

if TYPE_CHECKING:
    from paradigm_local.search.index import Index

_MAX_BODY_BYTES = 4 << 20
_PING = b": ping\n\n"
_DONE = b"data: [DONE]\n\n"

T = TypeVar("T")
Deltas = AsyncGenerator[Delta | None, None]


class Service(NamedTuple):
    """Settings and parts of the endpoint.

    Attributes:
        engine: the loaded model.
        model: the id under which it is served.
        embedder: the model that embeds texts.
        embedding_model: the id under which that one is served.
        api_key: the key that clients must send.
        max_requests: maximum number of requests that are processed or wait; further ones are refused.
        ping_seconds: seconds of silence after which a stream sends a comment.
        ledger: records the usage of each request.
        faults: the faults for the next replies.
        allowed_hosts: host names and addresses that requests may name, besides those of `RequestGuard`.
        documents: the documents to search, or None.
    """

    engine: Engine
    model: str
    embedder: Embedder
    embedding_model: str
    api_key: str
    max_requests: int
    ping_seconds: float
    ledger: Ledger
    faults: Faults
    allowed_hosts: Sequence[str]
    documents: "Index | None" = None


class Endpoint:
    """The routes.

    Args:
        service: the settings and parts.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._started = int(time.time())
        self._running: set[Generation] = set()
        self._embedding = 0

    def app(self) -> Starlette:
        """Return the endpoint as an ASGI application."""
        routes = [
            Route("/health", self.health),
            Route("/openapi.json", self.openapi),
            Route(f"{API_PATH}/models", self.models),
            Route(f"{API_PATH}/completions", self.completions, methods=["POST"]),
            Route(SEARCH_PATH, self.search, methods=["POST"]),
        ]
        for path in (API_PATH, NEXT_API_PATH):
            routes.append(Route(f"{path}/chat/completions", self.chat_completions, methods=["POST"]))
            routes.append(Route(f"{path}/embeddings", self.embeddings, methods=["POST"]))
        guard = Middleware(RequestGuard, allowed_hosts=self._service.allowed_hosts)
        return Starlette(routes=routes, middleware=[guard], exception_handlers=refusals.HANDLERS)

    def interrupt(self) -> None:
        """End all running generations with an error; may be called from any thread."""
        for generation in list(self._running):
            generation.interrupt()

    async def health(self, _: Request) -> Response:
        """Report that the server is up; needs no key."""
        return JSONResponse({"status": "ok"})

    async def openapi(self, _: Request) -> Response:
        """Return the OpenAPI document; needs no key."""
        return JSONResponse(openapi.document(self._service.model, self._service.embedding_model))

    async def models(self, request: Request) -> Response:
        """List the two models."""
        self._authenticate(request)
        service = self._service
        contexts = {service.model: service.engine.context, service.embedding_model: CONTEXT}
        models = [Model(id=name, created=self._started, max_model_len=length) for name, length in contexts.items()]
        return _json(ModelList(data=models))

    async def completions(self, request: Request) -> Response:
        """Complete a prompt, in one reply or as a stream."""
        return await self._answer(request, _COMPLETIONS)

    async def chat_completions(self, request: Request) -> Response:
        """Answer a chat, in one reply or as a stream."""
        return await self._answer(request, _CHATS)

    async def _answer(self, request: Request, kind: "_Kind") -> Response:
        self._authenticate(request)
        fault = self._fault(request)
        refusal = _refusal_of(fault)
        if refusal is not None:
            return refusal
        body = read_request(await _read_body(request), kind.request)
        self._check(body)
        constraint = await asyncio.to_thread(read_constraint, body)
        generation, replies = kind.generation(self._service.engine, body, constraint), kind.replies(body)
        deltas = self._tracked(generation, kind.text_field)
        if fault is not None:
            deltas = inject_fault(deltas, fault, self._service.ping_seconds)
        if body.stream:
            # The model may refuse the request, so that the status is only known with the first delta.
            first = await _unless_disconnected(request, anext(deltas, None))
            return _EventStream(_events(body, replies, generation, first, deltas), deltas)
        collected = await _unless_disconnected(request, _collect(deltas))
        return _json(replies.full(collected, generation.candidates, generation.usage))

    async def search(self, request: Request) -> Response:
        """Search the documents."""
        self._authenticate(request)
        fault = self._fault(request)
        refusal = _refusal_of(fault)
        if refusal is not None:
            return refusal
        if fault is not None:
            await inject_fault_at_once(fault)
        try:
            return await asyncio.to_thread(answer, await _read_body(request), self._service.documents)
        except ModelError as error:
            raise HTTPException(503, str(error)) from error

    async def embeddings(self, request: Request) -> Response:
        """Embed a text, or several."""
        self._authenticate(request)
        fault = self._fault(request)
        refusal = _refusal_of(fault)
        if refusal is not None:
            return refusal
        body = read_request(await _read_body(request), EmbeddingRequest)
        self._check_model(body.model, self._service.embedding_model)
        embeddings = self._embed(body)
        if fault is not None:
            embeddings = inject_fault(embeddings, fault, self._service.ping_seconds)
        found = await _unless_disconnected(request, _collect(embeddings))
        width = len(found[0].vector)
        if body.dimensions is not None and body.dimensions > width:
            raise InvalidRequest({"dimensions": [f"The model has {width}."]})
        return _json(embedding_list(body, found))

    async def _embed(self, body: EmbeddingRequest) -> AsyncGenerator[Embedding | None, None]:
        """Embed the texts of a request within the limit on requests, and record the usage at the end."""
        if self._embedding >= self._service.max_requests:
            raise refusals.Overload
        embedder, loop, tokens = self._service.embedder, asyncio.get_running_loop(), 0
        self._embedding += 1
        try:
            for place, text in enumerate(body.texts):
                try:
                    embedding = await loop.run_in_executor(embedder.pool, embedder.embed, text)
                except EngineRefusal as error:
                    where = "" if isinstance(body.input, str) else f"Text {place}: "
                    raise InvalidRequest({"input": [f"{where}{error}"]}) from error
                except ModelError as error:
                    raise HTTPException(503, str(error)) from error
                tokens += embedding.tokens
                yield embedding
            yield None  # a fault may follow the last text
        finally:
            self._embedding -= 1
            self._service.ledger.add(Usage(prompt_tokens=tokens, completion_tokens=0, total_tokens=tokens))

    def _authenticate(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            key = request.headers.get("x-api-key", "")
        if not secrets.compare_digest(key.strip().encode(), self._service.api_key.encode()):
            raise HTTPException(401, "Invalid API key.", {"WWW-Authenticate": "Bearer"})

    def _fault(self, request: Request) -> Fault | None:
        try:
            return self._service.faults.next(request.headers.get(faults.HEADER))
        except ValueError as error:
            raise HTTPException(400, str(error)) from error

    def _check(self, body: GenerationRequest) -> None:
        """Check the fields whose valid values depend on the model."""
        self._check_model(body.model, self._service.model)
        vocabulary = self._service.engine.vocabulary
        if any(int(token) >= vocabulary for token in body.logit_bias):
            raise InvalidRequest({"logit_bias": [f"Token ids must be below {vocabulary}."]})

    @staticmethod
    def _check_model(asked: str, served: str) -> None:
        if asked != served:
            raise HTTPException(404, f"Unknown model: this server serves {served}.")

    async def _tracked(self, generation: Generation, text_field: str) -> Deltas:
        """Generate within the limit on requests, and record the usage at the end."""
        if len(self._running) >= self._service.max_requests:
            raise refusals.Overload
        self._running.add(generation)
        deltas = generation.deltas(self._service.ping_seconds)
        try:
            async for delta in deltas:
                yield delta
        except EngineRefusal as error:
            field = text_field if isinstance(error, PromptTooLong) else WHOLE_BODY
            raise InvalidRequest({field: [str(error)]}) from error
        finally:
            await deltas.aclose()
            self._running.discard(generation)
            self._service.ledger.add(generation.usage)


class _Kind(NamedTuple):
    """An endpoint that generates text.

    Attributes:
        request: the contract of its requests.
        generation: generates for a request.
        replies: builds the replies to a request.
        text_field: the field that holds the text to answer.
    """

    request: type[Any]
    generation: Callable[[Engine, Any, Constraint | None], Generation]
    replies: Callable[[Any], Replies[Any]]
    text_field: str


_COMPLETIONS = _Kind(CompletionRequest, CompletionGeneration, CompletionReplies, "prompt")
_CHATS = _Kind(ChatCompletionRequest, ChatGeneration, ChatReplies, "messages")


def _refusal_of(fault: Fault | None) -> Response | None:
    """Return the response for a fault that is a refusal."""
    if fault is not None and fault.kind == "429":
        return refusals.too_many_requests(fault.amount)
    if fault is not None and fault.kind == "503":
        return refusals.refusal(503, {"detail": "The server is overloaded, because a fault was requested."})
    return None


class _EventStream(StreamingResponse):
    """A stream that stops its generation as soon as the client disconnects."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], deltas: Deltas) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache"})
        self._sources = (events, deltas)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            # uvicorn closes the connection of a response that returns before its end.
            with suppress(ConnectionCut):
                await super().__call__(scope, receive, send)
        finally:
            # Otherwise a generator that is left between two chunks runs until it is garbage collected.
            for source in self._sources:
                await source.aclose()


async def _events(
    body: GenerationRequest, replies: Replies[Any], generation: Generation, first: Delta | None, deltas: Deltas
) -> AsyncGenerator[bytes, None]:
    """Yield the events of a stream; ``first`` was taken from ``deltas`` already."""
    try:
        yield _PING if first is None else _event(replies.chunk(first))
        async for delta in deltas:
            yield _PING if delta is None else _event(replies.chunk(delta))
    except (EngineError, FaultInjected, Interrupted, InvalidRequest) as error:
        yield refusals.error_event(error)
    else:
        if body.stream_options is not None and body.stream_options.include_usage:
            yield _event(replies.usage_chunk(generation.usage))
    yield _DONE


def _event(reply: BaseModel) -> bytes:
    # As in vLLM, the JSON is not ASCII: characters like U+2028 are in the line unescaped.
    return b"data: " + _bytes(reply) + b"\n\n"


def _json(reply: BaseModel) -> Response:
    return Response(_bytes(reply), media_type="application/json")


def _bytes(reply: BaseModel) -> bytes:
    """Serialize a reply, without a `usage` of None; other nulls belong to the contract."""
    missing = {"usage"} if getattr(reply, "usage", None) is None else None
    is_chat = isinstance(reply, ChatCompletion)  # whose parts hold only what is new
    return reply.model_dump_json(exclude=missing, exclude_unset=is_chat).encode()


async def _collect(pieces: AsyncGenerator[T | None, None]) -> list[T]:
    async with aclosing(pieces):
        return [piece async for piece in pieces if piece is not None]


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > _MAX_BODY_BYTES:
            raise HTTPException(413, f"The body may have at most {_MAX_BODY_BYTES} bytes.")
    return bytes(body)


async def _unless_disconnected(request: Request, result: Awaitable[T]) -> T:
    """Await a result, and cancel it if the client disconnects.

    Raises:
        ClientDisconnect: the client disconnected.
    """
    working = asyncio.ensure_future(result)
    disconnected = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, disconnected):
            task.cancel()
        await asyncio.gather(working, disconnected, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
