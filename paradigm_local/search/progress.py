"""The progress of indexing on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paradigm_local.search.index import Progress


@contextmanager
def show_progress(folder: Path) -> Iterator[Progress]:
    """Show a progress bar on stderr while passages are embedded, or a single line if stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    text = f"Embedding new passages of {folder.resolve().name}"
    if not console.is_terminal:
        yield lambda done, total: None if done else console.print(f"{text} ({total}) …", highlight=False)
        return
    with Bar(TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(text, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)
