# %% [markdown]
# # From prototype to production
#
# What happens when a server is busy, slow or gone, and what there is to set: retries, time-outs, limits, errors, bulk.
#
# With `PARADIGM_API_KEY` in the environment this runs on the service. Without it, it runs on a
# [local Paradigm](../docs/local-paradigm.md), as it did for the outputs below.

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
# ## A server that fails on command
#
# The service does not fail when it is asked to. So what goes wrong below goes wrong on a local Paradigm in any case.

# %%
import logging

from langchain_paradigm import ParadigmLLM

# The local server would log what it is told to do wrong.
logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
rehearsal = LocalParadigm()
rehearsal.start()


def fragile(**arguments):
    address = {"api_key": rehearsal.api_key, "base_url": rehearsal.base_url}
    return ParadigmLLM(
        model=rehearsal.model, max_tokens=12, temperature=0, **address, **arguments
    )


# %% [markdown]
# ## Retries
#
# What fails in passing is sent again, twice unless `max_retries` says otherwise: here two answers of 503. The waits
# between are half a second or less and then a second or less, or what `Retry-After` says.

# %%
from time import perf_counter

rehearsal.fail_next("503", times=2)
began = perf_counter()
print(fragile().invoke("The capital of France is"))
print(f"{perf_counter() - began:.1f} s")

# %% [markdown]
# ## Errors
#
# Where retries do not help there is a typed error, with the host and the server's own words, and never the key or the
# prompt. All of them are a `ParadigmError`.

# %%
from paradigm_transport import ParadigmError

rehearsal.fail_next("429=90")  # it asks to wait for longer than anybody waits
for llm in (fragile(), fragile().model_copy(update={"model": "alfred-unknown"})):
    try:
        llm.invoke("The capital of France is")
    except ParadigmError as error:
        print(f"{type(error).__name__}: {error}\n")

# %% [markdown]
# A wrong argument is refused before anything is sent.

# %%
try:
    ParadigmLLM(model=model, temprature=0.2)
except ValueError as error:
    print(error)

# %% [markdown]
# ## Time-outs
#
# `timeout` is the time to wait for the next bytes, in seconds; 120 unless you say otherwise.

# %%
rehearsal.fail_next("slow=2")
try:
    fragile(timeout=0.3, max_retries=0).invoke("The capital of France is")
except ParadigmError as error:
    print(f"{type(error).__name__}: {error}")

# %% [markdown]
# ## Streams that break
#
# A stream that was cut raises, and never passes for a whole answer. What had come is on the error.

# %%
rehearsal.fail_next("cut=6")
try:
    for text in fragile().stream("Once upon a time"):
        print(text, end="", flush=True)
except ParadigmError as error:
    print(f"\n{type(error).__name__}: {error}")
    print("The text so far:", repr(error.partial_text))

# %% [markdown]
# ## A second model in reserve
#
# LangChain's fallbacks take over where an error is left after all retries.

# %%
rehearsal.fail_next("503")
reserve = ParadigmLLM(model=model, max_tokens=12, temperature=0)
fragile(max_retries=0).with_fallbacks([reserve]).invoke("The capital of France is")

# %% [markdown]
# ## Bulk: some fail, the others do not
#
# Every prompt is a request of its own. With `return_exceptions` an error takes the place of its answer; what failed
# can be sent again. [Bulk](../docs/bulk.md) goes on from here, to several machines.

# %%
rehearsal.fail_next("503", times=2)
prompts = [
    f"The capital of {country} is"
    for country in ("Peru", "Chile", "Spain", "Italy", "Norway", "Egypt")
]
answers = fragile(max_retries=0).batch(prompts, return_exceptions=True)
failed = [
    prompt
    for prompt, answer in zip(prompts, answers, strict=True)
    if isinstance(answer, Exception)
]
print(len(failed), "of", len(prompts), "failed")
print(dict(zip(failed, fragile().batch(failed), strict=True)))

# %% [markdown]
# ## Limits
#
# `max_concurrency` bounds the requests in flight; a rate limiter bounds requests a second, retries included.

# %%
from langchain_core.rate_limiters import InMemoryRateLimiter

limiter = InMemoryRateLimiter(requests_per_second=5, check_every_n_seconds=0.02)
paced = ParadigmLLM(model=model, max_tokens=1, max_concurrency=2, rate_limiter=limiter)
began = perf_counter()
paced.batch(prompts)
print(f"{len(prompts)} requests in {perf_counter() - began:.1f} s")

# %% [markdown]
# ## Nothing twice
#
# A cache answers what was asked before. Its key holds the model, the address and every parameter.

# %%
from langchain_core.caches import InMemoryCache
from langchain_paradigm import get_paradigm_usage

cached = ParadigmLLM(model=model, max_tokens=12, temperature=0, cache=InMemoryCache())
with get_paradigm_usage() as usage:
    for _ in range(3):
        cached.invoke("The capital of Peru is")
print(usage.calls, "call for 3 answers")

# %% [markdown]
# ## Ends
#
# An object keeps its connections open for the next call, until it is closed.

# %%
with ParadigmLLM(model=model, max_tokens=12, temperature=0) as llm:
    print(llm.invoke("The capital of Italy is"))

# %% [markdown]
# More: [Errors and retries](../docs/errors.md), [LangChain](../docs/langchain.md), and how your own tests can let a
# server fail: [The local Paradigm](../docs/local-paradigm.md).
