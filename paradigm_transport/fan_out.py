"""Many calls at once: a bounded number in flight, results in order, and the first error stops the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from typing import TypeVar

Item = TypeVar("Item")
Step = TypeVar("Step")
T = TypeVar("T")


def fan_out(call: Callable[[Item], T], items: Sequence[Item], limit: int, show_progress: bool = False) -> list[T]:
    """Call a function for each item, in threads that share the caller's context variables.

    After an error no further call begins. Threads cannot be stopped, so the calls in flight are waited for.

    Args:
        call: the function.
        items: what to call it with; a single item is handled in the caller's thread.
        limit: the most calls at once, 1 or more.
        show_progress: show a progress bar, which needs tqdm.

    Returns:
        The results, in the order of the items.

    Raises:
        ModuleNotFoundError: `show_progress` is set and tqdm is not installed.
    """
    if len(items) < 2:
        return [call(item) for item in items]
    with ThreadPoolExecutor(max_workers=min(limit, len(items))) as executor:
        # A copy of the context for each call: two threads cannot enter the same one.
        futures = [executor.submit(copy_context().run, call, item) for item in items]
        try:
            for future in _with_progress(as_completed(futures), len(items), show_progress):
                future.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


async def afan_out(
    call: Callable[[Item], Awaitable[T]], items: Sequence[Item], limit: int, show_progress: bool = False
) -> list[T]:
    """Call a coroutine function for each item, in tasks. After an error all other calls are cancelled.

    Args:
        call: the coroutine function.
        items: as those of `fan_out`.
        limit: as that of `fan_out`.
        show_progress: as that of `fan_out`.
    """
    if len(items) < 2:
        return [await call(item) for item in items]
    gate = asyncio.Semaphore(limit)

    async def run(item: Item) -> T:
        async with gate:
            return await call(item)

    tasks = [asyncio.create_task(run(item)) for item in items]
    try:
        for finished in _with_progress(asyncio.as_completed(tasks), len(items), show_progress):
            await finished
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return [task.result() for task in tasks]


def _with_progress(steps: Iterable[Step], total: int, show_progress: bool) -> Iterable[Step]:
    if not show_progress:
        return steps
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise ModuleNotFoundError("show_progress needs tqdm: pip install tqdm", name="tqdm") from None
    bar: Iterable[Step] = tqdm(steps, total=total, unit="prompt")
    return bar
