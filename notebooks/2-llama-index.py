# %% [markdown]
# # LlamaIndex: answers from documents
#
# Ask questions about this project's documentation. The answers come from matching passages, which are shown as sources.
#
# With `PARADIGM_API_KEY` set, this notebook runs on the service. Otherwise it runs on a
# [local Paradigm](../docs/local-paradigm.md), as for the outputs below: a model of 135 million parameters, which can
# repeat what a passage says, but reasons badly.

# %%
import os

from paradigm_local import LocalParadigm

if "PARADIGM_API_KEY" in os.environ:
    model, chat_template = "alfred-4.2", "alfred"
else:
    local = LocalParadigm()
    local.start()
    os.environ.update(PARADIGM_API_KEY=local.api_key, PARADIGM_BASE_URL=local.base_url)
    model, chat_template = local.model, "chatml"

# %% [markdown]
# ## The documents
#
# Three pages, split into passages of one section each.

# %%
from llama_index.core import SimpleDirectoryReader
from llama_index.core.node_parser import MarkdownNodeParser
from paradigm_local.demo import docs_folder

pages = [
    docs_folder() / name for name in ("index.md", "chat-templates.md", "errors.md")
]
passages = MarkdownNodeParser().get_nodes_from_documents(
    SimpleDirectoryReader(input_files=pages).load_data()
)
for passage in passages:  # the model gets the text only
    passage.excluded_llm_metadata_keys = list(passage.metadata)
len(passages)

# %% [markdown]
# ## A retriever
#
# BM25 finds passages by their words. It needs no embedding model and no network. If you have an index over embeddings,
# use that instead.

# %%
from llama_index.retrievers.bm25 import BM25Retriever

retriever = BM25Retriever.from_defaults(nodes=passages, similarity_top_k=1)
print(retriever.retrieve("How many stop sequences can I give?")[0].get_content())

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
# A response holds the passages that it is based on. A model this small makes mistakes: if the two differ, the passage
# is right.


# %%
def ask(question):
    answer = engine.query(question)
    print(f"{question}\n  {answer}")
    for node in answer.source_nodes:
        page = node.metadata["file_name"]
        heading = node.get_content().splitlines()[0].lstrip("# ")
        print(f"  from {page}, “{heading}” (score {node.score:.1f})\n")


ask("What does the extra local bring?")
ask("Which error is raised when a stream is cut?")
ask("How long is the wait between attempts?")

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
# See also [LlamaIndex](../docs/llama-index.md), and [Token usage](../docs/usage.md) for other counters and tracers.
