"""Calls that end together: those of a client until it is closed, those of a batch until it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType

from paradigm_transport.errors import APIConnectionError


class CallScope:
    """Calls that can be ended from elsewhere: what they wait for is interrupted, and they send nothing more.

    Args:
        reason: why they end; the message of their error.
        parents: scopes that include the calls of this one.

    Attributes:
        is_cancelled: whether `cancel` was called on this scope itself.
    """

    # There is no lock: an interrupt is added before the scope is checked, and the scope is marked as cancelled before
    # the interrupts are called, so that one of the two threads sees the other.

    def __init__(self, reason: str, *parents: CallScope) -> None:
        self._reason = reason
        self._family: tuple[CallScope, ...] = (self,)
        for parent in parents:
            self._family += parent._family
        self.is_cancelled = False
        self._interrupts: set[Callable[[], object]] = set()

    @property
    def error(self) -> APIConnectionError | None:
        """Why the calls end; None while they may go on."""
        for scope in self._family:
            if scope.is_cancelled:
                return APIConnectionError(scope._reason)
        return None

    def check(self) -> None:
        """Raise the error if the calls have ended.

        Raises:
            APIConnectionError: they have.
        """
        error = self.error
        if error is not None:
            raise error

    def cancel(self) -> None:
        """End the calls, those in progress and later ones."""
        self.is_cancelled = True
        for interrupt in list(self._interrupts):
            interrupt()

    def add(self, interrupt: Callable[[], object]) -> None:
        """Have a function called when the calls end; at once if they have.

        Args:
            interrupt: ends a wait, and does not itself wait; called from the thread that ends the calls.
        """
        for scope in self._family:
            scope._interrupts.add(interrupt)
        if self.error is not None:
            interrupt()

    def discard(self, interrupt: Callable[[], object]) -> None:
        """Undo `add`."""
        for scope in self._family:
            scope._interrupts.discard(interrupt)

    def wait(self, seconds: float) -> None:
        """Wait for a number of seconds, in a thread, or until the calls end."""
        ended = threading.Event()
        self.add(ended.set)
        try:
            ended.wait(seconds)
        finally:
            self.discard(ended.set)


current_batch: ContextVar[CallScope | None] = ContextVar("current_batch", default=None)
"""The batch that calls of this context belong to, if any. Async calls have no need of it: their tasks are cancelled."""


class interruptible:  # noqa: N801  # a context manager, named as those of contextlib are
    """End what is awaited within a `with` statement when the calls of a scope end.

    Args:
        scope: the scope.

    Raises:
        APIConnectionError: the wait was ended.
    """

    def __init__(self, scope: CallScope) -> None:
        import anyio  # sync calls do without

        self._scope = scope
        self._wait = anyio.CancelScope()

    def __enter__(self) -> None:
        self._wait.__enter__()
        self._scope.add(self._wait.cancel)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._scope.discard(self._wait.cancel)
        if self._wait.__exit__(kind, error, traceback):
            self._scope.check()
