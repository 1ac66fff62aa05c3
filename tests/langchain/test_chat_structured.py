"""Structured output by tool calls, JSON schema and JSON mode: constrained, or repaired once."""

from __future__ import annotations

import json
import pickle
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Generic, TypeVar

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableGenerator
from pydantic import BaseModel, Field, RootModel
from typing_extensions import TypedDict

from langchain_paradigm import ChatParadigm
from paradigm_transport import InvalidParameterError
from tests.chat_form import prompt_of
from tests.langchain.conftest import STRICT, Calls, MakeChat, over_completions
from tests.langchain.obedient import streamed
from tests.langchain.test_many_prompts import Gauge
from tests.objects import Person
from tests.wire import WireServer, chunk, completion, reply, sse

Item = TypeVar("Item")


class City(BaseModel):
    """A city."""

    name: str
    people: int = Field(gt=0)


class CityDict(TypedDict):
    """A city."""

    name: str
    people: int


ROME = {"name": "Rome", "people": 3}
SCHEMAS: dict[str, tuple[Any, Any]] = {
    "pydantic": (City, City(**ROME)),
    "TypedDict": (CityDict, ROME),
    "JSON schema": (City.model_json_schema(), ROME),
}
METHODS = {
    "function_calling": f" {json.dumps(ROME)}}}\n</tool_call>",
    "json_schema": f"Here: ```json\n{json.dumps(ROME)}\n```",
    "json_mode": json.dumps(ROME),
}


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("method", METHODS)
@over_completions
def test_object_is_parsed(wire: WireServer, make_chat: MakeChat, calls: Calls, method: Any, schema: str) -> None:
    wire.always(reply(completion(METHODS[method])))
    given, expected = SCHEMAS[schema]
    asks = make_chat().with_structured_output(given, method=method)
    assert calls.invoke(asks, "Rome?") == expected
    assert calls.stream(asks, "Rome?") == [expected]
    prompt = prompt_of(wire.bodies[0])
    assert ("gt" in prompt or "people" in prompt) == (method != "json_mode")
    assert prompt.endswith('"arguments":') == (method == "function_calling")
    assert "structured_outputs" not in wire.bodies[0]


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("method", METHODS)
@over_completions
def test_constrained_object_is_parsed_and_streamed(
    wire: WireServer, make_chat: MakeChat, calls: Calls, method: Any, schema: str
) -> None:
    wire.always(lambda request: streamed(json.dumps(ROME)) if request.body.get("stream") else whole)
    whole = reply(completion(json.dumps(ROME)))
    given, expected = SCHEMAS[schema]
    asks = make_chat(constrain="vllm").with_structured_output(given, method=method)
    assert calls.invoke(asks, "Rome?") == expected
    pieces = calls.stream(asks, "Rome?")
    assert pieces[-1] == expected
    if schema != "pydantic":  # its objects are validated, so never partial
        assert pieces[0] in ({}, {"name": "R"}, {"name": "Ro"})
        assert len(pieces) > 2
    sent = wire.bodies[0]["structured_outputs"]["json"]
    assert sent["type"] == "object"
    assert ("properties" in sent) == (method != "json_mode")


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
@over_completions
def test_stream_goes_on_where_a_validator_fails_for_want_of_the_rest(
    wire: WireServer, make_chat: MakeChat, calls: Calls, method: Any
) -> None:
    wire.script(streamed('{"name": "Ada Love"}'))
    asks = make_chat(constrain="vllm").with_structured_output(Person, method=method)
    assert calls.stream(asks, "Who?")[-1] == Person(name="Ada Love")  # type: ignore[call-arg]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_schema_that_the_model_repeats_does_not_hide_the_object(
    wire: WireServer, make_chat: MakeChat, calls: Calls, schema: str
) -> None:
    wire.always(reply(completion(f"{json.dumps(City.model_json_schema())}\n```json\n{json.dumps(ROME)}\n```")))
    given, expected = SCHEMAS[schema]
    asks = make_chat().with_structured_output(given, method="json_schema")
    assert calls.invoke(asks, "Rome?") == expected
    assert calls.stream(asks, "Rome?") == [expected]


@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
@over_completions
def test_invalid_object_is_repaired_once(
    wire: WireServer, make_chat: MakeChat, calls: Calls, method: Any, include_raw: bool
) -> None:
    wire.script(reply(completion('{"name": "Rome", "people": 0}')), reply(completion(json.dumps(ROME))))
    asks = make_chat().with_structured_output(City, method=method, include_raw=include_raw)
    answer = calls.invoke(asks, "Rome?")
    assert (answer["parsed"] if include_raw else answer) == City(**ROME)
    first, second = (prompt_of(body) for body in wire.bodies)
    added = second.removeprefix(first.rsplit("<|im_start|>assistant", 1)[0])
    assert added != second
    assert '"people": 0}' in added
    assert "people: Input should be greater than 0" in added
    assert "For troubleshooting" not in added
    if include_raw:
        assert isinstance(answer["raw"], AIMessage)
        assert answer["parsing_error"] is None


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Rome", "not valid JSON"),
        ('{"name": "Rome"', "the answer ends before the call does"),
        ('{"people": 2}', "name: Field required"),
    ],
)
@over_completions
def test_object_invalid_twice_raises(
    wire: WireServer, make_chat: MakeChat, calls: Calls, written: str, said: str
) -> None:
    wire.always(reply(completion(written)))
    with pytest.raises(OutputParserException, match=said):
        calls.invoke(make_chat().with_structured_output(City), [HumanMessage("Rome?")])
    assert len(wire.bodies) == 2
    assert f": {said}" in prompt_of(wire.bodies[1])
    assert f"assistant\n{written}" in prompt_of(wire.bodies[1]) or json.dumps(json.loads(written)) in prompt_of(
        wire.bodies[1]
    )
    answer = calls.invoke(make_chat().with_structured_output(City, include_raw=True), "Rome?")
    assert answer["parsed"] is None
    assert said in str(answer["parsing_error"])


@over_completions
def test_truncated_constrained_object_raises(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(reply(completion('{"name": "Ro', finish_reason="length")))
    chat = make_chat(constrain="vllm", max_tokens=3)
    for method in ("function_calling", "json_schema"):
        with pytest.raises(OutputParserException, match="end"):
            calls.invoke(chat.with_structured_output(City, method=method), "Rome?")
        answer = calls.invoke(chat.with_structured_output(City, method=method, include_raw=True), "Rome?")
        assert answer["parsed"] is None
        assert isinstance(answer["parsing_error"], OutputParserException)
        assert isinstance(answer["raw"], AIMessage)


@pytest.mark.parametrize("schema", [City, CityDict])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("constrain", [None, "vllm"])
@pytest.mark.parametrize("cut", ['{"name": "Ro', "", "I think"])
def test_answer_cut_at_the_length_limit_names_max_tokens_and_is_not_repaired(
    wire: WireServer, make_chat: MakeChat, calls: Calls, schema: Any, method: Any, constrain: Any, cut: str
) -> None:
    wire.always(
        lambda request: (
            sse(chunk(cut), chunk("", "length"))
            if request.body.get("stream")
            else reply(completion(cut, finish_reason="length"))
        )
    )
    given = {"schema": schema, "method": method}
    asks = make_chat(constrain=constrain, max_tokens=3).with_structured_output(**given)
    for ask in (calls.invoke, calls.stream):
        with pytest.raises(OutputParserException, match="raise max_tokens") as raised:
            ask(asks, "Rome?")
        assert str(raised.value).count("raise max_tokens") == 1
    asks = make_chat(constrain=constrain, max_tokens=3).with_structured_output(**given, include_raw=True)
    answers = [calls.invoke(asks, "Rome?"), *calls.stream(asks, "Rome?")]
    assert all("raise max_tokens" in str(answer["parsing_error"]) for answer in answers)
    assert len(wire.bodies) == 4


def test_whole_object_before_the_length_limit_is_parsed(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion(f"{json.dumps(ROME)} And", finish_reason="length")))
    asks = make_chat(max_tokens=3).with_structured_output(City, method="json_schema")
    assert calls.invoke(asks, "Rome?") == City(**ROME)


@pytest.mark.parametrize("schema", [City, CityDict])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cut", ['{"name": "Rome", "peop', '{"name": "Rome", "people": 3', "Rome"])
def test_truncated_stream_of_object_raises(
    wire: WireServer, make_chat: MakeChat, calls: Calls, method: Any, schema: Any, cut: str
) -> None:
    wire.always(lambda request: streamed(cut) if request.body.get("stream") else reply(completion(cut)))
    given = {"schema": schema, "method": method}
    asks = make_chat(constrain="vllm").with_structured_output(**given)
    for ask in (calls.invoke, calls.stream):
        with pytest.raises(OutputParserException):
            ask(asks, "Rome?")
    asks = make_chat(constrain="vllm").with_structured_output(**given, include_raw=True)
    (answer,) = calls.stream(asks, "Rome?")
    assert answer["parsed"] is None
    assert isinstance(answer["parsing_error"], OutputParserException)
    assert "Rome" in str(answer["raw"])


@over_completions
def test_truncated_stream_yields_partial_objects_before_it_raises(
    wire: WireServer, make_chat: MakeChat, calls: Calls
) -> None:
    wire.always(streamed('{"name": "Rome", "peop'))
    asks = make_chat(constrain="vllm").with_structured_output(CityDict, method="json_schema")
    seen: list[Any] = []

    def note(pieces: Iterator[Any]) -> Iterator[Any]:
        for piece in pieces:
            seen.append(piece)
            yield piece

    async def anote(pieces: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for piece in pieces:
            seen.append(piece)
            yield piece

    with pytest.raises(OutputParserException):
        calls.stream(asks | RunnableGenerator(note, anote), "Rome?")
    assert seen.pop() == {"name": "Rome"}


@pytest.mark.parametrize("method", METHODS)
@over_completions
def test_object_arrives_in_one_piece_without_streaming(
    wire: WireServer, make_chat: MakeChat, calls: Calls, method: Any
) -> None:
    broken = [reply(completion("Rome"))] * (2 if method == "json_mode" else 1)
    wire.script(reply(completion(json.dumps(ROME))), *broken)
    asks = make_chat(constrain="vllm", disable_streaming=True).with_structured_output(City, method=method)
    assert calls.stream(asks, "Rome?") == [City(**ROME)]
    with pytest.raises(OutputParserException):
        calls.stream(asks, "Rome?")


def test_object_of_json_mode_that_a_class_refuses_is_asked_for_again_under_constrain(
    wire: WireServer, make_chat: MakeChat, calls: Calls
) -> None:
    wire.script(reply(completion('{"town": "Rome"}')), reply(completion(json.dumps(ROME))))
    asks = make_chat(constrain="vllm").with_structured_output(City, method="json_mode")
    assert calls.invoke(asks, "Rome?") == City(**ROME)
    assert "name: Field required" in prompt_of(wire.bodies[1])


@over_completions
def test_brace_in_text_before_object_is_skipped(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(streamed(f"Of {{cities}}: {json.dumps(ROME)}"))
    asks = make_chat(constrain="vllm").with_structured_output(CityDict, method="json_mode")
    assert calls.stream(asks, "Rome?") == [ROME]


@pytest.mark.filterwarnings("ignore:chat_template takes tools but")
def test_repair_messages_are_accepted_by_strict_templates(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion(' {"name": "Rome"}}')), reply(completion(f" {json.dumps(ROME)}}}")))
    asks = make_chat(chat_template=STRICT).with_structured_output(City)
    assert calls.invoke(asks, "Rome?") == City(**ROME)
    assert '[assistant] {"name": "Rome"}[user] That cannot be used: people: Field required.' in prompt_of(
        wire.bodies[1]
    )


@over_completions
def test_structured_output_works_in_chain(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion("Rome")), reply(completion(json.dumps(ROME))))
    prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{city}?")])
    assert calls.invoke(prompt | make_chat().with_structured_output(City), {"city": "Rome"}) == City(**ROME)
    assert all(prompt_of(body).startswith("<|im_start|>system\nBe brief.") for body in wire.bodies)


@over_completions
def test_with_structured_output_accepts_endpoint_fields(wire: WireServer, make_chat: MakeChat) -> None:
    wire.script(reply(completion(json.dumps(ROME))))
    chat: ChatParadigm = make_chat()
    chat.with_structured_output(City, temperature=0.5).invoke("Rome?")
    assert wire.bodies[0]["temperature"] == 0.5


@pytest.mark.parametrize("constrain", [None, "vllm"])
@over_completions
def test_fields_of_call_are_sent(wire: WireServer, make_chat: MakeChat, calls: Calls, constrain: str | None) -> None:
    wire.always(lambda request: streamed(json.dumps(ROME)) if request.body.get("stream") else whole)
    whole = reply(completion(json.dumps(ROME)))
    asks = make_chat(constrain=constrain).with_structured_output(City, method="json_schema")
    assert calls.invoke(asks, "Rome?", temperature=0.5, stop=["x"]) == City(**ROME)
    assert calls.invoke(asks.bind(temperature=0.5, stop=["x"]), "Rome?") == City(**ROME)
    assert calls.batch(asks, ["Rome?"], temperature=0.5, stop=["x"]) == [City(**ROME)]
    assert calls.stream(asks, "Rome?", temperature=0.5, stop=["x"])[-1] == City(**ROME)
    assert len(wire.bodies) == 4
    assert all((body["temperature"], body["stop"]) == (0.5, ["<|im_end|>", "x"]) for body in wire.bodies)


@over_completions
def test_repair_uses_fields_of_call(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion("Rome")), reply(completion(json.dumps(ROME))))
    assert calls.invoke(make_chat().with_structured_output(City), "Rome?", temperature=0.5) == City(**ROME)
    assert [body["temperature"] for body in wire.bodies] == [0.5, 0.5]


@pytest.mark.parametrize("constrain", [None, "vllm"])
@over_completions
def test_pickled_structured_output_works(
    wire: WireServer, make_chat: MakeChat, calls: Calls, constrain: str | None
) -> None:
    wire.script(reply(completion(json.dumps(ROME))))
    asks = pickle.loads(pickle.dumps(make_chat(constrain=constrain).with_structured_output(City)))
    assert calls.invoke(asks, "Rome?") == City(**ROME)


@pytest.mark.parametrize("constrain", [None, "vllm"])
def test_batch_of_objects_is_sent_as_a_batch_of_messages_is(
    wire: WireServer, make_chat: MakeChat, calls: Calls, constrain: str | None
) -> None:
    chat, found = make_chat(constrain=constrain), City(**ROME)
    questions = [f"{number}?" for number in range(48)]
    for limit, expected in ((None, 48), (3, 3)):  # LangChain's own batches have at most 32 threads, or no limit
        gauge = Gauge(expected, lambda request: reply(completion(json.dumps(ROME))))
        wire.always(gauge)
        model = chat if limit is None else chat.model_copy(update={"max_concurrency": limit})
        assert calls.batch(model.with_structured_output(City, method="json_schema"), questions) == [found] * 48
        assert gauge.most == expected


def test_batch_of_objects_returns_errors_in_their_places(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(lambda request: reply(completion("Rome" if "bad" in str(request.body) else json.dumps(ROME))))
    asks = make_chat().with_structured_output(City, method="json_schema")
    first, second = calls.batch(asks, ["bad?", "good?"], return_exceptions=True)
    assert isinstance(first, OutputParserException)
    assert second == City(**ROME)


class Part(BaseModel):
    """A part."""

    name: str
    parts: list[Part] = []


@pytest.mark.parametrize("strict", [None, True])
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
@over_completions
def test_recursive_class_is_constrained_with_its_definitions(
    wire: WireServer, make_chat: MakeChat, method: Any, strict: bool | None
) -> None:
    wire.script(reply(completion('{"name": "car", "parts": []}')))
    asks = make_chat(constrain="vllm").with_structured_output(Part, method=method, strict=strict)
    assert asks.invoke("A car.") == Part(name="car")
    sent = wire.bodies[0]["structured_outputs"]["json"]
    for schema in (sent, sent["$defs"]["Part"]):
        assert schema["properties"]["parts"]["items"] == {"$ref": "#/$defs/Part"}
        assert schema["additionalProperties"] is False


class CityWithDefault(TypedDict):
    """A city."""

    name: Annotated[str, ..., "Its name."]
    river: Annotated[str, None, "Its river."]


@over_completions
def test_typed_dict_may_omit_fields_with_default(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.script(reply(completion('{"name": "Rome"}')))
    assert calls.invoke(make_chat().with_structured_output(CityWithDefault), "Rome?") == {"name": "Rome"}
    assert len(wire.bodies) == 1


ROWS = {"title": "Rows", "type": "array", "items": {"type": "object"}}


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
@pytest.mark.parametrize("schema", [ROWS, RootModel[list[int]], {"title": "Size", "type": "integer"}])
def test_schema_of_another_type_than_object_is_refused(make_chat: MakeChat, schema: Any, method: Any) -> None:
    with pytest.raises(InvalidParameterError, match="the schema must be that of an object, not of type"):
        make_chat().with_structured_output(schema, method=method)


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_schema_of_alternatives_is_sent_whole(wire: WireServer, make_chat: MakeChat, calls: Calls, method: Any) -> None:
    kinds = [{"type": "object", "properties": {name: {"type": "integer"}}} for name in ("width", "height")]
    schema = {"title": "Size", "description": "A size.", "anyOf": kinds}
    wire.always(reply(completion('{"width": 3}')))
    model = make_chat(constrain="vllm").with_structured_output(schema, method=method, include_raw=True)
    calls.invoke(model, "How wide?")
    assert all(json.dumps(name) in json.dumps(wire.bodies[0]) for name in ("width", "height", "anyOf"))


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    items: list[Item]


@pytest.mark.parametrize("schema", [Page[City], {"title": "Page[City]", "type": "object", "properties": {"items": {}}}])
@over_completions
def test_name_of_the_call_is_one_that_servers_take(
    wire: WireServer, make_chat: MakeChat, calls: Calls, schema: Any
) -> None:
    wire.script(reply(completion(f' {{"items": [{json.dumps(ROME)}]}}}}')))
    page = calls.invoke(make_chat().with_structured_output(schema), "Which cities?")
    assert (page if isinstance(page, dict) else page.model_dump()) == {"items": [ROME]}
    assert prompt_of(wire.bodies[0]).endswith('<tool_call>\n{"name": "Page_City_", "arguments":')


FIELDS_OF_ROME = {"type": "object", "properties": {"people": {"type": "integer"}}}
FORMS_OF_OPENAI: dict[str, dict[str, Any]] = {
    "chat tool": {
        "type": "function",
        "function": {"name": "City", "description": "Big.", "parameters": FIELDS_OF_ROME},
    },
    "function": {"name": "City", "description": "Big.", "parameters": FIELDS_OF_ROME},
    "Responses tool": {"type": "function", "name": "City", "description": "Big.", "parameters": FIELDS_OF_ROME},
    "response format": {"name": "City", "description": "Big.", "schema": FIELDS_OF_ROME, "strict": True},
}


@pytest.mark.parametrize("strict", [None, True])
@pytest.mark.parametrize("form", FORMS_OF_OPENAI)
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_schema_in_any_form_of_openai_is_sent_whole(
    wire: WireServer, make_chat: MakeChat, method: Any, form: str, strict: bool | None
) -> None:
    wire.always(reply(completion('{"people": 3}')))
    given = json.loads(json.dumps(FORMS_OF_OPENAI[form]))
    model = make_chat(constrain="vllm").with_structured_output(given, method=method, strict=strict, include_raw=True)
    model.invoke("How many?")
    assert all(word in json.dumps(wire.bodies[0]) for word in ("people", "integer", "City", "Big."))
    assert given == FORMS_OF_OPENAI[form]


def test_unknown_method_is_refused(make_chat: MakeChat) -> None:
    with pytest.raises(InvalidParameterError, match="not 'json_object'"):
        make_chat().with_structured_output(City, method="json_object")  # type: ignore[arg-type]


def test_json_mode_needs_no_schema(wire: WireServer, make_chat: MakeChat, calls: Calls) -> None:
    wire.always(reply(completion('{"city": "Rome"}')))
    assert calls.invoke(make_chat().with_structured_output(method="json_mode"), "JSON, please.") == {"city": "Rome"}
    for method in ("function_calling", "json_schema"):
        with pytest.raises(InvalidParameterError, match="needs a schema"):
            make_chat().with_structured_output(method=method)
