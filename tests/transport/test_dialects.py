"""The dialect of a chat template is found by rendering a call and reading it back."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from paradigm_transport import CHAT_TEMPLATES, ChatTemplate, InvalidParameterError, JinjaTemplate
from paradigm_transport.chat.dialects.base import read_message
from paradigm_transport.chat.dialects.choosing import REASONING_PARSERS, TOOL_PARSERS, find_dialect
from paradigm_transport.chat.dialects.dialect import Dialect
from paradigm_transport.chat.dialects.rows import HERMES, ROWS
from paradigm_transport.messages import Message, Tool, ToolCall
from tests.transport.test_chat import QWEN

TIME = Tool("time")

# Each writes the tools, calls as `CALL` does, and turns. The names are of the models whose templates do the like.
SOURCE = """
{%- for m in messages -%}
{%- if loop.first and tools %}<|im_start|>system
{{ tools | tojson }}<|im_end|>
{% endif %}<|im_start|>{{ m.role }}
{{ m.content }}
{%- for call in m.tool_calls or () %}CALL{% endfor %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
CALLS = {
    "a form of its own": "@@{{ call.function.name }}({{ call.function.arguments | tojson }})",
    "another name": '<tool_call>{"name": "get", "arguments": {{ call.function | tojson }}}</tool_call>',
    "no arguments": '<tool_call>{"name": "{{ call.function.name }}"}</tool_call>',
}
HERMES_CALL = "\n<tool_call>\n{{ call.function | tojson }}\n</tool_call>"
READABLE = {
    "qwen 2.5": QWEN,
    "hermes": SOURCE.replace("CALL", HERMES_CALL),
    "one line": "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% for call in m.tool_calls %}"
    "<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}{% endfor %}[assistant]",
    "no results": "{% for m in messages %}{{ raise_exception('No results.') if m.role == 'tool' }}{{ m.content }}"
    "{% for call in m.tool_calls %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}{% endfor %}",
}


def silently_found(template: ChatTemplate | JinjaTemplate) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return find_dialect(template).name


def test_each_dialect_has_a_name_and_each_reasoning_parser_one_dialect() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert set(TOOL_PARSERS) == {name for row in ROWS for name in row.tool_parsers}
    assert len(REASONING_PARSERS) == sum(len(row.reasoning_parsers) for row in ROWS)


OPENING = "<|im_start|>assistant\n{% endif"


@pytest.mark.parametrize(
    ("tail", "name", "opened"),
    [("", "hermes", False), ("<think>\n", "qwen3-thinking", True), ("<think>\n\n</think>\n\n", "qwen3", False)],
)
def test_thoughts_are_found_by_the_opened_answer(tail: str, name: str, opened: bool) -> None:
    source = SOURCE.replace("CALL", HERMES_CALL).replace(OPENING, OPENING.replace("{%", f"{tail}{{%"))
    template = JinjaTemplate(source=source)
    dialect = find_dialect(template)
    assert dialect.name == name
    prompt = template.render_chat([Message("user", "Hi")])
    answer = read_message(dialect.reader(prompt=prompt), "Hm.\n</think>\n\nHi!" if opened else "Hi!")
    assert (answer.text, answer.thoughts) == ("Hi!", "Hm." if opened else "")


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_turns_are_written_in_hermes(name: str) -> None:
    assert silently_found(CHAT_TEMPLATES[name]) == "hermes"


def test_jinja_template_without_tools_is_written_in_hermes() -> None:
    source = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    assert silently_found(JinjaTemplate(source=source)) == "hermes"


@pytest.mark.parametrize("name", READABLE)
def test_call_of_a_template_that_writes_hermes_is_read_back(name: str) -> None:
    assert silently_found(JinjaTemplate(source=READABLE[name])) == "hermes"


@pytest.mark.parametrize("name", CALLS)
def test_template_that_writes_another_form_warns_once(name: str) -> None:
    template = JinjaTemplate(source=SOURCE.replace("CALL", CALLS[name]), stop=name)
    with pytest.warns(UserWarning, match=r"^chat_template writes tool calls in a form .* pass tool_call_parser"):
        assert find_dialect(template) is HERMES
    assert silently_found(template) == "hermes"
    assert silently_found(template.model_copy()) == "hermes"


def test_each_template_warns() -> None:
    source = SOURCE.replace("CALL", CALLS["a form of its own"])
    for day in ("Monday", "Tuesday"):
        with pytest.warns(UserWarning, match="chat_template writes tool calls"):
            find_dialect(JinjaTemplate(source=source, variables={"day": day}))


@pytest.mark.parametrize("source", ["{{ messages }}{{ tools | length }}", SOURCE.replace("CALL", "")])
def test_template_that_writes_no_calls_warns(source: str) -> None:
    template = JinjaTemplate(
        source=source.replace("{{ messages }}", "{% for m in messages %}{{ m.content }}{% endfor %}")
    )
    with pytest.warns(
        UserWarning, match=r"^chat_template takes tools but writes no tool calls, .* pass tool_call_parser"
    ):
        assert find_dialect(template) is HERMES


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('No tools.') if tools }}",
        "{% for m in messages %}{{ raise_exception('No calls.') if m.tool_calls }}{% endfor %}",
        "{{ tools.nothing.more }}",
    ],
)
def test_template_that_refuses_calls_raises_only_when_it_is_used(source: str) -> None:
    template = JinjaTemplate(source=source)
    assert silently_found(template) == "hermes"
    with pytest.raises(InvalidParameterError):
        template.render_chat([Message("assistant", tool_calls=(ToolCall("1", "time", {}),))], [TIME])


class Bracketed:
    """A dialect that writes calls in brackets; it is enough of one to write with."""

    name = "bracketed"

    def describe(self, tools: list[Tool]) -> str:
        return f"Tools: {[tool.name for tool in tools]}"

    def write(self, calls: list[ToolCall]) -> str:
        return "".join(f"[call {call.name}]" for call in calls)

    def result(self, message: Message) -> str:
        return f"[result {message.content}]"


@pytest.mark.parametrize(
    "template",
    [
        ChatTemplate(turn="{role}: {content}\n", opening="assistant: ", stop="\n"),
        JinjaTemplate(source="{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "),
    ],
)
def test_turns_are_written_in_the_given_dialect(template: ChatTemplate | JinjaTemplate) -> None:
    chat = [Message("assistant", "I look.", (ToolCall("1", "time", {}),)), Message("tool", "Noon.", tool_call_id="1")]
    assert template.render_chat(chat, [TIME], dialect=Bracketed()) == (  # type: ignore[arg-type]
        "system: Tools: ['time']\nassistant: I look.\n[call time]\ntool: [result Noon.]\nassistant: "
    )


def test_documentation_lists_all_parsers() -> None:
    page = (Path(__file__).parents[2] / "docs" / "model-families.md").read_text(encoding="utf-8")
    table = "".join(line for line in page.splitlines() if line.startswith("|"))
    for name in (*TOOL_PARSERS, *REASONING_PARSERS):
        assert f"`{name}`" in table


@pytest.mark.parametrize("row", [row for row in ROWS if row.sign], ids=lambda row: row.name)
def test_dialect_is_found_by_a_call_that_the_template_writes(row: Dialect) -> None:
    call = row.calls.write([ToolCall("call00001", "get_weather", {"city": "Oslo"})])
    source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ call if m.tool_calls }}{% endfor %}[assistant]"
    template = JinjaTemplate(source=source + "{{ tools | length if tools }}", variables={"call": call})
    found = find_dialect(template)
    assert found.calls == row.calls
    reader = found.reader(prompt=found.without_thoughts(""), tools=[Tool("get_weather")])
    answer = read_message(reader, call)
    assert [(each.name, each.arguments) for each in answer.calls] == [("get_weather", {"city": "Oslo"})]


def test_call_is_found_in_the_form_that_the_template_takes() -> None:
    """As Functionary's, which wants arguments as text and takes `>>>` for the opening of each answer."""
    source = (
        "{% for m in messages %}[{{ m.role }}]\n>>>{% for call in m.tool_calls or () %}"
        "{{ raise_exception('text') if call.function.arguments is not string }}"
        "{{ call.function.name }}\n{{ call.function.arguments }}{% endfor %}{{ m.content }}{% endfor %}[assistant]\n>>>"
        "{{ tools and '' }}"
    )
    assert silently_found(JinjaTemplate(source=source)) == "functionary-v3.2"
