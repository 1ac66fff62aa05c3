"""What comes in as a prompt: text in the model's markup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import convert_to_messages
from langchain_core.prompt_values import ChatPromptValue, ImagePromptValue, PromptValue, StringPromptValue

from langchain_paradigm._errors import as_langchain
from paradigm_transport import InvalidParameterError

if TYPE_CHECKING:
    from paradigm_transport.chat.templates import Template


class RenderedPrompt(StringPromptValue):
    """A prompt in the model's markup; no template is applied to it again."""


def rendered(prompt: LanguageModelInput, template: Template | None) -> PromptValue:
    """A prompt in the model's markup: a turn for each message, or a user's turn for a text.

    Args:
        prompt: a text, messages, or a prompt value.
        template: the model's chat template; without one, a text stays as it is, and LangChain writes messages.

    Raises:
        InvalidParameterError: it is something else, or a message holds something other than text.
    """
    with as_langchain:
        value = prompt_value(prompt)
        if isinstance(value, (ChatPromptValue, ImagePromptValue)):
            from langchain_paradigm._in import content_of, to_messages  # a text does without, which imports faster

            messages = value.to_messages()
            if template is not None:
                return RenderedPrompt(text=template.render_chat(to_messages(messages)))
            # LangChain would leave out what is not text.
            return ChatPromptValue(
                messages=[each.model_copy(update={"content": content_of(each)}) for each in messages]
            )
        if template is None or isinstance(value, RenderedPrompt):
            return value
        return RenderedPrompt(text=template.render_prompt(value.to_string()))


def rendered_texts(prompts: list[str], template: Template | None) -> list[str]:
    """Texts in the model's markup, each as a user's turn.

    Raises:
        InvalidParameterError: `prompts` is not a list.
    """
    if not isinstance(prompts, list):  # LangChain's async methods would take a text for its characters
        raise InvalidParameterError(f"prompts must be a list of texts, not {type(prompts).__name__}")
    return prompts if template is None else [template.render_prompt(prompt) for prompt in prompts]


def prompt_value(prompt: LanguageModelInput) -> PromptValue:
    """What LangChain's models take, as a prompt value.

    Raises:
        InvalidParameterError: it is something else.
    """
    if isinstance(prompt, PromptValue):
        return prompt
    if isinstance(prompt, str):
        return StringPromptValue(text=prompt)
    if isinstance(prompt, Sequence):
        return ChatPromptValue(messages=convert_to_messages(prompt))
    raise InvalidParameterError(f"a prompt is a text, messages or a prompt value, not {type(prompt).__name__}")
