"""The matrix of the docs is the one that `make test-usage` measures: it was not written by hand."""

from __future__ import annotations

from tests.usage.consumers import matrix


def test_the_page_is_up_to_date() -> None:
    assert matrix.written() == matrix.render(matrix.expected())
