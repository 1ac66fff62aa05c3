"""Again, and after how long? One pure decision; no clock, no sleep."""

from __future__ import annotations

from dataclasses import dataclass

from paradigm_transport.errors import APIConnectionError, APIStatusError, ParadigmError

_RETRIED_STATUSES = frozenset({408, 409, 429})


@dataclass(frozen=True)
class RetryPolicy:
    """When a failed request is sent again.

    Time-outs, broken connections and the statuses 408, 409, 429 and 500 upwards are; no other refusal is.
    Nothing is retried once text of a stream has been handed out.

    Args:
        max_retries: how often, after the first attempt; 0 for never.
        initial_delay: seconds before the first retry; doubled for each further one.
        max_delay: the most seconds of such a back-off.
        max_retry_after: the most seconds of a Retry-After that is waited for. A server that asks for more
            gets no retry, and the caller the error at once.
    """

    max_retries: int = 2
    initial_delay: float = 0.5
    max_delay: float = 8.0
    max_retry_after: float = 60.0

    def delay(self, retries: int, error: ParadigmError, chance: float) -> float | None:
        """Seconds to wait before sending again; None to give up.

        Args:
            retries: how many retries there have been.
            error: what went wrong.
            chance: a random number from 0 to 1, which spreads the clients over the upper half of the back-off.
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
        return error.status_code in _RETRIED_STATUSES or error.status_code >= 500
    return isinstance(error, APIConnectionError)
