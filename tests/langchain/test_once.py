"""Each call renders, validates and sums usage once; a single prompt does not use a thread pool."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate

from langchain_paradigm import _tracing
from langchain_paradigm._prompts import rendered
from paradigm_transport import CHAT_TEMPLATES, BadRequestError, ChatTemplate, CompletionParameters
from paradigm_transport.chat.fields import ChatParameters, MessageParameters
from paradigm_transport.endpoints.completions.fields import GenerationParameters
from tests.chat_form import prompt_of
from tests.langchain.conftest import Calls, Make, MakeChat, collect
from tests.wire import Request, Script, WireServer, chunk, completion, reply, sse

MESSAGES = [SystemMessage("Be short."), HumanMessage("Why?")]
TEXT = PromptTemplate.from_template("{q}")
CHAT = ChatPromptTemplate.from_messages([("system", "Be short."), ("human", "{q}")])


def answer(request: Request) -> Script:
    return sse(chunk("So.", "stop")) if request.body.get("stream") else reply(completion("So."))


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the prompts that templates render."""
    written: list[str] = []
    write = ChatTemplate._write_form

    def note(template: ChatTemplate, *chat: Any) -> str:
        written.append(write(template, *chat))
        return written[-1]

    monkeypatch.setattr(ChatTemplate, "_write_form", note)
    return written


def events(calls: Calls, llm: Any) -> Any:
    return asyncio.run(collect(llm.astream_events("Why?", version="v2")))


PATHS: dict[str, Callable[[Calls, Any], Any]] = {
    "invoke with a text": lambda calls, llm: calls.invoke(llm, "Why?"),
    "invoke with messages": lambda calls, llm: calls.invoke(llm, MESSAGES),
    "invoke with tuples": lambda calls, llm: calls.invoke(llm, [("human", "Why?")]),
    "invoke with a prompt value": lambda calls, llm: calls.invoke(llm, StringPromptValue(text="Why?")),
    "invoke with a chat prompt value": lambda calls, llm: calls.invoke(llm, ChatPromptValue(messages=MESSAGES)),
    "invoke with a field": lambda calls, llm: calls.invoke(llm, "Why?", temperature=1),
    "invoke of a binding": lambda calls, llm: calls.invoke(llm.bind(stop=["x"]), MESSAGES),
    "stream with a text": lambda calls, llm: calls.stream(llm, "Why?"),
    "stream with messages": lambda calls, llm: calls.stream(llm, MESSAGES),
    "stream with a prompt value": lambda calls, llm: calls.stream(llm, StringPromptValue(text="Why?")),
    "stream with a field": lambda calls, llm: calls.stream(llm, "Why?", temperature=1),
    "batch": lambda calls, llm: calls.batch(llm, ["a", "b", "c"]),
    "batch of one": lambda calls, llm: calls.batch(llm, [MESSAGES]),
    "batch as completed": lambda calls, llm: calls.batch_as_completed(llm, ["a", MESSAGES, "c"]),
    "generate": lambda calls, llm: calls.generate(llm, ["a", "b", "c"]),
    "generate with a field": lambda calls, llm: calls.generate(llm, ["a"], max_tokens=5),
    "generate_prompt": lambda calls, llm: calls.generate_prompt(
        llm, [StringPromptValue(text="a"), ChatPromptValue(messages=MESSAGES)]
    ),
    "generate_prompt with a field": lambda calls, llm: calls.generate_prompt(
        llm, [StringPromptValue(text="a")], stop=["x"]
    ),
    "a chain": lambda calls, llm: calls.invoke(TEXT | llm, {"q": "Why?"}),
    "a chat chain": lambda calls, llm: calls.invoke(CHAT | llm, {"q": "Why?"}),
    "a chain that streams": lambda calls, llm: calls.stream(CHAT | llm | str.upper, {"q": "Why?"}),
    "a chain in a batch": lambda calls, llm: calls.batch(CHAT | llm, [{"q": "a"}, {"q": "b"}]),
    "a retry": lambda calls, llm: calls.invoke(llm.with_retry(), "Why?"),
    "a fallback": lambda calls, llm: calls.stream(llm.with_fallbacks([llm]), "Why?"),
    "events": events,
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_each_prompt_is_rendered_once(
    wire: WireServer, make: Make, calls: Calls, renderings: list[str], path: str, streaming: bool
) -> None:
    wire.always(answer)
    PATHS[path](calls, make(chat_template="alfred", streaming=streaming))
    assert renderings
    assert sorted(renderings) == sorted(prompt_of(body) for body in wire.bodies)


def test_long_chat_is_rendered_once_to_be_counted(wire: WireServer, make_chat: MakeChat, renderings: list[str]) -> None:
    wire.always(answer)
    chat = [HumanMessage(f"Why {number}?") for number in range(1_000)]
    llm = make_chat(chat_template="chatml")
    assert [llm.get_num_tokens_from_messages(chat) for _ in range(2)] == [3, 3]
    assert len(wire.bodies) == 1
    assert len(renderings) == 2


def test_rendered_prompt_is_not_rendered_again(
    wire: WireServer, make: Make, calls: Calls, renderings: list[str]
) -> None:
    wire.always(answer)
    value = rendered("Why?", CHAT_TEMPLATES["alfred"])
    llm = make(chat_template="alfred")
    calls.invoke(llm, value)
    calls.stream(llm, value)
    calls.generate_prompt(llm, [value])
    assert [prompt_of(body) for body in wire.bodies] == [value.to_string()] * 3
    assert len(renderings) == 1


def test_text_that_looks_rendered_is_rendered(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(answer)
    markup = rendered("Why?", CHAT_TEMPLATES["alfred"]).to_string()
    calls.generate(make(chat_template="alfred"), [markup])
    assert prompt_of(wire.bodies[0]) == CHAT_TEMPLATES["alfred"].render_prompt(markup)


def test_prompt_of_wrong_type_raises(make: Make, calls: Calls) -> None:
    for way in (calls.invoke, calls.stream):
        with pytest.raises(ValueError, match="int"):
            way(make(chat_template="alfred"), 5)


@pytest.fixture
def validations(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Record the fields of each set of parameters that a call constructs."""
    made: list[dict[str, Any]] = []
    construct = GenerationParameters.__init__

    def note(parameters: GenerationParameters, **fields: Any) -> None:
        made.append(fields)
        construct(parameters, **fields)

    for kind in (CompletionParameters, ChatParameters, MessageParameters):
        monkeypatch.setattr(kind, "__init__", note)
    return made


WAYS: dict[str, Callable[..., Any]] = {
    "invoke": lambda calls, llm, **fields: calls.invoke(llm, "x", **fields),
    "stream": lambda calls, llm, **fields: calls.stream(llm, "x", **fields),
    "batch": lambda calls, llm, **fields: calls.batch(llm, ["x"], **fields),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("fields", [{}, {"temperature": 0.5}, {"stop": ["a"]}], ids=["none", "a field", "a stop"])
@pytest.mark.parametrize("template", [None, "alfred"])
@pytest.mark.parametrize("way", [*WAYS, "generate"])
def test_parameters_are_validated_once(
    wire: WireServer,
    make: Make,
    calls: Calls,
    validations: list[Any],
    way: str,
    template: str | None,
    fields: dict[str, Any],
    streaming: bool,
) -> None:
    wire.always(answer)
    llm = make(streaming=streaming, chat_template=template)
    if way == "generate":
        calls.generate(llm, ["x", "y", "z"], **fields)
    else:
        WAYS[way](calls, llm, **fields)
    assert len(validations) == 1
    assert all(body["temperature"] == 0.5 for body in wire.bodies if "temperature" in fields)
    llm.invoke("x")  # fields of a call apply only to that call
    assert "temperature" not in wire.bodies[-1]
    assert wire.bodies[-1].get("stop") == (CHAT_TEMPLATES[template].stop if template else None)


@pytest.mark.parametrize("fields", [{}, {"temperature": 0.5}], ids=["none", "a field"])
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_parameters_of_chat_are_validated_once(
    wire: WireServer,
    make_chat: MakeChat,
    calls: Calls,
    validations: list[Any],
    way: str,
    fields: dict[str, Any],
    streaming: bool,
) -> None:
    wire.always(answer)
    WAYS[way](calls, make_chat(streaming=streaming), **fields)
    assert len(validations) == 1


@pytest.mark.parametrize("as_chat", [True, False])
@pytest.mark.parametrize("streaming", [True, False])
def test_usage_is_summed_once_per_prompt(
    wire: WireServer, make: Make, calls: Calls, monkeypatch: pytest.MonkeyPatch, as_chat: bool, streaming: bool
) -> None:
    counted: list[Any] = []
    llm_output = _tracing.llm_output

    def note(candidates: Any, model: str) -> Any:
        counted.append(candidates)
        return llm_output(candidates, model)

    monkeypatch.setattr(_tracing, "llm_output", note)
    wire.always(answer)
    calls.generate(make(trace_as_chat=as_chat, streaming=streaming), ["a", "b", "c"])
    assert len(counted) == 3


SINGLE: dict[str, Callable[[Calls, Any], Any]] = {
    "invoke": lambda calls, llm: calls.invoke(llm, "x"),
    "generate": lambda calls, llm: calls.generate(llm, ["x"]),
    "batch": lambda calls, llm: calls.batch(llm, ["x"]),
    "stream": lambda calls, llm: calls.stream(llm, "x"),
}


@pytest.mark.parametrize("path", SINGLE)
def test_single_prompt_does_not_use_fan_out(wire: WireServer, make: Make, calls: Calls, path: str) -> None:
    wire.script(reply({"error": "no"}, 400))
    with pytest.raises(BadRequestError) as raised:
        SINGLE[path](calls, make())
    files = {frame.filename.rsplit("/", 1)[-1] for frame in traceback.extract_tb(raised.value.__traceback__)}
    assert {"client.py", "streams.py"} & files
    assert "fan_out.py" not in files
