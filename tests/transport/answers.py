"""Answers of model families in their own markup, and what is read from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from paradigm_transport.messages import Tool

CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
WEATHER, TIME = Tool("get_weather", "The weather.", CITY), Tool("time", "The time.")
TOOLS = (WEATHER, TIME)

Call = tuple[str, dict[str, Any]]
OSLO: Call = ("get_weather", {"city": "Oslo"})
ROME: Call = ("get_weather", {"city": "Rome", "days": 2})
NOW: Call = ("time", {})


@dataclass(frozen=True)
class Answer:
    """An answer, and what is read from it.

    Attributes:
        written: the answer.
        text: its text.
        thoughts: its thoughts.
        calls: its calls.
        invalid: the number of its invalid calls.
        prompt: the end of the prompt.
        cut_off: the answer ended by its length.
    """

    written: str
    text: str = ""
    thoughts: str = ""
    calls: list[Call] = field(default_factory=list)
    invalid: int = 0
    prompt: str = ""
    cut_off: bool = False


HERMES_OSLO = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
HERMES_NOW = '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'
V3_OSLO = (
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n" + '{"city": "Oslo"}\n```<｜tool▁call▁end｜>'
)
V3_NOW = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>time\n```json\n{}\n```<｜tool▁call▁end｜>"
KIMI_OSLO = '<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Oslo"}<|tool_call_end|>'
KIMI_NOW = "<|tool_call_begin|>functions.time:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
HARMONY_OSLO = '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Oslo"}'
HARMONY_THOUGHT = "<|channel|>analysis<|message|>I look.<|end|><|start|>assistant"
LIST = '[{"name": "get_weather", "arguments": {"city": "Oslo"}}, {"name": "time", "arguments": {}}]'
JSON_OSLO = '{"name": "get_weather", "arguments": {"city": "Oslo"}}'
BARE_OSLO = '{"name": "get_weather", "parameters": {"city": "Oslo"}}'
DSML_OSLO = (
    '<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter name="city" string="true">Oslo'
    '</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name="time">\n</｜DSML｜invoke>\n'
    "</｜DSML｜function_calls>"
)
PLAMO_OSLO, PLAMO_NOW = (
    "<|plamo:begin_tool_request:plamo|><|plamo:begin_tool_name:plamo|>"
    f"{name}<|plamo:end_tool_name:plamo|><|plamo:begin_tool_arguments:plamo|><|plamo:constrain|>json<|plamo:msg|>"
    f"{arguments}<|plamo:end_tool_arguments:plamo|><|plamo:end_tool_request:plamo|>"
    for name, arguments in (("get_weather", '{"city": "Oslo"}'), ("time", "{}"))
)
CODER_ROME = (
    "<tool_call>\n<function=get_weather>\n<parameter=city>\nRome\n</parameter>\n<parameter=days>\n2\n</parameter>\n"
    "</function>\n</tool_call>"
)

ANSWERS: dict[str, list[Answer]] = {
    "hermes": [
        Answer(f"I look.\n{HERMES_OSLO}\n{HERMES_NOW}\nWait.", "I look.\nWait.", calls=[OSLO, NOW]),
        Answer('<tool_call>{"name": "time"}</tool_call>', calls=[NOW]),
        Answer('<tool_call>{"name": "time", "arguments": ""}</tool_call>', calls=[NOW]),
        Answer(f"{HERMES_NOW}<|im_end|>\nmore", calls=[NOW]),
        Answer('<tool_call>{"name": "time", "arguments": {}}', calls=[NOW]),
        Answer('<tool_call>{"name": "time", "arguments": {}}', invalid=1, cut_off=True),
        Answer('<tool_call>{"name": "get_weather", "arguments": {"city": "Os', invalid=1, cut_off=True),
        Answer(f"See:\n```json\n{HERMES_NOW}\n```\nDone.", "See:\nDone.", calls=[NOW]),
        Answer(f"```\nx\n{HERMES_NOW}\n```", "```\nx\n```", calls=[NOW]),
        Answer(f"```\n{HERMES_NOW}\nOk", "```\nOk", calls=[NOW]),
        Answer("<think>x</think>", "<think>x</think>"),
        Answer("<|im_start|>assistant\nHi", "Hi"),
        Answer(f"\n<|im_start|>assistant\n{HERMES_NOW}<|im_end|>", calls=[NOW]),
        Answer("<|im_end|>\nHi<|im_end|>more", "Hi"),
        Answer("<|im_start|>user\nHi", "user\nHi"),
        Answer("<|im_start|>assist", cut_off=True),
        Answer("<|im_start|>assist<|im_end|>x", "assist"),
        Answer("<|im_start|>assistant<|im_start|>assistant\nHi", "Hi"),
    ],
    "qwen3": [
        Answer("<think>\nHm.\n</think>\n\nHi <b>!", "Hi <b>!", "Hm."),
        Answer(f"<think>\nHm.\n</think>\n\n{HERMES_OSLO}", "", "Hm.", [OSLO]),
        Answer(f"<think>\nI could {HERMES_NOW}, but no.\n</think>\n\nNo.", "No.", f"I could {HERMES_NOW}, but no."),
        Answer(f"<think>\nI call.\n{HERMES_OSLO}\n{HERMES_NOW}", "", "I call.", [OSLO, NOW]),
        Answer(f"<think>\nI could\n{HERMES_NOW}\n</think>\nNo.", "No.", f"I could\n{HERMES_NOW}"),
        Answer(
            '<think>\nI call.\n<tool_call>{"name": "time", "arguments": {"a": "<think>"}}</tool_call>',
            thoughts="I call.",
            calls=[("time", {"a": "<think>"})],
        ),
        Answer(f"<think>\nI {HERMES_NOW} or\n{HERMES_OSLO}<|im_end|>", "", f"I {HERMES_NOW} or", [OSLO]),
        Answer(f"<think>\nI call.\n{HERMES_OSLO[:-20]}", "", f"I call.\n{HERMES_OSLO[:-20]}", cut_off=True),
        Answer("<think>Hm.<think>\nWell.</think></think>\n\nHi", "Hi", "Hm.\nWell."),
        Answer("<think>A</think>Hi<think>B</think> you", "Hi\nyou", "A\nB"),
        Answer("Hi</think>", "Hi"),
        Answer("Hm", "", "Hm", prompt="<think>\n"),
        Answer("Hm</think>Hi", "Hi", "Hm", prompt="<think>\n"),
        Answer("Hi", "Hi", prompt="<think>\n\n</think>\n\n"),
        Answer(
            '<tool_call>{"name": "time", "arguments": {"a": "<think></think><|im_end|>"}}</tool_call>',
            calls=[("time", {"a": "<think></think><|im_end|>"})],
        ),
        Answer("a < b </thin", "a < b"),
        Answer("a <th", "a <th"),
        Answer("<|im_start|>assistant\n<think>\nHm.\n</think>\n\nHi", "Hi", "Hm."),
    ],
    "qwen3-thinking": [
        Answer("Hm.\n</think>\n\nHi", "Hi", "Hm."),
        Answer("Hm.", "", "Hm."),
        Answer(f"I could\n{HERMES_NOW}", "", f"I could\n{HERMES_NOW}"),
        Answer(f"I could\n{HERMES_NOW}\n</think>\n{HERMES_OSLO}", "", f"I could\n{HERMES_NOW}", [OSLO]),
        Answer("Hi", "Hi", prompt="<think>\n\n</think>\n\n"),
    ],
    "ernie-4.5": [
        Answer("Hm.\n</think>\n\n<response>\nHi\n</response>\n", "Hi", "Hm."),
        Answer(f"Hm.\n</think>\n\n{HERMES_OSLO}", "", "Hm.", [OSLO]),
        Answer("Hm.</think>Use <response>x</response>", "Use <response>x</response>", "Hm."),
        Answer(f"Hm.</think><response>I look.</response>\n{HERMES_NOW}", "I look.", "Hm.", [NOW]),
        Answer("Hm.</think><response>a </response> b</response>", "a </response> b", "Hm."),
    ],
    "llama3-json": [
        Answer(BARE_OSLO, calls=[OSLO]),
        Answer(f'<|python_tag|>{BARE_OSLO}; {{"name": "time", "parameters": {{}}}}<|eom_id|>', calls=[OSLO, NOW]),
        Answer(f"{BARE_OSLO}{BARE_OSLO}", calls=[OSLO, OSLO]),
        Answer(f"I look.\n\n{BARE_OSLO}\nDone.", "I look.\nDone.", calls=[OSLO]),
        Answer(f"One writes {BARE_OSLO} for it.", f"One writes {BARE_OSLO} for it."),
        Answer(f"So:\n```json\n{BARE_OSLO}\n```\nOr?", f"So:\n```json\n{BARE_OSLO}\n```\nOr?"),
        Answer(f"```json\n{BARE_OSLO}\n```", calls=[OSLO]),
        Answer('{"name": "Ada", "age": 36}', '{"name": "Ada", "age": 36}'),
        Answer('{"name": "time"}', calls=[NOW]),
        Answer(BARE_OSLO[:-4], invalid=1, cut_off=True),
        Answer('{"name": "get_w', invalid=1, cut_off=True),
        Answer('{"a": [1, {"b": "}"}]} [x]', '{"a": [1, {"b": "}"}]} [x]'),
    ],
    "xlam": [
        Answer(LIST, calls=[OSLO, NOW]),
        Answer(f"So:\n```json\n{LIST}\n```", "So:", calls=[OSLO, NOW]),
        Answer(f"<tool_call>{LIST}</tool_call>", calls=[OSLO, NOW]),
        Answer(f"[TOOL_CALLS]{LIST}", calls=[OSLO, NOW]),
        Answer(f"Like {LIST} here", f"Like {LIST} here"),
        Answer('[1, 2, {"a": "b"}]', '[1, 2, {"a": "b"}]'),
        Answer(LIST[:-1], invalid=1, calls=[OSLO], cut_off=True),
    ],
    "mistral-v3": [
        Answer(f"I look.[TOOL_CALLS] {LIST} So.", "I look.\nSo.", calls=[OSLO, NOW]),
        Answer('[TOOL_CALLS]{"name": "time", "arguments": {}}', calls=[NOW]),
        Answer('[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}', calls=[OSLO]),
        Answer(f"[TOOL_CALLS]{LIST[:-2]}", calls=[OSLO, NOW]),
        Answer(f"[TOOL_CALLS]{LIST[:-6]}", calls=[OSLO], invalid=1, cut_off=True),
        Answer("[TOOL_CALL] is a [mark", "[TOOL_CALL] is a [mark"),
        Answer('[TOOL_CALLS][time(city="x")]', invalid=1),
    ],
    "mistral-v11": [
        Answer(
            'I look.[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}[TOOL_CALLS]time[ARGS]{}', "I look.", calls=[OSLO, NOW]
        ),
        Answer('[TOOL_CALLS]time{}\nSo: {"a": 1} [x]', 'So: {"a": 1} [x]', calls=[NOW]),
        Answer("[TOOL_CALLS]time[ARGS]", invalid=1, cut_off=True),
        Answer('[TOOL_CALLS]get_weather[ARGS]{"city": "O', invalid=1, cut_off=True),
        Answer("[TOOL_CALLS]time[ARGS]null", calls=[NOW]),
        Answer('I call.[TOOL_CALLS]time(city="x")[TOOL_CALLS]time{}', "I call.", calls=[NOW], invalid=1),
        Answer('[TOOL_CALLS]get_weather({"city": "Oslo"}) So.', "So.", calls=[OSLO]),
    ],
    "mistral-v13-ids": [
        Answer(
            '[TOOL_CALLS]get_weather[CALL_ID]a1b2c3d4e[ARGS]{"city": "Oslo"}[TOOL_CALLS]time[CALL_ID]x[ARGS]{}',
            calls=[OSLO, NOW],
        ),
    ],
    "magistral": [
        Answer("[THINK]Hm.[/THINK]Hi", "Hi", "Hm."),
        Answer('<think>\nHm.\n</think>\n[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}', "", "Hm.", [OSLO]),
        Answer("[THINK]Hm.[TOOL_CALLS]time[ARGS]{}", "", "Hm.", [NOW]),
    ],
    "granite-3": [
        Answer(f"I look.<|tool_call|> {LIST} So.", "I look.\nSo.", calls=[OSLO, NOW]),
        Answer(f"<tool_call>{LIST}<|end_of_text|>x", calls=[OSLO, NOW]),
        Answer("<|start_of_role|>assistant<|end_of_role|>Hi<|start_of_role|>user", "Hi"),
    ],
    "granite-3.2-thinking": [
        Answer("Here is my thought process:\nHm.\nHere is my response:\nHi", "Hi", "Hm."),
        Answer(f"Here's my thought process: Hm. Here's my response: <|tool_call|>{LIST}", "", "Hm.", [OSLO, NOW]),
        Answer("I say: Here is my response: x", "I say: Here is my response: x"),
        Answer("I say: Here is my thought process: x", "I say: Here is my thought process: x"),
    ],
    "granite-3.3-thinking": [
        Answer("<think>Hm.</think><response>Hi</response>", "Hi", "Hm."),
        Answer(f"<think>Hm.</think><response>I look.</response><|tool_call|>{LIST}", "I look.", "Hm.", [OSLO, NOW]),
    ],
    "granite-20b-fc": [
        Answer(
            '<function_call> {"name": "get_weather", "arguments": {"city": "Oslo"}}\n'
            '<function_call>{"name": "time", "arguments": {}}',
            calls=[OSLO, NOW],
        ),
    ],
    "phi-4-mini": [
        Answer(f"I look. functools{LIST}", "I look.", calls=[OSLO, NOW]),
        Answer('functools[{"name": "time", "arguments": {"a": [1, [2]]}}]', calls=[("time", {"a": [1, [2]]})]),
        Answer("from functools", "from functools"),
        Answer("A funct", "A funct"),
        Answer(f"functools {LIST}", calls=[OSLO, NOW]),
        Answer(f"functools\n{LIST}\n", calls=[OSLO, NOW]),
        Answer(f"<|tool_call|>{LIST}<|/tool_call|><|end|>", calls=[OSLO, NOW]),
        Answer(f"<|tool_call|>functools{LIST}<|/tool_call|>So.", "So.", calls=[OSLO, NOW]),
    ],
    "command-r7b": [
        Answer("<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>Hi<|END_RESPONSE|>", "Hi", "Hm."),
        Answer("<|START_THINKING|>Hm.<|START_RESPONSE|>Hi<|END_RESPONSE|>", "Hi", "Hm."),
        Answer("Hm.<|START_TEXT|>Hi<|END_TEXT|>", "Hi", "Hm.", prompt="<|START_THINKING|>"),
        Answer(
            '<|START_THINKING|>Hm.<|END_THINKING|><|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": '
            '"get_weather", "parameters": {"city": "Oslo"}},\n    {"tool_call_id": "1", "tool_name": "time", '
            '"parameters": {}}\n]<|END_ACTION|>',
            "",
            "Hm.",
            [OSLO, NOW],
        ),
        Answer("Hi<|END_OF_TURN_TOKEN|>x", "Hi"),
    ],
    "internlm2": [
        Answer(
            'I look.<|action_start|><|plugin|>\n{"name": "get_weather", "parameters": {"city": "Oslo"}}'
            '<|action_end|><|action_start|> <|plugin|>{"name": "time", "arguments": {}}<|action_end|>\nSo.',
            "I look.\nSo.",
            calls=[OSLO, NOW],
        ),
    ],
    "jamba": [Answer(f"I look. <tool_calls>{LIST}</tool_calls> So.", "I look.\nSo.", calls=[OSLO, NOW])],
    "hunyuan-a13b": [
        Answer("<think>\nHm.\n</think>\n<answer>\nHi\n</answer>", "Hi", "Hm."),
        Answer(f"<think>\nHm.\n</think>\n<tool_calls>{LIST}</tool_calls>", "", "Hm.", [OSLO, NOW]),
        Answer(f"<think>\n<tool_calls>{LIST}</tool_calls>\n</think>\nHi", "Hi", f"<tool_calls>{LIST}</tool_calls>"),
        Answer("助手：Hi", "Hi"),
    ],
    "nemotron-nano-v2": [
        Answer(f"Hm.\n</think>\n\n<TOOLCALL>{LIST}</TOOLCALL>", "", "Hm.", [OSLO, NOW], prompt="<think>\n"),
        Answer(f"<TOOLCALL>{LIST}</TOOLCALL> So.", "So.", calls=[OSLO, NOW], prompt="<think></think>"),
    ],
    "apertus": [
        Answer(
            'I look.<|tools_prefix|>[{"get_weather": {"city": "Oslo"}}, {"time": {}}]<|tools_suffix|> So.',
            "I look.\nSo.",
            calls=[OSLO, NOW],
        ),
    ],
    "longcat": [
        Answer('<longcat_tool_call>{"name": "time", "arguments": {}}</longcat_tool_call>', calls=[NOW]),
    ],
    "gigachat3": [
        Answer('function call<|role_sep|>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}', calls=[OSLO]),
        Answer("I look.<|message_sep|>x", "I look."),
        Answer('<|function_call|>{"name": "time", "arguments": {}}', calls=[NOW]),
    ],
    "deepseek-v3": [
        Answer(f"I look.<｜tool▁calls▁begin｜>{V3_OSLO}\n{V3_NOW}<｜tool▁calls▁end｜>", "I look.", calls=[OSLO, NOW]),
        Answer(f"<｜tool▁calls▁begin｜>{V3_OSLO[:-19]}", invalid=1),
        Answer(f"{V3_OSLO}<｜end▁of▁sentence｜>", calls=[OSLO]),
    ],
    "deepseek-r1": [
        Answer(f"Hm.\n</think>\n\n<｜tool▁calls▁begin｜>{V3_OSLO}<｜tool▁calls▁end｜>", "", "Hm.", [OSLO]),
        Answer("<think>\nHm.</think>Hi", "Hi", "Hm."),
        Answer(f"I could {V3_NOW}", "", f"I could {V3_NOW}"),
    ],
    "deepseek-v3.1": [
        Answer(
            'Hi<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Oslo"}<｜tool▁call▁end｜>'
            "<｜tool▁call▁begin｜>time<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            "Hi",
            calls=[OSLO, NOW],
        ),
        Answer("Hm.</think>Hi", "Hi", "Hm.", prompt="<think>"),
        Answer("<｜tool▁call▁begin｜>time<｜tool▁sep｜><｜tool▁call▁end｜>", calls=[NOW]),
        Answer("<｜tool▁call▁begin｜>functions_of<｜tool▁sep｜>{}<｜tool▁call▁end｜>", calls=[("functions_of", {})]),
        Answer('<｜tool▁call▁begin｜>time(city="x")<｜tool▁call▁end｜>Hi', "Hi", invalid=1),
    ],
    "kimi-k2": [
        Answer(
            f"I look.<|tool_calls_section_begin|>{KIMI_OSLO}{KIMI_NOW}<|tool_calls_section_end|>",
            "I look.",
            calls=[OSLO, NOW],
        ),
        Answer(f"{KIMI_OSLO[:-17]}<|im_end|>", calls=[OSLO]),
        Answer(f"<think>Hm. <|tool_calls_section_begin|>{KIMI_OSLO}<|tool_calls_section_end|>", "", "Hm.", [OSLO]),
        Answer('<|tool_call_begin|>functions.time:0(city="x")<|tool_call_end|>Hi', "Hi", invalid=1),
    ],
    "functionary-v3.1": [
        Answer(
            'I look.<function=get_weather>{"city": "Oslo"}</function><function=time>{}</function>',
            "I look.",
            calls=[OSLO, NOW],
        ),
        Answer('<function=time(city="x")</function>Hi', "Hi", invalid=1),
    ],
    "functionary-v3.2": [
        Answer('get_weather\n{"city": "Oslo"}>>>time\n{}', calls=[OSLO, NOW]),
        Answer('all\nI look.>>>get_weather\n{"city": "Oslo"}', "I look.", calls=[OSLO]),
        Answer("all\n>>> 1 + 1\n2", ">>> 1 + 1\n2"),
        Answer("get_weather is a tool", "get_weather is a tool"),
        Answer("Hi", "Hi"),
    ],
    "gpt-oss": [
        Answer(f"{HARMONY_THOUGHT}<|channel|>final<|message|>Hi<|return|>", "Hi", "I look."),
        Answer(f"{HARMONY_THOUGHT}{HARMONY_OSLO}<|call|>", "", "I look.", [OSLO]),
        Answer(f"{HARMONY_THOUGHT} to=functions.time<|channel|>commentary json<|message|>{{}}", "", "I look.", [NOW]),
        Answer(
            f"{HARMONY_OSLO}<|call|><|start|>assistant<|channel|>analysis to=time<|message|>{{}}", calls=[OSLO, NOW]
        ),
        Answer(
            f"{HARMONY_THOUGHT}{HARMONY_THOUGHT}<|channel|>commentary<|message|>Wait.<|end|>",
            "Wait.",
            "I look.\nI look.",
        ),
        Answer("<|channel|>analysis to=python code<|message|>print(1)<|call|>"),
        Answer(HARMONY_OSLO[:-4], invalid=1, cut_off=True),
        Answer("Hello", "Hello"),
        Answer(
            '<|channel|>commentary to=time<|message|>{"a": "<|call|><|end|>"}',
            calls=[("time", {"a": "<|call|><|end|>"})],
        ),
        Answer("<|channel|>commentary to=time<|message|>{1}<|call|>", invalid=1),
        Answer('<|channel|>commentary to=functions.get_weather json{"city": "Oslo"}<|call|>', invalid=1),
        Answer(f"<|channel|>commentary to=time {{}}<|end|>{HARMONY_OSLO}<|call|>", calls=[OSLO], invalid=1),
        Answer("<|channel|>commentary to=time<|end|><|start|>assistant<|channel|>final<|message|>Hi", "Hi", invalid=1),
        Answer("<|start|>assistant<|channel|>final<|message|>Hi", "Hi"),
        Answer("<|channel|>final Hi there", "Hi there"),
        Answer("<|channel|>final Hi<|return|>", "Hi"),
        Answer("<|channel|>analysis Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi", "Hi", "Hm."),
        Answer("<|start|>assistant Hi<|end|>", "Hi"),
        Answer("<|channel|>commentary <|constrain|>json {}<|end|>", "{}"),
        Answer("<|channel|>final<|message|>Hi<|end|>More", "Hi\nMore"),
        Answer(f"{HARMONY_OSLO}<|call|>So.", "So.", calls=[OSLO]),
        Answer("<|channel|>final<|message|>A<|message|>B", "AB"),
        Answer("<|channel|>final Well:<|message|>Hi", "Well:Hi"),
        Answer("<|channel|>final<|message|> Hi<|end", "Hi"),
        Answer("<|channel|>final<|message|>a <", "a <"),
        Answer("<|return|>Hi<|return|><|channel|>final<|message|>More", "Hi"),
        Answer(" to=functions.time<|channel|>commentary json<|message|>{}", calls=[NOW]),
        Answer("<|channel|>commentary to=user<|message|>Hi", "Hi"),
        Answer("<|channel|>commentary to=time<|message|><|call|>", calls=[NOW]),
        Answer("<|channel|>commentary to=time<|message|>null<|call|>", calls=[NOW]),
        Answer("<|channel|>commentary to=time<|message|>", invalid=1, cut_off=True),
        Answer(
            f"<|channel|>commentary to=time<|message|>{{1}}<|call|>{HARMONY_OSLO} So.<|call|>", "So.", "", [OSLO], 1
        ),
        Answer("<|channel|>commentary to=time I call.<|message|>{}<|call|>", "I call.", calls=[NOW]),
        Answer("<|channel|>commentary to=time<|channel|>analysis <|constrain|>json<|message|>{}", calls=[NOW]),
        Answer("<|channel|>final <|constrain|><|constrain|>json So<|channel|>:<|message|>Hi", "So:Hi"),
    ],
    "deepseek-v3.2": [
        Answer(f"I look.\n\n{DSML_OSLO}", "I look.", calls=[OSLO, NOW]),
        Answer(f"Hm.</think>{DSML_OSLO}", "", "Hm.", [OSLO, NOW], prompt="<think>"),
        Answer(f"Hm. {DSML_OSLO}", "", f"Hm. {DSML_OSLO}", prompt="<think>"),
    ],
    "deepseek-v4": [Answer(DSML_OSLO.replace("function_calls", "tool_calls"), calls=[OSLO, NOW])],
    "step-3": [
        Answer(
            "I look.<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜>"
            '<steptml:invoke name="get_weather"><steptml:parameter name="city">Oslo</steptml:parameter>'
            "</steptml:invoke><｜tool_call_end｜><｜tool_calls_end｜>",
            "I look.",
            calls=[OSLO],
        ),
        Answer("Hm.\n</think>\nHi", "Hi", "Hm.", prompt="<think>\n"),
    ],
    "minimax-m2": [
        Answer(
            'Hm.\n</think>\n\n<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Rome'
            '</parameter>\n<parameter name="days">2</parameter>\n</invoke>\n<invoke name="time">\n</invoke>\n'
            "</minimax:tool_call>[e~[",
            "",
            "Hm.",
            [ROME, NOW],
            prompt="<think>\n",
        ),
    ],
    "dots": [
        Answer(
            'I look.<dots_function_call>\n<invoke name="get_weather">\n<parameter name="city">Oslo</parameter>\n'
            "</invoke>\n</dots_function_call><|endofresponse|>",
            "I look.",
            calls=[OSLO],
        ),
        Answer(f"<dots_function_call>{JSON_OSLO}</dots_function_call>", calls=[OSLO]),
        Answer("<|response|>Hi", "Hi"),
    ],
    "plamo-3": [
        Answer(
            f"Hm.<|plamo:end_think:plamo|>I look.<|plamo:begin_tool_requests:plamo|>{PLAMO_OSLO}{PLAMO_NOW}"
            "<|plamo:end_tool_requests:plamo|><|plamo:tag|>",
            "I look.",
            "Hm.",
            [OSLO, NOW],
            prompt="<|plamo:begin_think:plamo|>",
        ),
        Answer(f"{PLAMO_OSLO[:-90]}", invalid=1, cut_off=True),
        Answer(f"{PLAMO_OSLO[:-32]}So.", "So.", calls=[OSLO]),
    ],
    "glm-4.5": [
        Answer(
            "<think>Hm.</think>\nI look.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Rome"
            "</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>\n<tool_call>time\n"
            "</tool_call><|observation|>",
            "I look.",
            "Hm.",
            [ROME, NOW],
        ),
        Answer("<|assistant|>\nHi<|user|>x", "Hi"),
        Answer("Hi<|assistant|>you", "Hi\nyou"),
        Answer(f"{HERMES_OSLO}So.", "So.", calls=[OSLO]),
    ],
    "glm-4.7": [
        Answer(
            "Hm.</think><tool_call>get_weather<arg_key>city</arg_key><arg_value>Oslo</arg_value></tool_call>"
            "<tool_call>time</tool_call>",
            "",
            "Hm.",
            [OSLO, NOW],
            prompt="<think>",
        ),
    ],
    "seed-oss": [
        Answer(
            "<seed:think>Hm.<seed:cot_budget_reflect>Little.</seed:cot_budget_reflect></seed:think>"
            "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Oslo</parameter>\n</function>\n"
            "</seed:tool_call><seed:eos>",
            "",
            "Hm.Little.",
            [OSLO],
        ),
    ],
    "qwen3-coder": [
        Answer(
            f"I look.\n{CODER_ROME}\n<tool_call>\n<function=time>\n</function>\n</tool_call>",
            "I look.",
            calls=[ROME, NOW],
        ),
        Answer(CODER_ROME[:-30], invalid=1, cut_off=True),
        Answer(f"{HERMES_OSLO}\n{CODER_ROME}\n{HERMES_NOW}\nSo.", "So.", calls=[OSLO, ROME, NOW]),
        Answer(HERMES_OSLO[:-20], invalid=1, cut_off=True),
        Answer(
            '<tool_call>{"name": "time", "arguments": {"a": "</tool_call>"}}</tool_call>',
            calls=[("time", {"a": "</tool_call>"})],
        ),
    ],
    "qwen3.5": [
        Answer(f"Hm.\n</think>\n\n{CODER_ROME}", "", "Hm.", [ROME], prompt="<think>\n"),
        Answer(f"Hm.\n{CODER_ROME}", "", "Hm.", [ROME], prompt="<think>\n"),
        Answer(f"Hm.\n{CODER_ROME} or so.</think>Hi", "Hi", f"Hm.\n{CODER_ROME} or so.", prompt="<think>\n"),
    ],
    "nemotron-3": [Answer(f"Hm.</think>{CODER_ROME}", "", "Hm.", [ROME], prompt="<think>\n")],
    "minicpm-5": [
        Answer(
            '<think>\nHm.\n</think>\n\nI look.<function name="get_weather"><param name="city">Rome</param>'
            '<param name="days">2</param></function><function name="time"></function>',
            "I look.",
            "Hm.",
            [ROME, NOW],
        ),
    ],
    "gemma-4": [
        Answer(
            '<|channel>thought\nHm.\n<channel|>I look.<|tool_call>call:get_weather{city:<|"|>Rome<|"|>,days:2}'
            "<tool_call|><|tool_call>call:time{}<tool_call|><|tool_response>x",
            "I look.",
            "Hm.",
            [ROME, NOW],
        ),
        Answer("<|channel>thought\nHm. <|tool_call>call:time{}<tool_call|>", "", "Hm.", [NOW]),
        Answer(f"<|tool_call>{JSON_OSLO}<tool_call|>So.", "So.", calls=[OSLO]),
        Answer('<|tool_call>call:get_weather{"city":"Rome",days:2}<tool_call|>', calls=[ROME]),
        Answer(
            '<|tool_call>call:time{a:"x, y: }",l:["b",\'c\'],n:"3",d:"\\"q\\"\\n"}<tool_call|>',
            calls=[("time", {"a": "x, y: }", "l": ["b", "c"], "n": "3", "d": '"q"\n'})],
        ),
        Answer(
            '<|tool_call>call:time{a:"x" or y,b:it\'s}<tool_call|>', calls=[("time", {"a": '"x" or y', "b": "it's"})]
        ),
    ],
    "functiongemma": [
        Answer(
            "<start_function_call>call:get_weather{city:<escape>Oslo<escape>}<end_function_call>"
            "<start_function_response>x",
            calls=[OSLO],
        ),
    ],
    "lfm2": [
        Answer(
            "<|tool_call_start|>[get_weather(city='Rome', days=2), time()]<|tool_call_end|>I look.",
            "I look.",
            calls=[ROME, NOW],
        ),
        Answer(f"<|tool_call_start|>{LIST}<|tool_call_end|>I look.", "I look.", calls=[OSLO, NOW]),
        Answer(f"<|tool_call_start|>{JSON_OSLO}<|tool_call_end|>", calls=[OSLO]),
        Answer(f"<|tool_call_start|>{LIST[:-4]}", calls=[OSLO], invalid=1, cut_off=True),
        Answer('<|tool_call_start|>[{"name": "time"} {]<|tool_call_end|>So.', "So.", calls=[NOW], invalid=1),
    ],
    "olmo-3": [
        Answer(
            "Hm.</think><function_calls>\nget_weather(city='Rome', days=2)\ntime()\n</function_calls>",
            "",
            "Hm.",
            [ROME, NOW],
        ),
        Answer(f"</think><function_calls>{JSON_OSLO}\n{JSON_OSLO}</function_calls>", calls=[OSLO, OSLO]),
    ],
    "llama4-pythonic": [
        Answer("<|python_start|>[get_weather(city='Oslo')]<|python_end|>", calls=[OSLO]),
        Answer("[time()]<|eot|>", calls=[NOW]),
        Answer(f"<|python_start|>{BARE_OSLO}<|python_end|>", calls=[OSLO]),
    ],
    "llama-pythonic": [
        Answer("[get_weather(city='Rome', days=2), time()]", calls=[ROME, NOW]),
        Answer("I say [time()]", "I say [time()]"),
    ],
}

# A template of a model that thinks, one that opens its thoughts, and an answer

THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    "{# a thought stands in <think> and </think> #}"
)
THOUGHTS_OPENED = THINKS.replace("assistant\n", "assistant\n<think>\n")
THOUGHT_BEFORE_TEXT = '<think>\nIs it {"city": "Paris"}?\n</think>\n\n{"city": "Rome"}'
THOUGHT = 'Is it {"city": "Paris"}?'
TEXT_BEHIND = '{"city": "Rome"}'
