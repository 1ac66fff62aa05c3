"""The command `paradigm-check`: its use, its time, its reports, and what is not a server."""

from __future__ import annotations

import json
import re
import ssl
from dataclasses import replace
from typing import Any

import pytest
import trustme

from paradigm_transport import ParadigmClient, Settings
from paradigm_transport.check import cli
from paradigm_transport.check.questions import QUESTIONS
from paradigm_transport.check.redaction import Words
from paradigm_transport.check.runner import run
from paradigm_transport.check.server import Server
from tests.transport.answering import KEY, MODEL, AnsweringServer
from tests.transport.checking import Check
from tests.transport.checking import check as check
from tests.wire import CUT, STALL, Request, Script, WireServer, reply

# What is not such a server


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (reply({"detail": "Invalid API key."}, 401), "answered 401: Invalid API key. Check api_key"),
        (reply({"detail": "Not for you."}, 403), "answered 403: Not for you."),
        (reply("<html><h1>Welcome</h1></html>"), "returned an unexpected response"),
        (reply("<html><h1>Not Found</h1></html>", 404), "answered 404: Not Found. Check model and base_url"),
        ([CUT], "could not be reached"),
        (reply(b"\x00\x01"), "returned an unexpected response"),
    ],
)
def test_what_is_not_a_server_gets_one_line(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: Any, said: str
) -> None:
    monkeypatch.setenv("PARADIGM_API_KEY", KEY)
    wire.always(script)
    assert cli.main(["--base-url", wire.url, "--model", MODEL]) == 1
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 1
    assert written.err.startswith(f"paradigm-check: {wire.host} ")
    assert said in written.err


def test_address_without_a_server_gets_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARADIGM_API_KEY", KEY)
    with WireServer() as closed:
        pass
    assert cli.main(["--base-url", closed.url, "--json"]) == 1
    written = capsys.readouterr()
    assert written.err.count("\n") == 1
    assert "could not be reached" in written.err
    assert json.loads(written.out)["error"] == "APIConnectionError"
    assert closed.host not in written.out


def test_server_with_an_unknown_certificate_gets_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARADIGM_API_KEY", KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with WireServer(context) as wire:
        assert cli.main(["--base-url", wire.url, "--model", MODEL]) == 1
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 1
    assert "CERTIFICATE_VERIFY_FAILED" in written.err


def test_unknown_model_gets_one_line_with_those_that_are_known(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARADIGM_API_KEY", KEY)
    wire.always(AnsweringServer())
    assert cli.main(["--base-url", wire.url, "--model", "alfred-4"]) == 1
    said = f"paradigm-check: {wire.host} does not serve the model 'alfred-4'. Its models are: {MODEL}.\n"
    assert capsys.readouterr() == ("", said)


def test_server_that_generates_nothing_is_reported_and_fails(check: Check) -> None:
    found = check(AnsweringServer(refused=["max_tokens"]), code=1)
    assert not found["ok"]
    assert found["recommended"] is None
    assert found["status"]["completions"] == found["status"]["chat"] == "refused"
    assert found["found"]["stop"]["detail"] == "neither completions nor chat works"
    assert found["status"]["embeddings"] == "works"


# Use


def test_key_comes_from_the_environment_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--model", MODEL]) == 2
    said = "paradigm-check: api_key: it is missing: pass api_key or set PARADIGM_API_KEY\n"
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize("arguments", [["--seconds", "0"], ["--seconds", "soon"], ["--api-key", "k"], ["model"]])
def test_wrong_use_is_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(arguments)
    assert raised.value.code == 2
    assert "usage: paradigm-check" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "soon", "inf"])
def test_wrong_number_of_seconds_is_named(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--seconds", number])
    assert f"argument --seconds: '{number}' is not a positive number" in capsys.readouterr().err


def test_wrong_address_is_wrong_use(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PARADIGM_API_KEY", KEY)
    assert cli.main(["--base-url", "ftp://host"]) == 2
    assert capsys.readouterr().err == "paradigm-check: base_url: it must be an address like https://host:port/api/v2\n"


def test_model_must_be_named_if_there_are_several(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARADIGM_API_KEY", KEY)
    wire.always(reply({"data": [{"id": "a"}, {"id": "b"}, {"id": "multilingual-e5-large"}]}))
    assert cli.main(["--base-url", wire.url]) == 2
    assert capsys.readouterr().err == ("paradigm-check: pass --model: the server lists 2 text models: a, b\n")


def test_quick_asks_five_questions(check: Check) -> None:
    found = check(AnsweringServer(), "--quick")
    assert list(found["status"]) == ["models", "completions", "chat", "stream_options", "stop"]
    assert found["recommended"]["langchain"]


def test_interrupt_ends_the_command_with_one_line(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("PARADIGM_API_KEY", KEY)
    monkeypatch.setattr(cli, "run", interrupt)
    wire.always(AnsweringServer())
    assert cli.main(["--base-url", wire.url]) == 130
    assert capsys.readouterr() == ("", "paradigm-check: interrupted\n")


# Time


def test_question_without_a_response_is_unknown(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    server = AnsweringServer()

    def stall_at_seeds(request: Request) -> Script:
        return [STALL] if request.body and "seed" in request.body else server(request)

    short = [replace(each, seconds=0.1) if each.name == "seed" else each for each in QUESTIONS]
    monkeypatch.setattr(cli, "QUESTIONS", short)
    found = check(stall_at_seeds)
    assert found["found"]["seed"]["detail"] == "no response in time"
    assert found["status"]["top_p"] == "honoured"


def test_no_question_is_asked_after_the_time_is_over() -> None:
    now = iter(range(0, 10_000_000, 100))
    client = ParadigmClient(api_key=KEY, base_url="http://127.0.0.1:1")
    answers = run(Server(client, MODEL, timer=lambda: float(next(now))), QUESTIONS, 50.0, lambda each: None)
    assert {(answer.finding.status, answer.finding.detail) for answer in answers} == {("unknown", "no time was left")}


def test_rate_limit_is_waited_for(check: Check) -> None:
    server, refusals = AnsweringServer(), [reply({"detail": "Too many."}, 429, {"Retry-After": "0"})] * 2

    def limited(request: Request) -> Script:
        return refusals.pop() if refusals and request.body and "seed" in request.body else server(request)

    assert check(limited)["status"]["seed"] == "honoured"
    assert not refusals


# Reports


def test_report_holds_no_key_host_or_prompt(check: Check, wire: WireServer) -> None:
    server = AnsweringServer()

    def repeat(request: Request) -> Script:
        """Refuse nearly all there is, in the words of the request."""
        plain = {"model", "prompt", "messages", "max_tokens", "stream", "temperature"}
        if not request.body or set(request.body) <= plain or request.path.endswith("embeddings"):
            return server(request)
        quoted = f"{request.body} {json.dumps(request.body)} {request.headers} at {wire.url} ({wire.host})"
        prompt = str(request.body.get("prompt") or request.body.get("messages"))
        return reply({"detail": f"{prompt[:40]}… {KEY} {wire.host} /srv/models/private/a.bin: {quoted}"}, 400)

    written = json.dumps(check(repeat))
    words = re.findall('400: [^"]*', written)
    assert len(words) > 20
    for text in (KEY, wire.host, "127.0.0.1", "private", "Counting", "6 7 8 9", "village", "ha ha ha"):
        assert text not in written


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("models.corp.example refuses", "[…] refuses"),
        ("at models.corp.example:8443!", "at […]!"),
        ("see https://other.example/help?key=1 for help", "see […] for help"),
        ("upstream 10.0.0.7:8000 and [::1]:80 and localhost:9", "upstream […] and […] and […]"),
        ("ask admin@corp.example", "ask […]"),
        ("no file /srv/models/private.gguf", "no file […]"),
        ("no file /models/private.gguf or C:\\models\\private.gguf", "no file […] or […]"),
        ("no route /v1/completions", "no route /v1/completions"),
        ("Models.CORP.example or gpu-7.corp.example refuses", "[…] or […] refuses"),
        (
            "HTTPConnectionPool(host='vllm', port=8000): Max retries",
            "HTTPConnectionPool(host='[…]', port=8000): Max retries",
        ),
        ("vllm-a.prod.svc.cluster.local refused, gpu-17.other.com too", "[…] refused, […] too"),
        (
            "litellm.InternalServerError at 12:30:45 in vllm.entrypoints",
            "litellm.InternalServerError at 12:30:45 in vllm.entrypoints",
        ),
        ("fd00::12 and 2001:db8::1 refused", "[…] and […] refused"),
        (f"the key {KEY} is wrong", "the key […] is wrong"),
        ("you said: village by the sea, there", "you said:[…]"),
        ("temperature must be at most 2.0 and/or 1", "temperature must be at most 2.0 and/or 1"),
    ],
)
def test_words_of_a_server_are_redacted(said: str, written: str) -> None:
    words = Words(Settings(api_key=KEY, base_url="https://models.corp.example:8443/v1"))
    assert words.clean({"detail": said}) == written
    assert words.clean({"error": {"message": said}}) == written


@pytest.mark.parametrize("columns", [30, 50, 80, 200])
def test_table_fits_the_terminal(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    monkeypatch.setenv("PARADIGM_API_KEY", KEY)
    monkeypatch.setenv("COLUMNS", str(columns))
    wire.always(AnsweringServer())
    assert cli.main(["--base-url", wire.url]) == 0
    table, _, code = capsys.readouterr().out.partition("\nRecommended")
    assert max(map(len, table.splitlines())) <= columns
    assert table.isascii()
    assert "    chat = ChatParadigm(" in code


def test_progress_is_shown_on_a_terminal_alone(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARADIGM_API_KEY", KEY)
    wire.always(AnsweringServer())
    assert cli.main(["--base-url", wire.url, "--quick"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert cli.main(["--base-url", wire.url, "--quick"]) == 0
    assert "\r\x1b[K5/5 stop" in capsys.readouterr().err


def test_every_question_is_asked_once_and_says_what_it_asks() -> None:
    names = [each.name for each in QUESTIONS]
    assert len(names) == len(set(names))
    assert all(each.asks.endswith(".") for each in QUESTIONS)
