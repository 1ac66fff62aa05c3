"""Token counts of the requests that the server has processed."""

from collections import deque

from paradigm_local.contract import Usage

_USAGES_KEPT = 10_000


class Ledger:
    """The usage of each request, including those whose client disconnected early."""

    def __init__(self) -> None:
        self._usages: deque[Usage] = deque(maxlen=_USAGES_KEPT)
        self._prompt_tokens = 0
        self._completion_tokens = 0

    def add(self, usage: Usage) -> None:
        """Record the usage of a finished request. Refused requests used no tokens and are left out."""
        if not usage.total_tokens:
            return
        self._prompt_tokens += usage.prompt_tokens
        self._completion_tokens += usage.completion_tokens
        self._usages.append(usage)

    @property
    def usages(self) -> list[Usage]:
        """The usage of the last 10,000 requests, in the order in which they finished."""
        return list(self._usages)

    @property
    def total(self) -> Usage:
        """The usage of all requests together."""
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            total_tokens=self._prompt_tokens + self._completion_tokens,
        )
