# %% [markdown]
# # LangChain quickstart
#
# A chain of prompt, model and parser: invoked, streamed, batched, and its tokens counted.
#
# With `PARADIGM_API_KEY` set, this notebook runs on the service. Otherwise, as for the outputs below, it runs on a
# [local Paradigm](../docs/local-paradigm.md). Its model of 135 million parameters writes sentences and knows little.

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
else:
    local = LocalParadigm()
    local.start()
    os.environ.update(PARADIGM_API_KEY=local.api_key, PARADIGM_BASE_URL=local.base_url)
    model, chat_template = local.model, "chatml"

# %% [markdown]
# ## A model
#
# The key and the address come from the environment. The model continues the text.

# %%
from langchain_paradigm import ParadigmLLM

llm = ParadigmLLM(model=model, max_tokens=8, temperature=0)
llm.invoke("The capital of France is")

# %% [markdown]
# ## A chain
#
# The endpoint adds no markup to a prompt, so a chat model needs a [chat template](../docs/chat-templates.md), which
# writes messages as the turns that the model was trained on.

# %%
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

teacher = ParadigmLLM(
    model=model, chat_template=chat_template, max_tokens=60, temperature=0
)
prompt = ChatPromptTemplate.from_messages(
    [
        ("system", "You are a helpful teacher."),
        ("human", "Explain {topic} in one sentence."),
    ]
)
chain = prompt | teacher | StrOutputParser()
chain.invoke({"topic": "tides"})

# %% [markdown]
# ## Streaming
#
# The pieces arrive as the model writes them. If you leave the loop early, the server stops generating.

# %%
for text in chain.stream({"topic": "a rainbow"}):
    print(text, end="", flush=True)

# %% [markdown]
# ## Many inputs
#
# Each input is a separate request. The requests run concurrently, and the results keep the order of the inputs.

# %%
topics = ["rain", "bread", "tides"]
for topic, text in zip(
    topics, chain.batch([{"topic": topic} for topic in topics]), strict=True
):
    print(f"{topic}: {text}\n")

# %% [markdown]
# ## Async
#
# Every method has an async version.

# %%
await chain.ainvoke({"topic": "rain"})

# %% [markdown]
# ## Token usage
#
# LangChain's own callback receives the server's token count for each call, streams included.

# %%
from langchain_core.callbacks import get_usage_metadata_callback

with get_usage_metadata_callback() as callback:
    chain.invoke({"topic": "tides"})
    "".join(chain.stream({"topic": "rain"}))

callback.usage_metadata

# %% [markdown]
# This package's counter also counts calls and errors, measures speed, and computes the cost at your prices: here 0.5
# per million prompt tokens and 1.5 per million generated tokens.

# %%
from langchain_paradigm import get_paradigm_usage

with get_paradigm_usage(price=(0.5, 1.5)) as usage:
    chain.batch([{"topic": topic} for topic in topics])

print(usage)
assert usage.calls == len(topics)

# %% [markdown]
# See also [LangChain](../docs/langchain.md), and [Token usage](../docs/usage.md) for other counters and tracers.
