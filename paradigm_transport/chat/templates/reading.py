"""Chat templates as users give them: by name, as source, as an object, or as the files of a model hold them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from pydantic import ValidationError

from paradigm_transport.chat.templates.jinja import JinjaTemplate, compiled
from paradigm_transport.chat.templates.named import CHAT_TEMPLATES, ChatTemplate
from paradigm_transport.errors import InvalidParameterError

Template = ChatTemplate | JinjaTemplate


def read_template(value: object) -> str | Template:
    """Read any form of a chat template: those of `find_template`, and what files hold.

    In `tokenizer_config.json`, `chat_template` may be several templates, as a list of names and templates or an object
    of them, of which the default is taken.

    Raises:
        InvalidParameterError: it has another form, or a Jinja template is not valid.
    """
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        value = {each.get("name"): each.get("template") for each in value}
    if isinstance(value, Mapping):
        value = value.get("default", value)
    if isinstance(value, Mapping):
        kind = JinjaTemplate if "source" in value else ChatTemplate
        with suppress(ValidationError):
            value = kind.model_validate(value)
    if not isinstance(value, str | ChatTemplate | JinjaTemplate):
        known = ", ".join(map(repr, CHAT_TEMPLATES))
        raise InvalidParameterError(
            f"it must be {known}, Jinja source, a ChatTemplate, a JinjaTemplate, or the value of chat_template in a "
            f"tokenizer_config.json with a default template; not {type(value).__name__}"
        )
    find_template(value)
    return value


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
        try:
            template.encode()
        except UnicodeEncodeError:
            raise InvalidParameterError("not a valid Jinja template: it holds half a surrogate pair") from None
        template = JinjaTemplate(source=template)
    if isinstance(template, JinjaTemplate):
        compiled(template.source)
    return template
