"""`dumps`, `loads` and traces contain everything except the key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.load import dumpd, dumps, loads
from langchain_core.prompts import PromptTemplate
from langchain_core.tracers.context import collect_runs

from langchain_paradigm import ParadigmLLM
from paradigm_transport import ChatTemplate
from tests.langchain.conftest import KEY, Calls, Make
from tests.wire import WireServer, chunk, completion, reply, sse

# LangChain's own warnings about its own calls: `loads` is in beta, and its defaults will change.
pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore:The default value of `allowed_objects`"),
]


SECRET = {"lc": 1, "type": "secret", "id": ["PARADIGM_API_KEY"]}


def load(text: str, **options: Any) -> Any:
    return loads(
        text,
        allowed_objects=[ParadigmLLM, PromptTemplate],
        valid_namespaces=["langchain_paradigm"],
        secrets_map={"PARADIGM_API_KEY": "another"},
        **options,
    )


def test_dumpd_writes_arguments_without_secrets() -> None:
    llm = ParadigmLLM(
        model="alfred-4.2",
        api_key=KEY,
        base_url="https://paradigm.example/api/v2",
        temperature=0,
        stop="a",
        logit_bias={5: 1},
        extra_body={"top_k": 3},
        timeout=9,
        default_headers={"X-Secret": "header-secret"},
    )
    assert dumpd(llm) == {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain_paradigm", "llms", "ParadigmLLM"],
        "name": "ParadigmLLM",
        "kwargs": {
            "model": "alfred-4.2",
            "api_key": SECRET,
            "api_key_header": "Authorization",
            "base_url": "https://paradigm.example/api/v2",
            "max_tokens": 256,
            "temperature": 0,
            "stop": ["a"],
            "logit_bias": {"5": 1.0},
            "extra_body": {"top_k": 3},
            "timeout": 9,
            "max_retries": 2,
            "max_concurrency": 256,
            "max_response_bytes": 67108864,
            "stream_usage": True,
            "trace_as_chat": True,
        },
    }


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"max_tokens": None, "temperature": 0.0, "stream_usage": False, "max_retries": 0},
        {"stop": ["a", "b"], "logit_bias": {"5": -1.5}, "extra_body": {"structured_outputs": {"regex": "a+"}}},
        {"chat_template": "chatml", "streaming": True, "show_progress": True, "timeout": 2.5},
        {"chat_template": ChatTemplate(turn="{content}", opening="", stop="!", roles={"user": "u"})},
    ],
)
def test_dumped_model_loads_with_equal_fields(make: Make, arguments: dict[str, Any]) -> None:
    llm = make(**arguments)
    text = dumps(llm)
    assert KEY not in text
    loaded = load(text)
    assert loaded.api_key.get_secret_value() == "another"
    for name in type(llm).model_fields:
        if name not in ("api_key", "metadata"):
            assert getattr(loaded, name) == getattr(llm, name), name


def test_loaded_model_works_in_chain(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion("Hi")))
    text = dumps(make(max_tokens=3))
    assert calls.invoke(PromptTemplate.from_template("{a}") | load(text), {"a": "x"}) == "Hi"
    assert wire.requests[0].headers["authorization"] == "Bearer another"
    assert wire.bodies[0]["max_tokens"] == 3


def test_class_reports_its_type_and_identifying_parameters(make: Make) -> None:
    llm = make(temperature=0.5)
    assert ParadigmLLM.is_lc_serializable()
    assert ParadigmLLM.get_lc_namespace() == ["langchain_paradigm", "llms"]
    assert llm.lc_secrets == {"api_key": "PARADIGM_API_KEY"}
    assert llm._llm_type == "paradigm"
    assert llm._identifying_params == {
        "model": "alfred-4.2",
        "max_tokens": 256,
        "temperature": 0.5,
        "base_url": llm.base_url,
    }


def test_standard_parameters_are_reported_to_tracers(make: Make) -> None:
    class Own(ParadigmLLM):
        """A subclass of a user."""

    expected = {
        "ls_provider": "paradigm",
        "ls_model_type": "llm",
        "ls_model_name": "alfred-4.2",
        "ls_max_tokens": 256,
    }
    llm = make()
    assert llm._get_ls_params() == expected
    assert Own(model="alfred-4.2", api_key=KEY)._get_ls_params() == expected
    assert llm._get_ls_params(stop=["a"], temperature=0.5, model="m") == {
        **expected,
        "ls_model_name": "m",
        "ls_temperature": 0.5,
        "ls_stop": ["a"],
    }


def test_trace_holds_parameters_of_call_but_not_key(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion("Hi")), sse(chunk("Hi", "stop")))
    llm = make(default_headers={"X-Secret": "header-secret"})
    with collect_runs() as collected:
        calls.invoke(llm, "x", temperature=0.7)
        calls.stream(llm, "x", temperature=0.7)
    for run in collected.traced_runs:
        trace = json.dumps(run.model_dump() if hasattr(run, "model_dump") else run.dict(), default=str)
        assert KEY not in trace
        assert "header-secret" not in trace
        assert run.extra["invocation_params"]["temperature"] == 0.7
        assert run.extra["metadata"]["ls_temperature"] == 0.7
    assert wire.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_error_in_trace_does_not_contain_key(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply({"detail": f"Bad key {KEY}"}, 401))
    with collect_runs() as collected, pytest.raises(Exception, match="401"):
        calls.invoke(make(), "x")
    assert KEY not in str(collected.traced_runs[0].error)


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_save_does_not_write_key(make: Make, tmp_path: Any, kind: str) -> None:
    path = tmp_path / f"llm.{kind}"
    make(chat_template=ChatTemplate(turn="{content}", opening="", stop="!")).save(path)
    assert KEY not in path.read_text()
    assert "alfred-4.2" in path.read_text()
