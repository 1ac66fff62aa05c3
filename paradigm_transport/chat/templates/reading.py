"""Chat templates as users give them: by name, as source, as an object, as a file, or as a model's files hold them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from paradigm_transport.chat.templates.jinja import JinjaTemplate, compiled
from paradigm_transport.chat.templates.named import CHAT_TEMPLATES, ChatTemplate
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.json_object import JsonObject

Template = ChatTemplate | JinjaTemplate
AnyTemplate = str | Path | Template
"""A template, or where it is found: its name, its source in Jinja, or the path of its file."""

SERVER = "server"
"""The name of the template that the server lists, if a model can look that up."""

_KNOWN = ", ".join(map(repr, CHAT_TEMPLATES))
_CONFIG, _SOURCE = "tokenizer_config.json", "chat_template.jinja"


def read_template(value: object) -> str | Template:
    """Read any form of a chat template: those of `find_template`, files, and what files hold.

    In `tokenizer_config.json`, `chat_template` may be several templates, as a list of names and templates or an object
    of them, of which the default is taken.

    Args:
        value: a name, Jinja source, a template, the value of `chat_template` in a `tokenizer_config.json`, or the path
            of that file or of one with Jinja source, as a string or a `pathlib.Path`.

    Raises:
        InvalidParameterError: it has another form, a file cannot be read, or a Jinja template is not valid.
    """
    if isinstance(value, os.PathLike) or (isinstance(value, str) and _is_path(value)):
        return _read_file(Path(value))
    value = _default_of(value)
    if isinstance(value, Mapping):
        kind = JinjaTemplate if "source" in value else ChatTemplate
        with suppress(ValidationError):
            value = kind.model_validate(value)
    if not isinstance(value, str | ChatTemplate | JinjaTemplate):
        raise InvalidParameterError(
            f"it must be {_KNOWN}, Jinja source, a ChatTemplate, a JinjaTemplate, the path of a {_CONFIG} or of a "
            f"*.jinja file, or the value of chat_template in a {_CONFIG} with a default template; not "
            f"{type(value).__name__}"
        )
    find_template(value)
    return value


def find_template(template: AnyTemplate) -> Template:
    """Return the template of a name, of a text in Jinja or of a path; a template as it is.

    Raises:
        InvalidParameterError: no template has that name, a file cannot be read, or a Jinja template is not valid.
    """
    if isinstance(template, Path):
        return _read_file(template)
    if isinstance(template, str):
        if template in CHAT_TEMPLATES:
            return CHAT_TEMPLATES[template]
        if template == SERVER:
            raise InvalidParameterError("'server' is for ChatParadigm, which looks the template up in the model list")
        if not _is_source(template):
            raise InvalidParameterError(
                f"unknown template {template!r}; use {_KNOWN}, a ChatTemplate, Jinja source or the path of a file"
            )
        return _of_source(template)
    if isinstance(template, JinjaTemplate):
        compiled(template.source)
    return template


@lru_cache(maxsize=16)
def _of_source(source: str) -> JinjaTemplate:
    """Return the template of a text in Jinja; once, since each call of a model asks for it."""
    try:
        source.encode()
    except UnicodeEncodeError:
        raise InvalidParameterError("not a valid Jinja template: it holds half a surrogate pair") from None
    compiled(source)
    return JinjaTemplate(source=source)


def _is_source(text: str) -> bool:
    return any(mark in text for mark in ("{{", "{%"))


def default_source(value: object) -> str | None:
    """Return the Jinja source in a value of `chat_template` as files hold it, or None."""
    source = _default_of(value)
    return source if isinstance(source, str) and _is_source(source) else None


def _default_of(value: object) -> object:
    """Return the default of several templates, or the only one."""
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        value = {name: each.get("template") for each in value if isinstance(name := each.get("name"), str)}
    return value.get("default", value) if isinstance(value, Mapping) else value


# Files


def _is_path(text: str) -> bool:
    if text in CHAT_TEMPLATES or text == SERVER or _is_source(text):
        return False
    if text.endswith((".json", ".jinja", ".jinja2")) or "/" in text or os.sep in text:
        return True
    with suppress(OSError, ValueError):  # too long, or with a null character
        return Path(text).is_file()
    return False


def _read_file(path: Path) -> JinjaTemplate:
    text = _text_of(path)
    if path.suffix == ".json":
        config = _parse(text, path)
        held = config.get("chat_template")
        beside = path.with_name(_SOURCE)
        if held is None and beside.is_file():
            held = _text_of(beside)
    else:
        held = text
        beside = path.with_name(_CONFIG)
        config = _parse(_text_of(beside), beside) if path.name == _SOURCE and beside.is_file() else {}
    if held is None:
        raise InvalidParameterError(f"{path} has no chat_template, and there is no {_SOURCE} beside it")
    source = default_source(held)
    if source is None:
        raise InvalidParameterError(f"{path} holds no chat template in Jinja that is its only one or its default")
    tokens = {name: _token(config.get(name), name, path) for name in ("bos_token", "eos_token")}
    try:
        compiled(source)
    except InvalidParameterError as problem:
        reason = str(problem)
    else:
        return JinjaTemplate(source=source, **tokens)
    raise InvalidParameterError(f"{path}: {reason}")


def _text_of(path: Path) -> str:
    if path.is_dir():
        raise InvalidParameterError(f"{path} is a directory: pass the path of the {_CONFIG} in it")
    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
    except ValueError:  # not UTF-8, or a null character in the name
        reason = "it is not a text file in UTF-8"
    raise InvalidParameterError(f"cannot read {path}: {reason}")


def _parse(text: str, path: Path) -> JsonObject:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise InvalidParameterError(f"{path} is not a JSON object, as a {_CONFIG} is")
    return config


def _token(value: object, name: str, path: Path) -> str:
    """Return a special token, which is a text, or an object with it."""
    token = value.get("content") if isinstance(value, dict) else value
    if not isinstance(token, str | None):
        raise InvalidParameterError(f"{path}: {name} must be a string, or an object with its content")
    return token or ""
