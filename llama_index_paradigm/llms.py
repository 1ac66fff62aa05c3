"""`ParadigmLLM` for LlamaIndex: completes prompts, and messages formatted as a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ChatResponseAsyncGen, ChatResponseGen
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate, RichPromptTemplate, SelectorPromptTemplate
from llama_index.core.types import Model
from pydantic import BaseModel, Field

from llama_index_paradigm._base import LlamaIndexModel
from llama_index_paradigm._compat import PromptHook, is_default_prompt_function
from llama_index_paradigm._events import chat_event
from llama_index_paradigm._in import plain_messages, text_only
from llama_index_paradigm._out import ChatReader, aresponses, responses
from llama_index_paradigm._structured import CompletionTask
from paradigm_transport.chat.structured import closed, schema_of
from paradigm_transport.messages import JsonObject


class ParadigmLLM(LlamaIndexModel, PromptHook):
    """Completions of LightOn's Paradigm.

    Setup:
        ```bash
        pip install 'paradigm-llm[llama-index]'
        export PARADIGM_API_KEY=…
        ```

    Key arguments:
        - `model`: the model's name, as the administrator set it up.
        - `max_tokens`: the maximum number of tokens to generate, 256 by default.
        - `temperature`: the sampling temperature, 0 to 2; not sent by default.
        - `chat_template`: how prompts and messages are formatted for a chat model, such as `alfred`.
        - `constrain`: `vllm` if the server can enforce a JSON schema: structured predictions then always fit.
        - `context_window`: tokens of prompt and completion together; by default the server is asked for it.
        - `api_key`, `base_url`: PARADIGM_API_KEY and PARADIGM_BASE_URL by default.

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

    constrain: Literal["vllm"] | None = Field(
        default=None,
        description="How the server enforces the JSON schema of a structured prediction: `vllm`: with vLLM's field "
        "`structured_outputs`; None: it does not, and an answer that does not fit is asked for once more.",
    )
    structured_outputs: Literal["vllm"] | None = Field(
        default=None,
        description="Deprecated; use `constrain`. `vllm`: as there, but objects may have further properties, and an "
        "answer that does not fit is asked for once more.",
    )

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "ParadigmLLM"

    @chat_event
    def chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> ChatResponse:
        """Answer messages, formatted as one prompt by `chat_template` or `messages_to_prompt`.

        Args:
            messages: the chat; text only.
            kwargs: the endpoint's fields; they win over the constructor's.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.complete`.
        """
        return ChatReader().read(self.client.complete(self._join(messages), self._parameters(kwargs)))

    @chat_event
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: object) -> ChatResponse:
        """As `chat`."""
        return ChatReader().read(await self.async_client.complete(self._join(messages), self._parameters(kwargs)))

    @chat_event
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> ChatResponseGen:
        """As `chat`, piece by piece; the last response carries finish reason and usage."""
        stream = self.client.stream(self._join(messages), self._parameters(kwargs, single=True))
        return responses(stream, ChatReader().read_chunk)

    @chat_event
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> ChatResponseAsyncGen:
        """As `stream_chat`."""
        stream = self.async_client.stream(self._join(messages), self._parameters(kwargs, single=True))
        return aresponses(stream, ChatReader().read_chunk)

    # Structured prediction

    def _task(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: JsonObject | None,
        prompt_args: JsonObject,
    ) -> CompletionTask[Model]:
        fields = {**(llm_kwargs or {})}
        schema = self._schema_to_enforce(output_cls)
        if schema is not None:
            enforced = {"structured_outputs": {"json": schema}}
            fields["extra_body"] = self._parameters(fields).with_extra_body(enforced).extra_body
        return CompletionTask(self, output_cls, prompt, prompt_args, fields, schema_enforced=self.constrain is not None)

    def _schema_to_enforce(self, output_cls: type[BaseModel]) -> JsonObject | None:
        if self.constrain is not None:
            return closed(schema_of(output_cls))
        return None if self.structured_outputs is None else output_cls.model_json_schema()

    # Prompts. `system_prompt` and `query_wrapper_prompt` apply once; with a template, inside the turns.

    @property
    def _writes_turns(self) -> bool:
        return self._template is not None and is_default_prompt_function(self.completion_to_prompt)

    def _format(self, prompt: str, formatted: bool) -> str:
        if formatted:
            return prompt
        if self._writes_turns:
            return self._join([ChatMessage(prompt)])
        return self._surround(self.completion_to_prompt(prompt))  # type: ignore[misc]  # LlamaIndex replaces None

    def _format_prompt(self, prompt: BasePromptTemplate, prompt_args: JsonObject) -> str:
        if self._writes_turns:
            return self._join(self._messages(prompt, prompt_args))
        if isinstance(prompt, SelectorPromptTemplate):
            prompt = prompt.select(self)
        if isinstance(prompt, RichPromptTemplate) and not prompt.is_chat_template:
            # Its `format` applies neither `output_parser` nor `completion_to_prompt`.
            prompt_args = {"text": prompt.format(**prompt_args)}
            prompt = PromptTemplate("{text}", output_parser=prompt.output_parser)
        text = prompt.format(
            llm=self,
            messages_to_prompt=self._write_lines,
            completion_to_prompt=self.completion_to_prompt,
            **prompt_args,
        )
        return self._surround(text if self.output_parser is None else self.output_parser.format(text))

    def _surround(self, text: str) -> str:
        if self.system_prompt:
            text = f"{self.system_prompt}\n\n{text}"
        return text if self.query_wrapper_prompt is None else self.query_wrapper_prompt.format(query_str=text)

    def _join(self, messages: Sequence[ChatMessage]) -> str:
        messages = self._with_system_prompt(messages)
        template = self._template
        if template is not None and is_default_prompt_function(self.messages_to_prompt):
            return template.render_chat(plain_messages(messages))
        return self._write_lines(messages)

    def _write_lines(self, messages: Sequence[ChatMessage]) -> str:
        return self.messages_to_prompt(list(map(text_only, messages)))  # type: ignore[misc]  # as in `_format`
