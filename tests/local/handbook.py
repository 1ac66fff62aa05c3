"""The folder of documents that the notebooks search, as a fixture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from paradigm_local import LocalParadigm

FOLDER = Path(__file__).parents[2] / "notebooks" / "handbook"


@pytest.fixture(scope="session")
def handbook() -> Iterator[LocalParadigm]:
    """A local Paradigm with real models that searches the handbook."""
    pytest.importorskip("pypdf")
    with LocalParadigm(documents=FOLDER) as paradigm:
        yield paradigm
