"""The server that the suite runs against: the local Paradigm, or the one that PARADIGM_TEST_SERVER names."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from paradigm_transport import ParadigmClient
from tests.conformance.running import Running
from tests.conformance.servers import LOCAL, SERVERS


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    """The server, started once."""
    name = os.environ.get("PARADIGM_TEST_SERVER")
    url = os.environ.get("PARADIGM_TEST_SERVER_URL")
    if name:
        yield Running(SERVERS[name], url, "sk-conformance-0123456789", "smollm2-135m-instruct")
        return
    local = request.getfixturevalue("local_paradigm")
    yield Running(LOCAL, local.base_url, local.api_key, local.model, local.embedding_model)


@pytest.fixture
def client(server: Running) -> Iterator[ParadigmClient]:
    """A client of the server that sends nothing twice."""
    with ParadigmClient(**server.address, max_retries=0) as client:
        yield client
