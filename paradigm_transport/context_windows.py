"""Context windows of models, which a framework wants to know before any call."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Event, Thread

from paradigm_transport.access import Connected

WAIT_SECONDS = 5.0
"""How long to wait, once, for the server to report a model's context window."""


class ContextWindows:
    """The context windows that a model's servers reported; each is asked for once. Copies of a model share it.

    A deep copy and a pickle take along what is known, and ask again for what is not.

    Args:
        known: context windows by address and model.
    """

    def __init__(self, known: dict[tuple[str, str], int | None] | None = None) -> None:
        self._known = known or {}  # with None if the server did not report one
        self._lookups: dict[tuple[str, str], Event] = {}  # an event is set when the lookup is done

    def __reduce__(self) -> tuple[object, ...]:
        return ContextWindows, (dict(self._known),)  # events cannot be copied

    def known(self, model: str, access: Connected) -> int | None:
        """Return the context window of a model, in tokens, if its server has reported it; send no request."""
        return self._known.get((access.base_url, model))

    def find(self, model: str, access: Connected) -> int | None:
        """Return the context window of a model, in tokens; ask the server if it is not known.

        An event loop must not wait: inside one, None is returned until the server has answered.

        Args:
            model: the model.
            access: reaches its server.
        """
        place = (access.base_url, model)
        if place not in self._known:
            new = Event()
            done = self._lookups.setdefault(place, new)
            if done is new:  # once, by the first thread that gets here
                Thread(target=self._look_up, args=(place, access, new), daemon=True).start()
            try:
                asyncio.get_running_loop()
            except RuntimeError:  # no event loop: this thread may wait
                done.wait(WAIT_SECONDS)
                done.set()  # later accesses do not wait again
        return self._known.get(place)

    def _look_up(self, place: tuple[str, str], access: Connected, done: Event) -> None:
        windows: dict[str, int | None] = {}
        with suppress(Exception):  # of any kind: calls can do without
            windows = {entry.id: entry.context_window for entry in access.client.models()}
        self._known[place] = windows.get(place[1])
        done.set()
