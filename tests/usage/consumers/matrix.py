"""The matrix in the docs: measured by `make test-usage`, written by `python -m tests.usage.consumers.matrix`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tests.usage.consumers import paths, watchers

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "usage.md"
BEGIN, END = "<!-- matrix: begin -->\n", "<!-- matrix: end -->\n"

Cells = Mapping[tuple[str, str, str], str]
"""Verdicts by framework, consumer and path."""


class Reason(NamedTuple):
    """Why a consumer sees nothing.

    Attributes:
        module: the module of the consumer.
        line: the line of its source that prevents it.
        text: the reason in words.
        paths: the paths that it affects.
    """

    module: str
    line: str
    text: str
    paths: tuple[str, ...]


REASONS: dict[tuple[str, str], Reason] = {
    ("llama_index", "Traceloop"): Reason(
        "opentelemetry.instrumentation.llamaindex.dispatcher_wrapper",
        "def _(self, event: LLMChatEndEvent):",
        "it reads usage only at the end of a chat: `update_span_for_event` has no case for `LLMCompletionEndEvent`",
        ("complete", "acomplete", "stream_complete", "astream_complete"),
    ),
    ("llama_index", "MLflow"): Reason(
        "mlflow.llama_index.tracer",
        "inspect.isgenerator(result)",
        "it does not wait for an async generator: `is_streaming_result` recognises only sync ones, so the span ends "
        "before the usage arrives",
        ("astream_complete", "astream_chat"),
    ),
}

NAMES = {"langchain": "LangChain", "llama_index": "LlamaIndex"}
CONSUMERS = {"langchain": watchers.LANGCHAIN, "llama_index": watchers.LLAMA_INDEX}
PATHS = {"langchain": paths.LANGCHAIN, "llama_index": paths.LLAMA_INDEX}


def run(framework: str, consumer: str, url: str = "", **arguments: Any) -> list[dict[str, Any]]:
    """Measure all cells of a consumer, with these arguments of the model; on the server at `url`, if given."""
    module = "tests.usage.consumers.run"
    command = [sys.executable, "-W", "ignore", "-m", module, framework, consumer, json.dumps(arguments), url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"path"')]


def measure() -> list[dict[str, Any]]:
    """Measure every cell with every style of server."""
    pairs = [(framework, consumer) for framework, known in CONSUMERS.items() for consumer in known]
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda pair: run(*pair), pairs))
    return [
        {"framework": framework, "consumer": consumer, **cell}
        for (framework, consumer), cells in zip(pairs, found, strict=True)
        for cell in cells
    ]


def summed(found: list[dict[str, Any]]) -> Cells:
    """Return `exact` for each path that is so in every style, otherwise the first other verdict."""
    cells: dict[tuple[str, str, str], str] = {}
    for each in found:
        key = (each["framework"], each["consumer"], each["path"])
        if cells.get(key, "exact") == "exact":
            cells[key] = each["verdict"]
    return cells


def expected() -> Cells:
    """Return what the docs state: exact, unless a reason is known."""
    return {
        (framework, consumer, path): "nothing" if _has_reason(framework, consumer, path) else "exact"
        for framework, known in CONSUMERS.items()
        for consumer in known
        for path in PATHS[framework]
    }


def _has_reason(framework: str, consumer: str, path: str) -> bool:
    reason = REASONS.get((framework, consumer))
    return reason is not None and path in reason.paths


def render(cells: Cells) -> str:
    """Render the tables and the reasons below them."""
    exact = sum(verdict == "exact" for (_, consumer, _), verdict in cells.items() if consumer != "get_paradigm_usage")
    count = sum(consumer != "get_paradigm_usage" for _, consumer, _ in cells)
    parts = [f"Of {count} cells of other packages, {exact} are exact.\n"]
    notes = list(REASONS)
    for framework, known in CONSUMERS.items():
        parts.append(f"| {NAMES[framework]} | {' | '.join(f'`{path}`' for path in PATHS[framework])} |")
        parts.append("|---" * (len(PATHS[framework]) + 1) + "|")
        for consumer in known:
            marks = [_mark(cells[framework, consumer, path], notes, (framework, consumer)) for path in PATHS[framework]]
            parts.append(f"| {consumer} | {' | '.join(marks)} |")
        parts.append("")
    for number, ((framework, consumer), reason) in enumerate(REASONS.items(), 1):
        where = f"{consumer} on {NAMES[framework]}"
        parts.append(f"{number}. {where}: {reason.text} (`{reason.module}`, `{reason.line}`).")
    return "\n".join(parts) + "\n"


def _mark(verdict: str, notes: list[tuple[str, str]], consumer: tuple[str, str]) -> str:
    if verdict == "exact":
        return "exact"
    return f"nothing ({notes.index(consumer) + 1})" if verdict == "nothing" and consumer in notes else verdict


def written() -> str:
    """Return the generated part of the page."""
    found = re.search(f"{BEGIN}(.*?){END}", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def write(text: str) -> None:
    """Replace the generated part of the page."""
    PAGE.write_text(PAGE.read_text().replace(BEGIN + written() + END, BEGIN + text + END))


if __name__ == "__main__":
    write(render(summed(measure())))
