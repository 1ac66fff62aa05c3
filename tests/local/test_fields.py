"""The effect of each field of the contract, with a real model. docs/local-paradigm.md lists these tests."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.local.conftest import Caller

END_OF_TURN = 2  # tokens of SmolLM2's vocabulary
COMMA = 28
PARIS = 7042


def logprobs(reply: dict[str, Any]) -> dict[str, Any]:
    return reply["choices"][0]["logprobs"]


def streamed(caller: Caller, **fields: Any) -> list[dict[str, Any]]:
    """Return the chunks of a stream, which must end with `[DONE]`."""
    *events, done, rest = caller.post(stream=True, **fields).text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_prompt_is_completed_by_the_model(caller: Caller) -> None:
    assert caller.text().startswith(" Paris.")


def test_reply_has_the_documented_shape(caller: Caller) -> None:
    reply = caller.complete()
    assert set(reply) == {"id", "object", "created", "model", "choices", "usage"}
    assert (reply["object"], reply["model"]) == ("text_completion", caller.paradigm.model)
    assert set(reply["choices"][0]) == {"index", "text", "logprobs", "finish_reason"}


def test_max_tokens_limits_the_completion(caller: Caller) -> None:
    reply = caller.complete(max_tokens=3)
    assert reply["usage"] == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    assert reply["choices"][0]["finish_reason"] == "length"


def test_max_tokens_is_16_by_default(caller: Caller) -> None:
    body = caller.body(ignore_eos=True)
    del body["max_tokens"]
    assert caller.http.post("/completions", json=body).json()["usage"]["completion_tokens"] == 16


def test_full_context_ends_the_completion(small_context: Caller) -> None:
    context = small_context.http.get("/models").json()["data"][0]["max_model_len"]
    reply = small_context.complete(prompt=" a" * (context - 3), max_tokens=50, ignore_eos=True)
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"] == {"prompt_tokens": context - 3, "completion_tokens": 3, "total_tokens": context}


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"echo": True}, {"echo": True, "max_tokens": 0}])
def test_prompt_that_fills_the_context_is_refused(small_context: Caller, fields: dict[str, Any]) -> None:
    context = small_context.http.get("/models").json()["data"][0]["max_model_len"]
    (message,) = small_context.refused(prompt=" a" * context, **fields)["prompt"]
    assert message == f"The prompt has {context} tokens; with at least one more it must fit into the context of 256."


def test_temperature_zero_always_selects_the_likeliest_token(caller: Caller) -> None:
    assert len({caller.text(temperature=0) for _ in range(3)}) == 1


def test_high_temperature_varies_the_text(caller: Caller) -> None:
    texts = {caller.text(temperature=2, seed=seed, max_tokens=3) for seed in range(4)}
    assert len(texts) == 4


def test_temperature_is_applied_before_top_p(caller: Caller) -> None:
    # After this temperature nearly all tokens are in the nucleus; before it about five are.
    choices = caller.complete(temperature=2, top_p=0.9, n=4, seed=1, max_tokens=1, logprobs=0)["choices"]
    assert min(choice["logprobs"]["token_logprobs"][0] for choice in choices) < -6


def test_top_p_excludes_unlikely_tokens(caller: Caller) -> None:
    assert caller.text(temperature=2, top_p=1e-6) == caller.text(temperature=0)


def test_top_k_excludes_unlikely_tokens(caller: Caller) -> None:
    assert caller.text(temperature=2, top_k=1) == caller.text(temperature=0)


def test_min_p_excludes_unlikely_tokens(caller: Caller) -> None:
    assert caller.text(temperature=2, min_p=1) == caller.text(temperature=0)


def test_n_returns_several_completions(caller: Caller) -> None:
    reply = caller.complete(n=3, temperature=1, seed=7, max_tokens=4, ignore_eos=True)
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    assert len({choice["text"] for choice in reply["choices"]}) == 3
    assert reply["usage"]["prompt_tokens"] == 5
    assert reply["usage"]["completion_tokens"] == 12


def test_best_of_returns_the_likeliest_completion(caller: Caller) -> None:
    fields = {"temperature": 1.5, "seed": 3, "max_tokens": 4, "logprobs": 0}
    every = caller.complete(n=6, best_of=6, **fields)["choices"]
    best = caller.complete(n=2, best_of=6, **fields)
    ranked = sorted(every, key=lambda one: -sum(one["logprobs"]["token_logprobs"]) / 4)
    assert [one["text"] for one in best["choices"]] == [one["text"] for one in ranked[:2]]
    assert [one["index"] for one in best["choices"]] == [0, 1]
    assert best["usage"]["completion_tokens"] == 24, "all generated tokens count"


def test_best_of_needs_no_logprobs(caller: Caller) -> None:
    fields = {"n": 1, "best_of": 6, "temperature": 1.5, "seed": 3, "max_tokens": 4}
    (plain,) = caller.complete(**fields)["choices"]
    (with_logprobs,) = caller.complete(**fields, logprobs=0)["choices"]
    assert plain == {**with_logprobs, "logprobs": None}


def test_stream_sends_the_same_text_in_pieces(caller: Caller) -> None:
    chunks = streamed(caller)
    assert len(chunks) > 3
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == caller.text()
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_stream_sends_each_completion_under_its_index(caller: Caller) -> None:
    fields = {"n": 2, "temperature": 1, "seed": 5}
    texts = {0: "", 1: ""}
    for chunk in streamed(caller, **fields):
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["text"]
    assert list(texts.values()) == [choice["text"] for choice in caller.complete(**fields)["choices"]]


def test_stream_options_request_the_usage(caller: Caller) -> None:
    *chunks, last = streamed(caller, stream_options={"include_usage": True})
    assert last["choices"] == []
    assert last["usage"] == caller.complete()["usage"]
    assert all("usage" not in chunk for chunk in chunks)


def test_stream_has_no_usage_by_default(caller: Caller) -> None:
    assert all("usage" not in chunk for chunk in streamed(caller, stream_options={"include_usage": False}))


def test_logprobs_have_four_arrays(caller: Caller) -> None:
    found = logprobs(caller.complete(logprobs=2, max_tokens=3))
    assert found["tokens"] == [" Paris", ".", "\n"]
    assert found["text_offset"] == [0, 6, 7]
    assert all(-2 < value < 0 for value in found["token_logprobs"])
    assert [len(likeliest) for likeliest in found["top_logprobs"]] == [2, 2, 2]
    for token, value, likeliest in zip(found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True):
        assert likeliest[token] == value == max(likeliest.values())


def test_logprobs_zero_reports_the_chosen_tokens_only(caller: Caller) -> None:
    found = logprobs(caller.complete(logprobs=0, max_tokens=1, logit_bias={str(COMMA): 100}))
    assert found["top_logprobs"] == [{",": found["token_logprobs"][0]}]


def test_logprobs_report_an_unlikely_token_beside_the_likeliest(caller: Caller) -> None:
    found = logprobs(caller.complete(logprobs=1, max_tokens=1, logit_bias={str(COMMA): 100}))
    assert found["tokens"] == [","]
    assert set(found["top_logprobs"][0]) == {" Paris", ","}


def test_logprobs_null_reports_none(caller: Caller) -> None:
    assert logprobs(caller.complete(logprobs=None)) is None


def test_streamed_logprobs_equal_those_of_a_reply(caller: Caller) -> None:
    whole = logprobs(caller.complete(logprobs=1))
    pieces = [chunk["choices"][0]["logprobs"] for chunk in streamed(caller, logprobs=1)]
    for name in ("tokens", "text_offset"):
        assert [value for piece in pieces for value in piece[name]] == whole[name]
    values = [value for piece in pieces for value in piece["token_logprobs"]]
    assert values == pytest.approx(whole["token_logprobs"], abs=1e-3)


def test_logprobs_of_a_character_of_several_tokens_are_one_element(caller: Caller) -> None:
    reply = caller.complete(logprobs=1, max_tokens=20, structured_outputs={"choice": ["a🎉"]})
    assert logprobs(reply)["tokens"] == ["a", "🎉"]
    assert logprobs(reply)["text_offset"] == [0, 1]


def test_echo_returns_the_prompt_in_front(caller: Caller) -> None:
    reply = caller.complete(echo=True)
    assert reply["choices"][0]["text"] == "The capital of France is" + caller.text()
    assert reply["usage"]["completion_tokens"] == 5


def test_echo_is_streamed(caller: Caller) -> None:
    chunks = streamed(caller, echo=True)
    assert chunks[0]["choices"][0]["text"] == "The capital of France is"
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == caller.text(echo=True)


def test_echo_reports_logprobs_of_the_prompt(caller: Caller) -> None:
    found = logprobs(caller.complete(echo=True, logprobs=2, max_tokens=1))
    assert found["tokens"] == ["The", " capital", " of", " France", " is", " Paris"]
    assert found["text_offset"] == [0, 3, 11, 14, 21, 24]
    assert found["token_logprobs"][0] is None
    assert found["top_logprobs"][0] is None
    # The log-probability of a token in the prompt is the one that the model reports when it generates the token.
    assert found["token_logprobs"][5] > -1
    shorter = logprobs(caller.complete(prompt="The capital", logprobs=1, max_tokens=1))
    assert shorter["tokens"] == [" of"]
    assert found["token_logprobs"][2] == pytest.approx(shorter["token_logprobs"][0], abs=0.02)


def test_echo_streams_logprobs_of_the_prompt(caller: Caller) -> None:
    first = streamed(caller, echo=True, logprobs=1)[0]["choices"][0]
    assert first["text"] == "The capital of France is"
    assert first["logprobs"]["tokens"] == ["The", " capital", " of", " France", " is"]


def test_echo_without_generation_scores_a_text(caller: Caller) -> None:
    reply = caller.complete(prompt="Paris is in France", echo=True, logprobs=0, max_tokens=0)
    assert reply["choices"][0]["text"] == "Paris is in France"
    assert len(logprobs(reply)["tokens"]) == 4
    assert reply["usage"] == {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4}
    worse = logprobs(caller.complete(prompt="Paris is in fish", echo=True, logprobs=0, max_tokens=0))
    assert sum(logprobs(reply)["token_logprobs"][1:]) > sum(worse["token_logprobs"][1:])


def test_echo_returns_the_prompt_with_each_completion(caller: Caller) -> None:
    choices = caller.complete(n=2, temperature=1, echo=True, logprobs=0)["choices"]
    assert all(choice["text"].startswith("The capital of France is") for choice in choices)
    assert all(choice["logprobs"]["tokens"][1] == " capital" for choice in choices)


@pytest.mark.parametrize("stop", ["\n\n", ["never", "\n\n"]])
def test_stop_ends_the_text_before_it(caller: Caller, stop: str | list[str]) -> None:
    reply = caller.complete(stop=stop, max_tokens=50)
    assert reply["choices"][0] == {"index": 0, "text": " Paris.", "logprobs": None, "finish_reason": "stop"}
    assert reply["usage"]["completion_tokens"] == 4


def test_stop_is_never_streamed(caller: Caller) -> None:
    chunks = streamed(caller, stop="\n\n", max_tokens=50)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == " Paris."
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_stop_does_not_match_the_echoed_prompt(caller: Caller) -> None:
    assert caller.text(stop="France", echo=True) == caller.text(echo=True)


def test_stop_ends_the_logprobs(caller: Caller) -> None:
    assert logprobs(caller.complete(stop="\n", logprobs=0))["tokens"] == [" Paris", "."]


def test_end_of_text_finishes_with_stop(caller: Caller) -> None:
    prompt = "<|im_start|>user\nSay hi<|im_end|>\n<|im_start|>assistant\n"
    reply = caller.complete(prompt=prompt, max_tokens=60, logprobs=0, logit_bias={str(END_OF_TURN): 10})
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert "".join(logprobs(reply)["tokens"]) == reply["choices"][0]["text"]


def test_ignore_eos_continues_after_the_end_of_text(caller: Caller) -> None:
    prompt = "<|im_start|>user\nSay hi<|im_end|>\n<|im_start|>assistant\n"
    reply = caller.complete(prompt=prompt, max_tokens=60, ignore_eos=True)
    assert reply["usage"]["completion_tokens"] == 60


@pytest.mark.parametrize(
    ("penalty", "value"), [("presence_penalty", 2), ("frequency_penalty", 2), ("repetition_penalty", 2)]
)
def test_penalties_prevent_repetition(caller: Caller, penalty: str, value: float) -> None:
    fields: dict[str, Any] = {"prompt": "0" + " 0" * 11, "max_tokens": 12}
    assert caller.text(**fields).count("0") > 3
    assert caller.text(**fields, **{penalty: value}).count("0") == 0


def test_logit_bias_bans_and_forces_tokens(caller: Caller) -> None:
    assert caller.text(max_tokens=1, logit_bias={str(PARIS): -100}) != " Paris"
    assert caller.text(max_tokens=2, logit_bias={str(COMMA): 100}) == ",,"


def test_user_changes_nothing(caller: Caller) -> None:
    assert caller.text(user="someone") == caller.text()


def test_suffix_is_refused(caller: Caller) -> None:
    assert caller.refused(suffix="the end") == {"suffix": ["This model cannot fill in text before a suffix."]}


def test_seed_reproduces_the_text(caller: Caller) -> None:
    texts = {caller.text(temperature=1.5, seed=42, max_tokens=8) for _ in range(3)}
    assert len(texts) == 1
    assert caller.text(temperature=1.5, seed=43, max_tokens=8) not in texts


@pytest.mark.parametrize("seed", [-(2**63), -1, 2**32 - 1, 2**63 - 1])
def test_any_seed_is_accepted(caller: Caller, seed: int) -> None:
    assert caller.text(temperature=1, seed=seed) == caller.text(temperature=1, seed=seed)


def test_structured_outputs_json_enforces_a_schema(caller: Caller) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "year": {"type": "integer", "maximum": 9}},
        "required": ["city", "year"],
        "additionalProperties": False,
    }
    data = json.loads(caller.text(structured_outputs={"json": schema}, max_tokens=60))
    assert data["city"] in {"Paris", "Rome"}
    assert isinstance(data["year"], int)


def test_structured_outputs_regex_enforces_a_pattern(caller: Caller) -> None:
    pattern = r"[0-9]{3}/(a|b)"
    assert re.fullmatch(pattern, caller.text(structured_outputs={"regex": pattern}, max_tokens=20))


def test_structured_outputs_choice_enforces_one_of_the_texts(caller: Caller) -> None:
    assert caller.text(structured_outputs={"choice": ["London", 'Ro"me']}) in {"London", 'Ro"me'}


def test_structured_outputs_grammar_enforces_a_grammar(caller: Caller) -> None:
    grammar = 'root ::= "<" word ">"\nword ::= [a-c]{4}'
    assert re.fullmatch("<[a-c]{4}>", caller.text(structured_outputs={"grammar": grammar}, max_tokens=20))


def test_structured_outputs_structural_tag_enforces_a_format(caller: Caller) -> None:
    grammar = {"type": "grammar", "grammar": 'root ::= "{" word "}"\nword ::= [a-c]{4}'}
    tag = {"type": "tag", "begin": "<call>", "content": grammar, "end": "</call>"}
    form = {"type": "triggered_tags", "triggers": ["<call>"], "tags": [tag], "at_least_one": True}
    structure = {"type": "structural_tag", "format": {**form, "stop_after_first": True}}
    prompt = "<call>{abca}</call>\n" * 6
    text = caller.text(structured_outputs={"structural_tag": json.dumps(structure)}, prompt=prompt, max_tokens=40)
    assert re.fullmatch(r"[^<]*<call>\{[a-c]{4}\}</call>", text)


def test_response_format_json_object_enforces_an_object(caller: Caller) -> None:
    text = caller.text(response_format={"type": "json_object"}, max_tokens=8)
    assert text.startswith("{")


def test_response_format_json_schema_enforces_a_schema(caller: Caller) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "boolean"}}}
    assert caller.text(response_format=form) in {"true", "false"}


def test_response_format_text_constrains_nothing(caller: Caller) -> None:
    assert caller.text(response_format={"type": "text"}) == caller.text()


def test_unknown_fields_are_ignored(caller: Caller) -> None:
    assert caller.text(kv_transfer_params={"a": None}) == caller.text()


def test_models_lists_both_models(caller: Caller) -> None:
    model, embedding_model = caller.http.get("/models").json()["data"]
    assert model["id"] == caller.paradigm.model == "smollm2-135m-instruct"
    assert model["max_model_len"] == 4096
    assert embedding_model["id"] == caller.paradigm.embedding_model == "multilingual-e5-small"
    assert embedding_model["max_model_len"] == 512
