"""The arguments that `paradigm-check` recommends for what it found."""

from __future__ import annotations

from typing import Any

import pytest

from paradigm_transport.check.advice import advise
from paradigm_transport.check.findings import Finding, question
from paradigm_transport.check.runner import Answer

WORKS = {name: Finding("works") for name in ("completions", "chat", "context window")}
IGNORES_TOOLS = {"tools": Finding("ignored")}
TEMPLATE = {"chat template": Finding("works", "", "server")}


def advice(findings: dict[str, Finding], model: str = "m") -> Any:
    def answer(name: str, finding: Finding) -> Answer:
        return Answer(question(name, "Group")(lambda server: finding), finding, 0.1)

    return advise(model, [answer(name, finding) for name, finding in findings.items()])


def chat_of(findings: dict[str, Finding]) -> str:
    (line,) = [each for each in advice(findings).langchain.splitlines() if each.startswith("chat = ")]
    return line.removeprefix('chat = ChatParadigm(model="m"').removeprefix(", ").removesuffix(")")


@pytest.mark.parametrize(
    ("findings", "arguments"),
    [
        ({}, ""),
        (TEMPLATE, ""),
        ({"tools": Finding("honoured")}, ""),
        ({"tools": Finding("ignored", "", "hermes"), **TEMPLATE}, 'chat_template="server"'),
        ({"tools": Finding("ignored", "", "hermes")}, 'tool_call_parser="hermes"'),
        ({"thoughts": Finding("missing", "", "qwen3")}, 'reasoning_parser="qwen3"'),
        ({"response_format (chat)": Finding("honoured")}, ""),
        (
            {"response_format (chat)": Finding("refused"), "structured_outputs (chat)": Finding("honoured")},
            'constrain="vllm"',
        ),
        (
            {"response_format (chat)": Finding("ignored"), "guided_json (chat)": Finding("honoured")},
            'constrain="guided_json"',
        ),
        ({"response_format (chat)": Finding("failed")}, 'constrain="prompt"'),
        ({"response_format (chat)": Finding("unknown")}, ""),
        ({"stream_options (chat)": Finding("refused")}, "stream_usage=False"),
        ({"stream_options": Finding("refused")}, ""),
        ({**IGNORES_TOOLS}, ""),
        ({**IGNORES_TOOLS, **TEMPLATE}, 'chat_template="server"'),
        ({**TEMPLATE, "chat": Finding("missing")}, 'chat_template="server"'),
        ({"chat": Finding("missing")}, 'chat_template="tokenizer_config.json"'),
        (
            {
                **IGNORES_TOOLS,
                **TEMPLATE,
                "structured_outputs (completions)": Finding("honoured"),
                "stream_options": Finding("refused"),
            },
            'chat_template="server", constrain="vllm", stream_usage=False',
        ),
        ({**IGNORES_TOOLS, **TEMPLATE, "completions": Finding("missing")}, ""),
    ],
)
def test_chats_get_what_was_found(findings: dict[str, Finding], arguments: str) -> None:
    assert chat_of({**WORKS, **findings}) == arguments


def test_code_is_of_what_works() -> None:
    found = advice({"chat": Finding("works")})
    assert found.langchain == 'from langchain_paradigm import ChatParadigm\n\nchat = ChatParadigm(model="m")'
    assert advice({"completions": Finding("refused"), "search": Finding("works")}) is None
    everything = advice({
        **WORKS,
        "embeddings": Finding("works", "", "e5"),
        "embeddings of lists": Finding("works"),
        "search": Finding("works"),
        "chat template": Finding("works", "", "alfred"),
        "stream_options": Finding("refused"),
    })  # fmt: skip
    assert everything.llama_index.splitlines() == [
        "from llama_index_paradigm import ChatParadigm, ParadigmEmbedding, ParadigmLLM, ParadigmRetriever",
        "",
        'chat = ChatParadigm(model="m")',
        'llm = ParadigmLLM(model="m", chat_template="alfred", stream_usage=False)',
        'embeddings = ParadigmEmbedding(model="e5", batch_inputs=32)',
        "retriever = ParadigmRetriever()",
    ]


def test_notes_say_what_is_left_to_do() -> None:
    assert advice(WORKS).notes == []
    assert "context_window" in advice({**WORKS, "context window": Finding("missing")}).notes[0]
    assert "tokenizer_config.json" in advice({**WORKS, **IGNORES_TOOLS}).notes[0]
    assert "tokenizer_config.json" in advice({**WORKS, "chat": Finding("missing")}).notes[0]
    assert advice({"chat": Finding("works"), **IGNORES_TOOLS}).notes == ["The chat endpoint does not call tools."]


@pytest.mark.parametrize("model", ['a "model"', "back\\slash", "line\nbreak", "modèle"])
def test_code_holds_any_name(model: str) -> None:
    names: dict[str, Any] = {"ChatParadigm": dict}
    exec(advice({"chat": Finding("works")}, model).langchain.partition("\n\n")[2], names)
    assert names["chat"] == {"model": model}
