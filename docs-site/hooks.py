"""Brings the notebooks into the site: each becomes a page, with the outputs of the run that is committed.

As pages of Markdown they share the site's looks, search and check of links, and load nothing from elsewhere.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

STYLE = """\
.md-grid { max-width: 72rem }
.md-typeset table:not([class]) :is(td, th) { min-width: 0; padding: .6em .8em }
.md-typeset table:not([class]) :is(th, td:first-child) code { white-space: nowrap }
.md-typeset img[src$="architecture.svg"] { display: block; margin: 0 auto; max-width: min(100%, 32rem) }
.md-typeset .output { border-left: .15rem solid var(--md-primary-fg-color); margin-top: -1em }
.md-typeset .output code { background: none; padding-bottom: .4em; padding-top: .4em; white-space: pre-wrap }
"""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the notebooks, their pictures and the looks of outputs."""
    files.append(File.generated(config, "output.css", content=STYLE))
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page(notebook, path.stem)))
        for name, picture in pictures(notebook, path.stem):
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links lead to the same page as in a checkout, where the notebooks stand beside the docs."""
    return markdown.replace("](../docs/", "](../").replace("](../notebooks/", "](notebooks/").replace(".ipynb)", ".md)")


def page(notebook: Any, name: str) -> str:
    """A notebook as Markdown; `name` is that of its pictures."""
    parts = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"````python\n{cell.source}\n````")
        parts += [shown(output, f"{name}-{number}.png") for output in cell.outputs]
    return "\n\n".join(parts)


def shown(output: Any, picture: str) -> str:
    """An output of a cell as Markdown."""
    if "image/png" in output.get("data", {}):
        return f"![output of the cell]({picture})"
    text = output.text if output.output_type == "stream" else output.data["text/plain"]
    return f"````{{ .text .output .no-copy }}\n{text.rstrip()}\n````"


def pictures(notebook: Any, name: str) -> Iterator[tuple[str, bytes]]:
    """The pictures of a notebook, by their names."""
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                yield f"{name}-{number}.png", b64decode(output.data["image/png"])
