"""Results of calls: generations, their metadata, usage."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

from tests.langchain.conftest import Calls, Make, Recorder
from tests.wire import Request, Script, WireServer, chunk, completion, reply, sse, usage

LOGPROBS = {
    "tokens": ["He", "llo"],
    "token_logprobs": [-0.5, None],
    "top_logprobs": [{"He": -0.5, "Wo": -1.5}, None],
    "text_offset": [0, 2],
}


def test_invoke_returns_text(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion("Paris")))
    assert calls.invoke(make(), "The capital of France is") == "Paris"
    assert wire.bodies[0]["prompt"] == "The capital of France is"


def test_generation_info_holds_all_metadata(wire: WireServer, make: Make, calls: Calls) -> None:
    answer = completion("Hello", usage=usage(3, 5))
    answer["choices"][0]["logprobs"] = LOGPROBS
    wire.script(reply(answer, headers={"X-Request-Id": "req-7"}))
    result = calls.generate(make(logprobs=2), ["x"])
    assert result.generations == [
        [
            Generation(
                text="Hello",
                generation_info={
                    "finish_reason": "stop",
                    "logprobs": LOGPROBS,
                    "id": "cmpl-1",
                    "model_name": "alfred-40b-1123",
                    "request_id": "req-7",
                    "latency": ANY,
                    "usage_metadata": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8},
                },
            )
        ]
    ]
    assert result.llm_output == {
        "model_name": "alfred-40b-1123",
        "ids": ["cmpl-1"],
        "token_usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }


@pytest.mark.parametrize("way", ["invoke", "stream", "streaming"])
def test_details_of_usage_are_reported(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder, way: str
) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 4}}
    counts = {**usage(3, 5), **details}
    wire.script(
        reply(completion("Hi", usage=counts)) if way == "invoke" else sse(chunk("Hi", "stop"), chunk(usage=counts))
    )
    getattr(calls, "stream" if way == "stream" else "invoke")(
        make(streaming=way == "streaming", callbacks=[recorder]), "x"
    )
    ((generation,),) = recorder.ends[0].generations
    expected = {
        "input_tokens": 3,
        "output_tokens": 5,
        "total_tokens": 8,
        "input_token_details": {"cache_read": 2},
        "output_token_details": {"reasoning": 4},
    }
    assert isinstance(generation, ChatGeneration)
    assert isinstance(generation.message, AIMessage)
    assert generation.message.usage_metadata == expected
    assert (generation.generation_info or {})["usage_metadata"] == expected


@pytest.mark.parametrize("parameters", [{"n": 3}, {"n": 3, "best_of": 5}])
def test_usage_of_several_completions_is_reported_once(
    wire: WireServer, make: Make, calls: Calls, parameters: dict[str, int]
) -> None:
    wire.script(reply(completion("one", "two", "three", usage=usage(3, 9))))
    (generations,) = calls.generate(make(), ["x"], **parameters).generations
    assert [generation.text for generation in generations] == ["one", "two", "three"]
    infos = [generation.generation_info or {} for generation in generations]
    assert [info.get("usage_metadata", {}).get("total_tokens") for info in infos] == [12, None, None]
    assert {info["id"] for info in infos} == {"cmpl-1"}


def by_prompt(request: Request) -> Script:
    """Count one token per character; answer with the prompt twice."""
    prompt = request.body["prompt"]
    return reply(completion(prompt * 2, id=f"cmpl-{prompt}", usage=usage(len(prompt), 2 * len(prompt))))


def test_usage_is_reported_per_prompt_and_summed_once(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.always(by_prompt)
    result = calls.generate(make(), ["a", "bb", "cccc"])
    assert [generation.text for (generation,) in result.generations] == ["aa", "bbbb", "cccccccc"]
    infos = [generation.generation_info or {} for (generation,) in result.generations]
    assert [info["usage_metadata"]["input_tokens"] for info in infos] == [1, 2, 4]
    assert result.llm_output == {
        "model_name": "alfred-40b-1123",
        "ids": ["cmpl-a", "cmpl-bb", "cmpl-cccc"],
        "token_usage": {"prompt_tokens": 7, "completion_tokens": 14, "total_tokens": 21},
    }


@pytest.mark.parametrize("missing", [None, {}, "free", {"tokens": 5}])
def test_missing_usage_is_omitted(wire: WireServer, make: Make, calls: Calls, missing: Any) -> None:
    wire.script(reply(completion("Hi", usage=missing)))
    result = calls.generate(make(), ["x"])
    assert "token_usage" not in (result.llm_output or {})
    assert "usage_metadata" not in (result.generations[0][0].generation_info or {})


def test_missing_model_name_is_taken_from_request(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion("Hi", model=None)))
    assert (calls.generate(make(), ["x"], model="alfred-ft5").llm_output or {})["model_name"] == "alfred-ft5"


def test_empty_list_of_prompts_sends_no_request(wire: WireServer, make: Make, calls: Calls) -> None:
    assert calls.generate(make(), []).generations == []
    assert calls.batch(make(), []) == []
    assert wire.requests == []


def test_echo_returns_prompt_before_completion(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion("stop here. Go on. stop")))
    assert calls.invoke(make(echo=True, stop=["stop"]), "stop here.") == "stop here. Go on. "


def test_empty_completion_is_empty_string(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion("")))
    assert calls.invoke(make(), "x") == ""


def test_handlers_get_start_and_end_of_run(wire: WireServer, make: Make, calls: Calls, recorder: Recorder) -> None:
    wire.script(reply(completion("Hi", usage=usage(1, 2))))
    config = {"callbacks": [recorder], "tags": ["t"], "metadata": {"team": "legal"}, "run_name": "ask"}
    calls.invoke(make(temperature=0.1, stop=["a"]), "x", config=config, max_tokens=9)
    (start,), (end,) = recorder.starts, recorder.ends
    assert start["prompts"] == ["x"]
    assert start["name"] == "ask"
    assert start["tags"] == ["t"]
    assert start["metadata"]["team"] == "legal"
    assert start["metadata"]["ls_provider"] == "paradigm"
    assert start["metadata"]["ls_max_tokens"] == 9
    expected = {"model": "alfred-4.2", "temperature": 0.1, "max_tokens": 9, "stop": ["a"], "_type": "paradigm"}
    assert {name: start["invocation_params"][name] for name in expected} == expected
    assert isinstance(end, LLMResult)
    assert end.llm_output == {
        "model_name": "alfred-40b-1123",
        "ids": ["cmpl-1"],
        "token_usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


def test_handlers_get_error_of_run(wire: WireServer, make: Make, calls: Calls, recorder: Recorder) -> None:
    wire.script(reply({"error": {"message": "no"}}, 400))
    with pytest.raises(Exception, match="no") as raised:
        calls.invoke(make(), "x", config={"callbacks": [recorder]})
    assert recorder.errors == [raised.value]
    assert recorder.ends == []


def test_empty_list_of_callbacks_is_accepted(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion("Hi")))
    assert calls.invoke(make(), "x", config={"callbacks": []}) == "Hi"


def test_openai_callback_counts_tokens(wire: WireServer, make: Make, calls: Calls) -> None:
    callbacks = pytest.importorskip("langchain_community.callbacks")
    wire.always(by_prompt)
    with callbacks.get_openai_callback() as counter:
        calls.invoke(make(), "a")
        calls.generate(make(), ["bb", "cccc"])
        calls.batch(make(), ["a", "a"])
    assert (counter.prompt_tokens, counter.completion_tokens) == (9, 18)
