"""The pace of a client: decisions on a clock that is passed in, and how calls follow them."""

from __future__ import annotations

import asyncio
import heapq
import logging
import os
import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any

import pytest

from paradigm_transport import (
    APITimeoutError,
    AsyncParadigmClient,
    CompletionParameters,
    Pace,
    ParadigmClient,
    RateLimitError,
    ServerError,
    Timeout,
)
from paradigm_transport.access import Access
from paradigm_transport.calls import MOST_REFUSALS
from paradigm_transport.http.announcements import announced_limits, read_reset
from paradigm_transport.http.pacing import (
    FIRST_GROWTH,
    FIRST_RATE,
    MAX_HOLD_SECONDS,
    PROOF_SECONDS,
    UNLIMITED,
    Turn,
)
from paradigm_transport.http.retry import RetryQuota
from paradigm_transport.http.settings import Settings
from tests.transport.conftest import KEY, MODEL, Api
from tests.wire import CUT, WireServer, chunk, completion, reply, sse, texts

BUSY = {"detail": "busy"}


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


class Bucket:
    """A server that accepts so many requests a second, and saves up what one second allows."""

    def __init__(self, rate: float, burst: float | None = None) -> None:
        self.rate = rate
        self.burst = self.tokens = rate if burst is None else burst
        self.at = 0.0

    def accepts(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass
class Simulation:
    """Calls through paces, to a server, on a clock that jumps from event to event.

    Attributes:
        accepts: whether the server accepts a request at a time.
        hint: the Retry-After of a refusal.
        latency: the seconds until a response.
        processes: the number of clients, each with its own pace.
        seed: of the random numbers.
        jitter: the most seconds that a step is late.
    """

    accepts: Callable[[float], bool]
    hint: float | None = None
    latency: float = 0.05
    processes: int = 1
    seed: int = 7
    jitter: float = 0.002
    clock: Clock = field(default_factory=Clock)
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    lost: int = 0
    looks: int = 0

    def __post_init__(self) -> None:
        self._events: list[Any] = []
        self._order = count()
        self._random = random.Random(self.seed)
        self.paces = [Pace(clock=self.clock) for _ in range(self.processes)]

    def run(self, calls: int, at_once: int = 256) -> None:
        left = [calls // self.processes] * self.processes
        for process in range(self.processes):
            for _ in range(min(at_once, left[process])):
                self._begin(process, left)
        while self._events:
            self.clock.time, _, step, *arguments = heapq.heappop(self._events)
            step(*arguments)

    def _after(self, seconds: float, *step: Any) -> None:
        late = self._random.uniform(0, self.jitter)
        heapq.heappush(self._events, (self.clock.time + seconds + late, next(self._order), *step))

    def _begin(self, process: int, left: list[int]) -> None:
        if left[process]:
            left[process] -= 1
            turn = Turn(self.paces[process])
            self._after(0, self._ask, turn, [0], lambda: self._begin(process, left))

    def _ask(self, turn: Turn, failures: list[int], next_call: Callable[[], None]) -> None:
        self.looks += 1
        seconds = turn.ask() if turn.pace.limits else 0.0
        if seconds:
            turn.sleeps(seconds)
            self._after(seconds, self._ask, turn, failures, next_call)
        elif self.accepts(self.clock.time):
            self.accepted.append(self.clock.time)
            self._after(self.latency, self._answer, turn, next_call)
        else:
            self.refused.append(self.clock.time)
            self._after(self.latency, self._refuse, turn, failures, next_call)

    def _answer(self, turn: Turn, next_call: Callable[[], None]) -> None:
        turn.accepted()
        next_call()

    def _refuse(self, turn: Turn, failures: list[int], next_call: Callable[[], None]) -> None:
        failures[0] += turn.was_alone()
        delay = 0.5 * self._random.uniform(0.5, 1) if self.hint is None else self.hint
        delay = turn.refused(delay, self.hint)
        if failures[0] > 2:
            self.lost += 1
            next_call()
        else:
            turn.sleeps(delay)
            self._after(delay, self._ask, turn, failures, next_call)


@pytest.mark.parametrize("hint", [1.0, None], ids=["with Retry-After", "without"])
@pytest.mark.parametrize(("calls", "rate"), [(300, 40), (3000, 40), (3000, 100), (3000, 200)])
def test_pace_uses_the_limit_and_is_rarely_refused(calls: int, rate: int, hint: float | None) -> None:
    simulation = Simulation(Bucket(rate).accepts, hint)
    simulation.run(calls)
    assert (simulation.lost, len(simulation.accepted)) == (0, calls)
    late = [moment for moment in simulation.accepted if moment > 2]
    assert len(late) / (rate * (simulation.accepted[-1] - 2)) > 0.95
    assert len(simulation.refused) <= 0.1 * calls
    assert simulation.looks < 15 * calls  # hundreds wait all the time


@pytest.mark.parametrize("seed", range(12))
def test_last_calls_of_a_batch_do_not_wait_for_the_hint_of_a_refusal(seed: int) -> None:
    simulation = Simulation(Bucket(40).accepts, 1.0, seed=seed, jitter=0.01)
    simulation.run(300)
    assert simulation.lost == 0
    assert simulation.accepted[-1] < (300 - 40) / 40 + 0.3


def test_refused_call_goes_after_those_that_wait_instead_of_sleeping() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    turns = [Turn(pace) for _ in range(14)]
    refused, *_, last = turns
    assert [turn.ask() > 0 for turn in turns] == [False] * 10 + [True] * 4
    assert refused.refused(1.0, 1.0) == 0.0
    for _ in range(40):
        clock.time += 0.1
        first = next((turn for turn in (refused, last) if not turn.ask()), None)
        if first:
            break
    assert first is last


@pytest.mark.parametrize("asked", [None, 1.0])
def test_refused_call_waits_its_delay_if_no_other_waits(asked: float | None) -> None:
    turn = Turn(Pace(clock=Clock()))
    turn.ask()
    assert turn.refused(1.0, asked) == 1.0


def test_refused_call_waits_as_long_as_a_long_hint_says() -> None:
    pace = Pace(clock=Clock())
    turns = [Turn(pace) for _ in range(20)]
    for turn in turns:
        turn.ask()
    assert pace.waiting
    assert turns[0].refused(30.0, 30.0) == 30.0


@pytest.mark.parametrize("burst", [5, 10, 80, 200])
def test_pace_suits_servers_that_save_up_less_or_more(burst: int) -> None:
    simulation = Simulation(Bucket(40, burst).accepts)
    simulation.run(1000)
    assert (simulation.lost, len(simulation.accepted)) == (0, 1000)
    assert simulation.accepted[-1] < 1.1 * (1000 - burst) / 40 + 2
    assert len(simulation.refused) < 200


def test_two_processes_share_a_limit_and_lose_nothing() -> None:
    simulation = Simulation(Bucket(40).accepts, processes=2)
    simulation.run(2000)
    assert (simulation.lost, len(simulation.accepted)) == (0, 2000)
    assert simulation.accepted[-1] < 1.1 * 2000 / 40
    assert len(simulation.refused) < 200


def test_pace_follows_a_limit_that_falls_and_rises() -> None:
    bucket = Bucket(40)

    def accepts(now: float) -> bool:
        bucket.rate = 10 if 20 < now < 60 else 80 if now > 60 else 40
        return bucket.accepts(now)

    simulation = Simulation(accepts)
    simulation.run(4000)
    between = [sum(begin < moment < begin + 10 for moment in simulation.accepted) for begin in (8, 30, 45, 75)]
    assert simulation.lost == 0
    assert [round(number / 10) for number in between[:3]] == [40, 10, 10]
    assert between[3] > 750


def test_window_of_a_minute_without_a_hint_loses_nothing() -> None:
    minutes: dict[int, int] = {}

    def accepts(now: float) -> bool:
        minute = int(now // 60)
        minutes[minute] = minutes.get(minute, 0) + 1
        return minutes[minute] <= 1000

    simulation = Simulation(accepts)
    simulation.run(2500)
    assert (simulation.lost, len(simulation.accepted)) == (0, 2500)
    assert simulation.accepted[-1] < 180


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.2, 0.3])
def test_refusals_with_another_cause_do_not_slow_the_pace_for_good(share: float) -> None:
    chance = random.Random(3)
    simulation = Simulation(lambda _: chance.random() > share)  # a server behind the address is down
    simulation.run(3000, at_once=64)
    assert simulation.lost == 0
    assert simulation.accepted[-1] < 300  # a rate that only fell would reach one request in ten seconds


@pytest.mark.parametrize("hint", [1.0, None], ids=["with Retry-After", "without"])
@pytest.mark.parametrize(("rate", "burst"), [(2, 2), (2, 10), (3, 3), (5, 5)])
def test_low_limit_is_not_taken_for_refusals_with_another_cause(rate: int, burst: int, hint: float | None) -> None:
    simulation = Simulation(Bucket(rate, burst).accepts, hint)
    simulation.run(300)
    assert simulation.lost == 0
    assert simulation.accepted[-1] < 1.1 * 300 / rate
    assert len(simulation.refused) < 0.2 * 300


def test_calls_take_turns_in_their_order() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    first, second, third = turns = [Turn(pace) for _ in range(3)]
    refuse(pace, clock)
    assert all(turn.ask() for turn in turns)
    clock.time += 1.0
    assert third.ask()
    assert first.ask() == 0.0
    assert third.ask()
    assert pace.waiting == 2
    second.leave()  # cancelled: its place is free at once
    clock.time += PROOF_SECONDS + 0.2
    assert third.ask() == 0.0
    assert pace.waiting == 0


def refuse(pace: Pace, clock: Clock, delay: float = 0.5, asked: float | None = None) -> Turn:
    """Have the first request of a client refused."""
    turn = Turn(pace)
    assert turn.ask() == 0.0
    clock.time += 0.01
    turn.refused(delay, asked)
    return turn


def test_turn_that_is_left_after_it_came_goes_to_the_next() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    refuse(pace, clock)
    first, second = Turn(pace), Turn(pace)
    assert first.ask()
    assert second.ask()
    clock.time += 1.0
    assert second.ask()  # which hands the first its turn, but it is still asleep
    first.leave()
    assert second.ask() == 0.0


def test_call_that_never_wakes_holds_up_no_other() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    refuse(pace, clock)
    stuck, other = Turn(pace), Turn(pace)
    assert stuck.ask()
    assert other.ask()
    for _ in range(30):
        clock.time += 0.1
        if not other.ask():
            break
    assert pace.waiting == 0


def test_server_that_accepts_nothing_gets_one_request_at_a_time() -> None:
    simulation = Simulation(lambda now: now > 30)
    simulation.run(300)
    early = [moment for moment in simulation.refused if moment > 1]
    assert len(early) < 25
    assert all(later - sooner > 0.25 for sooner, later in pairwise(early))
    assert simulation.lost < 5


def test_hint_of_the_server_holds_for_all_calls() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    refuse(pace, clock, delay=3.0, asked=3.0)
    other = Turn(pace)
    assert other.ask() == pytest.approx(3.0)
    clock.time += 2.9
    assert other.ask() == pytest.approx(0.1)
    clock.time += 0.1
    assert other.ask() == 0.0


def test_hint_is_bounded() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    refuse(pace, clock, delay=1e9, asked=1e9)
    assert Turn(pace).ask() == pytest.approx(MAX_HOLD_SECONDS)


def test_pace_ends_when_nobody_refuses() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    assert pace.limits
    while pace.limits:
        clock.time += 0.01
        turn = Turn(pace)
        assert turn.ask() == 0.0
        turn.accepted()
    assert FIRST_RATE + FIRST_GROWTH * pace.answers >= UNLIMITED
    assert pace.rate is None
    assert "not limited" in repr(pace)


def test_pace_ends_again_after_a_refusal(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "paradigm_transport")
    clock = Clock()
    pace = Pace("host", clock)
    refuse(pace, clock)
    clock.time += 0.6
    asked = [Turn(pace).ask() for _ in range(3)]
    assert asked[-1] > 0
    assert 0 < (pace.rate or 0) < 20
    assert "requests a second" in repr(pace)
    clock.time += 60
    assert pace.rate == FIRST_RATE  # that of a new client
    words = [record.getMessage() for record in caplog.records]
    assert words == [
        "host limits requests: sending 9 a second, each in turn",
        "host no longer limits requests",
    ]


def test_new_client_does_not_send_hundreds_before_the_first_response() -> None:
    simulation = Simulation(lambda _: False)
    for _ in range(100):
        simulation._begin(0, [1])
    sent = sum(1 for turn in [Turn(simulation.paces[0]) for _ in range(100)] if not turn.ask())
    assert sent == 10


def test_unlimited_server_is_not_kept_waiting_for_long() -> None:
    simulation = Simulation(lambda _: True)
    simulation.run(3000)
    assert simulation.accepted[299] < 0.8
    assert simulation.paces[0].limits is False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_process_begins_anew() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    refuse(pace, clock, delay=50.0, asked=50.0)
    pace._lock.acquire()  # as another thread may hold it
    child = os.fork()
    if not child:
        os._exit(0 if pace.refusals == 0 and Turn(pace).ask() == 0.0 else 1)
    pace._lock.release()
    assert os.waitpid(child, 0)[1] == 0
    assert Turn(pace).ask() > 40


def test_unpickled_client_begins_anew() -> None:
    client = ParadigmClient(api_key=KEY)
    client.pace.refusals = 3
    again = pickle.loads(pickle.dumps(client))
    assert again.pace.refusals == 0


def test_both_clients_of_a_model_share_a_pace() -> None:
    access = Access(Settings(api_key=KEY))
    assert access.client.pace is access.async_client.pace
    assert ParadigmClient(api_key=KEY).pace is not ParadigmClient(api_key=KEY).pace


# Calls


class Waits:
    """Sleeps that take no time but move a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.time += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


def test_call_to_a_server_that_refuses_everything_ends_after_its_retries(api: Api, wire: WireServer) -> None:
    for status in (429, 503):
        wire.always(reply(BUSY, status))
        client = api.client(wire)
        for number in (1, 2, 3):
            with pytest.raises((RateLimitError, ServerError)):
                client.complete("Hi", model=MODEL)
            assert client.pace.refusals == 3 * number
    assert sum(api.slept) < 30
    assert max(api.slept) <= 2.0


async def beside_others(wire: WireServer, refusals: int) -> Any:
    """Complete a prompt that is refused so often, while another one is accepted before each retry."""
    left = iter(range(refusals))

    def answer(request: Any) -> Any:
        is_refused = request.body["prompt"] == "unlucky" and next(left, None) is not None
        return reply(BUSY, 503) if is_refused else reply(completion("a"))

    async def pass_time(seconds: float) -> None:
        pass

    async def sleep(seconds: float) -> None:
        await other.complete("other", model=MODEL)

    wire.always(answer)
    options = {"api_key": KEY, "base_url": wire.url, "pace": Pace()}
    async with (
        AsyncParadigmClient(sleep=pass_time, **options) as other,
        AsyncParadigmClient(sleep=sleep, **options) as one,
    ):
        return await one.complete("unlucky", model=MODEL)


def test_refusals_are_not_counted_while_others_are_accepted(wire: WireServer) -> None:
    assert asyncio.run(beside_others(wire, 15)).retries == 15


def test_call_that_is_always_refused_ends_although_others_are_accepted(wire: WireServer) -> None:
    with pytest.raises(ServerError):
        asyncio.run(beside_others(wire, 1000))
    assert sum(body["prompt"] == "unlucky" for body in wire.bodies) == MOST_REFUSALS + 2


def test_call_that_waits_for_too_long_says_how_long_and_at_what_rate(api: Api, wire: WireServer) -> None:
    waits = Waits()
    pace = Pace(clock=waits.clock)
    refuse(pace, waits.clock, delay=50.0, asked=50.0)
    sleep = waits.asleep if api.is_async else waits.sleep
    api._make = make(api, sleep)  # type: ignore[method-assign]
    client = api.client(wire, pace=pace, timer=waits.clock, timeout=Timeout(total=20))
    for call in (lambda: client.complete("Hi", model=MODEL), lambda: list(client.stream("Hi", model=MODEL))):
        with pytest.raises(APITimeoutError, match=r"limits requests: the call waited 20 seconds .* at 9 requests"):
            call()
    assert wire.requests == []
    assert pace.waiting == 0


def make(api: Api, sleep: Any) -> Callable[..., Any]:
    from tests.transport.conftest import AsyncApi, _Client

    if isinstance(api, AsyncApi):
        return lambda **options: _Client(api, AsyncParadigmClient(sleep=sleep, **options))
    return lambda **options: ParadigmClient(sleep=sleep, **options)


def test_refusal_of_one_call_makes_the_others_wait(api: Api, wire: WireServer) -> None:
    wire.script(reply(BUSY, 429, {"Retry-After": "7"}))
    wire.always(lambda request: sse(chunk("a", "stop")) if request.body.get("stream") else reply(completion("a")))
    client = api.client(wire, max_retries=0)
    with pytest.raises(RateLimitError):
        client.complete("Hi", model=MODEL)
    assert texts(client.stream("Hi", model=MODEL)) == "a"
    assert api.slept == [pytest.approx(7.0, abs=1)]
    assert client.complete("Hi", model=MODEL).text == "a"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"error": {"code": "insufficient_quota"}}, {}),
        (BUSY, {"X-Should-Retry": "false"}),
        (BUSY, {"Retry-After": "3600"}),
    ],
)
def test_refusals_that_no_wait_helps_do_not_pace(
    api: Api, wire: WireServer, body: dict[str, Any], headers: dict[str, str]
) -> None:
    wire.script(reply(body, 429, headers))
    wire.always(reply(completion("a")))
    client = api.client(wire)
    with pytest.raises(RateLimitError):
        client.complete("Hi", model=MODEL)
    assert client.complete("Hi", model=MODEL).text == "a"
    assert (api.slept, client.pace.refusals) == ([], 0)


def test_cancelled_call_leaves_the_queue(wire: WireServer) -> None:
    wire.always(reply(completion("a")))
    clock = Clock()
    pace = Pace(clock=clock)
    refuse(pace, clock, delay=50.0, asked=50.0)

    async def main() -> None:
        async with AsyncParadigmClient(api_key=KEY, base_url=wire.url, pace=pace) as client:
            task = asyncio.create_task(client.complete("Hi", model=MODEL))
            while not pace.waiting:  # noqa: ASYNC110  # which has no event: it belongs to no loop
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert pace.waiting == 0

    asyncio.run(main())
    assert wire.requests == []


@pytest.mark.parametrize("status", [200, 429])
def test_announced_limit_is_heeded_before_the_first_refusal(api: Api, wire: WireServer, status: int) -> None:
    headers = {"X-RateLimit-Remaining-Requests": "1", "X-RateLimit-Reset-Requests": "40s"}
    wire.script(reply(completion("a"), 200, headers))
    wire.always(reply(completion("a")))
    client = api.client(wire)
    for _ in range(2):
        client.complete("Hi", model=MODEL)
    assert api.slept == []
    client.complete("Hi", model=MODEL)
    assert sum(api.slept) == pytest.approx(40, abs=1)


@pytest.mark.parametrize(("requests", "tokens"), [("40s", "100ms"), ("100ms", "40s")])
def test_strictest_of_two_announced_limits_is_heeded(api: Api, wire: WireServer, requests: str, tokens: str) -> None:
    headers = {
        "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": requests,
        "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": tokens,
    }  # fmt: skip
    wire.script(reply(completion("a"), 200, headers))
    wire.always(reply(completion("a")))
    client = api.client(wire)
    for _ in range(2):
        client.complete("Hi", model=MODEL)
    assert sum(api.slept) == pytest.approx(40, abs=1)


def test_announced_limit_of_tokens_is_heeded_once_they_are_spent(api: Api, wire: WireServer) -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}
    wire.script(reply(completion("a"), 200, headers))
    wire.always(reply(completion("a")))
    client = api.client(wire)
    client.complete("Hi", model=MODEL)
    client.complete("Hi", CompletionParameters(model=MODEL))
    assert sum(api.slept) == pytest.approx(MAX_HOLD_SECONDS, abs=1)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("12ms", 0.012),
        ("1h2m3.5s", 3723.5),
        ("1d", 86400.0),
        ("59.5", 59.5),
        ("0", 0.0),
        ("1700000030", 30.0),
        ("1700000030000", 30.0),
        ("1600000000", 0.0),
        ("", None),
        ("soon", None),
        ("-1s", None),
        ("1s1", None),
        ("1" * 40, None),
        ("nan", None),
    ],
)
def test_resets_are_read_in_every_form(value: str, seconds: float | None) -> None:
    found = read_reset(value, lambda: 1_700_000_000.0)
    assert found == (seconds if seconds is None else pytest.approx(seconds))


def test_limits_that_are_far_away_or_unreadable_are_not_heeded() -> None:
    def limits(remaining: str, kind: str = "-requests", reset: str = "1s") -> list[tuple[int, float]]:
        headers = {f"x-ratelimit-remaining{kind}": remaining, f"x-ratelimit-reset{kind}": reset}
        return list(announced_limits(headers, lambda: 0.0))

    assert limits("3") == limits("3", "") == [(3, 1.0)]
    assert limits("0", "-tokens") == [(0, 1.0)]
    for nothing in (limits("5000"), limits("3", "-tokens"), limits("-1"), limits("many"), limits("3", reset="soon")):
        assert nothing == []
    assert list(announced_limits({}, lambda: 0.0)) == []


# The quota of retries


def test_retries_end_when_everything_fails(api: Api, wire: WireServer) -> None:
    wire.always(reply(BUSY, 500))
    client = api.client(wire)
    for _ in range(100):
        with pytest.raises(ServerError):
            client.complete("Hi", model=MODEL)
    assert len(wire.requests) == 100 + 500 / 5
    wire.always(reply(completion("a")))
    for _ in range(5):
        client.complete("Hi", model=MODEL)
    wire.script(reply(BUSY, 500))
    assert client.complete("Hi", model=MODEL).retries == 1


def test_failures_while_others_succeed_use_no_quota(wire: WireServer) -> None:
    failing = iter(range(6))

    def answer(request: Any) -> Any:
        if request.body["prompt"] == "unlucky" and next(failing, None) is not None:
            return [CUT]
        return reply(completion("a"))

    wire.always(answer)

    async def main() -> int:
        async def sleep(_: float) -> None:
            await client.complete("other", model=MODEL)

        client = AsyncParadigmClient(api_key=KEY, base_url=wire.url, max_retries=9, sleep=sleep)
        async with client:
            await client.complete("unlucky", model=MODEL)
            return client.policy.quota.left

    assert asyncio.run(main()) >= 495


def test_quota_is_never_more_than_its_capacity() -> None:
    quota = RetryQuota(12)
    assert quota.take(APITimeoutError("late"))
    assert not quota.take(ServerError("down", status_code=500))
    for _ in range(30):
        quota.give()
    assert quota.left == 12
