"""Calls: what is sent to an endpoint, how the response is read, and whether a failure is retried; no I/O.

A call describes itself: method, path, body, reading. A client binds it to its `Policy`, sends it and asks it whether to
retry; that is all that a client knows of an endpoint.
"""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from math import inf
from typing import ClassVar, Generic, Protocol, TypeVar

from paradigm_transport.errors import APIStatusError, APITimeoutError, ParadigmError
from paradigm_transport.http.announcements import announced_limits
from paradigm_transport.http.pacing import Pace, Turn
from paradigm_transport.http.protocols import Outgoing, TimeoutLike
from paradigm_transport.http.responses import BaseResponse
from paradigm_transport.http.retry import RetryPolicy, RetryQuota, is_limit
from paradigm_transport.http.settings import Secrets, Settings, secret_values
from paradigm_transport.http.timeouts import seconds_of, total_of
from paradigm_transport.refusals import Origin, Redaction, parse_reply, status_error
from paradigm_transport.usage import Meter

Reply = TypeVar("Reply")
Piece = TypeVar("Piece")
Event = TypeVar("Event")
PieceOut = TypeVar("PieceOut", covariant=True)

logger = logging.getLogger("paradigm_transport")

MIN_SECONDS = 0.001
"""The shortest time-out: a request that begins at the deadline ends at once."""

MOST_REFUSALS = 20
"""So many refusals are not counted as retries while others are accepted: more mean the call, not the rate."""

_REFUSALS = {
    "parallel_tool_calls": "parallel.?tool.?calls",
    "response_format": "response.?format|json.?schema",
    "stream_options": "stream.?options|include_usage",
    "skip_special_tokens": "skip.?special.?tokens",
    "structured_outputs": "struct(ured.?output|ural.?tag)",
}
"""How a server's refusal names the fields that calls can do without, as regular expressions."""

_LOST = {
    "skip_special_tokens": "%s refuses skip_special_tokens: it may remove marks of tool calls and thoughts from texts.",
    "structured_outputs": "%s refuses structured_outputs with a structural_tag: schemas of calls are not enforced.",
}
"""What a call without such a field may lack."""

MAX_WARNINGS = 100
"""The most warnings that a client logs: words of a server may differ from reply to reply."""


class Policy:
    """What a client decides by, without I/O.

    Attributes:
        settings: how to reach the server.
        retry: when to retry.
        clock: returns Unix seconds.
        timer: returns seconds that only grow, to measure a call by.
        chance: returns random numbers from 0 to 1.
        pace: how fast calls are sent.
        quota: the retries that are left while nothing succeeds.
        unsupported: fields that the server refuses, and that calls leave out.
        host: the host that is called.
        secrets: what must not be in errors.
        longest_wait: the settings' time-out for silence, in seconds; 0 for none.
    """

    def __init__(
        self,
        settings: Settings,
        retry: RetryPolicy | None,
        clock: Callable[[], float],
        timer: Callable[[], float],
        chance: Callable[[], float],
        pace: Pace | None = None,
    ) -> None:
        self.settings = settings
        self.retry = retry or RetryPolicy(max_retries=settings.max_retries)
        self.clock = clock
        self.timer = timer
        self.chance = chance
        self.unsupported: set[str] = set()
        self.host, self.secrets = settings.host, settings.secrets  # once: it reads the environment
        self.longest_wait = seconds_of(settings.timeout)[1] or 0.0
        self.pace = pace or Pace(self.host)
        self.quota = RetryQuota()
        self._warnings: set[tuple[str, str]] = set()

    def warn_once(self, message: str, *args: object, key: str = "") -> None:
        """Log a warning, once for each message and key, at most `MAX_WARNINGS` in all.

        Args:
            message: the text, with a `%s` for each argument.
            args: the arguments.
            key: distinguishes warnings with the same message; keep it short, since it is remembered.
        """
        if (message, key) not in self._warnings and len(self._warnings) < MAX_WARNINGS:
            self._warnings.add((message, key))
            logger.warning(message, *args)


class Request(ABC):
    """One request to an endpoint, and what is decided about it: whether it is retried, and what its errors say.

    Attributes:
        method: the HTTP method.
        path: the path below the base URL.
        version: the version of the API, in place of that of the base URL; None for that one.
        hints: what to do about an error, by its status, in place of the general advice.
        optional: fields of the body that the call can do without if the server refuses them.
        body: the JSON to send; None for none.
        model: the model that is called, for usage counters; None for a call that is not counted.
        prompts: the user's texts, which are redacted from error messages.
        policy: what the client that sends the call decides by; set by `bind`.
        turn: its place in the client's pace; set by `bind`.
        retries: the number of retries so far.
        extra_headers: headers of this call, which win over the settings'.
        timeout: in place of the settings'; `bind` sets it if the call has none.
    """

    method: str = "POST"
    path: str
    version: str | None = None
    hints: ClassVar[Mapping[int, str]] = {}
    optional: frozenset[str] = frozenset()
    body: bytes | None = None
    model: str | None = None
    prompts: tuple[str, ...] = ()
    policy: Policy
    turn: Turn
    retries: int = 0
    extra_headers: Mapping[str, str] | None = None
    timeout: float | TimeoutLike | None
    _deadline: float = inf
    _failures: int = 0
    _left_out: frozenset[str] = frozenset()

    def bind(self, policy: Policy) -> None:
        """Prepare to be sent by the client that decides by a policy.

        Raises:
            InvalidParameterError: the request cannot be encoded.
        """
        self.policy = policy
        self.turn = Turn(policy.pace)
        self._left_out = self.optional & policy.unsupported
        self.body = self.encode()
        if not hasattr(self, "timeout"):
            self.timeout = policy.settings.timeout

    def encode(self) -> bytes | None:
        """Return the body; called again when the server refuses an optional field."""
        return None

    @cached_property
    def meter(self) -> Meter:
        """What measures the call, from the first use on."""
        return Meter(self.model)

    def begin(self) -> None:
        """Record that a request is sent; a call that is retried begins once."""
        if self._deadline == inf:
            self._deadline = self.policy.timer() + total_of(self.timeout)
        _ = self.meter

    @property
    def outgoing(self) -> Outgoing:
        """What is sent next; with other time-outs if the settings' are not those of the call, or too long."""
        left = max(self._deadline - self.policy.timer(), MIN_SECONDS)
        settings = self.policy.settings
        is_usual = self.timeout is settings.timeout and left >= self.policy.longest_wait
        timeouts = None if is_usual else seconds_of(self.timeout, left)
        url = f"{settings.url_of(self.version)}/{self.path}"
        return Outgoing(self.method, url, self.body, self.extra_headers, timeouts)

    def check_time(self) -> None:
        """Check that the call may go on.

        Raises:
            APITimeoutError: it has taken longer than it may in all.
        """
        if self.policy.timer() > self._deadline:
            total = total_of(self.timeout)
            raise APITimeoutError(
                f"{self.policy.host} did not complete its response within {total:g} seconds. Raise timeout, or ask for "
                "fewer tokens."
            )

    def fail(self) -> None:
        """Record that the call failed or its stream broke off."""
        self.meter.fail()

    def seconds_until_turn(self) -> float:
        """Return the seconds to sleep before asking again; 0 if the call may be sent now.

        Raises:
            APITimeoutError: it has waited for as long as it may.
        """
        seconds = self.turn.ask()
        left = self._deadline - self.policy.timer() if seconds else 0.0
        if seconds and left <= 0:
            rate, total = self.policy.pace.rate, total_of(self.timeout)
            raise APITimeoutError(
                f"{self.policy.host} limits requests: the call waited {self.turn.waited:.3g} seconds for its turn at "
                f"{'any number of' if rate is None else format(rate, '.3g')} requests a second, and may take {total:g} "
                "seconds in all. Raise timeout (its total), or send fewer requests at once."
            )
        return min(seconds, left)

    def wait_before_retry(self, error: ParadigmError) -> float | None:
        """Return the seconds after which to send again; None to give up."""
        if self._adapt_to(error):
            return 0.0
        policy, is_alone = self.policy, self.turn.was_alone()
        is_counted = is_alone or not is_limit(error) or self.turn.refusals >= MOST_REFUSALS
        delay = policy.retry.delay(self._failures if is_counted else 0, error, policy.chance())
        if is_limit(error):
            asked = error.retry_after if isinstance(error, APIStatusError) else None
            if asked is None or asked <= policy.retry.max_retry_after:  # else no call waits: each fails at once
                waits = self.turn.refused((asked or 0.0) if delay is None else delay, asked)
                delay = delay if delay is None else waits
        if delay is None or policy.timer() + delay > self._deadline:
            return None
        if is_alone and not is_limit(error) and not policy.quota.take(error):
            logger.info("Not retrying %s of %s: too many calls failed one after the other", self.path, policy.host)
            return None
        self.retries += 1
        self._failures += is_counted
        self.turn.sleeps(delay)
        self._log_retry(error, delay, is_counted)
        return delay

    def _log_retry(self, error: ParadigmError, delay: float, is_counted: bool) -> None:
        cause = type(error).__name__  # without the words of the server
        if isinstance(error, APIStatusError):
            cause = f"{cause} {error.status_code}"
        count = f"retry {self._failures} of {self.policy.retry.max_retries}" if is_counted else "others are accepted"
        logger.info("Retrying %s of %s after %.2f s (%s): %s", self.path, self.policy.host, delay, count, cause)

    def redact(self, words: str) -> str:
        """Make the words of a library fit for a message: without the secrets and the prompt, and short."""
        return self._redaction.words(words)

    @property
    def _redaction(self) -> Redaction:
        secrets = self.policy.secrets
        if self.extra_headers:
            secrets = Secrets((*secrets, *secret_values(self.extra_headers)))
        return Redaction(secrets, self.prompts)

    def origin(self, response: BaseResponse) -> Origin:
        """Return where a response came from."""
        return Origin(self.policy.host, response.headers, self._redaction, self.hints, self.policy.clock())

    def check(self, response: BaseResponse, data: bytes) -> None:
        """Raise the error for a response that refuses the request.

        Raises:
            APIStatusError: it does.
        """
        if not response.is_success:
            self._heed_limits(response)
            raise status_error(response.status, data, self.origin(response))

    def accept(self, response: BaseResponse) -> None:
        """Record that the server accepted the request as it was sent."""
        self.policy.unsupported |= self._left_out
        self.policy.quota.give()
        self.turn.accepted()
        self._heed_limits(response)

    def _heed_limits(self, response: BaseResponse) -> None:
        limits = announced_limits(response.headers, self.policy.clock)
        strictest = min(limits, key=lambda limit: (limit[0], -limit[1]), default=None)
        if strictest is not None:
            self.policy.pace.announce(self.turn, *strictest)

    def _adapt_to(self, error: ParadigmError) -> bool:
        """Leave out the optional fields that the server has just refused; return whether to send the call again."""
        if not isinstance(error, APIStatusError) or error.status_code not in (400, 422):
            return False
        words = f"{error} {error.body}"
        refused = {name for name in self.optional - self._left_out if re.search(_REFUSALS[name], words, re.IGNORECASE)}
        if refused:
            for name in refused & _LOST.keys():
                self.policy.warn_once(_LOST[name], self.policy.host)
            self._left_out |= refused
            self.body = self.encode()
        return bool(refused)


class Call(Request, Generic[Reply]):
    """A request that is answered by one reply."""

    @abstractmethod
    def read(self, body: object, origin: Origin) -> Reply:
        """Read the reply.

        Args:
            body: the parsed reply.
            origin: where it came from.

        Raises:
            APIResponseError: it is not what was asked for.
        """

    def read_response(self, response: BaseResponse, data: bytes) -> Reply:
        """Read a whole response.

        Raises:
            APIStatusError: it is a refusal.
            APIResponseError: it is not what was asked for.
        """
        self.check(response, data)
        origin = self.origin(response)
        body = parse_reply(data, origin)  # which may be a refusal with the status 200
        self.accept(response)
        return self.read(body, origin)


class PieceReader(Protocol[PieceOut]):
    """Reads the bytes of a streamed response.

    Attributes:
        ended: nothing more is wanted.
        done: the server ended the stream; the few bytes left are worth reading, to keep the connection.
    """

    ended: bool
    done: bool

    def feed(self, data: bytes) -> Iterator[PieceOut]:
        """Take the bytes of one read."""

    def finish(self) -> Iterator[PieceOut]:
        """Take the regular end of the bytes."""

    def interrupted(self, error: ParadigmError) -> Iterator[PieceOut]:
        """Take the error that broke off the bytes."""


class StreamCall(Request, Generic[Piece, Event]):
    """A request that is answered by a stream: read in pieces, handed out as events, one event for each piece."""

    @abstractmethod
    def make_reader(self, origin: Origin) -> PieceReader[Piece]:
        """Return a reader of one response."""

    @abstractmethod
    def make_event(self, piece: Piece) -> Event:
        """Return the event for a piece."""

    def reader(self, response: BaseResponse) -> PieceReader[Piece]:
        """Return a reader of a response that is not a refusal."""
        self.accept(response)
        return self.make_reader(self.origin(response))
