"""Many calls at once: in order, so many in flight, and the first error stops the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import as_completed
from typing import TypeVar

from langchain_core.runnables.config import ContextThreadPoolExecutor

Item = TypeVar("Item")
Step = TypeVar("Step")
T = TypeVar("T")


def fan_out(call: Callable[[Item], T], items: Sequence[Item], limit: int, show_progress: bool = False) -> list[T]:
    """Call for each item, in threads.

    After an error no further call begins; those on their way, which nothing can stop, are waited for.
    """
    if len(items) < 2:
        return [call(item) for item in items]
    with ContextThreadPoolExecutor(max_workers=min(limit, len(items))) as executor:
        futures = [executor.submit(call, item) for item in items]
        try:
            for future in _shown(as_completed(futures), len(items), show_progress):
                future.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


async def afan_out(
    call: Callable[[Item], Awaitable[T]], items: Sequence[Item], limit: int, show_progress: bool = False
) -> list[T]:
    """Call for each item, in tasks. After an error all other calls are cancelled."""
    if len(items) < 2:
        return [await call(item) for item in items]
    gate = asyncio.Semaphore(limit)

    async def run(item: Item) -> T:
        async with gate:
            return await call(item)

    tasks = [asyncio.create_task(run(item)) for item in items]
    try:
        for finished in _shown(asyncio.as_completed(tasks), len(items), show_progress):
            await finished
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return [task.result() for task in tasks]


def _shown(steps: Iterable[Step], total: int, show_progress: bool) -> Iterable[Step]:
    if not show_progress or total < 2:
        return steps
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise ModuleNotFoundError("show_progress needs tqdm: pip install tqdm", name="tqdm") from None
    shown: Iterable[Step] = tqdm(steps, total=total, unit="prompt")
    return shown
