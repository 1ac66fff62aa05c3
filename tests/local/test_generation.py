"""One completion's text, cut at stops and told token by token; without a model."""

from __future__ import annotations

import pytest

from paradigm_local.engine import Piece, Token
from paradigm_local.generation import Candidate, Delta
from paradigm_local.scoring import score_prompt
from tests.local.fake import FakeEngine


def piece(text: str, count: int, finish: str | None = None) -> Piece:
    return Piece(text, None if finish else Token(text, -1.0, {}), 3, count, finish)


def taken(texts: list[str], stops: list[str], offset: int = 0) -> list[Delta]:
    """What a completion gives for pieces with these texts, up to the first stop."""
    candidate = Candidate(0, stops, offset)
    deltas: list[Delta] = []
    for count, text in enumerate(texts, start=1):
        deltas.append(candidate.feed(piece(text, count)))
        if deltas[-1].finish_reason:
            return deltas
    return [*deltas, candidate.feed(piece("", len(texts), "length"))]


def told(deltas: list[Delta]) -> list[tuple[str, int]]:
    return [(placed.text, placed.offset) for delta in deltas for placed in delta.tokens]


def test_text_and_tokens_come_as_they_are_generated() -> None:
    deltas = taken(["Hello", " world"], [])
    assert [delta.text for delta in deltas] == ["Hello", " world", ""]
    assert [told([delta]) for delta in deltas] == [[("Hello", 0)], [(" world", 5)], []]


def test_what_may_become_a_stop_is_held_back_with_its_token() -> None:
    deltas = taken(["a", "EN", "D", "b"], ["ENDING"])
    assert [delta.text for delta in deltas] == ["a", "", "", "ENDb", ""]
    assert [told([delta]) for delta in deltas] == [[("a", 0)], [], [], [("EN", 1), ("D", 3), ("b", 4)], []]


def test_a_stop_across_pieces_ends_text_and_tokens() -> None:
    deltas = taken(["a", "bEN", "Dc"], ["END"])
    assert "".join(delta.text for delta in deltas) == "ab"
    assert deltas[-1].finish_reason == "stop"
    assert told(deltas) == [("a", 0), ("bEN", 1)]


def test_what_was_held_back_comes_at_the_end() -> None:
    deltas = taken(["a", "EN"], ["END"])
    assert deltas[-1].text == "EN"
    assert deltas[-1].finish_reason == "length"
    assert told([deltas[-1]]) == [("EN", 1)]


def test_the_end_of_text_token_is_not_told() -> None:
    assert told(taken(["a", ""], [])) == [("a", 0)]


def test_tokens_are_placed_behind_the_echoed_prompt() -> None:
    assert told(taken(["a", "b"], [], offset=10)) == [("a", 10), ("b", 11)]


def test_the_mean_logprob_is_over_all_tokens() -> None:
    candidate = Candidate(0, [], 0)
    assert candidate.mean_logprob == 0
    for value in (-1.0, -2.0):
        candidate.feed(Piece("a", Token("a", value, {}), 1, 1, None))
    assert candidate.mean_logprob == pytest.approx(-1.5)


def test_characters_of_several_tokens_are_scored_once() -> None:
    tokens = [(1, b"a"), (2, b" \xf0\x9f"), (3, b"\x8e"), (4, b"\x89"), (5, b"b")]
    engine = FakeEngine(["x"])
    placed = score_prompt(engine, tokens, 1, lambda: False)  # type: ignore[arg-type]
    assert [(one.text, one.offset) for one in placed] == [("a", 0), (" 🎉", 1), ("b", 3)]
    assert [body["prompt"] for body in engine.bodies] == [[1, 2, 3], [1, 2, 3, 4]]


def test_scoring_stops_when_nobody_waits() -> None:
    engine = FakeEngine(["x"])
    assert score_prompt(engine, [(1, b"a"), (2, b"b")], 1, lambda: True) == []  # type: ignore[arg-type]
    assert engine.bodies == []
