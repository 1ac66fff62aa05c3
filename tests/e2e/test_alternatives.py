"""What other packages do with Paradigm's endpoints: each cell of the table in the README.

Runs where the dependency groups `bench` and `dev` are installed, on a scripted server and the local Paradigm.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.retrievers import BaseRetriever
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool

import langchain_paradigm
import llama_index_paradigm
from paradigm_local import LocalParadigm
from tests.wire import Request, Script, WireServer, completion, reply, sse, usage

REASON = "runs where the dependency groups bench and dev are installed"
langchain_openai = pytest.importorskip("langchain_openai", reason=REASON)
openai_like = pytest.importorskip("llama_index.llms.openai_like", reason=REASON)
lighton = pytest.importorskip("lighton", reason=REASON)
openai = pytest.importorskip("openai", reason=REASON)

ROOT = Path(__file__).parents[2]
YES, NO = "yes", "no"
QUESTION = "How much is 6 times 7?"
PROMPTS, RATE, BURST = 60, 20, 10
PACKAGES = ["paradigm-llm", "`ChatOpenAI`", "`OpenAILike`", "`lighton-sdk`"]


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


TOOL = FunctionTool.from_defaults(multiply)


class Models:
    """The classes that are compared, for one server."""

    def __init__(self, url: str, model: str = "m", key: str = "sk-key", **ours: Any) -> None:
        all_take = {"model": model, "api_key": key, "max_tokens": 60, "temperature": 0}
        self.langchain = langchain_paradigm.ChatParadigm(**all_take, base_url=url, **ours)
        self.llama_index = llama_index_paradigm.ChatParadigm(**all_take, base_url=url, **ours)
        self.chat_openai = langchain_openai.ChatOpenAI(**all_take, base_url=url)
        like = {"is_chat_model": True, "is_function_calling_model": True}
        self.openai_like = openai_like.OpenAILike(**all_take, api_base=url, **like)

    def cells(self, langchain: Callable[[Any], Any], llama_index: Callable[[Any], Any]) -> list[str]:
        """Return whether something works with ours in both frameworks, `ChatOpenAI` and `OpenAILike`; not the SDK."""
        ours = works(langchain, self.langchain) and works(llama_index, self.llama_index)
        works_with = [ours, works(langchain, self.chat_openai), works(llama_index, self.openai_like), False]
        return [YES if each else NO for each in works_with]


def works(attempt: Callable[[Any], Any], model: Any) -> bool:
    try:
        return bool(attempt(model))
    except Exception:  # noqa: BLE001  # whatever it is, it does not work
        return False


def fails(attempt: Callable[[], Any]) -> bool:
    try:
        attempt()
    except Exception:  # noqa: BLE001
        return True
    return False


def message(content: str, **more: Any) -> Script:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content, **more}}
    return reply({**completion(""), "object": "chat.completion", "choices": [choice]})


def delta(content: str, finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    return {**completion(""), "object": "chat.completion.chunk", "choices": [choice], "usage": None}


# The rows


def chats(wire: WireServer, local: LocalParadigm) -> list[str]:
    models = Models(local.base_url, local.model, local.api_key)
    return models.cells(
        lambda model: model.invoke("Hello").content, lambda model: model.chat([ChatMessage("Hello")]).message.content
    )


def completions(wire: WireServer, local: LocalParadigm) -> list[str]:
    at = {"model": local.model, "api_key": local.api_key, "max_tokens": 20}
    ours = langchain_paradigm.ParadigmLLM(**at, base_url=local.base_url).invoke("Hello")
    ours = ours and llama_index_paradigm.ParadigmLLM(**at, base_url=local.base_url).complete("Hello").text
    wire.always(message("Hello"))
    langchain_openai.ChatOpenAI(model="m", api_key="k", base_url=wire.url).invoke("Hello")
    is_chat = wire.requests[-1].path.endswith("/chat/completions")
    like = openai_like.OpenAILike(**at, api_base=local.base_url).complete("Hello").text
    return [YES if each else NO for each in (ours, not is_chat, like, hasattr(lighton.LightOn, "complete"))]


def tool_calls(wire: WireServer, local: LocalParadigm) -> list[str]:
    models = Models(local.base_url, local.model, local.api_key)
    return models.cells(
        lambda model: model.bind_tools([multiply], tool_choice="required").invoke(QUESTION).tool_calls,
        lambda model: model.get_tool_calls_from_response(
            model.chat_with_tools([TOOL], QUESTION, tool_required=True), error_on_no_tool_call=False
        ),
    )


def calls_in_text(wire: WireServer, local: LocalParadigm) -> list[str]:
    wire.always(message('<tool_call>\n{"name": "multiply", "arguments": {"a": 6, "b": 7}}\n</tool_call>'))
    return Models(wire.url, tool_call_parser="hermes").cells(
        lambda model: model.bind_tools([multiply]).invoke(QUESTION).tool_calls,
        lambda model: model.get_tool_calls_from_response(
            model.chat_with_tools([TOOL], QUESTION), error_on_no_tool_call=False
        ),
    )


def thoughts(wire: WireServer, local: LocalParadigm) -> list[str]:
    wire.always(message("42", reasoning_content="Six sevens."))
    return Models(wire.url).cells(
        lambda model: "Six sevens." in str(model.invoke(QUESTION)),
        lambda model: "Six sevens." in repr(model.chat([ChatMessage(QUESTION)]).message),
    )


def usage_of_streams(wire: WireServer, local: LocalParadigm) -> list[str]:
    def answer(request: Request) -> Script:
        asked = (request.body.get("stream_options") or {}).get("include_usage")
        counted = [{**delta(""), "choices": [], "usage": usage(3, 2)}] if asked else []
        return sse(delta("4"), delta("2", "stop"), *counted)

    def counted(model: Any) -> dict[str, Any]:
        with get_usage_metadata_callback() as callback:
            list(model.stream(QUESTION))
        return callback.usage_metadata

    wire.always(answer)
    return Models(wire.url).cells(
        counted, lambda model: dict(list(model.stream_chat([ChatMessage(QUESTION)]))[-1].raw).get("usage")
    )


def cut_streams(wire: WireServer, local: LocalParadigm) -> list[str]:
    wire.always(sse(delta("4"), done=False))
    return Models(wire.url).cells(
        lambda model: fails(lambda: list(model.stream(QUESTION))),
        lambda model: fails(lambda: list(model.stream_chat([ChatMessage(QUESTION)]))),
    )


def rate_limits(wire: WireServer, local: LocalParadigm) -> list[str]:
    def complete(model: Any) -> bool:
        limit(wire)
        return not any(
            isinstance(each, Exception) for each in model.batch(["x"] * PROMPTS, many, return_exceptions=True)
        )

    def complete_each(model: Any) -> bool:
        limit(wire)
        with ThreadPoolExecutor(PROMPTS) as threads:
            return not any(threads.map(lambda _: fails(lambda: model.chat([ChatMessage("x")])), range(PROMPTS)))

    many = {"max_concurrency": PROMPTS}
    return Models(wire.url).cells(complete, complete_each)


def limit(wire: WireServer) -> None:
    """Let a token bucket decide which requests are refused with 429."""
    lock = threading.Lock()
    tokens, filled = float(BURST), time.monotonic()

    def answer(request: Request) -> Script:
        nonlocal tokens, filled
        with lock:
            now = time.monotonic()
            tokens, filled = min(BURST, tokens + (now - filled) * RATE), now
            if tokens < 1:
                return reply({"detail": "Too many requests."}, 429)
            tokens -= 1
        return message("42")

    wire.always(answer)


def many_stops(wire: WireServer, local: LocalParadigm) -> list[str]:
    models = Models(local.base_url, local.model, local.api_key)
    stops = ["one", "two", "three", "four", "five"]
    return models.cells(
        lambda model: model.invoke("Hello", stop=stops) is not None,
        lambda model: model.chat([ChatMessage("Hello")], stop=stops) is not None,
    )


def embeddings(wire: WireServer, local: LocalParadigm) -> list[str]:
    at = {"model": local.embedding_model, "api_key": local.api_key, "base_url": local.base_url}
    ours = langchain_paradigm.ParadigmEmbeddings(**at).embed_query("Hello")
    ours = ours and llama_index_paradigm.ParadigmEmbedding(**at).get_text_embedding("Hello")
    assert langchain_openai.OpenAIEmbeddings(**at, check_embedding_ctx_length=False).embed_query("Hello")
    assert langchain_openai.OpenAIEmbeddings.model_fields[
        "check_embedding_ctx_length"
    ].default  # by default it sends token ids:
    client = openai.OpenAI(api_key=local.api_key, base_url=local.base_url)
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model=local.embedding_model, input=[[1, 2, 3]])
    switched = "`OpenAIEmbeddings`, with `check_embedding_ctx_length=False`"
    return [YES if ours else NO, switched, "separate package", NO]


def retriever(wire: WireServer, local: LocalParadigm) -> list[str]:
    ours = issubclass(langchain_paradigm.ParadigmRetriever, BaseRetriever)
    at = {"api_key": local.api_key, "base_url": local.base_url}
    ours = ours and langchain_paradigm.ParadigmRetriever(**at).invoke("parental leave")
    ours = ours and llama_index_paradigm.ParadigmRetriever(**at).retrieve("parental leave")
    config = lighton.LightOnConfiguration(base_url=local.base_url.removesuffix("/api/v2"))
    with lighton.LightOn(api_key=local.api_key, config=config) as client:
        searched = client.search("parental leave").results
    assert not any(
        hasattr(each, name)
        for each in (langchain_openai.ChatOpenAI, openai_like.OpenAILike)
        for name in ("search", "retrieve")
    )
    return [YES if ours else NO, NO, NO, "`search`, without a framework" if searched else NO]


def documents(wire: WireServer, local: LocalParadigm) -> list[str]:
    has = [hasattr(lighton, "File"), hasattr(lighton.LightOn, "ask"), hasattr(lighton.LightOn, "extract")]
    return [NO, NO, NO, YES if all(has) else NO]


ROWS = {
    "chats": chats,
    "completions": completions,
    "tool calls parsed by the server": tool_calls,
    "tool calls the server leaves in the text": calls_in_text,
    "thoughts (reasoning) separate from the text": thoughts,
    "token usage of streams in callbacks, by default": usage_of_streams,
    "a truncated stream raises an error": cut_streams,
    "60 prompts under a limit of 20 requests a second, none lost": rate_limits,
    "more than four stop sequences": many_stops,
    "embeddings": embeddings,
    "Paradigm's search as a retriever": retriever,
    "uploading documents and asking questions about them": documents,
}


def table() -> Iterator[list[str]]:
    text = (ROOT / "README.md").read_text()
    lines = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    (start,) = [number for number, line in enumerate(lines) if all(name in line for name in PACKAGES)]
    for line in lines[start + 1 : start + 1 + len(ROWS)]:
        yield line.split(" | ")


def test_table_has_the_rows_that_are_tested() -> None:
    assert [row[0] for row in table()] == list(ROWS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ROWS)
def test_cells_are_what_packages_do(name: str, wire: WireServer, handbook: LocalParadigm) -> None:
    (row,) = [cells for label, *cells in table() if label == name]
    assert row == ROWS[name](wire, handbook)
