"""What type checkers tell a user of LangChain; see `with_transport.py`."""

from pathlib import Path

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.llms import LLM
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import LLMResult
from langchain_core.prompts import PromptTemplate
from langchain_core.retrievers import BaseRetriever
from typing_extensions import assert_type

from langchain_paradigm import ChatParadigm, ParadigmEmbeddings, ParadigmLLM, ParadigmRetriever

llm: LLM = ParadigmLLM(model="m", api_key="k", max_tokens=200, temperature=0.2, chat_template="alfred", stop=["."])
chat: BaseChatModel = ChatParadigm(model="m", api_key="k", chat_template="alfred")
embeddings: Embeddings = ParadigmEmbeddings(model="m", api_key="k", query_prefix="query: ", batch_inputs=8)
of_file = ChatParadigm(
    model="m", api_key="k", chat_template=Path("chat_template.jinja"), chat_template_kwargs={"enable_thinking": False}
)
retriever: BaseRetriever = ParadigmRetriever(api_key="k", k=4, workspace_id=[5], relevance_scoring="none")


def calls(llm: ParadigmLLM) -> None:
    assert_type(llm.invoke("Hi"), str)
    assert_type(llm.batch(["Hi"]), list[str])
    assert_type(llm.generate(["Hi"]), LLMResult)
    assert_type(llm.max_tokens, int | None)
    for text in llm.stream("Hi"):
        assert_type(text, str)
    chain = PromptTemplate.from_template("{a}") | llm | StrOutputParser()
    assert_type(chain.invoke({"a": "b"}), str)


def chats(chat: ChatParadigm) -> None:
    assert_type(chat.invoke("Hi"), AIMessage)
    assert_type(chat.batch(["Hi"]), list[AIMessage])
    for piece in chat.stream("Hi"):
        assert_type(piece, AIMessageChunk)
    answer = chat.bind_tools([chats]).invoke("Hi")
    assert_type(answer, AIMessage)


def embed(embeddings: ParadigmEmbeddings) -> None:
    assert_type(embeddings.embed_query("Hi"), list[float])
    assert_type(embeddings.embed_documents(["Hi"]), list[list[float]])


def search(retriever: ParadigmRetriever) -> None:
    assert_type(retriever.invoke("Hi", k=2), list[Document])
    assert_type(retriever.batch(["Hi"]), list[list[Document]])
    assert_type(retriever.k, int | None)


async def asynchronous() -> None:
    async with ParadigmLLM(model="m") as llm:
        assert_type(llm, ParadigmLLM)
        assert_type(await llm.ainvoke("Hi"), str)
        assert_type(await llm.abatch(["Hi"]), list[str])
        async for text in llm.astream("Hi"):
            assert_type(text, str)


def mistakes(llm: ParadigmLLM, chat: ChatParadigm) -> None:
    ChatParadigm(model=1, chat_template="alfred")  # type: ignore[arg-type]  # pyright: ignore
    chat.invoke("Hi").upper()  # type: ignore[attr-defined]  # pyright: ignore
    ParadigmLLM()  # type: ignore[call-arg]  # pyright: ignore
    ParadigmLLM(model="m", max_tokens="many")  # type: ignore[arg-type]  # pyright: ignore
    ParadigmLLM(model="m", no_such_argument=1)  # type: ignore[call-arg]  # pyright: ignore
    ParadigmRetriever(mode="audio")  # type: ignore[arg-type]  # pyright: ignore
    ParadigmEmbeddings(model="m", max_tokens=5)  # type: ignore[call-arg]  # pyright: ignore
    number: int = llm.invoke("Hi")  # type: ignore[assignment]  # pyright: ignore
    llm.no_such_method(number)  # type: ignore[attr-defined]  # pyright: ignore
