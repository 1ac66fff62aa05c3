"""What `paradigm-check` finds out about servers that honour, ignore, refuse and lack what it asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from paradigm_transport import CHAT_TEMPLATES
from paradigm_transport.check import prompts
from tests.transport.answering import MODEL, WINDOW, AnsweringServer
from tests.transport.checking import Check
from tests.transport.checking import check as check
from tests.wire import CUT, Request, Script, chunk, completion, reply, sse, trickle, usage

GOOD = {"works", "honoured"}
OTHER = {
    "wrong key": "refused",
    "rate limit headers": "missing",
    "unknown fields": "ignored",
    "thoughts": "unknown",
    "invalid value": "refused",
    "unknown model": "refused",
    "long prompt": "refused",
}


def test_server_that_honours_everything_is_found_out(check: Check) -> None:
    found = check()
    assert found["ok"]
    assert {name: status for name, status in found["status"].items() if status not in GOOD} == OTHER
    assert found["model"] == MODEL
    assert found["found"]["context window"]["value"] == WINDOW
    assert found["found"]["number of stop sequences"]["detail"] == "16 or more"


FIELDS = {
    "max_tokens": "max_tokens",
    "stop": "stop",
    "n": "n",
    "echo": "echo",
    "logprobs": "logprobs",
    "logit_bias": "logit_bias",
    "skip_special_tokens": "skip_special_tokens",
    "temperature": "temperature",
    "seed": "seed",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "stream_options": "stream_options",
    "response_format (completions)": "response_format",
    "response_format (chat)": "response_format",
    "structured_outputs (completions)": "structured_outputs",
    "structured_outputs (chat)": "structured_outputs",
    "structural_tag (completions)": "structured_outputs",
    "guided_json (completions)": "guided_json",
    "guided_json (chat)": "guided_json",
    "json_schema (completions)": "json_schema",
    "grammar (completions)": "grammar",
    "stream_options (chat)": "stream_options",
    "stream": "stream",
    "stream (chat)": "stream",
    "tools": "tools",
    "tool_choice: required": "tools",
}


@pytest.mark.parametrize("field", dict.fromkeys(FIELDS.values()))
def test_ignored_field_is_found_out(check: Check, field: str) -> None:
    found = check(ignored=[field])
    ignored = {name for name, status in found["status"].items() if status == "ignored"}
    further = {"number of stop sequences"} if field == "stop" else set()
    assert ignored == {name for name, its in FIELDS.items() if its == field} | further | {"unknown fields"}


def test_server_that_never_samples_is_found_out(check: Check) -> None:
    found = check(ignored=["temperature"], samples=False)["found"]
    assert found["temperature"]["status"] == "ignored"
    assert found["temperature"]["detail"] == "texts at temperature 1.5 equal those at 0"
    for name in ("top_p", "top_k", "min_p", "seed"):
        assert found[name]["status"] == "unknown"


def test_lower_temperatures_are_tried_if_high_ones_are_refused(check: Check) -> None:
    status = check(most_temperature=1)["status"]
    assert {status[name] for name in ("temperature", "seed", "top_p", "top_k", "min_p")} == {"honoured"}


def test_model_with_one_temperature_can_be_checked(check: Check) -> None:
    status = check(refused=["temperature"], samples=False)["status"]
    assert status["temperature"] == "refused"
    assert {status[name] for name in ("max_tokens", "stop", "n", "frequency_penalty", "logprobs")} == {"honoured"}
    assert {status[name] for name in ("top_p", "top_k", "min_p", "seed")} == {"unknown"}


@pytest.mark.parametrize("field", sorted(set(FIELDS.values()) - {"max_tokens"}))
def test_refused_field_is_found_out(check: Check, field: str) -> None:
    found = check(refused=[field])
    for name, its in FIELDS.items():
        if its == field:
            assert found["status"][name] == "refused"
            assert found["found"][name]["detail"] == f"400: {field} is not allowed"


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [("models", "models"), ("embeddings", "embeddings"), ("search", "search"), ("tokenize", "tokenize"),
     ("chat", "chat/completions"), ("completions", "completions")],
)  # fmt: skip
def test_missing_endpoint_is_found_out(check: Check, name: str, endpoint: str) -> None:
    found = check(AnsweringServer(missing=[endpoint]), "--model", MODEL, only=name)
    assert found["status"][name] == "missing"
    assert found["found"][name]["detail"] == "404: Not found."


def test_fields_are_tried_on_chats_without_completions(check: Check) -> None:
    status = check(missing=["completions"])["status"]
    fields = {name for name, its in FIELDS.items() if "(completions)" not in name and its != "echo"}
    assert {status[name] for name in fields - {"stream (chat)", "stream_options (chat)"}} == {"honoured"}
    assert status["echo"] == status["BOS token"] == status["grammar (completions)"] == "unknown"


@pytest.mark.parametrize(
    ("options", "name", "status", "detail"),
    [
        ({"bos": 0}, "BOS token", "missing", "the server adds none"),
        ({"bos": 3}, "BOS token", "failed", "the server adds 3 tokens to a prompt, not only a BOS token"),
        ({"usage": False}, "usage", "missing", ""),
        ({"usage": False}, "stream_options", "ignored", "the stream has no usage"),
        ({"usage": False}, "BOS token", "unknown", "the server reports no usage to count with"),
        ({"usage": False}, "max_tokens", "honoured", ""),
        ({"most_stops": 4}, "number of stop sequences", "honoured", "4; 5 are refused with 400"),
        ({"most_stops": 6}, "number of stop sequences", "honoured", "at least 5; 8 are refused with 400"),
        ({"heeded_stops": 4}, "number of stop sequences", "honoured", "4; of 5, the last is ignored"),
        ({"entry": {"max_model_len": None}}, "context window", "missing", "not in the model list"),
        ({"entry": {"max_model_len": None}}, "long prompt", "unknown", "the context window is unknown"),
        ({"headers": {"X-RateLimit-Remaining": "9"}}, "rate limit headers", "works", "x-ratelimit-remaining: 9"),
        ({"thinks": ("reasoning", "Hm.")}, "thoughts", "works", "in reasoning"),
        (
            {"thinks": ("content", "<think>Hm.</think> Both.")},
            "thoughts",
            "missing",
            "thoughts stay in the text; the parser qwen3 reads them",
        ),
        (
            {"call_in_text": "<tool_call>{}"},
            "tools",
            "ignored",
            "the call stayed in the text; the parser hermes reads it",
        ),
        (
            {"call_in_text": "[TOOL_CALLS][]"},
            "tools",
            "ignored",
            "the call stayed in the text; the parser mistral reads it",
        ),
        ({"call_in_text": "<tool_call>{"}, "tools", "unknown", "the model began a call, but was cut off"),
        (
            {"call_in_text": "<tool_call>{"},
            "tool_choice: required",
            "honoured",
            "the answer begins a call, but was cut off",
        ),
        ({}, "chat template", "works", "'chatml': it gives the same prompt as the chat endpoint"),
        ({"missing": ["chat/completions"]}, "chat template", "works", "'alfred': its end mark is one token"),
    ],
)
def test_detail_is_found_out(check: Check, options: dict[str, Any], name: str, status: str, detail: str) -> None:
    found = check(only=name, **options)["found"][name]
    assert (found["status"], found["detail"]) == (status, detail)


SOURCE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


def test_template_of_the_server_is_recommended(check: Check) -> None:
    found = check(entry={"chat_template": SOURCE}, ignored=["tools"])
    assert found["found"]["chat template"]["value"] == "server"
    for code in found["recommended"]["langchain"], found["recommended"]["llama_index"]:
        assert f'ChatParadigm(model="{MODEL}", chat_template="server", constrain="vllm")' in code


def test_template_that_is_as_long_by_chance_is_not_taken(check: Check) -> None:
    server = AnsweringServer(knows_marks=False)
    alfred, chatml = (
        server.count(CHAT_TEMPLATES[name].render([("system", prompts.SYSTEM), ("user", prompts.HELLO)]))
        for name in ("alfred", "chatml")
    )
    server.more_in_chats = alfred - chatml
    found = check(server, only="chat template")["found"]["chat template"]
    assert found["status"] == "missing"
    assert found["detail"] == "none gives the same prompt as the chat endpoint; tried alfred, chatml"


def test_templates_of_the_server_need_jinja(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paradigm_transport.check.questions.prompts.find_spec", lambda name: None)
    found = check(entry={"chat_template": SOURCE})["found"]["chat template"]
    assert found["value"] == "chatml"
    found = check(entry={"chat_template": SOURCE}, more_in_chats=2)["found"]["chat template"]
    assert found["status"] == "missing"
    assert found["detail"].startswith("the server's templates need jinja2: pip install jinja2; ")


def at(applies: Callable[[Request], bool], script: Script) -> Callable[[Request], Script]:
    """A server that answers some requests with a script."""
    server = AnsweringServer()
    return lambda request: script if applies(request) else server(request)


@pytest.mark.parametrize(
    ("script", "status", "detail"),
    [
        ([CUT], "failed", "the connection broke"),
        (reply("<html>Welcome</html>"), "failed", "unexpected response: Welcome"),
        (reply({"choices": []}), "failed", "unexpected response"),
        (reply({"choices": [{"text": 7}]}), "failed", "unexpected response"),
        (reply({"detail": "Boom."}, 500), "failed", "500: Boom."),
        (reply(status=422), "refused", "422"),
        (reply({"detail": "Later."}, 429, {"Retry-After": "3600"}), "unknown", "rate limited, 429: Later."),
    ],
)
def test_response_to_a_field_is_a_finding(check: Check, script: Script, status: str, detail: str) -> None:
    found = check(at(lambda request: "seed" in (request.body or ()), script), only="seed")["found"]["seed"]
    assert (found["status"], found["detail"]) == (status, detail)


@pytest.mark.parametrize(
    ("script", "name", "status", "detail"),
    [
        (sse(chunk("a", "stop")), "stream", "ignored", "all text arrives in one event"),
        (sse(chunk("a"), chunk("b", "stop"), done=False), "stream", "honoured", "ends without [DONE]"),
        (sse(chunk("a"), chunk("b")), "stream", "failed", "ends without finish_reason"),
        (sse(chunk("a"), done=False), "stream", "failed", "ends without finish_reason and without [DONE]"),
        (sse(chunk("", "stop")), "stream", "failed", "no event contains text"),
        (sse(chunk("a"), CUT), "stream", "failed", "the stream broke off"),
        (sse(chunk("a"), {"error": {"message": "Boom.", "code": 500}}), "stream", "failed", "500: Boom."),
        (trickle(sse(chunk("a"), chunk("b", "stop"))), "stream", "honoured", ""),
        (sse(chunk("", "stop")), "speed", "unknown", "no text arrived"),
        (
            sse(chunk("a"), chunk("b", "stop", usage=usage(0, 0))),
            "stream_options",
            "ignored",
            "the stream has no usage: only zeros",
        ),
        (
            sse(chunk("a"), chunk("b", "stop", usage=usage(3, 5))),
            "stream_options",
            "honoured",
            "usage with and without it",
        ),
        (
            sse(chunk("a"), chunk("b", "stop", usage=usage(3, 99))),
            "stream_options",
            "failed",
            "99 tokens reported for a text of at most 5",
        ),
    ],
)
def test_stream_is_looked_at(check: Check, script: Script, name: str, status: str, detail: str) -> None:
    found = check(at(lambda request: "stream" in (request.body or ()), script), only=name)["found"][name]
    assert (found["status"], found["detail"]) == (status, detail)


def test_stream_options_that_are_not_needed_are_found_out(check: Check) -> None:
    script = sse(chunk("a"), chunk("b", "stop", usage=usage(3, 5)))
    refuses = at(lambda request: "stream_options" in (request.body or ()), reply({"detail": "No stream_options."}, 400))
    plain = at(lambda request: "stream" in (request.body or ()), script)
    found = check(lambda request: (refuses if "stream_options" in (request.body or ()) else plain)(request))["found"]
    assert found["stream_options"]["status"] == "refused"
    assert found["stream_options"]["detail"] == "but streams report usage without it"
    assert found["speed"]["status"] == "works"


@pytest.mark.parametrize(
    ("body", "name", "status", "detail"),
    [
        (completion("a", usage=usage(3, 9)), "usage", "failed", "9 tokens reported for a text of at most 5"),
        (completion("a", usage=usage(0, 0)), "usage", "missing", "only zeros"),
        (completion("a", usage={"tokens": 3}), "usage", "missing", "in an unknown form"),
        (completion("a", usage={**usage(3, 5), "total_tokens": 9}), "usage", "failed", "the total is not the sum"),
        (completion("a", usage=usage(3, 99)), "max_tokens", "ignored", "99 tokens instead of 5"),
        (completion("a", usage=None), "max_tokens", "unknown", "the text differs"),
        (completion("a", finish_reason=None), "finish_reason", "missing", ""),
        (completion("a", finish_reason="eos"), "finish_reason", "unknown", "it is 'eos'"),
    ],
)
def test_whole_response_is_looked_at(check: Check, body: dict[str, Any], name: str, status: str, detail: str) -> None:
    short = at(lambda request: (request.body or {}).get("max_tokens") == 5, reply(body))
    found = check(short, only=name)["found"][name]
    assert (found["status"], found["detail"]) == (status, detail)


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("invalid value", "accepted"),
        ("unknown model", "accepted"),
        ("long prompt", "accepted, so a part of it is cut off"),
        ("wrong key", "any key is accepted"),
    ],
)
def test_server_that_accepts_anything_is_found_out(check: Check, name: str, detail: str) -> None:
    found = check(only=name, accepts_anything=True)["found"][name]
    assert (found["status"], found["detail"]) == ("ignored", detail)
