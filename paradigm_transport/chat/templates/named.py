"""Templates of turns, and those that have names."""

from __future__ import annotations

from pydantic import Field

from paradigm_transport.chat.templates.base import BaseTemplate
from paradigm_transport.chat.templates.forms import Form


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

    def _write_form(self, form: Form, *, opened: bool = True) -> str:
        turns = []
        for message in form.messages:
            role = self.roles.get(message.role, message.role)
            turns.append(self.turn.replace("{role}", role).replace("{content}", message.content))
        return "".join(turns) + self.opening * opened


CHAT_TEMPLATES = {
    # The markup alfred-40b was trained on.
    "alfred": ChatTemplate(
        turn="<start_{role}>{content}<end_message>", opening="<start_assistant>", stop="<end_message>"
    ),
    # SmolLM2, Qwen and many others.
    "chatml": ChatTemplate(
        turn="<|im_start|>{role}\n{content}<|im_end|>\n", opening="<|im_start|>assistant\n", stop="<|im_end|>"
    ),
}
"""The templates that have names."""
