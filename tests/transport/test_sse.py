"""The SSE decoder: any split of the bytes gives the same events."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable

import pytest
from httpx_sse._decoders import SSEDecoder as Oracle
from hypothesis import example, given
from hypothesis import strategies as st

from paradigm_transport import APIResponseError
from paradigm_transport.http.sse import Event, SSEDecoder


def decode(*parts: bytes) -> list[Event]:
    decoder = SSEDecoder()
    events = [event for part in parts for event in decoder.feed(part)]
    return [*events, *decoder.finish()]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(borders)]


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data: a\r\n\r\n", [b"a"]),
        (b"data: a\r\r", [b"a"]),
        (b"data: a\r\n\rdata: b\n\r\n", [b"a", b"b"]),
        (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
        (b"data: a\ndata: b\ndata\ndata:\n\n", [b"a\nb\n\n"]),
        (b"data: a\r\ndata: b\r\n\r\n", [b"a\nb"]),
        (b": ping\n\ndata: a\n: ping\n\n:\n\n", [b"a"]),
        (b"event: x\nid: 7\nretry: 5\ndata: a\nunknown: b\nno colon\n\n", [b"a"]),
        (b"id: 7\n\n\n\n\ndata: a\n\n", [b"a"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: \xef\xbb\xbfa\n\n\xef\xbb\xbfdata: b\n\n", [b"\xef\xbb\xbfa"]),
        (b"data: a\n\ndata: b\n", [b"a", b"b"]),
        (b"data: a\n\ndata: b", [b"a", b"b"]),
        (b"data: a\n\ndata: b\r", [b"a", b"b"]),
        ("data: a\u2028b\u2029c\u0085d\x0be\x0cf\n\n".encode(), ["a\u2028b\u2029c\u0085d\x0be\x0cf".encode()]),
        (b"data: a\x00b\n\n", [b"a\x00b"]),
        (b"\n\xef\xbb\xbfdata: a\n\n", []),
        (b"", []),
        (b"\n\r\n\r", []),
    ],
)
def test_events_are_decoded_whole_and_byte_by_byte(data: bytes, events: list[bytes]) -> None:
    assert [event.data for event in decode(data)] == events
    assert [event.data for event in decode(*(bytes([byte]) for byte in data))] == events


def test_events_have_the_names_that_the_server_gave() -> None:
    events = decode(b"event: error\ndata: a\n\ndata: b\n\nevent: lost\n\ndata: c\n\nevent: p\nevent: q\ndata: d\n\n")
    assert events == [Event(b"a", b"error"), Event(b"b"), Event(b"c"), Event(b"d", b"q")]


def test_error_line_is_an_event_without_a_blank_line() -> None:
    assert decode(b'data: a\n\nerror: {"code": 500}\n\n') == [Event(b"a"), Event(b'{"code": 500}', b"error")]
    assert decode(b"error: a") == [Event(b"a", b"error")]


def test_event_is_complete_at_the_first_byte_of_its_blank_line() -> None:
    for end in (b"\n\n", b"\r\r", b"\r\n\r"):
        assert list(SSEDecoder().feed(b"data: a" + end)) == [Event(b"a")]


LINES = st.sampled_from([b"data: ", b"data:", b"data", b"event: ", b"id: ", b"retry: ", b"error: ", b": ", b"", b"x: "])
WORDS = st.sampled_from(["", "a", "[DONE]", '{"text": "été 🦜"}', "\u2028", "\u0085", ":", " ", "\x00", "\ufeff"])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b"\r\r", b"\r\n\r\n", b""])
STREAMS = st.builds(
    lambda bom, lines: bom + b"".join(line + word.encode() + end for line, word, end in lines),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(st.tuples(LINES, WORDS, ENDS), max_size=12),
)


@given(STREAMS | st.binary(max_size=60), st.lists(st.integers(0, 400), max_size=30))
@example(b"data: a\r\n\r\ndata: b\n\n", [8])
@example(b"data: a\r\ndata: b\n\n", [8, 8])
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2])
def test_any_split_of_the_bytes_gives_the_same_events(data: bytes, places: list[int]) -> None:
    whole = decode(data)
    assert decode(*cut(data, places)) == whole
    assert decode(*(bytes([byte]) for byte in data)) == whole


def oracle(data: bytes) -> list[tuple[str, str]]:
    """What httpx-sse reads, given whole lines; the caller avoids what it misses of the standard."""
    decoder = Oracle()
    lines = data.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    events = [decoder.decode(line) for line in lines[:-1]]
    return [(event.event, event.data) for event in events if event is not None]


@given(STREAMS)
def test_events_are_those_of_httpx_sse(data: bytes) -> None:
    # It keeps a BOM, loses an event that has no blank line, and makes events of ids, names and retries alone.
    data = data.removeprefix(b"\xef\xbb\xbf") + b"\n\n"
    ours = [(event.name.decode(), event.data.decode()) for event in decode(data)]
    if b"error" not in data:
        assert [event for event in ours if event[1]] == [event for event in oracle(data) if event[1]]


def test_event_of_many_megabytes_is_decoded_in_linear_time() -> None:
    decoder = SSEDecoder()
    begin = time.process_time()
    for part in itertools.chain([b"data: "], itertools.repeat(b"x" * 1024, 16 * 1024), [b"\n"]):
        assert list(decoder.feed(part)) == []
    [event] = decoder.feed(b"\n")
    assert len(event.data) == 16 << 20
    assert time.process_time() - begin < 8  # copying everything so far with each part would take many times as long


@pytest.mark.parametrize("tail", [b"", b"\ndata: ", b"\n: "])
def test_event_larger_than_the_bound_raises(tail: bytes) -> None:
    decoder = SSEDecoder(max_event_bytes=100)
    assert list(decoder.feed(b"data: " + b"x" * 94)) == []
    assert list(decoder.feed(b"\n\n")) == [Event(b"x" * 94)]
    with pytest.raises(APIResponseError, match="more than 100 bytes"):
        list(decoder.feed(b"data: " + b"x" * 90 + tail + b"x" * 10))


def test_bound_holds_for_one_event_not_for_the_stream() -> None:
    decoder = SSEDecoder(max_event_bytes=100)
    data = b": comment that is not kept\nid: 5\ndata: " + b"x" * 40 + b"\n"
    for _ in range(100):
        assert list(decoder.feed(data + b"\n")) == [Event(b"x" * 40)]
    for _ in range(100):
        assert list(decoder.feed(b": comment that is not kept\n")) == []
