# %% [markdown]
# # LangChain quickstart
#
# A chain of prompt, model and parser: called, streamed, called for many inputs, and counted.
#
# With `PARADIGM_API_KEY` in the environment this runs on the service. Without it, it runs on a
# [local Paradigm](../docs/local-paradigm.md), as it did for the outputs below: a model of 135 million parameters, which
# writes sentences and knows little.

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
# The key and the address come from the environment. The model goes on where the text ends.

# %%
from langchain_paradigm import ParadigmLLM

llm = ParadigmLLM(model=model, max_tokens=8, temperature=0)
llm.invoke("The capital of France is")

# %% [markdown]
# ## A chain
#
# The endpoint adds no markup to a prompt, so a chat model needs a [chat template](../docs/chat-templates.md): with it,
# messages become the turns that the model was trained on.

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
# The pieces come as the model writes them. Leave the loop early, and the server stops generating.

# %%
for text in chain.stream({"topic": "a rainbow"}):
    print(text, end="", flush=True)

# %% [markdown]
# ## Many inputs
#
# Each input is a request of its own. They run at the same time, and the answers come in order.

# %%
topics = ["rain", "bread", "tides"]
for topic, answer in zip(
    topics, chain.batch([{"topic": topic} for topic in topics]), strict=True
):
    print(f"{topic}: {answer}\n")

# %% [markdown]
# ## Async
#
# Every method has its async twin.

# %%
await chain.ainvoke({"topic": "rain"})

# %% [markdown]
# ## What it came to
#
# LangChain's own callback finds the tokens of each call, as the server counted them, also those of a stream.

# %%
from langchain_core.callbacks import get_usage_metadata_callback

with get_usage_metadata_callback() as callback:
    chain.invoke({"topic": "tides"})
    "".join(chain.stream({"topic": "rain"}))

callback.usage_metadata

# %% [markdown]
# The counter of this package also knows calls, errors, speed, and the cost at your prices: here 0.5 for a million
# tokens of a prompt and 1.5 for a million that are generated.

# %%
from langchain_paradigm import get_paradigm_usage

with get_paradigm_usage(price=(0.5, 1.5)) as usage:
    chain.batch([{"topic": topic} for topic in topics])

print(usage)
assert usage.calls == len(topics)

# %% [markdown]
# More: [LangChain](../docs/langchain.md), and what other counters and tracers see in [Token usage](../docs/usage.md).
