"""Counts the calls, tokens and seconds of a block of code, whichever framework they are made through."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import RLock
from time import perf_counter
from typing import Any

from typing_extensions import Self

from paradigm_transport.endpoints.completions.reply import Usage

Price = float | tuple[float, float]
"""A price per million tokens: one for all, or one for the prompt's and one for the completion's."""


@dataclass
class Counts:
    """What some calls came to.

    Attributes:
        calls: how many began. One that was sent again after a failure is one; an answer out of a cache is none.
        errors: how many of them ended in an error.
        uncounted: how many of them nobody knows the tokens of: the server gave no usage, the stream was left before
            its end, or the call is still on its way.
        prompt_tokens: tokens of the prompts, as the server counted them.
        completion_tokens: tokens generated.
        total_tokens: both together.
        cost: at the prices that were given; None where there is none for a model that was called.
        time_to_first_token: seconds from a stream's request to its first text, on average; None without streams.
        tokens_per_second: tokens generated in a second of a call, from its request to its end; None without any.
    """

    calls: int = 0
    errors: int = 0
    uncounted: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cost: float | None = None
    _seconds: float = field(default=0.0, repr=False)  # of the calls that were counted
    _first_texts: int = field(default=0, repr=False)
    _seconds_to_first_texts: float = field(default=0.0, repr=False)

    @property
    def time_to_first_token(self) -> float | None:
        """Seconds from a stream's request to its first text, on average; None without streams."""
        return self._seconds_to_first_texts / self._first_texts if self._first_texts else None

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens generated in a second of a call, from its request to its end; None without any."""
        return self.completion_tokens / self._seconds if self._seconds else None

    def as_row(self) -> dict[str, float | None]:
        """All numbers in one flat dict: a row of a table."""
        return {name: getattr(self, name) for name in _COLUMNS}

    def _count(self, usage: Usage, seconds: float) -> None:
        self.uncounted -= 1
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.total_tokens += usage.total_tokens
        self._seconds += seconds


@dataclass
class ParadigmUsage(Counts):
    """Counts, over all models, of the calls that begin inside its `with` or `async with` block.

    Blocks nest: a call counts in each block that it began in, and goes on to count after the block's end. Tasks and
    the threads of LangChain's batches are inside the block that they were started in; so is another thread that
    runs in a copy of the context (`contextvars.copy_context().run`).

    Attributes:
        by_model: the same counts for each model that was asked.
        price: per million tokens; for all models, or by model.
    """

    by_model: dict[str, Counts] = field(default_factory=dict)
    price: Price | Mapping[str, Price] | None = field(default=None, repr=False)
    _lock: RLock = field(default_factory=RLock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._set_cost()

    def as_dict(self) -> dict[str, Any]:
        """All numbers, and under `by_model` those of each model."""
        with self._lock:
            return {**self.as_row(), "by_model": {name: counts.as_row() for name, counts in self.by_model.items()}}

    def __str__(self) -> str:
        with self._lock:
            rows = [_cells(model, counts) for model, counts in self.by_model.items()]
            if len(rows) != 1:
                rows.append(_cells("all", self))
        table = [_TITLES, *rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(_line(row, widths) for row in table)

    def __enter__(self) -> Self:
        _blocks.set((*_without(self), self))
        return self

    def __exit__(self, *exc_info: object) -> None:
        # Not by a token: the end of an async block may run in another context than its beginning.
        _blocks.set(_without(self))

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__()

    def _begin(self, model: str) -> None:
        with self._lock:
            for counts in self._of(model):
                counts.calls += 1
                counts.uncounted += 1
            self._set_cost()

    def _first_text(self, model: str, seconds: float) -> None:
        with self._lock:
            for counts in self._of(model):
                counts._first_texts += 1
                counts._seconds_to_first_texts += seconds

    def _end(self, model: str, usage: Usage, seconds: float) -> None:
        with self._lock:
            for counts in self._of(model):
                counts._count(usage, seconds)
            self._set_cost()

    def _fail(self, model: str) -> None:
        with self._lock:
            for counts in self._of(model):
                counts.uncounted -= 1
                counts.errors += 1

    def _of(self, model: str) -> tuple[Counts, Counts]:
        return self, self.by_model.setdefault(model, Counts())

    def _set_cost(self) -> None:
        for model, counts in self.by_model.items():
            counts.cost = _cost(counts, self.price.get(model) if isinstance(self.price, Mapping) else self.price)
        costs = [counts.cost for counts in self.by_model.values()]
        known = [cost for cost in costs if cost is not None]
        self.cost = sum(known) if self.price is not None and len(known) == len(costs) else None


class Meter:
    """Measures one call, for all blocks that it begins in.

    Args:
        model: the model that is asked.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._blocks = _blocks.get()
        self._began = perf_counter()
        self._has_text = False
        self._is_over = False
        for block in self._blocks:
            block._begin(model)

    def text(self) -> None:
        """Some text has come."""
        if not self._has_text:
            self._has_text = True
            for block in self._blocks:
                block._first_text(self._model, perf_counter() - self._began)

    def end(self, usage: Usage | None) -> float:
        """The answer is whole; return the seconds that it took."""
        seconds = perf_counter() - self._began
        self._is_over = True
        if usage is not None:
            for block in self._blocks:
                block._end(self._model, usage, seconds)
        return seconds

    def fail(self) -> None:
        """There is no answer, or none to its end; an error once it is whole is none of the call's."""
        if not self._is_over:
            for block in self._blocks:
                block._fail(self._model)


def get_paradigm_usage(price: Price | Mapping[str, Price] | None = None) -> ParadigmUsage:
    """Count what the calls of a block come to, as the server counts.

    ```python
    from paradigm_transport import ParadigmClient, get_paradigm_usage

    with get_paradigm_usage() as usage, ParadigmClient() as client:
        client.complete("The capital of France is", model="alfred-4.2", max_tokens=5)
    print(usage)
    ```

    Args:
        price: per million tokens, in whichever currency: a number, a pair of numbers for prompt and completion, or
            either of them by model.

    Returns:
        A context manager, sync and async, that holds the counts.
    """
    return ParadigmUsage(price=price)


_blocks: ContextVar[tuple[ParadigmUsage, ...]] = ContextVar("paradigm_usage", default=())
"""The blocks that this code runs in, outermost first."""

_COLUMNS = (
    "calls", "errors", "uncounted", "prompt_tokens", "completion_tokens", "total_tokens",
    "time_to_first_token", "tokens_per_second", "cost",
)  # fmt: skip

_TITLES = ["model", "calls", "errors", "uncounted", "prompt", "completion", "total", "first token", "tokens/s", "cost"]


def _without(block: ParadigmUsage) -> tuple[ParadigmUsage, ...]:
    return tuple(each for each in _blocks.get() if each is not block)


def _cost(counts: Counts, price: Price | None) -> float | None:
    if price is None:
        return None
    of_prompt, of_completion = price if isinstance(price, tuple) else (price, price)
    return (counts.prompt_tokens * of_prompt + counts.completion_tokens * of_completion) / 1_000_000


def _cells(model: str, counts: Counts) -> list[str]:
    return [
        model,
        *map(str, (counts.calls, counts.errors, counts.uncounted)),
        *map(str, (counts.prompt_tokens, counts.completion_tokens, counts.total_tokens)),
        _shown(counts.time_to_first_token, "{:.2f} s"),
        _shown(counts.tokens_per_second, "{:.1f}"),
        _shown(counts.cost, "{:.4f}"),
    ]


def _line(row: list[str], widths: list[int]) -> str:
    model, *numbers = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join([model.strip().ljust(widths[0]), *numbers])


def _shown(number: float | None, form: str) -> str:
    return "-" if number is None else form.format(number)
