"""What a server says, made fit for a report: without key, host, prompt or addresses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from paradigm_transport.check import prompts
from paradigm_transport.errors import APIResponseError, APIStatusError
from paradigm_transport.http.settings import Settings
from paradigm_transport.refusals import REDACTED, Redaction

MOST_WORDS = 160
"""The most characters of a server's words in a report."""

LEAST_QUOTED = 10
"""The fewest characters in a row that a prompt and a server's words must share to be a quotation."""

_ADDRESSES = re.compile(
    r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+"  # of any scheme
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\[[0-9a-f:]{2,}\](?::\d+)?"
    r"|\b[\w.-]+\.[a-z]{2,}:\d+\b|\blocalhost(?::\d+)?\b"
    r"|\b[\w.+-]+@[\w-]+\.[\w.-]+\b"
    r"|(?<![\w/])/(?:[\w.-]+/){2,}[\w.-]*",  # files of the server
    re.IGNORECASE,
)


class Words:
    """Cleans the words of one server.

    Args:
        settings: how it is reached.
    """

    def __init__(self, settings: Settings) -> None:
        hosts = {settings.host, settings.host.rpartition("@")[2].partition(":")[0]}
        self._redaction = Redaction((*settings.secrets, *hosts), prompts.ALL)

    def of_error(self, error: APIStatusError | APIResponseError) -> str:
        """Return what a server says in an error."""
        return self.clean(error.body)

    def clean(self, body: object) -> str:
        """Return the words of an error's body."""
        words = _without_quotations(self._redaction.words(body), prompts.ALL)
        words = " ".join(_ADDRESSES.sub(REDACTED, words).split())
        return words if len(words) <= MOST_WORDS else f"{words[: MOST_WORDS - 1]}…"


def _without_quotations(words: str, texts: Sequence[str]) -> str:
    """Remove parts of texts, which a server may have cut."""
    for text in texts:
        while True:
            found = SequenceMatcher(None, words, text, autojunk=False).find_longest_match()
            if found.size < LEAST_QUOTED:
                break
            words = words[: found.a] + REDACTED + words[found.a + found.size :]
    return words
