"""Chat templates that say how one turn is written."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from paradigm_transport.chat.templates.base import BaseTemplate
from paradigm_transport.messages import Message, Tool


class ChatTemplate(BaseTemplate):
    """How a model wants its turns written.

    Attributes:
        turn: one turn, with `{role}` and `{content}` in their places.
        opening: what follows the last turn and makes the model answer.
        stop: what the model writes at the end of its answer; sent as a stop sequence.
        roles: the model's names of roles that are not called `system`, `user`, `assistant` and `tool`.
    """

    turn: str
    opening: str
    stop: str = Field(min_length=1)
    roles: dict[str, str] = Field(default_factory=dict)

    def _write(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        return "".join(map(self._turn, messages)) + self.opening

    def _turn(self, message: Message) -> str:
        role = self.roles.get(message.role, message.role)
        return self.turn.replace("{role}", role).replace("{content}", message.content)
