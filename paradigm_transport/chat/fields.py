"""The fields of chat models, which choose the endpoint and how messages are written for it; what is sent of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from typing_extensions import Self

from paradigm_transport.chat.template_fields import TemplateFields, template_of
from paradigm_transport.chat.templates import SERVER, AnyTemplate
from paradigm_transport.endpoints.chat_completions import FIELDS as CHAT_COMPLETION_FIELDS
from paradigm_transport.endpoints.chat_completions import ChatCompletionParameters, ChatOnlyFields
from paradigm_transport.endpoints.completions.fields import FIELDS as COMPLETION_FIELDS
from paradigm_transport.endpoints.completions.fields import (
    CompletionFields,
    CompletionParameters,
    GenerationParameters,
    MaxTokens,
)

Mechanism = Literal["vllm", "guided_json", "prompt"]
"""What enforces a schema."""

_ONLY_COMPLETIONS = ("best_of", "echo", "suffix")
_ONLY_CHATS = tuple(ChatOnlyFields.model_fields)

FIELDS = frozenset((*CompletionFields.model_fields, *_ONLY_CHATS))
"""The fields of either endpoint that a chat model declares."""

_NEEDS_TEMPLATE = "it is a field of the completions endpoint, which a chat_template leads to"
_NEEDS_NO_TEMPLATE = "it is for the chat endpoint, which leaving chat_template out leads to"


class ChatParameters(CompletionParameters):
    """The fields of a request for an answer in a chat over completions."""

    max_tokens: MaxTokens = 2048


class ChatFields(TemplateFields, ChatOnlyFields):
    """How messages and tools are written for a chat model, and so which endpoint is called: declarations and checks."""

    parameters_kind = ChatParameters
    max_tokens: MaxTokens = ChatParameters.model_fields["max_tokens"].default
    chat_template: AnyTemplate | None = Field(
        default=None,
        description="How messages are written for the model: `alfred`, `chatml`, a ChatTemplate, Jinja source, a "
        "JinjaTemplate, the path of a tokenizer_config.json or *.jinja file, or `server` for the one in the server's "
        "model list; they go to the completions endpoint. None for the chat endpoint, where the server writes them.",
    )
    constrain: Mechanism | None = Field(
        default=None,
        description="What enforces the JSON schema of structured output: `vllm` for vLLM's field `structured_outputs`, "
        "which on completions enforces required tool calls, too; on the chat endpoint also `guided_json`, the field of "
        "that name, or `prompt`, nothing but the prompt. None for nothing on completions, and for `response_format` on "
        "the chat endpoint.",
    )

    tool_call_parser: str | None = Field(
        default=None,
        description="How the model writes tool calls: the name of its parser in vLLM (`--tool-call-parser`). By "
        "default it is found from chat_template; without one, calls in the text are not looked for.",
    )
    reasoning_parser: str | None = Field(
        default=None,
        description="How the model writes what it thinks: the name of its parser in vLLM (`--reasoning-parser`). By "
        "default it is found from chat_template; without one, thoughts in the text are not looked for.",
    )

    @field_validator("chat_template", mode="before")
    @classmethod
    def _read_template(cls, template: object) -> object:
        return template if template == SERVER else super()._read_template(template)

    @field_validator("tool_call_parser", "reasoning_parser")
    @classmethod
    def _check_parser(cls, name: str | None, info: ValidationInfo) -> str | None:
        from paradigm_transport.chat.dialects.choosing import check_parser  # the table takes long to import

        check_parser(str(info.field_name), name)
        return name

    @property
    def _kind_of_parameters(self) -> type[GenerationParameters]:
        """The class of the fields of the endpoint that is called."""
        return MessageParameters if self.chat_template is None else ChatParameters

    def _fields(self) -> Collection[str]:
        return CHAT_COMPLETION_FIELDS if self.chat_template is None else COMPLETION_FIELDS

    @property
    def _enforces_schemas(self) -> bool:
        """Whether another attempt at an object would not help, since the server enforces its schema.

        On the chat endpoint, servers ignore fields that they do not know.
        """
        return self.constrain == "vllm" and self.chat_template is not None

    @property
    def _has_template_of_server(self) -> bool:
        return self.chat_template in (None, SERVER)

    @model_validator(mode="after")
    def _check_dialect(self) -> Self:
        template = None if self._has_template_of_server else template_of(self)
        if template is not None:
            from paradigm_transport.chat.dialects.choosing import find_dialect  # the table takes long to import

            find_dialect(template, self.tool_call_parser, self.reasoning_parser)
        return self

    @model_validator(mode="after")
    def _check_endpoint(self) -> Self:
        is_chat = self.chat_template is None
        for name in _ONLY_COMPLETIONS if is_chat else _ONLY_CHATS:
            if getattr(self, name, None) is not None:
                raise ValueError(f"{name}: {_NEEDS_TEMPLATE if is_chat else _NEEDS_NO_TEMPLATE}")
        if self.constrain == "guided_json" and not is_chat:
            raise ValueError(f"constrain='guided_json': {_NEEDS_NO_TEMPLATE}")
        # Not a choice of the user's: a copy for the other endpoint has the default of that.
        if is_chat and "max_tokens" not in self._chosen:
            self.__dict__["max_tokens"] = None  # the server's
        elif not is_chat and self.max_tokens is None:
            self.__dict__["max_tokens"] = type(self).model_fields["max_tokens"].default
        return self


class MessageParameters(ChatCompletionParameters):
    """The fields of a request for an answer in a chat over the chat endpoint."""

    _elsewhere = dict.fromkeys(_ONLY_COMPLETIONS, _NEEDS_TEMPLATE)
