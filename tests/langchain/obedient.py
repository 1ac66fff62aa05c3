"""A scripted model that follows the instructions of its prompt, which a small real model does not do reliably.

It knows the prompts of LangChain's standard tests, and a value for each argument name in them.
"""

from __future__ import annotations

import json
import re
from typing import Any

from langchain_core.tools import tool

from paradigm_transport.chat.dialects.base import read_message
from paradigm_transport.chat.prompt_route import PromptRoute
from tests.chat_form import prompt_of, request_of
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
    """Answer a request of either endpoint, with seven characters per chunk in streams."""
    if "messages" in request.body:
        return obey_chat(request.body)
    text = answer(request.body["prompt"])
    for stop in as_list(request.body.get("stop")):
        text = text.split(stop, 1)[0]
    model = request.body["model"]
    if not request.body.get("stream"):
        return reply(completion(text, model=model))
    pieces = [chunk(text[at : at + 7], model=model) for at in range(0, len(text), 7)]
    return sse(*pieces, chunk("", "stop"), chunk(usage=usage(3, 5)))


def obey_chat(body: dict[str, Any]) -> Script:
    """Answer a chat as a server does that writes ChatML and has a parser of tool calls."""
    reader = PromptRoute("chatml").reader(request_of(body))
    read = read_message(reader, answer(prompt_of(body)))
    for stop in as_list(body.get("stop")):
        read.text = read.text.split(stop, 1)[0]
    functions = [{"name": call.name, "arguments": to_json(call.arguments)} for call in read.calls]
    calls = [{"id": f"call_{at}", "type": "function", "function": each} for at, each in enumerate(functions)]
    top = {"id": "chatcmpl-1", "created": 1700000000, "model": body["model"]}
    reason = "tool_calls" if calls else "stop"
    if not body.get("stream"):
        message = {"role": "assistant", "content": read.text or None, "tool_calls": calls or None}
        choices = [{"index": 0, "message": message, "finish_reason": reason}]
        return reply({**top, "object": "chat.completion", "choices": choices, "usage": usage(3, 5)})
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": read.text[at : at + 7]} for at in range(0, len(read.text), 7)]
    for index, call in enumerate(calls):
        text = call["function"]["arguments"]
        begin = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        parts = [{"index": index, "function": {"arguments": text[at : at + 7]}} for at in range(0, len(text), 7)]
        deltas += [{"tool_calls": [part]} for part in (begin, *parts)]
    events = [{**top, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    end = {**top, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    return sse(*events, end, {**top, "choices": [], "usage": usage(3, 5)})


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
