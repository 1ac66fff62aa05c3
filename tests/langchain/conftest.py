"""Models that call the scripted server, and the fixture `calls` for sync and async methods."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import LLMResult

from langchain_paradigm import ChatParadigm, ParadigmLLM
from tests.chat_form import ENDPOINTS, write_as_chats
from tests.wire import WireServer

KEY = "sk-never-to-be-seen"

# As Mistral's templates: user and assistant must alternate; messages with tool calls do not count.
STRICT = (
    "{% set ns = namespace(users=0) %}{% for m in messages %}"
    "{% if m.role == 'user' or (m.role == 'assistant' and m.tool_calls is undefined) %}"
    "{% if (m.role == 'user') != (ns.users % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% set ns.users = ns.users + 1 %}{% endif %}[{{ m.role }}] {{ m.content }}{% endfor %}[assistant]"
)

Make = Callable[..., ParadigmLLM]
MakeChat = Callable[..., ChatParadigm]

needs_contexts = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="LangGraph's async nodes keep no context on Python 3.10"
)


@pytest.fixture
def make(wire: WireServer) -> Make:
    """Return a function that builds models on the scripted server."""

    def build(**arguments: Any) -> ParadigmLLM:
        return ParadigmLLM(**{"model": "alfred-4.2", "api_key": KEY, "base_url": wire.url, **arguments})

    return build


over_completions = pytest.mark.parametrize("route", ["completions"], indirect=True)
"""Marks a test of what is written or read only over completions."""


@pytest.fixture(params=ENDPOINTS)
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test over both routes: what the server completes is a message of the chat endpoint, too."""
    if request.param == "chat":
        write_as_chats(monkeypatch)
    return str(request.param)


@pytest.fixture
def server_without_parser(route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the chat endpoint leave the model's markup in the text, as one without parsers does."""
    if route == "chat":
        write_as_chats(monkeypatch, parses=False)


@pytest.fixture
def make_chat(wire: WireServer, route: str) -> MakeChat:
    """Return a function that builds chat models on the scripted server."""
    template = {"chat_template": "chatml"} if route == "completions" else {}

    def build(**arguments: Any) -> ChatParadigm:
        given = {"model": "alfred-4.2", "api_key": KEY, "base_url": wire.url, **template, **arguments}
        return ChatParadigm(**given)

    return build


class Sync:
    """The sync methods."""

    def invoke(self, runnable: Any, *args: Any, **kwargs: Any) -> Any:
        return runnable.invoke(*args, **kwargs)

    def stream(self, runnable: Any, *args: Any, **kwargs: Any) -> list[Any]:
        return list(runnable.stream(*args, **kwargs))

    def batch(self, runnable: Any, *args: Any, **kwargs: Any) -> list[Any]:
        return runnable.batch(*args, **kwargs)

    def batch_as_completed(self, runnable: Any, *args: Any, **kwargs: Any) -> list[Any]:
        return list(runnable.batch_as_completed(*args, **kwargs))

    def generate(self, llm: ParadigmLLM | ChatParadigm, *args: Any, **kwargs: Any) -> LLMResult:
        return llm.generate(*args, **kwargs)

    def generate_prompt(self, llm: ParadigmLLM, *args: Any, **kwargs: Any) -> LLMResult:
        return llm.generate_prompt(*args, **kwargs)


class Async:
    """The async methods, each call in its own event loop."""

    def invoke(self, runnable: Any, *args: Any, **kwargs: Any) -> Any:
        return asyncio.run(runnable.ainvoke(*args, **kwargs))

    def stream(self, runnable: Any, *args: Any, **kwargs: Any) -> list[Any]:
        return asyncio.run(collect(runnable.astream(*args, **kwargs)))

    def batch(self, runnable: Any, *args: Any, **kwargs: Any) -> list[Any]:
        return asyncio.run(runnable.abatch(*args, **kwargs))

    def batch_as_completed(self, runnable: Any, *args: Any, **kwargs: Any) -> list[Any]:
        return asyncio.run(collect(runnable.abatch_as_completed(*args, **kwargs)))

    def generate(self, llm: ParadigmLLM | ChatParadigm, *args: Any, **kwargs: Any) -> LLMResult:
        return asyncio.run(llm.agenerate(*args, **kwargs))

    def generate_prompt(self, llm: ParadigmLLM, *args: Any, **kwargs: Any) -> LLMResult:
        return asyncio.run(llm.agenerate_prompt(*args, **kwargs))


Calls = Sync | Async


async def collect(pieces: Any) -> list[Any]:
    return [piece async for piece in pieces]


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def calls(request: pytest.FixtureRequest) -> Calls:
    """Return the sync or the async methods."""
    return request.param()


class Recorder(BaseCallbackHandler):
    """Records what a callback handler gets."""

    def __init__(self) -> None:
        self.starts: list[dict[str, Any]] = []
        self.tokens: list[tuple[UUID, str, Any, Any]] = []
        self.ends: list[LLMResult] = []
        self.errors: list[BaseException] = []
        self.ended_runs: list[UUID] = []

    def on_llm_start(self, serialized: Any, prompts: list[str], **kwargs: Any) -> None:
        self.starts.append({"serialized": serialized, "prompts": prompts, **kwargs})

    def on_llm_new_token(self, token: str, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        self.tokens.append((run_id, token, chunk, kwargs.get("logprobs")))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        self.ends.append(response)
        self.ended_runs.append(run_id)

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.errors.append(error)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
