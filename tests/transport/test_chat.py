"""Messages and tools written as prompts: by the Hermes convention, or by a template in Jinja."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import pytest

from paradigm_transport import CHAT_TEMPLATES, ChatTemplate, InvalidParameterError, JinjaTemplate
from paradigm_transport.chat.templates.named import Template, find_template
from paradigm_transport.messages import Message, Tool, ToolCall, call_schema, closed, in_order_of_calls

WEATHER = Tool("weather", "The weather of a city.", {"type": "object", "properties": {"city": {"type": "string"}}})
TIME = Tool("time")
CHAT = [
    Message("user", "Is it warm in Orléans?"),
    Message("assistant", "I look.", (ToolCall("1", "weather", {"city": "Orléans"}), ToolCall("2", "time", {}))),
    Message("tool", "20 °C", tool_call_id="1"),
    Message("tool", "noon", tool_call_id="2"),
]


def test_tools_and_calls_by_the_hermes_convention() -> None:
    plain = ChatTemplate(turn="[{role}] {content}\n", opening="[assistant] ", stop="[")
    prompt = plain.render_chat([Message("system", "Be brief."), *CHAT], [WEATHER, TIME])
    system, chat = prompt.split("[user] ")
    assert chat == (
        "Is it warm in Orléans?\n"
        "[assistant] I look.\n"
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Orléans"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>\n'
        "[tool] <tool_response>\n20 °C\n</tool_response>\n"
        "[tool] <tool_response>\nnoon\n</tool_response>\n"
        "[assistant] "
    )
    assert system.startswith("[system] Be brief.\n\n")
    assert (
        "<tools>\n"
        '{"type": "function", "function": {"name": "weather", "description": "The weather of a city.", "parameters": '
        '{"type": "object", "properties": {"city": {"type": "string"}}}}}\n'
        '{"type": "function", "function": {"name": "time", "description": "", "parameters": '
        '{"type": "object", "properties": {}}}}\n'
        "</tools>\n"
    ) in system


@pytest.mark.parametrize(
    "template",
    [
        CHAT_TEMPLATES["chatml"],
        JinjaTemplate(source="{% for m in messages %}{{ m.content }}{% endfor %}"),
        JinjaTemplate(source="{% for m in messages %}{{ m.content }}{{ m.tool_calls }}{% endfor %}"),
    ],
)
def test_results_stand_in_the_order_of_the_calls(template: Template) -> None:
    question, asked, warm, noon = CHAT
    unknown = Message("tool", "what else", tool_call_id="9")
    prompt = template.render_chat([question, asked, unknown, noon, warm, Message("user", "And?"), noon])
    places = [prompt.index(text) for text in ("20 °C", "noon", "what else", "And?")]
    assert places == sorted(places)
    assert prompt.count("noon") == 2


def test_results_without_ids_stay_as_they_are() -> None:
    results = [Message("tool", "first"), Message("tool", "second")]
    assert in_order_of_calls([*CHAT[:2], *results]) == [*CHAT[:2], *results]


def test_a_system_message_is_made_where_there_is_none() -> None:
    chatml = CHAT_TEMPLATES["chatml"]
    assert chatml.render_chat(CHAT, [TIME]).startswith("<|im_start|>system\n")
    assert chatml.render_chat(CHAT[:1]) == chatml.render([("user", "Is it warm in Orléans?")])
    call_alone = Message("assistant", "", CHAT[1].tool_calls[1:])
    assert "assistant\n<tool_call>\n" in chatml.render_chat([call_alone])


def test_the_schema_of_a_call() -> None:
    assert call_schema([TIME]) == {
        "type": "object",
        "properties": {"name": {"const": "time"}, "arguments": closed(TIME.parameters)},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
    first, second = call_schema([TIME, WEATHER])["anyOf"]
    assert first == call_schema([TIME])
    assert second["properties"]["arguments"] == closed(WEATHER.parameters)


def test_a_schema_is_closed_unless_it_says_otherwise() -> None:
    assert closed(TIME.parameters) == {"type": "object", "properties": {}, "additionalProperties": False}
    for says in (
        {"type": "object"},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "properties": {}, "allOf": []},
        {"$ref": "#/$defs/a"},
    ):
        assert closed(says) == says


def test_a_schema_is_closed_as_a_whole() -> None:
    def thing(**more: Any) -> dict[str, Any]:
        return {"type": "object", "properties": {"a": {"type": "integer"}}, **more}

    def around(inner: dict[str, Any], **more: Any) -> dict[str, Any]:
        properties = {"all": {"type": "array", "items": inner}, "one": {"anyOf": [inner, {"type": "null"}]}}
        return {"$defs": {"A": inner}, "type": "object", "properties": properties, **more}

    shut = thing(additionalProperties=False)
    assert closed(around(thing())) == around(shut, additionalProperties=False)
    assert closed(around(thing(additionalProperties=True))) == around(
        thing(additionalProperties=True), additionalProperties=False
    )
    for made_up in (
        {"allOf": [thing(), {"$ref": "#/$defs/A"}]},
        thing(anyOf=[thing(), thing()]),
        thing(**{"$ref": "#/$defs/A"}),
        {"not": thing()},
        {"if": thing(), "then": thing()},
    ):
        assert closed(around(made_up)) == around(made_up, additionalProperties=False)
    described = {"allOf": [thing()], "description": "As an older pydantic writes it."}
    assert closed(around(described)) == around({**described, "allOf": [shut]}, additionalProperties=False)


def test_two_tools_that_use_one_name_for_two_things() -> None:
    def of(kind: str, place: str) -> dict[str, object]:
        list_of = {"type": "array", "items": {"$ref": f"#/{place}/Item"}}
        return {"properties": {"all": list_of}, place: {"Item": {"type": kind, "not": {"$ref": "#"}}}}

    parameters = of("string", "$defs"), of("integer", "definitions")
    schema = call_schema([Tool("a", "", parameters[0]), Tool("b", "", parameters[1])])
    refs = [call["properties"]["arguments"]["properties"]["all"]["items"]["$ref"] for call in schema["anyOf"]]
    assert refs == ["#/$defs/a.Item", "#/$defs/b.Item"]
    assert {name: kept["type"] for name, kept in schema["$defs"].items()} == {"a.Item": "string", "b.Item": "integer"}
    assert parameters == (of("string", "$defs"), of("integer", "definitions"))  # left as they were


# Jinja

QWEN = """
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson }}{{- "\\n" }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "assistant" and message.tool_calls %}
        {{- '<|im_start|>assistant\\n' + message.content }}
        {%- for call in message.tool_calls %}
            {%- set call = call.function %}
            {{- '\\n<tool_call>\\n{"name": "' + call.name + '", "arguments": ' }}{{- call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def test_a_template_in_jinja() -> None:
    prompt = JinjaTemplate(source=QWEN).render_chat([Message("user", "<é>"), *CHAT[1:]], [TIME])
    assert prompt == (
        '<|im_start|>system\n{"type": "function", "function": {"name": "time", "description": "", "parameters": '
        '{"type": "object", "properties": {}}}}\n<|im_end|>\n'
        "<|im_start|>user\n<é><|im_end|>\n"
        '<|im_start|>assistant\nI look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Orléans"}}\n'
        '</tool_call>\n<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call><|im_end|>\n'
        "<|im_start|>tool\n20 °C<|im_end|>\n<|im_start|>tool\nnoon<|im_end|>\n<|im_start|>assistant\n"
    )


def test_what_a_template_in_jinja_gets() -> None:
    source = (
        "{{ bos_token }}{{ eos_token }}{{ strftime_now('%Y') }}{{ tools is none }}{{ thinks }}\n"
        "    {% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
        "{{ m | tojson(indent=1) }}{% endfor %}\n"
        "{% generation %}{% set x = 1 %}!{% endgeneration %}"
    )
    template = JinjaTemplate(source=source, bos_token="<s>", eos_token="</s>", variables={"thinks": False})
    assert template.stop == "</s>"
    assert JinjaTemplate(source=source, eos_token="").stop is None
    assert JinjaTemplate(source=source, eos_token="</s>", stop="!").stop == "!"
    assert template.render([("user", "<&>"), ("user", "")]) == (
        f'<s></s>{datetime.now().year}TrueFalse\n{{\n "role": "user",\n "content": "<&>"\n}}!'
    )
    assert template.render_prompt("<&>") == template.render([("user", "<&>")])


def test_json_in_jinja() -> None:
    source = "{{ {'b': 'é', 'a': [1]} | tojson(sort_keys=True, separators=(',', ':'), ensure_ascii=True) }}"
    assert JinjaTemplate(source=source).render([]) == '{"a":[1],"b":"\\u00e9"}'


def test_a_template_in_jinja_stays_in_its_sandbox() -> None:
    for source in ("default='{0.__globals__}'.format", "cls=strftime_now"):
        with pytest.raises(InvalidParameterError, match="cannot write these messages"):
            JinjaTemplate(source=f"{{{{ strftime_now | tojson({source}) }}}}").render([])


def test_tools_of_messages_in_jinja() -> None:
    source = (
        "{% for m in messages %}{{ m.tool_call_id }}{{ m.name }}"
        "{% for c in m.tool_calls or () %}{{ c.id }}{% endfor %};{% endfor %}"
    )
    messages = [Message("tool", "", tool_call_id="7", name="f"), CHAT[1]]
    assert JinjaTemplate(source=source).render_chat(messages) == "7f;12;"


def test_tools_where_a_template_in_jinja_knows_none() -> None:
    source = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] "
    plain = ChatTemplate(turn="[{role}] {content}\n", opening="[assistant] ", stop="[")
    assert JinjaTemplate(source=source).render_chat(CHAT, [WEATHER]) == plain.render_chat(CHAT, [WEATHER])


def test_a_template_is_known_by_its_markup() -> None:
    found = find_template("{{ messages[0].content }}!")
    assert isinstance(found, JinjaTemplate)
    assert found.stop is None
    assert found.render_prompt("Hi") == "Hi!"
    assert find_template(found) is found


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% for %}", "it is no Jinja template: line 1: "),
        (
            "{{ raise_exception('Only user turns.') }}",
            "chat_template: it cannot write these messages: Only user turns.",
        ),
        ("{{ raise_exception('No ' + messages[0].content[2:]) }}", "cannot write these messages: RefusedError"),
        ("{{ messages[0].content + 1 }}", "cannot write these messages: TypeError"),
        ("{{ raise_exception('') }}", "cannot write these messages: RefusedError"),
        ("{{ {}[messages[0].content[2:]].x }}", "cannot write these messages: UndefinedError"),
        ("{{ messages.append(1) }}", "cannot write these messages: "),
        ("{{ ''.__class__.__mro__ }}", "cannot write these messages: "),
    ],
)
def test_what_goes_wrong_is_one_error_without_the_messages(source: str, said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said.replace(".", r"\.")) as raised:
        find_template(source).render_prompt("a secret")  # type: ignore[union-attr]
    assert "secret" not in str(raised.value)
    assert raised.value.__context__ is None


def test_without_jinja(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(InvalidParameterError, match="needs jinja2: pip install jinja2"):
        find_template("{{ 'never seen before' }}")
