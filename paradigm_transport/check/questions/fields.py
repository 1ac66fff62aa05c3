"""Questions about fields that shape a completion, other than sampling."""

from __future__ import annotations

import re

from paradigm_transport.check.findings import Finding, UnclearError, question
from paradigm_transport.check.probes import Target
from paradigm_transport.check.prompts import COUNT, STORY
from paradigm_transport.check.routes import COMPLETIONS
from paradigm_transport.check.server import WARM, Server
from paradigm_transport.endpoints.completions.fields import MAX_STOPS
from paradigm_transport.endpoints.completions.logprobs import read_logprobs
from paradigm_transport.errors import APIStatusError, ParadigmError
from paradigm_transport.json_object import JsonObject

GROUP = "Fields"

_FEW = 5
_COUNTS_OF_STOPS = (1, MAX_STOPS, MAX_STOPS + 1, 8, 16)


@question("max_tokens", GROUP)
def max_tokens(server: Server) -> Finding:
    """Whether a completion ends after `max_tokens`."""
    whole = server.greedy(COUNT)
    generated = server.generate(COUNT, max_tokens=_FEW)
    counted = generated.usage
    if counted is not None and counted.completion_tokens == _FEW:
        return Finding("honoured", "exactly")
    if counted is not None and counted.completion_tokens > _FEW:
        return Finding("ignored", f"{counted.completion_tokens} tokens instead of {_FEW}")
    if len(generated.text) < len(whole) and whole.startswith(generated.text):
        return Finding("honoured", "" if counted is None else f"{counted.completion_tokens} tokens instead of {_FEW}")
    return Finding("ignored", "the text is not shorter") if generated.text == whole else _unlike(generated.text)


def _unlike(text: str) -> Finding:
    return Finding("unknown", "the text differs" if text else "the model wrote nothing")


@question("stop", GROUP, is_quick=True)
def stop(server: Server) -> Finding:
    """Whether a completion ends before a stop sequence."""
    text, mark = _text_with_mark(server)
    generated = server.generate(COUNT, stop=[mark])
    return _stop_finding(generated.text, generated.finish_reason, text, mark)


def _text_with_mark(server: Server) -> tuple[str, str]:
    """A text that the model writes, and a word in the midst of it."""
    text = server.greedy(COUNT)
    words = [found[0] for found in re.finditer(r"\w+", text)]
    inner = [word for word in words[1:-1] if text.find(word) > 0]
    if not inner:
        raise UnclearError("the text is too short to compare")
    return text, inner[len(inner) // 2]


def _stop_finding(found: str, reason: object, text: str, mark: str) -> Finding:
    before = text[: text.find(mark)]
    if found.rstrip() == before.rstrip():
        return Finding("honoured", "" if reason == "stop" else f"but finish_reason is {reason!r}"[:60])
    if found == before + mark:
        return Finding("honoured", "the text includes the stop sequence")
    if mark in found:
        return Finding("ignored")
    return Finding("unknown", "the text differs")


@question("number of stop sequences", GROUP, seconds=30)
def number_of_stops(server: Server) -> Finding:
    """How many stop sequences are accepted, and whether the last one works."""
    text, mark = _text_with_mark(server)
    most = 0
    for count in _COUNTS_OF_STOPS:
        stops = [*(f"@@{number}@@" for number in range(count - 1)), mark]
        try:
            generated = server.generate(COUNT, stop=stops)
        except APIStatusError as error:
            if not most:
                raise
            return _most_stops(most, f"{count} are refused with {error.status_code}")
        found = _stop_finding(generated.text, "stop", text, mark)
        if found.status == "ignored" and most:
            return _most_stops(most, f"of {count}, the last is ignored")
        if not found.is_good:
            return found
        most = count
    return Finding("honoured", f"{most} or more", most)


def _most_stops(most: int, then: str) -> Finding:
    at_least = "" if most + 1 in _COUNTS_OF_STOPS else "at least "
    return Finding("honoured", f"{at_least}{most}; {then}", most)


@question("n", GROUP)
def n(server: Server) -> Finding:
    """Whether one request can generate two completions."""
    temperature = WARM if server.greedy_fields(server.route) else None  # many refuse equal completions
    count = len(server.generate(STORY, n=2, temperature=temperature, max_tokens=_FEW).choices)
    return Finding("honoured") if count == 2 else Finding("ignored", f"{count} completion{'s' * (count > 1)}")


@question("echo", GROUP)
def echo(server: Server) -> Finding:
    """Whether `echo` returns the prompt in front of the completion."""
    server.require(COMPLETIONS)
    text = server.generate(COUNT, COMPLETIONS, echo=True, max_tokens=_FEW).text
    return Finding("honoured") if text.startswith(COUNT.text) else Finding("ignored")


@question("logprobs", GROUP)
def logprobs(server: Server) -> Finding:
    """Whether log-probabilities of tokens are returned."""
    fields: JsonObject = {"logprobs": 2} if server.route is COMPLETIONS else {"logprobs": True, "top_logprobs": 2}
    generated = server.generate(COUNT, max_tokens=_FEW, **fields)
    wire = generated.choices[0].get("logprobs")
    if not wire:
        return Finding("ignored")
    found = read_logprobs(wire)
    if found is None or not len(found):
        return Finding("unknown", "in an unknown form")
    most = max((len(each or ()) for each in found.top_logprobs), default=0)
    return Finding("honoured", f"with the {most} likeliest tokens" if most else "without the likeliest tokens")


@question("logit_bias", GROUP)
def logit_bias(server: Server) -> Finding:
    """Whether `logit_bias` changes the text."""
    plain = server.greedy(STORY)
    biased = server.generate(STORY, logit_bias={"1000": 100}).text
    return Finding("honoured") if biased != plain else Finding("ignored")


@question("skip_special_tokens", GROUP)
def skip_special_tokens(server: Server) -> Finding:
    """Whether special tokens, which often mark calls and thoughts, stay in the text on request."""
    forced: JsonObject = {"max_tokens": 2, "ignore_eos": True, "logit_bias": {str(_special_token(server)): 100}}
    server.generate(COUNT, max_tokens=2, skip_special_tokens=False)  # is it refused, and not what it is tried with?
    try:
        hidden = server.generate(COUNT, skip_special_tokens=True, **forced).text
        shown = server.generate(COUNT, skip_special_tokens=False, **forced).text
    except ParadigmError:
        raise UnclearError("accepted, but no special token could be generated") from None
    if shown and not hidden:
        return Finding("honoured")
    if shown and re.fullmatch(r"(<[^<>\s]+>)+", shown) and shown == hidden:
        return Finding("ignored", "special tokens are always part of the text")
    if not shown:
        return Finding("ignored", "special tokens are never part of the text")
    raise UnclearError("accepted, but no special token could be generated")


def _special_token(server: Server) -> int:
    """The id of a special token: that of a common mark if the server counts it as one token, else 1."""
    for mark in ("<|im_end|>", "<|eot_id|>", "</s>", "<end_of_turn>"):
        try:
            reply = server.send(
                Target("tokenize", version=""),
                {"model": server.model, "prompt": mark, "content": mark, "add_special_tokens": False,
                 "parse_special": True},
            )  # fmt: skip
        except ParadigmError:
            break
        tokens = reply.body.get("tokens") if isinstance(reply.body, dict) else None
        if isinstance(tokens, list) and len(tokens) == 1 and isinstance(tokens[0], int):
            return tokens[0]
    return 1


@question("unknown fields", GROUP)
def unknown_fields(server: Server) -> Finding:
    """What the server does with a field that does not exist."""
    server.generate(COUNT, max_tokens=1, paradigm_check_field=1)
    return Finding("ignored", "as on most servers")


QUESTIONS = (
    max_tokens, stop, number_of_stops, n, echo, logprobs, logit_bias, skip_special_tokens, unknown_fields,
)  # fmt: skip
