"""The folder of documents that the notebooks search, as a fixture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from paradigm_local import LocalParadigm

FOLDER = Path(__file__).parents[2] / "notebooks" / "handbook"


@pytest.fixture(scope="session")
def handbook() -> Iterator[LocalParadigm]:
    """A local Paradigm with real models that searches the handbook."""
    from paradigm_local import LocalParadigm  # which not every environment of the tests can import

    with LocalParadigm(documents=FOLDER) as paradigm:
        yield paradigm
