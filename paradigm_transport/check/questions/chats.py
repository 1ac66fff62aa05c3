"""Questions about what the chat endpoint makes of an answer: calls of tools, and thoughts."""

from __future__ import annotations

import re

from paradigm_transport.chat.dialects.rows import HERMES, ROWS
from paradigm_transport.check.findings import Finding, UnclearError, question
from paradigm_transport.check.prompts import COUNT, RIDDLE, WEATHER
from paradigm_transport.check.routes import CHAT, Generated
from paradigm_transport.check.server import Server
from paradigm_transport.endpoints.completions.reply import Contents
from paradigm_transport.messages import Tool

GROUP = "Chat"

_TOOL = Tool(
    "get_weather",
    "The weather of a city now.",
    {"type": "object", "properties": {"city": {"enum": ["Oslo"]}}, "required": ["city"]},
)
_TOOL_TOKENS, _THOUGHT_TOKENS = 64, 64


@question("tools", GROUP, seconds=30)
def tools(server: Server) -> Finding:
    """Whether the model gets the tools and can call them."""
    generated = _offer(server, "auto")
    contents = generated.contents[0]
    if contents.calls:
        return Finding("honoured", "the model called a tool")
    parser = _parser_of_calls(contents.text)
    if parser is not None and generated.finish_reason == "length":
        raise UnclearError("the model began a call, but was cut off")
    if parser is not None:
        return Finding("ignored", f"the call stayed in the text; the parser {parser} reads it", parser)
    offered, plain = (_prompt_tokens(server, with_tools) for with_tools in (True, False))
    if offered and plain and offered <= plain:
        return Finding("ignored", "the prompt is no longer with tools than without")
    return Finding("honoured" if offered and plain else "unknown", "accepted, but the model did not call a tool")


@question("tool_choice: required", GROUP, seconds=30)
def required_tools(server: Server) -> Finding:
    """Whether a tool call can be required."""
    generated = _offer(server, "required")
    contents = generated.contents[0]
    if contents.calls:
        return Finding("honoured")
    if generated.finish_reason == "length" and _parser_of_calls(contents.text):  # vLLM leaves it in the text
        return Finding("honoured", "the answer begins a call, but was cut off")
    return Finding("ignored", "the model answered with text")


def _offer(server: Server, choice: str) -> Generated:
    server.require(CHAT)
    fields = {"tools": [_TOOL.to_openai()], "tool_choice": choice, "max_tokens": _TOOL_TOKENS}
    return server.generate(WEATHER, CHAT, **fields)


def _prompt_tokens(server: Server, with_tools: bool) -> int | None:
    fields = {"tools": [_TOOL.to_openai()]} if with_tools else {}
    counted = server.generate(COUNT, CHAT, max_tokens=1, **fields).usage
    return None if counted is None else counted.prompt_tokens


def _parser_of_calls(text: str) -> str | None:
    """The parser of calls that a text holds the beginning of; the commonest if several begin alike."""
    found = [row for row in (HERMES, *ROWS) if row.tool_parsers and any(mark in text for mark in row.calls.begins[:1])]
    return found[0].tool_parsers[0] if found else None


@question("thoughts", GROUP, seconds=30)
def thoughts(server: Server) -> Finding:
    """Whether the model's thoughts arrive separately from its answer."""
    server.require(CHAT)
    generated = server.generate(RIDDLE, CHAT, max_tokens=_THOUGHT_TOKENS)
    contents = generated.contents[0]
    if contents.thoughts:
        return Finding("works", f"in {_field_of_thoughts(generated)}")
    parser = _parser_of_thoughts(contents)
    if parser is not None:
        return Finding("missing", f"thoughts stay in the text; the parser {parser} reads them", parser)
    return Finding("unknown", "the model answered without thinking")


def _field_of_thoughts(generated: Generated) -> str:
    message = generated.choices[0].get("message") or {}
    return next((name for name in ("reasoning_content", "reasoning") if message.get(name)), "parts of the content")


def _parser_of_thoughts(contents: Contents) -> str | None:
    start = contents.text.lstrip()
    for name in ("qwen3", "deepseek_r1", "mistral", "granite"):  # the usual ones of each mark
        row = next(row for row in ROWS if name in row.reasoning_parsers)
        marks = row.thoughts.begins if row.thoughts is not None else ()
        if start.startswith(marks) or (row.thoughts and re.search("|".join(map(re.escape, row.thoughts.ends)), start)):
            return name
    return None


QUESTIONS = (tools, required_tools, thoughts)
