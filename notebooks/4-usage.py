# %% [markdown]
# # Usage and tracing
#
# The tokens and seconds of each call, in both frameworks: as a table, a chart and a trace.
#
# With `PARADIGM_API_KEY` set, this notebook runs on the service. Otherwise, as for the outputs below, it runs on a
# [local Paradigm](../docs/local-paradigm.md).

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
# ## A row for each call
#
# LangChain calls `on_llm_end` at the end of each run: a single call, a prompt of a batch, or a stream. The message has
# the tokens that the server counted, and the seconds from the request to the end of the response.

# %%
from langchain_core.callbacks import BaseCallbackHandler

calls = []


class Ledger(BaseCallbackHandler):
    def on_llm_end(self, response, **kwargs):
        message = response.generations[0][0].message
        tokens = message.usage_metadata
        seconds = message.response_metadata["latency"]
        calls.append((tokens["input_tokens"], tokens["output_tokens"], seconds))


# %% [markdown]
# ## Calls with LangChain
#
# A short prompt, a long one, a stream, and a batch of three.

# %%
from langchain_paradigm import ParadigmLLM

llm = ParadigmLLM(model=model, max_tokens=24, temperature=0, callbacks=[Ledger()])
llm.invoke("The capital of France is")
llm.invoke("The sun rises in the east. " * 40 + "The sun sets in the")
"".join(llm.stream("Once upon a time"))
llm.batch(["Red and blue make", "The opposite of hot is", "One, two, three,"])

for prompt, completion, seconds in calls:
    print(f"{prompt:4} tokens of prompt, {completion:2} generated, {seconds:.2f} s")

# %% [markdown]
# ## The same with LlamaIndex
#
# LlamaIndex's instrumentation events carry the response, with tokens and seconds.

# %%
import llama_index_paradigm
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler


class EventLedger(BaseEventHandler):
    def handle(self, event, **kwargs):
        if event.class_name() in ("LLMCompletionEndEvent", "LLMChatEndEvent"):
            details = event.response.additional_kwargs
            tokens = details["prompt_tokens"], details["completion_tokens"]
            calls.append((*tokens, details["latency"]))


get_dispatcher().add_event_handler(EventLedger())
index_llm = llama_index_paradigm.ParadigmLLM(model=model, max_tokens=24, temperature=0)
index_llm.complete("Water boils at")
for _ in index_llm.stream_complete("The four seasons are"):
    pass

len(calls)

# %% [markdown]
# ## Tokens and seconds of each call
#
# The model generates tokens one at a time, but processes many prompt tokens at once. The calls of a batch share the
# machine.

# %%
import matplotlib.pyplot as plt

names = ["short", "long", "stream", "batch 1", "batch 2", "batch 3"]
names += ["complete", "stream_complete"]
prompts, completions, seconds = zip(*calls, strict=True)
figure, (above, below) = plt.subplots(
    2, 1, sharex=True, figsize=(7, 4.5), layout="constrained"
)
above.bar(names, prompts, label="prompt", color="tab:blue")
above.bar(names, completions, bottom=prompts, label="generated", color="tab:orange")
above.set_ylabel("tokens")
above.legend()
below.bar(names, seconds, color="tab:gray")
below.set_ylabel("seconds")
below.tick_params(axis="x", rotation=30)

# %% [markdown]
# ## Nothing is missing
#
# The local Paradigm keeps its own count, so the callbacks can be compared with the server, token by token.

# %%
if "local" in globals():
    assert sum(prompts) == local.total_usage.prompt_tokens
    assert sum(completions) == local.total_usage.completion_tokens
sum(prompts), sum(completions)

# %% [markdown]
# ## A trace of a chain
#
# A tracer shows the steps of a chain as a tree. This one keeps the runs in memory; LangSmith, Langfuse, Phoenix and
# others show the same tree in a browser.

# %%
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tracers.context import collect_runs


def show(run, depth=0):
    seconds = (run.end_time - run.start_time).total_seconds()
    print(f"{'  ' * depth}{run.name}: {seconds:.2f} s", end="")
    if run.run_type == "llm":
        generation = run.outputs["generations"][0][0]
        usage = generation["generation_info"]["usage_metadata"]
        print(
            f", {usage['input_tokens']} tokens in, {usage['output_tokens']} out", end=""
        )
    print()
    for child in run.child_runs:
        show(child, depth + 1)


chat = ParadigmLLM(
    model=model, chat_template=chat_template, max_tokens=40, temperature=0
)
prompt = ChatPromptTemplate.from_messages(
    [("human", "Explain {topic} in one sentence.")]
)
chain = prompt | chat | StrOutputParser()
with collect_runs() as collected:
    chain.invoke({"topic": "tides"})
show(collected.traced_runs[0])

# %% [markdown]
# ## One counter for both
#
# `get_paradigm_usage` counts every call in its block, in either framework. It also measures the time to the first token
# of streams.

# %%
from langchain_paradigm import get_paradigm_usage

with get_paradigm_usage() as usage:
    "".join(chain.stream({"topic": "rain"}))
    index_llm.complete("The capital of Norway is")

print(usage)

# %% [markdown]
# See also [Token usage](../docs/usage.md), which lists what each counter and tracer sees.
