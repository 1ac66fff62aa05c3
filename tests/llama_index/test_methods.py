"""The eight methods: what they send, and what they make of the answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any
from unittest.mock import ANY

import pytest
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, LogProb, MessageRole, TextBlock

from llama_index_paradigm import ParadigmLLM
from paradigm_transport import BadRequestError, InvalidParameterError, StreamInterruptedError
from tests.llama_index.conftest import MODEL, Method, text_of
from tests.wire import CUT, STALL, WireServer, chunk, completion, reply, sse, usage

Make = Callable[..., ParadigmLLM]

LOGPROBS = {
    "tokens": ["Hel", "lo"],
    "token_logprobs": [-0.1, -0.2],
    "top_logprobs": [{"Hel": -0.1, "Bon": -2.5}, {"p": -0.15, "lo": -0.2}],
    "text_offset": [0, 3],
}


def test_call_sends_the_prompt_and_all_parameters(wire: WireServer, method: Method, make_llm: Make) -> None:
    wire.script(method.answer("Hel", "lo"))
    responses = method(make_llm(temperature=0.5, max_tokens=7, extra_body={"seed": 1}), "Hi")
    assert text_of(responses[-1]) == "Hello"
    streamed = {"stream": True, "stream_options": {"include_usage": True}} if method.is_stream else {}
    sent = {"model": MODEL, "prompt": method.sent("Hi"), "temperature": 0.5, "max_tokens": 7, "seed": 1}
    assert wire.bodies == [{**sent, **streamed}]


def test_chat_responses_have_the_role_assistant(wire: WireServer, method: Method, llm: ParadigmLLM) -> None:
    wire.script(method.answer("Hel", "lo"))
    responses = method(llm)
    if method.is_chat:
        assert {response.message.role for response in responses} == {MessageRole.ASSISTANT}


def test_stream_responses_hold_the_delta_and_the_text_so_far(
    wire: WireServer, stream_method: Method, llm: ParadigmLLM
) -> None:
    wire.script(stream_method.answer("One", " two", " three"))
    responses = stream_method(llm)
    assert [response.delta for response in responses] == ["One", " two", " three", ""]
    assert [text_of(response) for response in responses] == ["One", "One two", *["One two three"] * 2]


def test_last_response_holds_finish_reason_and_usage(wire: WireServer, method: Method, llm: ParadigmLLM) -> None:
    wire.script(method.answer("Hel", "lo"))
    *earlier, last = method(llm)
    assert last.additional_kwargs == {"finish_reason": "stop", "latency": ANY, **usage(3, 5)}
    assert type(last.raw) is dict
    assert last.raw["usage"] == usage(3, 5)
    assert type(last.raw["usage"]) is dict
    assert not any("usage" in response.raw or response.additional_kwargs for response in earlier)


def test_running_totals_of_usage_are_not_added_up(wire: WireServer, stream_method: Method, llm: ParadigmLLM) -> None:
    wire.script(sse(chunk("a", usage=usage(3, 1)), chunk("b", "stop", usage=usage(3, 2))))
    *earlier, last = stream_method(llm)
    assert last.raw["usage"] == usage(3, 2)
    assert not any("usage" in response.raw for response in earlier)


def test_usage_keeps_further_counts_of_the_server(wire: WireServer, method: Method, llm: ParadigmLLM) -> None:
    told = {**usage(3, 5), "prompt_tokens_details": {"cached_tokens": 2}}
    wire.script(sse(chunk("a", "stop"), chunk(usage=told)) if method.is_stream else reply(completion("a", usage=told)))
    assert method(llm)[-1].raw["usage"] == told


@pytest.mark.parametrize("told", [None, 7, {"prompt_tokens": None}])
def test_usage_is_absent_if_the_server_reports_none(
    wire: WireServer, method: Method, llm: ParadigmLLM, told: Any
) -> None:
    wire.script(sse(chunk("a", "stop"), chunk(usage=told)) if method.is_stream else reply(completion("a", usage=told)))
    last = method(llm)[-1]
    assert "usage" not in last.raw
    assert last.additional_kwargs == {"finish_reason": "stop", "latency": ANY}


def test_call_arguments_win_over_additional_kwargs_and_these_over_the_constructor(
    wire: WireServer, method: Method, make_llm: Make
) -> None:
    llm = make_llm(temperature=0.1, top_p=0.2, user="a", additional_kwargs={"top_p": 0.3, "user": "b"})
    wire.script(method.answer("Hi"))
    method(llm, user="c")
    assert {name: wire.bodies[0][name] for name in ("temperature", "top_p", "user")} == {
        "temperature": 0.1,
        "top_p": 0.3,
        "user": "c",
    }


def test_extra_body_is_merged_field_by_field(wire: WireServer, method: Method, make_llm: Make) -> None:
    llm = make_llm(extra_body={"a": 1, "b": 1, "c": 1}, additional_kwargs={"extra_body": {"b": 2, "c": 2}})
    wire.script(method.answer("Hi"))
    method(llm, extra_body={"c": 3})
    assert {name: wire.bodies[0][name] for name in "abc"} == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 9),
        ("temperature", 0.5),
        ("top_p", 0.5),
        ("best_of", 2),
        ("logprobs", 3),
        ("echo", True),
        ("stop", "END"),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -0.5),
        ("logit_bias", {"50256": -100.0}),
        ("user", "someone"),
        ("suffix", "the end"),
        ("model", "alfred-4.2"),
    ],
)
@pytest.mark.parametrize("where", ["constructor", "call", "additional_kwargs"])
def test_every_field_is_sent_from_constructor_call_and_additional_kwargs(
    wire: WireServer, make_llm: Make, where: str, field: str, value: Any
) -> None:
    wire.script(reply(completion("Hi")))
    arguments: dict[str, Any] = {field: value} if where == "constructor" else {}
    if where == "additional_kwargs":
        arguments = {"additional_kwargs": {field: value}}
    make_llm(**arguments).complete("Hi", **({field: value} if where == "call" else {}))
    assert wire.bodies[0][field] == value


def test_none_leaves_a_field_out(wire: WireServer, method: Method, make_llm: Make) -> None:
    wire.script(method.answer("Hi"))
    method(make_llm(temperature=0.5, max_tokens=7), temperature=None, max_tokens=None)
    assert not {"temperature", "max_tokens"} & set(wire.bodies[0])


@pytest.mark.parametrize("where", ["constructor", "call", "additional_kwargs"])
def test_stop_sequences_beyond_four_are_enforced(wire: WireServer, method: Method, make_llm: Make, where: str) -> None:
    stops = ["a1", "a2", "a3", "a4", " END"]  # the fifth is not sent
    arguments: dict[str, Any] = {"stop": stops} if where == "constructor" else {}
    if where == "additional_kwargs":
        arguments = {"additional_kwargs": {"stop": stops}}
    wire.script(method.answer("Hello E", "ND of it", finish_reason="length"))
    responses = method(make_llm(**arguments), **({"stop": stops} if where == "call" else {}))
    assert wire.bodies[0]["stop"] == stops[:4]
    assert text_of(responses[-1]) == "Hello"
    assert all("Hello".startswith(text_of(response)) for response in responses)
    assert responses[-1].additional_kwargs["finish_reason"] == "stop"


def test_logprobs_are_llamaindex_logprobs(wire: WireServer, method: Method, llm: ParadigmLLM) -> None:
    if method.is_stream:
        wire.script(sse(chunk("Hello", "stop", choice={"logprobs": LOGPROBS})))
    else:
        body = completion("Hello")
        body["choices"][0]["logprobs"] = LOGPROBS
        wire.script(reply(body))
    with_logprobs = [response.logprobs for response in method(llm, logprobs=2) if response.logprobs]
    assert with_logprobs == [
        [
            [_logprob("Hel", -0.1), _logprob("Bon", -2.5)],
            [_logprob("lo", -0.2), _logprob("p", -0.15)],
        ]
    ]


def _logprob(token: str, value: float) -> LogProb:
    return LogProb(token=token, logprob=value, bytes=list(token.encode()))


def test_bytes_of_a_token_that_ends_within_a_character_are_not_made_up(wire: WireServer, llm: ParadigmLLM) -> None:
    body = completion("\ufffd")
    body["choices"][0]["logprobs"] = {"tokens": ["\ufffd"], "token_logprobs": [-0.5]}
    wire.script(reply(body))
    ((entry,),) = llm.complete("Hi", logprobs=1).logprobs or []
    assert entry.bytes == []


def test_alternatives_that_are_written_alike_are_told_apart_by_their_bytes(wire: WireServer, llm: ParadigmLLM) -> None:
    tops = [{"token": "\ufffd", "logprob": value, "bytes": [byte]} for value, byte in ((-0.1, 240), (-0.9, 226))]
    body = completion("\ufffd")
    body["choices"][0]["logprobs"] = {"content": [{**tops[0], "top_logprobs": tops}]}
    wire.script(reply(body))
    (entries,) = llm.complete("Hi", logprobs=2).logprobs or []
    assert [(entry.token, entry.logprob, entry.bytes) for entry in entries] == [
        ("\ufffd", -0.1, [240]),
        ("\ufffd", -0.9, [226]),
    ]


def test_first_token_of_an_echoed_prompt_has_no_logprob(wire: WireServer, llm: ParadigmLLM) -> None:
    body = completion("Hello")
    body["choices"][0]["logprobs"] = {**LOGPROBS, "token_logprobs": [None, -0.2], "top_logprobs": [None, None]}
    wire.script(reply(body))
    assert llm.complete("Hel", echo=True, logprobs=1).logprobs == [[], [_logprob("lo", -0.2)]]


def test_all_choices_are_in_raw(wire: WireServer, method: Method, llm: ParadigmLLM) -> None:
    wire.script(reply(completion("one", "two")))
    if method.is_stream:
        with pytest.raises(InvalidParameterError, match="n must be 1 while streaming"):
            method(llm, n=2)
        assert not wire.requests
    else:
        (response,) = method(llm, n=2)
        assert text_of(response) == "one"
        assert [choice["text"] for choice in response.raw["choices"]] == ["one", "two"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temprature": 1}, "unknown argument temprature; did you mean temperature"),
        ({"max_new_tokens": 1}, "max_tokens"),
        ({"top_k": 1}, "extra_body"),
        ({"temperature": 3}, "temperature"),
    ],
)
def test_wrong_arguments_are_refused_before_a_request(
    wire: WireServer, method: Method, make_llm: Make, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        method(make_llm(), **arguments)
    with pytest.raises(InvalidParameterError, match=message):
        make_llm(**arguments)
    with pytest.raises(InvalidParameterError, match=message):
        make_llm(additional_kwargs=arguments)
    assert not wire.requests


def test_api_base_is_another_name_of_base_url(wire: WireServer, make_llm: Make) -> None:
    assert ParadigmLLM(model=MODEL, api_key="k", api_base=wire.url).base_url == wire.url
    with pytest.raises(InvalidParameterError, match="api_base is another name of base_url"):
        make_llm(api_base=wire.url)


@pytest.mark.parametrize("block", [ImageBlock(image=b"iVBORw0KGgo="), ImageBlock(url="http://127.0.0.1/a.png")])
def test_message_with_an_image_is_refused(
    wire: WireServer, method: Method, llm: ParadigmLLM, block: ImageBlock
) -> None:
    if method.is_chat:
        with pytest.raises(InvalidParameterError, match="image"):
            method(llm, [ChatMessage(blocks=[TextBlock(text="What is this?"), block])])
        assert not wire.requests


def test_streams_are_generators_and_async_generators(wire: WireServer, stream_method: Method, llm: ParadigmLLM) -> None:
    """Instrumentation tells streams by their types."""
    wire.script(stream_method.answer("Hi"))
    result = getattr(llm, stream_method.name)(stream_method.input("Hi"))
    if not stream_method.is_async:
        assert isinstance(result, Generator)
        result.close()
        return
    assert inspect.iscoroutine(result)

    async def take() -> None:
        stream = await result
        assert isinstance(stream, AsyncGenerator)
        await stream.aclose()

    asyncio.run(take())


def test_refused_request_raises_a_typed_error(wire: WireServer, method: Method, llm: ParadigmLLM) -> None:
    wire.script(reply({"error": {"message": "no such thing", "code": 400}}, 400))
    with pytest.raises(BadRequestError, match="no such thing"):
        method(llm)


def test_prompt_over_the_context_window_raises_the_servers_message(
    wire: WireServer, method: Method, llm: ParadigmLLM
) -> None:
    words = "This model's maximum context length is 4096 tokens. However, your prompt has 5000 tokens."
    wire.script(reply({"object": "error", "message": words, "type": "BadRequestError", "code": 400}, 400))
    with pytest.raises(BadRequestError, match=words):
        method(llm, "word " * 5000)


def test_interrupted_stream_raises_with_the_partial_text(
    wire: WireServer, stream_method: Method, llm: ParadigmLLM
) -> None:
    wire.script(sse(chunk("Hel"), CUT))
    with pytest.raises(StreamInterruptedError) as caught:
        stream_method(llm)
    assert caught.value.partial_text == "Hel"


def test_closed_stream_closes_its_connection(wire: WireServer, stream_method: Method, llm: ParadigmLLM) -> None:
    wire.script(sse(chunk("Hel"), chunk("lo"), STALL, chunk("!")))
    prompt = stream_method.input("Hi")
    if stream_method.is_async:

        async def drop() -> None:
            stream = await getattr(llm, stream_method.name)(prompt)
            async for _ in stream:
                break
            await stream.aclose()
            assert await asyncio.to_thread(wire.requests[0].left.wait, 30)

        asyncio.run(drop())
    else:
        for _ in getattr(llm, stream_method.name)(prompt):
            break
        assert wire.requests[0].left.wait(30)
