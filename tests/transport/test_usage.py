"""The meter alone; what it comes to over the frameworks is tested in tests/usage."""

from __future__ import annotations

from paradigm_transport import Usage, get_paradigm_usage
from paradigm_transport.usage import Meter


def test_an_error_of_a_call_that_is_over_is_none_of_its_own() -> None:
    with get_paradigm_usage() as usage:
        meter = Meter("m")
        meter.end(Usage(1, 2, 3))
        meter.fail()
        Meter("m").fail()
    assert (usage.calls, usage.errors, usage.total_tokens) == (2, 1, 3)
