"""LangChain's standard tests of chat models on a scripted model; `test_local_chat.py` runs them on a real one.

Tests that do not apply are off: images, PDFs, audio and Anthropic's formats of them, since the endpoint accepts only
text; and recorded cassettes (`test_stream_time`), since nothing here uses a network.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from langchain_paradigm import ChatParadigm
from tests.langchain.obedient import obey
from tests.wire import WireServer

pytest.importorskip("langchain_tests")

from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TestUnits(ChatModelUnitTests):
    given: ClassVar[dict[str, Any]] = {"chat_template": "alfred"}

    @property
    def chat_model_class(self) -> type[ChatParadigm]:
        return ChatParadigm

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "alfred-4.2", "api_key": "test", "base_url": "http://127.0.0.1:9", **self.given}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return (
            {"PARADIGM_API_KEY": "test", "PARADIGM_BASE_URL": "https://paradigm.example"},
            {"model": "alfred-4.2", **self.given},
            {"api_key": "test", "base_url": "https://paradigm.example/api/v2"},
        )

    @pytest.mark.xfail(
        raises=ValueError, reason="`allowed_objects='all'` means the classes of LangChain's own list: see test_chat.py"
    )
    def test_serdes(self, model: Any, snapshot: Any) -> None:
        super().test_serdes(model, snapshot)


class TestUnitsOfTheChatEndpoint(TestUnits):
    given: ClassVar[dict[str, Any]] = {}


class Served(ChatModelIntegrationTests):
    """The integration tests on the model of `obedient.py`."""

    given: ClassVar[dict[str, Any]] = {}
    chat_template: ClassVar[str | None] = "chatml"

    @pytest.fixture(autouse=True)
    def _serve(self, wire: WireServer) -> None:
        wire.always(obey)
        self.url = wire.url

    @property
    def chat_model_class(self) -> type[ChatParadigm]:
        return ChatParadigm

    @property
    def chat_model_params(self) -> dict[str, Any]:
        template = {"chat_template": self.chat_template}
        return {"model": "m", "api_key": "k", "base_url": self.url, **template, **self.given}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "another"


class TestByCalls(Served):
    pass


class TestByAnswersUnderASchema(Served):
    given: ClassVar[dict[str, Any]] = {"constrain": "vllm"}

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "json_schema"}


class TestConstrainedCalls(Served):
    given: ClassVar[dict[str, Any]] = {"constrain": "vllm", "streaming": True}


class TestTheChatEndpoint(Served):
    chat_template: ClassVar[str | None] = None


class TestAnswersOfTheChatEndpointUnderASchema(TestByAnswersUnderASchema):
    given: ClassVar[dict[str, Any]] = {}
    chat_template: ClassVar[str | None] = None


class TestStreamsOfTheChatEndpoint(Served):
    given: ClassVar[dict[str, Any]] = {"streaming": True}
    chat_template: ClassVar[str | None] = None
