"""LangChain's standard tests of embeddings, on the scripted server."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_paradigm import ParadigmEmbeddings
from tests.wire import WireServer, embed

pytest.importorskip("langchain_tests")

from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TestUnits(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[ParadigmEmbeddings]:
        return ParadigmEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "multilingual-e5-large", "api_key": "test", "base_url": "http://127.0.0.1:9"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return (
            {"PARADIGM_API_KEY": "test", "PARADIGM_BASE_URL": "https://paradigm.example"},
            {"model": "multilingual-e5-large"},
            {"api_key": "test", "base_url": "https://paradigm.example/api/v2"},
        )


class TestServed(EmbeddingsIntegrationTests):
    @pytest.fixture(autouse=True)
    def _serve(self, wire: WireServer) -> None:
        wire.always(embed)
        self.url = wire.url

    @property
    def embeddings_class(self) -> type[ParadigmEmbeddings]:
        return ParadigmEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "multilingual-e5-large", "api_key": "k", "base_url": self.url}
