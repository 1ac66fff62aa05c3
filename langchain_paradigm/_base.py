"""Shared base of `ParadigmLLM` (returns text) and `ChatParadigm` (returns messages)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import BaseLanguageModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from pydantic import BaseModel, Field, PrivateAttr, model_validator
from typing_extensions import Self

from langchain_paradigm._compat import LangSmithHook, with_version
from langchain_paradigm._component import LangChainComponent
from langchain_paradigm._errors import as_langchain
from paradigm_transport import APIResponseError, APIStatusError, InvalidParameterError, Usage, __version__
from paradigm_transport.chat.template_fields import TemplateFields
from paradigm_transport.endpoints.completions.fields import CompletionFields
from paradigm_transport.errors import UnwritableError
from paradigm_transport.json_object import JsonObject
from paradigm_transport.refusals import is_context_overflow

MOST_COUNTS = 512
"""How many texts' token counts are remembered."""

_SHAPE_AN_ANSWER = (
    "base_url",
    "chat_template_kwargs",
    "constrain",
    "output_version",
    "reasoning_parser",
    "tool_call_parser",
)
"""Fields of both classes, beside the endpoint's and `chat_template`, that an answer depends on."""

AnyTool: TypeAlias = JsonObject | type | Callable[..., Any] | Runnable[Any, Any]
"""Of runnables those that are LangChain's tools, whose module takes long to import."""

Stop = list[str] | None
Manager = CallbackManagerForLLMRun | None
AsyncManager = AsyncCallbackManagerForLLMRun | None


class LangChainModel(
    CompletionFields,
    TemplateFields,
    LangChainComponent,
    LangSmithHook,
    BaseLanguageModel,  # type: ignore[type-arg]  # for an argument, pydantic would make one more class
):
    """Fields, token counts and serialisation of both classes.

    Raises:
        InvalidParameterError: an argument is unknown, missing, of a wrong type or out of its range.
    """

    streaming: bool = Field(default=False, description="Also stream inside `invoke`, `batch` and `generate`.")
    show_progress: bool = Field(default=False, description="Show a progress bar while many prompts are completed.")

    _argument_aliases: ClassVar[Mapping[str, str]] = {"model_name": "model"}

    _counts: dict[tuple[str, str, str], int] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _set_paradigm_version(self) -> Self:
        self.metadata = with_version(self.metadata, __version__)
        return self

    @property
    def model_name(self) -> str:
        """Another name of `model`."""
        return self.model

    def _stops(self, stop: Stop) -> Stop:
        return self.stop if stop is None else stop

    # Tokens

    def get_token_ids(self, text: str) -> list[int]:
        """The token ids of a text, by the tokenizer given as `custom_get_token_ids`.

        Args:
            text: the text.

        Raises:
            InvalidParameterError: none was given, and the endpoint sends no token ids.
        """
        if self.custom_get_token_ids is None:
            raise InvalidParameterError("token ids need a tokenizer: pass custom_get_token_ids, a function of a text")
        return self.custom_get_token_ids(text)

    def get_num_tokens(self, text: str) -> int:
        """The number of tokens of a text: by `custom_get_token_ids` if it was given, else by the server.

        The server counts the prompt of a completion of one token; its counts are remembered. A text that is longer than
        the model's context is counted in pieces, which adds a token or so for each.

        Args:
            text: the text.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.complete`.
            APIResponseError: the server reports no usage.
        """
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        return self._remembered(text, lambda: self._count(text)) if text else 0

    def _remembered(self, text: str, count: Callable[[], int]) -> int:
        """The number of tokens of a text, counted once."""
        key = (self.base_url, self.model, text)
        number = self._counts.get(key)
        if number is None:
            number = count()
            if len(self._counts) >= MOST_COUNTS:
                self._counts.clear()
            self._counts[key] = number
        return number

    def _count(self, text: str) -> int:
        try:
            return self._count_at_once(lambda: self._usage_of(text))
        except APIStatusError as error:
            if len(text) < 2 or not is_context_overflow(error):
                raise
        middle = len(text) // 2
        cut = next((place for place in range(middle, middle // 2, -1) if text[place].isspace()), middle)
        return self._count(text[:cut]) + self._count(text[cut:])

    def _count_at_once(self, ask: Callable[[], Usage | None]) -> int:
        self._acquire()
        with as_langchain:
            usage = ask()
        if usage is None:
            host = self.client.settings.host
            raise APIResponseError(f"{host} counts no tokens: pass custom_get_token_ids to count them here")
        return usage.prompt_tokens

    def _usage_of(self, text: str) -> Usage | None:
        """What the server counts if it completes a text."""
        return self.client.complete(text, model=self.model, max_tokens=1).usage

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[AnyTool] | None = None) -> int:
        """The number of tokens of messages and tools, written as the prompt they are sent as.

        If the template refuses them, as some in Jinja refuse a part of a chat, each message is counted alone, as
        LangChain writes it.

        Args:
            messages: the messages.
            tools: what the model may call, as for `bind_tools`; `ParadigmLLM` sends none, and counts none.

        Raises:
            ParadigmError: see `get_num_tokens`.
        """
        try:
            return self.get_num_tokens(self._prompt_of(messages, tools or ()))
        except UnwritableError:
            return super().get_num_tokens_from_messages(messages)

    def _prompt_of(self, messages: list[BaseMessage], tools: Sequence[AnyTool]) -> str:
        """Messages and tools as they are sent."""
        raise NotImplementedError

    # Traces, cache keys and serialisation: never the key, nor a header

    @property
    def _llm_type(self) -> str:
        return "paradigm"

    @property
    def _identifying_params(self) -> Mapping[str, object]:
        """What an answer depends on, for cache keys and traces."""
        values = vars(self)  # without `constrain`, if this writes no messages
        fields = {name: values.get(name) for name in (*CompletionFields.model_fields, *_SHAPE_AN_ANSWER)}
        fields["chat_template"] = self._plain_template
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def _plain_template(self) -> str | dict[str, object] | None:
        template = self.chat_template
        if isinstance(template, BaseModel):
            return template.model_dump()
        return None if template is None else str(template)

    @property
    def lc_attributes(self) -> dict[str, object]:
        """The arguments that `dumps` writes in another form than they have here."""
        template = self._plain_template
        return super().lc_attributes | ({} if template is None else {"chat_template": template})
