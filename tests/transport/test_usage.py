"""The meter of a call; `tests/usage` tests the counts through the frameworks."""

from __future__ import annotations

from paradigm_transport import Usage, get_paradigm_usage
from paradigm_transport.usage import Meter


def test_failure_after_end_of_call_is_not_counted() -> None:
    with get_paradigm_usage() as usage:
        meter = Meter("m")
        meter.end(Usage(1, 2, 3))
        meter.fail()
        Meter("m").fail()
    assert (usage.calls, usage.errors, usage.total_tokens) == (2, 1, 3)
