"""What users' subclasses of the models may do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import SystemMessage
from pydantic import AliasChoices, Field, create_model

from langchain_paradigm import ChatParadigm, ParadigmLLM
from paradigm_transport import InvalidParameterError, ServerError
from tests.langchain.conftest import KEY, Calls, Make, Recorder
from tests.wire import Script, WireServer, chunk, completion, reply, sse

GIVEN: dict[str, Any] = {"model": "alfred-4.2", "api_key": KEY}


class Loud(ParadigmLLM):
    """Completes by itself."""

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return f"{prompt.upper()} {stop} {kwargs}"


class Wrapping(ParadigmLLM):
    """Changes what the model answers."""

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return super()._call(prompt, stop, run_manager, **kwargs) + "!"


class AsyncAlone(ParadigmLLM):
    """Completes by itself, if it is called asynchronously."""

    async def _acall(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return prompt.upper()


def test_call_returns_the_text(wire: WireServer, make: Make) -> None:
    wire.script(reply(completion("Hello.")), sse(chunk("Hel"), chunk("lo.", "stop")))
    assert make()._call("Hi", ["x"]) == "Hello."
    assert make(streaming=True)._call("Hi", temperature=1) == "Hello."
    assert [(body["prompt"], body.get("stop"), body.get("temperature")) for body in wire.bodies] == [
        ("Hi", "x", None),
        ("Hi", None, 1),
    ]


def test_subclass_that_overrides_call_is_called_on_every_path(calls: Calls, recorder: Recorder) -> None:
    llm = Loud(**GIVEN, callbacks=[recorder])
    assert calls.invoke(llm, "hi") == "HI None {}"
    assert calls.invoke(llm, "hi", stop=["x"], shout=2) == "HI ['x'] {'shout': 2}"
    assert calls.stream(llm, "hi", stop=["x"], shout=2) == ["HI ['x'] {'shout': 2}"]
    assert calls.batch(llm, ["a", "b"]) == ["A None {}", "B None {}"]
    assert [each[0].text for each in calls.generate(llm, ["a", "b"]).generations] == ["A None {}", "B None {}"]
    assert calls.invoke(Loud(**GIVEN, chat_template="chatml"), "hi").startswith("<|IM_START|>USER")
    assert len(recorder.ends) == 7
    assert recorder.errors == []


def test_override_of_call_may_call_the_original(wire: WireServer, calls: Calls) -> None:
    wire.always(reply(completion("Hello.")))
    llm = Wrapping(**GIVEN, base_url=wire.url)
    assert calls.invoke(llm, "Hi", temperature=1) == "Hello.!"
    assert calls.stream(llm, "Hi") == ["Hello.!"]
    assert [body.get("temperature") for body in wire.bodies] == [1, None]


def test_override_of_acall_serves_async_calls_alone(wire: WireServer) -> None:
    wire.script(reply(completion("Hello.")))
    llm = AsyncAlone(**GIVEN, base_url=wire.url)
    assert llm.invoke("hi") == "Hello."


async def _acall(llm: ParadigmLLM) -> tuple[str, list[str]]:
    return await llm.ainvoke("hi"), [piece async for piece in llm.astream("hi")]


def test_override_of_acall_is_called_on_async_paths() -> None:
    assert asyncio.run(_acall(AsyncAlone(**GIVEN))) == ("HI", ["HI"])


class Aliased(ParadigmLLM):
    """Has fields with other names."""

    tenant: str = Field(alias="x-tenant")
    region: str = Field(default="fr", validation_alias=AliasChoices("x-region", "zone"))


class AliasedChat(ChatParadigm):
    """Has a field with another name."""

    tenant: str = Field(alias="x-tenant")


def test_field_of_subclass_can_be_given_by_alias_or_name() -> None:
    for name in ("x-tenant", "tenant"):
        assert Aliased(**GIVEN, **{name: "a"}).tenant == "a"
        assert AliasedChat(**GIVEN, chat_template="chatml", **{name: "a"}).tenant == "a"
    for name in ("x-region", "zone", "region"):
        assert Aliased(**GIVEN, tenant="a", **{name: "de"}).region == "de"
    with pytest.raises(InvalidParameterError, match="x-tenant is required"):
        Aliased(**GIVEN)
    with pytest.raises(InvalidParameterError, match="unknown argument tennant; did you mean tenant"):
        Aliased(**GIVEN, tennant="a")


def test_structured_output_of_a_completion_model_names_the_chat_model(make: Make) -> None:
    with pytest.raises(NotImplementedError, match="use ChatParadigm"):
        make().with_structured_output({"title": "City", "type": "object"})


def answer(text: str) -> Script:
    """An answer of either endpoint."""
    message = {"role": "assistant", "content": text}
    return reply({"choices": [{"text": text, "message": message, "finish_reason": "stop"}]})


HOUSE: dict[str, Any] = {
    "model": (str, "house"), "temperature": (float | None, 0.3), "max_tokens": (int | None, 50),
    "stop": (list[str] | None, ["END"]), "max_retries": (int, 0), "default_headers": (dict[str, str], {"X-Team": "a"}),
}  # fmt: skip
"""Fields for which a subclass declares defaults: their types and values."""


@pytest.mark.parametrize("given", [{}, {"chat_template": "chatml"}])
@pytest.mark.parametrize("base", [ParadigmLLM, ChatParadigm])
def test_default_of_a_subclass_is_sent(wire: WireServer, calls: Calls, base: Any, given: dict[str, Any]) -> None:
    house = create_model("House", __base__=base, **HOUSE)
    llm = house(api_key=KEY, base_url=wire.url, **given)
    wire.always(answer("a"))
    for options in ({}, {"top_p": 0.5}):
        calls.invoke(llm, "x", **options)
        body = wire.bodies[-1]
        assert [body[name] for name in ("model", "temperature", "max_tokens")] == ["house", 0.3, 50]
        assert "END" in body["stop"]
        assert wire.requests[-1].headers["x-team"] == "a"
    calls.invoke(llm, "x", temperature=None, max_tokens=7)
    assert "temperature" not in wire.bodies[-1]
    assert wire.bodies[-1]["max_tokens"] == 7
    wire.always(reply({}, 500))
    before = len(wire.requests)
    with pytest.raises(ServerError):
        calls.invoke(llm, "x")
    assert len(wire.requests) == before + 1


def test_default_of_a_subclass_may_leave_the_limit_to_the_server(wire: WireServer, calls: Calls) -> None:
    wire.always(reply(completion("a")))
    for base, given in ((ParadigmLLM, {}), (ChatParadigm, {"chat_template": "chatml"})):
        unlimited = create_model("Unlimited", __base__=base, max_tokens=(int | None, None))
        calls.invoke(unlimited(**GIVEN, base_url=wire.url, **given), "x")
        assert "max_tokens" not in wire.bodies[-1]


class Persona(ChatParadigm):
    """Begins each chat with who the model is."""

    persona: str = "a clerk"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        return super()._generate([SystemMessage(self.persona), *messages], stop, run_manager, **kwargs)


def test_cache_tells_apart_what_a_subclass_adds(wire: WireServer) -> None:
    wire.always(lambda request: answer(request.body["messages"][0]["content"]))
    cache = InMemoryCache()
    models = [Persona(**GIVEN, base_url=wire.url, cache=cache, persona=persona) for persona in ("a pirate", "a judge")]
    for _ in range(2):
        assert [model.invoke("Hi").content for model in models] == ["a pirate", "a judge"]
    assert len(wire.requests) == 2
