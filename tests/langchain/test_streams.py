"""Streams: chunks, callbacks, events, and streams that are closed, dropped or cancelled."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any
from unittest.mock import ANY

import pytest
from langchain_core.outputs import LLMResult

from paradigm_transport import ServerError, StreamInterruptedError
from tests.langchain.conftest import Calls, Make, Recorder, collect
from tests.langchain.test_results import LOGPROBS
from tests.wire import CUT, STALL, WireServer, chunk, completion, pause, reply, sse, usage

HELLO = sse(chunk("Hel"), chunk("lo"), chunk("", "length"), chunk(usage=usage(3, 5)))
INFO = {
    "finish_reason": "length",
    "id": "cmpl-1",
    "model_name": "alfred-40b-1123",
    "latency": ANY,
    "usage_metadata": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8},
}


def test_stream_yields_chunks_of_server(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(HELLO)
    assert calls.stream(make(), "x") == ["Hel", "lo", ""]
    assert wire.bodies[0]["stream"] is True


def test_chunks_are_yielded_as_they_arrive(wire: WireServer, make: Make) -> None:
    wire.script(sse(chunk("Hel"), STALL, chunk("lo", "stop")))
    pieces = make().stream("x")
    assert next(pieces) == "Hel"
    wire.release()
    assert list(pieces) == ["lo", ""]


def test_model_can_stream_again(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(HELLO, HELLO)
    llm = make()
    assert calls.stream(llm, "x") == calls.stream(llm, "x")


def test_handlers_get_each_chunk_before_caller(wire: WireServer, make: Make, recorder: Recorder) -> None:
    wire.script(HELLO, HELLO)
    llm = make(callbacks=[recorder])
    for count, piece in enumerate(llm.stream("x"), 1):
        assert len(recorder.tokens) == count
        assert recorder.tokens[-1][1] == piece == recorder.tokens[-1][2].text

    async def read() -> None:
        recorder.tokens.clear()
        count = 0
        async for piece in llm.astream("x"):
            count += 1
            assert len(recorder.tokens) == count
            assert recorder.tokens[-1][1] == piece

    asyncio.run(read())


def test_metadata_is_reported_once_in_last_chunk(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder
) -> None:
    wire.script(HELLO)
    calls.stream(make(), "x", config={"callbacks": [recorder]})
    assert [piece.generation_info for _, _, piece, _ in recorder.tokens] == [None, None, INFO]
    (end,) = recorder.ends
    assert end.generations[0][0].text == "Hello"
    assert end.generations[0][0].generation_info == INFO


def test_repeated_finish_reasons_and_running_totals_are_not_summed(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder
) -> None:
    totals = [chunk("a", usage=usage(3, 1)), chunk("b", "stop", usage=usage(3, 2)), chunk("", "stop")]
    wire.script(sse(*totals))
    calls.stream(make(), "x", config={"callbacks": [recorder]})
    info = recorder.ends[0].generations[0][0].generation_info or {}
    assert info["finish_reason"] == "stop"
    assert info["usage_metadata"] == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}


def test_logprobs_arrive_with_their_chunk_and_are_merged(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder
) -> None:
    first, second = ({name: [values[at]] for name, values in LOGPROBS.items()} for at in (0, 1))
    wire.script(sse(chunk("He", choice={"logprobs": first}), chunk("llo", "stop", choice={"logprobs": second})))
    calls.stream(make(logprobs=2), "x", config={"callbacks": [recorder]})
    assert [logprobs for *_, logprobs in recorder.tokens] == [first, second, None]
    assert (recorder.ends[0].generations[0][0].generation_info or {})["logprobs"] == LOGPROBS


def test_empty_completion_is_empty_string(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(sse(chunk("", "stop")), sse(chunk("", "stop")))
    assert "".join(calls.stream(make(), "x")) == ""
    assert calls.invoke(make(streaming=True), "x") == ""


def test_streaming_invoke_returns_text_and_reports_tokens(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder
) -> None:
    wire.script(HELLO, HELLO)
    llm = make(streaming=True)
    assert calls.invoke(llm, "x", config={"callbacks": [recorder]}) == "Hello"
    assert [token for _, token, *_ in recorder.tokens] == ["Hel", "lo", ""]
    result = calls.generate(llm, ["x"])
    assert result.generations[0][0].generation_info == {"logprobs": None, **INFO}
    assert type(result.generations[0][0]).__name__ == "Generation"
    assert (result.llm_output or {})["token_usage"] == usage(3, 5)


def test_single_prompt_stays_in_thread_of_caller(wire: WireServer, make: Make) -> None:
    wire.script(HELLO)
    threads = set()

    class Where(Recorder):
        def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
            threads.add(threading.get_ident())

    make(streaming=True).invoke("x", config={"callbacks": [Where()]})
    assert threads == {threading.get_ident()}


def test_streaming_generate_reports_tokens_to_their_run(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder
) -> None:
    wire.always(lambda request: sse(chunk(request.body["prompt"] * 2, "stop")))
    result = calls.generate(make(streaming=True), ["a", "b"], callbacks=[recorder])
    assert [generation.text for (generation,) in result.generations] == ["aa", "bb"]
    (first,) = (start["run_id"] for start in recorder.starts if start["prompts"] == ["a"])  # runs start in any order
    assert {token for run, token, *_ in recorder.tokens if run == first} == {"aa", ""}
    assert "bb" not in {token for _, token, *_ in recorder.tokens}


def test_streaming_batch_reports_tokens_to_their_run(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder
) -> None:
    wire.always(lambda request: sse(chunk(request.body["prompt"] * 2, "stop")))
    assert calls.batch(make(streaming=True), ["a", "b"], config={"callbacks": [recorder]}) == ["aa", "bb"]
    by_run: dict[Any, str] = {}
    for run, token, *_ in recorder.tokens:
        by_run[run] = by_run.get(run, "") + token
    assert sorted(by_run.values()) == ["aa", "bb"]


def test_events_hold_chunks_and_metadata(wire: WireServer, make: Make) -> None:
    wire.script(HELLO)
    events = asyncio.run(collect(make().astream_events("x", version="v2")))
    assert [event["event"] for event in events] == ["on_llm_start", *["on_llm_stream"] * 3, "on_llm_end"]
    assert [event["data"]["chunk"] for event in events[1:4]] == ["Hel", "lo", ""]
    assert events[-1]["data"]["output"]["generations"][0][0]["generation_info"] == INFO


def test_events_of_chain_hold_chunks_of_invoke(wire: WireServer, make: Make) -> None:
    wire.script(HELLO)
    chain = make(streaming=True) | str.upper
    events = asyncio.run(collect(chain.astream_events("x", version="v2")))
    assert "".join(event["data"]["chunk"].text for event in events if event["event"] == "on_llm_stream") == "Hello"
    assert events[-1]["data"]["output"] == "HELLO"


def test_error_before_first_chunk_is_raised_and_reported(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder
) -> None:
    wire.script(reply({"error": {"message": "down"}}, 500))
    with pytest.raises(ServerError, match="down") as raised:
        calls.stream(make(max_retries=0), "x", config={"callbacks": [recorder]})
    assert recorder.errors == [raised.value]


def test_cut_stream_raises_with_text_so_far(wire: WireServer, make: Make, calls: Calls, recorder: Recorder) -> None:
    wire.script(sse(chunk("Hel"), CUT), sse(chunk("Hel"), CUT))
    with pytest.raises(StreamInterruptedError) as raised:
        calls.stream(make(), "x", config={"callbacks": [recorder]})
    assert raised.value.partial_text == "Hel"
    assert recorder.errors == [raised.value]
    with pytest.raises(StreamInterruptedError):
        calls.invoke(make(streaming=True), "x")


def test_json_response_to_stream_request_is_read(wire: WireServer, make: Make, calls: Calls) -> None:
    wire.script(reply(completion("Hello")))
    assert "".join(calls.stream(make(), "x")) == "Hello"


def test_closed_stream_ends_request_and_reports_error(wire: WireServer, make: Make, recorder: Recorder) -> None:
    wire.script(sse(chunk("Hel"), STALL))
    pieces = make().stream("x", config={"callbacks": [recorder]})
    assert next(pieces) == "Hel"
    pieces.close()  # type: ignore[attr-defined]
    assert wire.requests[0].left.wait(30)
    assert [type(error) for error in recorder.errors] == [GeneratorExit]


def test_dropped_stream_ends_request(wire: WireServer, make: Make) -> None:
    wire.script(sse(chunk("Hel"), STALL))
    for _ in make().stream("x"):
        break
    gc.collect()
    assert wire.requests[0].left.wait(30)


def test_closed_async_stream_ends_request_and_reports_error(wire: WireServer, make: Make, recorder: Recorder) -> None:
    wire.script(sse(chunk("Hel"), STALL))

    async def leave() -> None:
        pieces = make().astream("x", config={"callbacks": [recorder]})
        assert await anext(pieces) == "Hel"
        await pieces.aclose()  # type: ignore[attr-defined]
        assert await asyncio.to_thread(wire.requests[0].left.wait, 30)

    asyncio.run(leave())
    assert [type(error) for error in recorder.errors] == [GeneratorExit]


def test_dropped_async_stream_ends_request(wire: WireServer, make: Make) -> None:
    wire.script(sse(chunk("Hel"), STALL))

    async def leave() -> None:
        async for _ in make().astream("x"):
            break
        gc.collect()
        assert await asyncio.to_thread(wire.requests[0].left.wait, 30)

    asyncio.run(leave())


@pytest.mark.parametrize("way", ["astream", "ainvoke", "streaming"])
def test_cancelled_call_ends_request_and_reports_error(
    wire: WireServer, make: Make, recorder: Recorder, way: str
) -> None:
    wire.script(sse(chunk("Hel"), STALL) if way != "ainvoke" else [STALL])
    llm = make(streaming=way == "streaming", callbacks=[recorder])

    async def cancel() -> None:
        call = collect(llm.astream("x")) if way == "astream" else llm.ainvoke("x")
        task = asyncio.create_task(call)
        assert await asyncio.to_thread(wire.wait_for, 1)
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(wire.requests[0].left.wait, 30)

    asyncio.run(cancel())
    assert [type(error) for error in recorder.errors] == [asyncio.CancelledError]
    assert recorder.ends == []


def test_concurrent_streams_do_not_mix(wire: WireServer, make: Make) -> None:
    wire.always(lambda request: sse(*[chunk(request.body["prompt"]), pause(0.01)] * 5, chunk("", "stop")))

    llm = make()

    async def read() -> list[list[str]]:
        return await asyncio.gather(*[collect(llm.astream(str(number))) for number in range(5)])

    assert ["".join(pieces) for pieces in asyncio.run(read())] == [str(number) * 5 for number in range(5)]


def test_stream_usage_false_omits_stream_options_and_usage(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder
) -> None:
    wire.script(sse(chunk("Hi", "stop")))
    calls.stream(make(stream_usage=False), "x", config={"callbacks": [recorder]})
    assert "stream_options" not in wire.bodies[0]
    (end,) = recorder.ends
    assert isinstance(end, LLMResult)
    assert "usage_metadata" not in (end.generations[0][0].generation_info or {})
