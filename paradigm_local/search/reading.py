"""Documents as pages of text: text, Markdown, HTML and PDF."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser


class UnreadableError(Exception):
    """A file has no text that can be read; the message says why."""


@dataclass(frozen=True)
class Content:
    """What a file says.

    Attributes:
        pages: the text of each page; only PDF and text with form feeds have several.
        title: its title, if it has one.
    """

    pages: list[str]
    title: str | None = None


def read(data: bytes, kind: str) -> Content:
    """Read a document.

    Args:
        data: the bytes of the file.
        kind: its kind, one of the values of `KINDS`.

    Raises:
        UnreadableError: it is damaged, encrypted, or has no text.
    """
    content = _READERS[kind](data)
    if not any(page.strip() for page in content.pages):
        raise UnreadableError("it has no text; images are not read")
    return content


def _read_text(data: bytes) -> Content:
    return Content(_decode(data).split("\f"))


def _read_markdown(data: bytes) -> Content:
    text = _decode(data)
    headings = (line.removeprefix("# ").strip() for line in text.splitlines() if line.startswith("# "))
    return Content([text], next(headings, None))


def _read_html(data: bytes) -> Content:
    page = _Page()
    page.feed(_decode(data))
    page.close()
    return Content(["".join(page.text)], " ".join("".join(page.title).split()) or None)


def _read_pdf(data: bytes) -> Content:
    # Imported here, since only PDF needs it.
    from pypdf import PdfReader

    try:
        reader = PdfReader(io.BytesIO(data))
        pages = [page.extract_text() for page in reader.pages]
        title = reader.metadata.title if reader.metadata else None
    except Exception as error:  # noqa: BLE001  # a damaged file may raise anything
        raise UnreadableError(f"it cannot be read as PDF ({type(error).__name__})") from None
    return Content(pages, title or None)


def _decode(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


_SKIPPED = frozenset(("head", "noscript", "script", "style", "svg", "template"))
_INLINE = frozenset(
    ("a", "abbr", "b", "cite", "code", "em", "i", "kbd", "mark", "q", "s", "small", "span", "strong", "sub", "sup", "u")
)


class _Page(HTMLParser):
    """Collects the text of a page and its title."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.title: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in _SKIPPED or tag == "title":
            self._inside.append(tag)
        self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            del self._inside[self._inside.index(tag) :]
        self._break(tag)

    def _break(self, tag: str) -> None:
        if tag not in _INLINE:
            self.text.append(" " if tag in ("td", "th") else "\n" if tag == "br" else "\n\n")

    def handle_data(self, data: str) -> None:
        if self._inside[-1:] == ["title"]:
            self.title.append(data)
        elif not self._inside:
            self.text.append(data)


_READERS: dict[str, Callable[[bytes], Content]] = {
    "txt": _read_text, "md": _read_markdown, "html": _read_html, "pdf": _read_pdf,
}  # fmt: skip

KINDS = {
    ".txt": "txt", ".text": "txt", ".md": "md", ".markdown": "md", ".html": "html", ".htm": "html", ".pdf": "pdf",
}  # fmt: skip
"""The kind of a document by the ending of its name."""
