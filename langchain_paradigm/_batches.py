"""Batches: many inputs at once, each in its own run, with its own usage, callbacks and error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.runnables import Runnable, RunnableConfig, get_config_list
from langchain_core.runnables.utils import Input, Output

from paradigm_transport.fan_out import afan_out, fan_out

T = TypeVar("T")
Configs = RunnableConfig | Sequence[RunnableConfig] | None


class LimitedBatches(Runnable[Input, Output]):
    """Runs as many inputs of a batch at once as `max_concurrency` says, if its config names no number."""

    if TYPE_CHECKING:  # pydantic would take it for a field
        max_concurrency: int

    def batch_as_completed(
        self, inputs: Sequence[Input], config: Configs = None, **kwargs: Any
    ) -> Iterator[tuple[int, Any]]:
        """Run many inputs as `batch` does, and yield pairs of an input's index and its output as they arrive.

        Args:
            inputs: what `invoke` takes.
            config: as that of `batch`.
            kwargs: as those of `batch`, and `return_exceptions`.
        """
        return super().batch_as_completed(inputs, self._limited(config, len(inputs)), **kwargs)

    def abatch_as_completed(
        self, inputs: Sequence[Input], config: Configs = None, **kwargs: Any
    ) -> AsyncIterator[tuple[int, Any]]:
        """As `batch_as_completed`."""
        return super().abatch_as_completed(inputs, self._limited(config, len(inputs)), **kwargs)

    def _limited(self, config: Configs, length: int) -> list[RunnableConfig]:
        """Return a config for each input of a batch, with `max_concurrency` if they name none."""
        return [{"max_concurrency": self.max_concurrency, **each} for each in get_config_list(config, length)]


class Batches(LimitedBatches[Input, Output]):
    """Sends many inputs to a model, as many at once as the server keeps up with."""

    if TYPE_CHECKING:
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
        configs = self._limited(config, len(inputs))
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
        configs = self._limited(config, len(inputs))
        caught = Exception if return_exceptions else ()

        async def invoke(index: int) -> Output:
            try:
                return await self.ainvoke(inputs[index], configs[index], **kwargs)
            except caught as error:
                return cast("Output", error)  # LangChain has no type for it

        return await self._afan_out(invoke, len(inputs), configs[0]["max_concurrency"] if configs else 1)

    def _fan_out(self, call: Callable[[int], T], count: int, limit: int | None) -> list[T]:
        """Call a function for each index; a single call uses no threads."""
        return [call(0)] if count == 1 else fan_out(call, range(count), limit or 1, self.show_progress)

    async def _afan_out(self, call: Callable[[int], Awaitable[T]], count: int, limit: int | None) -> list[T]:
        return [await call(0)] if count == 1 else await afan_out(call, range(count), limit or 1, self.show_progress)
