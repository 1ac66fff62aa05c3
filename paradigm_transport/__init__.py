"""Completions of LightOn's Paradigm over HTTP; the transport under `langchain_paradigm` and `llama_index_paradigm`."""

from paradigm_transport._version import __version__
from paradigm_transport.client import AsyncParadigmClient, ParadigmClient
from paradigm_transport.completion import Choice, Completion, CompletionChunk, Logprobs, Usage
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
from paradigm_transport.jinja_templates import JinjaTemplate
from paradigm_transport.models import Model
from paradigm_transport.parameters import CompletionParameters
from paradigm_transport.retry import RetryPolicy
from paradigm_transport.settings import Settings
from paradigm_transport.templates import CHAT_TEMPLATES, ChatTemplate
from paradigm_transport.usage import ParadigmUsage, get_paradigm_usage

__all__ = [
    "CHAT_TEMPLATES",
    "APIConnectionError",
    "APIResponseError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncParadigmClient",
    "AuthenticationError",
    "BadRequestError",
    "ChatTemplate",
    "Choice",
    "Completion",
    "CompletionChunk",
    "CompletionParameters",
    "InvalidParameterError",
    "JinjaTemplate",
    "Logprobs",
    "Model",
    "NotFoundError",
    "ParadigmClient",
    "ParadigmError",
    "ParadigmUsage",
    "PermissionDeniedError",
    "RateLimitError",
    "RetryPolicy",
    "ServerError",
    "Settings",
    "StreamInterruptedError",
    "UnprocessableEntityError",
    "Usage",
    "__version__",
    "get_paradigm_usage",
]
