"""Calls as Gemma writes them: bare keys, strings between marks, other values bare and typed by the schema."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paradigm_transport.chat.dialects import call_forms as forms
from paradigm_transport.chat.dialects.call_json import CUT_OFF
from paradigm_transport.chat.dialects.gemma import GemmaCalls
from paradigm_transport.chat.events import CallArguments
from paradigm_transport.messages import Tool, ToolCall
from tests.transport.splits import Answer, every_split, read

PROPERTIES = {
    "city": {"type": "string"},
    "days": {"type": "integer"},
    "detailed": {"type": "boolean"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "sizes": {"type": "array", "items": {"type": "number"}},
    "place": {"type": "object", "properties": {"zip": {"type": "integer"}, "parts": {"$ref": "#/properties/sizes"}}},
    "note": {"type": ["string", "null"]},
}
TOOLS = [Tool("get_weather", "", {"type": "object", "properties": PROPERTIES}), Tool("time")]
ARGUMENTS = {
    "city": "Oslo",
    "days": 3,
    "detailed": True,
    "tags": ["a"],
    "sizes": [1, 2.5],
    "place": {"zip": 150, "parts": [7]},
    "note": None,
}
OSLO, TIME = ("get_weather", ARGUMENTS), ("time", {})
FORMS = {"gemma 4": forms.GEMMA_4, "functiongemma": forms.FUNCTION_GEMMA}
GEMMA = (
    '<|tool_call>call:get_weather{city:<|"|>Oslo<|"|>,days:3,detailed:true,tags:[<|"|>a<|"|>],sizes:[1,2.5],'
    "place:{zip:150,parts:[7]},note:null}<tool_call|>"
)
WRITTEN = {
    "gemma 4": GEMMA,
    "functiongemma": GEMMA.replace("<|tool_call>", "<start_function_call>")
    .replace("<tool_call|>", "<end_function_call>")
    .replace('<|"|>', "<escape>"),
}


def answer(form: GemmaCalls, text: str, *, cut_off: bool = False, tools: Any = TOOLS, **options: Any) -> Answer:
    return read(lambda: form.reader(tools=tools, **options), text, cut_off=cut_off)


def gemma(body: str, **options: Any) -> Answer:
    return answer(forms.GEMMA_4, f"<|tool_call>{body}<tool_call|>".replace("~", '<|"|>'), **options)


def arguments_of(body: str) -> dict[str, Any]:
    """Read the arguments of one call; `~` stands for a quote."""
    found = gemma(f"call:get_weather{body}")
    assert (found.text, found.invalid) == ("", []), body
    return found.calls[0][1]


@pytest.fixture(params=FORMS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def form(family: str) -> GemmaCalls:
    return FORMS[family]


def test_call_is_written_and_read(family: str, form: GemmaCalls) -> None:
    assert form.write([ToolCall("id", *OSLO)]) == WRITTEN[family]
    assert read(lambda: form.reader(tools=TOOLS), WRITTEN[family], split=every_split) == Answer(calls=[OSLO])


def test_calls_and_the_text_around_them_are_read(family: str, form: GemmaCalls) -> None:
    both = form.write([ToolCall("id", *TIME), ToolCall("id", *OSLO)])
    text = f"Let me see.\n{both}\nand\n{WRITTEN[family]}\n\nDone. \n"
    assert answer(form, text) == Answer("Let me see.\nand\nDone. \n", [TIME, OSLO, OSLO])


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ("{}", {}),
        ("{ }", {}),
        ("()", {}),
        ("(days:3)", {"days": 3}),
        ("{ city : ~Oslo~ ,\n days : 3 , }", {"city": "Oslo", "days": 3}),
        ("{~city~:~Oslo~}", {"city": "Oslo"}),
        ('{"city":~Oslo~}', {"city": "Oslo"}),
        ("{city:~~}", {"city": ""}),
        ('{city:~"quotes", {braces}, [lists]: \\n é 😀\n~}', {"city": '"quotes", {braces}, [lists]: \\n é 😀\n'}),
        ("{city:~<tool_call|>~,days:3}", {"city": "<tool_call|>", "days": 3}),
        ("{city:~a~b~}", {"city": 'a<|"|>b'}),
        ("{city:Oslo}", {"city": "Oslo"}),
        ("{city:7}", {"city": "7"}),
        ("{city:Paris, France,days:3}", {"city": "Paris, France", "days": 3}),
        ("{city:a < b,days:3}", {"city": "a < b", "days": 3}),
        ("{days:~3~}", {"days": "3"}),
        ("{days:three}", {"days": "three"}),
        ("{days: -3 }", {"days": -3}),
        ("{detailed:True}", {"detailed": True}),
        ("{note:null}", {"note": None}),
        ("{sizes:[]}", {"sizes": []}),
        ("{sizes:[ 1 , 2.5 , ]}", {"sizes": [1, 2.5]}),
        ("{sizes:[[1],[2]]}", {"sizes": [[1], [2]]}),
        ("{tags:[1,~2~]}", {"tags": ["1", "2"]}),
        ("{place:{}}", {"place": {}}),
        ("{place:{zip:150,other:150}}", {"place": {"zip": 150, "other": 150}}),
        ("{list:[{a:1},{b:~2~}]}", {"list": [{"a": 1}, {"b": "2"}]}),
        ("{unknown:150}", {"unknown": 150}),
        ("{unknown:0150,other:one}", {"unknown": "0150", "other": "one"}),
        ("{straße 1:~a~}", {"straße 1": "a"}),
    ],
)
def test_arguments_are_typed_by_the_schema(body: str, arguments: dict[str, Any]) -> None:
    assert arguments_of(body) == arguments


@pytest.mark.parametrize("body", ["{sizes:[1", "{sizes:[1]", "{place:{zip:1", "{city:~a~", "{days:3", "{days:3}}"])
def test_brackets_too_few_or_too_many_are_repaired(body: str) -> None:
    found = gemma(f"call:get_weather{body}")
    assert (found.text, found.invalid, len(found.calls)) == ("", [], 1)


@pytest.mark.parametrize("opening", ["call:time", ":time", "call: time ", "\ncall:time"])
def test_name_may_lack_the_word_before_it(opening: str) -> None:
    assert gemma(f"{opening}{{}}") == Answer(calls=[TIME])


def test_bare_values_of_an_unknown_tool_are_json() -> None:
    assert gemma("call:other.tool{a:1,b:[true],c:~d~,d:null}").calls == [
        ("other.tool", {"a": 1, "b": [True], "c": "d", "d": None})
    ]


@pytest.mark.parametrize("text", ["", " Paris\n", "a < b", "<|tool", "<too", "call:time{}", "tool_call|>", "<b>"])
def test_text_without_calls_is_unchanged(text: str) -> None:
    expected = "" if text == "<|tool" else text
    assert answer(forms.GEMMA_4, text) == Answer(expected)


def test_marks_are_not_shown(form: GemmaCalls) -> None:
    assert answer(form, f"a {form.end} b {form.quote}{form.end[:-1]}") == Answer("a\nb")


def test_call_that_is_cut_off_is_invalid(family: str, form: GemmaCalls) -> None:
    for end in range(len(form.begin), len(WRITTEN[family])):
        found = answer(form, WRITTEN[family][:end], cut_off=True)
        assert (found.text, found.calls, found.reasons) == ("", [], [CUT_OFF]), end


def test_call_without_end_mark_is_invalid_unless_another_call_follows() -> None:
    text = WRITTEN["gemma 4"].removesuffix("<tool_call|>")
    assert answer(forms.GEMMA_4, text).reasons == [CUT_OFF]
    assert answer(forms.GEMMA_4, text + WRITTEN["gemma 4"]) == Answer(calls=[OSLO, OSLO])


@pytest.mark.parametrize(
    "body", ["", "hello", "call:", "call:time", "call:time[]", "[1]", '{"age": 3}', '{"name" "time"}', "call:time{} x"]
)
def test_call_in_another_form_is_invalid(body: str) -> None:
    found = gemma(f"{body}<tool_call|> Done. ")
    assert (found.text, found.calls, len(found.invalid)) == ("Done.", [], 1)


@pytest.mark.parametrize(
    "body", ["{city:~a}", "{city:~a~ b}", "{city}", "{:1}", "{city:[1}", "{city:~a~ days:3}", "{~a~}"]
)
def test_broken_arguments_make_the_call_invalid(body: str) -> None:
    found = answer(forms.GEMMA_4, f"<|tool_call>call:get_weather{body}<tool_call|> Done.".replace("~", '<|"|>'))
    assert (found.text, found.calls, [name for name, _ in found.invalid]) == ("Done.", [], ["get_weather"])


def test_prefill_is_the_beginning_of_a_call(family: str, form: GemmaCalls) -> None:
    for name in (None, "get_weather"):
        prefill = form.prefill(name)
        assert WRITTEN[family].startswith(prefill)
        found = answer(form, f"{WRITTEN[family].removeprefix(prefill)} Done.", prefilled=True, name=name)
        assert found == Answer("Done.", [OSLO])
        assert len(answer(form, "Well, no.", prefilled=True, name=name).invalid) == 1
    assert answer(form, f" \n{WRITTEN[family].removeprefix(prefill)}", prefilled=True, name=name).calls == [OSLO]


def test_only_the_first_call_is_read_if_one_is_wanted(family: str, form: GemmaCalls) -> None:
    assert answer(form, f"Yes. {WRITTEN[family] * 2} Done.", parallel=False) == Answer("Yes.", [OSLO])


def test_end_mark_is_never_a_stop_sequence(form: GemmaCalls) -> None:
    assert (form.begins, form.stop) == ((form.begin,), "")


def test_arguments_are_streamed() -> None:
    reader = forms.GEMMA_4.reader(tools=TOOLS)
    events = reader.feed('<|tool_call>call:get_weather{days:3,city:<|"|>O')
    assert "".join(event.text for event in events if isinstance(event, CallArguments)) == '{"days": 3, "city": "O'
    assert reader.in_value
    reader.feed('slo<|"|>}')
    assert not reader.in_value


FRAGMENTS = [
    *[
        "<|tool_call>",
        "<tool_call|>",
        '<|"|>',
        "call:",
        "f",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "a",
        "1",
        " ",
        "\n",
        "(",
        ")",
    ],
    *["<|", "<", "city:", "days:", "sizes:", "true", '"', "call:get_weather{"],
]


@settings(deadline=None)
@given(st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=3)), max_size=25), st.booleans())
def test_any_text_is_read_alike_in_any_split(fragments: list[str], cut_off: bool) -> None:
    found = answer(forms.GEMMA_4, "".join(fragments), cut_off=cut_off)
    assert not any(mark in found.text for mark in ("<|tool_call>", "<tool_call|>", '<|"|>'))


KEYS = st.from_regex(r"[a-zé_]\w{0,5}", fullmatch=True)
VALUES = st.recursive(
    st.text(), lambda values: st.lists(values, max_size=3) | st.dictionaries(KEYS, values, max_size=3), max_leaves=8
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES))
def test_what_is_written_is_read(arguments: dict[str, Any]) -> None:
    found = answer(forms.GEMMA_4, forms.GEMMA_4.write([ToolCall("id", "time", arguments)]))
    assert found == Answer(calls=[("time", arguments)])


@pytest.mark.parametrize("fragment", ["<", "[", "{a:", "<|", '<|"|>', ",", " ", "x,", "<tool_call|>", "a:"])
def test_reading_takes_linear_time(fragment: str) -> None:
    def seconds(count: int) -> float:
        reader = forms.GEMMA_4.reader(tools=TOOLS)
        begin = time.process_time()
        for part in ("<|tool_call>call:get_weather{city:", *[fragment] * count):
            reader.feed(part)
        reader.finish()
        return time.process_time() - begin

    assert min(seconds(4000) for _ in range(3)) < 20 * max(min(seconds(500) for _ in range(3)), 0.005)
