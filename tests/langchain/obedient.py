"""A scripted model that follows the instructions of its prompt, which a small real model does not do reliably.

It knows the prompts of LangChain's standard tests, and a value for each argument name in them.
"""

from __future__ import annotations

import json
import re
from typing import Any

from langchain_core.tools import tool

from tests.wire import Request, Script, chunk, completion, reply, sse, usage

OPENING = "<|im_start|>assistant\n"
ANY_CALL = f"{OPENING}<tool_call>\n"
ONE_CALL = re.compile(r'<tool_call>\n\{"name": "(\w+)", "arguments":$')

KNOWN = {
    "input": 3,
    "a": 3,
    "b": 4,
    "answer_style": "Pirate",
    "customer_name": "你好啊集团 / こんにちは株式会社",
    "description": "a company",
    "location": "San Francisco, CA",
    "setup": "Why did the cat sit on the computer?",
    "punchline": "To keep an eye on the mouse.",
}


def obey(request: Request) -> Script:
    """Answer a request, with seven characters per chunk in streams."""
    text = answer(request.body["prompt"])
    for stop in as_list(request.body.get("stop")):
        text = text.split(stop, 1)[0]
    model = request.body["model"]
    if not request.body.get("stream"):
        return reply(completion(text, model=model))
    pieces = [chunk(text[at : at + 7], model=model) for at in range(0, len(text), 7)]
    return sse(*pieces, chunk("", "stop"), chunk(usage=usage(3, 5)))


def as_list(stop: Any) -> list[str]:
    return [stop] if isinstance(stop, str) else stop or []


def answer(prompt: str) -> str:
    tools = tools_in(prompt)
    named = ONE_CALL.search(prompt)
    if named:
        return f" {to_json(arguments_of(tools[named.group(1)]))}}}\n</tool_call>"
    if prompt.endswith(ANY_CALL):
        return call_of_first(tools).removeprefix("<tool_call>\n")
    role, turn = last_turn(prompt)
    if role == "user" and "weather" in turn and tools:
        return f"I will look.\n{call_of_first(tools)}"
    if "Answer with nothing but a JSON object" in prompt:
        return to_json({name: KNOWN[name] for name in ("setup", "punchline")})
    return "Hello, I am well."


def tools_in(prompt: str) -> dict[str, Any]:
    """Return the parameters of the tools in a prompt, by name."""
    told = re.search(r"<tools>\n(.*?)\n</tools>", prompt, re.DOTALL)
    functions = [json.loads(line)["function"] for line in told.group(1).split("\n")] if told else []
    return {function["name"]: function["parameters"] for function in functions}


def call_of_first(tools: dict[str, Any]) -> str:
    name, parameters = next(iter(tools.items()))
    return f"<tool_call>\n{to_json({'name': name, 'arguments': arguments_of(parameters)})}\n</tool_call>"


def arguments_of(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: KNOWN[name] for name in parameters["properties"]}


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def last_turn(prompt: str) -> tuple[str, str]:
    """Return the role and the text of the last complete turn."""
    role, _, text = prompt.split("<|im_start|>")[-2].partition("\n")
    return role, text


# Tools and texts for other tests


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"It is sunny in {city}."


@tool
def time_there(city: str) -> str:
    """The time in a city."""
    return f"It is noon in {city}."


def call_text(name: str, **arguments: Any) -> str:
    """Write a call as the model does."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def streamed(text: str, size: int = 5, finish_reason: str = "stop") -> Script:
    """Stream a text with `size` characters per chunk."""
    pieces = [chunk(text[at : at + size]) for at in range(0, len(text), size)]
    return sse(*pieces, chunk("", finish_reason), chunk(usage=usage(3, 5)))
