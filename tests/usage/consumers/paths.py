"""Every way to complete prompts, and a server on which each prompt has its own usage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.wire import Request, Script, chunk, completion, reply, sse, usage

MODEL = "alfred-4.2"

USAGE = {"alpha": (11, 101), "bravo": (23, 211), "charlie": (37, 307)}
"""The prompt and completion tokens of each prompt; all their sums are different."""

STYLES = ["a last chunk without choices", "a last chunk with choices", "running totals", "nulls"]
"""How servers report the usage of a stream."""

LANGCHAIN = ["invoke", "ainvoke", "batch", "abatch", "generate", "agenerate", "stream", "astream", "chain.stream"]
LLAMA_INDEX = [
    *("complete", "acomplete", "stream_complete", "astream_complete"),
    *("chat", "achat", "stream_chat", "astream_chat"),
]


def is_stream(path: str) -> bool:
    return "stream" in path


def prompts_of(path: str) -> list[str]:
    return list(USAGE) if "batch" in path or "generate" in path else ["bravo"]


def marker_of(text: Any) -> str:
    """Return the prompts that occur in a trace."""
    return "+".join(marker for marker in USAGE if marker in str(text))


def answer(style: str) -> Callable[[Request], Script]:
    """Return a server that rejects misplaced `stream_options` and reports usage of streams only on request."""

    def answer_request(request: Request) -> Script:
        body = request.body
        marker = marker_of(body["prompt"])
        prompt_tokens, completion_tokens = USAGE[marker]
        counted = usage(prompt_tokens, completion_tokens)
        if not body.get("stream"):
            if "stream_options" in body:
                return reply({"error": {"message": "stream_options is for streams alone"}}, 400)
            return reply(completion(f"{marker} answered", usage=counted, model=MODEL))
        asked = body.get("stream_options", {}).get("include_usage")
        return sse(*_chunks(style, marker, counted if asked else None))

    return answer_request


def _chunks(style: str, marker: str, counted: dict[str, int] | None) -> list[dict[str, Any]]:
    running = [usage(0, 1), usage(1, 1)] if style == "running totals" else [None, None]
    fields: list[dict[str, Any]] = [{"usage": each} if each or style == "nulls" else {} for each in running]
    fields = [{**each, "model": MODEL} for each in fields]
    texts = [chunk(f"{marker} ", **fields[0]), chunk("answered", **fields[1])]
    if style in ("a last chunk with choices", "running totals"):
        return [*texts, chunk("", "stop", usage=counted, model=MODEL)]
    return [*texts, chunk("", "stop", **fields[1]), chunk(usage=counted, model=MODEL)]


def run_langchain(
    path: str, url: str, callbacks: list[Any] | None = None, of: str = "ParadigmLLM", **arguments: Any
) -> None:
    from langchain_core.messages import HumanMessage
    from langchain_core.prompts import PromptTemplate

    import langchain_paradigm

    model = getattr(langchain_paradigm, of)
    llm = model(**{"model": MODEL, "api_key": "sk-of-the-tests", "base_url": url, **arguments})
    prompts: list[Any] = prompts_of(path)
    options: Any = {"config": {"callbacks": callbacks}}
    if "generate" in path:
        options = {"callbacks": callbacks}
        prompts = prompts if of == "ParadigmLLM" else [[HumanMessage(prompt)] for prompt in prompts]
    elif path == "chain.stream":
        _finish((PromptTemplate.from_template("{text}") | llm).stream({"text": prompts[0]}, **options))
        return
    _finish(getattr(llm, path)(prompts if len(prompts) > 1 else prompts[0], **options))


def run_llama_index(path: str, url: str, of: str = "ParadigmLLM", **arguments: Any) -> None:
    from llama_index.core.base.llms.types import ChatMessage

    import llama_index_paradigm

    usual = {"model": MODEL, "api_key": "sk-of-the-tests", "base_url": url, "context_window": 4096}
    llm = getattr(llama_index_paradigm, of)(**{**usual, **arguments})
    (prompt,) = prompts_of(path)
    method = getattr(llm, path)
    given = [ChatMessage(prompt)] if path.endswith("chat") else prompt
    if path.startswith("a"):
        asyncio.run(_await_all(method, given))
    else:
        _finish(method(given))


def _finish(result: Any) -> None:
    if hasattr(result, "__aiter__"):
        asyncio.run(_drain(result))
    elif hasattr(result, "__await__"):
        asyncio.run(_wait(result))
    elif hasattr(result, "__next__"):
        list(result)


async def _drain(pieces: Any) -> None:
    async for _ in pieces:
        pass


async def _wait(result: Any) -> None:
    await result


async def _await_all(method: Any, given: Any) -> None:
    result = await method(given)
    if hasattr(result, "__aiter__"):
        await _drain(result)
