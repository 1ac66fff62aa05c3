"""The matrix in the docs is the generated one, which `make test-usage` measures."""

from __future__ import annotations

from tests.usage.consumers import matrix


def test_usage_page_is_up_to_date() -> None:
    assert matrix.written() == matrix.render(matrix.expected())
