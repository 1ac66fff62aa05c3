"""Passages: pages divided into pieces that are small enough to embed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

MAX_SIZE = 1000
"""The longest passage in characters, of which those of Chinese, Japanese and Korean count double.

Embedding models read 512 tokens or so.
"""

_WIDE = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\uffef]")

_PARAGRAPHS = re.compile(r"\n[ \t]*\n\s*")
_ENDS = re.compile(r"(?<=[.!?;:…])\s+|(?<=[。！？])|\n")  # noqa: RUF001  of Chinese and Japanese


class Passage(NamedTuple):
    """A piece of a page.

    Attributes:
        text: the text.
        page: the number of its page, from 1.
    """

    text: str
    page: int


def size_of(text: str) -> int:
    """Return how much of a passage a text takes."""
    return len(text) + len(_WIDE.findall(text))


def split(pages: Iterable[str]) -> list[Passage]:
    """Divide pages into passages: whole paragraphs if they fit, else whole sentences, else words."""
    return [Passage(text, number) for number, page in enumerate(pages, start=1) for text in _passages_of(page)]


def _passages_of(page: str) -> Iterator[str]:
    gathered = ""
    for piece in _pieces(page):
        is_new = _is_heading(piece) and not _is_heading(gathered)
        if gathered and (is_new or size_of(gathered) + size_of(piece) + 2 > MAX_SIZE):
            yield gathered
            gathered = ""
        gathered = f"{gathered}\n\n{piece}" if gathered else piece
    if gathered:
        yield gathered


def _is_heading(text: str) -> bool:
    """Return whether a text is nothing but a heading of Markdown, or several."""
    return all(line.startswith("#") for line in text.splitlines() if line)


def _pieces(page: str) -> Iterator[str]:
    """Return the paragraphs of a page, divided if they are too long."""
    for paragraph in _PARAGRAPHS.split(page.strip()):
        yield from _divided(paragraph.strip(), _ENDS)


def _divided(text: str, ends: re.Pattern[str] | None) -> Iterator[str]:
    """Divide a text at ends of sentences, a sentence at spaces, and a word anywhere."""
    if size_of(text) <= MAX_SIZE:
        if text:
            yield text
        return
    gathered = ""
    for part in _parts(text, ends):
        if gathered and size_of(gathered) + size_of(part) + 1 > MAX_SIZE:
            yield gathered
            gathered = ""
        gathered = f"{gathered} {part}" if gathered else part
    if gathered:
        yield gathered


def _parts(text: str, ends: re.Pattern[str] | None) -> Iterator[str]:
    if ends is not None:
        for sentence in ends.split(text):
            yield from _divided(sentence.strip(), None)
    elif " " in text:
        for word in text.split():
            yield from _divided(word, None)
    else:
        for start in range(0, len(text), MAX_SIZE // 2):
            yield text[start : start + MAX_SIZE // 2]
