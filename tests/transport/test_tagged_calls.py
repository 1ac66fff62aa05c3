"""Calls with tagged arguments: their values are text that the schema types, and may hold marks themselves."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paradigm_transport.chat.dialects import call_forms as forms
from paradigm_transport.chat.dialects.call_json import CUT_OFF
from paradigm_transport.chat.dialects.tagged import TaggedCalls
from paradigm_transport.chat.events import CallArguments, Event
from paradigm_transport.messages import Tool, ToolCall
from tests.transport.splits import Answer, every_split, read

PROPERTIES = {
    "city": {"type": "string"},
    "days": {"type": "integer"},
    "ratio": {"type": "number"},
    "detailed": {"type": "boolean"},
    "place": {"type": "object"},
    "tags": {"type": "array"},
    "note": {"type": ["string", "null"]},
}
TOOLS = [Tool("get_weather", "", {"type": "object", "properties": PROPERTIES}), Tool("time")]
NO_ARGUMENTS = ("time", {})

FORMS = {
    "qwen": forms.QWEN_CODER,
    "seed": forms.SEED_OSS,
    "glm 4.5": forms.GLM_45,
    "glm 4.7": forms.GLM_47,
    "minimax": forms.MINIMAX_M2,
    "deepseek 3.2": forms.DEEPSEEK_V32,
    "deepseek 4": forms.DEEPSEEK_V4,
    "step": forms.STEP_3,
}
WRITTEN = {
    "qwen": "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n3\n"
    "</parameter>\n</function>\n</tool_call>",
    "seed": "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Oslo</parameter>\n<parameter=days>3"
    "</parameter>\n</function>\n</seed:tool_call>",
    "glm 4.5": "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n<arg_key>days</arg_key>\n"
    "<arg_value>3</arg_value>\n</tool_call>",
    "glm 4.7": "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Oslo</arg_value><arg_key>days</arg_key>"
    "<arg_value>3</arg_value></tool_call>",
    "minimax": '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Oslo</parameter>\n'
    '<parameter name="days">3</parameter>\n</invoke>\n</minimax:tool_call>',
    "deepseek 3.2": '\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n'
    '<｜DSML｜parameter name="city" string="true">Oslo</｜DSML｜parameter>\n'
    '<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>',
    "deepseek 4": '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get_weather">\n'
    '<｜DSML｜parameter name="city" string="true">Oslo</｜DSML｜parameter>\n'
    '<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>',
    "step": '<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="get_weather">'
    '<steptml:parameter name="city">Oslo</steptml:parameter><steptml:parameter name="days">3</steptml:parameter>'
    "</steptml:invoke><｜tool_call_end｜><｜tool_calls_end｜>",
}
OSLO = ("get_weather", {"city": "Oslo", "days": 3})

# Texts that hold what looks like markup of one family or another.
CODE = [
    "<div class='a'>\n  <p>1 < 2 && 3 > 2</p>\n</div>",
    '<?xml version="1.0"?>\n<parameter name="x">1</parameter>\n<other/>',
    "<parameter=x>\n1\n</parameter>",
    "def f():\n    return '</parameter>'\n",
    "a </arg_value> b </tool_call> c",
    "</parameter></parameter>",
    "<tool_call>",
    "</tool_call>\n</minimax:tool_call>",
    "<｜DSML｜parameter",
    "</function> is closed",
    "&lt;b&gt; \\n \\u00e9 é 😀",
    "<",
    "</",
    "",
    "tail</steptml:parameter><",
]


def answer(form: TaggedCalls, text: str, *, cut_off: bool = False, tools: Any = TOOLS, **options: Any) -> Answer:
    return read(lambda: form.reader(tools=tools, **options), text, cut_off=cut_off)


def called(*named: tuple[str, dict[str, Any]]) -> list[ToolCall]:
    return [ToolCall("id", name, arguments) for name, arguments in named]


@pytest.fixture(params=FORMS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def form(family: str) -> TaggedCalls:
    return FORMS[family]


# Reading


def test_call_is_written_as_the_template_does(family: str, form: TaggedCalls) -> None:
    assert form.write(called(OSLO)) == WRITTEN[family]


def test_call_is_read(family: str, form: TaggedCalls) -> None:
    assert read(lambda: form.reader(tools=TOOLS), WRITTEN[family], split=every_split) == Answer(calls=[OSLO])


def test_calls_and_the_text_around_them_are_read(family: str, form: TaggedCalls) -> None:
    text = f"Let me see.\n{WRITTEN[family]}\nand\n{form.write(called(NO_ARGUMENTS, OSLO))}\n\nDone. \n"
    assert answer(form, text) == Answer("Let me see.\nand\nDone. \n", [OSLO, NO_ARGUMENTS, OSLO])


def test_space_between_marks_is_free(form: TaggedCalls) -> None:
    text = form.write(called(("get_weather", {"detailed": True, "tags": ["a"]})))
    for mark in ("</", "<function", "<invoke", "<｜DSML｜invoke", "<parameter", "<arg_", "<｜DSML｜parameter"):
        if "arg_value" not in mark:
            text = text.replace(mark, f"\n  {mark}")
    assert answer(form, text).calls == [("get_weather", {"detailed": True, "tags": ["a"]})]


def test_values_have_the_types_of_the_schema(form: TaggedCalls) -> None:
    arguments = {
        "city": "7",
        "days": -7,
        "ratio": 0.5,
        "detailed": False,
        "place": {"a": [None, {"b": "c"}]},
        "tags": [],
        "note": None,
        "unknown": "text",
    }
    assert answer(form, form.write(called(("get_weather", arguments)))).calls == [("get_weather", arguments)]


def test_values_of_an_unknown_tool_are_text(form: TaggedCalls) -> None:
    value: object = 3 if "IS_TEXT" in form.parameter else "3"
    written = form.write(called(("unknown", {"days": 3, "city": "Oslo"})))
    assert answer(form, written).calls == [("unknown", {"days": value, "city": "Oslo"})]


@pytest.mark.parametrize("code", CODE)
def test_marks_in_a_value_are_data(form: TaggedCalls, code: str) -> None:
    arguments = {"city": code, "days": 3}
    read_back = {"space": code.strip(), "line": code.removesuffix("\n") if form is forms.SEED_OSS else code}
    expected = {**arguments, "city": read_back.get(form.trim, code)}
    text = f"{form.write(called(('get_weather', arguments)))}\nDone."
    assert read(lambda: form.reader(tools=TOOLS), text) == Answer("Done.", [("get_weather", expected)])


def test_tags_of_another_call_in_a_value_are_data_if_they_are_balanced() -> None:
    code = '<list><parameter name="x">1</parameter>\n<parameter name="y">2</parameter>\n</list>'
    form = forms.MINIMAX_M2
    arguments = {"city": code, "unknown": "b", "days": 1}
    assert answer(form, form.write(called(("get_weather", arguments)))).calls == [("get_weather", arguments)]


def test_only_one_line_break_on_each_side_of_a_value_is_markup() -> None:
    for code in ("\n\na\n\n", "\n", "", " a ", "\r\n"):
        written = forms.QWEN_CODER.write(called(("get_weather", {"city": code})))
        assert answer(forms.QWEN_CODER, written).calls == [("get_weather", {"city": code})]
    written = "<seed:tool_call><function=time><parameter=a>\n\nb\n</parameter></function></seed:tool_call>"
    assert answer(forms.SEED_OSS, written).calls == [("time", {"a": "\nb"})]


def test_space_around_a_value_is_a_part_of_it_or_not() -> None:
    for form, value in ((forms.GLM_45, " \n Oslo \n "), (forms.MINIMAX_M2, " \n Oslo \n "), (forms.STEP_3, "Oslo")):
        written = form.write(called(("get_weather", {"city": " \n Oslo \n "})))
        assert answer(form, written).calls == [("get_weather", {"city": value})]


def test_line_without_tool_call_mark_is_a_call() -> None:
    text = "I look.\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\nDone."
    assert answer(forms.QWEN_CODER, text) == Answer("I look.\nDone.", [("get_weather", {"city": "Oslo"})])
    text = '<invoke name="time">\n</invoke>'
    assert answer(forms.MINIMAX_M2, text) == Answer(calls=[NO_ARGUMENTS])


@pytest.mark.parametrize("quote", ['"', "'", ""])
def test_names_may_have_any_quotes(quote: str) -> None:
    text = WRITTEN["minimax"].replace('"', quote)
    assert answer(forms.MINIMAX_M2, text) == Answer(calls=[OSLO])


def test_value_without_end_mark_ends_at_the_next_argument() -> None:
    text = WRITTEN["qwen"].replace("Oslo\n</parameter>\n", "Oslo\n")
    assert answer(forms.QWEN_CODER, text) == Answer(calls=[OSLO])
    text = WRITTEN["minimax"].replace("Oslo</parameter>\n", "Oslo")
    assert answer(forms.MINIMAX_M2, text) == Answer(calls=[OSLO])
    unknown = "<function=unknown>\n<parameter=a>\n1\n<parameter=b>\n2\n</parameter>\n</function>"
    assert answer(forms.QWEN_CODER, unknown) == Answer(calls=[("unknown", {"a": "1", "b": "2"})])


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("qwen", "It writes `<function=NAME>` and then one tag for each parameter.\n\n1. It is XML."),
        ("qwen", "It writes <function=NAME>\n\nand then a tag."),
        ("minimax", 'In Ant write `<invoke name="x">` here, and <invoke name="y"> there.'),
    ],
)
def test_mark_of_a_call_that_a_text_quotes_stays_in_the_text(family: str, text: str) -> None:
    form = FORMS[family]
    assert read(lambda: form.reader(tools=TOOLS), text, split=every_split) == Answer(text)


def test_last_value_without_end_mark_ends_with_the_call() -> None:
    text = WRITTEN["qwen"].replace("3\n</parameter>\n", "3\n")
    assert answer(forms.QWEN_CODER, text) == Answer(calls=[OSLO])


def test_call_without_end_mark_of_its_own_ends_with_the_block() -> None:
    text = WRITTEN["qwen"].replace("</function>\n", "")
    assert answer(forms.QWEN_CODER, text) == Answer(calls=[OSLO])


def test_block_without_end_mark_is_enough_if_the_call_has_ended() -> None:
    for family in ("qwen", "seed", "minimax", "deepseek 3.2"):
        form = FORMS[family]
        assert answer(form, WRITTEN[family].removesuffix(form.end)) == Answer(calls=[OSLO])


def test_marks_of_values_say_whether_they_are_text() -> None:
    def dsml(*parameters: str) -> str:
        return f'<｜DSML｜invoke name="get_weather">{"".join(parameters)}</｜DSML｜invoke>'

    def parameter(key: str, value: str, attribute: str = "") -> str:
        return f'<｜DSML｜parameter name="{key}"{attribute}>{value}</｜DSML｜parameter>'

    text = dsml(
        parameter("days", "3", ' string="true"'),
        parameter("city", "3", ' string="false"'),
        parameter("x", "3"),
        parameter("y", "three", ' string="false"'),
        parameter("z", "{'a': 1}", ' string="false"'),
        parameter("detailed", "True", ' string="false"'),
    )
    expected = {"days": "3", "city": "3", "detailed": True, "x": 3, "y": "three", "z": {"a": 1}}
    assert answer(forms.DEEPSEEK_V32, text).calls == [("get_weather", expected)]


@pytest.mark.parametrize("wrapper", ["arguments", "input"])
def test_arguments_within_one_are_unwrapped(form: TaggedCalls, wrapper: str) -> None:
    inner = {"city": "Oslo", "days": 3}
    for wrapped in (inner, json.dumps(inner)):
        assert answer(form, form.write(called(("get_weather", {wrapper: wrapped})))).calls == [OSLO]
    for kept in ({"town": "Oslo"}, "Oslo"):
        found = answer(form, form.write(called(("get_weather", {wrapper: kept})))).calls[0][1][wrapper]
        assert found in (kept, json.dumps(kept))


def test_argument_that_is_given_twice_has_the_last_value() -> None:
    text = WRITTEN["glm 4.7"].replace("days", "city")
    assert answer(forms.GLM_47, text).calls == [("get_weather", {"city": "3"})]


# Text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " Paris\n",
        "a < b",
        "x </",
        "<b>bold</b>",
        "tool_call>",
        "<tool ",
        "<fun",
        "<functions",
        "</parameter>",
        "｜DSML",
    ],
)
def test_text_without_calls_is_unchanged(form: TaggedCalls, text: str) -> None:
    assert answer(form, text) == Answer(text)


def test_what_merely_resembles_a_mark_is_text() -> None:
    text = "Write <function=>, <function= and <function\n=f>. <functions> <tool_calls>"
    assert answer(forms.QWEN_CODER, text) == Answer(text)


def test_marks_are_not_shown(form: TaggedCalls) -> None:
    text = f"a {form.end} b {form.end.strip()}{form.end.strip()[:-2]}"
    assert answer(form, text) == Answer("a\nb")


# Invalid calls


@pytest.mark.parametrize("family", ["deepseek 3.2", "step"])
def test_mark_of_a_family_of_its_own_is_not_text_without_a_name_either(family: str) -> None:
    form = FORMS[family]
    mark = form.call.partition("NAME")[0]
    found = answer(form, f"Yes. {mark}>{form.end} Done.")
    assert (found.text, found.calls, len(found.invalid)) == ("Yes.\nDone.", [], 1)


def test_call_that_is_cut_off_is_invalid(family: str, form: TaggedCalls) -> None:
    text = WRITTEN[family].strip()
    whole = text.index(form.call_end.strip()) + len(form.call_end.strip()) if form.call_end else len(text)
    for end in range(len(form.begin.strip()) + 1, whole):
        found = read(lambda: form.reader(tools=TOOLS), text[:end], cut_off=True)
        assert (found.text, found.calls) == ("", []), text[:end]
        assert found.reasons == [CUT_OFF], text[:end]


def test_call_in_another_form_is_invalid(form: TaggedCalls) -> None:
    begin = form.begin.strip()
    text = f'{begin}\n("name": "time")\n{form.end} Done.'
    assert answer(form, text) == Answer(
        "Done.", [], [(None, '("name": "time")')], ["not written as the model writes calls"]
    )
    assert answer(form, f"{begin}[1, 2]{form.end} Done.").invalid == [(None, "[1, 2]")]
    assert answer(form, f"{begin}{form.end}").invalid == [(None, "")] or form is forms.STEP_3


def test_call_in_json_is_read(form: TaggedCalls) -> None:
    begin = form.begin.strip()
    for written in ('{"name": "time"}', '\n[{"name": "time"}]\n'):
        assert answer(form, f"{begin}{written}{form.end} Done.") == Answer("Done.", [("time", {})])


def test_text_before_arguments_makes_a_call_invalid() -> None:
    text = WRITTEN["qwen"].replace("<parameter=city>", "with <parameter=city>")
    found = answer(forms.QWEN_CODER, f"{text} Done.")
    assert (found.text, found.calls, [name for name, _ in found.invalid]) == ("Done.", [], ["get_weather"])


def test_value_without_end_does_not_swallow_the_text_behind_the_call() -> None:
    text = WRITTEN["glm 4.7"].replace("3</arg_value>", "3")
    found = answer(forms.GLM_47, f"{text}\nDone.")
    assert (found.text, found.calls, [name for name, _ in found.invalid]) == ("Done.", [], ["get_weather"])
    assert answer(forms.GLM_47, text + WRITTEN["glm 4.7"]) == Answer(calls=[OSLO, OSLO])


# Forced calls and single ones


def test_prefill_is_the_beginning_of_a_call(family: str, form: TaggedCalls) -> None:
    text = WRITTEN[family]
    for name in (None, "get_weather"):
        prefill = form.prefill(name)
        assert text.startswith(prefill)
        assert prefill.endswith("get_weather") is (name is not None and form is forms.GLM_47)
        found = answer(form, f"{text.removeprefix(prefill)}\nDone.", prefilled=True, name=name)
        assert found == Answer("Done.", [OSLO])


def test_prefilled_call_that_is_not_continued_is_invalid(form: TaggedCalls) -> None:
    for name in (None, "get_weather"):
        for rest in ("", "Well, no."):
            found = answer(form, rest, prefilled=True, name=name)
            assert (found.text, found.calls, len(found.invalid)) == ("", [], 1)


def test_only_the_first_call_is_read_if_one_is_wanted(form: TaggedCalls) -> None:
    text = f"Yes.\n{form.write(called(OSLO, NO_ARGUMENTS))}\nDone."
    assert answer(form, text, parallel=False) == Answer("Yes.", [OSLO])


def test_arguments_are_streamed(family: str, form: TaggedCalls) -> None:
    reader = form.reader(tools=TOOLS)
    text, _, rest = WRITTEN[family].partition("slo")
    events: list[Event] = reader.feed(text)
    assert reader.in_value
    assert "".join(event.text for event in events if isinstance(event, CallArguments)) == '{"city": "O'
    reader.feed(rest)
    assert not reader.in_value


# What the server is asked for


def test_constraint_begins_where_the_prefill_ends(family: str, form: TaggedCalls) -> None:
    for name in (None, "get_weather"):
        for parallel in (True, False):
            constraint = form.constraint(TOOLS, name, parallel=parallel)
            if form.style is None:
                assert (constraint, form.offer(TOOLS, parallel=parallel)) == (None, None)
                continue
            assert constraint is not None
            first, *more = json.loads(constraint["structural_tag"])["format"]["elements"]
            tags = first.get("elements", [first])
            assert [tag["content"]["style"] for tag in tags] == [form.style] * (2 if name is None else 1)
            assert WRITTEN[family].startswith(form.prefill(name) + tags[0]["begin"])
            assert [part["type"] for part in more] == ["tags_with_separator"] * parallel + [
                "const_string"
            ] * form.is_shared
            end = tags[0]["end"] + "".join(part.get("value", "") for part in more)
            assert WRITTEN[family].endswith(end)


def test_offer_begins_with_the_mark_of_calls(family: str, form: TaggedCalls) -> None:
    offer = form.offer(TOOLS, parallel=False)
    if form.style is not None:
        assert offer is not None
        structure = json.loads(offer["structural_tag"])["format"]
        assert all(tag["begin"].startswith(structure["triggers"][0]) for tag in structure["tags"])
        assert WRITTEN[family].lstrip().startswith(structure["tags"][0]["begin"])
        assert structure["stop_after_first"] is True


# Properties


FRAGMENTS = [
    *["<tool_call>", "</tool_call>", "<function=", "f>", "</function>", "<parameter=", "a>", "</parameter>", "\n", " "],
    *["<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<minimax:tool_call>", "</minimax:tool_call>"],
    *['<invoke name="', 'f">', "</invoke>", '<parameter name="', 'city">', "<｜DSML｜function_calls>", "string=", "x"],
    *['<｜DSML｜invoke name="', "</｜DSML｜invoke>", '<｜DSML｜parameter name="', "</｜DSML｜parameter>", "city", "3"],
]


@settings(deadline=None)
@given(st.data())
def test_any_text_is_read_alike_in_any_split(data: st.DataObject) -> None:
    form = FORMS[data.draw(st.sampled_from(sorted(FORMS)))]
    text = "".join(data.draw(st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=3)), max_size=25)))
    cut_off = data.draw(st.booleans())
    found = read(lambda: form.reader(tools=TOOLS), text, cut_off=cut_off)
    assert form.begin.strip() not in found.text
    assert form.end not in found.text


TEXT = st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"]))  # marks are in `CODE`


@settings(deadline=None)
@given(st.sampled_from(sorted(FORMS)), TEXT, st.dictionaries(st.text("abc", min_size=1), TEXT, max_size=3))
def test_what_is_written_is_read(family: str, code: str, others: dict[str, str]) -> None:
    form = FORMS[family]
    arguments = {"city": code, "days": 3, **others}
    if form.trim == "space":
        expected = {key: value.strip() if isinstance(value, str) else value for key, value in arguments.items()}
    elif form is forms.SEED_OSS:  # whose template writes no line breaks around values, although models do
        expected = {
            key: value.removeprefix("\n").removesuffix("\n") if isinstance(value, str) else value
            for key, value in arguments.items()
        }
    else:
        expected = arguments
    found = read(lambda: form.reader(tools=TOOLS), form.write(called(("get_weather", arguments))))
    assert found == Answer(calls=[("get_weather", expected)])


@pytest.mark.parametrize(
    "fragment", ["<", "</parameter>", "</parameter>\n", "<parameter=x>", "<tool_call>", "</tool", " "]
)
def test_reading_takes_linear_time(fragment: str) -> None:
    form = forms.QWEN_CODER
    before = "<tool_call><function=get_weather><parameter=city>"

    def seconds(count: int) -> float:
        reader = form.reader(tools=TOOLS)
        begin = time.process_time()
        for part in (before, *[fragment] * count):
            reader.feed(part)
        reader.finish()
        return time.process_time() - begin

    assert min(seconds(8000) for _ in range(3)) < 20 * max(min(seconds(1000) for _ in range(3)), 0.005)
