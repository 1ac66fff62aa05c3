"""Draws docs/architecture.svg, the path of a call: `python docs-site/drawing.py`."""

from __future__ import annotations

from html import escape
from pathlib import Path

TARGET = Path(__file__).parents[1] / "docs" / "architecture.svg"

WIDTH, BOX, HEIGHT, GAP, TOP = 540, 250, 62, 30, 34
DOWN = [
    ("Framework input", "prompt, messages, tools", "#ffe0b2"),
    ("_in.py", "one form for both frameworks", "#c5cae9"),
    ("Route", "which endpoint, which markup", "#b2dfdb"),
    ("Call", "path, body, how to read the reply", "#b2dfdb"),
    ("Pace, retries, pool", "turns, back-off, connections", "#b2dfdb"),
]
UP = [
    ("Framework output", "text, message, nodes, usage", "#ffe0b2"),
    ("_out.py", "chunks, results, callbacks", "#c5cae9"),
    ("Events", "text, thoughts, tool calls", "#b2dfdb"),
    ("Reply", "stops, usage, finish reason", "#b2dfdb"),
    ("Response", "JSON or events; errors", "#b2dfdb"),
]
SERVER = ("Paradigm", "/completions  /chat/completions  /embeddings  /v3/search")
KEY = [("#ffe0b2", "your framework"), ("#c5cae9", "the adapter"), ("#b2dfdb", "paradigm_transport")]


def box(x: float, y: float, width: float, title: str, words: str, colour: str) -> str:
    """A step: its name, and what it deals with."""
    middle = x + width / 2
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{HEIGHT}" rx="8" fill="{colour}" stroke="#607d8b"/>'
        f'<text x="{middle}" y="{y + 26}" class="title">{escape(title)}</text>'
        f'<text x="{middle}" y="{y + 47}" class="words">{escape(words)}</text>'
    )


def arrow(x: float, top: float, bottom: float, *, up: bool = False) -> str:
    """An arrow from one step to the next."""
    begin, end = (bottom - 2, top + 3) if up else (top + 2, bottom - 3)
    return f'<line x1="{x}" y1="{begin}" x2="{x}" y2="{end}" class="arrow" marker-end="url(#head)"/>'


def drawing() -> str:
    """The drawing: a request goes down on the left, its response comes up on the right."""
    right = WIDTH - BOX - 10
    parts = []
    for x, steps, up in ((10, DOWN, False), (right, UP, True)):
        for number, (title, words, colour) in enumerate(steps):
            y = TOP + number * (HEIGHT + GAP)
            parts.append(box(x, y, BOX, title, words, colour))
            parts.append(arrow(x + BOX / 2, y + HEIGHT, y + HEIGHT + GAP, up=up))
    bottom = TOP + len(DOWN) * (HEIGHT + GAP)
    parts.append(box(10, bottom, WIDTH - 20, *SERVER, "#eeeeee"))
    for number, (colour, name) in enumerate(KEY):
        x = 14 + number * 180
        parts.append(f'<rect x="{x}" y="8" width="14" height="14" rx="3" fill="{colour}" stroke="#607d8b"/>')
        parts.append(f'<text x="{x + 22}" y="20" class="key">{name}</text>')
    height = bottom + HEIGHT + 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">'
        "<title>The path of a call</title>"
        "<style>text{fill:#263238;text-anchor:middle}.title{font-size:17px;font-weight:bold}.words{font-size:14.5px}"
        ".key{text-anchor:start;font-size:14.5px;fill:#78909c}.arrow{stroke:#78909c;stroke-width:2.5}</style>"
        '<defs><marker id="head" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="5" markerHeight="5" '
        'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="#78909c"/></marker></defs>'
        f"{''.join(parts)}</svg>\n"
    )


if __name__ == "__main__":
    TARGET.write_text(drawing())
