"""Chat templates: messages in, the model's own markup out.

The endpoint applies no template of its own, so a chat model sees turns only where the client writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from paradigm_transport.chat.templates.jinja import JinjaTemplate, compiled
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.messages import Message, Tool, as_turns


class ChatTemplate(BaseModel):
    """How a model wants its turns written.

    Attributes:
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
        """Write messages, and open the model's answer.

        Args:
            messages: each a role and its content.
        """
        turns = [
            self.turn.replace("{role}", self.roles.get(role, role)).replace("{content}", content)
            for role, content in messages
        ]
        return "".join(turns) + self.opening

    def render_prompt(self, prompt: str) -> str:
        """Write a plain prompt as the one turn of a user.

        Args:
            prompt: what the user says.
        """
        return self.render([("user", prompt)])

    def render_chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        """Write messages and tools by the Hermes convention, and open the model's answer.

        Args:
            messages: the chat.
            tools: what the model may call.
        """
        return self.render(as_turns(messages, tools))


Template = ChatTemplate | JinjaTemplate

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
"""The templates that go by a name."""


def find_template(template: str | Template | None) -> Template | None:
    """The template of a name, or of a text in Jinja; a template and None as they are.

    Raises:
        InvalidParameterError: no template has that name, or the template is no Jinja.
    """
    if isinstance(template, str):
        if template in CHAT_TEMPLATES:
            return CHAT_TEMPLATES[template]
        if not any(mark in template for mark in ("{{", "{%")):
            known = ", ".join(CHAT_TEMPLATES)
            raise InvalidParameterError(f"there is none named {template}; known are {known}")
        template = JinjaTemplate(source=template)
    if isinstance(template, JinjaTemplate):
        compiled(template.source)
    return template
