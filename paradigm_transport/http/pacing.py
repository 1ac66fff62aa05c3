"""The pace of a client: how fast its calls are sent to a server that limits them. Decisions only: no sleep, no I/O.

While no request is refused, the pace costs a call one comparison (`Pace.limits`). From the first refusal on (429, or
503, which is how vLLM says that its queue is full), calls take turns in the order in which they came:

- The rate falls a little below what the server accepted, grows back, stays there for a while, and then grows faster and
  faster until the next refusal: the curve of TCP CUBIC and of botocore's adaptive mode.
- If the server accepts nothing, all calls wait; then one goes first, and the others follow once it is accepted.
- If lower rates do not change the share of refusals, they have another cause, and that share no longer lowers the rate.
- What the server announces (`Retry-After`, `x-ratelimit-remaining-*`) holds for all calls.

A new client begins with a few hundred requests a second: a batch that sends hundreds at once would have them refused
before the first refusal arrives.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable
from math import inf
from typing import NamedTuple
from weakref import WeakSet

from paradigm_transport.http.refusal_share import RefusalShare

logger = logging.getLogger("paradigm_transport")

FIRST_BURST = 10.0
"""How many requests a new client sends at once."""

FIRST_RATE = 200.0
"""Requests a second of a new client..."""

FIRST_GROWTH = 3.0
"""... and how many more for each response."""

UNLIMITED = 900.0
"""The pace ends at this rate, in requests a second."""

LEAST_RATE = 0.1
"""The lowest rate, in requests a second."""

LEAST_GUESS = 10.0
"""The lowest first guess of what a server accepts, in requests a second."""

BETA = 0.9
"""A refusal lowers the rate to this part of what the server accepts."""

SEARCH_SECONDS = 0.5
"""How long the rate takes to return to the first guess."""

RECOVERY_SECONDS = 3.0
"""How long it takes to return to what the server accepts, or the time of `RECOVERY_REQUESTS` if that is longer."""

RECOVERY_REQUESTS = 25

MAX_SAVED = 30.0
"""The most requests that are sent at once after the first wait."""

BURST_SECONDS = 0.1
"""Requests that are late may be sent at once: as many as the rate allows in this time."""

WINDOW_SECONDS = 2.0
"""What the server accepts is measured since the last refusal, or for two to four seconds if that was long ago."""

PRIOR_REQUESTS = 5
PRIOR_SECONDS = 0.3
"""The estimate so far counts as much as a measurement of this length."""

SEARCH_TRUST = 0.7
"""While the rate is searched for, at least this part of it is what the server accepts."""

MAX_CLOSED_SECONDS = 2.0
"""The longest wait between two requests to a server that accepts nothing and does not say how long to wait."""

PROOF_SECONDS = 1.0
"""A request that is not refused for as long was accepted: its response may take minutes."""

MAX_HOLD_SECONDS = 60.0
"""The longest time that all calls wait because the server announced it."""

LONG_HINT_SECONDS = 5.0
"""A shorter Retry-After concerns one call if others are accepted: servers round fractions of a second up."""

MAX_SLEEP = 2.0
"""A call that waits looks again after as many seconds: those before it may have given up."""

MIN_SLEEP = 0.001


class Turn:
    """A call's place in the pace: in the queue, then for the attempt that was sent.

    Args:
        pace: the pace of the client.

    Attributes:
        answers: the pace's `answers` when the call began, or when its last attempt failed.
        sent: the number of requests that the client had sent, this one included; 0 if they were not counted.
        sent_at: when it was sent, by the clock of the pace.
        waited: the seconds that the call has waited, for its turns and before retries.
        refusals: how often the server refused it.
    """

    __slots__ = ("_ticket", "_woke_at", "answers", "is_waiting", "pace", "refusals", "sent", "sent_at", "waited")

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.answers = pace.answers
        self.sent = 0
        self.sent_at = 0.0
        self.waited = 0.0
        self.refusals = 0
        self.is_waiting = False
        self._ticket = -1
        self._woke_at = -inf

    def ask(self) -> float:
        """Return the seconds to sleep before asking again; 0 if the call may be sent now."""
        return self.pace._ask(self)

    def sleeps(self, seconds: float) -> None:
        """Record a sleep that begins; it counts even if the clock does not move that far."""
        self._woke_at = max(self._woke_at, self.pace.now) + seconds
        self.waited += seconds

    def leave(self) -> None:
        """Give up the place; the calls behind move up."""
        self.pace._leave(self)

    def accepted(self) -> None:
        """Record that the server accepted the request."""
        self.pace._accepted(self)

    def refused(self, delay: float, asked: float | None = None) -> float:
        """Record that the server refused the request.

        Args:
            delay: the seconds to wait before the next attempt.
            asked: the seconds that the server asked to wait, if it did.

        Returns:
            The seconds that this call waits; 0 if others wait for their turns. It takes its turn after them: the pace
            holds for all, and the server cannot tell which of the calls it receives next.
        """
        self.refusals += 1
        self.pace._refused(self, delay, asked)
        if not self.pace.waiting or delay > LONG_HINT_SECONDS:
            return delay
        self._ticket = -1
        return 0.0

    def was_alone(self) -> bool:
        """Whether no call of the client has been accepted since this one began, or last asked this; to the back then.

        A call that others overtake keeps its place before those that came later. If no call is accepted, each goes
        first once.
        """
        is_alone = self.pace.answers == self.answers
        self.answers = self.pace.answers
        if is_alone:
            self._ticket = -1
        return is_alone


class _Mark(NamedTuple):
    """A moment, and the number of requests sent until then."""

    time: float
    sent: int


class Pace:
    """The pace of a client's calls, shared by its threads and event loops; a forked process begins anew.

    Args:
        host: the host that is called, for the log.
        clock: returns seconds that only grow.

    Attributes:
        limits: whether calls have to ask for their turn.
        answers: the number of requests that the server accepted.
        refusals: the number of those that it refused.
    """

    def __init__(self, host: str = "the server", clock: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._clock = clock
        self._begin()
        _paces.add(self)

    def _begin(self) -> None:
        self._lock = threading.RLock()  # a coroutine that is garbage collected leaves, whatever its thread does
        self.limits = True
        self.answers = 0
        self.refusals = 0
        self._waiting: list[int] = []
        """The tickets of the calls that wait, in order."""
        self._tickets = 0
        self._now = self._clock()
        self._sent = 0
        self._tokens = FIRST_BURST
        self._peak = 0.0
        """What the server accepts, in requests a second; 0 if it has refused none."""
        self._recovery = SEARCH_SECONDS
        self._fell_at = 0.0
        self._fell_after = -1
        self._mark = self._next_mark = _Mark(self._now, 0)
        self._hold_until = -inf
        self._allowance = inf
        self._allowance_ends = -inf
        self._is_closed = False
        self._closures = 0
        self._proof_at = -inf
        self._share = RefusalShare()
        self._logged = 0.0

    @property
    def rate(self) -> float | None:
        """How many requests a second may be sent at present; None for any number."""
        with self._lock:
            rate = self._rate_at(self._advance())
            return None if rate >= UNLIMITED else rate

    @property
    def waiting(self) -> int:
        """The number of calls that wait for their turn."""
        return len(self._waiting)

    @property
    def now(self) -> float:
        """The time of the clock."""
        return max(self._now, self._clock())

    def __repr__(self) -> str:
        rate = self.rate
        allowed = "not limited" if rate is None else f"{rate:.3g} requests a second"
        return f"<Pace: {allowed}; {self.answers} accepted, {self.refusals} refused, {self.waiting} waiting>"

    # Taking turns

    def _ask(self, turn: Turn) -> float:
        with self._lock:
            now = self._advance(turn._woke_at)
            if not turn.is_waiting:
                self._enter(turn)
            self._hand_out(now)
            place = self._place(turn)
            if place is not None:
                seconds = self._seconds_until(place, now)
                self._log()
                return seconds
            turn.is_waiting = False
            self._sent += 1
            turn.sent, turn.sent_at = self._sent, now
            return 0.0

    def _enter(self, turn: Turn) -> None:
        if turn._ticket < 0:
            turn._ticket = self._tickets
            self._tickets += 1
        insort(self._waiting, turn._ticket)
        turn.is_waiting = True

    def _place(self, turn: Turn) -> int | None:
        """Return how many calls are before one; None if it was handed its turn."""
        place = bisect_left(self._waiting, turn._ticket)
        is_there = place < len(self._waiting) and self._waiting[place] == turn._ticket
        return place if is_there else None

    def _hand_out(self, now: float) -> None:
        # In order, and also to calls that still sleep: one on an event loop that is stuck holds up no other.
        while self._waiting and self._tokens >= 1 and self._allowance >= 1 and now >= self._earliest():
            self._waiting.pop(0)
            self._tokens -= 1
            self._allowance -= 1
            if self._is_closed:
                self._proof_at = now + PROOF_SECONDS

    def _earliest(self) -> float:
        return max(self._hold_until, self._proof_at, self._allowance_ends if self._allowance < 1 else -inf)

    def _seconds_until(self, place: int, now: float) -> float:
        """Return how long a call has to wait at least; without refusals, the rate grows meanwhile."""
        start = max(now, self._earliest())
        needed = max(0.0, place + 1 - self._tokens)
        later = start + needed / self._rate_at(start)
        fastest = min(UNLIMITED, self._rate_at(later)) if self._peak else UNLIMITED
        return max(MIN_SLEEP, start - now + min(MAX_SLEEP, needed / fastest))

    def _leave(self, turn: Turn) -> None:
        with self._lock:
            if not turn.is_waiting:
                return
            turn.is_waiting = False
            place = self._place(turn)
            if place is not None:
                del self._waiting[place]
            else:  # its turn goes to the next
                self._tokens += 1
                self._allowance += 1
                self._proof_at = -inf

    # Rate

    def _rate_at(self, moment: float) -> float:
        if not self._peak:
            return FIRST_RATE + FIRST_GROWTH * self.answers
        recovered = max(0.0, moment - self._fell_at) / self._recovery - 1
        return max(LEAST_RATE, self._peak * (1 + (1 - BETA) * recovered**3))

    def _advance(self, woke_at: float = -inf) -> float:
        """Let the time pass that has passed; return the present."""
        now = max(self.now, woke_at)
        begin = max(self._now, self._hold_until)
        rate = self._rate_at(now)
        if rate >= UNLIMITED:
            self._end()
        elif now > begin:
            most = max(1.0, rate * BURST_SECONDS) if self._peak else FIRST_BURST
            self._tokens = max(self._tokens, min(most, self._tokens + rate * (now - begin)))
        if now >= self._allowance_ends:
            self._allowance = inf
        self.limits = rate < UNLIMITED or self._allowance < inf
        if self._is_closed and -inf < self._proof_at <= now:
            self._reopen()
        if now - self._next_mark.time > WINDOW_SECONDS:
            self._mark, self._next_mark = self._next_mark, _Mark(now, self._sent)
        self._now = now
        return now

    def _end(self) -> None:
        if self._logged:
            logger.info("%s no longer limits requests", self._host)
        self._tokens = inf
        self._peak = self._logged = 0.0
        self._fell_after = -1
        self._share.clear()
        self._reopen()

    def _reopen(self) -> None:
        self._tokens = max(self._tokens, 1.0)
        self._is_closed = False
        self._closures = 0
        self._proof_at = -inf

    def _accepted(self, turn: Turn) -> None:
        self.answers += 1
        turn.answers += 1  # it is no news of others
        if self.limits:
            with self._lock:
                self._advance()
                if self._is_closed and turn.sent > self._fell_after:
                    self._reopen()
            return
        self._sent += 1  # without a limit, nothing else counts them
        if not self.answers % 64:
            with self._lock:
                self._advance()

    def _refused(self, turn: Turn, delay: float, asked: float | None) -> None:
        with self._lock:
            now = self._advance()
            self.refusals += 1
            self._share.count(self.answers)
            if turn.sent <= self._fell_after:  # it was on its way already when the pace fell
                return
            sent, sent_at = (turn.sent - 1, turn.sent_at) if turn.sent else (self._sent, now)
            accepted, seconds = sent - self._mark.sent, max(0.0, sent_at - self._mark.time)
            if accepted <= 0 and self._share.is_overload:
                self._close(now, delay, asked)
            elif self._share.is_tolerated:
                return
            else:
                is_for_all = not self._peak or (asked or 0.0) > LONG_HINT_SECONDS
                self._fall(accepted, seconds, self._rate_at(sent_at), sent_at < self._fell_at + self._recovery)
                if is_for_all:
                    self._hold(now + delay)
                    self._tokens = max(1.0, min(accepted, self._peak * delay, MAX_SAVED))  # what it saves meanwhile
            self.limits = True
            self._fell_at, self._fell_after = max(now, self._hold_until), self._sent
            if not self._is_closed:  # nor does what was saved say anything of the rate
                self._fell_after += max(0, int(self._tokens))
            self._mark = self._next_mark = _Mark(self._fell_at, self._sent)

    def _hold(self, until: float) -> None:
        self._hold_until = max(self._hold_until, min(until, self._now + MAX_HOLD_SECONDS))

    def _close(self, now: float, delay: float, asked: float | None) -> None:
        """Have all calls wait; then one goes first."""
        least = 0.25 * 2.0**self._closures if asked is None else 0.0
        self._hold(now + max(delay, min(MAX_CLOSED_SECONDS, least)))
        self._peak = self._peak or LEAST_GUESS
        self._tokens = 1.0
        self._is_closed = True
        self._share.begin_descent()
        self._closures = min(self._closures + 1, 8)
        self._proof_at = -inf

    def _fall(self, accepted: int, seconds: float, rate: float, is_early: bool) -> None:
        """Lower the rate to what the server accepts.

        Args:
            accepted: the number of requests that it has accepted since the last refusal, or within the window.
            seconds: the length of that time.
            rate: the rate at its end.
            is_early: whether the rate had not yet returned to where it was at the last fall.
        """
        if not self._peak:
            peak = max(LEAST_GUESS, accepted / max(1.0, seconds))
            self._recovery = SEARCH_SECONDS
        elif self._recovery == SEARCH_SECONDS and seconds < SEARCH_SECONDS / 2:
            peak = BETA * self._peak  # too little was sent since to end the search
        else:
            is_searching = self._recovery == SEARCH_SECONDS
            prior = max(0.1 if is_searching else PRIOR_SECONDS, PRIOR_REQUESTS / self._peak)
            peak = (accepted + prior * self._peak) / (seconds + prior)
            if is_searching and rate > self._peak:
                peak = max(peak, SEARCH_TRUST * rate)  # so far it accepted less only because less was sent
            peak = max(LEAST_RATE, min(peak, rate))
            if not is_searching:
                peak = self._share.rate_after_fall(peak, is_early)
            self._recovery = max(RECOVERY_SECONDS, RECOVERY_REQUESTS / peak)
        self._peak = peak
        self._tokens = min(self._tokens, 0.0)

    def announce(self, turn: Turn, remaining: int, seconds: float) -> None:
        """Take note of a limit that the server announces with a response.

        Args:
            turn: the call that it answered.
            remaining: how many more requests the server accepts.
            seconds: the time until it accepts more, in seconds.
        """
        with self._lock:
            now = self._advance()
            on_their_way = self._sent - turn.sent if turn.sent else 0
            self._allowance = max(0.0, remaining - on_their_way)
            self._allowance_ends = now + min(seconds, MAX_HOLD_SECONDS)
            self.limits = True

    def _log(self) -> None:
        rate = self._rate_at(self._fell_at) if self._peak else 0.0
        if rate and not 0.8 < self._logged / rate < 1.25:
            self._logged = rate
            logger.info("%s limits requests: sending %.3g a second, each in turn", self._host, rate)


_paces: WeakSet[Pace] = WeakSet()


def _begin_anew() -> None:
    for pace in list(_paces):  # another thread may have held a lock, and its calls are not in this process
        pace._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
