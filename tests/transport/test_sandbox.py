"""What a hostile chat template in Jinja may take of time and memory."""

from __future__ import annotations

import pytest

from paradigm_transport import InvalidParameterError, JinjaTemplate
from paradigm_transport.chat.dialects.choosing import find_dialect
from paradigm_transport.chat.templates import find_template
from paradigm_transport.messages import Message, Tool, ToolCall
from tests.growth import cpu_time
from tests.transport.test_chat import QWEN

NAMES = "{% set a = namespace(x='a', l=['a']) %}{% set b = namespace(l=['a']) %}"
MANY = "{% set t = 'a' * 300000 %}{% set l = range(20000) | list %}"
TOO_MUCH = {
    "constants": "{{ 10 ** (10 ** 8) }}",
    "a constant condition": "{% if 10 ** (10 ** 8) %}{% endif %}",
    "a constant option": "{% autoescape 10 ** (10 ** 8) %}{% endautoescape %}",
    "a repeated text": "{{ 'a' * 10**9 }}",
    "a repeated list": "{{ ([1] * 10**8) | length }}",
    "squares": NAMES + "{% set a.x = 9 %}{% for i in range(99) %}{% set a.x = a.x * a.x %}{% endfor %}",
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "loops into a name": "{% set x %}{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}"
    "{% endset %}",
    "a text twice, and again": NAMES + "{% for i in range(99) %}{% set a.x = a.x + a.x %}{% endfor %}",
    "texts joined, and again": NAMES + "{% for i in range(99) %}{% set a.x = a.x ~ a.x %}{% endfor %}",
    "a list twice, and again": NAMES + "{% for i in range(99) %}{% set a.l = a.l + a.l %}{% endfor %}",
    "a list of lists": NAMES + "{% for i in range(99) %}{% set a.l = [a.l, a.l] %}{% endfor %}{{ a.l }}",
    "an object of objects": NAMES + "{% for i in range(99) %}{% set a.l = {'x': a.l, 'y': a.l} %}{% endfor %}",
    "lists compared": NAMES
    + "{% for i in range(40) %}{% set a.l = dict(x=a.l, y=a.l) %}{% set b.l = dict(x=b.l, y=b.l) %}{% endfor %}"
    "{{ a.l == b.l }}",
    "arguments of a macro": NAMES
    + "{% macro f() %}{% set a.l = varargs %}{% endmacro %}{% for i in range(99) %}{{ f(a.l, a.l) }}{% endfor %}"
    "{{ a.l }}",
    "replace": "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "the filter replace": "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
    "join": "{{ range(99999) | join('a' * 100000) }}",
    "the method join": "{{ ('a' * 100000).join(range(99999) | map('string')) }}",
    "padding": "{{ 'a'.ljust(10**9) }}",
    "center": "{{ 'a' | center(10**9) }}",
    "a filtered block": "{% filter center(10**9) %}a{% endfilter %}",
    "indent": "{{ [1] | tojson(indent=10**9) }}",
    "a width": "{{ '%1000000000d' % 1 }}",
    "a width in an argument": "{{ '%*d' % (10**9, 1) }}",
    "a width in a format": "{{ '{:1000000000}'.format(1) }}",
    "a width in a nested format": "{{ '{:{}}'.format(1, 10**9) }}",
    "a width in a list": "{% set a = '{0:{1[0]}}'.format(1, [10**8]) %}",
    "a width in a text": "{% set a = '{{{0:{1}}}}'.format('', '>100000000') %}",
    "a width in several digits": "{% set a = '{0:{1}{1}{1}{1}}'.format(1, 99) %}",
    "bytes": "{{ (5).to_bytes(10**9, 'big') }}",
    "tabs": "{{ ('\t' * 10000).expandtabs(100000) }}",
    "lists of one filter": "{{ ([range(99999)] * 10000) | map('list') | list | length }}",
    "batch": "{{ [1] | batch(10**9, 'x') | list }}",
    "macros that call two": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a list that grows under a loop": "{% set l = [1] %}{% for x in l %}{{ l.append(1) or '' }}{% endfor %}",
    "a list extended by itself": NAMES + "{% for i in range(99) %}{{ a.l.extend(a.l) or '' }}{% endfor %}",
    "a list in itself": "{% set l = [] %}{{ l.append(l) or '' }}{{ l }}",
    "lists in lists": NAMES
    + "{% for i in range(99) %}{% set b.l = [] %}{% for j in range(2) %}{{ b.l.append(a.l) or '' }}{% endfor %}"
    "{% set a.l = b.l %}{% endfor %}",
    "the front of a list": "{% set l = [] %}{% for i in range(99999) %}{{ l.insert(0, 1) or '' }}{% endfor %}",
    "a list copied, and again": "{% set l = range(99999) | list %}{% for i in l %}{{ l.copy() | length }}{% endfor %}",
    "items counted": "{% set l = [range(999) | list] * 9999 %}{% for i in range(999) %}{{ l.count(1) }}{% endfor %}",
    "a dict updated": "{% set l = range(9999) %}{% for i in l %}{{ {}.update(dict.fromkeys(l)) or '' }}{% endfor %}",
    "keys of a dict": "{% for i in range(99999) %}{{ dict.fromkeys(range(99999)) | length }}{% endfor %}",
    "a long macro": "{% macro f() %}" + "x" * 50_000 + "{% endmacro %}{% for i in range(99999) %}{{ f() }}{% endfor %}",
    "lists added": "{% set a = ([[0] * 1000] * 1000) | sum(start=[]) %}",
    "few long lists added": "{% set a = ([[0] * 100000] * 100000) | sum(start=[]) %}",
    "a search from the right": MANY + "{{ t.rfind('ab' ~ t) }}{{ (t ~ t).rfind('ab' ~ t) }}",
    "a split from the right": MANY + "{{ t.rsplit('ab' ~ t[1000:]) | length }}",
    "ends cut off": MANY + "{{ t.strip('b' * 100000 ~ 'a') }}",
    "items looked for": MANY + "{% for i in range(1000) %}{{ -1 in l }}{% endfor %}",
    "items looked for in a condition": MANY + "{% for i in range(1000) if -1 not in l %}{% endfor %}",
    "items looked for by a test": MANY + "{{ range(1000) | map('string') | select('in', l) | list }}",
    "texts looked into": MANY + "{% for i in range(1000) %}{{ 'b' in t }}{% endfor %}",
    "texts compared": MANY + "{% set u = t ~ '' %}{% for i in range(1000) %}{{ t == u }}{% endfor %}",
    "texts compared in a row": MANY + "{% set u = t ~ '' %}{% for i in range(1000) %}{{ '' < t <= u }}{% endfor %}",
    "texts compared by a test": MANY + "{% set u = t ~ '' %}{{ ([t] * 10000) | select('equalto', u) | list | length }}",
    "copies of a list compared": MANY + "{% set k = l + [] %}{% for i in range(1000) %}{{ l == k }}{% endfor %}",
    "copies of a list sorted": MANY + "{% set k = [l + [1], l + [0]] * 1000 %}{{ k | sort | length }}",
    "a key that is long": MANY + "{% set k = (l | map('string') | join, l | length) %}{% set k = (k, k) %}"
    "{% set k = (k, k, k, k, k) %}{% set d = {k: 1} %}{% for i in range(9999) %}{{ d[k] }}{% endfor %}",
    "the rest of a text": MANY + "{% for i in range(1000) %}{% set a = t[::-1] %}{% endfor %}",
    "a method that keeps the length": MANY + "{% for i in range(1000) %}{% set a = t.upper() %}{% endfor %}",
    "lists of empty texts": "{% set l = [''] * 100000 %}{% for i in range(1000) %}{% set a = l | join %}{% endfor %}",
    "a macro with the rest of a text": "{% macro f(s, n) %}{% if n %}{{ f(s[1:], n - 1) }}{% endif %}{% endmacro %}"
    "{{ f('x' * 5000000, 50) }}",
    "padding of nothing": "{% set a = '' | center(10**9) %}",
    "the method padding of nothing": "{% set a = ''.ljust(10**9) %}",
    "a width in bytes": "{% set a = '%1000000000d'.encode() % 1 %}",
    "a width after a name": "{% set a = '%(a)1000000000d' % {'a': 1} %}",
    "a width in a test": "{{ '%1000000000d' is even }}",
    "many widths": "{% set a = '%(a)9999d' * 100000 % {'a': 1} %}",
    "division": "{% set a = 2 ** 90000 %}{% for i in range(9999) %}{% set b = a // (a - 1) %}{% endfor %}",
    "a long attribute": "{% set l = [[1]] %}{{ l[0].append(l) or '' }}{% set p = '1.0.' * 10000 ~ '0' %}"
    "{{ (l * 10000) | map(attribute=p) | list | length }}",
    "characters in a list": "{{ ('日' * 5000000) | list | length }}",
    "a changed value": MANY
    + "{% set k = [l, l + []] %}{% for i in range(1000) %}{{ loop.changed(k[i % 2]) }}{% endfor %}",
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_template_that_takes_too_much_is_refused(name: str) -> None:
    def use() -> None:
        template = find_template(TOO_MUCH[name])
        find_dialect(template)
        with pytest.raises(InvalidParameterError, match=r"^chat_template takes too much time or memory"):
            template.render_prompt("Hi")

    assert cpu_time(use) < 20


@pytest.mark.filterwarnings("ignore:chat_template")
@pytest.mark.parametrize("written", [r"'\n' * 200000", "(call.function.name ~ '(city=') * 20000"])
def test_dialect_of_a_template_that_writes_much_is_found_in_linear_time(written: str) -> None:
    call = "{% for call in message.tool_calls %}{{ " + written + " }}{% endfor %}"
    source = "{% for message in messages %}{{ message.content }}" + call + "{% endfor %}{{ tools }}"
    assert cpu_time(lambda: find_dialect(find_template(source))) < 10


def test_many_forms_of_a_chat_take_no_more_than_two() -> None:
    refused = "{% for i in range(99999) %}{{ i }}{% endfor %}{{ raise_exception('No.') }}{{ tools }}{{ thinking }}"
    calls = (ToolCall("1", "f", {"a": 1}), ToolCall("2", "f", {"a": 2}))
    chat = [Message("assistant", "A", calls, thoughts="T"), Message("tool", "B"), Message("user"), Message("system")]

    def use() -> None:
        with pytest.raises(InvalidParameterError, match=r"cannot write these messages: No\.$"):
            JinjaTemplate(source=refused).render_chat(chat)

    assert cpu_time(use) < 10


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}", "it is nested too deeply"),
        ("{{ " + "1+" * 30_000 + "1 }}", "it is nested too deeply"),
        ("{% if 1 %}" * 2000 + "{% endif %}" * 2000, "it is nested too deeply"),
        ("{% if 1 %}" * 150 + "{% endif %}" * 150, "IndentationError"),
        ("{% for i in [1] %}" * 50 + "{% endfor %}" * 50, "SyntaxError"),
        ("{{ a }}" * 20_000, "it has more than 100,000 characters"),
    ],
)
def test_source_that_python_cannot_compile_is_refused(source: str, said: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"^not a valid Jinja template: {said}$"):
        find_template(source)


def test_endless_recursion_is_refused() -> None:
    for source in (
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    ):
        with pytest.raises(InvalidParameterError, match=r"^chat_template cannot write these messages: RecursionError$"):
            find_template(source).render_prompt("Hi")


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("{{ range(3) | map('string') | join('-') }}{{ [{'a': 1}] | map(attribute='a') | first }}", "0-1-21"),
        ("{{ [{'r': 'u'}] | selectattr('r', 'equalto', 'u') | list | length }}{{ x | default('y') }}", "1y"),
        ("{{ 'a' * 3 ~ 1 ~ none }}{{ '-' + '%03d' % 7 }}{{ '{}!'.format('*12345') }}", "aaa1None-007*12345!"),
        ("""{{ '{{"a": {0}, "b": {{"c": {1:02}}}}}'.format(1, 2) }}""", '{"a": 1, "b": {"c": 02}}'),
        ("{% for k, v in {'a': 1} | items %}{{ loop.length }}{{ loop.last }}{{ k }}{{ v }}{% endfor %}", "1Truea1"),
        ("{{ ' a*b ' | trim | replace('*', '+') | upper }}{{ 'a,b'.split(',')[1] }}{{ [2, 1] | sort }}", "A+Bb[1, 2]"),
        ("{% set l = [2] %}{{ l.append(1) or '' }}{{ l.pop(0) }}{{ l }}{{ dict.fromkeys('a') }}", "2[1]{'a': None}"),
        (
            "{% set d = {} %}{{ d.update(a=1) or '' }}{{ d.setdefault('b', []).append(2) or '' }}{{ d }}",
            "{'a': 1, 'b': [2]}",
        ),
        (
            "{{ 1 < 2 <= 2 }}{{ 3 > 2 > 2 }}{{ 'a' in 'ab' }}{{ 'a' not in {'a': 1} }}{{ [1] == [1] }}",
            "TrueFalseTrueFalseTrue",
        ),
        ("{{ 1 in ([0, 1] | map('int')) }}{{ none in x }}{{ 'abc'[::-1] }}{{ [1, 2, 3][1:] }}", "TrueFalsecba[2, 3]"),
        (
            "{{ 'a-b-c'.rsplit('-', 1) }}{{ ' a '.strip() }}{{ [1, 2] | sum }}{{ 5 // 2 - 1 }}{{ 2 is even }}",
            "['a-b', 'c']a31True",
        ),
        ("{% macro f(x) %}<{{ x }}{{ caller() if caller }}>{% endmacro %}{{ f((1, 2)[1]) }}", "<2>"),
    ],
)
def test_what_templates_do_is_allowed(source: str, written: str) -> None:
    assert find_template(source + "{{ messages[0].content }}").render_prompt("!") == written + "!"


@pytest.mark.parametrize("name", ["pprint", "striptags", "urlize", "wordwrap"])
def test_slow_filters_do_not_exist(name: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"No filter named '{name}'"):
        find_template("{{ 'a' | " + name + " }}")


@pytest.mark.parametrize(
    "source",
    ["{{ [1].sort(key=raise_exception) }}", "{{ dict.update({}, a=1) }}", "{{ ('a' | escape).striptags() }}"],
)
def test_methods_whose_work_is_not_counted_are_refused(source: str) -> None:
    with pytest.raises(InvalidParameterError, match="cannot write these messages: "):
        find_template(source).render_prompt("Hi")


def test_messages_may_be_gathered_in_a_list() -> None:
    gathering = "{% set l = [] %}{% for m in messages %}{{ l.append(m) or '' }}{% endfor %}"
    source = gathering + "{% for m in l %}{{ m.content }}{% endfor %}"
    chat = [Message("user" if at % 2 else "assistant", "word " * 1000) for at in range(1, 401)]
    assert len(JinjaTemplate(source=source).render_chat(chat)) == 2_000_000


def test_long_chats_are_not_too_much() -> None:
    chat = [Message("user" if at % 2 else "assistant", "word " * 1000) for at in range(1, 401)]
    assert len(JinjaTemplate(source=QWEN).render_chat(chat)) > 2_000_000


def test_long_text_with_a_name_in_a_loop_is_written() -> None:
    naming = "{% for m in messages %}{% set text = m.content %}"
    source = naming + "{{ text.strip('\n').replace('c', 'd').rsplit('|', 1)[-1] }}{% endfor %}"
    content = "a b " * 100_000
    assert find_template(source).render_prompt(content) == content


def test_long_prompts_are_written() -> None:
    content = "a b " * 2_000_000
    template = JinjaTemplate(source="{% for m in messages %}{{ m.content | replace('c', 'd') | trim }}|{% endfor %}")
    assert template.render([("user", content), ("assistant", content)]) == f"{content[:-1]}|{content[:-1]}|"


LONG = "{#" + "x" * 20_000 + "#}"
OF_VALUES = (
    LONG + "{% macro write(value) %}{% if value is mapping %}{% for key in value %}{{ key }}:{{ write(value[key]) }},"
    "{% endfor %}{% elif value is sequence and value is not string %}{% for each in value %}{{ write(each) }},"
    "{% endfor %}{% else %}{{ value }}{% endif %}{% endmacro %}"
    "{% for tool in tools or [] %}{{ write(tool) }}{% endfor %}"
    "{% for m in messages %}{{ m.role }}{{ m.content }}{% for call in m.tool_calls or [] %}{{ call.function.name }}"
    "{{ write(call.function.arguments) }}{% endfor %}{% endfor %}"
)
"""As the templates of Gemma 4 and gpt-oss, which write each value of a call and of a schema by a macro."""

NOTES = {"notes": [{"content": "a thing", "status": "done", "id": str(number)} for number in range(8)]}
TOOLS = [Tool(f"tool_{number}", "A tool.", {"type": "object", "properties": NOTES}) for number in range(150)]


def test_macros_write_many_calls_and_tools() -> None:
    chat = [Message("user", "Hi")]
    for number in range(150):
        chat += [
            Message("assistant", "", (ToolCall(f"{number:09}", "write", NOTES),)),
            Message("tool", "ok", tool_call_id=f"{number:09}"),
        ]
    prompt = JinjaTemplate(source=OF_VALUES).render_chat(chat, TOOLS)
    assert prompt.count("a thing") == 8 * 300


def test_many_tools_are_written_as_compact_json() -> None:
    template = JinjaTemplate(
        source="{{ tools | tojson(separators=(',', ':')) }}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    assert template.render_chat([Message("user", "Hi")], TOOLS).count('"name":"tool_') == 150
