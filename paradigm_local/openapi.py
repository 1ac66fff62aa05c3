"""The endpoint's OpenAPI document, generated from the models of the contract."""

from pydantic import BaseModel, RootModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from paradigm_local.chat_contract import ChatCompletion, ChatCompletionRequest
from paradigm_local.contract import (
    API_PATH,
    NEXT_API_PATH,
    Completion,
    CompletionRequest,
    Detail,
    EmbeddingList,
    EmbeddingRequest,
    FieldErrors,
    JsonObject,
    ModelList,
)
from paradigm_local.search.contract import SEARCH_PATH, SearchError, SearchReply, SearchRequest
from paradigm_transport._version import __version__

_REFERENCE = "#/components/schemas/{model}"


class FieldMessages(RootModel[FieldErrors]):
    """What is wrong with a request: messages for each field."""


_REQUESTS: list[type[BaseModel]] = [CompletionRequest, ChatCompletionRequest, EmbeddingRequest, SearchRequest]
_REPLIES: list[type[BaseModel]] = [
    Completion, ChatCompletion, EmbeddingList, ModelList, Detail, FieldMessages, SearchReply, SearchError,
]  # fmt: skip


def document(model: str, embedding_model: str) -> JsonObject:
    """Return the OpenAPI 3.1 document of a server of these models."""
    _, schemas = models_json_schema([(body, _mode(body)) for body in _REQUESTS + _REPLIES], ref_template=_REFERENCE)
    definitions = schemas["$defs"]
    definitions["CompletionRequest"]["properties"]["model"]["enum"] = [model]
    definitions["ChatCompletionRequest"]["properties"]["model"]["enum"] = [model]
    definitions["EmbeddingRequest"]["properties"]["model"]["enum"] = [embedding_model]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Local Paradigm",
            "version": __version__,
            "description": f"Chats and embeddings are also at {NEXT_API_PATH}.",
        },
        "security": [{"key": []}, {"header": []}],
        "paths": {
            "/health": {"get": _health()},
            f"{API_PATH}/models": {"get": _models()},
            f"{API_PATH}/completions": {"post": _generation("Complete a prompt", CompletionRequest, Completion)},
            f"{API_PATH}/chat/completions": {
                "post": _generation("Answer a chat", ChatCompletionRequest, ChatCompletion)
            },
            f"{API_PATH}/embeddings": {"post": _embeddings()},
            SEARCH_PATH: {"post": _search()},
        },
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
    }


def _mode(body: type[BaseModel]) -> JsonSchemaMode:
    return "validation" if body in _REQUESTS else "serialization"


def _health() -> JsonObject:
    status = {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]}
    return {
        "summary": "Check that the server is up",
        "security": [],
        "responses": {"200": _response("The server is up.", status), **_refusals()},
    }


def _models() -> JsonObject:
    return {
        "summary": "List the models",
        "responses": {"200": _response("The models.", _schema(ModelList)), **_refusals("401")},
    }


def _generation(summary: str, request: type[BaseModel], reply: type[BaseModel]) -> JsonObject:
    completed = _response("The completions; with `stream`, pieces of them as events.", _schema(reply))
    completed["content"]["text/event-stream"] = {"schema": _EVENT}
    return _post(summary, request, completed)


def _embeddings() -> JsonObject:
    return _post("Embed texts", EmbeddingRequest, _response("The embeddings.", _schema(EmbeddingList)))


def _search() -> JsonObject:
    refusal = {"anyOf": [_schema(SearchError), _schema(Detail)]}
    reasons = {
        "400": "The header for faults is wrong.",
        "403": "No document has one of the ids; or as for every path.",
        "404": "The server has no documents.",
        "422": "The request violates the contract.",
    }
    return {
        "summary": "Search documents",
        "requestBody": {"required": True, "content": {"application/json": {"schema": _schema(SearchRequest)}}},
        "responses": {
            "200": _response("The passages.", _schema(SearchReply)),
            **_refusals("401", "413", "429", "500"),
            **{status: _response(reason, refusal) for status, reason in reasons.items()},
        },
    }


def _post(summary: str, body: type[BaseModel], replied: JsonObject) -> JsonObject:
    invalid = {"anyOf": [_schema(FieldMessages), _schema(Detail)]}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _schema(body)}}},
        "responses": {
            "200": replied,
            "400": _response("The request violates the contract.", invalid),
            **_refusals("401", "404", "413", "429", "500"),
        },
    }


_EVENT = {
    "description": "The data of each event is a completion as JSON, and at the end `[DONE]`.",
    "type": "object",
    "properties": {"data": {"type": "string"}},
    "required": ["data"],
}

_EVERYWHERE = ("403", "408", "431", "503")
_REASONS = {
    "401": "The key is missing or wrong.",
    "403": "The request is for another host, or from a web page of another host.",
    "404": "The model is unknown.",
    "408": "The request arrived too slowly.",
    "413": "The body is too large.",
    "429": "Too many requests are waiting; `Retry-After` is in seconds.",
    "431": "The path and the headers are too large.",
    "500": "The model failed.",
    "503": "The server is shutting down, too many connections are open, or the model cannot be downloaded.",
}


def _refusals(*statuses: str) -> JsonObject:
    return {status: _response(_REASONS[status], _schema(Detail)) for status in sorted((*statuses, *_EVERYWHERE))}


def _response(description: str, schema: JsonObject) -> JsonObject:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _schema(body: type[BaseModel]) -> JsonObject:
    return {"$ref": _REFERENCE.format(model=body.__name__)}
