"""Chat templates from the files of a model."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from paradigm_transport import InvalidParameterError, JinjaTemplate
from paradigm_transport.chat.template_fields import TemplateFields
from paradigm_transport.chat.templates import find_template, read_template

SOURCE = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def config_file(folder: Path, **config: Any) -> Path:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("template", "tokens"),
    [
        (SOURCE, TOKENS),
        (SOURCE, {name: {"content": token, "lstrip": False} for name, token in TOKENS.items()}),
        ({"default": SOURCE, "tool_use": "{{ tools }}"}, TOKENS),
        ([{"name": "tool_use", "template": "{{ tools }}"}, {"name": "default", "template": SOURCE}], TOKENS),
        ([{"name": ["default"], "template": "{{ tools }}"}, {"name": "default", "template": SOURCE}], TOKENS),
    ],
)
def test_template_and_tokens_are_read_from_a_configuration(tmp_path: Path, template: object, tokens: Any) -> None:
    path = config_file(tmp_path, chat_template=template, **tokens)
    for form in (path, str(path)):
        found = read_template(form)
        assert found == JinjaTemplate(source=SOURCE, bos_token="<s>", eos_token="</s>", stop="</s>")
        assert found.render_prompt("Hi") == "<s>Hi</s>"
    assert find_template(path) == found


def test_template_beside_a_configuration_is_read_from_either(tmp_path: Path) -> None:
    source = tmp_path / "chat_template.jinja"
    source.write_text(SOURCE + "é", encoding="utf-8")
    alone = read_template(source)
    assert alone == JinjaTemplate(source=SOURCE + "é")
    path = config_file(tmp_path, bos_token=None, eos_token="</s>")
    assert read_template(source) == read_template(path) == JinjaTemplate(source=SOURCE + "é", eos_token="</s>")
    config_file(tmp_path, chat_template=SOURCE)
    assert read_template(path) == JinjaTemplate(source=SOURCE)


def test_source_of_any_name_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config_file(tmp_path, **TOKENS)
    for name in ("qwen.jinja", "template"):
        (tmp_path / name).write_text(SOURCE, encoding="utf-8")
        assert read_template(tmp_path / name) == JinjaTemplate(source=SOURCE)
    monkeypatch.chdir(tmp_path)
    assert read_template("template") == JinjaTemplate(source=SOURCE)
    (tmp_path / "chatml").write_text(SOURCE, encoding="utf-8")
    assert read_template("chatml") == "chatml"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tokenizer_config.json", None, "cannot read {}: No such file or directory"),
        ("no/such.jinja", None, "cannot read {}: No such file or directory"),
        ("tokenizer_config.json", "[]", "{} is not a JSON object, as a tokenizer_config.json is"),
        ("tokenizer_config.json", "{", "{} is not a JSON object, as a tokenizer_config.json is"),
        ("tokenizer_config.json", "{}", "{} has no chat_template, and there is no chat_template.jinja beside it"),
        ("tokenizer_config.json", '{"chat_template": 1}', "{} holds no chat template in Jinja that is its only one or"),
        ("tokenizer_config.json", '{"chat_template": {"x": "{{ 1 }}"}}', "{} holds no chat template in Jinja"),
        (
            "tokenizer_config.json",
            '{"chat_template": [{"name": {}, "template": "{{ 1 }}"}]}',
            "{} holds no chat template",
        ),
        ("tokenizer_config.json", '{"chat_template": "{% if %}"}', "{}: not a valid Jinja template: line 1: "),
        ("tokenizer_config.json", '{"chat_template": "{{ 1 }}", "eos_token": 2}', "{}: eos_token must be a string, or"),
        ("x.jinja", "", "{} holds no chat template in Jinja"),
        ("x.jinja", b"\xff{{ 1 }}", "cannot read {}: it is not a text file in UTF-8"),
        ("", None, "{} is a directory: pass the path of the tokenizer_config.json in it"),
    ],
)
def test_file_without_a_template_is_named(tmp_path: Path, name: str, content: str | bytes | None, said: str) -> None:
    path = tmp_path / name if name else tmp_path
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for form in (path, str(path)):
        with pytest.raises(InvalidParameterError) as raised:
            TemplateFields(chat_template=form)
        assert str(raised.value).startswith("chat_template: " + said.format(path))


def test_name_that_is_no_path_is_an_unknown_template() -> None:
    for name in ("llama", "x" * 5000, "a\0b"):
        with pytest.raises(InvalidParameterError, match="unknown template"):
            TemplateFields(chat_template=name)


def test_template_of_a_file_outlives_it(tmp_path: Path) -> None:
    path = config_file(tmp_path, chat_template=SOURCE, **TOKENS)
    fields = pickle.loads(pickle.dumps(TemplateFields(chat_template=path)))
    path.unlink()
    again = TemplateFields(**fields.model_dump())
    assert again.chat_template == fields.chat_template == JinjaTemplate(source=SOURCE, **TOKENS)
