"""`langchain_paradigm._compat`: what it takes for granted of `langchain_core`, and what happens if that is not so.

The tests of conventions ask LangChain's own base classes, without a server: they fail on the day LangChain changes, and
for no other reason.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import re
from collections.abc import AsyncIterator, Iterator
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import pytest
from langchain_core import exceptions
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.llms import LLM, BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.output_parsers import BaseCumulativeTransformOutputParser
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    Generation,
    GenerationChunk,
    LLMResult,
)
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tracers import LangChainTracer, Run
from langchain_core.utils.json import parse_partial_json
from langchain_core.version import VERSION
from pydantic import PrivateAttr, model_validator
from typing_extensions import Self

from langchain_paradigm import ChatParadigm, ParadigmLLM, _compat, _errors
from langchain_paradigm._structured import ObjectParser
from paradigm_transport import RateLimitError
from tests.langchain.conftest import Calls, Make, Recorder
from tests.wire import WireServer, chunk, completion, reply, sse, usage

USAGE = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}

since_1 = pytest.mark.skipif(VERSION.startswith("0."), reason="LangChain before 1.0")


# The list


ENTRIES = {
    name: value
    for name, value in vars(_compat).items()
    if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == _compat.__name__ and name[0] != "_"
}
UPSTREAM = {
    name: re.findall(r"`langchain_core/([\w/]+)\.py: ([\w.]+)`( \(not in 0\.3\))?", value.__doc__ or "")
    for name, value in ENTRIES.items()
}


@pytest.mark.parametrize("name", ENTRIES)
def test_each_entry_says_what_it_rests_on_and_names_its_tests(name: str) -> None:
    text = inspect.getdoc(ENTRIES[name]) or ""
    for heading in ("Upstream", "Relies on", "If it moves", "Test"):
        assert re.search(rf"^{heading}: ", text, re.MULTILINE), heading
    tests = re.findall(r"`(test_\w+)`", text.partition("\nTest: ")[2])
    assert tests
    assert not {test for test in tests if not callable(globals().get(test))}


@pytest.mark.parametrize("name", ENTRIES)
def test_each_upstream_name_exists(name: str) -> None:
    assert UPSTREAM[name]
    for path, attributes, is_new in UPSTREAM[name]:
        if is_new and VERSION.startswith("0."):
            continue
        found: Any = importlib.import_module(f"langchain_core.{path.replace('/', '.')}")
        for attribute in attributes.split("."):
            found = getattr(found, attribute)


SOURCES = [path for path in Path(_compat.__file__).parent.glob("*.py") if path.name != "_compat.py"]

# What subclasses have to define, by LangChain's guides.
ABSTRACT = {"_llm_type", "_identifying_params", "_call", "_generate", "_agenerate", "_stream", "_astream"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_other_module_uses_a_private_name_of_langchain(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("langchain_core"):
            assert "._" not in (node.module or "")
            assert not [each.name for each in node.names if each.name.startswith("_")]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call) and node.attr.startswith("_"):
            is_super = isinstance(node.value.func, ast.Name) and node.value.func.id == "super"
            assert not is_super or node.attr in {"__init__", *ABSTRACT}, ast.unparse(node)


@pytest.mark.parametrize("kind", [ParadigmLLM, ChatParadigm, ObjectParser])
def test_no_other_module_overrides_a_private_hook_of_langchain(kind: type) -> None:
    of_langchain = {
        name for base in kind.__mro__ if base.__module__.startswith("langchain_core") for name in vars(base)
    }
    for base in kind.__mro__:
        if base.__module__.startswith("langchain_paradigm") and base.__module__ != _compat.__name__:
            own = {name for name in vars(base) if name.startswith("_") and not name.startswith(("__", "_abc_"))}
            assert own & of_langchain <= ABSTRACT


# Models of LangChain's own kind


def chat(text: str) -> ChatGeneration:
    message = AIMessage(content=text, usage_metadata=USAGE, response_metadata={"model_name": "m"})
    return ChatGeneration(message=message)


class Marked(LLMResult):
    """A result that marks what it makes of each prompt."""

    def flatten(self) -> list[LLMResult]:
        return [
            LLMResult(generations=[[chat(f"run {index}")]], llm_output={"run": index})
            for index, _ in enumerate(self.generations)
        ]


class Plain(LLM):
    """A completion model as LangChain's guide shows it, which notes the managers that it is given."""

    temperature: float = 0.1

    _managers: list[Any] = PrivateAttr(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "plain"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"temperature": self.temperature}

    @property
    def managers(self) -> list[Any]:
        return self._managers

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        return prompt

    def _generate(self, prompts: list[str], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> LLMResult:
        self._managers.append(run_manager)
        return Marked(generations=[[Generation(text=prompt)] for prompt in prompts], llm_output={"whole": True})

    async def _agenerate(
        self, prompts: list[str], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> LLMResult:
        return self._generate(prompts, stop, run_manager)

    def _stream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        self._managers.append(run_manager)
        run_manager.on_llm_end = marking(run_manager.on_llm_end)
        yield GenerationChunk(text="a", generation_info={"usage_metadata": USAGE})
        yield GenerationChunk(text="b")


class Native(Plain):
    """As `Plain`, with an async stream of its own."""

    async def _astream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[GenerationChunk]:
        for piece in self._stream(prompt, stop, run_manager):
            yield piece


def marking(on_llm_end: Any) -> Any:
    def mark(response: LLMResult, **kwargs: Any) -> Any:
        assert response.llm_output is None
        return on_llm_end(LLMResult(generations=[[chat("marked")]], llm_output={"marked": True}), **kwargs)

    return mark


class Chat(BaseChatModel):
    """A chat model that notes which of its methods is called, and with which arguments."""

    temperature: float = 0.1

    _seen: list[tuple[str, dict[str, Any]]] = PrivateAttr(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "chat"

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True

    @property
    def seen(self) -> list[tuple[str, dict[str, Any]]]:
        return self._seen

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self._seen.append(("generate", kwargs))
        return ChatResult(generations=[chat("whole")])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return self._generate(messages, stop, run_manager, **kwargs)

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        self._seen.append(("stream", kwargs))
        yield from (ChatGenerationChunk(message=message) for message in self.pieces())

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for piece in self._stream(messages, stop, run_manager, **kwargs):
            yield piece

    def pieces(self) -> list[AIMessageChunk]:
        return [AIMessageChunk(content="piece")]


# Traces: provider, version, names of the model


class OfChats(Recorder):
    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.on_llm_start(serialized, messages, **kwargs)


@pytest.mark.parametrize("kind", [Plain, Chat])
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_traces_take_the_provider_from_get_ls_params(calls: Calls, kind: Any, way: str) -> None:
    class Own(kind):  # type: ignore[misc]
        def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
            params = super()._get_ls_params(stop=stop, **kwargs)
            assert params["ls_provider"] == "own"
            return {**params, "ls_provider": "another"}

    recorder = OfChats()
    getattr(calls, way)(Own(), "x", config={"callbacks": [recorder]})
    assert [start["metadata"]["ls_provider"] for start in recorder.starts] == ["another"]


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_traces_take_parameters_from_get_invocation_params(calls: Calls, way: str) -> None:
    class Own(Chat):
        stop: tuple[str, ...] = ("a",)

        def _get_invocation_params(self, stop: Any = None, **kwargs: Any) -> Any:
            assert (stop, super()._get_invocation_params(stop=stop, **kwargs)["stop"]) == (None, None)
            return {"stop": "another"}

    recorder = OfChats()
    getattr(calls, way)(Own(), "x", config={"callbacks": [recorder]})
    assert [start["invocation_params"] for start in recorder.starts] == [{"stop": "another"}]


@since_1
def test_versions_of_packages_are_in_the_metadata() -> None:
    class Own(Plain):
        @model_validator(mode="after")
        def _set_own_version(self) -> Self:
            assert self.metadata is not None
            assert self.metadata["lc_versions"]["langchain-core"] == VERSION
            self._add_version("own", "1")
            return self

    assert (Own().metadata or {})["lc_versions"]["own"] == "1"


def test_generate_names_the_model_in_metadata_that_is_given(calls: Calls) -> None:
    def metadata(callbacks: Any, **options: Any) -> dict[str, Any]:
        recorder = Recorder()
        calls.generate(Plain(), ["a"], callbacks=[[recorder]] if callbacks else [recorder], **options)
        return recorder.starts[0]["metadata"]

    for options in ({"callbacks": False, "metadata": {}}, {"callbacks": True, "metadata": [{}]}):
        assert metadata(**options)["ls_provider"] == "plain"
    assert "ls_provider" not in metadata(callbacks=False)
    with pytest.raises(ValueError, match="metadata must be a list"):
        metadata(callbacks=True, metadata={"a": 1})


# Many prompts in one call


@pytest.mark.parametrize("method", ["generate", "agenerate"])
def test_generate_takes_the_options_of_a_run_by_keyword(method: str) -> None:
    parameters = inspect.signature(getattr(BaseLLM, method)).parameters
    assert list(parameters)[:4] == ["self", "prompts", "stop", "callbacks"]
    keywords = [name for name, each in parameters.items() if each.kind is inspect.Parameter.KEYWORD_ONLY]
    assert keywords == list(_compat.RunOptions.__annotations__)


def test_generate_takes_cache_keys_and_traces_from_the_object_it_runs_on(recorder: Recorder) -> None:
    cache = InMemoryCache()
    llm = Plain(cache=cache)
    llm.generate(["x"])
    copy = llm.model_copy(update={"temperature": 0.9})
    BaseLLM.generate(copy, ["x"], ["s"], [recorder])
    asyncio.run(BaseLLM.agenerate(copy, ["x"], ["t"], [recorder]))
    assert [
        (start["invocation_params"]["temperature"], start["invocation_params"]["stop"]) for start in recorder.starts
    ] == [
        (0.9, ["s"]),
        (0.9, ["t"]),
    ]
    asked = [llm_string for _, llm_string in cache._cache]
    assert len(asked) == 3
    assert ["('temperature', 0.9)" in each for each in asked] == [False, True, True]
    assert ["'s'" in each for each in asked] == [False, True, False]


def test_agenerate_fails_on_an_empty_list_of_callbacks() -> None:
    # The day it does not, `agenerate_on` may hand on what it is given.
    with pytest.raises(IndexError):
        asyncio.run(Plain().agenerate(["x"], callbacks=[]))
    asyncio.run(Plain().agenerate(["x"], callbacks=None))


def test_generate_hands_on_the_manager_of_the_first_prompt(calls: Calls, recorder: Recorder) -> None:
    llm = Plain()
    calls.generate(llm, ["a", "b"], callbacks=[recorder])
    (manager,) = llm.managers
    assert [start["run_id"] for start in recorder.starts if start["prompts"] == ["a"]] == [manager.run_id]


def test_each_run_ends_with_its_element_of_flatten(calls: Calls, recorder: Recorder) -> None:
    calls.generate(Plain(), ["a", "b", "c"], callbacks=[recorder])
    # LangChain reports the starts and the ends of an async batch all at once, in any order.
    assert sorted(end.llm_output["run"] for end in recorder.ends) == [0, 1, 2]
    assert sorted(start["prompts"] for start in recorder.starts) == [["a"], ["b"], ["c"]]


def test_invoke_ends_with_its_element_of_flatten(calls: Calls, recorder: Recorder) -> None:
    assert calls.invoke(Plain(), "a", config={"callbacks": [recorder]}) == "a"
    assert [end.llm_output for end in recorder.ends] == [{"run": 0}]


def test_callers_get_the_result_itself(calls: Calls, recorder: Recorder) -> None:
    result = calls.generate(Plain(), ["a", "b"], callbacks=[recorder])
    assert isinstance(result, Marked)
    assert result.generations == [[Generation(text="a")], [Generation(text="b")]]
    assert result.llm_output == {"whole": True}


def test_caches_get_the_result_itself(calls: Calls, recorder: Recorder) -> None:
    cache = InMemoryCache()
    calls.generate(Plain(cache=cache), ["a", "b"], callbacks=[recorder])
    assert len(recorder.ends) == 2
    assert sorted(cache._cache.values(), key=str) == [[Generation(text="a")], [Generation(text="b")]]


def test_a_cached_prompt_begins_no_run(calls: Calls, recorder: Recorder) -> None:
    llm = Plain(cache=InMemoryCache())
    calls.generate(llm, ["a"])
    calls.generate(llm, ["a", "b"], callbacks=[recorder])
    assert [start["prompts"] for start in recorder.starts] == [["b"]]


def test_upstream_flatten_gives_the_first_run_all_usage() -> None:
    # The day it does not, `ResultPerRun` may go.
    output = {"token_usage": {"total_tokens": 9}, "other": 9}
    whole = LLMResult(generations=[[Generation(text="a")], [Generation(text="b")]], llm_output=output)
    assert [run.llm_output for run in whole.flatten()] == [output, {"token_usage": {}, "other": 9}]


# Handlers


def test_a_run_without_callbacks_has_no_handlers(calls: Calls, recorder: Recorder) -> None:
    llm = Plain()
    calls.invoke(llm, "a")
    calls.invoke(llm, "a", config={"callbacks": [recorder]})
    with get_usage_metadata_callback() as counter:
        calls.invoke(llm, "a")
    assert [manager.handlers for manager in llm.managers] == [[], [recorder], [counter]]
    assert [_compat.has_handlers(manager) for manager in (*llm.managers, object())] == [False, True, True, True]


def test_only_callbacks_have_chat_messages_made(
    make: Make, calls: Calls, wire: WireServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def note(generation: Generation, model: str) -> ChatGeneration:
        made.append(generation.text)
        return _compat.chat_generation(generation, model)

    monkeypatch.setattr("langchain_paradigm._tracing.chat_generation", note)
    wire.always(reply(completion("So.")))
    calls.invoke(make(), "a")
    assert made == []
    calls.invoke(make(), "a", config={"callbacks": [recorder]})
    assert made == ["So."]


# The end of a stream


def test_runs_of_a_call_share_a_list_of_handlers(calls: Calls, recorder: Recorder) -> None:
    class Emptying(Plain):
        def _generate(self, prompts: list[str], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> LLMResult:
            run_manager.handlers.clear()
            return super()._generate(prompts, stop, run_manager, **kwargs)

    shared = [recorder]
    calls.generate(Emptying(), ["a", "b"], callbacks=shared)
    assert recorder.ends == []
    assert shared == [recorder]


def test_a_stream_ends_through_the_manager_it_was_given(recorder: Recorder) -> None:
    llm = Plain()
    assert list(llm.stream("x", config={"callbacks": [recorder]})) == ["a", "b"]
    assert [end.llm_output for end in recorder.ends] == [{"marked": True}]
    assert llm.managers[0].run_id == recorder.ended_runs[0]


def test_a_native_async_stream_ends_through_the_manager_it_was_given(recorder: Recorder) -> None:
    async def read(llm: Plain) -> list[str]:
        return [piece async for piece in llm.astream("x", config={"callbacks": [recorder]})]

    assert asyncio.run(read(Native())) == ["a", "b"]
    assert [end.llm_output for end in recorder.ends] == [{"marked": True}]
    # The inherited one gives `_stream` another manager: what is done to that one is lost.
    assert asyncio.run(read(Plain())) == ["a", "b"]
    assert recorder.ends[1].llm_output is None


def test_a_stream_ends_without_llm_output(recorder: Recorder) -> None:
    class Unmarked(Plain):
        def _stream(self, *args: Any, **kwargs: Any) -> Iterator[GenerationChunk]:
            yield GenerationChunk(text="a", generation_info={"usage_metadata": USAGE, "model_name": "m"})
            yield GenerationChunk(text="b", generation_info=None)

    list(Unmarked().stream("x", config={"callbacks": [recorder]}))
    (end,) = recorder.ends
    assert end.llm_output is None
    assert end.generations[0][0].generation_info == {"usage_metadata": USAGE, "model_name": "m"}


# Chat generations


def test_the_usage_counter_takes_a_chat_generation_of_any_run(calls: Calls) -> None:
    with get_usage_metadata_callback() as counter:
        calls.generate(Plain(), ["a", "b"])
    assert counter.usage_metadata == {"m": {"input_tokens": 2, "output_tokens": 4, "total_tokens": 6}}


@pytest.mark.skipif(VERSION.startswith("0."), reason="there LangSmith's server reads it, not the tracer")
def test_the_tracer_takes_a_chat_generation_of_any_run(calls: Calls) -> None:
    ended: list[Run] = []

    class Tracer(LangChainTracer):
        def _persist_run_single(self, run: Run) -> None:
            pass

        def _update_run_single(self, run: Run) -> None:
            ended.append(run)

    calls.invoke(Plain(), "a", config={"callbacks": [Tracer(client=object())]})
    (run,) = ended
    assert run.run_type == "llm"
    assert run.extra["metadata"]["usage_metadata"] == USAGE


# Whether a chat model streams, and what it is cached by


def test_a_stream_argument_decides_whether_invoke_streams(calls: Calls) -> None:
    model = Chat()
    calls.invoke(model, "x", stream=True)
    calls.invoke(model, "x", stream=False)
    calls.invoke(model, "x")
    assert model.seen == [("stream", {"stream": True}), ("generate", {"stream": False}), ("generate", {})]


@pytest.mark.parametrize("stream", [None, False])
def test_a_handler_that_wants_a_stream_gets_one_unless_the_argument_says_no(stream: bool | None) -> None:
    model = Chat()
    arguments = {} if stream is None else {"stream": stream}

    async def ask(_: str, config: RunnableConfig) -> BaseMessage:  # Python 3.10 keeps no context in tasks
        return await model.ainvoke("x", config, **arguments)

    async def watch() -> None:
        async for _ in RunnableLambda(ask).astream_events("x", version="v2"):
            pass

    asyncio.run(watch())
    assert [method for method, _ in model.seen] == ["generate" if stream is False else "stream"]


def test_chat_models_ask_should_stream(calls: Calls) -> None:
    asked: list[str] = []

    class Asking(Chat):
        def _should_stream(self, *, async_api: bool, **kwargs: Any) -> bool:
            asked.append("should_stream")
            return super()._should_stream(async_api=async_api, **kwargs)

        def _should_use_protocol_streaming(self, *, async_api: bool, **kwargs: Any) -> bool:
            asked.append("should_use_protocol_streaming")
            return super()._should_use_protocol_streaming(async_api=async_api, **kwargs)

    calls.invoke(Asking(), "x")
    assert asked in (["should_use_protocol_streaming", "should_stream"], ["should_stream"])
    assert ("should_use_protocol_streaming" in asked) == hasattr(BaseChatModel, "_should_use_protocol_streaming")


def test_a_cache_is_asked_by_get_llm_string(calls: Calls) -> None:
    class Keyed(Chat):
        def _get_llm_string(self, stop: Any = None, **kwargs: Any) -> str:
            return f"{stop} {kwargs['key']}"

    cache = InMemoryCache()
    model = Keyed(cache=cache)
    for key, temperature in [("a", 1), ("a", 2), ("b", 2)]:
        calls.invoke(model, "x", key=key, temperature=temperature, stop=["s"])
    assert [kwargs["temperature"] for _, kwargs in model.seen] == [1, 2]
    assert [llm_string for _, llm_string in cache._cache] == ["['s'] a", "['s'] b"]


def test_upstream_cache_keys_are_remembered_by_copies() -> None:
    # The day they are not, `CacheKeyHook` may go.
    model = Chat()
    key = model._get_llm_string()
    assert model.model_copy(update={"temperature": 0.9})._get_llm_string() == key
    assert Chat(temperature=0.9)._get_llm_string() != key


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_the_mark_of_structured_output_never_reaches_the_model(calls: Calls, way: str) -> None:
    model = Chat()
    mark = _compat.structured_output_mark({"title": "City"}, "json_schema")
    getattr(calls, way)(model.bind(**mark), "x", other=1)
    assert [kwargs for _, kwargs in model.seen] == [{"other": 1}]


# Streamed content and calls


@since_1
def test_content_blocks_of_a_chunk_are_kept_and_merge_by_their_index(calls: Calls) -> None:
    def piece(text: str, *chunks: Any, thoughts: str = "", **last: Any) -> AIMessageChunk:
        content: Any = _compat.content_blocks(thoughts, text, chunks)
        metadata = {"output_version": "v1"}
        return AIMessageChunk(content=content, tool_call_chunks=list(chunks), response_metadata=metadata, **last)

    class Blocks(Chat):
        def pieces(self) -> list[AIMessageChunk]:
            return [
                piece("", thoughts="What "),
                piece("I ", thoughts="now?"),
                piece("look."),
                piece("", tool_call_chunk(index=0, id="1", name="weather", args='{"city": ')),
                piece("", tool_call_chunk(index=0, args='"Rome"}')),
                piece("", tool_call_chunk(index=1, id="2", name="time", args="{}")),
                piece("Done.", chunk_position="last"),
            ]

    model: Any = Blocks(output_version="v1")
    assert _compat.writes_content_blocks(model)
    assert not _compat.writes_content_blocks(Chat())
    whole = reduce(add, calls.stream(model, "x"))
    contents = ("reasoning", "text", "args")
    found = [(block["type"], next(block[key] for key in contents if key in block)) for block in whole.content]
    assert found == [
        ("reasoning", "What now?"),
        ("text", "I look."),
        ("tool_call", {"city": "Rome"}),
        ("tool_call", {}),
        ("text", "Done."),
    ]


@pytest.mark.parametrize(
    "cut", ['{"city": "Ro', '{"city": ["Rome"', '{"city": "a\\', '{"a": {"b": 1}, ', '{"a": 1', "{"]
)
def test_a_bracket_that_was_not_opened_is_not_repaired(cut: str) -> None:
    def message(arguments: str) -> AIMessageChunk:
        return AIMessageChunk(content="", tool_call_chunks=[tool_call_chunk(index=0, id="1", name="f", args=arguments)])

    assert isinstance(parse_partial_json(cut), dict)
    assert len(message(cut).tool_calls) == 1
    spoilt = message(cut + _compat.unrepairable_end(cut))
    assert spoilt.tool_calls == []
    assert [call["name"] for call in spoilt.invalid_tool_calls] == ["f"]


# Profiles


needs_profiles = pytest.mark.skipif(
    not hasattr(BaseChatModel, "_resolve_model_profile"), reason="this LangChain asks no model for its profile"
)


@needs_profiles
def test_a_model_is_asked_for_its_profile_when_it_is_made() -> None:
    class Profiled(_compat.ProfileHook, Chat):
        def _profile(self) -> _compat.Profile:
            return _compat.Profile({"tool_calling": True}, lambda: None)

    assert Profiled().profile == {"tool_calling": True}
    assert Profiled(profile={"tool_calling": False}).profile == {"tool_calling": False}
    assert Chat().profile is None


def test_summarization_reads_the_context_window_from_the_profile() -> None:
    middleware = pytest.importorskip("langchain.agents.middleware")

    class Limited(Chat):
        profile: Any = None

    asked: list[str] = []

    def find() -> int:
        asked.append("window")
        return 1000

    profile = _compat.Profile({}, find)
    assert not asked
    summarises = middleware.SummarizationMiddleware(Limited(profile=profile), trigger=("fraction", 0.5))
    assert summarises._get_profile_limits() == 1000
    assert asked == ["window"]


def test_a_profile_without_a_known_context_window_has_none() -> None:
    profile = _compat.Profile({"tool_calling": True}, lambda: None)
    assert profile.get("max_input_tokens", 7) == 7
    assert "max_input_tokens" not in profile
    assert "tool_calling" in profile
    with pytest.raises(KeyError):
        profile["max_input_tokens"]


# Exceptions


NAMES = ["LangChainException", "ContextOverflowError", *sorted(set(_errors._COUNTERPARTS.values()))]


@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(exceptions, name)])
def test_exceptions_join_with_others_and_need_no_init(name: str) -> None:
    class OwnError(RuntimeError):
        pass

    error = OwnError("x")
    error.note = 1  # type: ignore[attr-defined]
    theirs = getattr(exceptions, name)
    error.__class__ = type("OwnError", (OwnError, theirs), {})
    assert isinstance(error, theirs)
    assert (str(error), vars(error)) == ("x", {"note": 1})
    assert getattr(error, "is_retryable", False) in (True, False)


# If LangChain moves: the call goes on, and its own error is the one that is raised


class SlotsError(Exception):
    """A class whose layout is not that of Exception."""

    __slots__ = ("state",)


class FinalError(Exception):
    """A class that nobody may inherit from."""

    def __init_subclass__(cls) -> None:
        raise RuntimeError("final")


class NotHashable(type):
    """A metaclass whose classes cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]


def unhashable() -> Any:
    """Return a class that no cache takes for a key: made late, for tblib, which Dask imports, hashes all exceptions."""
    return NotHashable("UnhashableError", (Exception,), {})


@pytest.mark.parametrize("make_theirs", [lambda: SlotsError, lambda: FinalError, unhashable])
@pytest.mark.parametrize("way", ["invoke", "stream", "batch"])
def test_an_error_that_cannot_be_langchains_is_raised_as_it_is(
    wire: WireServer,
    make: Make,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
    make_theirs: Any,
    way: str,
) -> None:
    monkeypatch.setattr(exceptions, "ModelRateLimitError", make_theirs(), raising=False)
    wire.always(reply({"error": {"message": "slow down"}}, 429))
    with pytest.raises(RateLimitError, match="slow down") as raised:
        getattr(calls, way)(make(max_retries=0), ["x"] if way == "batch" else "x")
    assert type(raised.value) is RateLimitError
    assert raised.value.status_code == 429


HELLO = sse(chunk("Hello", "stop"), chunk(usage=usage(3, 5)))


def test_a_manager_that_takes_no_attribute_ends_streams_as_langchain_does(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun

    def refuse(manager: Any, name: str, value: Any) -> None:
        if name == "on_llm_end":
            raise AttributeError(name)
        object.__setattr__(manager, name, value)

    for kind in (CallbackManagerForLLMRun, AsyncCallbackManagerForLLMRun):
        monkeypatch.setattr(kind, "__setattr__", refuse, raising=False)
    wire.script(HELLO)
    assert calls.stream(make(), "x", config={"callbacks": [recorder]}) == ["Hello", ""]
    assert [end.llm_output for end in recorder.ends] == [None]


def test_a_stream_result_of_an_unknown_form_is_reported_as_it_is(
    wire: WireServer, make: Make, calls: Calls, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> Any:
        raise TypeError("unknown form")

    monkeypatch.setattr("langchain_paradigm._tracing.result_for_callbacks", fail)
    wire.script(HELLO)
    assert calls.stream(make(), "x", config={"callbacks": [recorder]}) == ["Hello", ""]
    assert [end.llm_output for end in recorder.ends] == [None]


def test_versions_of_another_form_give_way() -> None:
    assert _compat.with_version({"lc_versions": "?", "a": 1}, "2") == {"lc_versions": {"paradigm-llm": "2"}, "a": 1}
    assert _compat.with_version(None, "2") == {"lc_versions": {"paradigm-llm": "2"}}


def test_arguments_for_langchain_never_reach_the_endpoint() -> None:
    mark = _compat.structured_output_mark({}, "json_mode")
    assert _compat.without_own_arguments({"stream": True, "temperature": 1, **mark}) == {"temperature": 1}


@pytest.mark.parametrize("text", ["", "{}", "[1", '{"a": "', '{"a": "\\', '"', "}", "\\"])
def test_whatever_a_call_ends_with_it_can_be_made_unreadable(text: str) -> None:
    ended = text + _compat.unrepairable_end(text)
    assert not (ended and isinstance(_repaired(ended), dict))


def _repaired(text: str) -> Any:
    try:
        return parse_partial_json(text)
    except ValueError:
        return None


# What is not private, and is relied on all the same


def test_cumulative_parsers_read_what_has_arrived_and_give_what_is_new() -> None:
    class Parser(BaseCumulativeTransformOutputParser[str]):
        def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
            assert partial
            return result[0].text[:3] or None

        def parse(self, text: str) -> str:
            return text

    pieces = [AIMessageChunk(content=text) for text in ("", "a", "b", "", "cd", "e")]
    assert list(Parser().transform(iter(pieces))) == ["a", "ab", "abc"]


def test_models_take_prompt_values_as_they_are(calls: Calls) -> None:
    class Own(ChatPromptValue):
        def to_string(self) -> str:
            return "own"

    class Echo(Plain):
        def _stream(self, prompt: str, *args: Any, **kwargs: Any) -> Iterator[GenerationChunk]:
            yield GenerationChunk(text=prompt)

    value = Own(messages=[HumanMessage("x")])
    assert calls.invoke(Echo(), value) == "own"
    assert calls.stream(Echo(), value) == ["own"]
