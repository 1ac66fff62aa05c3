"""What people build on an LLM: indexes, synthesizers, chat engines, question generators, pipelines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from llama_index.core import Document, Settings, SummaryIndex, VectorStoreIndex, get_response_synthesizer
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.extractors import DocumentContextExtractor, TitleExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.tools import QueryEngineTool
from pydantic import BaseModel

from llama_index_paradigm import ParadigmLLM
from tests.chat_form import prompt_of
from tests.llama_index.conftest import KEY
from tests.wire import Request, Script, WireServer, chunk, completion, reply, sse, usage

Make = Callable[..., ParadigmLLM]

# where LangChain is installed too, LlamaIndex imports that
pytestmark = pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset")

DOCUMENTS = [Document(text="The Rhône is 812 km long."), Document(text="The Loire is 1006 km long.")]


def answering(*texts: str) -> Callable[[Request], Script]:
    """Answers every request, streamed where it asks for that; the texts in turn, the last one for all that follow."""
    left = list(texts)

    def answer(request: Request) -> Script:
        text = left.pop(0) if len(left) > 1 else left[0]
        if request.body.get("stream"):
            words = [chunk(f"{word} ") for word in text.split()]
            return sse(*words, chunk("", "stop"), chunk(usage=usage(3, 5)))
        return reply(completion(text))

    return answer


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings as new, and an embedding that asks no model."""
    monkeypatch.setattr(Settings, "_llm", None)
    monkeypatch.setattr(Settings, "_embed_model", MockEmbedding(embed_dim=3))
    monkeypatch.setattr(Settings, "_callback_manager", None)


@pytest.fixture
def index() -> VectorStoreIndex:
    return VectorStoreIndex.from_documents(DOCUMENTS)


def test_query_engine_uses_the_llm_of_settings(wire: WireServer, llm: ParadigmLLM, index: VectorStoreIndex) -> None:
    wire.always(answering("812 km"))
    Settings.llm = llm
    assert Settings.llm is llm
    assert str(index.as_query_engine().query("How long is the Rhône?")) == "812 km"
    memory = ChatMemoryBuffer.from_defaults(token_limit=1000)
    assert str(index.as_chat_engine(chat_mode=ChatMode.CONTEXT, memory=memory).chat("How long is it?")) == "812 km"


def test_callback_manager_of_settings_counts_the_servers_tokens(
    wire: WireServer, llm: ParadigmLLM, index: VectorStoreIndex
) -> None:
    wire.always(answering("812 km"))
    counter = TokenCountingHandler(tokenizer=str.split)
    Settings.callback_manager = CallbackManager([counter])
    Settings.llm = llm
    index.as_query_engine().query("How long is the Rhône?")
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (3, 5)


class TestQueryEngine:
    @pytest.fixture(autouse=True)
    def _always(self, wire: WireServer) -> None:
        wire.always(answering("It is 812 km long."))

    def test_query_returns_the_answer(self, wire: WireServer, llm: ParadigmLLM, index: VectorStoreIndex) -> None:
        response = index.as_query_engine(llm=llm).query("How long is the Rhône?")
        assert str(response) == "It is 812 km long."
        assert len(response.source_nodes) == 2
        prompt = prompt_of(wire.bodies[0])
        assert "The Rhône is 812 km long." in prompt
        assert "How long is the Rhône?" in prompt

    def test_aquery_returns_the_answer(self, llm: ParadigmLLM, index: VectorStoreIndex) -> None:
        response = asyncio.run(index.as_query_engine(llm=llm).aquery("How long is the Rhône?"))
        assert str(response) == "It is 812 km long."

    def test_query_streams_the_answer(self, wire: WireServer, llm: ParadigmLLM, index: VectorStoreIndex) -> None:
        response = index.as_query_engine(llm=llm, streaming=True).query("How long is the Rhône?")
        assert list(response.response_gen) == ["It ", "is ", "812 ", "km ", "long. ", ""]
        assert wire.bodies[0]["stream"] is True

    def test_aquery_streams_the_answer(self, llm: ParadigmLLM, index: VectorStoreIndex) -> None:
        async def pieces() -> list[str]:
            engine = index.as_query_engine(llm=llm, streaming=True, use_async=True)
            response = await engine.aquery("How long is the Rhône?")
            return [piece async for piece in response.async_response_gen()]

        assert asyncio.run(pieces()) == ["It ", "is ", "812 ", "km ", "long. ", ""]

    def test_query_prompt_is_formatted_with_the_chat_template(
        self, wire: WireServer, make_llm: Make, index: VectorStoreIndex
    ) -> None:
        llm = make_llm(chat_template="chatml", system_prompt="Be kind.")
        index.as_query_engine(llm=llm).query("How long is the Rhône?")
        prompt = prompt_of(wire.bodies[0])
        assert prompt.startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nContext information")
        assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
        assert prompt.count("<|im_start|>") == 3


def test_query_engine_looks_up_the_context_window(wire: WireServer, make_llm: Make, index: VectorStoreIndex) -> None:
    wire.script(reply({"data": [{"id": "alfred-40b-1123", "max_model_len": 1000}]}))
    wire.always(answering("812 km"))
    llm = make_llm(context_window=None)
    engine = index.as_query_engine(llm=llm)
    engine.query("How long is the Rhône?")
    engine.query("And the Loire?")
    assert [request.method for request in wire.requests] == ["GET", "POST", "POST"]


NODES = [NodeWithScore(node=TextNode(text=f"Fact {number}. " * 120)) for number in range(4)]
"""About 400 tokens each: more than go into a prompt of 1000 together."""


@pytest.mark.parametrize("use_async", [False, True])
@pytest.mark.parametrize("mode", [ResponseMode.TREE_SUMMARIZE, ResponseMode.REFINE, ResponseMode.COMPACT])
def test_synthesizers_fill_prompts_up_to_the_context_window(
    wire: WireServer, make_llm: Make, mode: ResponseMode, use_async: bool
) -> None:
    wire.always(answering("Four facts."))
    llm = make_llm(context_window=1000, max_tokens=50)
    synthesizer = get_response_synthesizer(llm=llm, response_mode=mode, use_async=use_async)
    asked = synthesizer.asynthesize("What?", nodes=NODES) if use_async else None
    response = asyncio.run(asked) if asked else synthesizer.synthesize("What?", nodes=NODES)
    assert str(response) == "Four facts."
    assert len(wire.requests) > 2
    assert all(len(prompt_of(body)) < 3000 for body in wire.bodies)
    assert all(f"Fact {number}." in "".join(prompt_of(body) for body in wire.bodies) for number in range(4))


class Summary(BaseModel):
    text: str


@pytest.mark.parametrize("mode", [ResponseMode.TREE_SUMMARIZE, ResponseMode.REFINE])
def test_synthesizers_return_objects_of_output_cls(wire: WireServer, make_llm: Make, mode: ResponseMode) -> None:
    wire.always(answering('{"text": "Facts.", "answer": "Facts.", "query_satisfied": true}'))
    llm = make_llm(structured_outputs="vllm")
    synthesizer = get_response_synthesizer(llm=llm, response_mode=mode, output_cls=Summary)
    response = synthesizer.synthesize("What?", nodes=NODES[:1])
    assert response.response == Summary(text="Facts.")
    assert wire.bodies[0]["structured_outputs"] == {"json": Summary.model_json_schema()}


@pytest.mark.parametrize("mode", [ChatMode.CONTEXT, ChatMode.CONDENSE_PLUS_CONTEXT, ChatMode.CONDENSE_QUESTION])
class TestChatEngine:
    @pytest.fixture(autouse=True)
    def _always(self, wire: WireServer) -> None:
        wire.always(answering("It is 812 km long."))

    @pytest.fixture
    def engine(self, make_llm: Make, index: VectorStoreIndex, mode: ChatMode) -> Any:
        Settings.llm = make_llm(chat_template="chatml")
        return index.as_chat_engine(chat_mode=mode, memory=ChatMemoryBuffer.from_defaults(token_limit=1000))

    def test_chat_engine_keeps_the_conversation(self, wire: WireServer, engine: Any) -> None:
        assert str(engine.chat("How long is the Rhône?")) == "It is 812 km long."
        assert str(engine.chat("In miles?")) == "It is 812 km long."
        assert "How long is the Rhône?" in wire.bodies[-1 if len(wire.bodies) < 3 else 1]["prompt"]
        assert [message.role.value for message in engine.chat_history] == ["user", "assistant"] * 2

    def test_achat_returns_the_answer(self, engine: Any) -> None:
        assert str(asyncio.run(engine.achat("How long is the Rhône?"))) == "It is 812 km long."

    def test_stream_chat_streams_the_answer(self, engine: Any) -> None:
        response = engine.stream_chat("How long is the Rhône?")
        assert "".join(response.response_gen).strip() == "It is 812 km long."

    def test_astream_chat_streams_the_answer(self, engine: Any) -> None:
        async def text() -> str:
            response = await engine.astream_chat("How long is the Rhône?")
            return "".join([piece async for piece in response.async_response_gen()]).strip()

        assert asyncio.run(text()) == "It is 812 km long."


def test_sub_question_engine_asks_and_combines(wire: WireServer, llm: ParadigmLLM) -> None:
    asked = ", ".join(
        f'{{"sub_question": "How long is the {river}?", "tool_name": "rivers"}}' for river in ("Rhône", "Loire")
    )
    wire.always(answering(f'```json\n{{"items": [{asked}]}}\n```', "812 km", "1006 km", "The Loire is longer."))
    rivers = SummaryIndex.from_documents(DOCUMENTS).as_query_engine(llm=llm)
    engine = SubQuestionQueryEngine.from_defaults(
        [QueryEngineTool.from_defaults(rivers, name="rivers", description="Lengths of rivers.")],
        llm=llm,
        question_gen=LLMQuestionGenerator.from_defaults(llm=llm),
        verbose=False,
        use_async=False,
    )
    assert str(engine.query("Which is longer?")) == "The Loire is longer."
    assert "Response: 812 km" in prompt_of(wire.bodies[-1])
    assert len(wire.requests) == 4


# LlamaIndex's own tokenizer, unpickled in a worker, wants a download.
SPLITTER = SentenceSplitter(tokenizer=str.split)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="LlamaIndex starts no more processes than there are CPUs")
def test_ingestion_pipeline_runs_in_several_processes(wire: WireServer, llm: ParadigmLLM) -> None:
    wire.always(answering("Rivers"))
    pipeline = IngestionPipeline(transformations=[SPLITTER, TitleExtractor(llm=llm, nodes=1)])
    nodes: Sequence[Any] = pipeline.run(documents=DOCUMENTS, num_workers=2, show_progress=False)
    assert [node.metadata["document_title"] for node in nodes] == ["Rivers", "Rivers"]
    assert {request.headers["authorization"] for request in wire.requests} == {f"Bearer {KEY}"}
    assert wire.connections >= 2
    assert isinstance(pipeline.transformations[1].llm, ParadigmLLM)


def test_ingestion_pipeline_runs_in_this_process(wire: WireServer, llm: ParadigmLLM) -> None:
    wire.always(answering("Rivers"))
    pipeline = IngestionPipeline(transformations=[SPLITTER, TitleExtractor(llm=llm, nodes=1)])
    nodes = asyncio.run(pipeline.arun(documents=DOCUMENTS))
    assert [node.metadata["document_title"] for node in nodes] == ["Rivers", "Rivers"]


def test_chat_leaves_the_history_unchanged(wire: WireServer, llm: ParadigmLLM) -> None:
    wire.always(answering("Hello"))
    history = [ChatMessage("Hi")]
    llm.chat(history)
    assert history == [ChatMessage("Hi")]


@pytest.mark.parametrize("maker", ["make_llm", "make_chat"])
def test_document_context_extractor_passes_headers_of_a_call(
    wire: WireServer,
    make_llm: Callable[..., Any],
    make_chat: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    maker: str,
) -> None:
    monkeypatch.setattr(Settings, "_tokenizer", str.split)
    wire.script(reply(completion("About rivers.")))
    store = SimpleDocumentStore()
    store.add_documents([DOCUMENTS[0]])
    source = RelatedNodeInfo(node_id=DOCUMENTS[0].doc_id)
    node = TextNode(text="812 km", relationships={NodeRelationship.SOURCE: source})
    llm = make_llm() if maker == "make_llm" else make_chat()
    extractor = DocumentContextExtractor(docstore=store, llm=llm, max_context_length=1000, show_progress=False)
    assert asyncio.run(extractor.aextract([node])) == [{"context": "About rivers."}]
    assert wire.bodies[0]["max_tokens"] == 512
    assert "anthropic-beta" in wire.requests[0].headers
