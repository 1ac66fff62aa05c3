"""The fields of models that write messages by a chat template."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from paradigm_transport.arguments import Fields
from paradigm_transport.chat.dialects.rows import find_dialect
from paradigm_transport.chat.templates import Template, find_template


class TemplateFields(Fields):
    """How prompts are written for a chat model: declarations and checks only."""

    chat_template: str | Template | None = Field(
        default=None,
        description="How prompts and messages are written for the model: `alfred`, `chatml`, a ChatTemplate, Jinja "
        "source or a JinjaTemplate; None to send prompts as they are.",
    )

    @field_validator("chat_template")
    @classmethod
    def _check_template(cls, template: str | Template | None) -> str | Template | None:
        if template is not None:
            find_template(template)
        return template


def template_of(fields: TemplateFields) -> Template | None:
    """Return the chat template that was chosen, if any."""
    return None if fields.chat_template is None else find_template(fields.chat_template)


class ChatFields(TemplateFields):
    """How messages and tools are written for a chat model: declarations and checks only."""

    chat_template: str | Template = Field(
        description="How messages are written for the model: `alfred`, `chatml`, a ChatTemplate, Jinja source or a "
        "JinjaTemplate.",
    )
    constrain: Literal["vllm"] | None = Field(
        default=None,
        description="The server-side mechanism that enforces the JSON schema of structured output and of required tool "
        "calls: `vllm` for vLLM's field `structured_outputs`; None for none.",
    )

    @field_validator("chat_template")
    @classmethod
    def _check_dialect(cls, template: str | Template) -> str | Template:
        find_dialect(find_template(template))
        return template
