"""`paradigm-local demo`: chains, tools, documents and a rate limit, with real models, and the usage of every call."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from math import acos, cos, radians, sin
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from paradigm_local.errors import LocalParadigmError
from paradigm_local.local import LocalParadigm
from paradigm_transport import ParadigmError, get_paradigm_usage

try:
    from langchain_core.documents import Document
    from langchain_core.messages import BaseMessage, HumanMessage
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.tools import tool
    from langchain_core.vectorstores import InMemoryVectorStore
    from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
    from llama_index.core.node_parser import MarkdownNodeParser, SentenceSplitter
    from llama_index.core.schema import BaseNode
    from rich.console import Console
    from rich.text import Text

    from langchain_paradigm import ChatParadigm, ParadigmEmbeddings
    from langchain_paradigm import ParadigmLLM as LangChainLLM
    from llama_index_paradigm import ParadigmEmbedding
    from llama_index_paradigm import ParadigmLLM as LlamaIndexLLM
    from paradigm_local.demo_output import (
        Part,
        make_console,
        show_pace,
        show_sources,
        show_stream,
        show_title,
        show_usage,
    )
except ModuleNotFoundError as missing:
    raise LocalParadigmError(
        f"The demo needs {missing.name}, which is not installed: run `pip install 'paradigm-llm[all]'`."
    ) from None

if TYPE_CHECKING:
    from llama_index.core.base.response.schema import StreamingResponse

TOPIC = "the sea salty"
LLAMA_INDEX_QUESTION = "How many stop sequences can I give?"
LANGCHAIN_QUESTION = "What is the maximum size of a response?"
LANGCHAIN_PROMPT = (
    "Passages:\n---------\n{context}\n---------\n"
    "Answer from these passages alone, and not from memory.\nQuestion: {question}\nAnswer: "
)
TOOL_QUESTION = "How far is Rome from Paris?"
ENDPOINTS = {"/chat/completions": None, "/completions": "chatml"}
"""The endpoints that a chat can use, and the `chat_template` that leads there."""

COUNTRIES = (
    "France", "Italy", "Spain", "Germany", "Portugal", "Greece", "Norway", "Sweden", "Denmark", "Austria",
    "Japan", "China", "Russia", "Cuba", "Kenya", "Canada", "Mexico", "Thailand", "Hungary", "England",
)  # fmt: skip
RATE = 5  # requests a second that the server accepts during the batch
PASSAGES = 2
PAGES = ("index.md", "errors.md")
"""The pages that the questions are about: LlamaIndex's the first, LangChain's the second."""

PASSAGE_TOKENS = 200
PREFIXES = {"query_prefix": "query: ", "document_prefix": "passage: "}
"""What E5 was trained to see in front of texts."""


def main(options: argparse.Namespace) -> int:
    """Run the demo.

    Args:
        options: `model`, `embedding_model`, `context` and `parallel`, as for `LocalParadigm`.

    Returns:
        The exit code: 0 if the callers and the server counted the same tokens.

    Raises:
        LocalParadigmError: the local Paradigm cannot start, or a call to it failed.
    """
    console = make_console()
    paradigm = LocalParadigm(
        options.model,
        embedding_model=options.embedding_model,
        context=options.context,
        parallel=options.parallel,
    )
    began = time.perf_counter()
    with paradigm:
        console.print(
            f"A local Paradigm serves {paradigm.model} at {paradigm.base_url}. This small model writes all texts "
            f"below; larger ones know more. {paradigm.embedding_model} finds the passages."
        )
        try:
            parts = [
                _stream_a_chain(console, paradigm),
                _chat_with_a_tool(console, paradigm),
                _ask_with_llama_index(console, paradigm),
                _ask_with_langchain(console, paradigm),
                _batch_under_a_limit(console, paradigm),
            ]
        except ParadigmError as error:
            raise LocalParadigmError(str(error)) from None
        show_title(console, "Token usage, as reported to the callers and as counted by the server")
        is_equal = show_usage(console, parts, paradigm.total_usage)
        verdict = "Both counts are equal." if is_equal else "[bold red]The counts differ: please report this.[/]"
        console.print(f"{verdict} The demo took {time.perf_counter() - began:.0f} s.")
        return 0 if is_equal else 1


def _stream_a_chain(console: Console, paradigm: LocalParadigm) -> Part:
    """Stream a chain of prompt, model and parser."""
    show_title(console, "LangChain: a chain, streamed")
    llm = LangChainLLM(**_access(paradigm), chat_template="chatml", max_tokens=60, temperature=0.0)
    prompt = ChatPromptTemplate.from_messages([("human", "Why is {topic}? Answer in one sentence.")])
    chain = prompt | llm | StrOutputParser()
    with get_paradigm_usage() as usage:
        show_stream(console, chain.stream({"topic": TOPIC}))
    return Part.of("chain", usage)


PLACES = {"Paris": (48.86, 2.35), "Rome": (41.89, 12.48), "Oslo": (59.91, 10.75), "Madrid": (40.42, -3.70)}
EARTH_RADIUS = 6371


@tool
def distance_from_paris(city: Literal["Rome", "Oslo", "Madrid"]) -> str:
    """Return the distance from Paris to a city."""
    (north, east), (paris_north, paris_east) = (map(radians, PLACES[name]) for name in (city, "Paris"))
    angle = acos(sin(north) * sin(paris_north) + cos(north) * cos(paris_north) * cos(east - paris_east))
    return f"{EARTH_RADIUS * angle:,.0f} km"


def _chat_with_a_tool(console: Console, paradigm: LocalParadigm) -> Part:
    """Let the model call a tool, run it, and stream the answer, over both endpoints."""
    show_title(console, "LangChain: a chat that calls a tool, over both endpoints")
    console.print(f"[bold]{TOOL_QUESTION}[/]")
    with get_paradigm_usage() as usage:
        for endpoint, template in ENDPOINTS.items():
            console.print(Text(f"POST {endpoint} (chat_template={template!r})", style="dim"))
            chat = ChatParadigm(
                **_access(paradigm), chat_template=template, constrain="vllm", max_tokens=60, temperature=0.0
            )
            messages: list[BaseMessage] = [HumanMessage(TOOL_QUESTION)]
            # A larger model decides by itself whether to call a tool; this small one has to.
            request = chat.bind_tools([distance_from_paris], tool_choice="distance_from_paris").invoke(messages)
            messages.append(request)
            for call in request.tool_calls:
                result = distance_from_paris.invoke(call)
                messages.append(result)
                arguments = ", ".join(f"{name}={value!r}" for name, value in call["args"].items())
                console.print(Text(f"  {call['name']}({arguments}) returns {result.content}"))
            show_stream(console, (chat | StrOutputParser()).stream(messages))
    return Part.of("chat with a tool", usage)


def _ask_with_llama_index(console: Console, paradigm: LocalParadigm) -> Part:
    """Index a page of this project's docs, query it, and show the sources of the answer."""
    show_title(console, "LlamaIndex: an answer from this project's docs, with its sources")
    llm = LlamaIndexLLM(**_access(paradigm), chat_template="chatml", max_tokens=60, temperature=0.0, stop="\n\n")
    embed_model = ParadigmEmbedding(**_embedding_access(paradigm), **PREFIXES)
    console.print(f"[bold]{LLAMA_INDEX_QUESTION}[/]")
    with get_paradigm_usage() as usage:
        index = VectorStoreIndex(_passages(PAGES[0]), embed_model=embed_model)
        engine = index.as_query_engine(llm=llm, similarity_top_k=PASSAGES, streaming=True)
        answer = cast("StreamingResponse", engine.query(LLAMA_INDEX_QUESTION))
        show_stream(console, answer.response_gen)
    found = [(node.metadata["section"], node.score or 0.0) for node in answer.source_nodes]
    show_sources(console, [(PAGES[0], *each) for each in found])
    return Part.of("LlamaIndex's index", usage)


def _ask_with_langchain(console: Console, paradigm: LocalParadigm) -> Part:
    """Search another page with a vector store, and answer from what it finds."""
    show_title(console, "LangChain: an answer from a vector store, with its sources")
    llm = LangChainLLM(**_access(paradigm), chat_template="chatml", max_tokens=60, temperature=0.0, stop="\n\n")
    embeddings = ParadigmEmbeddings(**_embedding_access(paradigm), **PREFIXES)
    chain = ChatPromptTemplate.from_template(LANGCHAIN_PROMPT) | llm | StrOutputParser()
    console.print(f"[bold]{LANGCHAIN_QUESTION}[/]")
    with get_paradigm_usage() as usage:
        passages = [Document(each.get_content(), metadata=each.metadata) for each in _passages(PAGES[1])]
        store = InMemoryVectorStore.from_documents(passages, embeddings)
        found = store.similarity_search_with_score(LANGCHAIN_QUESTION, k=PASSAGES)
        context = "\n\n".join(document.page_content for document, _ in found)
        show_stream(console, chain.stream({"context": context, "question": LANGCHAIN_QUESTION}))
    show_sources(console, [(PAGES[1], document.metadata["section"], score) for document, score in found])
    return Part.of("LangChain's vector store", usage)


def _batch_under_a_limit(console: Console, paradigm: LocalParadigm) -> Part:
    """Complete many prompts at once, while the server refuses requests that come too fast."""
    title = f"LangChain: a batch of {len(COUNTRIES)} prompts to a server that accepts {RATE} requests a second"
    show_title(console, title)
    llm = LangChainLLM(**_access(paradigm), max_tokens=5, temperature=0.0, stop=[".", ",", "\n"])

    def answers() -> Iterator[tuple[float, str]]:
        began = time.perf_counter()
        for _, ending in llm.batch_as_completed([f"The capital of {country} is" for country in COUNTRIES]):
            yield time.perf_counter() - began, ending.strip()

    paradigm.limit_requests(RATE)
    with get_paradigm_usage() as usage:
        count = show_pace(console, answers())
    paradigm.limit_requests(None)
    pace = llm.client.pace
    console.print(f"{count} of {len(COUNTRIES)} answers arrived. {pace.refusals} requests were refused and sent again.")
    return Part.of("batch", usage)


def _access(paradigm: LocalParadigm) -> dict[str, str]:
    return {"model": paradigm.model, "api_key": paradigm.api_key, "base_url": paradigm.base_url}


def _embedding_access(paradigm: LocalParadigm) -> dict[str, str]:
    return {**_access(paradigm), "model": paradigm.embedding_model}


def _passages(page: str) -> list[BaseNode]:
    """Split a page into passages; their metadata names the section."""
    documents = SimpleDirectoryReader(input_files=[docs_folder() / page]).load_data()
    sections = MarkdownNodeParser().get_nodes_from_documents(documents)
    for section in sections:
        section.metadata = {"section": section.get_content().partition("\n")[0].strip("#` ")}
    splitter = SentenceSplitter(chunk_size=PASSAGE_TOKENS, chunk_overlap=0)
    return list(splitter(sections))


def docs_folder() -> Path:
    """Return the folder of this project's docs: inside an installed package, beside it in a checkout."""
    here = Path(__file__).parent
    return here / "docs" if (here / "docs").is_dir() else here.parent / "docs"
