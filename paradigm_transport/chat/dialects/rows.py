"""The table of dialects: how each model family writes calls of tools and thoughts. A new family is a row."""

from __future__ import annotations

import re

from paradigm_transport.chat.dialects.dialect import Dialect
from paradigm_transport.chat.dialects.harmony import CALL, RETURN, HarmonyCalls
from paradigm_transport.chat.dialects.json_calls import JsonCalls, NamedCalls
from paradigm_transport.chat.dialects.thoughts import Thoughts

# Thoughts

_NO_THOUGHTS = "<think>\n\n</think>\n\n"
_END_THOUGHTS = "\n</think>\n\n"
THINK = Thoughts(("<think>",), ("</think>",), _NO_THOUGHTS, _END_THOUGHTS)
THINK_OR_CALL = Thoughts(("<think>",), ("</think>",), _NO_THOUGHTS, _END_THOUGHTS, may_end_in_calls=True)
THINKING = Thoughts(("<think>",), ("</think>",), _NO_THOUGHTS, _END_THOUGHTS, are_open=True)

# Calls

_CHATML = ("<|im_end|>", "<|im_start|>", "<|endoftext|>")
_HERMES_CALLS = JsonCalls(
    "<tool_call>",
    "</tool_call>",
    opening="\n",
    closing="\n",
    dropped=("</tool_response>",),
    result="<tool_response>",
)
_MISTRAL_NAMED = re.compile(r"\s*(?P<name>[^\s\[\]{}]+)\s*(?:\[CALL_ID\](?P<id>\w*))?\s*(?:\[ARGS\])?\s*(?:null\s*)?")
_DEEPSEEK = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_DEEPSEEK_NAMED = re.compile(
    r"\s*(?:function)?\s*(?:<｜tool▁sep｜>)?(?P<name>[^\s<`]+)\s*(?:<｜tool▁sep｜>)?\s*(?:```(?:json)?)?\s*(?:null[\s`]*)?"
)

HERMES = Dialect(
    "hermes",
    _HERMES_CALLS,
    sign=r'<tool_call>\s*{"name": "NAME", "arguments"',
    tool_parsers=("hermes", "qwen3_json", "longcat"),
    ends=_CHATML,
    form="as a JSON object, once for each call",
    example='<tool_call>\n{"name": <name>, "arguments": <object>}\n</tool_call>',
)
QWEN3 = Dialect("qwen3", _HERMES_CALLS, reasoning_parsers=("qwen3",), thoughts=THINK_OR_CALL, ends=_CHATML)
QWEN3_THINKING = Dialect("qwen3-thinking", _HERMES_CALLS, thoughts=THINKING, ends=_CHATML)
MISTRAL_V3 = Dialect(
    "mistral-v3",
    JsonCalls("[TOOL_CALLS]", is_list=True, header=_MISTRAL_NAMED),
    sign=r"\[TOOL_CALLS\]\s*\[?{",
    ends=("</s>",),
    results=("[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
)
DEEPSEEK_R1 = Dialect(
    "deepseek-r1",
    NamedCalls(
        "<｜tool▁call▁begin｜>",
        _DEEPSEEK_NAMED,
        before_name="function<｜tool▁sep｜>",
        after_name="\n```json\n",
        after_arguments="\n```",
        end="<｜tool▁call▁end｜>",
        section=_DEEPSEEK,
        separator="\n",
    ),
    sign=r"<｜tool▁sep｜>NAME\s*```json",
    tool_parsers=("deepseek_v3",),
    reasoning_parsers=("deepseek_r1",),
    thoughts=THINKING,
    ends=("<｜end▁of▁sentence｜>",),
    results=("<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"),
)
GPT_OSS = Dialect(
    "gpt-oss",
    HarmonyCalls(),
    sign=r"to=functions\.NAME",
    tool_parsers=("openai",),
    reasoning_parsers=("openai_gptoss",),
    stops=(CALL, RETURN),
    has_channels=True,
)

ROWS = (GPT_OSS, DEEPSEEK_R1, MISTRAL_V3, HERMES, QWEN3, QWEN3_THINKING)
"""The table, the most special calls first."""
