"""`ParadigmLLM` for LlamaIndex: completes prompts, and messages formatted as a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate, RichPromptTemplate, SelectorPromptTemplate
from llama_index.core.types import BaseOutputParser, Model
from pydantic import Field

from llama_index_paradigm._base import LlamaIndexModel, readable
from llama_index_paradigm._compat import PromptHook, is_default_prompt_function
from paradigm_transport.chat.template_fields import Layer, template_of
from paradigm_transport.endpoints.completions.call import CompletionCall, CompletionStreamCall
from paradigm_transport.json_object import JsonObject

if TYPE_CHECKING:
    from llama_index_paradigm._tasks import CompletionTask
    from paradigm_transport.chat.routes import ChatChunk, ChatCompletion


class ParadigmLLM(PromptHook, LlamaIndexModel):
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
        "`structured_outputs`; None: it does not, and the model is asked again if its answer does not fit.",
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

    # Structured prediction

    def _task(
        self, output_cls: type[Model], prompt: BasePromptTemplate, llm_kwargs: JsonObject, prompt_args: JsonObject
    ) -> CompletionTask[Model]:
        from llama_index_paradigm._tasks import CompletionTask  # plain completions do without
        from paradigm_transport.chat.structured import closed, schema_of

        if self.constrain is not None or self.structured_outputs is not None:
            schema = output_cls.model_json_schema() if self.constrain is None else closed(schema_of(output_cls))
            parameters = self._parameters(llm_kwargs).with_extra_body({"structured_outputs": {"json": schema}})
            llm_kwargs = {**llm_kwargs, "extra_body": parameters.extra_body}
        return CompletionTask(self, output_cls, prompt, prompt_args, llm_kwargs)

    # Prompts. `system_prompt` and `query_wrapper_prompt` apply once; with a template, inside the turns.

    @property
    def _writes_turns(self) -> bool:
        return self.chat_template is not None and is_default_prompt_function(self.completion_to_prompt)

    def _format(self, prompt: str, formatted: bool, fields: JsonObject) -> tuple[str, Layer]:
        if formatted:
            return prompt, fields
        if self._writes_turns:
            return self._join([ChatMessage(prompt)]), fields
        # LlamaIndex replaces None.
        return self._surround(self.completion_to_prompt(prompt)), fields  # type: ignore[misc]

    def _format_prompt(
        self, prompt: BasePromptTemplate, prompt_args: JsonObject, instruction: BaseOutputParser | None = None
    ) -> str:
        if isinstance(prompt, SelectorPromptTemplate):
            prompt = prompt.select(self)
        if instruction is not None:  # in a copy: other calls use the same prompt without it
            prompt = prompt.model_copy(update={"output_parser": instruction})
        if self._writes_turns:
            return self._join(self._messages(prompt, prompt_args))
        if isinstance(prompt, RichPromptTemplate) and not prompt.is_chat_template:
            # Its `format` applies neither `output_parser` nor `completion_to_prompt`.
            prompt_args = {"text": prompt.format(**prompt_args)}
            prompt = PromptTemplate("{text}", output_parser=prompt.output_parser)
        functions = {"messages_to_prompt": self._write_lines, "completion_to_prompt": self.completion_to_prompt}
        text = prompt.format(llm=self, **functions, **prompt_args)
        return self._surround(text if self.output_parser is None else self.output_parser.format(text))

    def _surround(self, text: str) -> str:
        if self.system_prompt:
            text = f"{self.system_prompt}\n\n{text}"
        return text if self.query_wrapper_prompt is None else self.query_wrapper_prompt.format(query_str=text)

    def _join(self, messages: Sequence[ChatMessage]) -> str:
        messages = self._with_system_prompt(messages)
        template = template_of(self)
        if template is not None and is_default_prompt_function(self.messages_to_prompt):
            from llama_index_paradigm._in import plain_messages  # plain completions do without

            return template.render_chat(plain_messages(messages))
        return self._write_lines(messages)

    def _write_lines(self, messages: Sequence[ChatMessage]) -> str:
        return self.messages_to_prompt(list(map(readable, messages)))  # type: ignore[misc]  # as in `_format`

    # Chats

    def _chat_call(self, messages: Sequence[ChatMessage], fields: JsonObject) -> CompletionCall[ChatCompletion]:
        from llama_index_paradigm._out import as_chat

        return self._text_route.call(self._join(messages), self._parameters(fields), as_chat)

    def _chat_stream_call(self, messages: Sequence[ChatMessage], fields: JsonObject) -> CompletionStreamCall[ChatChunk]:
        from llama_index_paradigm._out import as_chat_chunk

        parameters = self._parameters(fields, single=True)
        return self._text_route.stream_call(self._join(messages), parameters, as_chat_chunk)
