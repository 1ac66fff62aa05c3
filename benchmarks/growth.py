"""Whether cost grows: long streams, long tool arguments, many prompts and embeddings, long chats."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import resource
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ToolCallBlock

from benchmarks.contenders import CHATS_WITH_MORE, LANGCHAIN, LLMS
from benchmarks.cost import exhaust, stream_turn
from benchmarks.floors import KEY, MODEL
from benchmarks.measuring import Bench, cpu
from langchain_paradigm import ChatParadigm, ParadigmEmbeddings
from paradigm_transport import ParadigmClient

SIZES = (1_000, 10_000, 100_000)
PIECES = (25_000, 250_000)
"""Of four characters each: 100 KB and 1 MB."""

MANY = (1_000, 10_000)
MESSAGES = (100, 1_000)


def long_streams(bench: Bench) -> None:
    """Measure streams of up to 100,000 chunks: CPU of a chunk relative to shorter ones, and memory beyond the text."""
    client = ParadigmClient(api_key=KEY, base_url=bench.url)

    def stream(size: int) -> Any:
        return client.stream("x", model=MODEL, max_tokens=size)

    if bench.wants("paradigm_transport, 100,000 chunks"):
        bench.note("paradigm_transport, 100,000 chunks", **_growth(stream), bytes_a_chunk=_bytes(stream))
    client.close()
    for way in LLMS:
        if bench.wants(f"{way.name}, 100,000 chunks"):
            models = {size: way.contenders(bench.url, size).ours for size in SIZES}

            def stream_of(size: int, way: Any = way, models: Any = models) -> Any:
                return getattr(models[size], way.methods[2])("x")

            bench.note(f"{way.name}, 100,000 chunks", **_growth(stream_of), bytes_a_chunk=_bytes(stream_of))


def _growth(stream: Callable[[int], Any]) -> dict[str, float]:
    def cost(size: int) -> float:
        times = max(1, 20_000 // size)
        return min(cpu(lambda: [exhaust(stream(size), size) for _ in range(times)], size * times) for _ in range(3))

    costs = [cost(size) for size in SIZES]
    return {"times_the_cost_at_1_000": costs[2] / costs[0], "times_the_cost_at_10_000": costs[2] / costs[1]}


def _bytes(stream: Callable[[int], Any]) -> float:
    peaks = []
    for size in SIZES[1:]:
        tracemalloc.start()
        exhaust(stream(size), size)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return (peaks[1] - peaks[0]) / (SIZES[2] - SIZES[1])


def long_arguments(bench: Bench) -> None:
    """Measure arguments of a tool call of 1 MB in pieces of four characters: CPU of a piece relative to 100 KB."""
    for way in CHATS_WITH_MORE[:2]:
        name = f"{way.name}, arguments of 1 MB"
        if bench.wants(name):
            costs = []
            for size in PIECES:
                llm = way.contenders(bench.url, size, user="arguments").ours
                costs.append(stream_turn(bench, way, llm, 2, size)())
            bench.note(name, times_the_cost_at_100_KB=costs[1] / costs[0], microseconds_a_piece=costs[1])
    name = "LlamaIndex's own responses alone, arguments of 1 MB"
    if bench.wants(name):
        costs = [cpu(lambda size=size: exhaust(_arguments_so_far(size), size), size) for size in PIECES]
        bench.note(name, times_the_cost_at_100_KB=costs[1] / costs[0], microseconds_a_piece=costs[1])


def _arguments_so_far(pieces: int) -> Iterator[ChatResponse]:
    """Yield what LlamaIndex's chat models do for each piece of a call: a message with all arguments so far."""
    arguments = ""
    for _ in range(pieces):
        arguments += "word"
        call = ToolCallBlock(tool_call_id="1", tool_name="note", tool_kwargs=arguments)
        yield ChatResponse(message=ChatMessage(role="assistant", blocks=[call]), delta="")


def long_chats(bench: Bench) -> None:
    """Measure a chat of 1,000 messages, counted and sent: CPU of a message relative to 100 messages."""
    name = "LangChain, a chat of 1,000 messages counted and answered"
    if not bench.wants(name):
        return
    llm = ChatParadigm(model=MODEL, api_key=KEY, base_url=bench.url, chat_template="chatml")
    costs = []
    for count in MESSAGES:
        samples = []
        for round_ in range(10):
            chat = [(AIMessage if index % 2 else HumanMessage)(f"{round_} {index}") for index in range(count - 1)]
            samples.append(cpu(lambda chat=chat: (llm.get_num_tokens_from_messages(chat), llm.invoke(chat)), count))
        costs.append(median(samples))
    bench.note(name, times_the_cost_at_100=costs[1] / costs[0], microseconds_a_message=costs[1])


def memory(bench: Bench) -> None:
    """Measure 10,000 prompts and embeddings: memory at the peak beside what is returned, and beside 1,000."""
    for way in ("batch", "abatch", "embed_documents", "aembed_documents"):
        name = f"LangChain {way}, 10,000 at once"
        if bench.wants(name):
            few, many = (_in_a_process(way, bench.url, count) for count in MANY)
            bench.note(name, MB_beside_the_result=many, MB_for_1_000=few)


def _in_a_process(way: str, url: str, count: int) -> float:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_beside_the_result, (way, url, count))


def _beside_the_result(way: str, url: str, count: int) -> float:
    """Return the megabytes of memory that a process needed at most beside those that it holds in the end."""
    texts = [f"A text that is number {number} of all." for number in range(count)]
    embeds = "embed" in way
    model: Any = (
        ParadigmEmbeddings(model=MODEL, api_key=KEY, base_url=url) if embeds else LANGCHAIN.contenders(url).ours
    )
    method = getattr(model, way)
    result = asyncio.run(method(texts)) if way.startswith("a") else method(texts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    gc.collect()
    held = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    assert len(result) == count
    return peak - held
