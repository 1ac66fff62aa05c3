"""What a server says, made fit for a report: without key, host, prompt or addresses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from urllib.parse import urlsplit

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
    r"|\b[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6}::[0-9a-f:]*|\b[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}\b"
    r"|\b[\w.-]+\.[a-z]{2,}:\d+\b|\blocalhost(?::\d+)?\b|(?<=\bhost=['\"])[^'\"]+"
    r"|\b[\w-]+(?:\.[\w-]+)*\.(?:com|corp|eu|fr|internal|intranet|lan|local|net|org|svc)\b(?!\.\w)"
    r"|\b[\w.+-]+@[\w-]+\.[\w.-]+\b"
    r"|(?<![\w/])/(?:[\w.-]+/){2,}[\w.-]*|(?<![\w/])/[\w.-]+/[\w-]+\.\w+|\b[a-z]:\\\S+",  # files of the server
    re.IGNORECASE,
)


class Words:
    """Cleans the words of one server.

    Args:
        settings: how it is reached.
    """

    def __init__(self, settings: Settings) -> None:
        host = urlsplit(settings.base_url).hostname or settings.host
        # With its neighbours, such as the machines behind a gateway.
        named = rf"[\w.-]*{re.escape(host.partition('.')[2])}" if host.count(".") > 1 else re.escape(host)
        self._hosts = re.compile(rf"(?<![\w-]){named}(?::\d+)?(?![\w-])", re.IGNORECASE)
        self._redaction = Redaction((*settings.secrets, settings.host, host), prompts.ALL)

    def of_error(self, error: APIStatusError | APIResponseError) -> str:
        """Return what a server says in an error."""
        return self.clean(error.body)

    def clean(self, body: object) -> str:
        """Return the words of an error's body."""
        words = _without_quotations(self._redaction.words(body), prompts.ALL)
        words = " ".join(self._hosts.sub(REDACTED, _ADDRESSES.sub(REDACTED, words)).split())
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
