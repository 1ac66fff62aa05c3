"""What all chat templates share, and the templates that say how one turn is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from paradigm_transport.chat.dialects.base import Dialect
from paradigm_transport.chat.dialects.hermes import HERMES
from paradigm_transport.messages import Message, Tool, in_order_of_calls, with_system


class BaseTemplate(BaseModel, ABC):
    """A chat template: messages in, the model's own markup out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def writes_tools(self) -> bool:
        """Whether the template itself writes tools, calls and results; else they become text of its turns."""
        return False

    def render(self, messages: Iterable[tuple[str, str]]) -> str:
        """Write messages, and open the model's answer.

        Args:
            messages: each a role and its content.

        Raises:
            InvalidParameterError: the template cannot write the messages.
        """
        return self._write([Message(role, content) for role, content in messages], ())

    def render_prompt(self, prompt: str) -> str:
        """Write a plain prompt as the one turn of a user; as `render`.

        Args:
            prompt: what the user says.
        """
        return self.render([("user", prompt)])

    def render_chat(self, messages: Sequence[Message], tools: Sequence[Tool] = (), dialect: Dialect = HERMES) -> str:
        """Write messages and tools, and open the model's answer.

        Args:
            messages: the chat.
            tools: what the model may call.
            dialect: how tools, calls and results are written, unless the template writes them itself.

        Raises:
            InvalidParameterError: the template cannot write the messages.
        """
        messages = in_order_of_calls(messages)
        if self.writes_tools:
            return self._write(messages, tools)
        if tools:
            messages = with_system(messages, dialect.describe(tools))
        return self._write([Message(message.role, _text(message, dialect)) for message in messages], ())

    @abstractmethod
    def _write(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        """Write messages as they are, and open the model's answer."""


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
        turns = []
        for message in messages:
            role = self.roles.get(message.role, message.role)
            turns.append(self.turn.replace("{role}", role).replace("{content}", message.content))
        return "".join(turns) + self.opening


def _text(message: Message, dialect: Dialect) -> str:
    """Return the content of a message with its calls, or the result that it is, written in a dialect."""
    if message.role == "tool":
        return dialect.result(message)
    return "\n".join([message.content] * bool(message.content) + [dialect.call(call) for call in message.tool_calls])
