"""Everything this package uses of llama-index-core that LlamaIndex does not promise to keep.

No other module overrides a private method of LlamaIndex, imports a helper that it does not export, or relies on a
convention that it does not document. Here stand, in this order:

- hooks: mixins that override one private method each; the public classes inherit them,
- helpers: functions that LlamaIndex defines and does not export,
- conventions: where other parts of LlamaIndex look for tool calls, results and usage.

Each says what it relies on (*Upstream*, with the file in `llama_index/core`), what users see once that changes (*If it
moves*), and which test in `tests/llama_index/test_compat.py` fails on that day (*Test*). None of them hides an error of
the user's: what LlamaIndex no longer has is left out, not raised.

One more stands elsewhere: `paradigm_transport/access.py` replaces `BaseComponent.__getstate__` and `__setstate__`
(`schema.py`), which drop what cannot be pickled and run `__init__` again; see
`test_base_component_drops_what_cannot_be_pickled_and_runs_init_again`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms import types
from llama_index.core.callbacks import CallbackManager
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.settings import Settings
from pydantic import BaseModel, Field, PrivateAttr, field_validator

from paradigm_transport import InvalidParameterError, Usage
from paradigm_transport.arguments import Fields
from paradigm_transport.json_object import JsonObject

if TYPE_CHECKING:
    from llama_index.core.llms import LLM
    from llama_index.core.program.utils import FlexibleModel as FlexibleModel
    from llama_index.core.tools import BaseTool

    from paradigm_transport.messages import InvalidToolCall
else:  # what the hooks are mixed into; pydantic would build a model of each hook
    LLM = object

logger = logging.getLogger(__name__)

Method = TypeVar("Method", bound=Callable[..., object])

StoredCall = tuple[str, str, str | JsonObject]
"""A tool call in a message: its id, the tool's name, the arguments as JSON text or as an object."""


def _find(module: str, name: str) -> Callable[..., Any] | None:
    try:
        found: Callable[..., Any] = getattr(import_module(f"llama_index.core.{module}"), name)
    except (ImportError, AttributeError):
        logger.warning("llama_index.core.%s has no %s any more; is there a newer paradigm-llm?", module, name)
        return None
    return found


# Hooks


class PromptHook(LLM):
    """Has `predict`, `stream` and their async twins format prompts with `_format_prompt`.

    Upstream: `llms/llm.py`: the four methods call `LLM._get_prompt(prompt, **prompt_args)` and complete its result with
        `formatted=True`, unless the metadata say `is_chat_model`.
    If it moves: LlamaIndex formats these prompts by itself, without `chat_template`.
    Test: `test_predictions_format_prompts_with_the_private_hook`
    """

    def _get_prompt(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        return self._format_prompt(prompt, prompt_args)

    def _format_prompt(self, prompt: BasePromptTemplate, prompt_args: JsonObject) -> str:
        raise NotImplementedError


class MessagesHook(LLM):
    """Keeps LlamaIndex from adding `system_prompt` to messages: `chat` and its twins add it themselves.

    Upstream: `llms/llm.py` and `program/function_program.py`: predictions and programs pass messages through
        `LLM._extend_messages(messages)` before they call `chat`.
    If it moves: these messages hold `system_prompt` twice.
    Test: `test_predictions_and_programs_extend_messages_with_the_private_hook`
    """

    def _extend_messages(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        return messages


class RetrieverState(Fields, BaseRetriever):
    """Declares as fields what `BaseRetriever.__init__` sets, which is not called.

    Upstream: `base/base_retriever.py`: `__init__` sets `callback_manager`, `object_map` and `_verbose`, and nothing
        else; the public methods read them.
    If it moves: Retrievals fail for want of an attribute.
    Test: `test_base_retriever_sets_the_attributes_that_are_declared`
    """

    callback_manager: CallbackManager = Field(
        default=None,  # the validator takes it from LlamaIndex's settings
        validate_default=True,
        exclude=True,
        repr=False,
        description="Gets the events of each retrieval; by default that of LlamaIndex's `Settings`.",
    )
    object_map: dict[str, Any] = Field(
        default_factory=dict,
        exclude=True,
        repr=False,
        description="Objects that index nodes refer to; a search returns no index nodes.",
    )

    _verbose: bool = PrivateAttr(default=False)

    @field_validator("callback_manager", mode="before")
    @classmethod
    def _find_callback_manager(cls, given: object) -> object:
        return Settings.callback_manager if given is None else given


class ToolsHook(FunctionCallingLLM):
    """Turns the arguments of `chat_with_tools` and its twins into those of `chat`.

    Upstream: `llms/function_calling.py`: the four methods call the abstract `_prepare_chat_with_tools` and pass its
        result to `chat`; they look for `tool_required` in its signature, and agents add `tool_choice`.
    If it moves: the class cannot be instantiated, or `chat` refuses the arguments by name.
    Test: `test_chat_with_tools_passes_the_prepared_arguments_to_chat`
    """

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: str | JsonObject | None = None,
        **kwargs: Any,
    ) -> JsonObject:
        last = [ChatMessage(user_msg) if isinstance(user_msg, str) else user_msg] if user_msg else []
        return {
            "messages": [*(chat_history or ()), *last],
            # plain data, for events carry them
            "tools": [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools],
            "tool_choice": ("required" if tool_required else "auto") if tool_choice is None else tool_choice,
            "parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }


# Helpers


def llm_callback(kind: Literal["chat", "completion"]) -> Callable[[Method], Method]:
    """Return the decorator that reports each call of a method to LlamaIndex's callbacks and event handlers.

    Upstream: `llms/callbacks.py`, `llm_chat_callback()` and `llm_completion_callback()`: they call the method once,
        acquire `rate_limiter` once, and recognise streams by the types `Generator` and `AsyncGenerator`.
    If it moves: calls work, but are neither reported nor rate-limited; a warning is logged at import.
    Test: `test_callback_decorators_report_each_call_once`
    """
    make = _find("llms.callbacks", f"llm_{kind}_callback")
    return (lambda method: method) if make is None else make()


def is_default_prompt_function(function: object) -> bool:
    """Return whether `messages_to_prompt` or `completion_to_prompt` is LlamaIndex's default and not the user's.

    Upstream: `llms/llm.py`: `LLM` replaces None by functions of `llama_index.core`.
    If it moves: a default counts as the user's function, and `ParadigmLLM` does not apply `chat_template`.
    Test: `test_default_prompt_functions_are_defined_in_llama_index_core`
    """
    return str(getattr(function, "__module__", "")).startswith("llama_index.core.")


_create_flexible_model = _find("program.utils", "create_flexible_model")


def partial_class(output_cls: type[BaseModel]) -> type[FlexibleModel] | None:
    """Return the class of which streams of structured predictions yield objects that do not validate yet.

    Upstream: `program/utils.py`, `create_flexible_model(model)`: the same fields, all of them optional and of any type.
    If it moves: None; streams yield only objects that validate.
    Test: `test_flexible_models_take_incomplete_objects`
    """
    return None if _create_flexible_model is None else _create_flexible_model(output_cls)


def without_span(method: Method) -> Method:
    """Keep LlamaIndex from opening a span for a method that calls one of LlamaIndex's own, which opens it.

    Upstream: `instrumentation/__init__.py`, `DispatcherSpanMixin.__init_subclass__` decorates overrides of decorated
        methods, but none that bears this mark.
    If it moves: traces show `retrieve` twice, one inside the other.
    Test: `test_retrieval_is_one_span`
    """
    vars(method)["__dispatcher_span_decorated__"] = True
    return method


# Conventions


def plain_blocks(blocks: Iterable[types.ContentBlock], *, takes_images: bool = False) -> list[types.ContentBlock]:
    """Return the blocks with the text inside citable blocks and citations as separate blocks.

    Upstream: `base/llms/types.py`: `block_type` distinguishes blocks; `CitableBlock.content` holds blocks, and
        `CitationBlock.cited_content` one; neither class exists in the oldest LlamaIndex that is supported.
    If it moves: a block that is not known is refused by its type, as an image is.
    Test: `test_blocks_have_the_known_types_and_contents`

    Args:
        blocks: the blocks of a message.
        takes_images: the endpoint takes images, too.

    Raises:
        InvalidParameterError: a block holds something other than text, or an image that the endpoint does not take;
            names its type.
    """
    return [inner for block in blocks for inner in _unfolded(block, takes_images)]


def _unfolded(block: Any, takes_images: bool) -> list[types.ContentBlock]:
    kind = _kind_of(block)
    if kind == "citable":
        return plain_blocks(block.content, takes_images=takes_images)
    if kind == "citation":
        return _unfolded(block.cited_content, takes_images)
    if kind == "image" and takes_images:
        return [block]
    if kind not in ("text", "tool_call", "thinking", "cache"):
        accepted = "text and images" if takes_images else "text only"
        if kind == "image":
            accepted += "; for images, use ChatParadigm without chat_template"
        raise InvalidParameterError(f"a message contains a block of type {kind}; the endpoint accepts {accepted}")
    return [block]


def without_class_name(component: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a component without the name of its class.

    Upstream: `schema.py`, `BaseComponent.custom_model_dump`, which writes it into every dump; `from_dict` takes it out.
    If it moves: a pydantic model that holds one of ours cannot be read from its own dump.
    Test: `test_dumps_of_components_hold_the_name_of_the_class`
    """
    is_own = values.get("class_name") == component.class_name()
    return {name: value for name, value in values.items() if name != "class_name" or not is_own}


def without_ways_to_call(llm_kwargs: JsonObject) -> JsonObject:
    """Return the arguments of a structured prediction without those that say how LlamaIndex's programs call a model.

    Upstream: `program/function_program.py`, `FunctionCallingProgram.__call__`.
    If it moves: such an argument is refused, or one of the endpoint's fields is left out.
    Test: `test_programs_leave_out_what_says_how_to_call`
    """
    return {name: value for name, value in llm_kwargs.items() if name not in _WAYS_TO_CALL}


_WAYS_TO_CALL = ("allow_parallel_tool_calls", "tool_choice", "tool_required")


def images_of(message: ChatMessage) -> list[types.ContentBlock]:
    """Return the images of a message.

    Upstream: `base/llms/types.py`, `block_type` of `ImageBlock`.
    If it moves: images beside a query that `query_wrapper_prompt` wraps are left out.
    Test: `test_images_are_known_by_their_type_and_resolved_to_base64`
    """
    return [block for block in message.blocks if _kind_of(block) == "image"]


def openai_parts(message: ChatMessage) -> list[JsonObject]:
    """Return text and images of a message in the form of OpenAI's API; nothing if it holds no image.

    Upstream: `base/llms/types.py`, `ImageBlock(image=, path=, url=, image_mimetype=, detail=)`, which keeps bytes in
        base64, and `resolve_image()`, which reads the image.
    If it moves: a chat with images raises.
    Test: `test_images_are_known_by_their_type_and_resolved_to_base64`
    """
    if not images_of(message):
        return []
    parts: list[JsonObject] = []
    for block in message.blocks:
        kind = _kind_of(block)
        if kind == "image":
            parts.append({"type": "image_url", "image_url": _image_url(block)})
        elif kind == "text":
            parts.append({"type": "text", "text": getattr(block, "text", "")})
    return parts


def _image_url(block: Any) -> JsonObject:
    if block.url and not block.image:  # the server fetches it
        url = str(block.url)
    else:
        # Of bytes, it finds out their type, and encodes them.
        image: Any = types.ImageBlock(image=block.resolve_image().read(), image_mimetype=block.image_mimetype)
        url = f"data:{image.image_mimetype or 'image/png'};base64,{image.image.decode()}"
    return {"url": url, **({"detail": block.detail} if block.detail else {})}


def _kind_of(block: object) -> str:
    return str(getattr(block, "block_type", type(block).__name__))


ThinkingBlock: type[Any] | None = getattr(types, "ThinkingBlock", None)


def thinking_blocks(thoughts: str) -> list[types.ContentBlock]:
    """Return thoughts as a block of a message; without thoughts, none.

    Upstream: `base/llms/types.py`, `ThinkingBlock(content=)`, newer than the oldest LlamaIndex that is supported.
    If it moves: messages have no thoughts.
    Test: `test_thinking_blocks_hold_thoughts_apart_from_the_content`
    """
    return [ThinkingBlock(content=thoughts)] if thoughts and ThinkingBlock is not None else []


def thoughts_of(message: ChatMessage) -> str:
    """Return the thoughts of a message, those of `thinking_blocks` or of another provider.

    Upstream: `base/llms/types.py`, `ThinkingBlock.content`, newer than the oldest LlamaIndex that is supported.
    If it moves: templates get no thoughts of earlier messages.
    Test: `test_thinking_blocks_hold_thoughts_apart_from_the_content`
    """
    contents = (getattr(each, "content", None) for each in message.blocks if _kind_of(each) == "thinking")
    return "\n".join(content for content in contents if isinstance(content, str))


ToolCallBlock: type[Any] | None = getattr(types, "ToolCallBlock", None)


def tool_call_blocks(calls: Iterable[StoredCall]) -> list[types.ContentBlock]:
    """Return tool calls as blocks of a message.

    Upstream: `base/llms/types.py`, `ToolCallBlock(tool_call_id=, tool_name=, tool_kwargs=)`, newer than the oldest
        LlamaIndex that is supported.
    If it moves: messages have no such blocks; their calls are in `additional_kwargs` all the same.
    Test: `test_tool_call_blocks_hold_an_id_a_name_and_arguments`
    """
    if ToolCallBlock is None:
        return []
    return [ToolCallBlock(tool_call_id=call_id, tool_name=name, tool_kwargs=args) for call_id, name, args in calls]


def tool_call_kwargs(calls: Iterable[tuple[str, str, str]]) -> JsonObject:
    """Return tool calls, their arguments as JSON text, as `additional_kwargs` of a message; without calls, nothing.

    Upstream: `program/utils.py`, `chat_engine/types.py` and tracers look for tool calls in
        `additional_kwargs["tool_calls"]`, in the form of OpenAI's API.
    If it moves: LlamaIndex's own programs and chat engines take such a message for text.
    Test: `test_programs_and_chat_engines_find_tool_calls_in_additional_kwargs`
    """
    stored = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}
        for call_id, name, text in calls
    ]
    return {"tool_calls": stored} if stored else {}


def stored_tool_calls(message: ChatMessage) -> list[StoredCall]:
    """Return the tool calls of a message: those in its blocks, else those in `additional_kwargs`.

    Upstream: `base/llms/types.py` and `program/utils.py`, as for `tool_call_blocks` and `tool_call_kwargs`. LLMs of
        other packages write one or the other, and OpenAI's write objects instead of dictionaries. The older API of
        OpenAI had one call, `additional_kwargs["function_call"]`.
    If it moves: calls in another place are not found, and calls in another form are refused.
    Test: `test_tool_call_blocks_hold_an_id_a_name_and_arguments`

    Raises:
        InvalidParameterError: the calls have another form.
    """
    blocks: list[Any] = [block for block in message.blocks if getattr(block, "block_type", None) == "tool_call"]
    if blocks:
        return [(block.tool_call_id or "", block.tool_name, block.tool_kwargs) for block in blocks]
    older = message.additional_kwargs.get("function_call")
    stored = message.additional_kwargs.get("tool_calls") or ([{"id": "", "function": older}] if older else [])
    try:
        calls = [call.model_dump() if isinstance(call, BaseModel) else call for call in stored]
        return [(call["id"] or "", call["function"]["name"], call["function"]["arguments"]) for call in calls]
    except (KeyError, TypeError):
        raise InvalidParameterError("tool_calls of a message must have the form of OpenAI's API") from None


def unknown_tool_call(call: InvalidToolCall) -> ToolSelection:
    """Return a malformed tool call as the call of a tool that does not exist, whose name says what is wrong.

    Upstream: `agent/workflow/base_agent.py` and `agent/workflow/multi_agent_workflow.py`, `call_tool()`: the result of
        an unknown tool holds its name, and goes to the model.
    If it moves: an agent raises at a malformed call, or the model does not learn the reason.
    Test: `test_agents_report_an_unknown_tool_to_the_model_by_its_name`
    """
    name = f"{call.name or 'unknown'} (malformed call: {call.reason})"
    return ToolSelection(tool_id=call.id, tool_name=name, tool_kwargs={})


def tool_result(message: ChatMessage) -> tuple[str | None, str | None]:
    """Return the id of the call that a message is the result of, and the tool's name; None for what it does not say.

    Upstream: `agent/workflow/function_agent.py` writes the id into `additional_kwargs["tool_call_id"]`.
    If it moves: results go to the model in their order, without an id and a name.
    Test: `test_agents_write_the_id_of_a_call_into_additional_kwargs`
    """
    return message.additional_kwargs.get("tool_call_id"), message.additional_kwargs.get("name")


def raw_with_usage(raw: JsonObject, usage: Usage | None) -> JsonObject:
    """Return a server's reply with its usage where LlamaIndex counts tokens: exact and final, or absent.

    Upstream: `callbacks/token_counting.py` reads `raw["usage"]`, under the names of OpenAI's API.
    If it moves: LlamaIndex's token counter estimates.
    Test: `test_token_counter_reads_usage_from_the_raw_response`
    """
    rest = dict(raw)
    reported = rest.pop("usage", None)
    if usage is not None:
        rest["usage"] = {**(reported if isinstance(reported, dict) else {}), **usage.as_dict()}
    return rest


def acquired_for_batch(embed_model: BaseEmbedding) -> int:
    """Return how often `rate_limiter` has been acquired for an async batch of texts: once, and not at all with a cache.

    Upstream: `base/embeddings/base.py`: one acquisition for each text, query and batch, but for the async batches that
        go through `_aget_text_embeddings_cached`.
    If it moves: a batch is counted as one request more, or fewer, than it is.
    Test: `test_rate_limiter_is_acquired_once_for_a_batch`
    """
    return 0 if embed_model.embeddings_cache is not None else 1
