"""What a server does with each field of both endpoints that generate text: honours it, ignores it or refuses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from paradigm_transport import (
    BadRequestError,
    Completion,
    ParadigmClient,
    ServerError,
    UnprocessableEntityError,
)
from tests.conformance.running import Running
from tests.conformance.servers import HONOURED, IGNORED, REFUSED

PROMPT = "One, two, three, four,"
STORY = "Once upon a time there was a"
COMMA, END_OF_TURN = "28", "2"  # tokens of SmolLM2's vocabulary
LETTERS = {"enum": ["qxj", "jxq"]}
OBJECT = {"type": "object", "properties": {"q": LETTERS}, "required": ["q"], "additionalProperties": False}

Ask = Callable[..., Completion]
"""Asks over one endpoint: the prompt, and fields over those of a greedy call of six tokens."""


def asker(client: ParadigmClient, model: str, route: str) -> Ask:
    def ask(prompt: str = PROMPT, /, **fields: Any) -> Completion:
        extra_body = {"seed": 1, **fields.get("extra_body", {})}  # with one, all is computed in the same way
        fields = {"model": model, "temperature": 0, "max_tokens": 6, **fields, "extra_body": extra_body}
        if route == "completions":
            form = {"response_format": fields.pop("response_format")} if "response_format" in fields else {}
            return client.complete(prompt, **{**fields, "extra_body": {**form, **extra_body}})
        return client.chat([{"role": "user", "content": prompt}], **fields)

    return ask


def changes(**fields: Any) -> Callable[[Ask], bool]:
    """Whether fields change a greedy text that repeats words."""
    return lambda ask: ask(STORY, max_tokens=32, **fields).text != ask(STORY, max_tokens=32).text


def keeps_greedy(**fields: Any) -> Callable[[Ask], bool]:
    """Whether fields leave only the likeliest token at a high temperature."""
    return lambda ask: ask(temperature=2, **fields).text == ask().text


def forces_comma(ask: Ask) -> bool:
    return ask(logit_bias={COMMA: 100}, max_tokens=4).text == ",,,,"


def reproduces(ask: Ask) -> bool:
    texts = [ask(temperature=2, max_tokens=12, extra_body={"seed": seed}).text for seed in (1, 1, 2)]
    return texts[0] == texts[1] != texts[2]


def spells_the_text(ask: Ask, **fields: Any) -> bool:
    choice = ask(**fields).choices[0]
    if choice.logprobs is None:
        return False
    first = 1 if fields.get("echo") else 0  # the model did not choose it
    has_all = all(len(likeliest or ()) >= 2 for likeliest in choice.logprobs.top_logprobs[first:])
    return has_all and "".join(choice.logprobs.tokens) == choice.text


def goes_on(**fields: Any) -> Callable[[Ask], bool]:
    """Whether fields make the model go on whose next token is the end of its turn."""

    def honours(ask: Ask) -> bool:
        usage = ask(logit_bias={END_OF_TURN: 100}, extra_body=fields).usage
        return usage is not None and usage.completion_tokens >= 6

    return honours


def writes_letters(**fields: Any) -> Callable[[Ask], bool]:
    """Whether fields make the model write what it never would."""
    return lambda ask: ask(extra_body=fields, max_tokens=40).text in ('"qxj"', '"jxq"', "qxj", "jxq")


def writes_object(ask: Ask) -> bool:
    form = {"type": "json_schema", "json_schema": {"name": "letters", "schema": OBJECT}}
    try:
        return json.loads(ask(response_format=form, max_tokens=40).text)["q"] in LETTERS["enum"]
    except (ValueError, TypeError, KeyError):
        return False


def writes_json(ask: Ask) -> bool:
    return ask(response_format={"type": "json_object"}).text.lstrip().startswith("{")


def generates_more(ask: Ask) -> bool:
    usage = ask(best_of=4, temperature=1).usage
    return usage is not None and usage.completion_tokens > 6


BOTH: dict[str, Callable[[Ask], bool]] = {
    "n": lambda ask: len(ask(n=3, temperature=1).choices) == 3,
    "seed": reproduces,
    "logit_bias": forces_comma,
    "presence_penalty": changes(presence_penalty=2),
    "frequency_penalty": changes(frequency_penalty=2),
    "repetition_penalty": changes(extra_body={"repetition_penalty": 2}),
    "top_p": keeps_greedy(top_p=1e-6),
    "top_k": keeps_greedy(extra_body={"top_k": 1}),
    "min_p": keeps_greedy(extra_body={"min_p": 1}),
    "ignore_eos": goes_on(ignore_eos=True),
    "structured_outputs": writes_letters(structured_outputs={"choice": LETTERS["enum"]}),
    "json_schema": writes_object,
    "json_object": writes_json,
    "unknown_field": lambda ask: ask(extra_body={"no_such_field": 1}) is None,
}
"""How to see that a server honours a field of both endpoints."""

PROBES: dict[str, Callable[[Ask], bool]] = {
    **{f"{route}: {name}": honours for route in ("completions", "chat") for name, honours in BOTH.items()},
    "completions: logprobs": lambda ask: spells_the_text(ask, logprobs=2),
    "completions: best_of": generates_more,
    "completions: echo": lambda ask: ask(echo=True).text == PROMPT + ask().text,
    "completions: logprobs of an echo": lambda ask: spells_the_text(ask, echo=True, logprobs=2, max_tokens=1),
    "completions: suffix": lambda ask: ask(suffix="six.").text != ask().text,
    "chat: logprobs": lambda ask: spells_the_text(ask, top_logprobs=2),
    "chat: guided_json": writes_letters(guided_json=LETTERS),
}
"""How to see that a server honours a field, by endpoint."""


def found(honours: Callable[[Ask], bool], ask: Ask) -> str:
    try:
        return HONOURED if honours(ask) else IGNORED
    except (BadRequestError, UnprocessableEntityError):
        return REFUSED
    except ServerError as error:
        return f"fails with {error.status_code}"


@pytest.mark.parametrize("behaviour", PROBES)
def test_field_has_the_effect_that_the_table_says(server: Running, client: ParadigmClient, behaviour: str) -> None:
    ask = asker(client, server.model, behaviour.partition(":")[0])
    ask(max_tokens=1)  # so that greedy texts are compared with the prompt in the server's cache
    assert found(PROBES[behaviour], ask) == server.expects(behaviour)
