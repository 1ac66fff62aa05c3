"""`paradigm-local demo`: both `ParadigmLLM` classes at work on a real model, and every token accounted for."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paradigm_local.errors import LocalParadigmError
from paradigm_local.local import LocalParadigm
from paradigm_transport import ParadigmError

try:
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.outputs import LLMResult
    from langchain_core.prompts import ChatPromptTemplate
    from llama_index.core import SimpleDirectoryReader, get_response_synthesizer
    from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
    from llama_index.core.node_parser import MarkdownNodeParser
    from llama_index.core.query_engine import RetrieverQueryEngine
    from llama_index.core.schema import BaseNode
    from llama_index.retrievers.bm25 import BM25Retriever
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    from langchain_paradigm import ParadigmLLM as LangChainLLM
    from llama_index_paradigm import ParadigmLLM as LlamaIndexLLM
except ModuleNotFoundError as missing:
    raise LocalParadigmError(
        f"The demo needs {missing.name}, which is not here: pip install 'paradigm-llm[all]'"
    ) from None

TOPIC = "the sea salty"
QUESTIONS = ("How many stop sequences can I give?", "What is the default of max_tokens?")
BEGINNINGS = ("The capital of France is", "The opposite of hot is", "The sun rises in the", "One, two, three,")
PASSAGES = 2
PAGES = ("index.md", "chat-templates.md", "errors.md")
"""Pages of prose; of long tables and code, so small a model can make nothing."""


@dataclass(frozen=True)
class _Call:
    """The tokens of one call, as a callback of its framework saw them."""

    name: str
    prompt_tokens: int
    completion_tokens: int


def main(options: argparse.Namespace) -> int:
    """Run the demo and give the exit code: 0 where callbacks and server counted the same tokens.

    Args:
        options: `model`, `context` and `parallel`, as for `LocalParadigm`.

    Raises:
        LocalParadigmError: the local Paradigm cannot start, or a call to it failed.
    """
    console = Console(highlight=False)
    paradigm = LocalParadigm(options.model, context=options.context, parallel=options.parallel)
    began = time.perf_counter()
    with paradigm:
        ready = time.perf_counter() - began
        console.print(
            f"A local Paradigm serves {paradigm.model} at {paradigm.base_url}, ready in {ready:.1f} s.\n"
            "All that follows is what this small model says; larger ones know more.",
            soft_wrap=True,
        )
        try:
            calls = [*_stream_a_chain(console, paradigm), *_ask_the_docs(console, paradigm), *_batch(console, paradigm)]
        except ParadigmError as error:
            raise LocalParadigmError(str(error)) from None
        return _show_usage(console, calls, paradigm)


def _stream_a_chain(console: Console, paradigm: LocalParadigm) -> list[_Call]:
    """A LangChain chain of prompt, model and parser, streamed token by token."""
    console.rule("LangChain: a chain, streaming", align="left")
    usage = _UsageHandler("LangChain stream")
    llm = LangChainLLM(**_access(paradigm), chat_template="chatml", max_tokens=60, temperature=0.0)
    prompt = ChatPromptTemplate.from_messages([("human", "Why is {topic}? Answer in one sentence.")])
    chain = prompt | llm | StrOutputParser()
    _show_stream(console, chain.stream({"topic": TOPIC}, config={"callbacks": [usage]}))
    console.print()
    return usage.calls


def _ask_the_docs(console: Console, paradigm: LocalParadigm) -> list[_Call]:
    """A LlamaIndex query engine over this project's docs, with the passages that its answers stand on."""
    console.rule("LlamaIndex: questions about this project's docs", align="left")
    counter = TokenCountingHandler(tokenizer=str.split)  # it counts what a server does not; this one counts all
    llm = LlamaIndexLLM(**_access(paradigm), chat_template="chatml", max_tokens=60, temperature=0.0, stop="\n\n")
    retriever = BM25Retriever.from_defaults(nodes=_passages(), similarity_top_k=PASSAGES)
    manager = CallbackManager([counter])
    synthesizer = get_response_synthesizer(llm=llm, callback_manager=manager, streaming=True)
    engine = RetrieverQueryEngine(retriever, response_synthesizer=synthesizer, callback_manager=manager)
    for question in QUESTIONS:
        console.print(f"[bold]{question}[/]")
        answer: Any = engine.query(question)
        _show_stream(console, answer.response_gen)
        for node in answer.source_nodes:
            _show_passage(console, node.get_content())
    counts = counter.llm_token_counts
    return [_Call("LlamaIndex query", each.prompt_token_count, each.completion_token_count) for each in counts]


def _batch(console: Console, paradigm: LocalParadigm) -> list[_Call]:
    """Prompts as they are, all at once, each a request of its own."""
    console.rule("LangChain: a batch", align="left")
    usage = _UsageHandler("LangChain batch")
    llm = LangChainLLM(**_access(paradigm), max_tokens=12, temperature=0.0, stop=[".", "\n"])
    endings = llm.batch(list(BEGINNINGS), config={"callbacks": [usage]})
    for beginning, ending in zip(BEGINNINGS, endings, strict=True):
        console.print(f"{beginning}[bold]{ending}[/]")
    console.print()
    return usage.calls


def _access(paradigm: LocalParadigm) -> dict[str, str]:
    return {"model": paradigm.model, "api_key": paradigm.api_key, "base_url": paradigm.base_url}


class _UsageHandler(BaseCallbackHandler):
    """Notes the usage that LangChain's callbacks are given, run by run."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.calls: list[_Call] = []

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        info = response.generations[0][0].generation_info or {}
        usage = info["usage_metadata"]
        self.calls.append(_Call(self._name, usage["input_tokens"], usage["output_tokens"]))


def _passages() -> list[BaseNode]:
    documents = SimpleDirectoryReader(input_files=[docs_folder() / page for page in PAGES]).load_data()
    passages = MarkdownNodeParser().get_nodes_from_documents(documents)
    for passage in passages:  # paths and headings of files tell the model nothing
        passage.excluded_llm_metadata_keys = list(passage.metadata)
    return passages


def docs_folder() -> Path:
    """This project's docs: inside the package where it is installed, beside it in a checkout."""
    here = Path(__file__).parent
    return here / "docs" if (here / "docs").is_dir() else here.parent / "docs"


def _show_stream(console: Console, pieces: Iterable[str]) -> None:
    """Print a text as it comes, a word at a time, so that its lines break between words."""
    column = 0
    for word in _words(pieces):
        if "\n" in word:
            column = 0
        elif column + len(word) > console.width:
            console.print()
            column, word = 0, word.lstrip()
        console.print(word, end="", markup=False, soft_wrap=True)
        column += len(word.rpartition("\n")[2])
    console.print()


def _words(pieces: Iterable[str]) -> Iterator[str]:
    """The words of a text, each with the space before it, whichever pieces it comes in."""
    held = ""
    for piece in pieces:
        *whole, held = re.split(r"(?<=\S)(?=\s)", held + piece)
        yield from whole
    yield held


def _show_passage(console: Console, text: str) -> None:
    heading, _, body = text.partition("\n\n")
    first = body.strip().split("\n\n")[0].replace("\n", " ")
    console.print(Padding(f"[dim]from “{heading.lstrip('# ')}”: {first[:160]}…[/]", (0, 0, 0, 4)))
    console.print()


def _show_usage(console: Console, calls: Iterable[_Call], paradigm: LocalParadigm) -> int:
    """The table of usage; the exit code says whether both sides counted the same."""
    calls = list(calls)
    console.rule("Token usage, as the callbacks saw it", align="left")
    table = Table("call", box=None)
    for heading in ("prompt", "completion", "total"):
        table.add_column(heading, justify="right")
    for call in calls:
        _add_row(table, call.name, call.prompt_tokens, call.completion_tokens)
    seen = sum(call.prompt_tokens for call in calls), sum(call.completion_tokens for call in calls)
    counted = paradigm.total_usage.prompt_tokens, paradigm.total_usage.completion_tokens
    table.add_section()
    _add_row(table, "all callbacks", *seen)
    _add_row(table, "the server's own count", *counted)
    console.print(table)
    console.print("Both are equal." if seen == counted else "[bold red]They differ: please report this.[/]")
    return 0 if seen == counted else 1


def _add_row(table: Table, name: str, prompt_tokens: int, completion_tokens: int) -> None:
    table.add_row(name, str(prompt_tokens), str(completion_tokens), str(prompt_tokens + completion_tokens))
