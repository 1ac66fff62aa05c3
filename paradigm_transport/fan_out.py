"""Many calls at once: a bounded number in flight, results in order, and the first error stops the rest.

A small server makes those that are in flight wait for each other, and the last of too many would time out. So at first
no more than `FIRST` are in flight; then there are as many as the server returns within `SOON` seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextvars import Context, copy_context
from typing import TypeVar

from paradigm_transport.http.scopes import CallScope, current_batch
from paradigm_transport.http.slots import Slots

Item = TypeVar("Item")
Step = TypeVar("Step")
T = TypeVar("T")

FIRST = 64
"""The most calls in flight before the first has ended."""

SOON = 30.0
"""The seconds in which a server should return what is in flight: well below the default time-out."""


NOTICED_WITHIN = 0.5
"""The seconds after which an interrupt is noticed, and shown progress moves on, at the latest."""


class Window:
    """The number of calls in flight, which grows as they end.

    Args:
        limit: the most of them.
        timer: returns seconds that only grow.
    """

    # There is no lock: a lost update makes it grow a little later.

    def __init__(self, limit: int, timer: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._timer = timer
        self._began = timer()
        self._ended = 0
        self.size = min(limit, FIRST)

    def end(self) -> bool:
        """Record that a call has ended; return whether one more than before may be in flight."""
        self._ended += 1
        if self.size >= self._limit or self.size * (self._timer() - self._began) > self._ended * SOON:
            return False
        self.size += 1
        return True


def fan_out(call: Callable[[Item], T], items: Sequence[Item], limit: int, show_progress: bool = False) -> list[T]:
    """Call a function for each item, in threads that share the caller's context variables.

    After an error or an interrupt no further call begins. The requests in flight are ended, and none is retried;
    anything else that the threads do is waited for.

    Args:
        call: the function.
        items: what to call it with; a single item is handled in the caller's thread.
        limit: the most calls in flight, 1 or more.
        show_progress: show a progress bar, which needs tqdm.

    Returns:
        The results, in the order of the items.

    Raises:
        ModuleNotFoundError: `show_progress` is set and tqdm is not installed.
    """
    if len(items) < 2:
        return [call(item) for item in items]
    batch = CallScope("The batch that the call belongs to was stopped.", *filter(None, [current_batch.get()]))
    window = Window(min(limit, len(items)))
    gate = Slots(window.size)

    def run(item: Item) -> T:
        gate.acquire(batch)
        try:
            return call(item)
        finally:
            if window.end():
                gate.release()
            gate.release()

    with ThreadPoolExecutor(max_workers=min(limit, len(items))) as executor:
        try:
            futures = [executor.submit(_context_of(batch).run, run, item) for item in items]
            for future in _with_progress(_ended(futures), len(items), show_progress):
                future.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            batch.cancel()
            raise
    return [future.result() for future in futures]


def _ended(futures: Sequence[Future[T]]) -> Iterator[Future[T]]:
    """Yield futures that have ended, until all have: one that failed at once, others together every now and then.

    Those that ended together come in order, so that of several errors the same one is raised each time.

    To wake this thread for each would slow down those that work. Python does not notice an interrupt that comes just
    before it begins to wait, so no wait may be long.
    """
    pending = futures
    while pending:
        ended, _ = wait(pending, NOTICED_WITHIN, FIRST_EXCEPTION)
        yield from (future for future in pending if future in ended)
        pending = [future for future in pending if future not in ended]


def _context_of(batch: CallScope) -> Context:
    """Return the context of a call, which needs its own: two threads cannot enter the same one."""
    context = copy_context()
    context.run(current_batch.set, batch)
    return context


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
    window = Window(limit)
    gate = asyncio.Semaphore(window.size)

    async def run(item: Item) -> T:
        async with gate:
            try:
                return await call(item)
            finally:
                if window.end():
                    gate.release()

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
