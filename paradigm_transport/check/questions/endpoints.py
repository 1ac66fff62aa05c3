"""Questions about the server, its models and its endpoints."""

from __future__ import annotations

import re

from paradigm_transport.check.findings import Finding, UnclearError, question
from paradigm_transport.check.probes import Reply, Target
from paradigm_transport.check.prompts import HELLO, QUERY
from paradigm_transport.check.routes import CHAT, COMPLETIONS, Route
from paradigm_transport.check.server import Server
from paradigm_transport.client import ParadigmClient
from paradigm_transport.endpoints.embeddings import EmbeddingCall, EmbeddingParameters
from paradigm_transport.endpoints.models import Model
from paradigm_transport.endpoints.search import SearchCall, SearchParameters
from paradigm_transport.errors import APIStatusError, ParadigmError
from paradigm_transport.usage import read_count

SERVER, ENDPOINTS = "Server", "Endpoints"

_ABSENT = (404, 405, 501)
_FORBIDDEN = (401, 403)
_WRONG_KEY = "paradigm-check-wrong-key"
_EMBEDS = re.compile(r"embed|\be5\b|\bbge\b|\bgte\b|denseon|minilm", re.IGNORECASE)


@question("models", SERVER, is_quick=True)
def models(server: Server) -> Finding:
    """Whether the server lists its models, including this one."""
    if isinstance(server.listed, ParadigmError):
        return _absent_or_raise(server, server.listed)
    count = f"{len(server.listed)} listed"
    if server.entry is None:
        return Finding("missing", f"{count}, but not this one")
    return Finding("works", f"{count}, including this one")


@question("context window", SERVER)
def context_window(server: Server) -> Finding:
    """Whether the model list reports the context window, the most tokens of a prompt and its completion."""
    window = server.entry and server.entry.context_window
    if not window:
        return Finding("missing", "not in the model list")
    return Finding("works", f"{window:,} tokens", window)


@question("wrong key", SERVER)
def wrong_key(server: Server) -> Finding:
    """How the server responds to a wrong key."""
    settings = server.client.settings
    other = ParadigmClient(settings.model_copy(update={"api_key": type(settings.api_key)(_WRONG_KEY)}))
    route = server.route
    body = {"model": server.model, **route.text_fields(HELLO), "max_tokens": 1}
    with other:
        try:
            server.send(route.target, body, other)
        except APIStatusError as error:
            words = "" if error.status_code in _FORBIDDEN else server.words.of_error(error)
            return Finding("refused", f"{error.status_code}{': ' * bool(words)}{words}")
    return Finding("ignored", "any key is accepted")


def _generates(server: Server, route: Route) -> Finding:
    try:
        generated = server.opening(route)
    except APIStatusError as error:
        return _absent_or_raise(server, error)
    return Finding("works", "" if generated.text else "the model wrote nothing")


@question("completions", ENDPOINTS, is_quick=True)
def completions(server: Server) -> Finding:
    """Whether `POST /completions` completes a prompt."""
    return _generates(server, COMPLETIONS)


@question("chat", ENDPOINTS, is_quick=True)
def chat(server: Server) -> Finding:
    """Whether `POST /chat/completions` answers a message."""
    return _generates(server, CHAT)


@question("embeddings", ENDPOINTS)
def embeddings(server: Server) -> Finding:
    """Whether `POST /embeddings` embeds a text."""
    model = _embedding_model(server)
    try:
        found = server.client.send(_embedding_call(server, model, [HELLO]))
    except APIStatusError as error:
        return _absent_or_raise(server, error)
    return Finding("works", f"{len(found.vectors[0]):,} dimensions", model)


@question("embeddings of lists", ENDPOINTS)
def embeddings_of_lists(server: Server) -> Finding:
    """Whether `POST /embeddings` embeds several texts in one request."""
    model = _embedding_model(server)
    try:
        server.client.send(_embedding_call(server, model, [HELLO]))
    except ParadigmError:
        raise UnclearError("embeddings do not work") from None
    server.client.send(_embedding_call(server, model, [HELLO, QUERY]))
    return Finding("works")


def _embedding_call(server: Server, model: str, texts: list[str]) -> EmbeddingCall:
    return EmbeddingCall(texts, EmbeddingParameters(model=model, timeout=server.timeout))


def _embedding_model(server: Server) -> str:
    """The model that was named, the one that seems to embed, or the one that generates."""
    if server.embedding_model is not None:
        return server.embedding_model
    listed = server.listed if isinstance(server.listed, list) else []
    return next((each.id for each in listed if seems_to_embed(each)), server.model)


def seems_to_embed(model: Model) -> bool:
    """Whether an entry of the model list is of a model that embeds, by its type or its name."""
    return _EMBEDS.search(f"{model.raw.get('model_type')} {model.id}") is not None


@question("search", ENDPOINTS)
def search(server: Server) -> Finding:
    """Whether `POST /api/v3/search` searches documents."""
    try:
        found = server.client.send(SearchCall(QUERY, SearchParameters(max_results=1, timeout=server.timeout)))
    except APIStatusError as error:
        return _absent_or_raise(server, error)
    return Finding("works", "" if found.results else "no results for the query")


@question("tokenize", ENDPOINTS)
def tokenize(server: Server) -> Finding:
    """Whether `POST /tokenize` counts tokens, next to the other endpoints or at the root as in vLLM."""
    refusal: APIStatusError | None = None
    for target, where in ((Target("tokenize"), ""), (Target("tokenize", version=""), "at the root of the server")):
        try:
            count = _count(server.send(target, {"model": server.model, "prompt": HELLO, "content": HELLO}))
        except APIStatusError as error:
            refusal = refusal or error
            continue
        if count is not None:
            return Finding("works", where)
    if refusal is None:
        return Finding("unknown", "the response has no token count")
    return _absent_or_raise(server, refusal)


def _count(reply: Reply) -> int | None:
    """The number of tokens, in any of the forms that Paradigm, vLLM and llama.cpp return."""
    body = reply.body if isinstance(reply.body, dict) else {}
    tokens = body.get("tokens")
    counts = (*map(body.get, ("total_tokens", "n_tokens", "count")), len(tokens) if isinstance(tokens, list) else None)
    return next(filter(None, map(read_count, counts)), None)


def _absent_or_raise(server: Server, error: ParadigmError) -> Finding:
    """Say that an endpoint is not there if that is the error."""
    if isinstance(error, APIStatusError) and error.status_code in _ABSENT:
        words = server.words.of_error(error)
        return Finding("missing", f"{error.status_code}: {words}" if words else str(error.status_code))
    raise error


QUESTIONS = (
    models, context_window, wrong_key, completions, chat, embeddings, embeddings_of_lists, search, tokenize,
)  # fmt: skip
