"""Chats by the templates of real model families: over completions, the same tokens as over vLLM's chat endpoint.

The templates are those in the sources of llama-cpp-python; vLLM takes one with each request. PARADIGM_TEST_TEMPLATES is
the folder that holds them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import TextBlock, ThinkingBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage

from llama_index_paradigm import ChatParadigm
from paradigm_transport import BadRequestError, JinjaTemplate
from tests.conformance.running import Running

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": CITY}}
CALL = ToolCallBlock(tool_call_id="call00001", tool_name="weather", tool_kwargs={"city": "Oslo"})
ASKED = ChatMessage("What is the weather in Oslo?")
RESULT = ChatMessage("7 degrees", role="tool", additional_kwargs={"tool_call_id": "call00001", "name": "weather"})


def answered(*blocks: Any) -> ChatMessage:
    return ChatMessage(role="assistant", blocks=list(blocks))


CHATS: dict[str, tuple[list[ChatMessage], dict[str, Any]]] = {
    "plain": ([ChatMessage("What is the capital of France?")], {}),
    "turns": (
        [ChatMessage("Be brief.", role="system"), ChatMessage("Hi"), answered(TextBlock(text="Hello!")), ASKED],
        {},
    ),
    "tools": ([ASKED], {"tools": [WEATHER]}),
    "result": ([ASKED, answered(CALL), RESULT], {"tools": [WEATHER]}),
    "thoughts": ([ASKED, answered(ThinkingBlock(content="I must look."), CALL), RESULT], {"tools": [WEATHER]}),
    "thinking off": ([ASKED], {"chat_template_kwargs": {"enable_thinking": False}}),
}

DIFFERENT = {
    # What these leave out, ChatParadigm writes in another way: tools, calls or thoughts.
    "HuggingFaceTB-SmolLM3-3B": ["tools", "result", "thoughts"],
    "LFM2-8B-A1B": ["result", "thoughts"],
    "LFM2.5-8B-A1B": ["thoughts"],
    "LFM2.5-Instruct": ["result", "thoughts"],
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": ["tools", "result", "thoughts"],
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": ["tools", "result", "thoughts"],
    "deepseek-ai-DeepSeek-V3.1": ["tools", "result", "thoughts"],
    "google-gemma-2-2b-it": ["tools"],
    "ibm-granite-granite-3.3-2B-Instruct": ["result", "thoughts"],
    "llama-cpp-rwkv-world": ["tools", "result", "thoughts"],
    "microsoft-Phi-3.5-mini-instruct": ["tools", "result", "thoughts"],
    # These read thoughts under a name that vLLM does not give them.
    "mistralai-Ministral-3-14B-Reasoning-2512": ["thoughts"],
    "openai-gpt-oss-120b": ["thoughts"],
    # vLLM changes the order of keys in calls.
    "mistralai-Mistral-Nemo-Instruct-2407": ["result", "thoughts"],
}
UNWRITABLE = ["fireworks-ai-llama-3-firefunction-v2"]  # it needs a variable that only its own host passes
TEMPLATES = {
    file.stem: file.read_text() for file in sorted(Path(os.environ["PARADIGM_TEST_TEMPLATES"]).glob("*.jinja"))
}


def tokens(server: Running, name: str, fields: dict[str, Any]) -> tuple[Any, Any] | None:
    """Return the tokens of prompt and answer; None if the server refuses the chat."""
    messages, more = CHATS[name]
    more = {**fields, **more}
    with ChatParadigm(model=server.model, **server.address, temperature=0, max_tokens=8) as llm:
        llm.chat_template = more.pop("chat_template", None)
        try:
            raw = llm.chat(messages, **more).raw
        except BadRequestError:
            return None
    return raw.get("prompt_token_ids") or raw["choices"][0]["prompt_token_ids"], raw["choices"][0]["token_ids"]


@pytest.mark.filterwarnings("ignore:chat_template")
@pytest.mark.parametrize("family", [name for name in TEMPLATES if name not in UNWRITABLE])
def test_tokens_are_those_of_the_chat_endpoint(server: Running, family: str) -> None:
    source = TEMPLATES[family]
    ours = {"chat_template": JinjaTemplate(source=source, bos_token="<|im_start|>", eos_token="<|im_end|>")}
    different = []
    for name in CHATS:
        theirs = tokens(server, name, {"extra_body": {"chat_template": source, "return_token_ids": True}})
        if theirs is None:  # ChatParadigm writes in another way what a template refuses
            continue
        if tokens(server, name, {**ours, "extra_body": {"return_token_ids": True}}) != theirs:
            different.append(name)
    assert different == DIFFERENT.get(family, [])
