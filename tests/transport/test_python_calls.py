"""Calls written as Python are read, never run: bare only if they are all of the answer, between marks anywhere."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paradigm_transport.chat.dialects import call_forms as forms
from paradigm_transport.chat.dialects.call_json import CUT_OFF
from paradigm_transport.chat.dialects.python_calls import PythonCalls
from paradigm_transport.chat.events import CallArguments, Text
from paradigm_transport.messages import Tool, ToolCall
from tests.transport.splits import Answer, every_split, read

TOOLS = [Tool("f"), Tool("get_weather"), Tool("time")]
OSLO = ("get_weather", {"city": "Oslo", "days": 3})
TIME = ("time", {})

FORMS = {
    "pythonic": forms.PYTHONIC,
    "llama 4": forms.LLAMA_4,
    "olmo 3": forms.OLMO_3,
    "lfm 2": forms.LFM_2,
}
WRITTEN = {
    "pythonic": "[get_weather(city='Oslo', days=3), time()]",
    "llama 4": "<|python_start|>[get_weather(city='Oslo', days=3), time()]<|python_end|>",
    "olmo 3": "<function_calls>\nget_weather(city='Oslo', days=3)\ntime()\n</function_calls>",
    "lfm 2": "<|tool_call_start|>[get_weather(city='Oslo', days=3), time()]<|tool_call_end|>",
}
MARKED = sorted(WRITTEN.keys() - {"pythonic"})


def answer(form: PythonCalls, text: str, *, cut_off: bool = False, tools: Any = TOOLS, **options: Any) -> Answer:
    return read(lambda: form.reader(tools=tools, **options), text, cut_off=cut_off)


def calls_of(body: str, form: PythonCalls = forms.LFM_2) -> Answer:
    """Read a list of calls between marks."""
    return answer(form, f"{form.begin}{body}{form.end}")


def value_of(written: str) -> Any:
    """Read one argument."""
    found = calls_of(f"[f(a={written})]")
    assert (found.text, found.invalid) == ("", []), written
    return found.calls[0][1]["a"]


@pytest.fixture(params=FORMS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def form(family: str) -> PythonCalls:
    return FORMS[family]


# Calls


def test_calls_are_written_and_read(family: str, form: PythonCalls) -> None:
    assert form.write([ToolCall("id", *OSLO), ToolCall("id", *TIME)]) == WRITTEN[family]
    found = read(lambda: form.reader(tools=TOOLS), WRITTEN[family], split=every_split)
    assert found == Answer(calls=[OSLO, TIME])


@pytest.mark.parametrize("family", MARKED)
def test_calls_and_the_text_around_them_are_read(family: str) -> None:
    text = f"Let me see.\n{WRITTEN[family]}\nand\n{WRITTEN[family]}\n\nDone. \n"
    assert answer(FORMS[family], text) == Answer("Let me see.\nand\nDone. \n", [OSLO, TIME, OSLO, TIME])


def test_space_and_commas_are_free(form: PythonCalls) -> None:
    body = "get_weather( city = 'Oslo' ,\n days=3 , ) ,\n time ( )\n"
    body = f" [ {body}, ] " if form.is_list else body
    assert calls_of(body, form) == Answer(calls=[OSLO, TIME])


def test_names_may_have_dots_and_other_letters() -> None:
    assert calls_of("[files.read-all(größe=1), été()]").calls == [("files.read-all", {"größe": 1}), ("été", {})]


def test_argument_may_be_called_like_a_keyword() -> None:
    assert calls_of("[f(from=1, class='a', None=2)]").calls == [("f", {"from": 1, "class": "a", "None": 2})]


def test_argument_may_have_a_name_that_is_not_pythons() -> None:
    arguments = {"start-date": "a, b-c='", "api.version": 1, "$top": 2, "@type": {"x": "-y=1"}}
    assert calls_of(forms.LFM_2.write([ToolCall("id", "f", arguments)])[20:-18]).calls == [("f", arguments)]


def test_unknown_tool_is_called_between_marks() -> None:
    assert calls_of("[unknown(a=1)]").calls == [("unknown", {"a": 1})]


def test_several_lists_are_read() -> None:
    form = forms.LLAMA_4
    assert calls_of("[f()]\n[time()]", form).text == "[time()]"
    assert answer(form, WRITTEN["llama 4"] * 2) == Answer(calls=[OSLO, TIME] * 2)


# Bare lists


BARE = [forms.PYTHONIC, forms.LLAMA_4]


@pytest.mark.parametrize("form", BARE)
def test_bare_list_is_read_if_it_is_all_of_the_answer(form: PythonCalls) -> None:
    assert answer(form, f" \n{WRITTEN['pythonic']}\n ") == Answer(calls=[OSLO, TIME])


@pytest.mark.parametrize("form", BARE)
@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "[",
        "[]",
        "[1, 2]",
        "[f]",
        "[f](https://example.org)",
        "[f(a)] is how",
        "[f(1)]",
        "[f('x')]",
        "[f(a=x)]",
        "[f(a=1)] is a call.",
        "[f(a=1), 2]",
        "[f(a==1)]",
        "[f(a=1)][f(a=2)]",
        "I call [f(a=1)]",
        "```\n[f(a=1)]\n```",
        "[unknown(a=1)]",
        "f(a=1)",
        "(f(a=1))",
        "[unknown(a=1",
    ],
)
def test_other_answers_are_text(form: PythonCalls, text: str) -> None:
    assert answer(form, text) == Answer(text)


@pytest.mark.parametrize("form", BARE)
def test_bare_list_needs_one_known_tool(form: PythonCalls) -> None:
    assert answer(form, "[unknown(a=1), f()]").calls == [("unknown", {"a": 1}), ("f", {})]
    assert answer(form, "[f()]", tools=()) == Answer("[f()]")


def test_bare_list_without_its_last_bracket_is_read() -> None:
    assert answer(forms.PYTHONIC, "[f(a=1)") == Answer(calls=[("f", {"a": 1})])


@pytest.mark.parametrize("text", ["[f(", "[f(a=", "[f(a='x", "[f(a=[1", "[f", "[get_wea", "[f(a=1, b"])
def test_bare_list_that_is_cut_off_is_invalid(text: str) -> None:
    found = answer(forms.PYTHONIC, text, cut_off=True)
    assert (found.text, found.calls, found.reasons) == ("", [], [CUT_OFF])


def test_text_that_is_not_a_list_is_streamed() -> None:
    reader = forms.PYTHONIC.reader(tools=TOOLS)
    assert reader.feed("[") == reader.feed("f(a=1, ") == []
    assert "".join(event.text for event in reader.feed("2)") if isinstance(event, Text)) == "[f(a=1, 2)"
    assert reader.feed(" more") == [Text(" more")]


# Values


@pytest.mark.parametrize(
    "written",
    [
        *["1", "-1", "+1", "0", "1_000", "0x1F", "0b11", "0o17", "1.5", "-.5", "5.", "1e3", "1E-3", "1_0.5"],
        *["'a'", '"a"', "''", "'it\\'s'", '"a\'b"', "'a\\nb'", "'\\x41\\u00e9\\U0001F600\\101\\0'", "'\\N{BULLET}'"],
        *["r'\\d\\''", "'a' 'b'", "'a' \"b\"", "'''a'b\"\"'''", '"""a\n"b" """', "u'a'", "'\\\nb'"],
        *["[]", "[1, 'a', [None]]", "[1,]", "{}", "{'a': 1, \"b\": {'c': [True]}}", "{'a': 1,}", "{'é': 'ü'}"],
        *["'[f(a=1)]'", "'a, b=1'", "'{'", "'\\\\'", "'a\\\\\\'b'", "'é 😀'", "True", "False", "None"],
    ],
)
def test_values_are_those_of_python(written: str) -> None:
    assert value_of(written) == eval(f"dict(a={written})")["a"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("07", 7),
        ("-007", -7),
        ("(1, 2)", [1, 2]),
        ("()", []),
        ("{1, 2}", [1, 2]),
        ("{'a'}", ["a"]),
        ("{1: 'a', None: 'b', True: 'c', 1.5: 'd'}", {"1": "a", "null": "b", "true": "c", "1.5": "d"}),
        ("f'a'", "a"),
        ("'\\d+\\.'", "\\d+\\."),
        ("'a\nb\tc'", "a\nb\tc"),
        ("'\\ud83d\\ude00'", "😀"),
        ("'sed -n '1,9p' f.py'", "sed -n '1,9p' f.py"),
        ("'it's'", "it's"),
        ("'print('hi')'", "print('hi')"),
        ("'grep 'x', 'y' z'", "grep 'x', 'y' z"),
        ("['it's', 'b']", ["it's", "b"]),
        ("{'it's': 'that's'}", {"it's": "that's"}),
        ('"say "hi""', 'say "hi"'),
        ("'python -c 'print(\"hi\")''", "python -c 'print(\"hi\")'"),
    ],
)
def test_simple_mistakes_are_repaired(written: str, value: Any) -> None:
    assert value_of(written) == value


@pytest.mark.parametrize(
    "written",
    [
        *[
            "x",
            "1 + 1",
            "'a' + 'b'",
            "open('x')",
            "nan",
            "float('nan')",
            "1e999",
            "1j",
            "lambda: 1",
            "[1 2]",
            "[x for x]",
        ],
        *[
            "*a",
            "'\\ud83d'",
            "'\\ude00'",
            "'\\ud83dx'",
            "'\\U00110000'",
            "{'a': }",
            "{'a'",
            "{'a': 1, 'b'}",
            "0b",
            "--1",
        ],
        "[" * 3000 + "]" * 3000,
    ],
)
def test_what_is_not_a_literal_makes_the_call_invalid(written: str) -> None:
    found = answer(forms.LFM_2, f"Yes.<|tool_call_start|>[f(a={written})]<|tool_call_end|>No.")
    assert (found.calls, len(found.invalid)) == ([], 1)
    assert found.text == "Yes.\nNo."


@pytest.mark.parametrize("body", ["[f(a=[1]]", "[f(a=[1]", "[f(a=[1])", "[f(a=[1", "f(a=[1])", "f(a=[1,"])
def test_missing_brackets_are_added_before_the_end_mark(body: str) -> None:
    assert calls_of(body) == Answer(calls=[("f", {"a": [1]})])


# Between marks


def test_end_mark_may_be_missing_behind_a_whole_list() -> None:
    assert answer(forms.LFM_2, "<|tool_call_start|>[f(a=1)]") == Answer(calls=[("f", {"a": 1})])
    assert answer(forms.LFM_2, "<|tool_call_start|>[f(a=1)] Done.") == Answer("Done.", [("f", {"a": 1})])


@pytest.mark.parametrize("family", MARKED)
def test_call_that_is_cut_off_is_invalid(family: str) -> None:
    form = FORMS[family]
    text = form.write([ToolCall("id", "f", {"a": "it's", "b": [1.5, {"c": None}]})]).strip()
    for end in range(len(form.begin.strip()), text.rindex(")")):
        found = answer(form, text[:end], cut_off=True)
        assert (found.text, found.calls, found.reasons) == ("", [], [CUT_OFF]), text[:end]


def test_second_call_that_is_cut_off_is_invalid() -> None:
    text = "<|tool_call_start|>[f(a=1), get_wea"
    assert answer(forms.LFM_2, text, cut_off=True) == Answer("", [("f", {"a": 1})], [(None, "get_wea")], [CUT_OFF])


def test_other_text_between_marks_is_invalid() -> None:
    found = answer(forms.LFM_2, "<|tool_call_start|>Hello<|tool_call_end|> Done.")
    assert (found.text, found.calls, found.invalid) == ("Done.", [], [(None, "Hello")])
    assert answer(forms.LFM_2, "<|tool_call_start|><|tool_call_end|>").invalid == [(None, "")]


def test_invalid_call_is_quoted_without_the_list_around_it() -> None:
    assert calls_of("[f(a=1), t me()]").invalid == [(None, "t me()]")]


def test_string_without_end_does_not_swallow_the_text_behind_the_call() -> None:
    found = answer(forms.LFM_2, "<|tool_call_start|>[f(a='x)]<|tool_call_end|>\nDone.")
    assert (found.text, found.calls, found.invalid) == ("Done.", [], [("f", "f(a='x)]")])
    again = answer(forms.LFM_2, "<|tool_call_start|>[f(a='x)]<|tool_call_end|>" * 3)
    assert (again.text, len(again.invalid)) == ("", 3)


@pytest.mark.parametrize("echo", ["[f(a=1)]", "f(a=1)", "Some text", ""])
def test_echo_of_a_call_is_dropped(echo: str) -> None:
    text = f"Yes.<|tool_call_start|>[f(a=1)]<|tool_call_end|>{echo}<|tool_call_end|> It rains."
    assert answer(forms.LFM_2, text) == Answer("Yes.\nIt rains.", [("f", {"a": 1})])


def test_code_with_line_breaks_is_a_value_in_lines_of_calls() -> None:
    body = "f(a='def g():\n    print('hi')\n\ng = 1')\ntime()"
    assert calls_of(body, forms.OLMO_3) == Answer(calls=[("f", {"a": "def g():\n    print('hi')\n\ng = 1"}), TIME])


# Forced calls and single ones


def test_prefill_is_the_beginning_of_a_call(family: str, form: PythonCalls) -> None:
    for name in (None, "get_weather"):
        prefill = form.prefill(name)
        assert WRITTEN[family].startswith(prefill)
        found = answer(form, WRITTEN[family].removeprefix(prefill), prefilled=True, name=name)
        assert found == Answer(calls=[OSLO, TIME])


def test_prefilled_call_of_an_unknown_tool_is_read(form: PythonCalls) -> None:
    assert answer(form, "a=1)]", prefilled=True, name="other").calls == [("other", {"a": 1})]


def test_prefilled_call_that_is_not_continued_is_invalid(form: PythonCalls) -> None:
    for name in (None, "f"):
        for rest in ("", "Well, no."):
            found = answer(form, rest, prefilled=True, name=name)
            assert (found.text, found.calls, len(found.invalid)) == ("", [], 1)


def test_only_the_first_call_is_read_if_one_is_wanted(family: str, form: PythonCalls) -> None:
    assert answer(form, WRITTEN[family], parallel=False) == Answer(calls=[OSLO])


def test_arguments_are_streamed() -> None:
    reader = forms.LFM_2.reader(tools=TOOLS)
    events = reader.feed("<|tool_call_start|>[get_weather(days=3, city='O")
    assert "".join(event.text for event in events if isinstance(event, CallArguments)) == '{"days": 3, "city": "O'
    assert reader.in_value
    reader.feed("slo')]")
    assert not reader.in_value


# Properties

LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)
FRAGMENTS = [
    *["[", "]", "(", ")", "{", "}", ",", "=", "'", '"', "'''", "\\", "\\u00", "f", "f(", "a=", "b='", "1", "-", ".5"],
    *[
        "True",
        " ",
        "\n",
        ":",
        "+",
        "r'",
        "<|tool_call_start|>",
        "<|tool_call_end|>",
        "<|python_start|>",
        "<|python_end|>",
    ],
    *["<function_calls>", "</function_calls>", "</fun", "<|tool", "time()", "```"],
]


@settings(deadline=None)
@given(st.data())
def test_any_text_is_read_alike_in_any_split(data: st.DataObject) -> None:
    form = FORMS[data.draw(st.sampled_from(sorted(FORMS)))]
    text = "".join(data.draw(st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=3)), max_size=25)))
    found = answer(form, text, cut_off=data.draw(st.booleans()))
    for mark in filter(None, (form.begin.strip(), form.end.strip())):
        assert mark not in found.text or not text.lstrip().startswith(mark)


@settings(deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.dictionaries(st.from_regex(r"[a-zé]\w{0,5}", fullmatch=True), LITERALS))
def test_what_is_written_is_read(family: str, arguments: dict[str, Any]) -> None:
    form = FORMS[family]
    found = answer(form, form.write([ToolCall("id", "f", arguments), ToolCall("id", "time", {})]))
    assert found == Answer(calls=[("f", json.loads(json.dumps(arguments))), TIME])


@pytest.mark.parametrize("fragment", ["'", "' ", "\\", "[", "{'a':", "<|tool", " ", "f(", "x'x, b=", "1"])
def test_reading_takes_linear_time(fragment: str) -> None:
    def seconds(count: int) -> float:
        reader = forms.LFM_2.reader(tools=TOOLS)
        begin = time.process_time()
        for part in ("<|tool_call_start|>[f(a='x", *[fragment] * count, "'", *[fragment] * count):
            reader.feed(part)
        reader.finish()
        return time.process_time() - begin

    assert min(seconds(4000) for _ in range(3)) < 20 * max(min(seconds(500) for _ in range(3)), 0.005)
