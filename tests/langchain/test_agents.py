"""`ParadigmLLM` in agents, graphs, retrieval chains and output parsers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.output_parsers import PydanticOutputParser
from langchain_core.prompts import PromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import Tool
from pydantic import BaseModel
from typing_extensions import TypedDict

from langchain_paradigm import ParadigmLLM
from tests.langchain.conftest import Calls, Make, collect, needs_contexts
from tests.wire import WireServer, chunk, completion, reply, sse

agents = pytest.importorskip("langchain_classic.agents")
chains = pytest.importorskip("langchain_classic.chains")
documents = pytest.importorskip("langchain_classic.chains.combine_documents")
parsers = pytest.importorskip("langchain_classic.output_parsers")
langgraph = pytest.importorskip("langgraph.graph")
StreamWriter = pytest.importorskip("langgraph.types").StreamWriter


def says(text: str) -> Any:
    """Answer with a text, with three characters per chunk in streams."""
    pieces = [chunk(text[at : at + 3]) for at in range(0, len(text), 3)]
    return lambda request: sse(*pieces, chunk("", "stop")) if request.body.get("stream") else reply(completion(text))


REACT = PromptTemplate.from_template(
    "Tools: {tools}\nUse one of {tool_names}.\nQuestion: {input}\nThought:{agent_scratchpad}"
)


def count(text: str) -> str:
    return f"{len(text.strip())} characters"


def executor(llm: ParadigmLLM) -> Any:
    tools = [Tool(name="count", description="counts the characters of a text", func=count)]
    agent = agents.create_react_agent(llm, tools, REACT)
    return agents.AgentExecutor(agent=agent, tools=tools, return_intermediate_steps=True)


def test_react_agent_uses_tool(wire: WireServer, make: Make, calls: Calls) -> None:
    invented = "\nObservation: 99 characters\nThought: I know.\nFinal Answer: 99"
    wire.script(
        says(f" I must count.\nAction: count\nAction Input: Paris{invented}"),
        says(" I know now.\nFinal Answer: five"),
    )
    answer = calls.invoke(executor(make()), {"input": "How long is Paris?"})
    assert answer["output"] == "five"
    assert [observation for _, observation in answer["intermediate_steps"]] == ["5 characters"]
    assert [body["stop"] for body in wire.bodies] == ["\nObservation"] * 2
    assert "Observation: 5 characters" in wire.bodies[1]["prompt"]
    assert "99" not in wire.bodies[1]["prompt"]


def test_agent_with_chat_template_keeps_stop_of_template(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(says(" Easy.\nFinal Answer: five<end_message><start_user>And now"))
    assert calls.invoke(executor(make(chat_template="alfred")), {"input": "?"})["output"] == "five"
    assert wire.bodies[0]["stop"] == ["<end_message>", "\nObservation"]
    assert wire.bodies[0]["prompt"].startswith("<start_user>Tools: ")


class State(TypedDict, total=False):
    question: str
    answer: str


def graph_of(node: Any) -> Any:
    graph = langgraph.StateGraph(State)
    graph.add_node("ask", node)
    graph.add_edge(langgraph.START, "ask")
    graph.add_edge("ask", langgraph.END)
    return graph.compile()


def test_graph_node_streams(wire: WireServer, make: Make) -> None:
    wire.script(says("Paris"))
    llm = make()

    def ask(state: State, writer: StreamWriter) -> State:
        pieces = []
        for piece in llm.stream(state["question"]):
            writer(piece)
            pieces.append(piece)
        return {"answer": "".join(pieces)}

    updates = list(graph_of(ask).stream({"question": "Capital?"}, stream_mode=["custom", "values"]))
    assert [update for kind, update in updates if kind == "custom"] == ["Par", "is", ""]
    assert updates[-1] == ("values", {"question": "Capital?", "answer": "Paris"})


@needs_contexts
def test_async_graph_node_streams(wire: WireServer, make: Make) -> None:
    wire.script(says("Paris"))
    llm = make()

    async def ask(state: State, writer: StreamWriter) -> State:
        pieces = []
        async for piece in llm.astream(state["question"]):
            writer(piece)
            pieces.append(piece)
        return {"answer": "".join(pieces)}

    updates = asyncio.run(collect(graph_of(ask).astream({"question": "Capital?"}, stream_mode="custom")))
    assert updates == ["Par", "is", ""]


def test_graph_events_hold_chunks(wire: WireServer, make: Make) -> None:
    wire.script(says("Paris"))
    llm = make(streaming=True)

    async def ask(state: State, config: RunnableConfig) -> State:
        return {"answer": await llm.ainvoke(state["question"], config)}

    events = asyncio.run(collect(graph_of(ask).astream_events({"question": "Capital?"}, version="v2")))
    pieces = [event["data"]["chunk"].text for event in events if event["event"] == "on_llm_stream"]
    assert pieces == ["Par", "is", ""]
    assert events[-1]["data"]["output"]["answer"] == "Paris"


class Shelf(BaseRetriever):
    """Finds texts that share a word with the question."""

    texts: list[str]

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        words = set(query.lower().split())
        return [Document(page_content=text) for text in self.texts if words & set(text.lower().split())]


def test_retrieval_chain_answers_from_documents(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(says("In 889."))
    shelf = Shelf(texts=["The tower was built in 1889", "Cheese is made of milk"])
    prompt = PromptTemplate.from_template("{context}\nQ: {input}\nA:")
    chain = chains.create_retrieval_chain(shelf, documents.create_stuff_documents_chain(make(), prompt))
    answer = calls.invoke(chain, {"input": "when was the tower built"})
    assert answer["answer"] == "In 889."
    assert [document.page_content for document in answer["context"]] == [shelf.texts[0]]
    assert wire.bodies[0]["prompt"] == "The tower was built in 1889\nQ: when was the tower built\nA:"
    pieces = calls.stream(chain, {"input": "when was the tower built"})
    assert [piece["answer"] for piece in pieces if "answer" in piece][:2] == ["In ", "889"]


class City(BaseModel):
    """A city."""

    name: str


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("kind", ["RetryOutputParser", "RetryWithErrorOutputParser"])
def test_retry_parser_asks_again(wire: WireServer, make: Make, way: str, kind: str) -> None:
    wire.script(says("Paris"), says('{"name": "Paris"}'))
    llm = make()
    prompt = PromptTemplate.from_template("The capital of {country}, as JSON:").invoke({"country": "France"})
    parser = getattr(parsers, kind).from_llm(parser=PydanticOutputParser(pydantic_object=City), llm=llm)

    async def ask() -> City:
        return await parser.aparse_with_prompt(await llm.ainvoke(prompt), prompt)

    city = asyncio.run(ask()) if way == "async" else parser.parse_with_prompt(llm.invoke(prompt), prompt)
    assert city == City(name="Paris")
    assert "The capital of France, as JSON:" in wire.bodies[1]["prompt"]


def test_fixing_parser_repairs_completion(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(says("name = Paris"), says('{"name": "Paris"}'))
    llm = make()
    parser = parsers.OutputFixingParser.from_llm(parser=PydanticOutputParser(pydantic_object=City), llm=llm)
    assert calls.invoke(llm | parser, "The capital of France, as JSON:") == City(name="Paris")
