"""Limits that servers announce in the headers of their responses: those of OpenAI's API, LiteLLM and other gateways."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

MAX_LENGTH = 32
"""Longer headers are not read: they hold neither a number nor a time."""

MAX_REMAINING = 1000
"""Where more requests remain, nothing needs to wait."""

FIRST_EPOCH = 1e9
"""Greater numbers are moments in Unix time, smaller ones seconds from now."""

_HEADERS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", True),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", False),
    ("x-ratelimit-remaining", "x-ratelimit-reset", True),
)
"""How many remain, when that begins anew, and whether requests are counted."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"(\d+(?:\.\d+)?)(ms|[smhd])"


def announced_limits(headers: Mapping[str, str], clock: Callable[[], float]) -> Iterator[tuple[int, float]]:
    """Read the limits that a response announces.

    Of a limit of tokens, only its end is of use: what a request costs is not known.

    Args:
        headers: its headers, names in lower case.
        clock: returns Unix seconds.

    Returns:
        For each limit that is near: how many more requests are accepted, and the seconds until there are more.
    """
    for remaining_name, reset_name, counts_requests in _HEADERS:
        if remaining_name in headers:
            remaining = headers[remaining_name].strip()
            seconds = read_reset(headers.get(reset_name, ""), clock)
            if remaining.isdecimal() and len(remaining) < MAX_LENGTH and seconds is not None:
                count = int(remaining)
                if count < (MAX_REMAINING if counts_requests else 1):
                    yield count, seconds


def read_reset(value: str, clock: Callable[[], float]) -> float | None:
    """Read when a limit begins anew: `1s`, `6m0s`, `12ms`, seconds, or Unix time in seconds or milliseconds.

    Args:
        value: the header.
        clock: returns Unix seconds.

    Returns:
        The seconds until then, 0 or more; None if it cannot be read.
    """
    value = value.strip().lower()
    if not value or len(value) > MAX_LENGTH:
        return None
    if re.fullmatch(f"(?:{_PART})+", value):
        return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, value))
    if not re.fullmatch(r"\d+(\.\d*)?", value):
        return None
    seconds = float(value)
    if seconds > FIRST_EPOCH * 1000:
        seconds /= 1000
    return max(0.0, seconds - clock()) if seconds > FIRST_EPOCH else seconds
