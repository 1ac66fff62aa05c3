"""Which passage of the docs answers a question: embeddings beside BM25, by the share of answers among the first.

python -m benchmarks.retrieval
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.node_parser import MarkdownNodeParser, SentenceSplitter
from llama_index.core.schema import BaseNode
from llama_index.retrievers.bm25 import BM25Retriever

from llama_index_paradigm import ParadigmEmbedding
from paradigm_local import LocalParadigm

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("agents", "bulk", "chat-templates", "errors", "index", "langchain", "llama-index", "local-paradigm", "usage")
FIRST = (1, 3, 5)


class Question(NamedTuple):
    """A question, and words of which the passage that answers it has one."""

    text: str
    answers: tuple[str, ...]


ENGLISH = [
    Question("How many stop sequences can I give?", ("up to four stop sequences",)),
    Question("What if the server asks me to wait for two minutes?", ("If it asks for more than 60 seconds",)),
    Question("How do I catch every failure of this library at once?", ("Catch `ParadigmError`",)),
    Question("Where is the text that arrived before the connection broke?", ("`partial_text`",)),
    Question("Is my key ever written to a log file?", ("not in a log, an error, a trace",)),
    Question("How do I point it to a server of my own company?", ("For your own server, set",)),
    Question("Which variable of the environment holds my credentials?", ("Set the environment variable",)),
    Question("Can I go through a corporate proxy?", ("Proxies (`HTTPS_PROXY`)", "for a proxy")),
    Question("How long may one call take altogether?", ("one hour, with all its",)),
    Question("How large may an answer be?", ("The largest response is 64 MiB", "the most bytes of a response")),
    Question(
        "How many requests are sent at the same time?", ("`max_concurrency` (32 by default)", "in flight at once")
    ),
    Question("How do I process ten thousand prompts?", ("For ten thousand prompts",)),
    Question("Can the work be spread over a cluster of machines?", ("If one machine is not enough",)),
    Question("Which markup do LightOn's own models expect?", ("LightOn's alfred models",)),
    Question("How do I describe the turns of a model that is not in the list?", ("has a form for one turn",)),
    Question("Is it safe to load a template from a stranger?", ("A template may come from anyone",)),
    Question("Can the chat model look at pictures?", ("**Images** and other content",)),
    Question("What becomes of the model's chain of thought?", ("writes tool calls and thoughts",)),
    Question("How do I find out what my calls cost in euros?", ("`price` is per million tokens", "price=(0.5, 1.5)")),
    Question("Are token counts guessed if the server sends none?", ("Usage is the server's own count",)),
    Question("Why does my trace show a message and not a string?", ("traces show a message instead of a string",)),
    Question("How do I test that my code copes with an overloaded server?", ("make the next replies fail",)),
    Question("How do I try it without a key or a network?", ("without a key, a GPU or a network",)),
    Question("Can colleagues reach the server on my machine?", ("`--allowed-host`",)),
    Question("How big may the body of a request be?", ("| body of a request | 4 MiB",)),
    Question("Can the local model fill in the middle of a text?", ("the model cannot fill in text",)),
    Question("How do I make sure that the model returns valid JSON?", ('constrain="vllm"', "`constrain`")),
    Question("How do I keep answers so that the same question costs nothing?", ("## Caching",)),
    Question("How do I send no more than a few requests a second?", ("## Rate limits", "hands out turns")),
    Question("How do I learn the number of tokens of a text?", ("## Counting tokens", "`get_num_tokens`")),
    Question("How do I stop a generation before it is complete?", ("the server stops generating",)),
    Question("How does LlamaIndex know how long a prompt may be?", ("## The context window",)),
    Question("What happens to a reply that is cut off in the middle?", ("was cut. It raises", "broke off")),
    Question("Do failed requests get sent again?", ("A request is sent again after",)),
    Question("How do I store a model's settings in a file?", ("## Saving",)),
    Question("What do I install for both frameworks?", ("extra `all` installs both",)),
]

FRENCH = [
    Question("Combien de séquences d'arrêt puis-je donner ?", ("up to four stop sequences",)),
    Question("Que se passe-t-il quand un flux est interrompu ?", ("was cut. It raises",)),
    Question("Comment utiliser le serveur de mon entreprise ?", ("For your own server, set",)),
    Question("Où dois-je mettre ma clé ?", ("Set the environment variable",)),
    Question("Combien de temps un appel peut-il durer ?", ("one hour, with all its",)),
    Question("Comment connaître le coût de mes appels ?", ("`price` is per million tokens", "price=(0.5, 1.5)")),
    Question("Le modèle peut-il voir des images ?", ("**Images** and other content",)),
    Question("Comment traiter dix mille textes ?", ("For ten thousand prompts",)),
]

Search = Callable[[str], list[str]]
"""Returns the passages for a question, the best first."""


def passages() -> list[BaseNode]:
    """Return the docs in pieces that an embedding model of 512 tokens can take."""
    documents = SimpleDirectoryReader(input_files=[DOCS / f"{page}.md" for page in PAGES]).load_data()
    sections = MarkdownNodeParser().get_nodes_from_documents(documents)
    return list(SentenceSplitter(chunk_size=256, chunk_overlap=0, include_metadata=False)(sections))


def search_of(nodes: Sequence[BaseNode], paradigm: LocalParadigm, **prefixes: str) -> Search:
    """Return a search by embeddings."""
    access = {"model": paradigm.embedding_model, "api_key": paradigm.api_key, "base_url": paradigm.base_url}
    index = VectorStoreIndex(nodes, embed_model=ParadigmEmbedding(**access, **prefixes))
    retriever = index.as_retriever(similarity_top_k=max(FIRST))
    return lambda text: [found.node.get_content() for found in retriever.retrieve(text)]


def bm25_of(nodes: Sequence[BaseNode]) -> Search:
    """Return a search by words."""
    retriever = BM25Retriever.from_defaults(nodes=list(nodes), similarity_top_k=max(FIRST))
    return lambda text: [found.node.get_content() for found in retriever.retrieve(text)]


def hits(search: Search, questions: Sequence[Question]) -> list[float]:
    """Return the share of questions whose answer is among the first passages, for each number of `FIRST`."""
    found = [
        [any(answer in text for answer in question.answers) for text in search(question.text)] for question in questions
    ]
    return [sum(any(each[:first]) for each in found) / len(questions) for first in FIRST]


def main() -> None:
    """Measure and print."""
    nodes = passages()
    texts = [node.get_content() for node in nodes]
    for question in ENGLISH + FRENCH:
        assert any(answer in text for answer in question.answers for text in texts), question
    print(f"{len(nodes)} passages; {len(ENGLISH)} questions in English, {len(FRENCH)} in French")
    print(
        f"{'':32}"
        + "".join(f"{f'en@{first}':>8}" for first in FIRST)
        + "".join(f"{f'fr@{first}':>8}" for first in FIRST)
    )
    with LocalParadigm() as paradigm:
        searches = {
            "BM25": bm25_of(nodes),
            "E5, with its prefixes": search_of(nodes, paradigm, query_prefix="query: ", document_prefix="passage: "),
            "E5, without prefixes": search_of(nodes, paradigm),
        }
        for name, search in searches.items():
            shares = hits(search, ENGLISH) + hits(search, FRENCH)
            print(f"{name:32}" + "".join(f"{share:>8.2f}" for share in shares), flush=True)


if __name__ == "__main__":
    main()
