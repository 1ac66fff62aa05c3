"""LangChain's standard tests of embeddings, on the local Paradigm."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_paradigm import ParadigmEmbeddings
from paradigm_local import LocalParadigm

pytest.importorskip("langchain_tests")

from langchain_tests.integration_tests import EmbeddingsIntegrationTests

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TestLocal(EmbeddingsIntegrationTests):
    @pytest.fixture(autouse=True)
    def _serve(self, local_paradigm: LocalParadigm) -> None:
        self.paradigm = local_paradigm

    @property
    def embeddings_class(self) -> type[ParadigmEmbeddings]:
        return ParadigmEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        paradigm = self.paradigm
        return {"model": paradigm.embedding_model, "api_key": paradigm.api_key, "base_url": paradigm.base_url}
