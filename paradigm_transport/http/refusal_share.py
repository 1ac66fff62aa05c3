"""The share of a server's responses that are refusals, and whether a lower rate changes it."""

from __future__ import annotations

SHARE_RESPONSES = 20
"""The share is that of about as many responses."""

OVERLOAD_SHARE = 0.5
"""A server that refuses this share of the requests accepts next to nothing at the present rate."""

VAIN_FALLS = 8
"""If the share is the same after this many falls of the rate, each soon after the last, the rate is not its cause."""


class RefusalShare:
    """The share of refusals among the last responses.

    Attributes:
        value: the share at the last refusal, from 0 to 1.
    """

    def __init__(self) -> None:
        self.value = 0.0
        self._responses = 0
        self._answers = 0
        self._tolerated = 0.0
        self.begin_descent()

    def begin_descent(self) -> None:
        """Forget the falls so far."""
        self._first_rate = self._first_share = 0.0
        self._falls = 0

    def clear(self) -> None:
        """Take note that the server refuses none."""
        self._responses, self.value = SHARE_RESPONSES, 0.0

    def count(self, answers: int) -> None:
        """Count a refusal.

        Args:
            answers: the number of requests that the server has accepted so far.
        """
        accepted, self._answers = answers - self._answers, answers
        first = min(accepted, SHARE_RESPONSES - self._responses)
        if first:
            self.value *= self._responses / (self._responses + first)
        self.value *= (1 - 1 / SHARE_RESPONSES) ** (accepted - first)
        self._responses = min(SHARE_RESPONSES, self._responses + first + 1)
        self.value += (1 - self.value) / self._responses

    @property
    def is_overload(self) -> bool:
        """Whether the server refuses most requests."""
        return self.value >= OVERLOAD_SHARE

    @property
    def is_tolerated(self) -> bool:
        """Whether there are no more refusals than those that do not depend on the rate."""
        return self.value < self._tolerated

    def rate_after_fall(self, rate: float, is_early: bool) -> float:
        """Return the rate after a fall: twice that before all falls if they were in vain.

        Args:
            rate: what the server accepts, in requests a second.
            is_early: whether the rate fell before it had returned to where it was at the last fall. With a limit that
                is soon no longer so; refusals with another cause come at any time.
        """
        if not is_early:
            self._falls = max(0, self._falls - 1)
            self._tolerated /= 2
        elif not self.is_overload:
            self._falls += 1
        if self._falls <= 1:
            self._first_rate, self._first_share = rate, self.value
        if self._falls < VAIN_FALLS or self.is_overload:
            return rate
        if rate > 0.8 * self._first_rate or self.value < 0.8 * self._first_share:
            return rate
        self._tolerated = 1.5 * self.value + 0.05
        self._falls, self._first_rate = 0, 2 * self._first_rate
        return self._first_rate
