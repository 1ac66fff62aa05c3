"""Streams: every format of event, and whether a stream is complete."""

from __future__ import annotations

import gzip
import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paradigm_transport import (
    APIConnectionError,
    APIResponseError,
    APITimeoutError,
    BadRequestError,
    CompletionChunk,
    Logprobs,
    ParadigmError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
    Usage,
)
from paradigm_transport.endpoints.completions.stream import StreamReader
from paradigm_transport.http import sse as sse_module
from paradigm_transport.refusals import Origin
from tests.transport.conftest import MODEL, Api, over_completions
from tests.wire import (
    CUT,
    RESET,
    STALL,
    Step,
    WireServer,
    chunk,
    completion,
    event,
    frame,
    head,
    reply,
    sse,
    texts,
    to_json,
    trickle,
    usage,
)

pytestmark = pytest.mark.usefixtures("endpoint")


def stream(
    api: Api, wire: WireServer, *parts: dict[str, Any] | bytes | Step, n: int = 1, **options: Any
) -> list[CompletionChunk]:
    wire.script(sse(*parts, **options))
    return list(api.client(wire).stream("Hi", model=MODEL, n=n))


@over_completions
def test_text_chunks_come_first_and_last_chunk_holds_metadata(api: Api, wire: WireServer) -> None:
    first, second, last = stream(
        api,
        wire,
        chunk("Hel"),
        chunk("lo", "stop", choice={"stop_reason": "END"}),
        chunk(usage=usage(3, 2)),
        headers={"X-Request-Id": "req-7"},
    )
    assert [first.text, second.text, last.text] == ["Hel", "lo", ""]
    assert first.raw == chunk("Hel")
    assert (first.finish_reason, first.usage, first.is_last, first.id) == (None, None, False, None)
    assert (last.finish_reason, last.stop_reason, last.usage, last.is_last) == ("stop", "END", Usage(3, 2, 5), True)
    assert (last.id, last.model, last.created) == ("cmpl-1", "alfred-40b-1123", 1700000000)
    assert last.request_id == "req-7"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([chunk("a"), chunk("", "stop"), chunk(usage=usage(1, 2))], Usage(1, 2, 3)),
        ([chunk("a"), chunk("", "stop", usage=usage(1, 2))], Usage(1, 2, 3)),
        ([chunk("a", usage=usage(1, 1)), chunk("b", "stop", usage=usage(1, 2))], Usage(1, 2, 3)),
        ([chunk("a", usage=usage(1, 1)), chunk("b", "stop", usage=None)], Usage(1, 1, 2)),
        ([chunk("a", usage=usage(1, 1)), chunk("b", "stop", usage={"odd": 1})], Usage(1, 1, 2)),
        ([chunk("a", "stop", usage=None)], None),
        ([chunk("a", "stop", usage="odd")], None),
        ([chunk("a", "stop")], None),
    ],
)
def test_last_chunk_holds_last_valid_usage(
    api: Api, wire: WireServer, parts: list[Any], expected: Usage | None
) -> None:
    chunks = stream(api, wire, *parts)
    assert chunks[-1].usage == expected
    assert all(c.usage is None for c in chunks[:-1])


@pytest.mark.parametrize(
    "parts",
    [
        [{}, {"choices": None}, {"choices": []}, chunk("a"), {"id": "x"}, chunk("", "stop")],
        [chunk("", choice={"text": None}), chunk("a"), {"choices": [{"index": 0, "finish_reason": "stop"}]}],
        [{"choices": [{"text": "a"}]}, {"choices": [{"text": "", "finish_reason": "stop"}], "new": [1]}],
        [b": ping\n\n", chunk("a", "stop"), b": ping\n\n"],
        [b"data:\n\ndata: \n\n", chunk("a", "stop")],
        [b"event: ping\nid: 1\nretry: 10\n\n", b"event: completion\n" + event(to_json(chunk("a", "stop")))],
        [b"\xef\xbb\xbf", chunk("a", "stop")],
        [b"data:" + to_json(chunk("a", "stop")) + b"\r\n\r\n"],
        [b"\n\n", b"data: " + to_json(chunk("a")).replace(b', "ch', b',\ndata:  "ch') + b"\n\n", chunk("", "stop")],
        [chunk("a", "stop", choice={"stop_reason": 5}), chunk("", "length", choice={"stop_reason": None})],
    ],
)
def test_unusual_events_lose_no_text(api: Api, wire: WireServer, parts: list[Any]) -> None:
    chunks = stream(api, wire, *parts)
    assert texts(chunks) == "a"
    assert chunks[-1].finish_reason == "stop"
    assert chunks[-1].is_last


def test_first_finish_reason_is_kept(api: Api, wire: WireServer) -> None:
    chunks = stream(api, wire, chunk("a", "stop", choice={"stop_reason": 5}), chunk("", "length"))
    assert [(c.finish_reason, c.stop_reason) for c in chunks] == [(None, None), ("stop", 5)]


@pytest.mark.parametrize("reason", ["abort", "error", "cancelled"])
@pytest.mark.parametrize("parts", [[chunk("Once"), chunk(" upon")], [chunk("Once upon")], []])
def test_aborted_stream_raises_with_text_so_far(api: Api, wire: WireServer, parts: list[Any], reason: str) -> None:
    wire.always(sse(*parts, chunk(" a", reason)))
    chunks: list[CompletionChunk] = []
    with pytest.raises(ServerError, match=f"finish_reason '{reason}'") as caught:
        chunks.extend(api.client(wire).stream("Hi", model=MODEL, stop="a time"))
    assert texts(chunks) == caught.value.partial_text == texts(chunks_of(parts)) + " a"


@pytest.mark.parametrize("reason", ["length", "repetition", "néw"])
def test_any_finish_reason_is_kept(api: Api, wire: WireServer, reason: str) -> None:
    assert stream(api, wire, chunk("a", reason))[-1].finish_reason == reason


def chunks_of(parts: list[Any]) -> list[CompletionChunk]:
    return [CompletionChunk(part["choices"][0]["text"]) for part in parts]


ERRORS_IN_PLACE_OF_A_CHUNK = [
    ({"detail": "No luck."}, ServerError, "No luck"),
    ({"detail": [{"loc": ["body", "n"], "msg": "Too many."}]}, ServerError, "n: Too many"),
    ({"message": "No luck."}, ServerError, "No luck"),
    ({"message": "Slow down.", "code": 429}, RateLimitError, "Slow down"),
    ({"errors": [{"message": "No luck."}]}, ServerError, "No luck"),
    ({"errors": ["No luck."]}, ServerError, "No luck"),
    ({"non_field_errors": ["No luck."]}, ServerError, "No luck"),
    ({"model": ["Unknown model."]}, ServerError, "model: Unknown model"),
    ({"code": "400"}, BadRequestError, "answered 400"),
    ({"error": "No luck.", "code": 429}, RateLimitError, "No luck"),
]


@pytest.mark.parametrize(("error", "kind", "words"), ERRORS_IN_PLACE_OF_A_CHUNK)
@pytest.mark.parametrize("text", ["", "Once upon"])
def test_error_in_place_of_chunk_raises_with_text_so_far(
    api: Api, wire: WireServer, error: dict[str, Any], kind: type[ParadigmError], words: str, text: str
) -> None:
    chunks: list[CompletionChunk] = []
    wire.always(sse(*[chunk(text)] * bool(text), error))
    with pytest.raises(kind, match=words) as caught:
        chunks.extend(api.client(wire).stream("Hi", model=MODEL))
    assert texts(chunks) == caught.value.partial_text == text
    wire.always(reply(error))
    for call in (api.client(wire).complete, lambda *args, **options: list(api.client(wire).stream(*args, **options))):
        with pytest.raises(kind, match=words):
            call("Hi", model=MODEL)


def test_choices_beyond_n_are_dropped(api: Api, wire: WireServer) -> None:
    parts = [chunk("a"), chunk("x", index=1), chunk("b"), chunk("y", "stop", index=1), chunk("c", "stop")]
    chunks = stream(api, wire, *parts)
    assert [(c.index, c.text) for c in chunks] == [(0, "a"), (0, "b"), (0, "c"), (0, "")]


def test_chunks_of_several_choices_interleave(api: Api, wire: WireServer) -> None:
    both = {"choices": [{"index": 1, "text": "y"}, {"index": 0, "text": "b"}]}
    parts = [chunk("x", index=1), chunk("a"), both, chunk("", "stop"), chunk("z", "length", index=1)]
    chunks = stream(api, wire, *parts, n=2)
    assert [texts(chunks, 0), texts(chunks, 1)] == ["ab", "xyz"]
    assert [(c.index, c.finish_reason, c.is_last) for c in chunks[-2:]] == [(0, "stop", False), (1, "length", True)]


def test_logprobs_in_both_formats_are_read(api: Api, wire: WireServer) -> None:
    documented = {"tokens": ["a"], "token_logprobs": [-1], "top_logprobs": [{"a": -1}], "text_offset": [0]}
    other = {"content": [{"token": "b", "logprob": -2, "top_logprobs": [{"token": "b", "logprob": -2}]}]}
    chunks = stream(
        api, wire, chunk("a", choice={"logprobs": documented}), chunk("b", "stop", choice={"logprobs": other})
    )
    assert chunks[0].logprobs == Logprobs(["a"], [-1.0], [{"a": -1.0}], [0])
    assert chunks[1].logprobs == Logprobs(["b"], [-2.0], [{"b": -2.0}], [1])
    assert chunks[2].logprobs is None


def test_logprobs_held_back_come_out_with_text_without_logprobs(api: Api, wire: WireServer) -> None:
    wire.script(sse(chunk("EN", choice={"logprobs": {"tokens": ["EN"]}}), chunk("x", "stop")))
    chunks = list(api.client(wire).stream("Hi", model=MODEL, stop="END"))
    assert [(c.text, c.logprobs and c.logprobs.tokens) for c in chunks] == [("ENx", ["EN"]), ("", None)]


def test_logprobs_without_text_are_kept(api: Api, wire: WireServer) -> None:
    odd = {"tokens": ["</s>"], "token_logprobs": [-1]}
    chunks = stream(api, wire, chunk("a"), chunk("", "stop", choice={"logprobs": odd}))
    assert [c.logprobs.tokens for c in chunks if c.logprobs] == [["</s>"]]


def test_unicode_line_separators_do_not_end_lines(api: Api, wire: WireServer) -> None:
    text = "a\u2028b\u2029c\u0085d"
    assert to_json(text) == f'"{text}"'.encode()
    assert texts(stream(api, wire, chunk(text, "stop"))) == text


def test_lone_surrogate_is_replaced(api: Api, wire: WireServer) -> None:
    chunks = stream(api, wire, event(b'{"choices": [{"text": "a\\ud83e"}]}'), chunk("b", "stop"))
    assert texts(chunks) == "a\ufffdb"


def text_event(text: str, *more: bytes) -> bytes:
    """An event whose text is written as JSON as it stands here."""
    return event(b'{"choices": [{"text": "%b"%b}]}' % (text.encode(), b"".join(more)))


@pytest.mark.parametrize("first", ["a\\ud83d", "\\uD83D", "\\ud83d\\ude00\\ud83d", "\\\\\\ud83d"])
@pytest.mark.parametrize("second", ["\\ude00", "\\uDE00b", "\\ude00\\ud83d\\ude00"])
def test_character_in_two_events_is_whole(api: Api, wire: WireServer, first: str, second: str) -> None:
    chunks = stream(api, wire, text_event(first), text_event(second), chunk("c", "stop"), chunk(usage=usage(3, 5)))
    assert texts(chunks) == json.loads(f'"{first}{second}c"')
    assert chunks[-1].usage is not None


def test_characters_that_each_end_in_the_next_event_are_whole(api: Api, wire: WireServer) -> None:
    middle = r"\ude00 and \ud83d"
    chunks = stream(api, wire, text_event(r"\ud83d"), text_event(middle), text_event(r"\ude00"), chunk("", "stop"))
    assert texts(chunks) == "😀 and 😀"


def test_token_in_two_events_keeps_its_logprobs(api: Api, wire: WireServer) -> None:
    logprobs = b', "logprobs": {"tokens": ["%b"], "token_logprobs": [-1]}'
    halves = [text_event(half, logprobs % half.encode()) for half in (r"\ud83d", r"\ude00")]
    chunks = stream(api, wire, *halves, chunk("", "stop"))
    assert texts(chunks) == "😀"
    assert [each.logprobs.tokens for each in chunks if each.logprobs] == [["😀"], [""]]


@pytest.mark.parametrize("last", [[], [b"data: [DONE]\n\n"], [CUT]], ids=["end", "done", "cut"])
def test_half_a_character_at_the_end_is_replaced(api: Api, wire: WireServer, last: list[Any]) -> None:
    chunks = stream(api, wire, text_event(r"a\ud83d", b', "finish_reason": "stop"'), *last, done=False)
    assert texts(chunks) == "a\ufffd"
    assert chunks[-1].finish_reason == "stop"


def test_half_a_character_before_an_interruption_is_in_the_text_so_far(api: Api, wire: WireServer) -> None:
    with pytest.raises(StreamInterruptedError) as caught:
        stream(api, wire, text_event(r"a\ud83d"), CUT)
    assert caught.value.partial_text == "a\ufffd"


def test_event_of_many_megabytes_is_read(api: Api, wire: WireServer) -> None:
    text = "été " * (2 << 20)
    assert texts(stream(api, wire, chunk(text), chunk("", "stop"))) == text


def test_event_over_size_limit_raises_with_text_so_far(
    api: Api, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sse_module.MAX_EVENT_BYTES == 64 << 20
    monkeypatch.setattr(sse_module.SSEDecoder.__init__, "__defaults__", (1000,))
    wire.script(sse(chunk("a"), b"data: " + b"x" * 2000, STALL))
    chunks: list[CompletionChunk] = []
    with pytest.raises(APIResponseError, match="more than 1,000 bytes") as caught:
        chunks.extend(api.client(wire).stream("Hi", model=MODEL))
    assert caught.value.partial_text == "a"
    assert wire.requests[0].left.wait(30)


def test_gzip_stream_is_read(api: Api, wire: WireServer) -> None:
    data = b"".join(event(to_json(c)) for c in (chunk("Hello"), chunk("", "stop")))
    wire.script(trickle(reply(gzip.compress(data), headers={"Content-Encoding": "gzip"})))
    assert texts(api.client(wire).stream("Hi", model=MODEL)) == "Hello"


def test_broken_gzip_raises_with_text_so_far(api: Api, wire: WireServer) -> None:
    packer = gzip.compress(event(to_json(chunk("Hello"))) * 50)
    headers = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}
    wire.script([head(200, headers), frame(packer[:-8]), frame(b"\xff" * 50), b"0\r\n\r\n"])
    with pytest.raises(APIResponseError, match="cannot be decompressed") as caught:
        list(api.client(wire).stream("Hi", model=MODEL))
    assert caught.value.partial_text == "Hello" * 50


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json", "text/plain", None])
def test_stream_is_recognised_by_its_bytes_not_its_headers(api: Api, wire: WireServer, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    parts = [event(to_json(chunk("a"))), event(to_json(chunk("b", "stop"))), event("[DONE]")]
    wire.script([head(200, headers), *parts, CUT])
    assert texts(api.client(wire).stream("Hi", model=MODEL)) == "ab"


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
@pytest.mark.parametrize("lead", [b"", b" \r\n"])
def test_json_response_to_stream_request_is_read(api: Api, wire: WireServer, kind: str, lead: bytes) -> None:
    wire.script(trickle(reply(lead + to_json(completion("a", "b")), headers={"Content-Type": kind})))
    chunks = list(api.client(wire).stream("Hi", model=MODEL, stop="x", n=2))
    assert [texts(chunks, 0), texts(chunks, 1)] == ["a", "b"]
    assert (chunks[-1].finish_reason, chunks[-1].usage, chunks[-1].id) == ("stop", Usage(3, 5, 8), "cmpl-1")


@pytest.mark.parametrize("size", [1, 2, 3, 600, 5000])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b" \r\n", b"\xef\xbb\xbf\n", b" " * 3000 + b"\n"])
@pytest.mark.parametrize("body", [to_json(completion("a")), event(to_json(chunk("a", "stop")))])
def test_start_of_response_may_be_split_anywhere(size: int, start: bytes, body: bytes) -> None:
    reader = StreamReader(Origin("host"), stops=[])
    data = start + body
    chunks = [c for at in range(0, len(data), size) for c in reader.feed(data[at : at + size])]
    assert texts(chunks + list(reader.finish())) == "a"


def test_rest_of_response_is_wanted_only_after_done() -> None:
    reader = StreamReader(Origin("host"), stops=["END"])
    for data, ended, done in [(chunk("a"), False, False), (chunk("END"), True, False)]:
        list(reader.feed(event(to_json(data))))
        assert (reader.ended, reader.done) == (ended, done)
    reader = StreamReader(Origin("host"), stops=[])
    list(reader.feed(event(to_json(chunk("a", "stop")))))
    assert (reader.ended, reader.done) == (False, False)
    list(reader.feed(event("[DONE]")))
    assert (reader.ended, reader.done) == (True, True)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"message": "oh", "code": 400}}, BadRequestError),
        ({"object": "list", "data": []}, APIResponseError),
        ([], APIResponseError),
        ("<html><title>oh</title></html>", APIResponseError),
        ("{not json}", APIResponseError),
    ],
)
def test_response_without_stream_or_completion_raises(
    api: Api, wire: WireServer, body: Any, kind: type[ParadigmError]
) -> None:
    wire.script(reply(body))
    with pytest.raises(kind):
        list(api.client(wire).stream("Hi", model=MODEL))
    assert len(wire.requests) == 1


@pytest.mark.parametrize("bad", [b"data: nonsense\n\n", b'data: {"choices": 5}\n\n', b"data: 5\n\n", b"data: []\n\n"])
def test_malformed_event_raises_with_text_so_far(api: Api, wire: WireServer, bad: bytes) -> None:
    wire.script(sse(chunk("a"), bad, chunk("b", "stop")))
    chunks = api.client(wire).stream("Hi", model=MODEL)
    assert next(chunks).text == "a"
    with pytest.raises(APIResponseError) as caught:
        next(chunks)
    assert caught.value.partial_text == "a"
    assert list(chunks) == []
    assert wire.requests[0].left.wait(30)


ERRORS = [
    (event('{"error": {"message": "oh", "type": "BadRequestError", "code": 400}}'), BadRequestError, "oh"),
    (event('{"error": {"message": "oh", "code": 500}}'), ServerError, "oh"),
    (event('{"error": {"message": "", "code": 500}}'), ServerError, "500"),
    (event('{"error": {"message": "oh"}}'), ServerError, "oh"),
    (event('{"error": "oh"}'), ServerError, "oh"),
    (event('{"object": "error", "message": "oh", "code": 429}'), RateLimitError, "oh"),
    (event('{"error": {"message": "oh", "code": 400}}', "error"), BadRequestError, "oh"),
    (event('{"message": "oh", "code": 400}', "error"), BadRequestError, "oh"),
    (event('{"message": "oh"}', "error"), ServerError, "oh"),
    (event("oh", "error"), ServerError, "oh"),
    (event("", "error"), ServerError, "500"),
    (b'error: {"message": "oh", "code": 400}\n\n', BadRequestError, "oh"),
    (b'error: {"error": {"message": "oh", "code": 400}}', BadRequestError, "oh"),
]


@pytest.mark.parametrize(("error", "kind", "words"), ERRORS, ids=[repr(e[0][:44]) for e in ERRORS])
@pytest.mark.parametrize("done", [True, False])
def test_error_event_raises_with_text_so_far(
    api: Api, wire: WireServer, error: bytes, kind: type[ParadigmError], words: str, done: bool
) -> None:
    wire.script(sse(chunk("a"), error, done=done and error.endswith(b"\n\n")))
    chunks: list[CompletionChunk] = []
    with pytest.raises(kind, match=words) as caught:
        chunks.extend(api.client(wire).stream("Hi", model=MODEL))
    assert texts(chunks) == caught.value.partial_text == "a"
    assert str(caught.value).startswith(wire.host)
    assert len(wire.requests) == 1


def test_error_after_finish_reason_raises(api: Api, wire: WireServer) -> None:
    with pytest.raises(ServerError) as caught:
        stream(api, wire, chunk("a", "stop"), {"error": {"message": "oh"}})
    assert caught.value.partial_text == "a"


def test_held_back_text_is_emitted_before_error(api: Api, wire: WireServer) -> None:
    wire.script(sse(chunk("a E"), {"error": {"message": "oh"}}))
    chunks = api.client(wire).stream("Hi", model=MODEL, stop="END")
    assert [next(chunks).text, next(chunks).text] == ["a ", "E"]
    with pytest.raises(ServerError) as caught:
        next(chunks)
    assert caught.value.partial_text == "a E"


CUTS = {
    "end of the chunks": sse(chunk("a"), chunk("b"), done=False),
    "end of the connection": sse(chunk("a"), chunk("b"), done=False, chunked=False),
    "fin": sse(chunk("a"), chunk("b"), CUT),
    "in an event": sse(chunk("a"), chunk("b"), event(to_json(chunk("c")))[:50], CUT),
    "in an event, in good order": sse(chunk("a"), chunk("b"), event(to_json(chunk("c")))[:50], done=False),
    "in [DONE]": sse(chunk("a"), chunk("b"), b"data: [DON", done=False),
    "in a character": sse(chunk("a"), chunk("b"), b'data: {"choices": [{"text": "\xc3', done=False),
    "reasons that are empty": sse(chunk("a", ""), chunk("b", ""), CUT),
    "usage but no reason": sse(chunk("a"), chunk("b", usage=usage(1, 2)), chunk(usage=usage(1, 2)), done=False),
}


@pytest.mark.parametrize("script", CUTS.values(), ids=CUTS)
def test_stream_without_finish_reason_or_done_raises(api: Api, wire: WireServer, script: list[Any]) -> None:
    wire.script(script)
    chunks: list[CompletionChunk] = []
    with pytest.raises(StreamInterruptedError, match=wire.host) as caught:
        chunks.extend(api.client(wire).stream("Hi", model=MODEL))
    assert texts(chunks) == caught.value.partial_text == "ab"
    assert len(wire.requests) == 1


def test_empty_finish_reason_is_none(api: Api, wire: WireServer) -> None:
    chunks = stream(api, wire, chunk("a", ""), chunk("b", ""), chunk("", "length"), chunk("", ""))
    assert [(each.text, each.finish_reason) for each in chunks] == [("a", None), ("b", None), ("", "length")]
    wire.script(sse(chunk("a", ""), chunk("", "error")))
    with pytest.raises(ServerError):
        list(api.client(wire).stream("Hi", model=MODEL))
    wire.script(reply(completion("a", finish_reason="")))
    assert api.client(wire).complete("Hi", model=MODEL).choices[0].finish_reason is None


def test_reset_connection_raises_stream_interrupted_error(api: Api, wire: WireServer) -> None:
    wire.script(sse(chunk("a"), STALL, RESET))
    chunks = api.client(wire).stream("Hi", model=MODEL)
    assert next(chunks).text == "a"
    wire.release()
    with pytest.raises(StreamInterruptedError, match="ended its response early") as caught:
        next(chunks)
    assert caught.value.partial_text == "a"


WHOLE = {
    "no [DONE]": sse(chunk("ab", "stop"), chunk(usage=usage(1, 2)), done=False),
    "no [DONE], no chunks": sse(chunk("ab", "stop"), chunk(usage=usage(1, 2)), done=False, chunked=False),
    "no reason": sse(chunk("ab"), chunk(usage=usage(1, 2))),
    "no blank line": sse(chunk("ab"), chunk(usage=usage(1, 2)), b"data: [DONE]", done=False),
    "no line end after the usage": sse(
        chunk("ab", "stop"), event(to_json(chunk(usage=usage(1, 2)))).rstrip(), done=False
    ),
    "fin after the usage": sse(chunk("ab", "stop"), chunk(usage=usage(1, 2)), CUT),
    "spaces around [DONE]": sse(chunk("ab"), chunk(usage=usage(1, 2)), b"data:  [DONE] \n\n", done=False),
    "nothing after [DONE]": sse(chunk("ab"), chunk(usage=usage(1, 2)), event("[DONE]"), CUT),
}


@pytest.mark.parametrize("script", WHOLE.values(), ids=WHOLE)
def test_finish_reason_or_done_completes_stream(api: Api, wire: WireServer, script: list[Any]) -> None:
    wire.script(script)
    chunks = list(api.client(wire).stream("Hi", model=MODEL))
    assert texts(chunks) == "ab"
    assert chunks[-1].usage == Usage(1, 2, 3)


@pytest.mark.parametrize(
    ("chunks", "warns"),
    [([chunk("a")], True), ([chunk("a", "stop")], False), ([chunk("a"), chunk(usage=usage(1, 2))], False)],
)
def test_stream_that_ends_with_done_alone_warns(
    api: Api, wire: WireServer, caplog: pytest.LogCaptureFixture, chunks: list[Any], warns: bool
) -> None:
    assert texts(stream(api, wire, *chunks, event("[DONE]"))) == "a"
    assert ("ended without a reason: its text may be cut" in caplog.text) is warns


def test_break_after_finish_reason_loses_only_usage(api: Api, wire: WireServer) -> None:
    chunks = stream(api, wire, chunk("a", "stop"), b"data: {", CUT)
    assert (texts(chunks), chunks[-1].finish_reason, chunks[-1].usage) == ("a", "stop", None)


def test_stream_of_several_choices_raises_unless_all_have_ended(api: Api, wire: WireServer) -> None:
    for parts in ([chunk("a", "stop"), chunk("x", index=1)], [chunk("a", "stop")]):
        wire.script(sse(*parts, done=False))
        with pytest.raises(StreamInterruptedError):
            list(api.client(wire).stream("Hi", model=MODEL, n=2))
    wire.script(sse(chunk("a", "stop"), chunk("x", "stop", index=1), done=False))
    assert texts(api.client(wire).stream("Hi", model=MODEL, n=2), 1) == "x"


def test_empty_stream_raises_only_without_finish_reason_and_done(api: Api, wire: WireServer) -> None:
    assert stream(api, wire) == [CompletionChunk("", is_last=True)]
    assert [c.finish_reason for c in stream(api, wire, chunk("", "stop"))] == ["stop"]
    wire.always(sse(done=False))
    with pytest.raises(StreamInterruptedError) as caught:
        list(api.client(wire, max_retries=0).stream("Hi", model=MODEL))
    assert caught.value.partial_text == ""


def test_chunks_are_yielded_as_they_arrive(api: Api, wire: WireServer) -> None:
    wire.script(sse(chunk("a"), STALL, chunk("b", "stop")))
    chunks = api.client(wire).stream("Hi", model=MODEL)
    assert next(chunks).text == "a"
    wire.release()
    assert texts(chunks) == "b"


def test_last_chunk_does_not_wait_for_end_of_response(
    api: Api, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paradigm_transport.http.responses.DRAIN_SECONDS", 30)
    wire.script(sse(chunk("a", "stop"), event("[DONE]"), STALL, done=False))
    chunks = api.client(wire).stream("Hi", model=MODEL)
    begin = time.perf_counter()
    assert [next(chunks).text, next(chunks).is_last] == ["a", True]
    assert time.perf_counter() - begin < 10
    chunks.close()


def test_successive_streams_share_one_connection(api: Api, wire: WireServer) -> None:
    wire.always(sse(chunk("a"), chunk("b", "stop"), chunk(usage=usage(1, 2))))
    client = api.client(wire)
    for _ in range(20):
        assert texts(client.stream("Hi", model=MODEL)) == "ab"
    assert (len(wire.requests), wire.connections) == (20, 1)


def test_streams_and_completions_share_one_connection(api: Api, wire: WireServer) -> None:
    wire.always(lambda request: sse(chunk("a", "stop")) if request.body.get("stream") else reply(completion("b")))
    client = api.client(wire)
    for _ in range(3):
        list(client.stream("Hi", model=MODEL))
        client.complete("Hi", model=MODEL)
    assert wire.connections == 1


@pytest.mark.parametrize("slow", [False, True])
def test_bytes_after_done_are_drained_and_connection_is_reused(api: Api, wire: WireServer, slow: bool) -> None:
    tail = [b": bye\n\n", event(to_json(chunk("never shown"))), b"garbage"]
    script = sse(chunk("a", "stop"), event("[DONE]"), *tail, done=False)
    wire.always(trickle(script) if slow else script)
    client = api.client(wire)
    for _ in range(2):
        assert texts(client.stream("Hi", model=MODEL)) == "a"
    assert wire.connections == 1


@pytest.mark.parametrize("tail", ["silence", "flood", "break"])
def test_connection_is_dropped_if_response_does_not_end_after_done(
    api: Api, wire: WireServer, tail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paradigm_transport.http.responses.DRAIN_SECONDS", 0.05)
    after = {"silence": [STALL], "flood": [b": x" * 10_000] * 100 + [STALL], "break": [RESET]}[tail]
    wire.script(sse(chunk("a", "stop"), event("[DONE]"), *after, done=False), sse(chunk("b", "stop")))
    client = api.client(wire)
    begin = time.perf_counter()
    chunks = list(client.stream("Hi", model=MODEL))
    assert time.perf_counter() - begin < 5
    assert (texts(chunks), chunks[-1].finish_reason) == ("a", "stop")
    assert wire.requests[0].left.wait(30)
    assert texts(client.stream("Hi", model=MODEL)) == "b"
    assert wire.connections == 2


def test_drain_limits_are_small() -> None:
    from paradigm_transport.http import responses

    assert responses.DRAIN_SECONDS <= 0.5
    assert responses.DRAIN_BYTES <= 1 << 16


def test_nothing_is_sent_before_first_chunk_is_requested(api: Api, wire: WireServer) -> None:
    api.client(wire).stream("Hi", model=MODEL)
    assert wire.connections == 0


def test_exhausted_stream_stays_exhausted(api: Api, wire: WireServer) -> None:
    wire.script(sse(chunk("a", "stop")))
    chunks = api.client(wire).stream("Hi", model=MODEL)
    assert texts(chunks) == "a"
    assert list(chunks) == list(chunks) == []
    chunks.close()
    assert len(wire.requests) == 1


def test_closed_stream_ends_at_once(api: Api, wire: WireServer) -> None:
    wire.script(sse(event(to_json(chunk("a"))) + event(to_json(chunk("b"))), STALL))
    chunks = api.client(wire).stream("Hi", model=MODEL)
    assert next(chunks).text == "a"
    chunks.close()
    assert list(chunks) == []
    assert wire.requests[0].left.wait(30)
    unused = api.client(wire).stream("Hi", model=MODEL)
    unused.close()
    assert list(unused) == []
    assert len(wire.requests) == 1


def test_cut_at_default_length_limit_warns_once(
    api: Api, wire: WireServer, caplog: pytest.LogCaptureFixture, endpoint: str
) -> None:
    wire.script(sse(chunk("a", "length")), reply(completion("a", finish_reason="length")))
    wire.always(reply(completion("a", finish_reason="length")))
    client = api.client(wire)
    for call in (lambda: list(client.stream("Hi", model=MODEL)), lambda: client.complete("Hi", model=MODEL)):
        call()
        [record] = [record for record in caplog.records if record.name == "paradigm_transport"]
    assert record.levelname == "WARNING"
    limit = 256 if endpoint == "completions" else "the server's default"
    assert record.getMessage() == (
        f"A completion of {wire.host} was cut at the default length limit: set max_tokens (now {limit})."
    )
    caplog.clear()
    other = api.client(wire)
    other.complete("Hi", model=MODEL, max_tokens=256)
    wire.script(reply(completion("a", finish_reason="stop")), sse(chunk("a", "stop")))
    other.complete("Hi", model=MODEL)
    list(other.stream("Hi", model=MODEL))
    assert caplog.records == []
    other.complete("Hi", model=MODEL, max_tokens=None)
    assert "now the server's default" in caplog.text


# StreamReader without a server.

EVENTS = st.lists(
    st.sampled_from(
        [
            *[to_json(chunk(text)) for text in ("a", "b", "é", "🦜", "E", "N", "D", "\u2028")],
            to_json(chunk("x", index=1)),
            to_json(chunk("", "stop")),
            to_json(chunk("", "length", index=1)),
            to_json(chunk(usage=usage(1, 2))),
            b"[DONE]",
            b'{"error": {"message": "oh", "code": 400}}',
            b"nonsense",
            b'{"choices": [{"text"',
        ]
    ),
    max_size=8,
)


def read_all(parts: list[bytes]) -> tuple[str, str, Any, Any, str]:
    reader = StreamReader(Origin("host"), stops=["END"], n=2)
    chunks: list[CompletionChunk] = []
    error: ParadigmError | None = None
    try:
        for part in parts:
            if not reader.ended:
                chunks.extend(reader.feed(part))
        if not reader.ended:
            chunks.extend(reader.finish())
    except ParadigmError as caught:
        error = caught
    partial = "" if error is None else error.partial_text
    assert error is None or partial == texts(chunks)
    last = chunks[-1] if error is None else None
    return texts(chunks, 0), texts(chunks, 1), repr(error), last, partial


@given(EVENTS, st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"]), st.lists(st.integers(0, 2000), max_size=20))
def test_any_split_of_bytes_gives_same_chunks(datas: list[bytes], end: bytes, places: list[int]) -> None:
    data = b"".join(b"data: " + data + end for data in datas)
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    whole = read_all([data])
    assert read_all([data[start:stop] for start, stop in itertools.pairwise(borders)]) == whole
    assert read_all([bytes([byte]) for byte in data]) == whole


def test_timeout_while_streaming_keeps_its_class() -> None:
    reader = StreamReader(Origin("host"), stops=[])
    list(reader.feed(event(to_json(chunk("a")))))
    with pytest.raises(APITimeoutError) as caught:
        list(reader.interrupted(APITimeoutError("slow")))
    assert caught.value.partial_text == "a"
    reader = StreamReader(Origin("host"), stops=[])
    with pytest.raises(StreamInterruptedError, match="broke"):
        list(reader.interrupted(APIConnectionError("broke")))
