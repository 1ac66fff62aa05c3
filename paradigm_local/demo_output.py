"""What the demo prints: streams, sources, a pace and a table of usage, on terminals of any width and in pipes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from paradigm_local.contract import Usage
from paradigm_transport import ParadigmUsage


class Part(NamedTuple):
    """The usage of a part of the demo.

    Attributes:
        name: the name of the part.
        calls: the number of calls.
        prompt_tokens: tokens of their prompts.
        completion_tokens: tokens generated.
    """

    name: str
    calls: int
    prompt_tokens: int
    completion_tokens: int

    @classmethod
    def of(cls, name: str, usage: ParadigmUsage) -> Part:
        """Return the usage that was counted in a part."""
        return cls(name, usage.calls, usage.prompt_tokens, usage.completion_tokens)


def make_console() -> Console:
    """Return a console that writes to stdout."""
    return Console(file=sys.stdout, highlight=False)  # rich reads the encoding of a file that is given


def show_title(console: Console, title: str) -> None:
    """Print the title of a part."""
    console.print()
    console.rule(characters="-" if console.options.ascii_only else "─")  # rich minds the encoding only with a title
    console.print(Text(title, style="bold"))


def show_stream(console: Console, pieces: Iterable[str]) -> None:
    """Print a text as it arrives, word by word, so that lines break between words."""
    column = 0
    for word in _words(pieces):
        if "\n" in word:
            column = 0
        elif column + len(word) > console.width:
            console.print()
            column, word = 0, word.lstrip()
        console.print(word, end="", markup=False, soft_wrap=True)
        column += len(word.rpartition("\n")[2])
    console.print()


def _words(pieces: Iterable[str]) -> Iterator[str]:
    """Split a text that arrives in pieces into words, each with the space before it."""
    held = ""
    for piece in pieces:
        *whole, held = re.split(r"(?<=\S)(?=\s)", held + piece)
        yield from whole
    yield held


def show_sources(console: Console, sources: Iterable[tuple[str, str, float]]) -> None:
    """Print where an answer comes from: pages, sections, and how near they are to the question."""
    for page, section, score in sources:
        console.print(Text(f"  {score:.2f}  {page}, “{section}”", style="dim"))


def show_pace(console: Console, answers: Iterable[tuple[float, str]]) -> int:
    """Print answers as they arrive, a line for each second.

    Args:
        console: where to print.
        answers: the seconds after which each answer arrived, and the answer.

    Returns:
        The number of answers.
    """
    count, current, line = 0, 0, list[str]()
    for seconds, answer in answers:
        if int(seconds) > current and line:
            _show_second(console, current, line)
            line = []
        current = int(seconds)
        line.append(answer)
        count += 1
    _show_second(console, current, line)
    return count


def _show_second(console: Console, second: int, answers: list[str]) -> None:
    console.print(Text.assemble((f"  second {second + 1}: ", "dim"), f"{len(answers)}  ", (", ".join(answers), "bold")))


def show_usage(console: Console, parts: Iterable[Part], counted: Usage) -> bool:
    """Print the usage of each part and of all; return whether the server counted the same.

    Args:
        console: where to print.
        parts: what was reported.
        counted: what the server counted.
    """
    parts = list(parts)
    table = Table("part", box=None, padding=(0, 1, 0, 0))
    for heading in ("calls", "prompt", "completion"):
        table.add_column(heading, justify="right", overflow="fold")
    for part in parts:
        table.add_row(part.name, *map(str, part[1:]))
    reported = [sum(column) for column in zip(*(part[1:] for part in parts), strict=True)]
    table.add_section()
    table.add_row("total", *map(str, reported))
    table.add_row("counted by the server", "", str(counted.prompt_tokens), str(counted.completion_tokens))
    console.print(table)
    return reported[1:] == [counted.prompt_tokens, counted.completion_tokens]
