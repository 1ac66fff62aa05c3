"""The eight methods as one fixture, and a `ParadigmLLM` on a scripted server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from llama_index.core.base.llms import types
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, TextBlock
from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span import SimpleSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from pydantic import Field

from llama_index_paradigm import ChatParadigm, ParadigmLLM
from tests.chat_form import ENDPOINTS, write_as_chats
from tests.wire import Script, WireServer, chunk, completion, reply, sse, usage

KEY = "sk-secret-of-the-tests"
MODEL = "alfred-40b-1123"

Response = CompletionResponse | ChatResponse


@pytest.fixture(autouse=True)
def _no_loop_left_over() -> None:
    # Where none was ever set, LlamaIndex's sync methods make one and never close it.
    asyncio.set_event_loop(None)


@pytest.fixture
def make_llm(wire: WireServer) -> Iterator[Callable[..., ParadigmLLM]]:
    """Makes objects that call the scripted server."""
    made: list[ParadigmLLM] = []

    def make(**arguments: Any) -> ParadigmLLM:
        usual = {"model": MODEL, "api_key": KEY, "base_url": wire.url, "context_window": 4096}
        made.append(ParadigmLLM(**{**usual, **arguments}))
        return made[-1]

    yield make
    for llm in made:
        llm.close()


@pytest.fixture
def llm(make_llm: Callable[..., ParadigmLLM]) -> ParadigmLLM:
    return make_llm()


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
def make_chat(wire: WireServer, route: str) -> Iterator[Callable[..., ChatParadigm]]:
    """As `make_llm`, of chat models."""
    made: list[ChatParadigm] = []

    def make(**arguments: Any) -> ChatParadigm:
        access = {"api_key": KEY, "base_url": wire.url}
        template = {"chat_template": "chatml"} if route == "completions" else {}
        usual = {"model": MODEL, **access, "context_window": 4096, **template}
        made.append(ChatParadigm(**{**usual, **arguments}))
        return made[-1]

    yield make
    for llm in made:
        llm.close()


@pytest.fixture
def chat(make_chat: Callable[..., ChatParadigm]) -> ChatParadigm:
    return make_chat()


@dataclass(frozen=True)
class Method:
    """One of the eight methods, called in the same way as the others."""

    name: str

    @property
    def is_chat(self) -> bool:
        return self.name.endswith("chat")

    @property
    def is_async(self) -> bool:
        return self.name.startswith("a")

    @property
    def is_stream(self) -> bool:
        return "stream" in self.name

    def answer(self, *texts: str, finish_reason: str = "stop") -> Script:
        """An answer of this text, in these pieces where it is streamed; its usage is 3 and 5."""
        if self.is_stream:
            return sse(*map(chunk, texts), chunk("", finish_reason), chunk(usage=usage(3, 5)))
        return reply(completion("".join(texts), finish_reason=finish_reason))

    def __call__(self, llm: ParadigmLLM, prompt: Any = "Hi", **kwargs: Any) -> list[Response]:
        """All responses; a prompt becomes the one message of a user."""
        if self.is_async:
            return asyncio.run(self.run(llm, prompt, **kwargs))
        result = getattr(llm, self.name)(self.input(prompt), **kwargs)
        return list(result) if self.is_stream else [result]

    async def run(self, llm: ParadigmLLM, prompt: Any = "Hi", **kwargs: Any) -> list[Response]:
        """As a call, on the event loop that is running; of the async methods."""
        result = await getattr(llm, self.name)(self.input(prompt), **kwargs)
        return [response async for response in result] if self.is_stream else [result]

    def input(self, prompt: Any) -> Any:
        return [ChatMessage(prompt)] if self.is_chat and isinstance(prompt, str) else prompt

    def sent(self, prompt: str) -> str:
        """What goes to the server for this prompt, where nothing was set."""
        return f"user: {prompt}\nassistant: " if self.is_chat else prompt


NAMES = [f"{a}{stream}{kind}" for kind in ("complete", "chat") for stream in ("", "stream_") for a in ("", "a")]


@pytest.fixture(params=NAMES)
def method(request: pytest.FixtureRequest) -> Method:
    """Each of the eight."""
    return Method(request.param)


@pytest.fixture(params=[name for name in NAMES if "stream" in name])
def stream_method(request: pytest.FixtureRequest) -> Method:
    """Each of the four that stream."""
    return Method(request.param)


@pytest.fixture(params=[name for name in NAMES if name.startswith("a")])
def async_method(request: pytest.FixtureRequest) -> Method:
    """Each of the four that are async."""
    return Method(request.param)


def text_of(response: Response) -> str:
    return response.text if isinstance(response, CompletionResponse) else response.message.content or ""


class Limiter:
    """Notes who asked for leave; holds a lock, as LlamaIndex's rate limiters do."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.acquired: list[str] = []

    def acquire(self, num_tokens: int = 0) -> None:
        self.acquired.append("sync")

    async def async_acquire(self, num_tokens: int = 0) -> None:
        self.acquired.append("async")


needs_rate_limiter = pytest.mark.skipif(
    "rate_limiter" not in ParadigmLLM.model_fields, reason="this LlamaIndex has no rate limiters"
)


CitableBlock: Any = getattr(types, "CitableBlock", None)
CitationBlock: Any = getattr(types, "CitationBlock", None)

needs_citable_blocks = pytest.mark.skipif(CitableBlock is None, reason="this LlamaIndex has no blocks for citations")


def blocks_of_text(text: str, citable: Any, citation: Any) -> list[Any]:
    """A block of each kind that holds text for the prompt."""
    return [
        TextBlock(text=text),
        CitableBlock(title="T", source="S", content=citable),
        CitationBlock(title="T", source="S", cited_content=citation, additional_location_info={}),
    ]


class Callbacks(BaseCallbackHandler):
    """Notes the callbacks of events of one kind."""

    def __init__(self, kind: CBEventType = CBEventType.LLM) -> None:
        super().__init__([], [])
        self.kind = kind
        self.starts: list[dict[str, Any]] = []
        self.ends: list[dict[str, Any]] = []

    @property
    def manager(self) -> CallbackManager:
        return CallbackManager([self])

    def on_event_start(self, event_type: CBEventType, payload: Any = None, event_id: str = "", **_: Any) -> str:
        if event_type == self.kind:
            self.starts.append(payload)
        return event_id

    def on_event_end(self, event_type: CBEventType, payload: Any = None, **_: Any) -> None:
        if event_type == self.kind:
            self.ends.append(payload)

    def start_trace(self, trace_id: str | None = None) -> None:
        pass

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None:
        pass


@pytest.fixture
def callbacks() -> Callbacks:
    return Callbacks()


class Events(BaseEventHandler):
    """Notes instrumentation events."""

    seen: list[Any] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: Any, **_: Any) -> None:
        self.seen.append(event)

    @property
    def names(self) -> list[str]:
        return [event.class_name() for event in self.seen]

    def of(self, name: str) -> list[Any]:
        return [event for event in self.seen if event.class_name() == name]


class Spans(BaseSpanHandler[SimpleSpan]):
    """Notes the spans, and how each ended."""

    entered: list[str] = Field(default_factory=list)
    ended: list[tuple[str, str]] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Spans"

    def new_span(self, id_: str, bound_args: Any, instance: Any = None, parent_span_id: Any = None, **_: Any) -> Any:
        self.entered.append(id_)
        return SimpleSpan(id_=id_, parent_id=parent_span_id)

    def prepare_to_exit_span(
        self, id_: str, bound_args: Any, instance: Any = None, result: Any = None, **_: Any
    ) -> Any:
        self.ended.append((id_, "exit"))
        return self.open_spans[id_]

    def prepare_to_drop_span(self, id_: str, bound_args: Any, instance: Any = None, err: Any = None, **_: Any) -> Any:
        self.ended.append((id_, "drop"))
        return self.open_spans[id_]


@pytest.fixture
def events() -> Iterator[Events]:
    """All instrumentation events from here on."""
    root, handler = get_dispatcher(), Events()
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)


@pytest.fixture
def spans() -> Iterator[Spans]:
    """All spans from here on."""
    root, handler = get_dispatcher(), Spans()
    root.add_span_handler(handler)
    yield handler
    root.span_handlers.remove(handler)


@pytest.fixture(params=["structured_predict", "astructured_predict"])
def predict(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Either of the two that give one object."""

    def call(llm: Any, *args: Any, **kwargs: Any) -> Any:
        result = getattr(llm, request.param)(*args, **kwargs)
        return asyncio.run(result) if request.param.startswith("a") else result

    return call


@pytest.fixture(params=["stream_structured_predict", "astream_structured_predict"])
def stream(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    """Either of the two that give more and more of an object."""

    def call(llm: Any, *args: Any, **kwargs: Any) -> list[Any]:
        result = getattr(llm, request.param)(*args, **kwargs)
        return asyncio.run(collected(result)) if request.param.startswith("a") else list(result)

    return call


async def collected(coming: Any) -> list[Any]:
    return [each async for each in await coming]
