"""Questions about fields of sampling, which show in whether texts differ."""

from __future__ import annotations

from typing import Any

from paradigm_transport.check.findings import Finding, UnclearError, question
from paradigm_transport.check.prompts import REPEAT, STORY, Prompt
from paradigm_transport.check.server import Server

GROUP = "Sampling"

_PENALTY_TOKENS = 40


@question("temperature", GROUP)
def temperature(server: Server) -> Finding:
    """Whether texts are the same at temperature 0, and differ at a high one."""
    cold = [server.generate(STORY, temperature=0).text for _ in range(2)]
    is_steady = cold[0] == cold[1]
    first, second = server.samples
    if not is_steady and server.generate(STORY, temperature=0).text not in cold:
        return Finding("ignored", "texts differ at temperature 0")
    if {first, second} == {cold[0]}:
        return Finding("ignored", f"texts at temperature {server.hot:g} equal those at 0")
    return Finding("honoured", "texts at 0 are equal" if is_steady else "texts at 0 are nearly always equal", is_steady)


@question("seed", GROUP)
def seed(server: Server) -> Finding:
    """Whether the same seed gives the same text."""
    _ = server.varies  # or a refusal would be that of the temperature
    first, again = (server.generate(STORY, temperature=server.hot, seed=7).text for _ in range(2))
    if first != again:
        return Finding("ignored", "one seed gives different texts")
    if server.generate(STORY, temperature=server.hot, seed=8).text == first:
        raise UnclearError("two seeds give the same text")
    return Finding("honoured")


@question("top_p", GROUP)
def top_p(server: Server) -> Finding:
    """Whether a tiny `top_p` leaves only the likeliest token."""
    return _narrows(server, top_p=0.0001)


@question("top_k", GROUP)
def top_k(server: Server) -> Finding:
    """Whether `top_k`, a field of vLLM and llama.cpp, leaves only the likeliest token."""
    return _narrows(server, top_k=1)


@question("min_p", GROUP)
def min_p(server: Server) -> Finding:
    """Whether `min_p`, a field of vLLM and llama.cpp, leaves only the likeliest token."""
    return _narrows(server, min_p=1.0)


def _narrows(server: Server, **field: Any) -> Finding:
    varies = server.varies
    first = server.generate(STORY, temperature=server.hot, **field).text
    if not varies:
        raise UnclearError("texts do not vary without it either")
    is_narrow = first == server.greedy(STORY) or first == server.generate(STORY, temperature=server.hot, **field).text
    return Finding("honoured") if is_narrow else Finding("ignored", "texts still vary")


@question("frequency_penalty", GROUP)
def frequency_penalty(server: Server) -> Finding:
    """Whether a penalty for frequent tokens ends a repetition."""
    return _changes(server, REPEAT, frequency_penalty=2)


@question("presence_penalty", GROUP)
def presence_penalty(server: Server) -> Finding:
    """Whether a penalty or a reward for tokens already used changes a text."""
    found = _changes(server, STORY, presence_penalty=2)
    return found if found.is_good else _changes(server, STORY, presence_penalty=-2)


def _changes(server: Server, prompt: Prompt, **field: Any) -> Finding:
    """Compare with two texts without the field: one that changes by itself shows nothing."""
    changed = server.generate(prompt, max_tokens=_PENALTY_TOKENS, **field).text
    plain = server.greedy(prompt, _PENALTY_TOKENS)
    if changed == plain:
        return Finding("ignored", f"the first {_PENALTY_TOKENS} tokens stay the same")
    if server.generate(prompt, max_tokens=_PENALTY_TOKENS).text != plain:
        raise UnclearError("the text also changes without it")
    return Finding("honoured")


QUESTIONS = (temperature, seed, top_p, top_k, min_p, frequency_penalty, presence_penalty)
