"""The table of dialects: how each model family writes calls of tools and thoughts. A new family is a row."""

from __future__ import annotations

from paradigm_transport.chat.dialects import call_forms, json_forms
from paradigm_transport.chat.dialects.bare import BareCalls
from paradigm_transport.chat.dialects.dialect import Dialect
from paradigm_transport.chat.dialects.functionary import FunctionaryCalls
from paradigm_transport.chat.dialects.harmony import CALL, RETURN, HarmonyCalls
from paradigm_transport.chat.dialects.json_calls import JsonObjects
from paradigm_transport.chat.dialects.layers import Turn
from paradigm_transport.chat.dialects.thoughts import Thoughts, tagged

# Thoughts: those of the first kind may end in calls, those of the second are often opened by the prompt alone.

_CLOSED, _CLOSE = "<think>\n\n</think>\n\n", "\n</think>\n\n"
_QWEN3_THOUGHTS = tagged("<think>", "</think>", _CLOSED, _CLOSE, may_end_in_calls=True)
_R1_THOUGHTS = tagged("<think>", "</think>", _CLOSED, _CLOSE, are_open=True)
_SHORT = "<think></think>"
_SHORT_THOUGHTS = tagged("<think>", "</think>", _SHORT, "</think>", may_end_in_calls=True)
_GRANITE_THOUGHTS = tagged("<think>", "</think>", "", "</think>")
_DEEPSEEK_THOUGHTS = tagged("<think>", "</think>", _SHORT, "</think>")
_HUNYUAN_THOUGHTS = tagged("<think>", "</think>", "<think>\n\n</think>\n", "\n</think>\n")

# Marks around answers

_GLM_TURN = Turn(("<|user|>", "<|observation|>", "<|endoftext|>"), "<|assistant|>")
_CHATML_ENDS = ("<|im_end|>", "<|im_start|>", "<|endoftext|>")
_LLAMA = Turn(("<|eot_id|>", "<|eom_id|>"), "<|start_header_id|>", "assistant<|end_header_id|>")
_GRANITE = Turn(("<|end_of_text|>", "<|start_of_role|>"), "<|start_of_role|>", "assistant<|end_of_role|>")
_CHATML = Turn(_CHATML_ENDS, "<|im_start|>", "assistant\n")
_MISTRAL_RESULTS = ("[TOOL_RESULTS]", "[/TOOL_RESULTS]")
_DEEPSEEK_TURN = Turn(("<｜end▁of▁sentence｜>",), "<｜Assistant｜>")
_DEEPSEEK_RESULTS = ("<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>")

HERMES = Dialect(
    "hermes",
    json_forms.HERMES,
    sign=r'<tool_call>\s*{"name": "NAME", "arguments"',
    tool_parsers=("hermes", "qwen3_json", "granite4"),
    turn=Turn((*_CHATML_ENDS, "<|end_of_text|>"), _CHATML.begin, _CHATML.role),
    form="as a JSON object, once for each call",
    example='<tool_call>\n{"name": <name>, "arguments": <object>}\n</tool_call>',
)

ROWS = (
    Dialect(
        "gpt-oss",
        HarmonyCalls(),
        sign=r"to=functions\.NAME",
        tool_parsers=("openai",),
        reasoning_parsers=("openai_gptoss",),
        stops=(CALL, RETURN),
        has_channels=True,
    ),
    Dialect(
        "deepseek-v3.2",
        call_forms.DEEPSEEK_V32,
        sign=r"｜DSML｜function_calls",
        tool_parsers=("deepseek_v32",),
        thoughts=_DEEPSEEK_THOUGHTS,
        turn=_DEEPSEEK_TURN,
        results=("<result>", "</result>"),
    ),
    Dialect(
        "deepseek-v4",
        call_forms.DEEPSEEK_V4,
        sign=r"｜DSML｜",
        tool_parsers=("deepseek_v4", "deepseek_v41"),
        reasoning_parsers=("deepseek_v4", "deepseek_v41"),
        thoughts=_DEEPSEEK_THOUGHTS,
        turn=_DEEPSEEK_TURN,
        results=("<result>", "</result>"),
    ),
    Dialect(
        "deepseek-r1",
        json_forms.DEEPSEEK_V3,
        reasoning_parsers=("deepseek_r1",),
        thoughts=_R1_THOUGHTS,
        turn=_DEEPSEEK_TURN,
        results=_DEEPSEEK_RESULTS,
    ),
    Dialect(
        "deepseek-v3",
        json_forms.DEEPSEEK_V3,
        sign=r"<｜tool▁sep｜>NAME\s*```json",
        tool_parsers=("deepseek_v3",),
        turn=_DEEPSEEK_TURN,
        results=_DEEPSEEK_RESULTS,
    ),
    Dialect(
        "deepseek-v3.1",
        json_forms.DEEPSEEK_V3_1,
        sign=r"<｜tool▁sep｜>\s*{",
        tool_parsers=("deepseek_v31",),
        reasoning_parsers=("deepseek_v3", "holo2", "poolside_v1"),
        thoughts=_DEEPSEEK_THOUGHTS,
        turn=_DEEPSEEK_TURN,
        results=_DEEPSEEK_RESULTS,
    ),
    Dialect(
        "kimi-k2",
        json_forms.KIMI_K2,
        sign=r"<\|tool_call_argument_begin\|>",
        tool_parsers=("kimi_k2",),
        reasoning_parsers=("kimi_k2",),
        thoughts=_SHORT_THOUGHTS,
        turn=Turn(("<|im_end|>",), "<|im_assistant|>", "assistant<|im_middle|>"),
    ),
    Dialect(
        "step-3",
        call_forms.STEP_3,
        sign=r"<steptml:invoke",
        tool_parsers=("step3",),
        reasoning_parsers=("step3",),
        thoughts=tagged("<think>", "</think>", "<think>\n\n</think>\n", "\n</think>\n"),
        turn=Turn(("<|im_end|>", "<｜end▁of▁sentence｜>")),
    ),
    Dialect(
        "minimax-m2",
        call_forms.MINIMAX_M2,
        sign=r"<minimax:tool_call>",
        tool_parsers=("minimax_m2",),
        reasoning_parsers=("minimax_m2", "minimax_m2_append_think"),
        thoughts=_QWEN3_THOUGHTS,
        turn=Turn(("[e~[",), "]~b]", "ai\n"),
        results=("<response>", "</response>"),
    ),
    Dialect(
        "dots",
        call_forms.DOTS,
        sign=r"<dots_function_call>",
        tool_parsers=("dots",),
        turn=Turn(("<|endofresponse|>",), "<|response|>"),
    ),
    Dialect(
        "plamo-3",
        json_forms.PLAMO_3,
        sign=r"<\|plamo:begin_tool_name:plamo\|>",
        tool_parsers=("plamo3",),
        reasoning_parsers=("plamo3",),
        thoughts=tagged(
            "<|plamo:begin_think:plamo|>",
            "<|plamo:end_think:plamo|>",
            "<|plamo:begin_think:plamo|><|plamo:end_think:plamo|>",
            "<|plamo:end_think:plamo|>",
            may_end_in_calls=True,
        ),
        turn=Turn(("<|plamo:tag|>",)),
    ),
    Dialect(
        "glm-4.5",
        call_forms.GLM_45,
        sign=r"<tool_call>NAME\n<arg_key>",
        tool_parsers=("glm45", "poolside_v1"),
        reasoning_parsers=("glm45",),
        thoughts=_SHORT_THOUGHTS,
        turn=_GLM_TURN,
    ),
    Dialect(
        "glm-4.7",
        call_forms.GLM_47,
        sign=r"<arg_key>",
        tool_parsers=("glm47", "ling3"),
        reasoning_parsers=("glm47", "ling3"),
        thoughts=_SHORT_THOUGHTS,
        turn=_GLM_TURN,
    ),
    Dialect(
        "seed-oss",
        call_forms.SEED_OSS,
        sign=r"<seed:tool_call>",
        tool_parsers=("seed_oss",),
        reasoning_parsers=("seed_oss",),
        thoughts=tagged(
            "<seed:think>", "</seed:think>", "<seed:think></seed:think>", "</seed:think>", may_end_in_calls=True
        ),
        turn=Turn(("<seed:eos>",), "<seed:bos>", "assistant\n"),
        dropped=("<seed:cot_budget_reflect>", "</seed:cot_budget_reflect>"),
    ),
    Dialect(
        "qwen3-coder",
        call_forms.QWEN_CODER,
        sign=r"<function=NAME>\s*<parameter=KEY>",
        tool_parsers=("qwen3_coder", "qwen3_xml", "step3p5", "mimo"),
        turn=_CHATML,
    ),
    Dialect(
        "qwen3.5",
        call_forms.QWEN_CODER,
        reasoning_parsers=("step3p5", "mimo", "minicpmv"),
        thoughts=_QWEN3_THOUGHTS,
        turn=_CHATML,
    ),
    Dialect(
        "nemotron-3", call_forms.QWEN_CODER, reasoning_parsers=("nemotron_v3",), thoughts=_SHORT_THOUGHTS, turn=_CHATML
    ),
    Dialect(
        "minicpm-5",
        call_forms.MINICPM_5,
        sign=r'<function name="NAME">',
        tool_parsers=("minicpm5",),
        thoughts=_QWEN3_THOUGHTS,
        turn=_CHATML,
    ),
    Dialect(
        "gemma-4",
        call_forms.GEMMA_4,
        sign=r"<\|tool_call>call:NAME{",
        tool_parsers=("gemma4",),
        reasoning_parsers=("gemma4",),
        thoughts=tagged(
            "<|channel>thought", "<channel|>", "<|channel>thought\n<channel|>", "\n<channel|>", may_end_in_calls=True
        ),
        turn=Turn(("<turn|>", "<|tool_response>"), "<|turn>", "model\n"),
        results=("<|tool_response>", "<tool_response|>"),
    ),
    Dialect(
        "functiongemma",
        call_forms.FUNCTION_GEMMA,
        sign=r"<start_function_call>",
        tool_parsers=("functiongemma",),
        turn=Turn(("<end_of_turn>", "<start_function_response>"), "<start_of_turn>", "model\n"),
        results=("<start_function_response>", "<end_function_response>"),
    ),
    Dialect(
        "lfm2",
        call_forms.LFM_2,
        sign=r"<\|tool_call_start\|>",
        listed=r"<\|tool_list_start\|>|List of tools: \[",
        tool_parsers=("lfm2",),
        turn=_CHATML,
    ),
    Dialect(
        "olmo-3",
        call_forms.OLMO_3,
        sign=r"<function_calls>\s*NAME\(",
        tool_parsers=("olmo3",),
        reasoning_parsers=("olmo3",),
        thoughts=_R1_THOUGHTS,
        turn=_CHATML,
    ),
    Dialect(
        "mistral-v13-ids",
        json_forms.MISTRAL_V13_IDS,
        sign=r"\[CALL_ID\]",
        tool_parsers=("mistral",),
        turn=Turn(("</s>",)),
        results=_MISTRAL_RESULTS,
    ),
    Dialect(
        "magistral",
        json_forms.MISTRAL_V11,
        reasoning_parsers=("mistral",),
        thoughts=Thoughts(
            ("[THINK]", "<think>"), ("[/THINK]", "</think>"), "[THINK][/THINK]", "[/THINK]", may_end_in_calls=True
        ),
        turn=Turn(("</s>",)),
        results=_MISTRAL_RESULTS,
    ),
    Dialect(
        "mistral-v11",
        json_forms.MISTRAL_V11,
        sign=r"NAME\[ARGS\]",
        tool_parsers=("mistral",),
        turn=Turn(("</s>",)),
        results=_MISTRAL_RESULTS,
    ),
    Dialect(
        "mistral-v3",
        json_forms.MISTRAL_V3,
        sign=r"\[TOOL_CALLS\]",
        tool_parsers=("mistral",),
        turn=Turn(("</s>",)),
        results=_MISTRAL_RESULTS,
    ),
    Dialect(
        "command-r7b",
        json_forms.COMMAND_R7B,
        sign=r"<\|START_ACTION\|>",
        tool_parsers=("cohere_command3", "cohere_command4"),
        reasoning_parsers=("cohere_command3", "cohere_command4"),
        thoughts=Thoughts(
            ("<|START_THINKING|>",),
            ("<|END_THINKING|>", "<|START_RESPONSE|>", "<|START_TEXT|>"),
            "<|START_THINKING|><|END_THINKING|>",
            "<|END_THINKING|>",
            may_end_in_calls=True,
        ),
        dropped=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
        turn=Turn(("<|END_OF_TURN_TOKEN|>",), "<|START_OF_TURN_TOKEN|>", "<|CHATBOT_TOKEN|>"),
        results=("<|START_TOOL_RESULT|>", "<|END_TOOL_RESULT|>"),
    ),
    Dialect(
        "nemotron-nano-v2",
        json_forms.NEMOTRON_NANO_V2,
        sign=r"<TOOLCALL>",
        tool_parsers=("nemotron_nano_v2",),
        thoughts=tagged("<think>", "</think>", _SHORT, "</think>"),
        turn=Turn(("<SPECIAL_12>",), "<SPECIAL_11>", "Assistant\n"),
        results=("<TOOL_RESPONSE>[", "]</TOOL_RESPONSE>"),
    ),
    Dialect(
        "functionary-v3.1",
        json_forms.FUNCTIONARY_V3_1,
        sign=r"<function=NAME>\s*{",
        tool_parsers=("functionary_v3_1",),
        turn=_LLAMA,
    ),
    Dialect(
        "functionary-v3.2",
        FunctionaryCalls(),
        sign=r"(?:>>>|\A)NAME\n{",
        tool_parsers=("functionary_v3_2",),
        turn=_LLAMA,
    ),
    Dialect(
        "phi-4-mini",
        json_forms.PHI_4_MINI,
        sign=r"functools\s*\[",
        listed=r"functools\s*\[",
        tool_parsers=("phi4_mini_json",),
        turn=Turn(("<|end|>",), "<|assistant|>"),
    ),
    Dialect(
        "apertus",
        json_forms.APERTUS,
        sign=r"<\|tools_prefix\|>",
        tool_parsers=("apertus",),
        turn=Turn(("<|assistant_end|>",), "<|assistant_start|>"),
    ),
    Dialect(
        "granite-3",
        json_forms.GRANITE,
        sign=r"<\|tool_call\|>|<tool_call>\s*\[",
        listed=r"<\|start_of_role\|>(?:available_)?tools<\|end_of_role\|>",
        tool_parsers=("granite",),
        turn=_GRANITE,
    ),
    Dialect(
        "granite-3.2-thinking",
        json_forms.GRANITE,
        reasoning_parsers=("granite",),
        thoughts=Thoughts(
            ("Here is my thought process:", "Here's my thought process:"),
            ("Here is my response:", "Here's my response:"),
            "",
            "\nHere is my response:\n",
            are_phrases=True,
        ),
        turn=_GRANITE,
    ),
    Dialect(
        "granite-3.3-thinking",
        json_forms.GRANITE,
        reasoning_parsers=("granite_thinking_parser",),
        thoughts=_GRANITE_THOUGHTS,
        wrapper=("<response>", "</response>"),
        turn=_GRANITE,
    ),
    Dialect(
        "granite-20b-fc",
        json_forms.GRANITE_20B_FC,
        sign=r"<function_call>",
        tool_parsers=("granite-20b-fc",),
        turn=Turn(("<|endoftext|>",)),
    ),
    Dialect("internlm2", json_forms.INTERNLM2, sign=r"<\|action_start\|>", tool_parsers=("internlm",), turn=_CHATML),
    Dialect(
        "jamba",
        json_forms.TOOL_CALLS,
        sign=r"<tool_calls>",
        tool_parsers=("jamba",),
        turn=Turn(("<|endoftext|>", "<|eom|>"), "<|assistant|>"),
    ),
    Dialect(
        "hunyuan-a13b",
        json_forms.TOOL_CALLS,
        tool_parsers=("hunyuan_a13b",),
        reasoning_parsers=("hunyuan_a13b",),
        thoughts=_HUNYUAN_THOUGHTS,
        wrapper=("<answer>", "</answer>"),
        turn=Turn(("<|eos|>",)),
        dropped=("助手：",),
    ),
    Dialect(
        "longcat",
        json_forms.LONGCAT,
        sign=r"<longcat_tool_call>",
        tool_parsers=("longcat",),
        turn=Turn(("</longcat_s>",)),
    ),
    Dialect(
        "gigachat3",
        json_forms.GIGACHAT3,
        sign=r"function call<\|role_sep\|>|<\|function_call\|>",
        tool_parsers=("gigachat3",),
        turn=Turn(("<|message_sep|>", "</s>")),
    ),
    HERMES,
    Dialect("qwen3", json_forms.HERMES, reasoning_parsers=("qwen3",), thoughts=_QWEN3_THOUGHTS, turn=_CHATML),
    Dialect("qwen3-thinking", json_forms.HERMES, thoughts=_R1_THOUGHTS, turn=_CHATML),
    Dialect(
        "ernie-4.5",
        json_forms.HERMES,
        tool_parsers=("ernie45",),
        reasoning_parsers=("ernie45",),
        thoughts=_R1_THOUGHTS,
        wrapper=("<response>", "</response>"),
        turn=Turn(("<|im_end|>", "<|end_of_sentence|>", "</s>")),
    ),
    Dialect(
        "llama4-pythonic",
        call_forms.LLAMA_4,
        sign=r"<\|python_start\|>|NAME\(KEY=[\s\S]{0,2000}<\|eot\|>",
        tool_parsers=("llama4_pythonic",),
        turn=Turn(("<|eot|>", "<|eom|>"), "<|header_start|>", "assistant<|header_end|>"),
    ),
    Dialect(
        "llama-pythonic",
        call_forms.PYTHONIC,
        sign=r"NAME\(KEY=",
        tool_parsers=("pythonic",),
        turn=Turn((*_LLAMA.ends, "<end_of_turn>"), _LLAMA.begin, _LLAMA.role),
    ),
    Dialect(
        "llama3-json",
        BareCalls(JsonObjects(arguments="parameters")),
        sign=r'"parameters": {"KEY"',
        tool_parsers=("llama3_json", "llama4_json"),
        turn=Turn((*_LLAMA.ends, "<|eot|>", "<|eom|>"), _LLAMA.begin, _LLAMA.role),
        dropped=("<|python_tag|>",),
    ),
    Dialect(
        "xlam",
        BareCalls(is_list=True, separator=", ", any_fence=True),
        sign=r'(?:\A|[>\n])\s{0,20}\[?{"name": "NAME", "arguments"',
        tool_parsers=("xlam",),
        turn=Turn((*_CHATML_ENDS, "<|eot_id|>"), _CHATML.begin, _CHATML.role),
        dropped=("<tool_call>", "</tool_call>", "[TOOL_CALLS]"),
    ),
)
"""The table, the most special calls first."""
