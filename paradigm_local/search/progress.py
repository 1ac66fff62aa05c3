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
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, visible=False)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=True)
            if done == 0 and not console.is_terminal:
                console.print(f"{text} ({total}) …", highlight=False)

        yield show
