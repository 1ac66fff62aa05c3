"""Stop sequences, enforced on our side, also across the borders of chunks.

The invariant: any way of cutting a text into chunks gives the same text before the stop, and no part of the
stop is ever shown.
"""

from __future__ import annotations

from collections.abc import Sequence


def find_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the text must be cut; None where no stop is in it.

    That is the start of the stop that is complete first, as a server that generates token by token sees it;
    of two that end together, the longer.
    """
    first: tuple[int, int] | None = None
    for stop in stops:  # no list of all: this runs for every chunk
        start = text.find(stop)
        if start >= 0 and (first is None or (start + len(stop), start) < first):
            first = start + len(stop), start
    return first[1] if first else None


class StopScanner:
    """Lets a streamed text through up to its first stop, holding back what might become one.

    Args:
        stops: the stop sequences, none empty.
        skip: characters at the start that are not searched (an echoed prompt).
    """

    def __init__(self, stops: Sequence[str], skip: int = 0) -> None:
        self._stops = stops
        self._skip = skip
        self.held = ""
        """What might become a stop."""
        self.stopped = False
        """True once a stop was found: nothing more is shown."""

    def feed(self, text: str) -> str:
        """Take a chunk; return what may be shown."""
        if self.stopped:
            return ""
        shown, text = text[: self._skip], self.held + text[self._skip :]
        self._skip -= len(shown)
        cut = find_stop(text, self._stops)
        if cut is not None:
            self.stopped = True
            self.held = ""
            return shown + text[:cut]
        keep = 0  # characters at the end that may be the beginning of a stop
        for stop in self._stops:
            keep = max(keep, _overlap(text, stop))
        self.held = text[len(text) - keep :]
        return shown + text[: len(text) - keep]

    def finish(self) -> str:
        """The text has ended: return what was held back and became no stop."""
        held, self.held = self.held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of a text are the beginning of a stop, which is not in the text."""
    start = text.find(stop[0], max(0, len(text) - len(stop)))
    while start >= 0 and not stop.startswith(text[start:]):
        start = text.find(stop[0], start + 1)
    return len(text) - start if start >= 0 else 0
