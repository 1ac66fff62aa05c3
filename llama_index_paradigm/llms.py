"""`ParadigmLLM` for LlamaIndex: prompts, and messages written as one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from llama_index.core.base.llms.generic_utils import messages_to_prompt as default_messages_to_prompt
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ChatResponseAsyncGen, ChatResponseGen
from llama_index.core.llms.llm import default_completion_to_prompt
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate, RichPromptTemplate, SelectorPromptTemplate
from llama_index.core.types import Model
from pydantic import Field

from llama_index_paradigm._base import LlamaIndexModel
from llama_index_paradigm._events import chat_event
from llama_index_paradigm._in import plain_messages, text_alone
from llama_index_paradigm._out import ChatReader
from llama_index_paradigm._structured import CompletionTask, Task


class ParadigmLLM(LlamaIndexModel):
    """Completions of LightOn's Paradigm.

    Setup:
        ```bash
        pip install 'paradigm-llm[llama-index]'
        export PARADIGM_API_KEY=…
        ```

    Key arguments:
        - `model`: the model's name, as the administrator set it up.
        - `max_tokens`: the most tokens to generate, 256 by default.
        - `temperature`: the sampling temperature, 0 to 2; not sent where it is not given.
        - `chat_template`: how prompts and messages are written for a chat model, such as `alfred`.
        - `context_window`: tokens of prompt and completion together; the server is asked where it is not given.
        - `api_key`, `base_url`: from PARADIGM_API_KEY and PARADIGM_BASE_URL where they are not given.

    Instantiate:
        ```python
        from llama_index_paradigm import ParadigmLLM

        llm = ParadigmLLM(model="alfred-4.2", max_tokens=200, temperature=0.2)
        ```

    Complete:
        ```python
        llm.complete("The capital of France is").text
        ```

    Stream:
        ```python
        for piece in llm.stream_complete("The capital of France is"):
            print(piece.delta, end="")
        ```

    Async:
        ```python
        await llm.acomplete("The capital of France is")
        ```

    Raises:
        InvalidParameterError: an argument is unknown, missing, of a wrong type or out of its range.
    """

    structured_outputs: Literal["vllm"] | None = Field(
        default=None,
        description="How the server is told the JSON schema of a structured prediction, so that it cannot miss it: "
        "`vllm`: in vLLM's field `structured_outputs`; None: it is not told.",
    )

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "ParadigmLLM"

    @chat_event
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer messages, written as one prompt by `chat_template` or `messages_to_prompt`.

        Args:
            messages: the chat; text alone.
            kwargs: the endpoint's fields; they win over the constructor's.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.complete`.
        """
        return self._call(ChatReader(), self._join(messages), self._parameters(kwargs))

    @chat_event
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`."""
        return await self._acall(ChatReader(), self._join(messages), self._parameters(kwargs))

    @chat_event
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`, piece by piece."""
        return self._stream(ChatReader(), self._join(messages), self._parameters(kwargs, stream=True))

    @chat_event
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `stream_chat`."""
        return self._astream(ChatReader(), self._join(messages), self._parameters(kwargs, stream=True))

    def _task(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        prompt_args: dict[str, Any],
    ) -> Task[Model]:
        fields = dict(llm_kwargs or {})
        if self.structured_outputs is not None:
            told = {"structured_outputs": {"json": output_cls.model_json_schema()}}
            fields["extra_body"] = {**told, **(fields.get("extra_body") or {})}
        return CompletionTask(self, output_cls, prompt, prompt_args, fields)

    # Prompts. `system_prompt` and `query_wrapper_prompt` apply once, and inside the turns where there is a template.

    @property
    def _writes_turns(self) -> bool:
        return self.template is not None and self.completion_to_prompt is default_completion_to_prompt

    def _format(self, prompt: str, formatted: bool) -> str:
        if formatted:
            return prompt
        if self._writes_turns:
            return self._join([ChatMessage(prompt)])
        written: str = self.completion_to_prompt(prompt)  # type: ignore[misc]  # LlamaIndex puts its own for None
        return self._extend_prompt(written)

    def _get_prompt(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        if self._writes_turns:
            return self._write(self._get_messages(prompt, **prompt_args))
        if isinstance(prompt, SelectorPromptTemplate):
            prompt = prompt.select(self)
        if isinstance(prompt, RichPromptTemplate) and not prompt.is_chat_template:
            # Its `format` knows neither output parser nor `completion_to_prompt`.
            prompt_args = {"text": prompt.format(**prompt_args)}
            prompt = PromptTemplate("{text}", output_parser=prompt.output_parser)
        # As LlamaIndex's own, which puts all that it adds before and behind, but with `_write_lines`.
        written = prompt.format(
            llm=self,
            messages_to_prompt=self._write_lines,
            completion_to_prompt=self.completion_to_prompt,
            **prompt_args,
        )
        return self._extend_prompt(written if self.output_parser is None else self.output_parser.format(written))

    def _extend_messages(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        return self._with_system_prompt(messages)

    def _join(self, messages: Sequence[ChatMessage]) -> str:
        return self._write(self._with_system_prompt(messages))

    def _write(self, messages: Sequence[ChatMessage]) -> str:
        if self.template is not None and self.messages_to_prompt is default_messages_to_prompt:
            return self.template.render_chat(plain_messages(messages))
        return self._write_lines(messages)

    def _write_lines(self, messages: Sequence[ChatMessage]) -> str:
        return self.messages_to_prompt(list(map(text_alone, messages)))  # type: ignore[misc]  # likewise
