"""Reports: a table for people, JSON for machines; neither holds a key, a host or a prompt."""

from __future__ import annotations

import json
import platform
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby

from paradigm_transport._version import __version__
from paradigm_transport.check.advice import Advice
from paradigm_transport.check.runner import Answer
from paradigm_transport.json_object import JsonObject

MOST_COLUMNS, FEWEST_COLUMNS = 110, 30
"""Wider tables are hard to read; in narrower ones lines are longer than the terminal."""

_NARROW = 70
"""In narrower tables, details stand below."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found.

    Attributes:
        model: the model that was asked about.
        answers: the questions, and what was found.
        advice: what is recommended; None if nothing can be.
        seconds: how long it took.
        error: why nothing was asked; empty if it was.
    """

    model: str
    answers: Sequence[Answer] = ()
    advice: Advice | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def is_good(self) -> bool:
        """Whether text can be generated."""
        return self.advice is not None


def as_json(report: Report) -> str:
    """Write a report as JSON; its form is described in docs/check.md."""
    findings = [
        {
            "name": answer.question.name,
            "group": answer.question.group,
            "asks": answer.question.asks,
            "status": answer.finding.status,
            "detail": answer.finding.detail,
            "value": answer.finding.value,
            "seconds": round(answer.seconds, 3),
        }
        for answer in report.answers
    ]
    body: JsonObject = {
        "ok": report.is_good,
        "error": report.error or None,
        "model": report.model,
        "versions": _versions(),
        "seconds": round(report.seconds, 1),
        "findings": findings,
        "recommended": None if report.advice is None else _advice_as_json(report.advice),
    }
    return json.dumps(body, indent=2)


def _versions() -> dict[str, str]:
    return {"paradigm-llm": __version__, "httpx": version("httpx"), "python": platform.python_version()}


def _advice_as_json(advice: Advice) -> JsonObject:
    return {"langchain": advice.langchain, "llama_index": advice.llama_index, "notes": advice.notes}


def as_table(report: Report, columns: int) -> str:
    """Write a report as a table.

    Args:
        report: the report.
        columns: the width of the terminal.
    """
    columns = max(FEWEST_COLUMNS, min(columns, MOST_COLUMNS))
    versions = ", ".join(map(" ".join, _versions().items()))
    lines = textwrap.wrap(f"{report.model}, checked with {versions}", columns)
    for group, answers in groupby(report.answers, lambda answer: answer.question.group):
        lines += ["", group, *_rows(list(answers), report.answers, columns)]
    lines += ["", *textwrap.wrap(_summary(report), columns)]
    if report.advice is not None:
        lines += ["", *_advice(report.advice, columns)]
    return "\n".join(lines)


def _rows(answers: Sequence[Answer], all_answers: Sequence[Answer], columns: int) -> Iterator[str]:
    width = max(len(answer.question.name) for answer in all_answers)
    for answer in answers:
        name, finding = answer.question.name, answer.finding
        if columns < _NARROW:
            yield from _indented(f"{name}: {finding.status}", columns, 2, 4)
            yield from _indented(finding.detail, columns, 6, 6)
        else:
            head = f"  {name:<{width}}  {finding.status:<8}  "
            first, *more = _indented(finding.detail, columns, len(head), len(head)) or [""]
            yield f"{head}{first.strip()}".rstrip()
            yield from more


def _indented(text: str, columns: int, first: int, others: int) -> list[str]:
    return textwrap.wrap(text, columns, initial_indent=" " * first, subsequent_indent=" " * others)


def _summary(report: Report) -> str:
    counts = Counter(answer.finding.status for answer in report.answers)
    parts = [f"{count} {status}" for status, count in counts.most_common()]
    return f"{len(report.answers)} questions in {report.seconds:.0f} seconds: {', '.join(parts)}."


def _advice(advice: Advice, columns: int) -> Iterator[str]:
    yield "Recommended (PARADIGM_API_KEY and PARADIGM_BASE_URL are read from the environment):"
    for code in (advice.langchain, advice.llama_index):
        yield ""
        yield from (f"    {line}".rstrip() for line in code.splitlines())
    for note in advice.notes:
        yield ""
        yield from textwrap.wrap(note, columns)
