"""Stop sequences enforced by the client: any split gives the same text, and no part of a stop is shown."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paradigm_transport import Completion, Logprobs
from paradigm_transport.endpoints.completions.reply import read_completion
from paradigm_transport.endpoints.completions.stream import StreamReader
from paradigm_transport.refusals import Origin
from paradigm_transport.stops import StopScanner, find_stop
from tests.growth import growth
from tests.transport.conftest import MODEL, Api, over_completions
from tests.wire import STALL, WireServer, chunk, completion, event, reply, sse, texts, to_json

pytestmark = pytest.mark.usefixtures("endpoint")

HOST = Origin("host")
TEXT = st.text("ab.é🦜", max_size=24)
STOPS = st.lists(st.text("ab.é🦜", min_size=1, max_size=4), max_size=6)
PLACES = st.lists(st.integers(0, 100), max_size=12)


def pieces(text: str, places: list[int]) -> list[str]:
    borders = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(borders)]


def first_stop(text: str, stops: list[str]) -> int:
    """Return where a server that searches after each character would cut the text."""
    for end in range(len(text) + 1):
        found = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if found:
            return min(found)
    return len(text)


@given(TEXT, STOPS)
@example("xabcx", ["bc", "abc"])
@example("aab", ["ab", "aa"])
def test_stop_completed_first_wins(text: str, stops: list[str]) -> None:
    at = find_stop(text, stops)
    assert (len(text) if at is None else at) == first_stop(text, stops)
    assert (at is None) == (not any(stop in text for stop in stops))


@given(TEXT, STOPS, PLACES, st.integers(0, 6))
@example("ab.ab.", ["ab.ab."], [4], 0)
def test_any_split_of_text_shows_same_text(text: str, stops: list[str], places: list[int], skip: int) -> None:
    scanner = StopScanner(stops, skip)
    shown = "".join(map(scanner.feed, pieces(text, places)))
    stopped = scanner.stopped
    shown += scanner.finish()
    assert shown == text[:skip] + text[skip:][: first_stop(text[skip:], stops)]
    assert stopped == any(stop in text[skip:] for stop in stops)
    assert scanner.feed("x") == ("" if stopped else "x")


@given(TEXT, STOPS)
def test_only_possible_beginning_of_stop_is_held_back(text: str, stops: list[str]) -> None:
    scanner = StopScanner(stops)
    shown = ""
    for end in range(1, len(text) + 1):
        shown += scanner.feed(text[end - 1])
        if scanner.stopped:
            break
        held = text[len(shown) : end]
        assert held == scanner.held
        assert not held or any(stop.startswith(held) for stop in stops)


def read_stream(events: list[dict[str, Any]], **options: Any) -> list[Any]:
    reader = StreamReader(HOST, **options)
    chunks = [c for body in events for c in reader.feed(event(to_json(body)))]
    return chunks if reader.ended else chunks + list(reader.feed(event("[DONE]")))


def logprobs_of(tokens: list[str], offset: int = 0) -> dict[str, Any]:
    offsets = [offset + sum(map(len, tokens[:at])) for at in range(len(tokens))]
    return {
        "tokens": tokens,
        "token_logprobs": [-float(at) for at in offsets],
        "top_logprobs": [{token: -1.0} for token in tokens],
        "text_offset": offsets,
    }


def whole(tokens: list[str], stops: list[str], echoed: int) -> Completion:
    wire = {"index": 0, "text": "".join(tokens), "logprobs": logprobs_of(tokens), "finish_reason": "length"}
    return read_completion({"choices": [wire]}, HOST, stops=stops, echoed=echoed)


@given(st.lists(st.text("ab.", min_size=1, max_size=3), max_size=10), STOPS, PLACES, st.integers(0, 3))
@example(["a", "b", "c"], ["c"], [1, 2], 0)
@example(["aab", "a"], ["a", "b."], [1], 2)
@settings(max_examples=300)
def test_stream_gives_same_text_and_logprobs_as_completion(
    tokens: list[str], stops: list[str], places: list[int], echoed: int
) -> None:
    borders = [0, *sorted(place % (len(tokens) + 1) for place in places), len(tokens)]
    events = []
    for start, end in itertools.pairwise(borders):
        group = tokens[start:end]
        sent = logprobs_of(group, len("".join(tokens[:start]))) if group else None
        events.append(chunk("".join(group), choice={"logprobs": sent}))
    chunks = read_stream([*events, chunk("", "length")], stops=stops, echoed=echoed)
    expected = whole(tokens, stops, echoed).choices[0]
    assert "".join(c.text for c in chunks) == expected.text
    assert chunks[-1].finish_reason == expected.finish_reason
    collected = sum((c.logprobs for c in chunks if c.logprobs), Logprobs())
    assert collected == expected.logprobs
    assert all(c.logprobs for c in chunks if c.logprobs is not None)
    # Each token arrives together with its text.
    text = spelled = ""
    for c in chunks:
        text += c.text
        spelled += "".join(c.logprobs.tokens) if c.logprobs else ""
        assert spelled[: len(text)] == text[: len(spelled)]


FIVE = ["one", "two", "three", "four", "END"]


def test_fifth_stop_is_enforced_by_client(api: Api, wire: WireServer) -> None:
    wire.script(reply(completion("Hello END of it", finish_reason="length")))
    answer = api.client(wire).complete("Hi", model=MODEL, stop=FIVE)
    assert wire.bodies[0]["stop"] == FIVE[:4]
    assert (answer.text, answer.choices[0].finish_reason) == ("Hello ", "stop")


def test_completion_in_place_of_a_stream_ends_once_at_a_stop(api: Api, wire: WireServer) -> None:
    wire.script(reply(completion("Hello END of it", finish_reason=None)))
    chunks = list(api.client(wire).stream("Hi", model=MODEL, stop=FIVE))
    assert [(c.text, c.finish_reason, c.is_last) for c in chunks] == [("Hello ", None, False), ("", "stop", True)]


def test_fifth_stop_ends_stream_and_generation(api: Api, wire: WireServer) -> None:
    wire.script(sse(chunk("Hel"), chunk("lo E"), chunk("N"), chunk("Dless"), STALL))
    chunks = list(api.client(wire).stream("Hi", model=MODEL, stop=FIVE))
    assert [c.text for c in chunks] == ["Hel", "lo ", ""]
    assert (chunks[-1].finish_reason, chunks[-1].is_last) == ("stop", True)
    assert wire.requests[0].left.wait(30)


def test_logprobs_of_a_stop_are_not_shown() -> None:
    events = [chunk("a E", choice={"logprobs": logprobs_of(["a", " ", "E"])}), chunk("ND", choice={"logprobs": None})]
    chunks = read_stream(events, stops=["END"])
    assert [(c.text, c.logprobs and c.logprobs.tokens) for c in chunks] == [("a ", ["a", " "]), ("", None)]


def test_time_is_linear_in_the_number_of_tokens_that_are_held_back() -> None:
    """Tokens spell more than the text that arrives with them, and its last character may begin a stop."""
    body = chunk("a" * 10, choice={"logprobs": logprobs_of(["ab"] * 10)})

    def read(count: int) -> list[str]:
        chunks = read_stream([body] * count, stops=["aX"])
        return [token for each in chunks if each.logprobs for token in each.logprobs.tokens]

    assert read(100) == ["ab"] * 1000
    assert growth(read, 100, 80) < 1.3  # it was 1.5: short texts hide much of it


def test_incomplete_stop_is_shown_at_end(api: Api, wire: WireServer) -> None:
    wire.script(sse(chunk("the E"), chunk("N", "stop")))
    chunks = list(api.client(wire).stream("Hi", model=MODEL, stop=["END"]))
    assert [c.text for c in chunks] == ["the ", "EN", ""]


def test_stream_of_several_choices_ends_when_all_have_ended(api: Api, wire: WireServer) -> None:
    wire.script(
        sse(chunk("a"), chunk("x", index=1), chunk("END no", index=1), chunk("b", "length"), STALL),
        sse(chunk("a END"), chunk("x", index=1), chunk("y", "length", index=1), chunk(usage={}), STALL),
    )
    client = api.client(wire)
    for texts_ in (["ab", "x"], ["a ", "xy"]):
        chunks = list(client.stream("Hi", model=MODEL, stop=["END"], n=2))
        assert [texts(chunks, 0), texts(chunks, 1)] == texts_
        assert {c.finish_reason for c in chunks} == {None, "stop", "length"}


def test_stopped_choice_emits_nothing_while_another_continues(api: Api, wire: WireServer) -> None:
    wire.script(sse(chunk("a END"), chunk("more", "length"), chunk("x", index=1), chunk("", "length", index=1)))
    chunks = list(api.client(wire).stream("Hi", model=MODEL, stop=["END"], n=2))
    assert [texts(chunks, 0), texts(chunks, 1)] == ["a ", "x"]
    assert [c.finish_reason for c in chunks[-2:]] == ["stop", "length"]


@over_completions
def test_echoed_prompt_is_not_searched_for_stops(api: Api, wire: WireServer) -> None:
    prompt = "Count to END:"
    wire.script(reply(completion(prompt + " 1 END 2")), sse(chunk(prompt[:7]), chunk(prompt[7:] + " 1 E"), chunk("ND")))
    client = api.client(wire)
    assert client.complete(prompt, model=MODEL, echo=True, stop="END").text == prompt + " 1 "
    assert texts(client.stream(prompt, model=MODEL, echo=True, stop="END")) == prompt + " 1 "


@pytest.mark.parametrize("server_says", ["stop", "length"])
def test_stop_in_last_chunk_still_waits_for_usage(api: Api, wire: WireServer, server_says: str) -> None:
    wire.script(sse(chunk("a END", server_says), chunk(usage={"prompt_tokens": 1, "completion_tokens": 2})))
    *_, last = api.client(wire).stream("Hi", model=MODEL, stop="END")
    assert last.finish_reason == "stop"
    assert last.usage is not None
