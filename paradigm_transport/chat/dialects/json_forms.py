"""How each family writes calls that are JSON: a new family is a value here."""

from __future__ import annotations

import re

from paradigm_transport.chat.dialects.json_calls import JsonCalls, JsonObjects, NamedCalls

# What stands between the mark of a call and its arguments

_NAME = r"(?P<name>[^ \[\](){}<>\"'`=,:]+)"
_MISTRAL_HEADER = re.compile(rf"{_NAME} ?(?:\[CALL_ID\] ?(?P<id>\w*))? ?(?:\[ARGS\])? ?\(? ?(?:null)?")
_DEEPSEEK_HEADER = re.compile(
    rf"(?:(?:function ?)?<｜tool▁sep｜> ?)?{_NAME} ?(?:<｜tool▁sep｜>)?"
    r" ?(?:```(?:json)?)? ?\(? ?(?:null)?(?: ?```)?"
)
_KIMI_HEADER = re.compile(
    rf"(?P<id>(?:functions\.)?{_NAME}(?::\d+)?) ?(?:<\|tool_call_argument_begin\|>)? ?\(? ?(?:null)?"
)
_PLAMO_ARGUMENTS = "<|plamo:begin_tool_arguments:plamo|><|plamo:constrain|>json<|plamo:msg|>"
_PLAMO_HEADER = re.compile(
    rf"(?:<\|plamo:begin_tool_name:plamo\|> ?)?{_NAME} ?(?:<\|plamo:end_tool_name:plamo\|>)? ?"
    rf"(?:{re.escape(_PLAMO_ARGUMENTS)})? ?(?:null)?"
)
_FUNCTIONARY_HEADER = re.compile(rf"{_NAME} ?> ?\(? ?(?:null)?")

# The forms

HERMES = JsonCalls("<tool_call>", "</tool_call>", "\n", "\n", result="<tool_response>", dropped=("</tool_response>",))

LONGCAT = JsonCalls("<longcat_tool_call>", "</longcat_tool_call>", "\n", "\n")

TOOL_CALLS = JsonCalls("<tool_calls>", "</tool_calls>", is_list=True)
"""Jamba, Hunyuan."""

NEMOTRON_NANO_V2 = JsonCalls("<TOOLCALL>", "</TOOLCALL>", is_list=True)

COMMAND_R7B = JsonCalls(
    "<|START_ACTION|>",
    "<|END_ACTION|>",
    is_list=True,
    objects=JsonObjects("tool_name", "parameters", number="tool_call_id"),
)

APERTUS = JsonCalls("<|tools_prefix|>", "<|tools_suffix|>", is_list=True, objects=JsonObjects(name_is_key=True))

INTERNLM2 = JsonCalls(
    "<|action_start|>",
    "<|action_end|>",
    "<|plugin|>\n",
    objects=JsonObjects(arguments="parameters"),
    words=("json", "<|plugin|>"),
    dropped=("<|plugin|>",),
)

GRANITE = JsonCalls("<|tool_call|>", is_list=True, others=("<tool_call>",), dropped=("<|/tool_call|>", "</tool_call>"))

GRANITE_20B_FC = JsonCalls("<function_call>")

PHI_4_MINI = JsonCalls(
    "functools[",
    is_list=True,
    others=("functools [", "functools\n[", "<|tool_call|>"),
    dropped=("<|/tool_call|>",),
)

GIGACHAT3 = JsonCalls("function call<|role_sep|>", opening="\n", others=("<|function_call|>",))

MISTRAL_V3 = JsonCalls("[TOOL_CALLS]", is_list=True, header=_MISTRAL_HEADER)

MISTRAL_V11 = NamedCalls("[TOOL_CALLS]", _MISTRAL_HEADER, after_name="[ARGS]")

MISTRAL_V13_IDS = NamedCalls("[TOOL_CALLS]", _MISTRAL_HEADER, id_mark="[CALL_ID]", after_name="[ARGS]")

_DEEPSEEK_SECTION = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
DEEPSEEK_V3 = NamedCalls(
    "<｜tool▁call▁begin｜>",
    _DEEPSEEK_HEADER,
    before_name="function<｜tool▁sep｜>",
    after_name="\n```json\n",
    after_arguments="\n```",
    end="<｜tool▁call▁end｜>",
    section=_DEEPSEEK_SECTION,
    separator="\n",
)

DEEPSEEK_V3_1 = NamedCalls(
    "<｜tool▁call▁begin｜>",
    _DEEPSEEK_HEADER,
    after_name="<｜tool▁sep｜>",
    end="<｜tool▁call▁end｜>",
    section=_DEEPSEEK_SECTION,
)

KIMI_K2 = NamedCalls(
    "<|tool_call_begin|>",
    _KIMI_HEADER,
    after_name="<|tool_call_argument_begin|>",
    end="<|tool_call_end|>",
    section=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    id="functions.{name}:{index}",
    end_may_miss=True,
)

PLAMO_3 = NamedCalls(
    "<|plamo:begin_tool_request:plamo|>",
    _PLAMO_HEADER,
    before_name="<|plamo:begin_tool_name:plamo|>",
    after_name=f"<|plamo:end_tool_name:plamo|>{_PLAMO_ARGUMENTS}",
    after_arguments="<|plamo:end_tool_arguments:plamo|>",
    end="<|plamo:end_tool_request:plamo|>",
    section=("<|plamo:begin_tool_requests:plamo|>", "<|plamo:end_tool_requests:plamo|>"),
    dropped=("<|plamo:end_tool_arguments:plamo|>",),
)

FUNCTIONARY_V3_1 = NamedCalls("<function=", _FUNCTIONARY_HEADER, after_name=">", end="</function>")
