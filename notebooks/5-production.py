# %% [markdown]
# # From prototype to production
#
# What happens when a server is busy, slow or gone, and the settings for it: retries, time-outs, limits, errors, bulk.
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
# ## A server that fails on command
#
# The service does not fail on request, so a local Paradigm produces the failures below.

# %%
import logging

from langchain_paradigm import ParadigmLLM

# Keep the failures requested below out of the log.
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
# Transient failures are retried, twice by default (`max_retries`): here two responses with status 503. The client waits
# at most half a second, then at most a second, or as long as `Retry-After` says. Each retry is logged at level INFO.

# %%
from time import perf_counter

rehearsal.fail_next("503", times=2)
began = perf_counter()
print(fragile().invoke("The capital of France is"))
print(f"{perf_counter() - began:.1f} s")

# %% [markdown]
# ## Errors
#
# If retries do not help, a typed error is raised. It names the host and quotes the server, but never contains the key
# or the whole prompt. Each is a `ParadigmError`.

# %%
from paradigm_transport import ParadigmError

rehearsal.fail_next("429=90")  # it asks for a wait of more than 60 seconds
for llm in (fragile(), fragile().model_copy(update={"model": "alfred-unknown"})):
    try:
        llm.invoke("The capital of France is")
    except ParadigmError as error:
        print(f"{type(error).__name__}: {error}\n")

# %% [markdown]
# A wrong argument raises an error before anything is sent.

# %%
try:
    ParadigmLLM(model=model, temprature=0.2)
except ValueError as error:
    print(error)

# %% [markdown]
# ## Time-outs
#
# `timeout` is the time to wait for the next bytes, in seconds, 120 by default.

# %%
rehearsal.fail_next("slow=2")
try:
    fragile(timeout=0.3, max_retries=0).invoke("The capital of France is")
except ParadigmError as error:
    print(f"{type(error).__name__}: {error}")

# %% [markdown]
# ## Streams that break
#
# A stream that is cut off raises an error, and never passes for a complete text. The error has the text so far.

# %%
rehearsal.fail_next("cut=6")
try:
    for text in fragile().stream("Once upon a time"):
        print(text, end="", flush=True)
except ParadigmError as error:
    print(f"\n{type(error).__name__}: {error}")
    print("The text so far:", repr(error.partial_text))

# %% [markdown]
# ## A fallback model
#
# LangChain's fallbacks take over if an error remains after all retries.

# %%
rehearsal.fail_next("503")
fallback = ParadigmLLM(model=model, max_tokens=12, temperature=0)
fragile(max_retries=0).with_fallbacks([fallback]).invoke("The capital of France is")

# %% [markdown]
# ## Bulk: failures of single prompts
#
# Every prompt is a separate request. With `return_exceptions`, the results contain the errors of failed prompts, which
# you can send again. [Bulk](../docs/bulk.md) shows how to use several machines.

# %%
rehearsal.fail_next("503", times=2)
prompts = [
    f"The capital of {country} is"
    for country in ("Peru", "Chile", "Spain", "Italy", "Norway", "Egypt")
]
results = fragile(max_retries=0).batch(prompts, return_exceptions=True)
failed = [
    prompt
    for prompt, result in zip(prompts, results, strict=True)
    if isinstance(result, Exception)
]
print(len(failed), "of", len(prompts), "failed")
print(dict(zip(failed, fragile().batch(failed), strict=True)))

# %% [markdown]
# ## Limits
#
# `max_concurrency` limits the requests in flight; a rate limiter limits the requests per second, retries included.

# %%
from langchain_core.rate_limiters import InMemoryRateLimiter

limiter = InMemoryRateLimiter(requests_per_second=5, check_every_n_seconds=0.02)
paced = ParadigmLLM(model=model, max_tokens=1, max_concurrency=2, rate_limiter=limiter)
began = perf_counter()
paced.batch(prompts)
print(f"{len(prompts)} requests in {perf_counter() - began:.1f} s")

# %% [markdown]
# ## A batch under a rate limit
#
# If the server refuses requests with 429, the client slows down to the rate that it accepts. Here it refuses twelve of
# them, and asks for a wait of a second: the answers pause, then go on, and none is lost.

# %%
import matplotlib.pyplot as plt

rehearsal.fail_next("429", times=12)
began = perf_counter()
answers = fragile().batch_as_completed(prompts * 8)
moments = [perf_counter() - began for _ in answers]

figure, axes = plt.subplots(figsize=(6, 2.4), layout="constrained")
axes.step(moments, range(1, len(moments) + 1), where="post")
axes.set(xlabel="seconds", ylabel="answers", ylim=(0, None), xlim=(0, None))
plt.show()

# %% [markdown]
# ## Caching
#
# A cache returns the completion of a prompt that was sent before. Its key contains the model, the address and every
# parameter.

# %%
from langchain_core.caches import InMemoryCache
from langchain_paradigm import get_paradigm_usage

cached = ParadigmLLM(model=model, max_tokens=12, temperature=0, cache=InMemoryCache())
with get_paradigm_usage() as usage:
    for _ in range(3):
        cached.invoke("The capital of Peru is")
print(usage.calls, "call for 3 completions")

# %% [markdown]
# ## Closing
#
# A model keeps its connections open for the next call, until it is closed.

# %%
with ParadigmLLM(model=model, max_tokens=12, temperature=0) as llm:
    print(llm.invoke("The capital of Italy is"))

# %% [markdown]
# See also [Errors and retries](../docs/errors.md), [LangChain](../docs/langchain.md), and
# [The local Paradigm](../docs/local-paradigm.md) for tests with a server that fails.
