"""What type checkers tell a user of LlamaIndex; see `with_transport.py`."""

from pathlib import Path

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore
from typing_extensions import assert_type

from llama_index_paradigm import ChatParadigm, ParadigmEmbedding, ParadigmLLM, ParadigmRetriever

llm: LLM = ParadigmLLM(
    model="m", api_key="k", max_tokens=200, temperature=0.2, chat_template="alfred", context_window=4096
)

chat: FunctionCallingLLM = ChatParadigm(model="m", api_key="k", chat_template="alfred")
embed_model: BaseEmbedding = ParadigmEmbedding(model="m", api_key="k", query_prefix="query: ", batch_inputs=8)
of_file = ChatParadigm(
    model="m", api_key="k", chat_template=Path("chat_template.jinja"), chat_template_kwargs={"enable_thinking": False}
)
retriever: BaseRetriever = ParadigmRetriever(api_key="k", similarity_top_k=4, workspace_id=[5])


def calls(llm: ParadigmLLM) -> None:
    assert_type(llm.complete("Hi"), CompletionResponse)
    assert_type(llm.chat([ChatMessage(content="Hi")]), ChatResponse)
    assert_type(llm.metadata, LLMMetadata)
    assert_type(llm.context_window, int | None)
    for piece in llm.stream_complete("Hi"):
        assert_type(piece.delta, str | None)


def chats(chat: ChatParadigm) -> None:
    messages = [ChatMessage(content="Hi")]
    assert_type(chat.chat(messages), ChatResponse)
    for piece in chat.stream_chat(messages):
        assert_type(piece, ChatResponse)


def embed(embed_model: ParadigmEmbedding) -> None:
    assert_type(embed_model.get_query_embedding("Hi"), list[float])
    assert_type(embed_model.get_text_embedding_batch(["Hi"]), list[list[float]])


def search(retriever: ParadigmRetriever) -> None:
    assert_type(retriever.retrieve("Hi", similarity_top_k=2), list[NodeWithScore])
    assert_type(retriever.similarity_top_k, int | None)


async def asynchronous() -> None:
    async with ParadigmLLM(model="m") as llm:
        assert_type(llm, ParadigmLLM)
        assert_type(await llm.acomplete("Hi"), CompletionResponse)
        async for piece in await llm.astream_complete("Hi"):
            assert_type(piece, CompletionResponse)


def mistakes(llm: ParadigmLLM, chat: ChatParadigm) -> None:
    ChatParadigm(model=1, chat_template="alfred")  # type: ignore[arg-type]  # pyright: ignore
    chat.chat("Hi")  # type: ignore[arg-type]  # pyright: ignore
    ParadigmLLM()  # type: ignore[call-arg]  # pyright: ignore
    ParadigmLLM(model="m", max_tokens="many")  # type: ignore[arg-type]  # pyright: ignore
    ParadigmLLM(model="m", no_such_argument=1)  # type: ignore[call-arg]  # pyright: ignore
    ParadigmRetriever(mode="audio")  # type: ignore[arg-type]  # pyright: ignore
    ParadigmEmbedding(model="m", max_tokens=5)  # type: ignore[call-arg]  # pyright: ignore
    text: str = llm.complete("Hi")  # type: ignore[assignment]  # pyright: ignore
    llm.no_such_method(text)  # type: ignore[attr-defined]  # pyright: ignore
