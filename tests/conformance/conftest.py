"""The server that the suite runs against: the local Paradigm, or the one that PARADIGM_TEST_SERVER names.

PARADIGM_TEST_SERVERS is the folder with the environments that servers are installed in. With PARADIGM_TEST_SERVER_URL,
a server that runs already is used instead of a new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from paradigm_local import LocalParadigm
from paradigm_transport import ParadigmClient
from tests.conformance.running import Running
from tests.conformance.servers import LOCAL, SERVERS, Server
from tests.conformance.starting import KEY, MODEL, started


@pytest.fixture(scope="session")
def server(local_paradigm: LocalParadigm) -> Iterator[Running]:
    """The server, started once."""
    name = os.environ.get("PARADIGM_TEST_SERVER")
    embedding_model = local_paradigm.embedding_model
    if name is None:
        yield Running(LOCAL, local_paradigm.base_url, local_paradigm.api_key, local_paradigm.model, embedding_model)
        return
    server, url = SERVERS[name], os.environ.get("PARADIGM_TEST_SERVER_URL")
    with ExitStack() as stack:
        yield Running(
            server,
            url or _start(server, stack, local_paradigm),
            KEY,
            MODEL,
            embedding_model if server.expects("embeddings") == "embedded" else None,
        )


def _start(server: Server, stack: ExitStack, local_paradigm: LocalParadigm) -> str:
    behind = "" if server.behind is None else _start(SERVERS[server.behind], stack, local_paradigm)
    environment = Path(os.environ["PARADIGM_TEST_SERVERS"], f"servers-{server.name}")
    return stack.enter_context(started(server, environment, behind, local_paradigm))


@pytest.fixture
def client(server: Running) -> Iterator[ParadigmClient]:
    """A client of the server that sends nothing twice."""
    with ParadigmClient(**server.address, max_retries=0) as client:
        yield client


collect_ignore = [] if "PARADIGM_TEST_TEMPLATES" in os.environ else ["test_families.py"]
