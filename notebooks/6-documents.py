# %% [markdown]
# # Answers from a folder, with page numbers
#
# `ParadigmRetriever` searches a folder of PDF, Markdown and HTML, and each answer names the file and the page.
# Everything runs on this machine: the [local Paradigm](../docs/local-paradigm.md) indexes the folder and serves the
# same search API as Paradigm.
#
# On the service, skip the cell that starts it, set `PARADIGM_API_KEY`, and replace `local.model`: the same code then
# searches the documents that your key may read.

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

local = LocalParadigm(documents="handbook")
local.start()
os.environ.update(PARADIGM_API_KEY=local.api_key, PARADIGM_BASE_URL=local.base_url)
print(local.index.describe())

# %% [markdown]
# ## Search
#
# The search looks for words and for meaning: no passage contains the word *notebook*, and the second question is in
# French. The local Paradigm has no model that scores relevance, so scoring is turned off.

# %%
from langchain_paradigm import ParadigmRetriever

retriever = ParadigmRetriever(k=1, relevance_scoring="none")


def show(document):
    place = f"{document.metadata['filename']}, page {document.metadata['page_start']}"
    print(f"[{place}] {' '.join(document.page_content.split())}\n")


for question in ("What if my notebook is stolen?", "Combien coûte un hôtel ?"):
    show(retriever.invoke(question)[0])

# %% [markdown]
# ## Answers that cannot be made up
#
# A model this small invents what it does not know. So let it choose: the server allows only the sentences of the
# retrieved passage, and the page is the passage's.

# %%
import re

from langchain_paradigm import ParadigmLLM

llm = ParadigmLLM(
    model=local.model, chat_template="chatml", temperature=0, max_tokens=80
)


def answer(question):
    (document,) = retriever.invoke(question)
    text = " ".join(document.page_content.replace("#", "").split())
    sentences = re.split(r"(?<=[.!?])\s+", text)
    chosen = llm.invoke(
        f"{text}\n\nWhich sentence answers the question: {question}",
        extra_body={"structured_outputs": {"choice": sentences}},
    )
    print(question)
    print(f"  {chosen}")
    print(
        f"  {document.metadata['filename']}, page {document.metadata['page_start']}\n"
    )


answer("How long is parental leave?")
answer("What do I do if my laptop is stolen?")
answer("What is the daily allowance for meals?")
answer("How many days of paid leave do I have?")
answer("When are expenses paid back?")

# %% [markdown]
# ## The same in LlamaIndex
#
# A query engine puts the passage into its prompt, with the file and the page above it, and keeps it as a source. Here
# the model writes freely: if it differs from the page, the page is right.

# %%
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index_paradigm import ParadigmLLM as LlamaIndexLLM
from llama_index_paradigm import ParadigmRetriever as LlamaIndexRetriever

engine = RetrieverQueryEngine.from_args(
    LlamaIndexRetriever(similarity_top_k=1, relevance_scoring="none"),
    llm=LlamaIndexLLM(
        model=local.model,
        chat_template="chatml",
        temperature=0,
        max_tokens=60,
        stop="\n\n",
    ),
)
for question in (
    "What is the daily allowance for meals?",
    "How many days a week may I work from home?",
):
    response = engine.query(question)
    (source,) = response.source_nodes
    print(question)
    print(f"  {response}")
    print(f"  {source.metadata['file_name']}, page {source.metadata['page_label']}\n")

# %% [markdown]
# ## Filters
#
# Each subfolder is a workspace. `paradigm.json` gives the files tags, content types and attributes to filter by, as on
# the service.

# %%
for document in retriever.invoke("Who is in the office?", k=2, workspace_id=1):
    show(document)

# %%
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

recent = MetadataFilters(
    filters=[MetadataFilter(key="valid_from", value="2026-01-01", operator=">=")]
)
for node in LlamaIndexRetriever(filters=recent, relevance_scoring="none").retrieve(
    "What are the rules?"
):
    print(node.metadata["file_name"], node.metadata["page_label"])

# %% [markdown]
# See [Search](../docs/search.md) for all arguments, results and citations.
