"""A call whose arguments a model did not write as JSON, reported as JSON while they are read."""

from __future__ import annotations

from collections.abc import Callable

from paradigm_transport.chat.events import CallArguments, CallBegin, CallEnd, Event
from paradigm_transport.chat.json_repair import InvalidJSONError, parse
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import InvalidToolCall, ToolCall, to_json

_CLOSING = {"{": "}", "[": "]"}


class CallWriter:
    """Writes the arguments of one call as JSON, and reports the call as events.

    Args:
        index: the call's place among the calls of the answer, from 0.
        call_id: its id.
        name: the tool.
    """

    def __init__(self, index: int, call_id: str, name: str) -> None:
        self.name = name
        self._index = index
        self._id = call_id
        self._parts = ["{"]
        self._reported = 0  # parts that events have carried
        self._open = ["{"]
        self._is_empty = [True]  # the object or list of that place in `_open`
        self._is_after_key = False
        self._is_announced = False
        self._revise: Callable[[JsonObject], JsonObject] | None = None

    # Writing

    def key(self, key: str) -> None:
        """Write the key of the next value."""
        self._separate()
        self._parts.append(f"{to_json(key)}: ")
        self._is_after_key = True

    def value(self, value: object) -> None:
        """Write a whole value."""
        self._separate()
        self._parts.append(to_json(value))

    def open(self, bracket: str) -> None:
        """Begin an object or a list, with `{` or `[`."""
        self._separate()
        self._parts.append(bracket)
        self._open.append(bracket)
        self._is_empty.append(True)

    def close(self) -> None:
        """End the innermost object or list."""
        self._parts.append(_CLOSING[self._open.pop()])
        self._is_empty.pop()

    def begin_text(self) -> None:
        """Begin a string, whose parts `text` adds."""
        self._separate()
        self._parts.append('"')

    def text(self, part: str) -> None:
        """Add to the string."""
        self._parts.append(to_json(part)[1:-1])

    def end_text(self) -> None:
        """End the string."""
        self._parts.append('"')

    def _separate(self) -> None:
        if self._is_after_key:
            self._is_after_key = False
        elif self._is_empty[-1]:
            self._is_empty[-1] = False
        else:
            self._parts.append(", ")

    # Reporting

    def hold(self, revise: Callable[[JsonObject], JsonObject]) -> None:
        """Report nothing more before the end, since the arguments may turn out to be others.

        Args:
            revise: returns them, made of those that were written.
        """
        self._revise = revise

    def new_events(self) -> list[Event]:
        """Return the call's beginning and its arguments, as far as they are new."""
        if self._revise is not None:
            return []
        text = "".join(self._parts[self._reported :])
        self._reported = len(self._parts)
        return self._report(text)

    def end(self) -> list[Event]:
        """End the call, and all that is open in it.

        Returns:
            The remaining events.

        Raises:
            InvalidJSONError: what was written is not JSON, as with half a surrogate pair.
        """
        while self._open:
            self.close()
        arguments = parse("".join(self._parts))
        if not isinstance(arguments, dict):  # pragma: no cover  # the text begins with a brace
            raise InvalidJSONError
        if self._revise is not None:
            arguments = self._revise(arguments)
            self._revise = None
            self._parts, self._reported = ["{", to_json(arguments)[1:]], min(self._reported, 1)
        return [*self.new_events(), CallEnd(self._index, ToolCall(self._id, self.name, arguments))]

    def refuse(self, text: str, reason: str) -> list[Event]:
        """End the call as an invalid one.

        Args:
            text: what the model wrote.
            reason: what is wrong.
        """
        return [CallEnd(self._index, InvalidToolCall(self._id, self.name, text, reason))]

    def _report(self, arguments: str) -> list[Event]:
        begin = [] if self._is_announced else [CallBegin(self._index, self._id, self.name)]
        self._is_announced = True
        return [*begin, CallArguments(self._index, arguments)] if arguments else [*begin]
