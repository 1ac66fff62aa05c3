"""What a template refuses or leaves out for its form alone is written in another form."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from paradigm_transport import InvalidParameterError, JinjaTemplate
from paradigm_transport.messages import Message, Tool, ToolCall
from tests.growth import growth

WEATHER = Tool("weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
OSLO, ROME = (
    ToolCall("call_of_oslo", "weather", {"city": "Oslo"}),
    ToolCall("call_of_rome", "weather", {"city": "Rome"}),
)
ASKED = Message("user", "Warm?")
CALLED = Message("assistant", "", (OSLO,))
RESULT = Message("tool", "7 degrees", tool_call_id="call_of_oslo", name="weather")
LOOP = [ASKED, CALLED, RESULT]
PARALLEL = [
    ASKED,
    Message("assistant", "", (OSLO, ROME)),
    RESULT,
    Message("tool", "20 degrees", tool_call_id="call_of_rome", name="weather"),
]

REFUSE = "{{ raise_exception('This form is refused.') }}"
HEAD = "{% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}"
OPEN = "{% if add_generation_prompt %}assistant:{% endif %}"
CALLS = "{% for c in m.tool_calls or [] %}!{{ c.function.name }} {{ c.function.arguments | tojson }}{% endfor %}"
END = "{{ '\n' }}"
TURN = "{{ m.role }}:{{ m.content }}" + CALLS + END
TURNS = "{% for m in messages %}" + TURN + "{% endfor %}"


def template(check: str = "", turns: str = TURNS, **fields: Any) -> JinjaTemplate:
    """A template with a habit: what it checks in each message, or how it writes turns."""
    checks = "{% for m in messages %}" + check + "{% endfor %}" if check else ""
    return JinjaTemplate(source=checks + HEAD + turns + OPEN, **fields)


ONE_CALL = "{% if m.tool_calls and m.tool_calls | length != 1 %}" + REFUSE + "{% endif %}"
TEXT_OR_CALLS = (
    "{% for m in messages %}{{ m.role }}:{% if m.tool_calls %}" + CALLS + "{% else %}{{ m.content }}{% endif %}"
    "{{ '\n' }}{% endfor %}"
)
CONCATENATED = (
    "{% for m in messages %}{{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{{ '!' + c.function.name + ' ' + c.function.arguments }}{% endfor %}{{ '\n' }}{% endfor %}"
)
SYSTEM_FIRST = "{% if m.role == 'system' and not loop.first %}" + REFUSE + "{% endif %}"
NO_SYSTEM = "{% if m.role == 'system' %}" + REFUSE + "{% endif %}"
ALTERNATING = (
    "{% set ns = namespace(i=0) %}{% for m in messages if m.role == 'user' or (m.role == 'assistant' and not "
    "m.tool_calls) %}{% if (m.role == 'user') != (ns.i % 2 == 0) %}" + REFUSE + "{% endif %}{% set ns.i = ns.i + 1 %}"
    "{% endfor %}"
)


@pytest.mark.parametrize(
    ("habit", "chat", "written"),
    [
        pytest.param(
            template(ONE_CALL),
            PARALLEL,
            'user:Warm?\nassistant:!weather {"city": "Oslo"}\ntool:7 degrees\nassistant:!weather {"city": "Rome"}\n'
            "tool:20 degrees\nassistant:",
            id="one call in a message",
        ),
        pytest.param(
            template(turns=TEXT_OR_CALLS),
            [ASKED, Message("assistant", "I look.", (OSLO,)), RESULT],
            'user:Warm?\nassistant:I look.\nassistant:!weather {"city": "Oslo"}\ntool:7 degrees\nassistant:',
            id="text or calls",
        ),
        pytest.param(
            template(ONE_CALL, TEXT_OR_CALLS),
            [ASKED, Message("assistant", "I look.", (OSLO, ROME)), *PARALLEL[2:]],
            'user:Warm?\nassistant:I look.\nassistant:!weather {"city": "Oslo"}\ntool:7 degrees\n'
            'assistant:!weather {"city": "Rome"}\ntool:20 degrees\nassistant:',
            id="one call in a message, without text",
        ),
        pytest.param(
            template(turns=CONCATENATED),
            LOOP,
            'user:Warm?\nassistant:!weather {"city": "Oslo"}\ntool:7 degrees\nassistant:',
            id="arguments as text",
        ),
        pytest.param(
            template(SYSTEM_FIRST),
            [Message("system", "A"), Message("system", "B"), *LOOP, Message("system", "C"), Message("user", "D")],
            'system:A\n\nB\nuser:Warm?\nassistant:!weather {"city": "Oslo"}\ntool:7 degrees\nuser:C\n\nD\nassistant:',
            id="system first",
        ),
        pytest.param(
            template(NO_SYSTEM),
            [Message("system", "A"), *LOOP],
            'user:A\n\nWarm?\nassistant:!weather {"city": "Oslo"}\ntool:7 degrees\nassistant:',
            id="no system",
        ),
        pytest.param(
            template(turns=ALTERNATING + TURNS),
            [Message("assistant", "Hi"), *LOOP, Message("user", "A"), Message("user", "B")],
            'user:\nassistant:Hi\nuser:Warm?\nassistant:!weather {"city": "Oslo"}\ntool:7 degrees\nassistant:\n'
            "user:A\n\nB\nassistant:",
            id="users and assistants who take turns",
        ),
        pytest.param(
            JinjaTemplate(source="{% for t in tools %}{{ t }}{% endfor %}" + TURNS),
            [ASKED],
            "user:Warm?\n",
            id="a list of no tools",
        ),
        pytest.param(
            template(turns="{% set l = [] %}{% for m in messages %}{{ l.append(m) or '' }}{% endfor %}" + TURNS),
            [ASKED],
            "user:Warm?\nassistant:",
            id="a list that grows",
        ),
    ],
)
def test_chat_is_rewritten_for_a_template(habit: JinjaTemplate, chat: list[Message], written: str) -> None:
    assert habit.render_chat(chat) == written
    plain = [Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Bye")]
    assert habit.render_chat(plain).startswith("user:Hi\nassistant:Yes?\nuser:Bye\n")


def test_ids_are_of_the_kind_that_a_template_takes_and_the_same_for_call_and_result() -> None:
    check = "{% for c in m.tool_calls or [] %}{% if c.id | length != 9 %}" + REFUSE + "{% endif %}{% endfor %}"
    check += "{% if m.role == 'tool' and m.tool_call_id | length != 9 %}" + REFUSE + "{% endif %}"
    turns = TURNS.replace(
        CALLS, CALLS + "{% for c in m.tool_calls or [] %}#{{ c.id }}#{% endfor %}#{{ m.tool_call_id }}#"
    )
    short, any_id = template(check, turns).render_chat(PARALLEL), template("", turns).render_chat(PARALLEL)
    first, second, *results = re.findall("#([a-zA-Z0-9]{9})#", short)
    assert [first, second] == results
    assert first != second
    assert any_id.count("call_of_oslo") == any_id.count("call_of_rome") == 2
    nine = [ASKED, Message("assistant", "", (ToolCall("abcDEF123", "weather", {}),))]
    assert "abcDEF123" in template(check, turns).render_chat(nine)
    assert short == template(check, turns).render_chat(PARALLEL)


def test_tools_that_a_template_writes_stay_if_it_writes_no_calls() -> None:
    no_calls = template(turns="{% for m in messages %}{{ m.role }}:{{ m.content }}{{ '\n' }}{% endfor %}")
    assert no_calls.render_chat(LOOP, [WEATHER]) == (
        '<weather>user:Warm?\nassistant:<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n'
        "tool:7 degrees\nassistant:"
    )
    no_results = template(
        turns="{% for m in messages if m.role != 'tool' %}{{ m.role }}:{{ m.content }}{{ '\n' }}{% endfor %}"
    ).render_chat(LOOP, [WEATHER])
    assert no_results.startswith("<weather>user:Warm?\n")
    assert no_results.endswith("user:<tool_response>\n7 degrees\n</tool_response>\nassistant:")


def test_tool_is_described_also_if_a_text_has_its_name() -> None:
    lists_none = JinjaTemplate(source=TURNS + OPEN)
    asked = Message("user", "What is the weather?")
    first = lists_none.render_chat([asked], [WEATHER])
    assert first.startswith("system:You can call tools.")
    assert first.endswith("user:What is the weather?\nassistant:")
    later = lists_none.render_chat([asked, CALLED, RESULT], [WEATHER])
    assert later.startswith(first + '!weather {"city": "Oslo"}\ntool:7 degrees\n')


@pytest.mark.parametrize(
    "calls", ["(m.tool_calls or [])[:1] %}{{ c.function }}", "m.tool_calls or [] %}{{ c.function.name }}"]
)
def test_no_call_and_no_argument_is_left_out(calls: str) -> None:
    turns = "{% for m in messages %}{{ m.content }}{% for c in " + calls + "{% endfor %}{% endfor %}"
    prompt = template(turns=turns).render_chat(PARALLEL)
    assert "Oslo" in prompt
    assert "Rome" in prompt


def test_chat_that_fits_in_no_form_is_refused_with_the_first_reason() -> None:
    refusing = template("{% if m.tool_calls or messages | length > 1 %}" + REFUSE + "{% endif %}")
    with pytest.raises(InvalidParameterError, match=r"cannot write these messages: This form is refused\.$"):
        refusing.render_chat(LOOP)


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ({"text": 'a "b"\nc\\d', "n": -7, "x": 2.5, "yes": True, "no": None}, "{{ c.function.arguments | tojson }}"),
        ({"text": "it's 'é'", "l": [1, {"k": "v"}]}, "{{ c.function.arguments }}"),
        ({"text": "日本\t"}, "{{ c.function.arguments | tojson(ensure_ascii=True) }}"),
        ({"text": " a < b "}, "{% for k, v in c.function.arguments.items() %}<{{ k }}>{{ v | trim }}{% endfor %}"),
    ],
)
def test_arguments_are_found_in_the_notation_of_a_template(arguments: dict[str, Any], written: str) -> None:
    call = "{% for c in m.tool_calls or [] %}!{{ c.function.name }}" + written + "{% endfor %}"
    turns = "{% for m in messages %}{{ m.content }}" + call + "{% endfor %}"
    prompt = template(turns=turns).render_chat([ASKED, Message("assistant", "", (ToolCall("1", "f", arguments),))])
    assert prompt.startswith("Warm?!f")
    assert "tool_call" not in prompt


def test_text_beside_calls_may_stand_behind_their_results() -> None:
    turns = (
        "{% for m in messages %}{% if m.tool_calls %}" + CALLS + "{% for r in messages if r.role == 'tool' %}"
        "={{ r.content }}{% endfor %}{{ m.content }}{% elif m.role != 'tool' %}{{ m.content }}{% endif %}{% endfor %}"
    )
    chat = [ASKED, Message("assistant", "I look.", (OSLO,)), RESULT, Message("user", "And?")]
    assert template(turns=turns).render_chat(chat) == ('Warm?!weather {"city": "Oslo"}=7 degreesI look.And?assistant:')


@pytest.mark.parametrize("length", [0, 999, 1000, 1001, 5000])
def test_texts_are_found_however_far_apart_they_stand(length: int) -> None:
    gap = "-" * length
    turns = "{% for m in messages | reverse %}" + gap + "{{ m.content | tojson }}{% endfor %}"
    chat = [Message("system", 'Be "A".'), Message("user", 'Say "B".'), Message("system", 'Be "C".')]
    prompt = "".join(f"{gap}{json.dumps(chat[place].content)}" for place in (2, 1, 0))
    assert template(turns=turns).render_chat(chat) == prompt + "assistant:"
    with pytest.raises(InvalidParameterError, match="leaves out the message of the role 'user'"):
        template(turns=turns.replace("m.content", "m.content | replace('Say', 'Do')")).render_chat(chat)


@pytest.mark.parametrize("roles", [("user", "assistant"), ("user", "system")])
def test_quoted_texts_are_found_in_linear_time(roles: tuple[str, str]) -> None:
    quoting = template(turns="{% for m in messages %}{{ m.role }}:{{ m.content | tojson }}{% endfor %}")

    def render(messages: int) -> None:
        texts = ('"word" ' * 40 + str(number) for number in range(messages))
        quoting.render_chat([Message(roles[number % 2], text) for number, text in enumerate(texts)])

    assert growth(render, 100, 32) < 1.5


# Thoughts

THOUGHT = [Message("user", "Warm?"), Message("assistant", "Yes.", thoughts="Hm."), Message("user", "So?")]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_go_to_templates_that_read_them(field: str) -> None:
    turns = (
        "{% for m in messages %}{% if m."
        + field
        + " %}({{ m['"
        + field
        + "'] }}){% endif %}{{ m.content }}{% endfor %}"
    )
    assert template(turns=turns).render_chat(THOUGHT) == "Warm?(Hm.)Yes.So?assistant:"


def test_thoughts_are_blocks_where_a_template_reads_blocks() -> None:
    turns = (
        "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for b in m['content'] %}"
        "{% if b['type'] == 'thinking' %}[THINK]{{ b['thinking'] }}[/THINK]{% else %}{{ b['text'] }}{% endif %}"
        "{% endfor %}{% endif %}" + CALLS + "{% endfor %}"
    )
    assert template(turns=turns).render_chat(THOUGHT) == "Warm?[THINK]Hm.[/THINK]Yes.So?assistant:"
    alone = [ASKED, Message("assistant", "", (OSLO,), thoughts="Hm.")]
    assert template(turns=turns).render_chat(alone) == 'Warm?[THINK]Hm.[/THINK]!weather {"city": "Oslo"}assistant:'


def test_thoughts_do_not_go_to_other_templates() -> None:
    dumped = JinjaTemplate(source="{% for m in messages %}{{ m | tojson }}{% endfor %}")
    assert "Hm." not in dumped.render_chat(THOUGHT)
    refusing = template("{% if m.thinking and m.content %}" + REFUSE + "{% endif %}")
    chat = [ASKED, Message("assistant", "I look.", (OSLO,), thoughts="Hm."), RESULT]
    assert refusing.render_chat(chat, [WEATHER]) == (
        '<weather>user:Warm?\nassistant:I look.!weather {"city": "Oslo"}\ntool:7 degrees\nassistant:'
    )


# A chat's data

CHANGING = (
    "{% for m in messages %}{{ m.update(content='x') or '' }}{% for c in m.tool_calls or [] %}"
    "{{ c.function.arguments.update(city='x') or '' }}{% endfor %}{% endfor %}{% for t in tools or [] %}"
    "{{ t.function.parameters.clear() or '' }}{% endfor %}{{ days.append(1) or '' }}{{ days | length }}"
)


def test_template_that_changes_its_data_changes_copies() -> None:
    arguments, days = {"city": "Oslo"}, [0]
    chat = [ASKED, Message("assistant", "", (ToolCall("1", "weather", arguments),))]
    changing = JinjaTemplate(source=TURNS + HEAD + CHANGING, variables={"days": days})
    first = changing.render_chat(chat, [WEATHER])
    assert first.endswith("<weather>2")
    assert changing.render_chat(chat, [WEATHER]) == first
    assert (arguments, days) == ({"city": "Oslo"}, [0])
    assert WEATHER.parameters["properties"] == {"city": {"type": "string"}}
    assert changing.variables == {"days": [0]}


# Continuing the last message

CHAT = [Message("user", "Tell."), Message("assistant", "Once upon ")]


@pytest.mark.parametrize(
    ("turns", "prompt"),
    [
        (TURNS, "user:Tell.\nassistant:Once upon "),
        (TURNS.replace("m.content", "m.content | trim"), "user:Tell.\nassistant:Once upon"),
    ],
)
def test_last_message_is_continued(turns: str, prompt: str) -> None:
    assert template(turns=turns).render_chat(CHAT, continue_last=True) == prompt
    assert template(turns=turns).render_chat(CHAT).endswith("\nassistant:")


def test_only_the_text_of_an_assistant_is_continued() -> None:
    for chat in (LOOP, LOOP[:2], CHAT[:1]):
        assert template().render_chat(chat, continue_last=True) == template().render_chat(chat)
    assert template().render_chat([], continue_last=True) == "assistant:"


def test_template_that_leaves_out_the_end_of_a_text_cannot_continue_it() -> None:
    cut = template(turns="{% for m in messages %}{{ m.content[:4] }}{% endfor %}")
    with pytest.raises(InvalidParameterError, match=r"^chat_template cannot continue the last message: .* end of its"):
        cut.render_chat(CHAT, continue_last=True)


# Variables


def test_variables_of_a_call_win_over_those_of_the_template() -> None:
    source = "{{ a }}{{ b }}{{ documents is none }}{{ messages[0].content }}"
    base = JinjaTemplate(source=source, variables={"a": 1, "b": 2})
    assert base.with_variables({"b": 3, "documents": []}).render_prompt("!") == "13False!"
    assert base.render_prompt("!") == "12True!"
    assert base.with_variables({}) is base


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt", "bos_token", "eos_token"])
def test_reserved_names_are_no_variables(name: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"^chat_template_kwargs must not hold {name}: "):
        JinjaTemplate(source=TURNS).with_variables({name: 1})
    with pytest.raises(ValueError, match=f"must not hold {name}"):
        JinjaTemplate(source=TURNS, variables={name: 1})
