"""The chat templates that have names, and how a template is found."""

from __future__ import annotations

from paradigm_transport.chat.templates.jinja import JinjaTemplate, compiled
from paradigm_transport.chat.templates.turns import ChatTemplate
from paradigm_transport.errors import InvalidParameterError

Template = ChatTemplate | JinjaTemplate

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


def find_template(template: str | Template) -> Template:
    """Return the template of a name or of a text in Jinja; a template as it is.

    Raises:
        InvalidParameterError: no template has that name, or a Jinja template is not valid.
    """
    if isinstance(template, str):
        if template in CHAT_TEMPLATES:
            return CHAT_TEMPLATES[template]
        if not any(mark in template for mark in ("{{", "{%")):
            known = ", ".join(map(repr, CHAT_TEMPLATES))
            raise InvalidParameterError(f"unknown template {template!r}; use {known}, a ChatTemplate or Jinja source")
        template = JinjaTemplate(source=template)
    if isinstance(template, JinjaTemplate):
        compiled(template.source)
    return template
