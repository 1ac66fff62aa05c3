"""What callbacks and tracers get of a run, so that each finds the run's own usage where it looks.

LangChain's handlers were made for chat models first: many read usage off a chat message alone, and none gets the usage
of a completion that was streamed. What this rests on is described in `_compat.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.outputs import Generation, LLMResult
from pydantic import PrivateAttr

from langchain_paradigm._compat import ResultPerRun, RunManager, chat_generation, replace_stream_result
from langchain_paradigm._out import LLMOutput, llm_output, summed


class RunResult(ResultPerRun):
    """The generations of all prompts; the callbacks of each run get its own, with its own usage."""

    _outputs: list[LLMOutput] = PrivateAttr(default_factory=list)
    _as_chat: bool = PrivateAttr(default=False)

    def results_for_callbacks(self) -> list[LLMResult]:
        """The result of each run."""
        return [
            result_for_callbacks(candidates, output, self._as_chat)
            for candidates, output in zip(self.generations, self._outputs, strict=True)
        ]


def result(by_prompt: Sequence[list[Generation]], model: str, as_chat: bool) -> LLMResult:
    """The generations of all prompts, with the sum of the usage that the server reported.

    Args:
        by_prompt: the generations of each prompt; the usage is on the first.
        model: the model asked, which stands in for one that the server does not name.
        as_chat: give callbacks chat messages; the result itself holds texts.
    """
    outputs = [llm_output(candidates) for candidates in by_prompt]
    whole = RunResult(generations=list(by_prompt), llm_output=dict(summed(outputs, model)))
    whole._outputs = [{**output, "model_name": output.get("model_name", model)} for output in outputs]
    whole._as_chat = as_chat
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
        output = llm_output(candidates)
        output.setdefault("model_name", model)
        return result_for_callbacks(candidates, output, as_chat)

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
