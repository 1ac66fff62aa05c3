"""Runs the notebooks and writes them with what came out: `python -m notebooks`, or `python -m notebooks 1-langchain`.

The `.py` files are the source, in jupytext's percent format; the `.ipynb` files are made of them, here alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
SOURCES = sorted(FOLDER.glob("*-*.py"))
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
CELL_SECONDS = 120


def read(source: Path) -> Any:
    """A notebook as its source has it, without outputs."""
    notebook = jupytext.read(source)
    notebook.metadata = {"kernelspec": KERNEL}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {}
    return notebook


def run(source: Path) -> Any:
    """Run a notebook from top to bottom in a new kernel, and return it with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raises.
    """
    notebook = read(source)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=[
            "--log-level=ERROR"
        ],  # it warns about its ports, in the first cell's output
        resources={"metadata": {"path": str(FOLDER)}},
    )
    client.execute()
    notebook.metadata = {
        "kernelspec": KERNEL
    }  # the kernel adds the version of this machine's Python
    return notebook


def main() -> None:
    """Run what is named, or all, and write it."""
    parser = argparse.ArgumentParser(
        prog="python -m notebooks", description="Run notebooks and write their outputs."
    )
    parser.add_argument(
        "names",
        nargs="*",
        help="which ones, such as 1-langchain; all where none is named",
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=FOLDER,
        help="where to write them (default: beside their sources)",
    )
    options = parser.parse_args()
    for source in SOURCES:
        if source.stem in options.names or not options.names:
            print(source.stem, flush=True)
            nbformat.write(run(source), options.to / f"{source.stem}.ipynb")


if __name__ == "__main__":
    main()
