"""The two endpoints that generate text, as questions see them."""

from __future__ import annotations

from dataclasses import dataclass, field

from paradigm_transport.check.probes import Target
from paradigm_transport.check.prompts import Prompt
from paradigm_transport.endpoints.chat_completions import read_message
from paradigm_transport.endpoints.completions.reply import Contents, ReadContents, read_text
from paradigm_transport.json_object import JsonObject
from paradigm_transport.usage import Usage, read_usage


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint that generates text.

    Attributes:
        name: names it in reports.
        target: where it is.
        read: reads a choice.
    """

    name: str
    target: Target
    read: ReadContents

    def text_fields(self, prompt: Prompt | str) -> JsonObject:
        """Return the fields of a request that hold a prompt."""
        if self is COMPLETIONS:
            return {"prompt": prompt if isinstance(prompt, str) else prompt.text}
        message = prompt if isinstance(prompt, str) else prompt.message
        return {"messages": [{"role": "user", "content": message}]}


COMPLETIONS = Route("completions", Target("completions"), read_text)
CHAT = Route("chat", Target("chat/completions"), read_message)


@dataclass(slots=True)
class Generated:
    """What a server generated.

    Attributes:
        contents: what is in each choice.
        choices: the choices as they arrived.
        usage: the tokens that the server counted; None if it did not.
        body: the reply as it arrived.
    """

    contents: list[Contents]
    choices: list[JsonObject]
    usage: Usage | None = None
    body: JsonObject = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All that the model wrote in the first choice, with what it thought."""
        return self.contents[0].thoughts + self.contents[0].text

    @property
    def finish_reason(self) -> object:
        """Why the first choice ended, as the server says."""
        return self.choices[0].get("finish_reason")


def read_generated(body: object, route: Route) -> Generated | None:
    """Read a reply; None if it is not one that holds text."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(choices, list) or not choices:
        return None
    if not all(isinstance(choice, dict) for choice in choices):
        return None
    contents = [route.read(choice, True) for choice in choices]
    read = [each for each in contents if each is not None]
    return Generated(read, choices, read_usage(body.get("usage")), body) if len(read) == len(choices) else None
