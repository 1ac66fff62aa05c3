"""Constructing a model: arguments, environment, errors, reprs and copies."""

from __future__ import annotations

import copy
import pickle
import ssl
import subprocess
import sys
from typing import Any

import pytest
from langchain_core.rate_limiters import InMemoryRateLimiter

from langchain_paradigm import ChatParadigm, ParadigmLLM
from paradigm_transport import InvalidParameterError, Settings, __version__
from paradigm_transport.endpoints.completions.fields import CompletionFields
from tests.langchain.conftest import KEY, Make
from tests.wire import WireServer, completion, reply

ARGUMENTS: dict[str, Any] = {
    "model": "alfred-4.2",
    "api_key": KEY,
    "api_key_header": "X-Api-Key",
    "base_url": "https://paradigm.example/api/v2",
    "max_tokens": 7,
    "temperature": 0.5,
    "top_p": 0.9,
    "n": 2,
    "best_of": 3,
    "logprobs": 2,
    "echo": True,
    "stop": ["a", "b"],
    "presence_penalty": 0.25,
    "frequency_penalty": -0.25,
    "logit_bias": {"5": 1.0},
    "user": "u",
    "suffix": "s",
    "extra_body": {"top_k": 5},
    "timeout": 9.0,
    "max_retries": 4,
    "max_concurrency": 3,
    "max_response_bytes": 1000,
    "stream_usage": False,
    "default_headers": {"X-Team": "legal"},
    "verify": False,
    "cert": None,
    "http_client": None,
    "http_async_client": None,
}


def test_all_arguments_of_endpoint_and_settings_are_accepted() -> None:
    assert set(ARGUMENTS) == {*CompletionFields.model_fields, *Settings.model_fields}
    llm = ParadigmLLM(**ARGUMENTS)
    expected = {name: value for name, value in ARGUMENTS.items() if name != "api_key"}
    assert {name: getattr(llm, name) for name in expected} == expected
    assert llm.api_key.get_secret_value() == KEY


def test_arguments_of_langchain_are_accepted() -> None:
    limiter = InMemoryRateLimiter()
    llm = ParadigmLLM(
        model="m", api_key=KEY, streaming=True, rate_limiter=limiter, cache=False, tags=["t"], metadata={"a": 1},
        verbose=True, callbacks=[], custom_get_token_ids=lambda text: [len(text)], name="writer",
    )  # fmt: skip
    assert llm.streaming
    assert llm.rate_limiter is limiter
    assert llm.cache is False
    assert llm.tags == ["t"]
    assert llm.metadata is not None
    assert llm.metadata["a"] == 1
    assert llm.name == "writer"


def test_model_name_is_alias_of_model() -> None:
    llm = ParadigmLLM(model_name="alfred-4.2", api_key=KEY)
    assert (llm.model, llm.model_name) == ("alfred-4.2", "alfred-4.2")
    with pytest.raises(InvalidParameterError, match="model_name is another name of model"):
        ParadigmLLM(model="a", model_name="b", api_key=KEY)


def test_key_and_base_url_default_to_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTON_API_KEY", "second")
    assert ParadigmLLM(model="m").api_key.get_secret_value() == "second"
    monkeypatch.setenv("PARADIGM_API_KEY", " first\n")
    monkeypatch.setenv("PARADIGM_BASE_URL", "https://private.example:30443")
    llm = ParadigmLLM(model="m")
    assert llm.api_key.get_secret_value() == "first"
    assert llm.base_url == "https://private.example:30443/api/v2"
    assert ParadigmLLM(model="m", api_key="third").api_key.get_secret_value() == "third"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"api_key": KEY}, ["model is required"]),
        ({"model": "m"}, ["api_key", "PARADIGM_API_KEY", "missing"]),
        ({"model": "m", "api_key": ""}, ["api_key", "empty"]),
        ({"model": "m", "api_key": KEY, "temprature": 1}, ["temprature", "temperature"]),
        ({"model": "m", "api_key": KEY, "temperature": 3}, ["temperature", "0 to 2"]),
        (
            {"model": "m", "api_key": KEY, "chat_template": "alfredo"},
            ["chat_template", "alfredo", "'alfred', 'chatml'"],
        ),
        ({"model": "m", "api_key": KEY, "best_of": 1, "n": 2}, ["best_of must be at least n"]),
    ],
)
def test_invalid_arguments_raise_one_line_error(arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        ParadigmLLM(**arguments)
    message = str(refused.value)
    assert isinstance(refused.value, ValueError)
    assert "\n" not in message
    assert KEY not in message
    for word in words:
        assert word in message


OLD_NAMES = {
    "n_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "async_http_client": "http_async_client",
    "n_completions": "n",
    "stop_sequences": "stop",
    "stop_words": "stop",
    "stop_regex": "stop",
    "biases": "logit_bias",
    "return_log_probs": "logprobs",
    "max_new_tokens": "max_tokens",
    "model_kwargs": "extra_body",
    "generate_kwargs": "extra_body",
    "host": "base_url",
    "base_address": "base_url",
    "headers": "default_headers",
    "paradigm_api_key": "api_key",
    "openai_api_key": "api_key",
    "openai_api_base": "base_url",
    "request_timeout": "timeout",
    "timeout_s": "timeout",
}


@pytest.mark.parametrize(("old", "new"), OLD_NAMES.items())
def test_old_argument_name_raises_with_new_name(old: str, new: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"unknown argument {old}; here it is {new}$"):
        ParadigmLLM(model="m", api_key=KEY, **{old: 1})


@pytest.mark.parametrize("name", ["top_k", "min_p", "seed", "repetition_penalty", "structured_outputs"])
def test_server_specific_field_raises_with_hint_to_extra_body(name: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"unknown argument {name}; .*extra_body="):
        ParadigmLLM(model="m", api_key=KEY, **{name: 1})


def test_construction_reads_no_certificates_and_opens_no_connection(
    wire: WireServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: pytest.fail("it takes 20 ms"))
    make()
    assert wire.connections == 0


def test_package_imports_neither_httpx_nor_llama_index() -> None:
    probe = (
        "import sys, pathlib, langchain_paradigm as package;"
        "assert 'llama_index' not in sys.modules and 'tqdm' not in sys.modules;"
        "sources = [path.read_text() for path in pathlib.Path(package.__file__).parent.glob('*.py')];"
        "lines = [line.split() for text in sources for line in text.splitlines()];"
        "roots = {line[1].split('.')[0] for line in lines if line[:1] in (['import'], ['from'])};"
        "assert not {'httpx', 'json', 'time', 'os'} & roots, roots"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_copies_share_client_and_work(wire: WireServer, make: Make) -> None:
    wire.always(reply(completion("Hi")))
    llm = make(rate_limiter=InMemoryRateLimiter(requests_per_second=1000, max_bucket_size=1000))
    assert llm.invoke("x") == "Hi"
    for copied in (copy.copy(llm), copy.deepcopy(llm), llm.model_copy(update={"temperature": 0.1})):
        assert copied.client is llm.client
        assert copied.rate_limiter is llm.rate_limiter
        assert copied.invoke("x") == "Hi"
    assert wire.bodies[-1]["temperature"] == 0.1


def test_pickled_model_works(wire: WireServer, make: Make) -> None:
    wire.script(reply(completion("Hi")))
    assert pickle.loads(pickle.dumps(make(temperature=0.1, chat_template="alfred"))).invoke("x") == "Hi"
    assert wire.bodies[0]["prompt"] == "<start_user>x<end_message><start_assistant>"


def test_reprs_and_dumps_do_not_contain_key_or_headers(make: Make) -> None:
    llm = make(default_headers={"X-Secret": "header-secret"}, stop=["a"], chat_template="alfred")
    texts = [
        repr(llm),
        str(llm),
        str(llm.asdict() if hasattr(llm, "asdict") else llm.dict()),
        llm.model_dump_json(),
        str(llm.model_dump()),
        repr(llm.client),
    ]
    for text in texts:
        assert KEY not in text
        assert "header-secret" not in text
    assert "alfred-4.2" in repr(llm)


def test_version_is_in_metadata(make: Make) -> None:
    for metadata in (None, {"team": "legal"}, {"team": "legal", "lc_versions": {"other": "1"}}):
        seen = make(metadata=metadata).metadata
        assert seen is not None
        assert seen["lc_versions"]["paradigm-llm"] == __version__
        assert seen.get("team") == (metadata or {}).get("team")
    assert seen["lc_versions"]["other"] == "1"


@pytest.mark.parametrize("name", ["parallel_tool_calls", "response_format", "tool_choice", "tools"])
def test_argument_of_a_chats_call_is_refused_by_the_constructor(name: str) -> None:
    given = {"model": "m", "api_key": KEY}
    with pytest.raises(InvalidParameterError, match=f"unknown argument {name}; pass it in a call, or to bind"):
        ChatParadigm(**given, **{name: "x"})
    with pytest.raises(InvalidParameterError, match=f"extra_body holds {name}"):
        ChatParadigm(**given, extra_body={name: "x"})
    assert ChatParadigm(**given, chat_template="chatml", extra_body={name: "x"}).extra_body == {name: "x"}
