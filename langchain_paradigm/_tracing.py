"""What callbacks and tracers get of a run, so that each finds the run's own usage where it looks.

LangChain's handlers were made for chat models first: many read usage off a chat message alone, and none gets the usage
of a completion that was streamed. What this rests on is described in `_compat.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import Generation, LLMResult
from typing_extensions import NotRequired, TypedDict

from langchain_paradigm._compat import (
    ResultPerRun,
    RunManager,
    chat_generation,
    give_text_to,
    has_handlers,
    replace_stream_result,
)
from langchain_paradigm._texts import COUNTS


class LLMOutput(TypedDict):
    """`LLMResult.llm_output`, by the names that LangChain's counters and tracers read."""

    model_name: str
    ids: list[str | None]
    token_usage: NotRequired[dict[str, int]]


def llm_output(candidates: Sequence[Generation], model: str) -> LLMOutput:
    """`LLMResult.llm_output` of one prompt.

    Args:
        candidates: the generations of the prompt; the usage is on the first.
        model: the model asked, which stands in for one that the server does not name.
    """
    info = candidates[0].generation_info or {}
    output: LLMOutput = {"model_name": info.get("model_name", model), "ids": [info.get("id")]}
    if "usage_metadata" in info:
        output["token_usage"] = {name: info["usage_metadata"][key] for name, key in COUNTS.items()}
    return output


_TAKE_MESSAGES = ("langchain_core", "langfuse", "mlflow", "openinference", "opentelemetry", "sentry_sdk", "weave")
"""Packages whose handlers take a chat message at the end of any run; `make test-usage` measures it."""


def wants_text(handler: BaseCallbackHandler) -> bool:
    """Whether a handler may expect a text of a run that began with a prompt.

    One that keeps account of both kinds of runs, as Chainlit's does, looks for a chat message among those that began
    with messages, and fails.
    """
    starts = [getattr(type(handler), name, None) for name in ("on_llm_start", "on_chat_model_start")]
    return all(getattr(each, "__module__", "langchain_core").split(".")[0] not in _TAKE_MESSAGES for each in starts)


def result(by_prompt: Sequence[list[Generation]], model: str, as_chat: bool, manager: RunManager | None) -> LLMResult:
    """The generations of all prompts, with the sum of the usage that the server reported.

    Args:
        by_prompt: the generations of each prompt; the usage is on the first.
        model: the model asked, which stands in for one that the server does not name.
        as_chat: give callbacks chat messages; the result itself holds texts.
        manager: the first run's.
    """
    outputs = [llm_output(candidates, model) for candidates in by_prompt]
    infos = [candidates[0].generation_info or {} for candidates in by_prompt]
    total: LLMOutput = {
        "model_name": next((info["model_name"] for info in infos if "model_name" in info), model),
        "ids": [info.get("id") for info in infos],
    }
    usages = [each["token_usage"] for each in outputs if "token_usage" in each]
    if usages:
        total["token_usage"] = {name: sum(usage[name] for usage in usages) for name in COUNTS}
    if len(by_prompt) == 1 and not has_handlers(manager):
        return LLMResult(generations=list(by_prompt), llm_output=dict(total))
    give_text_to(manager, wants_text)
    whole = ResultPerRun(generations=list(by_prompt), llm_output=dict(total))
    whole._of_runs = [result_for_callbacks(*each, as_chat) for each in zip(by_prompt, outputs, strict=True)]
    return whole


def report_stream_end(manager: RunManager | None, model: str, as_chat: bool) -> None:
    """Give the callbacks of a stream the same result as those of any other run.

    Args:
        manager: the run's, which reports the end.
        model: the model asked.
        as_chat: give them a chat message.
    """

    def as_run(response: LLMResult) -> LLMResult:
        (candidates,) = response.generations
        give_text_to(manager, wants_text)
        return result_for_callbacks(candidates, llm_output(candidates, model), as_chat)

    replace_stream_result(manager, as_run)


def result_for_callbacks(candidates: Sequence[Generation], output: LLMOutput, as_chat: bool) -> LLMResult:
    """The result of one run.

    Args:
        candidates: the generations of its prompt.
        output: their `llm_output`.
        as_chat: give chat messages in place of texts.
    """
    shown = [chat_generation(each, output["model_name"]) for each in candidates] if as_chat else list(candidates)
    return LLMResult(generations=[shown], llm_output=dict(output))
