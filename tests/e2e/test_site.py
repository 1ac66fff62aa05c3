"""The site builds without warnings, documents every public name and loads nothing from other hosts."""

from __future__ import annotations

import html
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paradigm_transport.arguments import Fields

for needed in ("griffe", "material", "mkdocstrings_handlers", "nbformat"):
    pytest.importorskip(needed, reason="runs where the dependency group docs is installed")

ROOT = Path(__file__).parents[2]
PACKAGES = ("paradigm_transport", "langchain_paradigm", "llama_index_paradigm", "paradigm_local")
PAGES = {
    "langchain_paradigm": "langchain.html",
    "llama_index_paradigm": "llama-index.html",
    "paradigm_transport": "transport.html",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_site_loads_nothing_from_other_hosts(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        loaded = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"?([^\" >]+)", page.read_text())
        assert loaded
        assert not [address for address in loaded if re.match(r"(?:\w+:)?//", address)], page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text()), style.name


def test_notebook_pages_show_their_outputs(site: Path) -> None:
    page = (site / "notebooks" / "4-usage.html").read_text()
    pictures = re.findall(r'<img[^>]* src="([^"]+)"', page)
    assert pictures
    assert all((site / "notebooks" / picture).is_file() for picture in pictures)
    assert 'class="output' in page


def models_with_arguments() -> list[tuple[str, type[Fields]]]:
    exported = [
        (package, getattr(importlib.import_module(package), name))
        for package in PACKAGES
        for name in importlib.import_module(package).__all__
    ]
    return [(package, each) for package, each in exported if inspect.isclass(each) and issubclass(each, Fields)]


def test_reference_shows_arguments_of_every_class(site: Path) -> None:
    """Each argument that it takes stands in the signature, with a type of a name that a reader can import."""
    found = models_with_arguments()
    assert len(found) > 10
    for package, kind in found:
        page = (site / "reference" / PAGES[package]).read_text()
        section = page[page.index(f'id="{package}.{kind.__name__}"') :]
        drawn = re.search(r'class="[^"]*doc-signature.*?</div>', section, re.DOTALL)
        assert drawn is not None
        signature = html.unescape(re.sub("<[^>]+>", "", drawn[0]))
        refused = getattr(kind, "_refused", ())
        for name in kind.model_fields:
            assert bool(re.search(rf"\b{name}: ", signature)) != (name in refused), (kind, name)
        assert "**" not in signature
        assert not re.search(
            r"[:|] (Key|Waits|Opaque|Stops|Penalty|Headers|Ids|Words|Mechanism|Annotated)\b", signature
        )


def test_reference_names_only_bases_that_can_be_imported(site: Path) -> None:
    pages = "".join(page.read_text() for page in (site / "reference").glob("*.html"))
    bases = {
        re.sub("<[^>]+>", "", each)
        for line in re.findall(r'doc-class-bases">Bases: (.*?)</p>', pages)
        for each in line.split(", ")
    }
    ours = {name for package in PACKAGES for name in importlib.import_module(package).__all__}
    assert "BaseChatModel" in bases
    assert bases - ours <= {
        "BaseChatModel",
        "BaseEmbedding",
        "BaseRetriever",
        "Embeddings",
        "FunctionCallingLLM",
        "LLM",
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_reference_holds_every_public_name(site: Path, package: str) -> None:
    reference = "".join(page.read_text() for page in (site / "reference").glob("*.html"))
    names = [name for name in importlib.import_module(package).__all__ if name != "__version__"]
    anchors = [f"{'paradigm_transport' if name == 'get_paradigm_usage' else package}.{name}" for name in names]
    assert not [anchor for anchor in anchors if f'id="{anchor}"' not in reference]
