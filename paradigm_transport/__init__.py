"""The endpoints of LightOn's Paradigm over HTTP; the transport under `langchain_paradigm` and `llama_index_paradigm`.

What is exported here is public. The modules below are internal to the project: they may move without notice.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from paradigm_transport._version import __version__
from paradigm_transport.client import AsyncParadigmClient, ParadigmClient
from paradigm_transport.endpoints.completions.fields import CompletionParameters
from paradigm_transport.endpoints.completions.logprobs import Logprobs
from paradigm_transport.endpoints.completions.reply import CallPart, Choice, Completion, CompletionChunk
from paradigm_transport.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    InvalidParameterError,
    NotFoundError,
    ParadigmError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
    UnprocessableEntityError,
)
from paradigm_transport.http.pacing import Pace
from paradigm_transport.http.retry import RetryPolicy
from paradigm_transport.http.settings import Settings
from paradigm_transport.http.timeouts import Timeout
from paradigm_transport.streams import AsyncStream, Stream
from paradigm_transport.usage import ParadigmUsage, Usage, get_paradigm_usage

if TYPE_CHECKING:
    from paradigm_transport.chat.templates import CHAT_TEMPLATES, ChatTemplate, JinjaTemplate
    from paradigm_transport.endpoints.chat_completions import ChatCompletionParameters
    from paradigm_transport.endpoints.embeddings import EmbeddingParameters, Embeddings
    from paradigm_transport.endpoints.models import Model
    from paradigm_transport.endpoints.search import PageImage, SearchParameters, SearchResult, SearchResults

__all__ = [
    "CHAT_TEMPLATES", "APIConnectionError", "APIResponseError", "APIStatusError", "APITimeoutError",
    "AsyncParadigmClient", "AsyncStream", "AuthenticationError", "BadRequestError", "CallPart",
    "ChatCompletionParameters", "ChatTemplate", "Choice", "Completion", "CompletionChunk", "CompletionParameters",
    "EmbeddingParameters", "Embeddings", "InvalidParameterError", "JinjaTemplate", "Logprobs", "Model",
    "NotFoundError", "Pace", "PageImage", "ParadigmClient", "ParadigmError", "ParadigmUsage",
    "PermissionDeniedError", "RateLimitError", "RetryPolicy", "SearchParameters", "SearchResult", "SearchResults",
    "ServerError", "Settings", "Stream", "StreamInterruptedError", "Timeout", "UnprocessableEntityError", "Usage",
    "__version__", "get_paradigm_usage",
]  # fmt: skip

_ON_FIRST_USE = {
    "CHAT_TEMPLATES": "chat.templates", "ChatCompletionParameters": "endpoints.chat_completions",
    "ChatTemplate": "chat.templates", "EmbeddingParameters": "endpoints.embeddings",
    "Embeddings": "endpoints.embeddings", "JinjaTemplate": "chat.templates", "Model": "endpoints.models",
    "PageImage": "endpoints.search", "SearchParameters": "endpoints.search", "SearchResult": "endpoints.search",
    "SearchResults": "endpoints.search",
}  # fmt: skip
"""The modules of names that a completion does without, which imports faster."""


def __getattr__(name: str) -> object:
    if name in _ON_FIRST_USE:
        return getattr(import_module(f"{__name__}.{_ON_FIRST_USE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
