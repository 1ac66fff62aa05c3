"""How each family writes calls that are not JSON: a new family is a value here."""

from __future__ import annotations

from dataclasses import replace

from paradigm_transport.chat.dialects.gemma import GemmaCalls
from paradigm_transport.chat.dialects.python_calls import PythonCalls
from paradigm_transport.chat.dialects.tagged import TaggedCalls

QWEN_CODER = TaggedCalls(
    begin="<tool_call>\n",
    end="</tool_call>",
    call="<function=NAME>\n",
    call_end="</function>\n",
    parameter="<parameter=KEY>\n",
    parameter_end="\n</parameter>\n",
    trim="line",
    style="qwen_xml",
)
"""Qwen3-Coder, Qwen3.5, Nemotron 3, Step 3.5."""

SEED_OSS = replace(
    QWEN_CODER,
    begin="<seed:tool_call>\n",
    end="</seed:tool_call>",
    parameter="<parameter=KEY>",
    parameter_end="</parameter>\n",
)

GLM_45 = TaggedCalls(
    begin="<tool_call>",
    end="</tool_call>",
    call="NAME\n",
    call_end="",
    parameter="<arg_key>KEY</arg_key>\n",
    value="<arg_value>",
    parameter_end="</arg_value>\n",
    style="glm_xml",
)

GLM_47 = replace(GLM_45, call="NAME", parameter="<arg_key>KEY</arg_key>", parameter_end="</arg_value>")

MINIMAX_M2 = TaggedCalls(
    begin="<minimax:tool_call>\n",
    end="</minimax:tool_call>",
    call='<invoke name="NAME">\n',
    call_end="</invoke>\n",
    parameter='<parameter name="KEY">',
    parameter_end="</parameter>\n",
    is_shared=True,
    style="minimax_xml",
)

DOTS = replace(MINIMAX_M2, begin="<dots_function_call>\n", end="</dots_function_call>")

DEEPSEEK_V32 = TaggedCalls(
    begin="\n\n<｜DSML｜function_calls>\n",
    end="</｜DSML｜function_calls>",
    call='<｜DSML｜invoke name="NAME">\n',
    call_end="</｜DSML｜invoke>\n",
    parameter='<｜DSML｜parameter name="KEY" string="IS_TEXT">',
    parameter_end="</｜DSML｜parameter>\n",
    is_shared=True,
    style="deepseek_xml",
)

DEEPSEEK_V4 = replace(DEEPSEEK_V32, begin="\n\n<｜DSML｜tool_calls>\n", end="</｜DSML｜tool_calls>")

STEP_3 = TaggedCalls(
    begin="<｜tool_calls_begin｜>",
    end="<｜tool_calls_end｜>",
    lead=("<｜tool_call_begin｜>", "function", "<｜tool_sep｜>"),
    call='<steptml:invoke name="NAME">',
    call_end="</steptml:invoke>",
    parameter='<steptml:parameter name="KEY">',
    parameter_end="</steptml:parameter>",
    tail=("<｜tool_call_end｜>",),
    trim="space",
    is_shared=True,
)

MINICPM_5 = TaggedCalls(
    begin="",
    end="",
    call='<function name="NAME">',
    call_end="</function>",
    parameter='<param name="KEY">',
    parameter_end="</param>",
)

PYTHONIC = PythonCalls()
"""Llama 3.2, ToolACE, Gemma 3 by vLLM's template."""

LLAMA_4 = PythonCalls(begin="<|python_start|>", end="<|python_end|>", may_be_bare=True)

OLMO_3 = PythonCalls(begin="<function_calls>\n", end="\n</function_calls>", is_list=False)

LFM_2 = PythonCalls(begin="<|tool_call_start|>", end="<|tool_call_end|>", has_echo=True)

GEMMA_4 = GemmaCalls(begin="<|tool_call>", end="<tool_call|>", quote='<|"|>')

FUNCTION_GEMMA = GemmaCalls(begin="<start_function_call>", end="<end_function_call>", quote="<escape>")
