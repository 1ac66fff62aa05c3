# %% [markdown]
# # LlamaIndex: answers from documents
#
# Ask questions about this project's documentation. The answers come from matching passages, shown as their sources.
#
# With `PARADIGM_API_KEY` set, this notebook runs on the service. Otherwise, as for the outputs below, it runs on a
# [local Paradigm](../docs/local-paradigm.md). Its model of 135 million parameters can repeat what a passage says, but
# reasons badly; a second model embeds texts.

# %%
# In a checkout on a new machine, this installs what is missing.
import subprocess
import sys
from importlib.util import find_spec

if not all(map(find_spec, ("paradigm_local", "langchain", "matplotlib"))):
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "..[all]", "langchain", "matplotlib"], check=True)

# %%
import os

from paradigm_local import LocalParadigm

if "PARADIGM_API_KEY" in os.environ:
    model, chat_template = "alfred-4.2", "alfred"
    embedding_model = "multilingual-e5-large"
else:
    local = LocalParadigm()
    local.start()
    os.environ.update(PARADIGM_API_KEY=local.api_key, PARADIGM_BASE_URL=local.base_url)
    model, chat_template = local.model, "chatml"
    embedding_model = local.embedding_model

# %% [markdown]
# ## The documents
#
# Two pages, split into sections, and long sections into passages: embedding models take texts of a few hundred tokens.

# %%
from llama_index.core import SimpleDirectoryReader
from llama_index.core.node_parser import MarkdownNodeParser, SentenceSplitter
from paradigm_local.demo import docs_folder

pages = [docs_folder() / name for name in ("index.md", "errors.md")]
sections = MarkdownNodeParser().get_nodes_from_documents(
    SimpleDirectoryReader(input_files=pages).load_data()
)
passages = SentenceSplitter(chunk_size=200, chunk_overlap=0, include_metadata=False)(
    sections
)
len(passages)

# %% [markdown]
# ## An index
#
# Each passage is embedded once. A question is embedded too, and the nearest passages are the closest in meaning, in
# any words and any language. E5, the model family that Paradigm offers, was trained with a prefix in front of each
# text: see [Embeddings](../docs/embeddings.md).

# %%
from llama_index.core import VectorStoreIndex
from llama_index_paradigm import ParadigmEmbedding

embed_model = ParadigmEmbedding(
    model=embedding_model, query_prefix="query: ", document_prefix="passage: "
)
index = VectorStoreIndex(passages, embed_model=embed_model)
retriever = index.as_retriever(similarity_top_k=1)
print(retriever.retrieve("Combien de séquences d'arrêt ?")[0].get_content())

# %% [markdown]
# ## How well it finds
#
# Each of these twelve questions has a phrase from the passage that answers it. How often is that passage among the
# first one, two or three results? The chart compares embeddings with a search by words (BM25), which does well if a
# question uses the words of the page. Twelve questions are an example, not a measurement:
# [Embeddings](../docs/embeddings.md) has one.

# %%
import matplotlib.pyplot as plt
from llama_index.retrievers.bm25 import BM25Retriever

questions = {
    "How many stop sequences can I give?": "up to four stop sequences",
    "Combien de séquences d'arrêt puis-je donner ?": "up to four stop sequences",
    "Which variable holds the key?": "PARADIGM_API_KEY",
    "Quelle variable contient la clé ?": "PARADIGM_API_KEY",
    "What happens to a stream that breaks?": "StreamInterruptedError`, and never",
    "Que se passe-t-il si un flux est interrompu ?": "StreamInterruptedError`, and never",
    "How many tokens are generated if I choose nothing?": "the most tokens to generate",
    "Combien de jetons sont générés par défaut ?": "the most tokens to generate",
    "Is my HTTP client closed?": "client is never closed",
    "Mon client HTTP est-il fermé ?": "client is never closed",
    "Which statuses are retried?": "the statuses 408, 409, 429",
    "Quels statuts sont réessayés ?": "the statuses 408, 409, 429",
}


def shares(retriever):
    """Return how often the right passage is among the first one, two and three."""
    counts = [0, 0, 0]
    for question, phrase in questions.items():
        texts = [" ".join(node.text.split()) for node in retriever.retrieve(question)]
        for first in range(3):
            counts[first] += any(phrase in text for text in texts[: first + 1])
    return [count / len(questions) for count in counts]


by_meaning = shares(index.as_retriever(similarity_top_k=3))
by_words = shares(BM25Retriever.from_defaults(nodes=passages, similarity_top_k=3))

figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
axes.bar([0.8, 1.8, 2.8], by_meaning, 0.38, label="embeddings")
axes.bar([1.2, 2.2, 3.2], by_words, 0.38, label="words (BM25)")
axes.set(xticks=[1, 2, 3], xlabel="passages retrieved", ylabel="found", ylim=(0, 1))
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## A query engine
#
# The engine puts the passage and the question into one prompt. `stop` ends the answer after its first paragraph.

# %%
from llama_index.core import get_response_synthesizer
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index_paradigm import ParadigmLLM

llm = ParadigmLLM(
    model=model, chat_template=chat_template, max_tokens=60, temperature=0, stop="\n\n"
)
engine = RetrieverQueryEngine(retriever, get_response_synthesizer(llm=llm))
answer = engine.query("How many stop sequences can I give?")
print(answer)

# %% [markdown]
# ## The sources
#
# A response includes the passages that it is based on. A model this small makes mistakes: if the two differ, the
# passage is right.


# %%
def ask(question):
    answer = engine.query(question)
    print(f"{question}\n  {answer}")
    for node in answer.source_nodes:
        heading = node.get_content().splitlines()[0].lstrip("# ")
        print(f"  from “{heading}” (score {node.score:.2f})\n")


ask("What does the extra `all` install?")
ask("Which logger logs each retry?")

# %% [markdown]
# ## Streaming

# %%
streaming = RetrieverQueryEngine(
    retriever, get_response_synthesizer(llm=llm, streaming=True)
)
for text in streaming.query("What happens when I close a stream?").response_gen:
    print(text, end="", flush=True)

# %% [markdown]
# ## Token usage
#
# LlamaIndex's counter reads the server's own counts. Prompts are long here, since each contains a passage.

# %%
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler

counter = TokenCountingHandler()
llm.callback_manager = CallbackManager([counter])
ask("How many stop sequences can I give?")
print(counter.prompt_llm_token_count, "tokens of prompts")
print(counter.completion_llm_token_count, "generated")

# %% [markdown]
# ## The same with LangChain
#
# The same passages in a LangChain vector store, and a chain of its retriever, a prompt and the model.

# %%
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_paradigm import ParadigmEmbeddings
from langchain_paradigm import ParadigmLLM as LangChainLLM

store = InMemoryVectorStore.from_texts(
    [passage.get_content() for passage in passages],
    ParadigmEmbeddings(
        model=embedding_model, query_prefix="query: ", document_prefix="passage: "
    ),
)


def show(documents):
    for document in documents:
        print("from:", " ".join(document.page_content.split())[:80], "…")
    return "\n\n".join(document.page_content for document in documents)


prompt = ChatPromptTemplate.from_template(
    "Passages:\n{context}\n\nAnswer from these passages alone.\n"
    "Question: {question}\nAnswer: "
)
retriever = store.as_retriever(search_kwargs={"k": 2})
chain = (
    {"context": retriever | show, "question": RunnablePassthrough()}
    | prompt
    | LangChainLLM(
        model=model,
        chat_template=chat_template,
        max_tokens=60,
        temperature=0,
        stop="\n\n",
    )
    | StrOutputParser()
)
print(chain.invoke("How many stop sequences can I give?"))

# %% [markdown]
# See also [LlamaIndex](../docs/llama-index.md), and [Token usage](../docs/usage.md) for other counters and tracers.
