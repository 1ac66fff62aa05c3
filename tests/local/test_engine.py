"""llama.cpp itself, where no request of the contract leads."""

from __future__ import annotations

from typing import Any

import pytest

from paradigm_local import LocalParadigm
from paradigm_local.engine import Engine, EngineError, EngineRefusal, Piece, _failure


@pytest.fixture
def engine(local_paradigm: LocalParadigm) -> Engine:
    return local_paradigm._engine


def generated(engine: Engine, **body: Any) -> list[Piece]:
    pieces: list[Piece] = []
    engine.generate({"prompt": "The capital of France is", "temperature": 0, "max_tokens": 3, **body}, pieces.append)
    return pieces


def test_pieces_count_tokens_as_they_come(engine: Engine) -> None:
    pieces = generated(engine)
    assert {piece.prompt_tokens for piece in pieces} == {5}
    assert [piece.completion_tokens for piece in pieces if piece.text] == [1, 2, 3]
    assert [piece.finish_reason for piece in pieces][-2:] == [None, "length"]


@pytest.mark.parametrize("body", [{"repeat_last_n": -5}, {"prompt": 5}])
def test_what_llama_will_not_do_is_a_refusal(engine: Engine, body: dict[str, Any]) -> None:
    with pytest.raises(EngineRefusal, match=r"\w"):
        generated(engine, **body)


def test_an_answer_that_is_not_wanted_any_more_stops(engine: Engine) -> None:
    pieces: list[Piece] = []

    def take(piece: Piece) -> bool:
        pieces.append(piece)
        return bool(piece.text)

    engine.generate({"prompt": "Once", "max_tokens": 100}, take)
    assert [bool(piece.text) for piece in pieces].count(True) == 1


def test_other_errors_are_the_engines_own() -> None:
    assert type(_failure({"code": 500, "message": "broken"})) is EngineError


def test_tokens_are_given_with_their_bytes(engine: Engine) -> None:
    tokens = engine.tokenize("Hello 🎉")
    assert b"".join(piece for _, piece in tokens) == "Hello 🎉".encode()
    assert len(tokens) == 4
