"""The classes that are compared: a floor, ours, and the best-known peer, in each framework and each way of calling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from langchain_openai import ChatOpenAI, OpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from benchmarks.floors import KEY, MODEL, Endpoint, LangChainChatFloor, LangChainFloor, LlamaIndexFloor
from langchain_paradigm import ChatParadigm as LangChainChat
from langchain_paradigm import ParadigmLLM as LangChainLLM
from llama_index_paradigm import ChatParadigm as LlamaIndexChat
from llama_index_paradigm import ParadigmLLM as LlamaIndexLLM

TOOL = {
    "type": "function",
    "function": {
        "name": "note",
        "description": "Write a note.",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    },
}


class Contenders(NamedTuple):
    """Three models of one framework, set up alike."""

    floor: Any
    ours: Any
    peer: Any


class Clients(NamedTuple):
    """Clients of another HTTP library, for the floor and ours."""

    client: Any = None
    async_client: Any = None


@dataclass(frozen=True)
class Way:
    """A way of calling: the methods by their names, and what they take.

    Attributes:
        name: as it stands in the table.
        make: makes the contenders: of an address, fields, clients and options of ours.
        methods: those that return a whole answer, sync and async, and those that stream.
        takes_messages: they take a list of messages.
        options: of ours, beside the fields of a request.
        kind: what the canned server writes; see `server.py`.
    """

    name: str
    make: Callable[..., Contenders]
    methods: tuple[str, str, str, str]
    takes_messages: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    kind: str | None = None

    def contenders(
        self, url: str, max_tokens: int = 10, user: str | None = None, clients: Clients | None = None
    ) -> Contenders:
        """Return the contenders for a length of the answer, and what the server makes of `user`."""
        user = user or self.kind
        fields = {"max_tokens": max_tokens, **({"user": user} if user else {})}
        return self.make(url, fields, clients or Clients(), **self.options)

    def question(self) -> Any:
        """Return what the methods take."""
        return [ChatMessage("x")] if self.takes_messages else "x"


def _ours(url: str, fields: dict[str, Any], clients: Clients) -> dict[str, Any]:
    injected = {"http_client": clients.client, "http_async_client": clients.async_client}
    return {"model": MODEL, "api_key": KEY, "base_url": url, **fields, **{k: v for k, v in injected.items() if v}}


def _langchain(url: str, fields: dict[str, Any], clients: Clients) -> Contenders:
    floor = LangChainFloor()
    floor._endpoint = Endpoint(url, fields, False, *clients)
    others = {name: value for name, value in fields.items() if name != "max_tokens"}
    return Contenders(
        floor,
        LangChainLLM(**_ours(url, fields, clients), max_concurrency=64),
        OpenAI(model=MODEL, api_key=KEY, base_url=url, max_tokens=fields["max_tokens"], model_kwargs=others),
    )


def _langchain_chat(url: str, fields: dict[str, Any], clients: Clients, **options: Any) -> Contenders:
    tools = options.pop("tools", None)
    floor = LangChainChatFloor()
    floor._endpoint = Endpoint(url, fields, "chat_template" not in options, *clients)
    ours: Any = LangChainChat(**_ours(url, fields, clients), **options)
    others = {name: value for name, value in fields.items() if name != "max_tokens"}
    peer: Any = ChatOpenAI(model=MODEL, api_key=KEY, base_url=url, max_tokens=fields["max_tokens"], model_kwargs=others)
    return Contenders(floor, ours.bind_tools(tools), peer.bind_tools(tools)) if tools else Contenders(floor, ours, peer)


def _llama_index(url: str, fields: dict[str, Any], clients: Clients) -> Contenders:
    floor = LlamaIndexFloor()
    floor._endpoint = Endpoint(url, fields, False, *clients)
    ours = LlamaIndexLLM(**_ours(url, fields, clients), context_window=4096)
    return Contenders(floor, ours, _open_ai_like(url, fields, is_chat_model=False))


def _llama_index_chat(url: str, fields: dict[str, Any], clients: Clients, **options: Any) -> Contenders:
    tools = options.pop("tools", None)
    floor = LlamaIndexFloor()
    floor._endpoint = Endpoint(url, fields, "chat_template" not in options, *clients)
    call: dict[str, Any] = {"tools": tools} if tools else {}
    ours = LlamaIndexChat(**_ours(url, fields, clients), context_window=4096, additional_kwargs={}, **options)
    peer = _open_ai_like(url, fields, is_chat_model=True)
    return Contenders(floor, _Calling(ours, call) if call else ours, _Calling(peer, call) if call else peer)


def _open_ai_like(url: str, fields: dict[str, Any], is_chat_model: bool) -> Any:
    others = {name: value for name, value in fields.items() if name != "max_tokens"}
    return OpenAILike(
        model=MODEL,
        api_key=KEY,
        api_base=url,
        max_tokens=fields["max_tokens"],
        additional_kwargs=others,
        is_chat_model=is_chat_model,
    )


class _Calling:
    """A model whose methods get further arguments."""

    def __init__(self, llm: Any, arguments: dict[str, Any]) -> None:
        self._llm = llm
        self._arguments = arguments

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._llm, name)
        return lambda question: method(question, **self._arguments)


_RUNNABLE = ("invoke", "ainvoke", "stream", "astream")
_COMPLETIONS = ("complete", "acomplete", "stream_complete", "astream_complete")
_CHATS = ("chat", "achat", "stream_chat", "astream_chat")
_TEMPLATE = {"chat_template": "chatml"}
_THINKING = {**_TEMPLATE, "reasoning_parser": "qwen3"}

LANGCHAIN = Way("LangChain", _langchain, _RUNNABLE)
LLAMA_INDEX = Way("LlamaIndex", _llama_index, _COMPLETIONS)
LLMS = (LANGCHAIN, LLAMA_INDEX)
CHATS = (
    Way("LangChain chat", _langchain_chat, _RUNNABLE),
    Way("LlamaIndex chat", _llama_index_chat, _CHATS, takes_messages=True),
)
CHATS_WITH_MORE = (
    Way("LangChain chat with template and tools", _langchain_chat, _RUNNABLE, False, {**_TEMPLATE, "tools": [TOOL]}),
    Way("LlamaIndex chat with template and tools", _llama_index_chat, _CHATS, True, {**_TEMPLATE, "tools": [TOOL]}),
    Way("LangChain chat with thoughts", _langchain_chat, _RUNNABLE, False, _THINKING, "thoughts"),
    Way("LlamaIndex chat with thoughts", _llama_index_chat, _CHATS, True, _THINKING, "thoughts"),
)
