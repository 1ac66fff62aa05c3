"""What must hold on every path to every server: texts, usage, stops, limits, refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from paradigm_transport import CHAT_TEMPLATES, ParadigmError
from tests.conformance.paths import TEMPLATE, Answer, Path, on_every_path
from tests.conformance.running import Running, kind_of

PROMPT = "One, two, three, four,"
LIKELIEST: dict[str, Any] = {"temperature": 0, "max_tokens": 8}
SEED = {"seed": 1}  # with one, the local Paradigm computes equal requests in the same way
GREEDY = {**LIKELIEST, "extra_body": SEED}
NEVER = ["\x01", "\x02", "\x03", "\x04", "\x05"]


@pytest.fixture(scope="session")
def reference(server: Running) -> Callable[[str], Answer]:
    """The answer to the prompt over a route, as the server sends it to a request that nothing of ours has touched."""
    known: dict[str, Answer] = {}

    def ask(route: str) -> Answer:
        if route == "chat":
            path, body = "chat/completions", {"messages": [{"role": "user", "content": PROMPT}]}
        elif route == "completions":
            path, body = "completions", {"prompt": PROMPT}
        else:
            template = CHAT_TEMPLATES[TEMPLATE]
            path, body = "completions", {"prompt": template.render_prompt(PROMPT), "stop": template.stop}
        body = {**body, **LIKELIEST, **SEED}
        server.post(path, **body)  # later calls find the prompt in the server's cache
        reply = server.post(path, **body).json()
        choice, usage = reply["choices"][0], reply["usage"]
        text = choice["message"]["content"] if route == "chat" else choice["text"]
        return Answer(text, choice["finish_reason"], (usage["prompt_tokens"], usage["completion_tokens"]))

    return lambda route: known.get(route) or known.setdefault(route, ask(route))


@on_every_path
def test_text_usage_and_finish_reason_are_the_servers(
    server: Running, reference: Callable[[str], Answer], path: Path
) -> None:
    expected = reference(path.route)
    if path.streamed and server.expects("usage of a stream") == "none":
        expected = replace(expected, usage=None)
    assert path.ask(server, PROMPT, **GREEDY) == expected


@on_every_path
def test_stop_sequence_ends_the_text(server: Running, reference: Callable[[str], Answer], path: Path) -> None:
    whole = reference(path.route).text
    stop = whole[5:8]
    assert len(stop) == 3
    before = NEVER if path.is_async else []  # the server is sent four at most
    answer = path.ask(server, PROMPT, stop=[*before, stop], **GREEDY)
    assert (answer.text, answer.finish_reason) == (whole[: whole.index(stop)], "stop")


def refused(server: Running, path: Path, prompt: str = PROMPT, **fields: Any) -> str:
    """Return the kind of error that a call raises; `answered` if it raises none."""
    try:
        path.ask(server, prompt, **{**GREEDY, "max_retries": 0, **fields})
    except ParadigmError as refusal:
        error = refusal
    else:
        return "answered"
    assert "\n" not in str(error)
    assert server.api_key not in str(error)
    return kind_of(error)


@on_every_path
def test_wrong_key_is_refused(server: Running, path: Path) -> None:
    assert refused(server, path, api_key="sk-wrong-key-of-a-test") == server.expects("wrong key")


@on_every_path
def test_unknown_model_is_refused(server: Running, path: Path) -> None:
    assert refused(server, path, model="no-such-model") == server.expects("unknown model")


@on_every_path
def test_field_of_a_wrong_type_is_refused(server: Running, path: Path) -> None:
    assert refused(server, path, extra_body={"top_k": "many"}) == server.expects("field of a wrong type")


@on_every_path
def test_prompt_beyond_the_context_is_refused(server: Running, path: Path) -> None:
    behaviour = f"prompt beyond the context{', streamed' if path.streamed else ''}"
    assert refused(server, path, PROMPT * server.server.context) == server.expects(behaviour)
