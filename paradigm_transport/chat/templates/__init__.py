"""Chat templates: messages in, the model's own markup out. Templates in Jinja are rendered in a sandbox."""

from paradigm_transport.chat.templates.base import BaseTemplate
from paradigm_transport.chat.templates.jinja import JinjaTemplate
from paradigm_transport.chat.templates.named import CHAT_TEMPLATES, ChatTemplate
from paradigm_transport.chat.templates.reading import SERVER, AnyTemplate, Template, find_template, read_template

__all__ = [
    "CHAT_TEMPLATES",
    "SERVER",
    "AnyTemplate",
    "BaseTemplate",
    "ChatTemplate",
    "JinjaTemplate",
    "Template",
    "find_template",
    "read_template",
]
