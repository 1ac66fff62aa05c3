"""What the server has served, counted in tokens."""

from collections import deque

from paradigm_local.contract import Usage

_USAGES_KEPT = 10_000


class Ledger:
    """The usage of each request, also of those whose client left before the end."""

    def __init__(self) -> None:
        self._usages: deque[Usage] = deque(maxlen=_USAGES_KEPT)
        self._prompt_tokens = 0
        self._completion_tokens = 0

    def add(self, usage: Usage) -> None:
        """Count a request that has ended; one that was refused used nothing and is left out."""
        if not usage.total_tokens:
            return
        self._prompt_tokens += usage.prompt_tokens
        self._completion_tokens += usage.completion_tokens
        self._usages.append(usage)

    @property
    def usages(self) -> list[Usage]:
        """The usage of each request in the order of their ends, the last 10,000 of them."""
        return list(self._usages)

    @property
    def total(self) -> Usage:
        """The usage of all requests together."""
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            total_tokens=self._prompt_tokens + self._completion_tokens,
        )
