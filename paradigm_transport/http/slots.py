"""Slots for connections: semaphores whose waiters can be interrupted, for threads and for an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from queue import SimpleQueue

from paradigm_transport.http.scopes import CallScope, interruptible


class Slots:
    """Slots for threads. `__del__` may release one, in the middle of any of these methods in the same thread.

    Args:
        count: the number of slots.
    """

    # There is no lock, for that reason. Each waiting thread has a queue: it gets True for a slot, False to give up.

    def __init__(self, count: int) -> None:
        self._free = deque([None] * count)
        self._waiting: deque[SimpleQueue[bool]] = deque()

    def acquire(self, scope: CallScope) -> None:
        """Take a slot; wait until one is free.

        Args:
            scope: the scope of the call; its end ends the wait.

        Raises:
            APIConnectionError: the calls of the scope have ended.
        """
        with suppress(IndexError):
            return self._free.pop()
        answer: SimpleQueue[bool] = SimpleQueue()

        def give_up() -> None:
            answer.put(False)

        self._waiting.append(answer)
        self._hand_out()  # what was released in the meantime
        scope.add(give_up)
        has_slot = False
        try:
            has_slot = answer.get()
        finally:
            scope.discard(give_up)
            if not has_slot:
                self._leave(answer)
        if not has_slot:
            scope.check()
        return None

    def _leave(self, answer: SimpleQueue[bool]) -> None:
        """Stop waiting; a slot that was handed out just now goes to the next."""
        try:
            self._waiting.remove(answer)
        except ValueError:
            self.release()

    def release(self) -> None:
        """Free a slot."""
        self._free.append(None)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._free and self._waiting:
            with suppress(IndexError):  # another thread was first
                self._free.pop()
                try:
                    self._waiting.popleft().put(True)
                except IndexError:
                    self._free.append(None)


class AsyncSlots:
    """As `Slots`, for the tasks of an event loop."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    async def acquire(self, scope: CallScope) -> None:
        """As `Slots.acquire`."""
        if self._free.locked():
            with interruptible(scope):
                await self._free.acquire()
        else:
            await self._free.acquire()

    def release(self) -> None:
        """As `Slots.release`."""
        self._free.release()
