"""Log-probabilities of a prompt's own tokens, for `echo` together with `logprobs`."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from paradigm_local.engine import Engine, Piece, Token

_CERTAIN = 1000  # a bias that no other token can make up for


class PlacedToken(NamedTuple):
    """A token in its text.

    Attributes:
        text: the token's text; a character that takes several tokens is one text.
        offset: where it begins, in characters.
        token: what the model says about it; None for the first token of a prompt.
    """

    text: str
    offset: int
    token: Token | None


def score_prompt(
    engine: Engine, tokens: list[tuple[int, bytes]], likeliest: int, stopped: Callable[[], bool]
) -> list[PlacedToken]:
    """Ask the model about each token of a prompt, given those before it (about 10 ms a token).

    Args:
        engine: the model.
        tokens: the prompt's tokens: ids and bytes.
        likeliest: how many of the likeliest tokens to report at each place.
        stopped: says whether nobody waits any more; the rest is left out then.
    """
    ids = [token for token, _ in tokens]
    placed: list[PlacedToken] = []
    offset = 0
    for end, text in _characters([piece for _, piece in tokens]):
        if stopped():
            break
        said = _ask(engine, ids[: end - 1], ids[end - 1], likeliest) if end > 1 else None
        placed.append(PlacedToken(text, offset, said))
        offset += len(text)
    return placed


def _characters(pieces: list[bytes]) -> Iterator[tuple[int, str]]:
    """Join pieces until they are whole characters; give where each text ends, in tokens."""
    held = b""
    for end, piece in enumerate(pieces, start=1):
        held += piece
        try:
            text = held.decode()
        except UnicodeDecodeError:
            continue
        yield end, text
        held = b""


def _ask(engine: Engine, before: list[int], token: int, likeliest: int) -> Token | None:
    """Make the model choose ``token`` after ``before``: it reports what it thinks of its choice."""
    body: dict[str, Any] = {
        "prompt": before,
        "max_tokens": 1,
        "temperature": 0,
        "logit_bias": [[token, _CERTAIN]],
        "logprobs": max(likeliest, 1),
    }
    said: list[Token] = []

    def take(piece: Piece) -> bool:
        if piece.token is not None:
            said.append(piece.token)
        return bool(said)

    engine.generate(body, take)
    return said[0] if said else None
