"""2,000 texts, one a request: ours beside bare httpx with the same number of requests in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from langchain_paradigm import ParadigmEmbeddings
from llama_index_paradigm import ParadigmEmbedding

MODEL, KEY = "canned", "benchmark"
TEXTS = [f"A passage of some words that is number {number} of all." for number in range(2_000)]
CONCURRENCY = 32


class Floor:
    """Bare httpx: post each text, read the JSON, take the numbers."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        options: dict[str, Any] = {"headers": {"Authorization": f"Bearer {KEY}"}, "limits": limits, "timeout": 120}
        self._url = f"{url}/embeddings"
        self._sync = httpx.Client(**options)
        self._async = httpx.AsyncClient(**options)

    def embed(self) -> list[list[float]]:
        """Embed the texts in threads."""
        with ThreadPoolExecutor(CONCURRENCY) as threads:
            return list(threads.map(lambda text: _numbers(self._sync.post(self._url, json=_body(text))), TEXTS))

    async def aembed(self) -> list[list[float]]:
        """Embed the texts in tasks."""
        gate = asyncio.Semaphore(CONCURRENCY)

        async def one(text: str) -> list[float]:
            async with gate:
                return _numbers(await self._async.post(self._url, json=_body(text)))

        return await asyncio.gather(*map(one, TEXTS))


def _body(text: str) -> dict[str, str]:
    return {"model": MODEL, "encoding_format": "float", "input": text}


def _numbers(response: httpx.Response) -> list[float]:
    numbers: list[float] = response.json()["data"][0]["embedding"]
    return numbers


def turns(url: str, run: Callable[[Any], Any]) -> dict[str, dict[str, Callable[[], Any]]]:
    """Return what there is to measure: for each way to embed the texts, the contenders.

    Args:
        url: the canned server.
        run: runs a coroutine on the event loop of the benchmark.
    """
    floor = Floor(url)
    options: dict[str, Any] = {"model": MODEL, "api_key": KEY, "base_url": url, "max_concurrency": CONCURRENCY}
    chain, engine = ParadigmEmbeddings(**options), ParadigmEmbedding(**options)
    return {
        "LangChain embed_documents": {"floor": floor.embed, "ours": lambda: chain.embed_documents(TEXTS)},
        "LangChain aembed_documents": {
            "floor": lambda: run(floor.aembed()),
            "ours": lambda: run(chain.aembed_documents(TEXTS)),
        },
        "LlamaIndex get_text_embedding_batch": {
            "floor": floor.embed,
            "ours": lambda: engine.get_text_embedding_batch(TEXTS),
        },
        "LlamaIndex aget_text_embedding_batch": {
            "floor": lambda: run(floor.aembed()),
            "ours": lambda: run(engine.aget_text_embedding_batch(TEXTS)),
        },
    }
