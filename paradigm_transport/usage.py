"""Usage: the tokens that the server counted, and counters of the calls, tokens and seconds of a block of code."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import RLock
from time import perf_counter
from typing import Any

from typing_extensions import Self

from paradigm_transport.errors import InvalidParameterError

MAX_COUNT = 2**53
"""Nobody counts further; greater numbers may be too large for the floats of prices and rates."""


@dataclass(slots=True)
class Usage:
    """The tokens that the server counted; never an estimate.

    Attributes:
        prompt_tokens: tokens of the prompt.
        completion_tokens: tokens generated, over all choices.
        total_tokens: both together.
        cached_tokens: tokens of the prompt that the server had in a cache; None if it does not say.
        reasoning_tokens: generated tokens of the model's reasoning; None if it does not say.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    def as_dict(self) -> dict[str, int]:
        """Return the three counts under the endpoint's names."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }


def read_usage(wire: object) -> Usage | None:
    """Read the usage of generated text; None if it is missing, null or of another shape.

    No prompt has 0 tokens: gateways fill in zeros for counts that they do not have.
    """
    if not isinstance(wire, dict):
        return None
    prompt, completion = read_count(wire.get("prompt_tokens")), read_count(wire.get("completion_tokens"))
    if not prompt or completion is None:
        return None
    total = read_count(wire.get("total_tokens")) or prompt + completion
    cached = _read_detail(wire, "prompt_tokens_details", "cached_tokens")
    reasoning = _read_detail(wire, "completion_tokens_details", "reasoning_tokens")
    return Usage(prompt, completion, total, cached, reasoning)


def _read_detail(wire: Mapping[str, object], details: str, name: str) -> int | None:
    found = wire.get(details)
    return read_count(found.get(name)) if isinstance(found, dict) else None


def read_count(value: object) -> int | None:
    """Read a number of things, 0 to `MAX_COUNT`, which some servers write as `3.0`; None if it is not one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT else None


Price = float | tuple[float, float]
"""A price per million tokens: one for all, or one for the prompt's and one for the completion's."""


@dataclass
class Counts:
    """Totals over a set of calls.

    Attributes:
        calls: calls that began. A retried call counts once; an answer from a cache does not count.
        errors: calls that ended in an error.
        uncounted: calls without a usage report: the server sent none, the stream was left before its end, or the call
            is still running.
        prompt_tokens: tokens of the prompts, as the server counted them.
        completion_tokens: tokens generated.
        total_tokens: both together.
        cost: at the given prices; None if the price of a model that was called is not known.
        time_to_first_token: seconds from a stream's request to its first text, on average; None without streams.
        tokens_per_second: tokens generated per second of a call, from its request to its end; None if none were.
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
        """Tokens generated per second of a call, from its request to its end; None if none were."""
        return self.completion_tokens / self._seconds if self._seconds else None

    def as_row(self) -> dict[str, float | None]:
        """Return all numbers in one flat dict: a row of a table."""
        return {name: getattr(self, name) for name in _COLUMNS}

    def _cells(self) -> list[str]:
        row = self.as_row().items()
        return ["-" if number is None else _FORMATS.get(name, "{}").format(number) for name, number in row]


@dataclass
class ParadigmUsage(Counts):
    """Totals, over all models, of the calls that begin inside its `with` or `async with` block.

    Blocks nest: a call counts in each block that it began in, also if it ends after the block does. Tasks and the
    threads of a batch are inside the block that they were started in, and so is any other thread that runs in a copy
    of the context (`contextvars.copy_context().run`).

    Attributes:
        by_model: the same counts for each model that was asked.
        price: per million tokens; for all models, or by model.
    """

    by_model: dict[str, Counts] = field(default_factory=dict)
    price: Price | Mapping[str, Price] | None = field(default=None, repr=False)
    _lock: RLock = field(default_factory=RLock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for price in self.price.values() if isinstance(self.price, Mapping) else [self.price]:
            if price is not None:
                _pair(price)  # raises now, and not in a call
        self._set_cost()

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers, and those of each model under `by_model`."""
        with self._lock:
            return {**self.as_row(), "by_model": {name: counts.as_row() for name, counts in self.by_model.items()}}

    def __str__(self) -> str:
        with self._lock:
            rows = list(self.by_model.items())
            if len(rows) != 1:
                rows.append(("all", self))
            table = [_TITLES, *([model, *counts._cells()] for model, counts in rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ([model.ljust(widths[0]), *map(str.rjust, cells, widths[1:])] for model, *cells in table)
        return "\n".join(map("  ".join, lines))

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

    def _add(self, model: str, amounts: Mapping[str, float]) -> None:
        with self._lock:
            for counts in (self, self.by_model.setdefault(model, Counts())):
                for name, amount in amounts.items():
                    setattr(counts, name, getattr(counts, name) + amount)
            self._set_cost()

    def _set_cost(self) -> None:
        for model, counts in self.by_model.items():
            price = self.price.get(model) if isinstance(self.price, Mapping) else self.price
            counts.cost = None
            if price is not None:
                of_prompt, of_completion = _pair(price)
                counts.cost = (counts.prompt_tokens * of_prompt + counts.completion_tokens * of_completion) / 1_000_000
        known = [counts.cost for counts in self.by_model.values() if counts.cost is not None]
        self.cost = sum(known) if self.price is not None and len(known) == len(self.by_model) else None


def _pair(price: Price) -> tuple[float, float]:
    """Return the prices of the prompt's and of the completion's tokens."""
    try:
        of_prompt, of_completion = price if isinstance(price, (tuple, list)) else (price, price)
        return float(of_prompt), float(of_completion)
    except (TypeError, ValueError):
        raise InvalidParameterError("price must be a number, a pair of numbers, or either of them by model") from None


class Meter:
    """Measures one call, for all blocks that it begins in.

    Args:
        model: the model that is called; None for a call of no model, which is not counted.
    """

    def __init__(self, model: str | None) -> None:
        self._model = model or ""
        self._blocks = () if model is None else _blocks.get()
        self._began = perf_counter()
        self._has_text = False
        self._is_over = False
        self._add(calls=1, uncounted=1)

    def text(self) -> None:
        """Record that text has arrived."""
        if not self._has_text:
            self._has_text = True
            self._add(_first_texts=1, _seconds_to_first_texts=perf_counter() - self._began)

    def end(self, usage: Usage | None) -> float:
        """Record the end of the response; return the seconds that it took."""
        seconds = perf_counter() - self._began
        self._is_over = True
        if usage is not None:
            # What generates nothing, as an embedding, has no rate of tokens, and must not slow that of the others.
            generating = seconds if usage.completion_tokens else 0.0
            self._add(uncounted=-1, _seconds=generating, **usage.as_dict())
        return seconds

    def fail(self) -> None:
        """Record that the call failed or its stream broke off; an error after its end does not count."""
        if not self._is_over:
            self._add(uncounted=-1, errors=1)

    def _add(self, **amounts: float) -> None:
        for block in self._blocks:
            block._add(self._model, amounts)


def get_paradigm_usage(price: Price | Mapping[str, Price] | None = None) -> ParadigmUsage:
    """Count the calls of a block, their tokens as the server counts them, their seconds and their cost.

    ```python
    from paradigm_transport import ParadigmClient, get_paradigm_usage

    with get_paradigm_usage() as usage, ParadigmClient() as client:
        client.complete("The capital of France is", model="alfred-4.2", max_tokens=5)
    print(usage)
    ```

    Args:
        price: per million tokens, in any currency: a number, a pair of numbers for prompt and completion, or either
            of them by model.

    Returns:
        A context manager, sync and async, that holds the counts.

    Raises:
        InvalidParameterError: the price has another form.
    """
    return ParadigmUsage(price=price)


_blocks: ContextVar[tuple[ParadigmUsage, ...]] = ContextVar("paradigm_usage", default=())
"""The blocks that this code runs in, outermost first."""

_COLUMNS = (
    "calls", "errors", "uncounted", "prompt_tokens", "completion_tokens", "total_tokens",
    "time_to_first_token", "tokens_per_second", "cost",
)  # fmt: skip

_FORMATS = {"time_to_first_token": "{:.2f} s", "tokens_per_second": "{:.1f}", "cost": "{:.4f}"}

_TITLES = ["model", "calls", "errors", "uncounted", "prompt", "completion", "total", "first token", "tokens/s", "cost"]


def _without(block: ParadigmUsage) -> tuple[ParadigmUsage, ...]:
    return tuple(each for each in _blocks.get() if each is not block)
