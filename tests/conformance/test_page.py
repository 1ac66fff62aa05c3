"""The table of servers: what the docs show of it, and that a test finds out each behaviour in it."""

from __future__ import annotations

from pathlib import Path

from tests.conformance import page
from tests.conformance.servers import AGENTS, LONG, OBJECTS, ROUTES, SERVERS, USUAL
from tests.conformance.test_fields import PROBES


def test_page_of_servers_is_up_to_date() -> None:
    assert page.written() == page.render()


def test_every_behaviour_is_found_out_by_a_test() -> None:
    sources = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    known = {*USUAL, *(behaviour for server in SERVERS.values() for behaviour in server.differences)}
    computed = {*PROBES, *OBJECTS, *ROUTES, *LONG, *AGENTS}
    assert [each for each in known - computed if f'expects("{each}")' not in sources] == []
