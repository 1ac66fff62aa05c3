"""Chat templates: messages in, the model's own markup out.

The endpoint applies no template of its own, so a chat model sees turns only where the client writes them.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from paradigm_transport.errors import InvalidParameterError


class ChatTemplate(BaseModel):
    """How a model wants its turns written.

    Args:
        turn: one turn, with `{role}` and `{content}` where they go.
        opening: what makes the model answer; it follows the last turn.
        stop: what the model writes at the end of its answer; sent as a stop sequence.
        roles: the model's names of roles, where they differ from `system`, `user`, `assistant` and `tool`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    turn: str
    opening: str
    stop: str = Field(min_length=1)
    roles: dict[str, str] = {}

    def render(self, messages: Iterable[tuple[str, str]]) -> str:
        """Write messages, each a role and its content, and open the model's answer."""
        turns = [
            self.turn.replace("{role}", self.roles.get(role, role)).replace("{content}", content)
            for role, content in messages
        ]
        return "".join(turns) + self.opening

    def render_prompt(self, prompt: str) -> str:
        """Write a plain prompt as the one turn of a user."""
        return self.render([("user", prompt)])


CHAT_TEMPLATES = {
    # The markup alfred-40b was trained on.
    "alfred": ChatTemplate(
        turn="<start_{role}>{content}<end_message>",
        opening="<start_assistant>",
        stop="<end_message>",
    ),
    # SmolLM2, Qwen and many others.
    "chatml": ChatTemplate(
        turn="<|im_start|>{role}\n{content}<|im_end|>\n",
        opening="<|im_start|>assistant\n",
        stop="<|im_end|>",
    ),
}


def find_template(template: str | ChatTemplate | None) -> ChatTemplate | None:
    """The template of a name; a template and None as they are.

    Raises:
        InvalidParameterError: no template has that name.
    """
    if not isinstance(template, str):
        return template
    if template not in CHAT_TEMPLATES:
        known = ", ".join(CHAT_TEMPLATES)
        raise InvalidParameterError(f"chat_template: there is none named {template}; known are {known}")
    return CHAT_TEMPLATES[template]
