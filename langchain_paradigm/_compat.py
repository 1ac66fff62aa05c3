"""Every use that this package makes of something `langchain_core` does not promise.

No other module touches a private name of LangChain or depends on the order in which it does things. There are three
kinds of entries, in the order of the upstream files:

- functions that call into LangChain, or prepare what it is given;
- mixins that override one private hook, or two that belong together, and pass the decision on to a method of ours with
  another name; the model classes inherit them;
- one class (`ResultPerRun`) with an override of a public method that LangChain is not bound to call.

Each docstring names the upstream object (`file: name`), what is relied on, what happens if it moves, and the test in
`tests/langchain/test_compat.py` that fails on the day it does. An entry never hides the error of a call: if LangChain
refuses what is done here, the call goes on without it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, cast
from uuid import UUID

from langchain_core.callbacks.base import BaseCallbackHandler, Callbacks
from langchain_core.callbacks.manager import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import AIMessage, ToolCallChunk
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langchain_core.utils.json import parse_partial_json
from pydantic import PrivateAttr

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
else:  # what the mixins are mixed into; it takes long to import, and `ParadigmLLM` does without
    BaseChatModel = object

logger = logging.getLogger("langchain_paradigm")

AnyCallbacks = Callbacks | list[Callbacks]
RunManager = CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun
Manager = TypeVar("Manager", bound=RunManager)


class RunOptions(TypedDict, total=False):
    """The arguments of `generate` that are for LangChain, and not for the endpoint.

    Upstream: `langchain_core/language_models/llms.py: BaseLLM.generate`.
    Relies on: these are all; any other keyword is handed on to the model.
    If it moves: a new one is refused as an unknown argument.
    Test: `test_generate_takes_the_options_of_a_run_by_keyword`.
    """

    tags: list[str] | list[list[str]] | None
    metadata: dict[str, object] | list[dict[str, object]] | None
    run_name: str | list[str] | None
    run_id: UUID | list[UUID | None] | None


# langchain_core/language_models/base.py


class LangSmithHook:
    """Names the provider and the stop sequences in traces, also for subclasses.

    Upstream: `langchain_core/language_models/llms.py: BaseLLM._get_ls_params`,
    `langchain_core/language_models/chat_models.py: BaseChatModel._get_ls_params`.
    Relies on: traces take both from this hook; the default is made of the name of the class, and the call's `stop`.
    If it moves: traces show the default.
    Test: `test_traces_take_the_provider_from_get_ls_params`.
    """

    def _stops(self, stop: list[str] | None) -> list[str] | None:
        """The stop sequences of a call that was given these."""
        raise NotImplementedError

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        stop = self._stops(stop)
        params: LangSmithParams = super()._get_ls_params(stop=stop, **kwargs)  # type: ignore[misc]  # the model's
        return {**params, "ls_provider": "paradigm"}


def with_version(metadata: Mapping[str, object] | None, version: str) -> dict[str, object]:
    """The metadata of a model, with the version of this package.

    Upstream: `langchain_core/language_models/base.py: BaseLanguageModel._add_version` (not in 0.3).
    Relies on: versions of packages stand in `metadata["lc_versions"]`.
    If it moves: tracers do not find the version.
    Test: `test_versions_of_packages_are_in_the_metadata`.
    """
    versions = metadata.get("lc_versions") if metadata else None
    known = versions if isinstance(versions, Mapping) else {}
    return {**(metadata or {}), "lc_versions": {**known, "paradigm-llm": version}}


# langchain_core/language_models/llms.py


def generate_on(
    llm: BaseLLM, prompts: list[str], stop: list[str] | None, callbacks: AnyCallbacks, options: RunOptions
) -> LLMResult:
    """Complete prompts on a copy of a model that was made for one call, and holds the call's fields as its own.

    Upstream: `langchain_core/language_models/llms.py: BaseLLM.generate`.
    Relies on: cache keys and traces are made of `dict()` of the object it runs on, and of `stop`.
    If it moves: a cache returns answers to other parameters; traces show the constructor's.
    Test: `test_generate_takes_cache_keys_and_traces_from_the_object_it_runs_on`.
    """
    return BaseLLM.generate(llm, prompts, stop, callbacks, **options)


async def agenerate_on(
    llm: BaseLLM, prompts: list[str], stop: list[str] | None, callbacks: AnyCallbacks, options: RunOptions
) -> LLMResult:
    """Do the same as `generate_on`, asynchronously.

    Upstream: `langchain_core/language_models/llms.py: BaseLLM.agenerate`.
    Relies on: the same; and None stands for no callbacks. An empty list fails with an IndexError.
    If it moves: the same.
    Test: `test_generate_takes_cache_keys_and_traces_from_the_object_it_runs_on`,
    `test_agenerate_fails_on_an_empty_list_of_callbacks`.
    """
    return await BaseLLM.agenerate(llm, prompts, stop, callbacks or None, **options)


def run_options(kwargs: dict[str, object], callbacks: AnyCallbacks, count: int) -> RunOptions:
    """Take LangChain's own arguments of `generate` out of those of a call.

    If no metadata is given, add empty metadata in the form that the callbacks need.

    Upstream: `langchain_core/language_models/llms.py: BaseLLM.generate`.
    Relies on: the names by which tracers know a model are added to metadata that is given, and to no other; callbacks
    for each prompt need metadata for each prompt.
    If it moves: traces of a direct `generate` lack those names.
    Test: `test_generate_names_the_model_in_metadata_that_is_given`.
    """
    options = cast("RunOptions", {name: kwargs.pop(name) for name in RunOptions.__annotations__ if name in kwargs})
    if options.get("metadata") is None:
        of_each = isinstance(callbacks, list) and callbacks and not isinstance(callbacks[0], BaseCallbackHandler)
        options["metadata"] = [{} for _ in range(count)] if of_each else {}
    return options


def manager_of_prompt(index: int, first: Manager | None) -> Manager | None:
    """The run manager of one of many prompts, if `_generate` was given it.

    Upstream: `langchain_core/language_models/llms.py: BaseLLM._generate_helper`.
    Relies on: `_generate` gets the manager of the first prompt's run, and no other.
    If it moves: the first run reports the tokens of another prompt.
    Test: `test_generate_hands_on_the_manager_of_the_first_prompt`.
    """
    return first if index == 0 else None


class ResultPerRun(LLMResult):
    """The generations of all prompts, with another result for the callbacks of each prompt's run.

    Upstream: `langchain_core/language_models/llms.py: BaseLLM._generate_helper`,
    `langchain_core/outputs/llm_result.py: LLMResult.flatten`.
    Relies on: each run ends with its element of `flatten()`; callers and caches get the result itself.
    If it moves: callbacks of the first run see the usage of all prompts.
    Test: `test_each_run_ends_with_its_element_of_flatten`, `test_callers_get_the_result_itself`,
    `test_caches_get_the_result_itself`, `test_upstream_flatten_gives_the_first_run_all_usage`.
    """

    _of_runs: list[LLMResult] = PrivateAttr()

    def flatten(self) -> list[LLMResult]:
        """The result for the callbacks of each prompt's run."""
        return self._of_runs


def has_handlers(manager: RunManager | None) -> bool:
    """Whether callbacks get the end of a run.

    Upstream: `langchain_core/callbacks/manager.py: BaseRunManager`.
    Relies on: `handlers` are all that get it.
    If it moves: results for callbacks are made even if there are none.
    Test: `test_a_run_without_callbacks_has_no_handlers`.
    """
    return bool(getattr(manager, "handlers", True))


def give_text_to(manager: RunManager | None, is_meant: Callable[[BaseCallbackHandler], bool]) -> None:
    """Give some handlers text at the end of the runs of a call, even if the others get a chat message.

    Upstream: `langchain_core/callbacks/manager.py: CallbackManager.on_llm_start`,
    `langchain_core/callbacks/manager.py: AsyncCallbackManager.on_llm_start`.
    Relies on: the managers of all runs of a call share one list of handlers, which is the call's.
    If it moves: these handlers get chat messages too.
    Test: `test_runs_of_a_call_share_a_list_of_handlers`.
    """
    handlers = getattr(manager, "handlers", [])
    handlers[:] = [_TextHandler(each) if is_meant(each) else each for each in handlers]


class _TextHandler:
    """Stands for a handler that gets text at the end of a run."""

    def __init__(self, handler: BaseCallbackHandler) -> None:
        self._handler = handler

    def __getattr__(self, name: str) -> Any:
        event = getattr(self._handler, name)
        if name != "on_llm_end":
            return event

        def end(response: LLMResult, **kwargs: object) -> object:
            return event(_as_text(response), **kwargs)

        async def aend(response: LLMResult, **kwargs: object) -> object:
            return await event(_as_text(response), **kwargs)

        return aend if iscoroutinefunction(event) else end


def _as_text(response: LLMResult) -> LLMResult:
    texts = [
        [Generation(text=each.text, generation_info=each.generation_info) for each in candidates]
        for candidates in response.generations
    ]
    return LLMResult(generations=texts, llm_output=response.llm_output)


def replace_stream_result(manager: RunManager | None, replace: Callable[[LLMResult], LLMResult]) -> None:
    """Replace the result that the callbacks of a stream get at its end: LangChain's has no `llm_output`.

    If the manager takes no attribute, or `replace` fails, callbacks get LangChain's.

    Upstream: `langchain_core/language_models/llms.py: BaseLLM.stream`,
    `langchain_core/language_models/llms.py: BaseLLM.astream`.
    Relies on: `_stream` gets the very manager whose `on_llm_end` is called at the end.
    If it moves: callbacks see no usage of streams.
    Test: `test_a_stream_ends_through_the_manager_it_was_given`, `test_a_stream_ends_without_llm_output`.
    """
    on_llm_end = getattr(manager, "on_llm_end", None)
    if on_llm_end is None:
        return

    @wraps(on_llm_end)
    def end(response: LLMResult, *args: object, **kwargs: object) -> object:
        try:
            response = replace(response)
        except Exception as error:  # noqa: BLE001  # a call does not fail for what callbacks see
            logger.warning("callbacks get the result of a stream without usage: %s", type(error).__name__)
        return on_llm_end(response, *args, **kwargs)

    with contextlib.suppress(AttributeError):
        manager.on_llm_end = end  # type: ignore[method-assign, union-attr]


def chat_generation(generation: Generation, model: str) -> ChatGeneration:
    """A completion as a chat message, for callbacks: many read usage nowhere else.

    Upstream: `langchain_core/callbacks/usage.py: UsageMetadataCallbackHandler`,
    `langchain_core/tracers/langchain.py: LangChainTracer`.
    Relies on: they look for chat generations by their class, whatever the kind of the run.
    If it moves: they see no usage of completions.
    Test: `test_the_usage_counter_takes_a_chat_generation_of_any_run`,
    `test_the_tracer_takes_a_chat_generation_of_any_run`.
    """
    info = generation.generation_info or {}
    known = {name: value for name, value in info.items() if name != "usage_metadata" and value is not None}
    metadata = {"model_name": model, **known}
    message = AIMessage(generation.text, response_metadata=metadata, usage_metadata=info.get("usage_metadata"))
    return ChatGeneration(message=message, generation_info=generation.generation_info)


# langchain_core/language_models/chat_models.py


class StreamingHooks(BaseChatModel):
    """Lets the model decide whether `invoke` streams, before LangChain does.

    Upstream: `langchain_core/language_models/chat_models.py: BaseChatModel._should_stream`,
    `langchain_core/language_models/chat_models.py: BaseChatModel._should_use_protocol_streaming` (not in 0.3).
    Relies on: both are asked before a call, and a `stream` among the arguments decides.
    If it moves: `n > 1` is refused when a handler wants a stream; before 1.0, `streaming` does nothing.
    Test: `test_chat_models_ask_should_stream`, `test_a_stream_argument_decides_whether_invoke_streams`,
    `test_a_handler_that_wants_a_stream_gets_one_unless_the_argument_says_no`.
    """

    def _stream_argument(self, arguments: Mapping[str, object]) -> dict[str, bool]:
        """The `stream` that decides for a call with these arguments; none leaves it to LangChain."""
        raise NotImplementedError

    def _should_stream(self, **kwargs: Any) -> bool:
        return super()._should_stream(**{**self._stream_argument(kwargs), **kwargs})

    def _should_use_protocol_streaming(self, **kwargs: Any) -> bool:
        return super()._should_use_protocol_streaming(**{**self._stream_argument(kwargs), **kwargs})


class InvocationHook(LangSmithHook, BaseChatModel):
    """Shows the stop sequences of a call in traces.

    Upstream: `langchain_core/language_models/chat_models.py: BaseChatModel._get_invocation_params`.
    Relies on: callbacks take the parameters of a call from this hook; the default has the call's `stop` in place of
    the constructor's, even if it has none.
    If it moves: traces show the default.
    Test: `test_traces_take_parameters_from_get_invocation_params`.
    """

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        return super()._get_invocation_params(stop=self._stops(stop), **kwargs)


class CacheKeyHook(BaseChatModel):
    """Makes the keys of LangChain's cache. LangChain's own are remembered, also by a copy with other fields.

    Upstream: `langchain_core/language_models/chat_models.py: BaseChatModel._get_llm_string`.
    Relies on: a cache is asked by this text and the messages, and by nothing else.
    If it moves: a copy with other fields gets the answers of the original.
    Test: `test_a_cache_is_asked_by_get_llm_string`, `test_upstream_cache_keys_are_remembered_by_copies`.
    """

    def _cache_key(self, stop: list[str] | None, arguments: Mapping[str, object]) -> str:
        """All that an answer depends on beside the messages."""
        raise NotImplementedError

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: object) -> str:
        return self._cache_key(stop, kwargs)


class ProfileHook(BaseChatModel):
    """Says what the model can do, for agents and middleware, unless `profile` is given.

    Upstream: `langchain_core/language_models/chat_models.py: BaseChatModel._resolve_model_profile` (not in 0.3).
    Relies on: it is asked once, when the model is made without a `profile`.
    If it moves: `profile` is None: `create_agent` enforces no schemas, and summarization takes no fractions.
    Test: `test_a_model_is_asked_for_its_profile_when_it_is_made`.
    """

    def _profile(self) -> Profile:
        """What the model can do."""
        raise NotImplementedError

    def _resolve_model_profile(self) -> Any:
        return self._profile()


class Profile(dict[str, object]):
    """A `ModelProfile` whose `max_input_tokens` is looked up when it is first read, for that takes a request.

    A copy and a pickle are plain dicts of what is known.

    Upstream: `langchain_core/language_models/model_profile.py: ModelProfile` (not in 0.3),
    `langchain/agents/middleware/summarization.py: SummarizationMiddleware._get_profile_limits`.
    Relies on: readers use `get`, `[]` or `in`.
    If it moves: they find no `max_input_tokens`.
    Test: `test_summarization_reads_the_context_window_from_the_profile`.

    Args:
        known: what is known.
        find: looks up the context window; None if it cannot be found.
    """

    def __init__(self, known: Mapping[str, object], find: Callable[[], int | None]) -> None:
        super().__init__(known)
        self._find = find

    def __missing__(self, key: str) -> object:
        window = self._find() if key == "max_input_tokens" else None
        if window is None:
            raise KeyError(key)
        self[key] = window
        return window

    def get(self, key: str, default: Any = None) -> Any:
        """As `dict.get`."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return self.get(str(key), self) is not self

    def __reduce__(self) -> tuple[object, ...]:
        return dict, (dict(self),)


def structured_output_mark(schema: object, method: str) -> dict[str, object]:
    """The argument by which traces recognise a call whose answer is an object.

    Upstream: `langchain_core/language_models/chat_models.py: BaseChatModel.generate`,
    `langchain_core/language_models/chat_models.py: BaseChatModel.stream`.
    Relies on: `ls_structured_output_format` is taken out of a call's arguments before the model gets them.
    If it moves: `without_own_arguments` takes it out.
    Test: `test_the_mark_of_structured_output_never_reaches_the_model`.
    """
    return {"ls_structured_output_format": {"kwargs": {"method": method}, "schema": schema}}


def without_own_arguments(arguments: Mapping[str, object]) -> dict[str, Any]:
    """The arguments of a call without those that are meant for LangChain.

    Upstream: `langchain_core/language_models/chat_models.py: BaseChatModel.invoke`.
    Relies on: `stream`, which decides whether `invoke` streams, is handed on to the model.
    If it moves: nothing changes, for it is only taken out.
    Test: `test_a_stream_argument_decides_whether_invoke_streams`.
    """
    return {name: value for name, value in arguments.items() if name not in ("stream", "ls_structured_output_format")}


# langchain_core/messages and langchain_core/utils/json.py


def writes_content_blocks(model: BaseChatModel) -> bool:
    """Whether a model writes content as standard blocks.

    Upstream: `langchain_core/language_models/chat_models.py: BaseChatModel` (`output_version` is not in 0.3).
    Relies on: "v1" stands for standard blocks.
    If it moves: content is text.
    Test: `test_content_blocks_of_a_chunk_are_kept_and_merge_by_their_index`.
    """
    return getattr(model, "output_version", None) == "v1"


def content_blocks(thoughts: str, text: str, calls: Iterable[ToolCallChunk]) -> list[dict[str, object]]:
    """The content of a chunk as standard blocks. Those LangChain makes merge the first call into a text before it.

    Upstream: `langchain_core/utils/_merge.py: merge_lists`,
    `langchain_core/messages/ai.py: AIMessageChunk.init_tool_calls`.
    Relies on: blocks merge by an index that begins with `lc_`; the last chunk makes calls of them.
    If it moves: blocks of streamed calls merge wrongly.
    Test: `test_content_blocks_of_a_chunk_are_kept_and_merge_by_their_index`.
    """
    blocks: list[dict[str, object]] = [{"type": "reasoning", "reasoning": thoughts}] if thoughts else []
    blocks += [{"type": "text", "text": text}] if text else []
    return blocks + [
        {"type": "tool_call_chunk", "id": c["id"], "name": c["name"], "args": c["args"], "index": f"lc_tc_{c['index']}"}
        for c in calls
    ]


def unrepairable_end(arguments: str) -> str:
    """What to add to the arguments of an invalid call, so that LangChain does not repair and make it.

    Upstream: `langchain_core/utils/json.py: parse_partial_json`,
    `langchain_core/messages/ai.py: AIMessageChunk.init_tool_calls`.
    Relies on: brackets that are closed without having been opened are not repaired.
    If it moves: a call that was cut off is made with half of its arguments.
    Test: `test_a_bracket_that_was_not_opened_is_not_repaired`.
    """
    # One of these closes what was not opened, whatever the text before it is.
    return next((end for end in ("", "]", "}", '"]', '"}', '\\"]', '\\"}') if not _is_repaired(arguments + end)), "")


def _is_repaired(arguments: str) -> bool:
    try:
        return not arguments or isinstance(parse_partial_json(arguments), dict)
    except (ValueError, RecursionError):
        return False


# langchain_core/exceptions.py


def add_class(error: BaseException, kind: type, reduce: Callable[..., tuple[object, ...]]) -> None:
    """Make an error an instance of a class of LangChain's too, in place: what it holds and its traceback stay.

    If the two classes cannot be joined, the error stays what it is.

    Upstream: `langchain_core/exceptions.py: LangChainException`.
    Relies on: its exceptions have the layout of Exception, and need nothing from their `__init__`.
    If it moves: errors are ours alone.
    Test: `test_exceptions_join_with_others_and_need_no_init`.

    Args:
        error: the error.
        kind: LangChain's class.
        reduce: the `__reduce__` of the joined class, which cannot be found by its name.
    """
    ours: type = type(error)
    try:
        error.__class__ = _joined(ours, kind, reduce)
    except Exception as refusal:  # noqa: BLE001  # what a foreign class raises is up to it
        logger.debug("%s cannot be %s too: %s", type(error).__name__, kind.__name__, refusal)


@lru_cache
def _joined(ours: type, theirs: type, reduce: Callable[..., tuple[object, ...]]) -> Any:
    attributes = {"__module__": ours.__module__, "__doc__": ours.__doc__, "__reduce__": reduce}
    return type(ours.__name__, (ours, theirs), attributes)
