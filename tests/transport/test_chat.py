"""Messages and tools written as prompts: by the Hermes convention, or by a template in Jinja."""

from __future__ import annotations

import sys
from datetime import datetime

import pytest

from paradigm_transport import CHAT_TEMPLATES, ChatTemplate, InvalidParameterError, JinjaTemplate
from paradigm_transport.chat.templates import Template, find_template
from paradigm_transport.messages import Message, Tool, ToolCall, in_order_of_calls

WEATHER = Tool("weather", "The weather of a city.", {"type": "object", "properties": {"city": {"type": "string"}}})
TIME = Tool("time")
CHAT = [
    Message("user", "Is it warm in Orléans?"),
    Message("assistant", "I look.", (ToolCall("1", "weather", {"city": "Orléans"}), ToolCall("2", "time", {}))),
    Message("tool", "20 °C", tool_call_id="1"),
    Message("tool", "noon", tool_call_id="2"),
]


def test_turns_hold_tools_calls_and_results_in_the_hermes_dialect() -> None:
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
def test_results_are_in_the_order_of_the_calls(template: Template) -> None:
    question, asked, warm, noon = CHAT
    unknown = Message("tool", "what else", tool_call_id="9")
    prompt = template.render_chat([question, asked, unknown, noon, warm, Message("user", "And?"), noon])
    places = [prompt.index(text) for text in ("20 °C", "noon", "what else", "And?")]
    assert places == sorted(places)
    assert prompt.count("noon") == 2


def test_results_without_ids_keep_their_order() -> None:
    results = [Message("tool", "first"), Message("tool", "second")]
    assert in_order_of_calls([*CHAT[:2], *results]) == [*CHAT[:2], *results]


def test_tools_without_a_system_message_get_one() -> None:
    chatml = CHAT_TEMPLATES["chatml"]
    assert chatml.render_chat(CHAT, [TIME]).startswith("<|im_start|>system\n")
    assert chatml.render_chat(CHAT[:1]) == chatml.render([("user", "Is it warm in Orléans?")])
    call_alone = Message("assistant", "", CHAT[1].tool_calls[1:])
    assert "assistant\n<tool_call>\n" in chatml.render_chat([call_alone])


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


def test_jinja_template_writes_tools_and_calls() -> None:
    prompt = JinjaTemplate(source=QWEN).render_chat([Message("user", "<é>"), *CHAT[1:]], [TIME])
    assert prompt == (
        '<|im_start|>system\n{"type": "function", "function": {"name": "time", "description": "", "parameters": '
        '{"type": "object", "properties": {}}}}\n<|im_end|>\n'
        "<|im_start|>user\n<é><|im_end|>\n"
        '<|im_start|>assistant\nI look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Orléans"}}\n'
        '</tool_call>\n<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call><|im_end|>\n'
        "<|im_start|>tool\n20 °C<|im_end|>\n<|im_start|>tool\nnoon<|im_end|>\n<|im_start|>assistant\n"
    )


def test_jinja_template_gets_the_variables_of_transformers() -> None:
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


def test_tojson_in_jinja_takes_the_options_of_transformers() -> None:
    source = "{{ {'b': 'é', 'a': [1]} | tojson(sort_keys=True, separators=(',', ':'), ensure_ascii=True) }}"
    assert JinjaTemplate(source=source).render([]) == '{"a":[1],"b":"\\u00e9"}'


def test_jinja_template_cannot_leave_its_sandbox() -> None:
    for source in ("default='{0.__globals__}'.format", "cls=strftime_now"):
        with pytest.raises(InvalidParameterError, match="cannot write these messages"):
            JinjaTemplate(source=f"{{{{ strftime_now | tojson({source}) }}}}").render([])


def test_jinja_template_gets_ids_and_names() -> None:
    source = (
        "{% for m in messages %}{{ m.content }}{{ m.tool_call_id }}{{ m.name }}"
        "{% for c in m.tool_calls or () %}{{ c.id }}{{ c.function.name }}"
        "{% for k, v in c.function.arguments.items() %}{{ v }}{{ k }}{% endfor %},{% endfor %};"
        "{% endfor %}"
    )
    messages = [Message("tool", "", tool_call_id="7", name="f"), CHAT[1]]
    assert JinjaTemplate(source=source).render_chat(messages) == "7f;I look.1weatherOrléanscity,2time,;"


def test_jinja_template_without_tools_gets_them_as_text() -> None:
    source = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] "
    plain = ChatTemplate(turn="[{role}] {content}\n", opening="[assistant] ", stop="[")
    assert JinjaTemplate(source=source).render_chat(CHAT, [WEATHER]) == plain.render_chat(CHAT, [WEATHER])


# As in models' repositories, with fewer letters: none has a branch for each role.
ZEPHYR = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>\n' + m['content'] + eos_token }}"
    "{% elif m['role'] == 'system' %}{{ '<|system|>\n' + m['content'] + eos_token }}"
    "{% elif m['role'] == 'assistant' %}{{ '<|assistant|>\n' + m['content'] + eos_token }}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}"
)
PHI = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>' + m['content'] + '<|end|><|assistant|>' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
WITH_TOOLS = (
    "{% if tools %}{{ '<tools>' }}{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}"
    "{% for m in messages %}{% if m.role != 'system' %}<{{ m.role }}>{{ m.content | tojson }}"
    "{% for c in m.tool_calls or () %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
    "{% endif %}{% endfor %}"
)
FEW_ROLES = {"zephyr": ZEPHYR, "phi": PHI, "gemma": GEMMA, "mistral": MISTRAL, "with tools": WITH_TOOLS}


@pytest.mark.parametrize("name", FEW_ROLES)
def test_template_without_a_branch_for_a_role_gets_all_texts(name: str) -> None:
    template = JinjaTemplate(source=FEW_ROLES[name], eos_token="</s>")
    chat = [
        Message("system", " Be brief.\n"),
        *CHAT,
        Message("assistant", "<think>Hm.</think> Warm."),
        Message("user", "So?"),
    ]
    prompt = template.render_chat(chat, [WEATHER, TIME])
    texts = ["Is it warm", "I look.", "weather", "20 °C", "noon", "Warm.", "So?"]
    places = [prompt.index(text) for text in texts]
    assert "Be brief." in prompt
    assert '"description": "The weather of a city."' in prompt
    assert places[2:] == sorted(places[2:])
    assert template.render([("user", "Hi"), ("user", "there")]).count("there") == 1


def test_only_what_a_template_leaves_out_is_written_another_way() -> None:
    zephyr, mistral = (JinjaTemplate(source=source, eos_token="</s>") for source in (ZEPHYR, MISTRAL))
    system = Message("system", "Be brief.")
    assert zephyr.render_chat([system, *CHAT[2:3]]) == (
        "<|system|>\nBe brief.</s><|user|>\n<tool_response>\n20 °C\n</tool_response></s><|assistant|>"
    )
    assert mistral.render_chat([system, CHAT[0], Message("assistant", "No."), *CHAT[2:]]) == (
        "[INST] Be brief.\n\nIs it warm in Orléans? [/INST]No.</s>[INST] <tool_response>\n20 °C\n</tool_response>\n\n"
        "<tool_response>\nnoon\n</tool_response> [/INST]"
    )
    assert JinjaTemplate(source=WITH_TOOLS).render_chat([system, CHAT[0]], [TIME]) == (
        '<tools>{"type": "function", "function": {"name": "time", "description": "", "parameters": {"type": "object", '
        '"properties": {}}}}<user>"Be brief.\\n\\nIs it warm in Orléans?"'
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
            "the message of the role 'assistant'",
        ),
        ("{{ messages[-1].content }}", "the message of the role 'user'"),
        ("{% for m in messages %}{{ m.content[:70] }}{% endfor %}", "the tool 'weather'"),
    ],
)
def test_chat_that_a_template_cannot_hold_is_refused(source: str, said: str) -> None:
    chat = [Message("user", "Hi."), Message("assistant", "Yes?"), Message("user", "Bye.")]
    with pytest.raises(InvalidParameterError, match=f"^chat_template leaves out {said}$"):
        JinjaTemplate(source=source).render_chat(chat, [WEATHER])
    assert JinjaTemplate(source=source).render_chat(chat[:1]) == "Hi."


def test_text_is_not_taken_for_one_of_another_turn() -> None:
    chat = [Message("user", "Yes"), Message("assistant", "No"), Message("tool", "Yes")]
    assert JinjaTemplate(source=ZEPHYR).render_chat(chat).count("Yes") == 2


def test_text_with_jinja_marks_is_a_jinja_template() -> None:
    found = find_template("{{ messages[0].content }}!")
    assert isinstance(found, JinjaTemplate)
    assert found.stop is None
    assert found.render_prompt("Hi") == "Hi!"
    assert find_template(found) is found


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% for %}", "not a valid Jinja template: line 1: "),
        (
            "{{ raise_exception('Only user turns.') }}",
            "chat_template cannot write these messages: Only user turns.",
        ),
        ("{{ raise_exception('No ' + messages[0].content[2:]) }}", "cannot write these messages: RefusedError"),
        ("{{ messages[0].content + 1 }}", "cannot write these messages: TypeError"),
        ("{{ raise_exception('') }}", "cannot write these messages: RefusedError"),
        ("{{ {}[messages[0].content[2:]].x }}", "cannot write these messages: UndefinedError"),
        ("{{ messages.sort() }}", "cannot write these messages: SecurityError"),
        ("{{ ''.__class__.__mro__ }}", "cannot write these messages: "),
    ],
)
def test_jinja_errors_do_not_quote_the_messages(source: str, said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said.replace(".", r"\.")) as raised:
        find_template(source).render_prompt("a secret")  # type: ignore[union-attr]
    assert "secret" not in str(raised.value)
    assert raised.value.__context__ is None


def test_invalid_jinja_template_raises_when_it_is_rendered() -> None:
    with pytest.raises(InvalidParameterError, match=r"^not a valid Jinja template: line 1: "):
        JinjaTemplate(source="{% if %}").render([])


def test_jinja_template_without_jinja_installed_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(InvalidParameterError, match="needs jinja2: pip install jinja2"):
        find_template("{{ 'never seen before' }}")
