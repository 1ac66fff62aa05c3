# %% [markdown]
# # Agents
#
# `ChatParadigm` calls tools in LangChain's `create_agent` and in LlamaIndex's `FunctionAgent`.
#
# With `PARADIGM_API_KEY` set, this notebook runs on the service. Otherwise, as for the outputs below, it runs on a
# [local Paradigm](../docs/local-paradigm.md). Its model of 135 million parameters is too small to decide when to call a
# tool, so `tool_choice` decides for each step, and `constrain="vllm"` makes the server enforce the JSON schema of the
# tools. The model chooses the tool and its arguments, and writes the reply from the result.

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
# ## Tools
#
# Tools are functions. The model gets their names, types and docstrings.


# %%
def weather(city: str) -> str:
    """Get the weather in a city."""
    return f"In {city} it rains, at 7 degrees."


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


# %% [markdown]
# ## A call
#
# `tool_choice="any"` requires a call; the model chooses the tool.

# %%
from langchain_paradigm import ChatParadigm

chat = ChatParadigm(
    model=model,
    chat_template=chat_template,
    constrain="vllm",
    max_tokens=60,
    temperature=0,
)
message = chat.bind_tools([weather, multiply], tool_choice="any").invoke(
    "How much is 6 times 7?"
)
[(call["name"], call["args"]) for call in message.tool_calls]

# %% [markdown]
# ## An agent with LangChain
#
# A model this small needs the middleware, which requires a call after a question and a reply after a result.

# %%
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call


@wrap_model_call
def step_by_step(request, handler):
    is_question = request.messages[-1].type == "human"
    return handler(request.override(tool_choice="any" if is_question else "none"))


agent = create_agent(chat, tools=[weather, multiply], middleware=[step_by_step])
question = {"messages": [("human", "What is the weather in Rome?")]}
for message in agent.invoke(question)["messages"]:
    calls = [
        (call["name"], call["args"]) for call in getattr(message, "tool_calls", [])
    ]
    print(f"{message.type}: {message.text or calls}")

# %% [markdown]
# ## Streaming
#
# With `stream_mode="messages"` the pieces of a message arrive as the model writes them. Calls are separate from the
# text.

# %%
for piece, _ in agent.stream(question, stream_mode="messages"):
    if piece.type == "tool":
        print(f"\n{piece.name}: {piece.text}")
        continue
    for call in piece.tool_call_chunks:
        print(f"{call['name'] or ''}{call['args'] or ''}", end="", flush=True)
    print(piece.text, end="", flush=True)

# %% [markdown]
# ## Ask before acting
#
# With a checkpointer, an agent can stop before it uses a tool, and continue from there later.

# %%
from langgraph.checkpoint.memory import InMemorySaver

careful = create_agent(
    chat,
    tools=[weather, multiply],
    middleware=[step_by_step],
    checkpointer=InMemorySaver(),
    interrupt_before=["tools"],
)
thread = {"configurable": {"thread_id": "1"}}
waiting = careful.invoke(question, thread)["messages"][-1]
print("It would call", waiting.tool_calls[0]["name"], waiting.tool_calls[0]["args"])
print(careful.invoke(None, thread)["messages"][-1].text)

# %% [markdown]
# ## Structured output
#
# `with_structured_output` returns an object of a class. The server enforces its schema, so the object is always
# well-formed.

# %%
from pydantic import BaseModel


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    degrees: int


chat.with_structured_output(Weather).invoke("In Rome it rains, at 7 degrees.")

# %% [markdown]
# ## An agent with LlamaIndex
#
# `initial_tool_choice` sets the tool that a `FunctionAgent` calls in its first step.

# %%
import llama_index_paradigm
from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult

index_chat = llama_index_paradigm.ChatParadigm(
    model=model,
    chat_template=chat_template,
    constrain="vllm",
    max_tokens=60,
    temperature=0,
)
index_agent = FunctionAgent(
    tools=[weather], llm=index_chat, initial_tool_choice="weather"
)
run = index_agent.run("What is the weather in Rome?")
async for event in run.stream_events():
    if isinstance(event, ToolCallResult):
        print(event.tool_name, event.tool_kwargs, "->", event.tool_output)
print(await run)

# %% [markdown]
# ## Token usage
#
# An agent makes several calls per run, and each prompt contains the messages before it.

# %%
from langchain_paradigm import get_paradigm_usage

with get_paradigm_usage() as usage:
    agent.invoke(question)
print(usage)

# %% [markdown]
# See also [Agents and tools](../docs/agents.md).
