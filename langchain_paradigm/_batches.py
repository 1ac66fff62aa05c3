"""Batches: many inputs at once, each in its own run, with its own usage, callbacks and error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.runnables import Runnable
from langchain_core.runnables.utils import Input, Output

from langchain_paradigm._component import Configs, limited
from paradigm_transport.fan_out import afan_out, fan_out

T = TypeVar("T")


class Batches(Runnable[Input, Output]):
    """Sends many inputs to a model, as many at once as the server keeps up with."""

    if TYPE_CHECKING:  # pydantic would take them for fields
        max_concurrency: int
        show_progress: bool

    def batch(
        self, inputs: Sequence[Input], config: Configs = None, *, return_exceptions: bool = False, **kwargs: object
    ) -> list[Output]:
        """Answer many inputs, each in its own run, concurrently and in order.

        Args:
            inputs: what `invoke` takes.
            config: LangChain's config for all, or one for each; without `max_concurrency` in the first of them, the
                model's own applies.
            return_exceptions: return an error in the place of its answer; without, the first error stops the rest.
            kwargs: the endpoint's fields; they win over the constructor's.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.complete`.
        """
        configs = limited(config, len(inputs), self.max_concurrency)
        caught = Exception if return_exceptions else ()

        def invoke(index: int) -> Output:
            try:
                return self.invoke(inputs[index], configs[index], **kwargs)
            except caught as error:
                return cast("Output", error)  # LangChain has no type for it

        return self._fan_out(invoke, len(inputs), configs[0]["max_concurrency"] if configs else 1)

    async def abatch(
        self, inputs: Sequence[Input], config: Configs = None, *, return_exceptions: bool = False, **kwargs: object
    ) -> list[Output]:
        """As `batch`."""
        configs = limited(config, len(inputs), self.max_concurrency)
        caught = Exception if return_exceptions else ()

        async def invoke(index: int) -> Output:
            try:
                return await self.ainvoke(inputs[index], configs[index], **kwargs)
            except caught as error:
                return cast("Output", error)  # LangChain has no type for it

        return await self._afan_out(invoke, len(inputs), configs[0]["max_concurrency"] if configs else 1)

    def batch_as_completed(
        self, inputs: Sequence[Input], config: Configs = None, **kwargs: Any
    ) -> Iterator[tuple[int, Any]]:
        """Answer many inputs as `batch` does, and yield pairs of an input's index and its answer as they arrive.

        Args:
            inputs: what `invoke` takes.
            config: as that of `batch`.
            kwargs: as those of `batch`, and `return_exceptions`.
        """
        return super().batch_as_completed(inputs, limited(config, len(inputs), self.max_concurrency), **kwargs)

    def abatch_as_completed(
        self, inputs: Sequence[Input], config: Configs = None, **kwargs: Any
    ) -> AsyncIterator[tuple[int, Any]]:
        """As `batch_as_completed`."""
        return super().abatch_as_completed(inputs, limited(config, len(inputs), self.max_concurrency), **kwargs)

    def _fan_out(self, call: Callable[[int], T], count: int, limit: int | None) -> list[T]:
        """Call a function for each index; a single call uses no threads."""
        return [call(0)] if count == 1 else fan_out(call, range(count), limit or 1, self.show_progress)

    async def _afan_out(self, call: Callable[[int], Awaitable[T]], count: int, limit: int | None) -> list[T]:
        return [await call(0)] if count == 1 else await afan_out(call, range(count), limit or 1, self.show_progress)
