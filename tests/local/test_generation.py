"""The text of one completion: cut at stops, with the place of each token; without a model."""

from __future__ import annotations

import pytest

from paradigm_local.engine import Piece, Token
from paradigm_local.generation import Candidate, Delta
from paradigm_local.scoring import score_prompt
from tests.local.fake import FakeEngine


def piece(text: str, count: int, finish: str | None = None) -> Piece:
    return Piece(text, None if finish else Token(text, -1.0, {}), 3, count, finish)


def deltas_of(texts: list[str], stops: list[str], offset: int = 0) -> list[Delta]:
    """Return the deltas of a completion for pieces with these texts, up to the first stop."""
    candidate = Candidate(0, stops, offset)
    deltas: list[Delta] = []
    for count, text in enumerate(texts, start=1):
        deltas.append(candidate.feed(piece(text, count)))
        if deltas[-1].finish_reason:
            return deltas
    return [*deltas, candidate.feed(piece("", len(texts), "length"))]


def tokens_of(deltas: list[Delta]) -> list[tuple[str, int]]:
    return [(placed.text, placed.offset) for delta in deltas for placed in delta.tokens]


def test_text_and_tokens_are_shown_as_they_are_generated() -> None:
    deltas = deltas_of(["Hello", " world"], [])
    assert [delta.text for delta in deltas] == ["Hello", " world", ""]
    assert [tokens_of([delta]) for delta in deltas] == [[("Hello", 0)], [(" world", 5)], []]


def test_beginning_of_a_stop_is_held_back_with_its_token() -> None:
    deltas = deltas_of(["a", "EN", "D", "b"], ["ENDING"])
    assert [delta.text for delta in deltas] == ["a", "", "", "ENDb", ""]
    assert [tokens_of([delta]) for delta in deltas] == [[("a", 0)], [], [], [("EN", 1), ("D", 3), ("b", 4)], []]


def test_stop_across_pieces_ends_text_and_tokens() -> None:
    deltas = deltas_of(["a", "bEN", "Dc"], ["END"])
    assert "".join(delta.text for delta in deltas) == "ab"
    assert deltas[-1].finish_reason == "stop"
    assert tokens_of(deltas) == [("a", 0), ("bEN", 1)]


def test_held_back_text_is_shown_at_the_end() -> None:
    deltas = deltas_of(["a", "EN"], ["END"])
    assert deltas[-1].text == "EN"
    assert deltas[-1].finish_reason == "length"
    assert tokens_of([deltas[-1]]) == [("EN", 1)]


def test_end_of_text_token_is_not_reported() -> None:
    assert tokens_of(deltas_of(["a", ""], [])) == [("a", 0)]


def test_tokens_are_placed_after_the_echoed_prompt() -> None:
    assert tokens_of(deltas_of(["a", "b"], [], offset=10)) == [("a", 10), ("b", 11)]


def test_mean_logprob_is_over_all_tokens() -> None:
    candidate = Candidate(0, [], 0)
    assert candidate.mean_logprob == 0
    for value in (-1.0, -2.0):
        candidate.feed(Piece("a", Token("a", value, {}), 1, 1, None))
    assert candidate.mean_logprob == pytest.approx(-1.5)


def test_character_of_several_tokens_is_scored_once() -> None:
    tokens = [(1, b"a"), (2, b" \xf0\x9f"), (3, b"\x8e"), (4, b"\x89"), (5, b"b")]
    engine = FakeEngine(["x"])
    placed = score_prompt(engine, tokens, 1, lambda: False)  # type: ignore[arg-type]
    assert [(one.text, one.offset) for one in placed] == [("a", 0), (" 🎉", 1), ("b", 3)]
    assert [body["prompt"] for body in engine.bodies] == [[1, 2, 3], [1, 2, 3, 4]]


def test_scoring_stops_when_it_is_cancelled() -> None:
    engine = FakeEngine(["x"])
    assert score_prompt(engine, [(1, b"a"), (2, b"b")], 1, lambda: True) == []  # type: ignore[arg-type]
    assert engine.bodies == []
