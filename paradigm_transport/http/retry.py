"""When a failed request is sent again: pure decisions, without a clock or a sleep."""

from __future__ import annotations

from dataclasses import dataclass

from paradigm_transport.errors import APIConnectionError, APIStatusError, APITimeoutError, ParadigmError

_RETRIED_STATUSES = frozenset({408, 409, 429})
_LIMITS = frozenset({429, 503})


@dataclass(frozen=True)
class RetryPolicy:
    """When a failed request is sent again, and after how long.

    Time-outs, broken connections and the statuses 408, 409, 429 and 500 or above are retried; other refusals are
    not, and nothing is once a stream has handed out text. A server's `x-should-retry` header decides otherwise; a 429
    that says that a budget is spent is not retried.

    Args:
        max_retries: the most retries after the first attempt; 0 for none.
        initial_delay: seconds before the first retry; doubled for each further one.
        max_delay: the most seconds of this back-off.
        max_retry_after: the most seconds of a Retry-After header to wait. If a server asks for more, there is no
            retry, and the caller gets the error at once.
    """

    max_retries: int = 2
    initial_delay: float = 0.5
    max_delay: float = 8.0
    max_retry_after: float = 60.0

    def delay(self, retries: int, error: ParadigmError, chance: float) -> float | None:
        """Decide whether to retry.

        Args:
            retries: the number of retries so far.
            error: why the last attempt failed.
            chance: a random number from 0 to 1, which spreads the clients over the upper half of the back-off.

        Returns:
            Seconds to wait before the next attempt; None to give up.
        """
        if retries >= self.max_retries or not _is_transient(error):
            return None
        asked = error.retry_after if isinstance(error, APIStatusError) else None
        if asked is not None:
            return asked if asked <= self.max_retry_after else None
        # The exponent is bounded because 2.0 ** 1024 overflows.
        backoff = min(self.max_delay, self.initial_delay * 2.0 ** min(retries, 64))
        return backoff * (0.5 + 0.5 * chance)


def _is_transient(error: ParadigmError) -> bool:
    if isinstance(error, APIStatusError):
        if error.should_retry is not None:
            return error.should_retry
        return error.status_code in _RETRIED_STATUSES or error.status_code >= 500
    return isinstance(error, APIConnectionError)


def is_limit(error: ParadigmError) -> bool:
    """Return whether an error says that the server gets more requests than it takes, and will take more later."""
    return isinstance(error, APIStatusError) and error.status_code in _LIMITS and error.should_retry is not False


class RetryQuota:
    """How many retries a client has left for calls that fail while no call succeeds; each success returns a little.

    Args:
        capacity: the most that it holds: of retries that cost 5, or 10 after a time-out.
    """

    # There is no lock: a lost update changes little.

    def __init__(self, capacity: int = 500) -> None:
        self._capacity = capacity
        self.left = capacity

    def take(self, error: ParadigmError) -> bool:
        """Take what a retry costs; return whether that was left.

        Args:
            error: why the last attempt failed.
        """
        cost = 10 if isinstance(error, APITimeoutError) else 5
        if self.left < cost:
            return False
        self.left -= cost
        return True

    def give(self) -> None:
        """Record a success."""
        if self.left < self._capacity:
            self.left += 1
