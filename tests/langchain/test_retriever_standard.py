"""LangChain's standard tests of retrievers, on the scripted server; `tests/local` runs them on documents."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_paradigm import ParadigmRetriever
from tests.wire import Request, Script, WireServer, reply, search_result, search_results

pytest.importorskip("langchain_tests")

from langchain_tests.integration_tests import RetrieversIntegrationTests

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def answer(request: Request) -> Script:
    return reply(search_results(*[search_result(f"passage {rank}") for rank in range(request.body["max_results"])]))


class TestServed(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _serve(self, wire: WireServer) -> None:
        wire.always(answer)
        self.url = wire.url

    @property
    def retriever_constructor(self) -> type[ParadigmRetriever]:
        return ParadigmRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"api_key": "k", "base_url": self.url}

    @property
    def retriever_query_example(self) -> str:
        return "notice period"
