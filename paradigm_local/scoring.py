"""Log-probabilities of the prompt's tokens, for `echo` together with `logprobs`."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from paradigm_local.engine import Engine, Piece, Token

_FORCING_BIAS = 1000  # no other token can outweigh it


class PlacedToken(NamedTuple):
    """A token at its place in the text.

    Attributes:
        text: the token's text; the tokens of one character are joined.
        offset: start of the text, in characters.
        token: the token's log-probabilities; None for the first token of a prompt.
    """

    text: str
    offset: int
    token: Token | None


def score_prompt(
    engine: Engine, tokens: list[tuple[int, bytes]], likeliest: int, is_cancelled: Callable[[], bool]
) -> list[PlacedToken]:
    """Ask the model for the log-probability of each token of a prompt (about 10 ms a token).

    Args:
        engine: the model.
        tokens: ids and bytes of the prompt's tokens.
        likeliest: number of likeliest tokens to report at each place.
        is_cancelled: called before each token; once it returns True, the remaining tokens are left out.

    Returns:
        The tokens with their log-probabilities, one for each character that several tokens spell.
    """
    ids = [token for token, _ in tokens]
    placed: list[PlacedToken] = []
    offset = 0
    for end, text in _whole_characters([piece for _, piece in tokens]):
        if is_cancelled():
            break
        token = _score_token(engine, ids[: end - 1], ids[end - 1], likeliest) if end > 1 else None
        placed.append(PlacedToken(text, offset, token))
        offset += len(text)
    return placed


def _whole_characters(pieces: list[bytes]) -> Iterator[tuple[int, str]]:
    """Join pieces until they are complete characters; yield the index after the last piece, and the text."""
    held = b""
    for end, piece in enumerate(pieces, start=1):
        held += piece
        try:
            text = held.decode()
        except UnicodeDecodeError:
            continue
        yield end, text
        held = b""


def _score_token(engine: Engine, before: list[int], token: int, likeliest: int) -> Token | None:
    """Force the model to choose ``token`` after ``before``, since it reports only the tokens that it chooses."""
    body = {
        "prompt": before,
        "max_tokens": 1,
        "temperature": 0,
        "logit_bias": [[token, _FORCING_BIAS]],
        "logprobs": max(likeliest, 1),
    }
    found: list[Token] = []

    def handle(piece: Piece) -> bool:
        if piece.token is not None:
            found.append(piece.token)
        return bool(found)

    engine.generate(body, handle)
    return found[0] if found else None
