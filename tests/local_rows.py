"""Chat templates of several model families for the local model, which is constrained to write calls as they do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import httpx
import pytest

from paradigm_transport import JinjaTemplate

City = Literal["Oslo", "Rome"]

_CHAT = (
    "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ 'user' if message.role == 'tool' else message.role }}\n"
    "{{ message.content or '' }}{{ ' What does this say? Answer with a sentence.' if message.role == 'tool' }}"
    "{% for call in message.tool_calls or [] %}{% set f = call.function %}CALL{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_JSON = "{{ f.arguments | tojson }}"
_EACH, _END = "{% for key, value in f.arguments.items() %}", "{% endfor %}"
_PYTHON = "{{ f.name }}(" + _EACH + "{{ key }}='{{ value }}'" + _END + ")"


@dataclass(frozen=True)
class Family:
    """A model family.

    Attributes:
        parser: the name of its parser in vLLM.
        call: how a template writes a call.
        written: how the call of a test is written, with CITY for its argument.
    """

    parser: str
    call: str
    written: str

    @property
    def template(self) -> JinjaTemplate:
        return JinjaTemplate(source=_CHAT.replace("CALL", self.call), stop="<|im_end|>")

    def write(self, city: str) -> str:
        """Return the call of a test as it stands in the next prompt."""
        return self.written.replace("CITY", city)


FAMILIES = {
    "hermes": Family(
        "hermes",
        '<tool_call>\n{"name": "{{ f.name }}", "arguments": ' + _JSON + "}\n</tool_call>",
        '<tool_call>\n{"name": "weather", "arguments": {"city": "CITY"}}\n</tool_call>',
    ),
    "mistral-v11": Family(
        "mistral", "[TOOL_CALLS]{{ f.name }}[ARGS]" + _JSON, '[TOOL_CALLS]weather[ARGS]{"city": "CITY"}'
    ),
    "deepseek-v3.1": Family(
        "deepseek_v31",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{{ f.name }}<｜tool▁sep｜>" + _JSON + "<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜>",
        '<｜tool▁call▁begin｜>weather<｜tool▁sep｜>{"city": "CITY"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    ),
    "qwen3-coder": Family(
        "qwen3_coder",
        "<tool_call>\n<function={{ f.name }}>\n"
        + _EACH
        + "<parameter={{ key }}>\n{{ value }}\n</parameter>\n"
        + _END
        + "</function>\n</tool_call>",
        "<tool_call>\n<function=weather>\n<parameter=city>\nCITY\n</parameter>\n</function>\n</tool_call>",
    ),
    "glm-4.7": Family(
        "glm47",
        "<tool_call>{{ f.name }}"
        + _EACH
        + "<arg_key>{{ key }}</arg_key><arg_value>{{ value }}</arg_value>"
        + _END
        + "</tool_call>",
        "<tool_call>weather<arg_key>city</arg_key><arg_value>CITY</arg_value></tool_call>",
    ),
    "pythonic": Family("pythonic", f"[{_PYTHON}]", "[weather(city='CITY')]"),
    "lfm2": Family(
        "lfm2",
        f"<|tool_call_start|>[{_PYTHON}]<|tool_call_end|>",
        "<|tool_call_start|>[weather(city='CITY')]<|tool_call_end|>",
    ),
    "gemma-4": Family(
        "gemma4",
        "<|tool_call>call:{{ f.name }}{{ '{' }}" + _EACH + '{{ key }}:<|"|>{{ value }}<|"|>' + _END + "}<tool_call|>",
        '<|tool_call>call:weather{city:<|"|>CITY<|"|>}<tool_call|>',
    ),
}

of_each_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def report(city: str) -> str:
    """Return what the tool says."""
    return f"It is 17 degrees and foggy in {city}."


def prompt_of(request: httpx.Request) -> str:
    """Return the prompt that a request sends."""
    prompt: str = json.loads(request.content)["prompt"]
    return prompt
