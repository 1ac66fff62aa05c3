"""`ParadigmRetriever` on real documents and models: LangChain's standard tests, and an agent that cites a page."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import create_retriever_tool
from pydantic import BaseModel

from langchain_paradigm import ChatParadigm, ParadigmRetriever
from paradigm_local import LocalParadigm
from tests.langchain.conftest import Calls
from tests.langchain.test_local_chat import in_two_steps

pytest.importorskip("langchain_tests")

from langchain_tests.integration_tests import RetrieversIntegrationTests

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TestLocal(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _serve(self, handbook: LocalParadigm) -> None:
        self.paradigm = handbook

    @property
    def retriever_constructor(self) -> type[ParadigmRetriever]:
        return ParadigmRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"api_key": self.paradigm.api_key, "base_url": self.paradigm.base_url}

    @property
    def retriever_query_example(self) -> str:
        return "How long is parental leave?"


@pytest.mark.parametrize(
    ("question", "name", "page", "words"),
    [
        ("What do I do if my notebook is stolen?", "security.pdf", 2, "extension 4711"),
        ("Combien coûte un hôtel à Paris ?", "travel.pdf", 2, "190 euros"),
        ("How many days of holiday do I have?", "leave.md", 1, "28 days"),
        ("Who pays for my desk at home?", "remote.html", 1, "300 euros"),
    ],
)
def test_questions_find_their_page(
    handbook: LocalParadigm, calls: Calls, question: str, name: str, page: int, words: str
) -> None:
    access = {"api_key": handbook.api_key, "base_url": handbook.base_url}
    with ParadigmRetriever(k=1, relevance_scoring="none", **access) as retriever:
        (found,) = calls.invoke(retriever, question)
    assert (found.metadata["filename"], found.metadata["page_start"]) == (name, page)
    assert words in " ".join(found.page_content.split())


class Query(BaseModel):
    """What to look for."""

    query: Literal["parental leave", "remote work"]  # so small a model may not come to the end of another one


def test_agent_calls_the_retriever_and_answers(handbook: LocalParadigm) -> None:
    agents = pytest.importorskip("langchain.agents")
    access = {"api_key": handbook.api_key, "base_url": handbook.base_url}
    retriever = ParadigmRetriever(k=1, relevance_scoring="none", **access)
    tool = create_retriever_tool(
        retriever, "search_handbook", "Searches the handbook.", response_format="content_and_artifact"
    )
    tool.args_schema = Query
    chat = ChatParadigm(
        model=handbook.model, chat_template="chatml", constrain="vllm", temperature=0, max_tokens=100, **access
    )
    agent = agents.create_agent(chat, [tool], middleware=[in_two_steps])
    messages = agent.invoke({"messages": [("user", "How long is parental leave?")]})["messages"]
    (result,) = [message for message in messages if isinstance(message, ToolMessage)]
    (found,) = result.artifact
    assert found.page_content == result.content
    assert found.metadata["page_start"] <= found.metadata["total_pages"]
    assert messages[-1].text
    retriever.close()
    chat.close()
