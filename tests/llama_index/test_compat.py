"""What `llama_index_paradigm/_compat.py` relies on, probed on LlamaIndex itself: tests fail on the day it moves."""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import logging
import pickle
import re
import threading
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, get_args

import llama_index.core
import pytest
from llama_index.core import PromptTemplate
from llama_index.core.agent.workflow import FunctionAgent, ToolCall, ToolCallResult
from llama_index.core.base.llms import types
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
    MessageRole,
    TextBlock,
)
from llama_index.core.callbacks import CBEventType, EventPayload, TokenCountingHandler
from llama_index.core.chat_engine.types import is_function
from llama_index.core.embeddings import BaseEmbedding, MockEmbedding
from llama_index.core.llms import LLM, CustomLLM, MockLLM, callbacks
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.program import utils as program_utils
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import BaseComponent, NodeWithScore, QueryBundle, QueryType
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.tools import FunctionTool, ToolOutput
from pydantic import BaseModel, Field

import llama_index_paradigm
from llama_index_paradigm import ChatParadigm, ParadigmLLM, ParadigmRetriever, _compat, llms
from llama_index_paradigm import chat as chats
from paradigm_transport import InvalidParameterError
from tests.llama_index.conftest import KEY, Callbacks, Events, Limiter, Spans, blocks_of_text, needs_citable_blocks
from tests.wire import WireServer, chunk, completion, reply, search_results, sse

Make = Callable[..., ParadigmLLM]

UPSTREAM = Path(llama_index.core.__file__).parent
PACKAGE = Path(llama_index_paradigm.__file__).parent

ASK = PromptTemplate("Describe {what}.")


class River(BaseModel):
    name: str
    length: int


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def bracket(given: object) -> str:
    return f"[{given}]"


TOOL = FunctionTool.from_defaults(add)


class Recorder(FunctionCallingLLM):
    """Records the arguments of each call."""

    system_prompt: str | None = "Be kind."
    is_chat_model: bool = True
    calls: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_chat_model=self.is_chat_model, is_function_calling_model=self.is_chat_model)

    def _completion(self, prompt: str, formatted: bool, kwargs: dict[str, Any]) -> CompletionResponse:
        self.calls.append({"prompt": prompt, "formatted": formatted, **kwargs})
        return CompletionResponse(text="", delta="")

    def _response(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> ChatResponse:
        self.calls.append({"messages": list(messages), **kwargs})
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content="{}"), delta="")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return self._completion(prompt, formatted, kwargs)

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return self._completion(prompt, formatted, kwargs)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        return iter([self._completion(prompt, formatted, kwargs)])

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        return _one(self._completion(prompt, formatted, kwargs))

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return self._response(messages, kwargs)

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return self._response(messages, kwargs)

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return iter([self._response(messages, kwargs)])

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return _one(self._response(messages, kwargs))

    def _prepare_chat_with_tools(self, tools: Any, tool_required: bool = False, **kwargs: Any) -> dict[str, Any]:
        return {"messages": [], "prepared": {"tools": tools, "tool_required": tool_required, **kwargs}}

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        return [ToolSelection(tool_id="1", tool_name="River", tool_kwargs={"name": "Rhône", "length": 812})]


async def _one(response: Any) -> Any:
    yield response


def call(llm: Any, name: str, *args: Any, **kwargs: Any) -> None:
    """Call one of LlamaIndex's methods, and read what it returns to the end."""
    result = getattr(llm, name)(*args, **kwargs)
    if inspect.iscoroutine(result):
        asyncio.run(_drained(result))
    elif name.startswith("stream"):
        list(result)


async def _drained(coming: Any) -> None:
    result = await coming
    if hasattr(result, "__aiter__"):
        async for _ in result:
            pass


predictions = pytest.mark.parametrize("name", ["predict", "apredict", "stream", "astream"])
tool_chats = pytest.mark.parametrize(
    "name", ["chat_with_tools", "achat_with_tools", "stream_chat_with_tools", "astream_chat_with_tools"]
)

# Hooks


@predictions
def test_predictions_format_prompts_with_the_private_hook(name: str) -> None:
    class Hooked(Recorder):
        def _get_prompt(self, prompt: Any, **prompt_args: Any) -> str:
            return f"{prompt.template} {prompt_args}"

    assert list(inspect.signature(LLM._get_prompt).parameters) == ["self", "prompt", "prompt_args"]
    llm = Hooked(is_chat_model=False)
    call(llm, name, ASK, what="it")
    assert llm.calls == [{"prompt": "Describe {what}. {'what': 'it'}", "formatted": True}]


# `acall` of programs is not among them: it does not add `system_prompt`.
@pytest.mark.parametrize(
    "name", ["predict", "apredict", "stream", "astream", "__call__", "stream_call", "astream_call"]
)
def test_predictions_and_programs_extend_messages_with_the_private_hook(name: str) -> None:
    class Hooked(Recorder):
        def _extend_messages(self, messages: list[ChatMessage]) -> list[ChatMessage]:
            return [ChatMessage("hooked"), *messages]

    assert list(inspect.signature(LLM._extend_messages).parameters) == ["self", "messages"]
    for llm, first in ((Hooked(), "hooked"), (Recorder(), "Be kind.")):
        if name.endswith(("call__", "_call")):
            call(FunctionCallingProgram.from_defaults(River, prompt=ASK, llm=llm), name, what="it")
        else:
            call(llm, name, ASK, what="it")
        (made,) = llm.calls
        messages = made["messages"] or made["prepared"]["chat_history"]
        assert [message.content for message in messages] == [first, "Describe it."]


@tool_chats
def test_chat_with_tools_passes_the_prepared_arguments_to_chat(name: str) -> None:
    assert "_prepare_chat_with_tools" in FunctionCallingLLM.__abstractmethods__
    llm = Recorder()
    call(llm, name, [TOOL], user_msg="Hi", chat_history=[], tool_required=True, tool_choice="add")
    (made,) = llm.calls
    prepared = made["prepared"]
    assert (prepared["tools"], prepared["user_msg"], prepared["chat_history"]) == ([TOOL], "Hi", [])
    assert (prepared["tool_required"], prepared["tool_choice"]) == (True, "add")
    known = inspect.signature(_compat.ToolsHook._prepare_chat_with_tools).parameters
    assert set(prepared) <= set(known)


# Helpers


class Decorated(CustomLLM):
    """Each of its methods is decorated by LlamaIndex's own decorators."""

    count: int = 0

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def _next(self) -> CompletionResponse:
        self.count += 1
        return CompletionResponse(text="Hello")

    @callbacks.llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return self._next()

    @callbacks.llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Generator[CompletionResponse, None, None]:
        yield self._next()

    @callbacks.llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return self._next()

    @callbacks.llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        async def stream() -> AsyncGenerator[CompletionResponse, None]:
            yield self._next()

        return stream()

    @callbacks.llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage(self._next().text))

    @callbacks.llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Generator[ChatResponse, None, None]:
        yield ChatResponse(message=ChatMessage(self._next().text))

    @callbacks.llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage(self._next().text))

    @callbacks.llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        async def stream() -> AsyncGenerator[ChatResponse, None]:
            yield ChatResponse(message=ChatMessage(self._next().text))

        return stream()


@pytest.mark.parametrize(
    "name", [f"{a}{stream}{kind}" for kind in ("complete", "chat") for stream in ("", "stream_") for a in ("", "a")]
)
def test_callback_decorators_report_each_call_once(name: str, events: Events) -> None:
    noted, limiter = Callbacks(), Limiter()
    has_limiter = "rate_limiter" in LLM.model_fields
    llm = Decorated(callback_manager=noted.manager, **({"rate_limiter": limiter} if has_limiter else {}))
    call(llm, name, [ChatMessage("Hi")] if name.endswith("chat") else "Hi")
    kind = "Chat" if name.endswith("chat") else "Completion"
    progress = [f"LLM{kind}InProgressEvent"] if "stream" in name else []
    assert events.names == [f"LLM{kind}StartEvent", *progress, f"LLM{kind}EndEvent"]
    assert (llm.count, len(noted.starts), len(noted.ends)) == (1, 1, 1)
    assert len(limiter.acquired) == has_limiter


@pytest.mark.parametrize("name", ["messages_to_prompt", "completion_to_prompt"])
def test_default_prompt_functions_are_defined_in_llama_index_core(name: str) -> None:
    for llm in (MockLLM(), MockLLM(**{name: None}), Decorated(), Decorated(**{name: None}), Recorder()):
        assert _compat.is_default_prompt_function(getattr(llm, name))
    own = Decorated(**{name: bracket})
    assert getattr(own, name) is bracket
    assert not _compat.is_default_prompt_function(bracket)


def test_flexible_models_take_incomplete_objects() -> None:
    flexible: Any = program_utils.create_flexible_model(River)
    assert issubclass(flexible, program_utils.FlexibleModel)
    assert flexible().model_dump() == {"name": None, "length": None}
    assert flexible.model_validate({"name": [1], "new": 2}).model_dump() == {"name": [1], "length": None, "new": 2}
    response = ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content='{"name": "Rh'))
    partial = program_utils.process_streaming_objects(response, River, llm=Recorder())
    assert isinstance(partial, program_utils.FlexibleModel)  # as LlamaIndex's own streams yield it


# Conventions

SKIPPED_OR_TEXT = {"text", "tool_call", "thinking", "cache"}
UNFOLDED = {"citable", "citation"}
REFUSED = {"image", "audio", "video", "document"}


def test_blocks_have_the_known_types_and_contents() -> None:
    kinds = {block.model_fields["block_type"].default for block in get_args(get_args(types.ContentBlock)[0])}
    assert {"text", "image"} <= kinds <= SKIPPED_OR_TEXT | UNFOLDED | REFUSED
    assert TextBlock(text="Hi").block_type == "text"
    if kinds >= UNFOLDED:
        inner = TextBlock(text="Hi")
        _, citable, citation = blocks_of_text("", [inner], inner)
        assert (citable.content, citation.cited_content) == ([inner], inner)


@pytest.mark.skipif(not hasattr(types, "ToolCallBlock"), reason="this LlamaIndex has no blocks for calls")
@pytest.mark.parametrize("arguments", [{"a": 1}, '{"a": 1'])
def test_tool_call_blocks_hold_an_id_a_name_and_arguments(arguments: Any) -> None:
    block = types.ToolCallBlock(tool_call_id="1", tool_name="add", tool_kwargs=arguments)
    assert block.block_type == "tool_call"
    assert types.ToolCallBlock(tool_name="add").tool_call_id is None
    message = ChatMessage(role=MessageRole.ASSISTANT, blocks=[block])
    (again,) = ChatMessage.model_validate_json(message.model_dump_json()).blocks
    assert isinstance(again, types.ToolCallBlock)
    assert (again.tool_call_id, again.tool_name, again.tool_kwargs) == ("1", "add", arguments)


@pytest.mark.skipif(not hasattr(types, "ThinkingBlock"), reason="this LlamaIndex has no thinking blocks")
def test_thinking_blocks_hold_thoughts_apart_from_the_content() -> None:
    blocks = [types.ThinkingBlock(content="Why?"), TextBlock(text="So.")]
    message = ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks)
    assert message.content == "So."
    assert _compat.thoughts_of(message) == "Why?"
    again = ChatMessage.model_validate_json(message.model_dump_json())
    assert again.blocks == blocks


def test_programs_and_chat_engines_find_tool_calls_in_additional_kwargs() -> None:
    stored = {"id": "1", "type": "function", "function": {"name": "River", "arguments": "{}"}}
    message = ChatMessage(role=MessageRole.ASSISTANT, content="Hi", additional_kwargs={"tool_calls": [stored]})
    assert is_function(message)
    assert not is_function(ChatMessage(role=MessageRole.ASSISTANT, content="Hi"))
    found = program_utils.process_streaming_objects(ChatResponse(message=message), River, llm=Recorder())
    assert found == River(name="Rhône", length=812)  # what `get_tool_calls_from_response` gave


@pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")  # it looks at each attribute of an agent
@pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated")
def test_agents_write_the_id_of_a_call_into_additional_kwargs() -> None:
    kept: dict[str, Any] = {}

    async def get(key: str, default: Any = None) -> Any:
        return kept.get(key, default)

    async def keep(key: str, value: Any) -> None:
        kept[key] = value

    context: Any = SimpleNamespace(get=get, set=keep, store=SimpleNamespace(get=get, set=keep))
    output = ToolOutput(content="3", tool_name="add", raw_input={}, raw_output=3)
    result = ToolCallResult(tool_name="add", tool_kwargs={}, tool_id="1", tool_output=output, return_direct=False)
    agent = FunctionAgent(tools=[add], llm=Recorder())
    asyncio.run(agent.handle_tool_call_results(context, [result], memory=None))  # type: ignore[arg-type]
    ((written,),) = kept.values()
    assert (written.role, written.content) == (MessageRole.TOOL, "3")
    assert written.additional_kwargs["tool_call_id"] == "1"


@pytest.mark.skipif(not hasattr(FunctionAgent, "call_tool"), reason="this LlamaIndex calls tools in its workflow")
@pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")  # LlamaIndex looks at all attributes
@pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated")
def test_agents_report_an_unknown_tool_to_the_model_by_its_name() -> None:
    context: Any = SimpleNamespace(write_event_to_stream=lambda event: None)
    agent = FunctionAgent(tools=[add], llm=Recorder())
    called = ToolCall(tool_name="add (malformed call: why)", tool_kwargs={}, tool_id="1")
    result = asyncio.run(agent.call_tool(context, called))
    assert "add (malformed call: why)" in result.tool_output.content
    assert (result.tool_id, result.return_direct) == ("1", False)


@pytest.mark.parametrize("chats", [True, False])
def test_token_counter_reads_usage_from_the_raw_response(chats: bool) -> None:
    raw = {"usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}}
    asked: Any = [ChatMessage("Hi")] if chats else "Hi"
    payload: dict[Any, Any] = (
        {EventPayload.MESSAGES: asked, EventPayload.RESPONSE: ChatResponse(message=ChatMessage("Hello"), raw=raw)}
        if chats
        else {EventPayload.PROMPT: asked, EventPayload.COMPLETION: CompletionResponse(text="Hello", raw=raw)}
    )
    counter = TokenCountingHandler(tokenizer=str.split)
    counter.on_event_end(CBEventType.LLM, payload, event_id="1")
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (3, 5)


class Component(BaseComponent):
    value: Any = None
    other: int = 1
    made: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **fields: Any) -> None:
        self.made.append(fields)
        super().__init__(**fields)


def test_base_component_drops_what_cannot_be_pickled_and_runs_init_again(caplog: pytest.LogCaptureFixture) -> None:
    component = Component(value=threading.Lock())
    dumped = pickle.dumps(component)
    assert not hasattr(component, "value")  # it is taken out of the object itself
    Component.made.clear()
    again = pickle.loads(dumped)
    assert Component.made == [{"other": 1}]
    assert again.model_fields_set == {"other"}  # a default counts as given


# Retrievers


class Plain(BaseRetriever):
    """A retriever as LlamaIndex's documentation shows one."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return []

    def retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        return super().retrieve(str_or_query_bundle)


def test_base_retriever_sets_the_attributes_that_are_declared() -> None:
    assert set(vars(Plain())) == {"callback_manager", "object_map", "_verbose"}
    assert {"callback_manager", "object_map"} <= set(_compat.RetrieverState.model_fields)
    assert _compat.RetrieverState.__private_attributes__["_verbose"].get_default() is Plain()._verbose


def names_of(spans: Spans) -> list[str]:
    return [span.partition("-")[0].rpartition(".")[2] for span in spans.entered]


@pytest.mark.parametrize("name", ["retrieve", "aretrieve"])
def test_retrieval_is_one_span(name: str, wire: WireServer, spans: Spans) -> None:
    Plain().retrieve("Hi")
    assert names_of(spans).count("retrieve") == 2
    spans.entered.clear()
    wire.script(reply(search_results()))
    with ParadigmRetriever(api_key=KEY, base_url=wire.url) as retriever:
        found = getattr(retriever, name)("Hi", similarity_top_k=1)
        assert (asyncio.run(found) if name == "aretrieve" else found) == []
    assert names_of(spans).count(name) == 1


def test_dumps_of_components_hold_the_name_of_the_class() -> None:
    assert MockEmbedding(embed_dim=1).model_dump()["class_name"] == "MockEmbedding"


@pytest.mark.parametrize("name", ["__call__", "stream_call", "astream_call"])
def test_programs_leave_out_what_says_how_to_call(name: str) -> None:
    llm = Recorder()
    ways = {way: f"some {way}" for way in ("allow_parallel_tool_calls", "tool_choice", "tool_required")}
    assert _compat.without_ways_to_call({**ways, "top_p": 0.5}) == {"top_p": 0.5}
    call(FunctionCallingProgram.from_defaults(River, prompt=ASK, llm=llm), name, what="it", llm_kwargs={**ways})
    assert "some" not in str(llm.calls)


# What is in `_compat` and what is not

USES = {
    name: value
    for name, value in vars(_compat).items()
    if not name.startswith("_") and callable(value) and getattr(value, "__module__", "") == _compat.__name__
    if inspect.isclass(value) or inspect.isfunction(inspect.unwrap(value))
}


@pytest.mark.parametrize("name", USES)
def test_each_use_names_its_upstream_file_its_consequence_and_an_existing_test(name: str) -> None:
    text = inspect.getdoc(USES[name]) or ""
    files = re.findall(r"`([\w/]+\.py)`", text.partition("Upstream: ")[2].partition("If it moves: ")[0])
    assert files
    assert all((UPSTREAM / file).is_file() for file in files)
    assert re.search(r"^If it moves: \w", text, re.MULTILINE)
    (test,) = re.findall(r"^Test: `(test_\w+)`$", text, re.MULTILINE)
    assert callable(globals()[test])


def test_there_are_uses_and_the_docstring_names_an_existing_test_for_pickling() -> None:
    assert len(USES) >= 10
    (test,) = re.findall(r"`(test_\w+)`", " ".join((_compat.__doc__ or "").split()))
    assert callable(globals()[test])


PUBLIC = {
    "llama_index.core.base.llms.types",
    "llama_index.core.embeddings",
    "llama_index.core.instrumentation",
    "llama_index.core.instrumentation.events",
    "llama_index.core.instrumentation.events.llm",
    "llama_index.core.llms",
    "llama_index.core.llms.llm",
    "llama_index.core.prompts",
    "llama_index.core.schema",
    "llama_index.core.types",
    "llama_index.core.vector_stores",
}
OTHERS = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "_compat.py"]


@pytest.mark.parametrize("module", OTHERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_other_modules_import_public_names_of_llama_index_only(module: Path) -> None:
    nodes = list(ast.walk(ast.parse(module.read_text())))
    imports = [
        node for node in nodes if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("llama_index.")
    ]
    assert {node.module for node in imports} <= PUBLIC
    assert not [alias.name for node in imports for alias in node.names if alias.name.startswith("_")]
    assert not [
        alias.name
        for node in nodes
        if isinstance(node, ast.Import)
        for alias in node.names
        if "llama_index" in alias.name
    ]


@pytest.mark.parametrize("kind", [ParadigmLLM, ChatParadigm])
def test_other_modules_override_no_private_method_of_llama_index(kind: type[Any]) -> None:
    of_llama_index = {
        name
        for each in kind.__mro__
        if each.__module__.startswith("llama_index.")
        for name, value in vars(each).items()
        if re.match("_[a-z]", name) and inspect.isfunction(value)
    }
    assert {"_get_prompt", "_extend_messages"} <= of_llama_index
    ours = [each for each in kind.__mro__ if each.__module__.startswith("llama_index_paradigm.")]
    for each in ours:
        assert each.__module__ == _compat.__name__ or not of_llama_index & set(vars(each))


# What happens once LlamaIndex has moved


@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_methods_work_unreported_if_the_decorators_are_gone(
    kind: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(callbacks, f"llm_{kind}_callback")
    assert _compat.llm_callback(kind)(add) is add
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.startswith(f"llama_index.core.llms.callbacks has no llm_{kind}_callback any more")


@pytest.mark.skipif("rate_limiter" not in BaseEmbedding.model_fields, reason="this LlamaIndex has no rate limiters")
@pytest.mark.parametrize("cache", [None, SimpleKVStore()], ids=["no cache", "cache"])
def test_rate_limiter_is_acquired_once_for_a_batch(cache: SimpleKVStore | None) -> None:
    """And not at all for an async batch with a cache."""
    limiter = Limiter()
    model = MockEmbedding(2, embed_batch_size=2, rate_limiter=limiter, embeddings_cache=cache)
    model.get_text_embedding_batch(["a", "b", "c"])
    model.get_query_embedding("d")
    assert limiter.acquired == ["sync"] * 3
    asyncio.run(model.aget_text_embedding_batch(["e", "f", "g"]))
    asyncio.run(model.aget_query_embedding("h"))
    assert limiter.acquired[3:] == ["async"] * (2 * _compat.acquired_for_batch(model) + 1)


def test_streams_yield_valid_objects_only_if_the_flexible_model_is_gone(
    wire: WireServer, make_llm: Make, stream: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_compat, "_create_flexible_model", None)
    wire.script(sse(chunk('{"name": "Rh'), chunk('ône", "length": 8'), chunk("12}"), chunk("", "stop")))
    assert [output.length for output in stream(make_llm(), River, ASK, what="it")] == [8, 812, 812]


def test_calls_are_in_additional_kwargs_only_if_tool_call_blocks_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compat, "ToolCallBlock", None)
    assert _compat.tool_call_blocks([("1", "add", {"a": 1})]) == []
    kwargs = _compat.tool_call_kwargs([("1", "add", '{"a": 1}')])
    message = ChatMessage(role=MessageRole.ASSISTANT, additional_kwargs=kwargs)
    assert _compat.stored_tool_calls(message) == [("1", "add", '{"a": 1}')]


def test_images_are_known_by_their_type_and_resolved_to_base64(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    by_path = types.ImageBlock(path=tmp_path / "a.png", detail="low")
    by_url = types.ImageBlock(url="https://images.example/a.png")
    message = ChatMessage(role="user", blocks=[TextBlock(text="What?"), by_path, by_url])
    assert _compat.images_of(message) == [by_path, by_url]
    assert _compat.openai_parts(message) == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://images.example/a.png"}},
    ]
    assert _compat.openai_parts(ChatMessage("Hi")) == []


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\x00\x10JFIF"])
def test_images_are_sent_with_the_type_of_their_data(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "without_suffix").write_bytes(data)
    kind = "png" if b"PNG" in data else "jpeg"
    blocks = [types.ImageBlock(image=data), types.ImageBlock(path=tmp_path / "without_suffix")]
    if "IOBase" in str(types.ImageBlock.model_fields["image"].annotation):  # an older LlamaIndex takes bytes only
        blocks.append(types.ImageBlock(image=io.BytesIO(data)))
    for part in _compat.openai_parts(ChatMessage(role="user", blocks=blocks)):
        assert part["image_url"]["url"] == f"data:image/{kind};base64,{b64encode(data).decode()}"


def test_block_without_a_type_is_refused_by_the_name_of_its_class() -> None:
    block: Any = SimpleNamespace()
    with pytest.raises(InvalidParameterError, match="a block of type SimpleNamespace"):
        _compat.plain_blocks([block])


def test_models_can_be_made_if_the_default_prompt_functions_are_elsewhere(
    wire: WireServer, make_llm: Make, make_chat: Callable[..., ChatParadigm], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (llms, chats):
        monkeypatch.setattr(kind, "is_default_prompt_function", lambda _: False)
    wire.always(reply(completion("Hello")))
    assert make_chat().complete("Hi").text == "Hello"
    assert make_llm().complete("Hi").text == "Hello"


@needs_citable_blocks
def test_citable_blocks_and_citations_are_unfolded_to_any_depth() -> None:
    inner = TextBlock(text="Hi")
    _, citable, citation = blocks_of_text("", [inner, inner], inner)
    assert _compat.plain_blocks([citable, citation, inner]) == [inner] * 4
