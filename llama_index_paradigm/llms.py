"""`ParadigmLLM` for LlamaIndex: completes prompts, and messages formatted as a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from llama_index.core.llms import ChatMessage, CompletionResponse, MockLLM
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate, RichPromptTemplate, SelectorPromptTemplate
from llama_index.core.types import BaseOutputParser, Model
from pydantic import BaseModel, Field

from llama_index_paradigm._base import LlamaIndexModel
from llama_index_paradigm._compat import PromptHook, is_default_prompt_function
from llama_index_paradigm._in import plain_messages, readable
from llama_index_paradigm._structured import Task
from paradigm_transport import Completion, CompletionChunk
from paradigm_transport.chat.events import ParsedMessage, Text, Thought
from paradigm_transport.chat.routes import ChatChunk, ChatCompletion
from paradigm_transport.chat.structured import closed, repair_prompt, schema_of
from paradigm_transport.chat.template_fields import template_of
from paradigm_transport.endpoints.completions.call import CompletionCall, CompletionStreamCall
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import to_json


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
        if self.constrain is not None or self.structured_outputs is not None:
            schema = output_cls.model_json_schema() if self.constrain is None else closed(schema_of(output_cls))
            parameters = self._parameters(llm_kwargs).with_extra_body({"structured_outputs": {"json": schema}})
            llm_kwargs = {**llm_kwargs, "extra_body": parameters.extra_body}
        return CompletionTask(self, output_cls, prompt, prompt_args, llm_kwargs)

    # Prompts. `system_prompt` and `query_wrapper_prompt` apply once; with a template, inside the turns.

    @property
    def _writes_turns(self) -> bool:
        return self.chat_template is not None and is_default_prompt_function(self.completion_to_prompt)

    def _format(self, prompt: str, formatted: bool) -> str:
        if formatted:
            return prompt
        if self._writes_turns:
            return self._join([ChatMessage(prompt)])
        return self._surround(self.completion_to_prompt(prompt))  # type: ignore[misc]  # LlamaIndex replaces None

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
            return template.render_chat(plain_messages(messages))
        return self._write_lines(messages)

    def _write_lines(self, messages: Sequence[ChatMessage]) -> str:
        return self.messages_to_prompt(list(map(readable, messages)))  # type: ignore[misc]  # as in `_format`

    # Chats

    def _chat_call(self, messages: Sequence[ChatMessage], fields: JsonObject) -> CompletionCall[ChatCompletion]:
        return self._text_route.call(self._join(messages), self._parameters(fields), _as_chat)

    def _chat_stream_call(self, messages: Sequence[ChatMessage], fields: JsonObject) -> CompletionStreamCall[ChatChunk]:
        parameters = self._parameters(fields, single=True)
        return self._text_route.stream_call(self._join(messages), parameters, _as_chat_chunk)


def _as_chat(completion: Completion) -> ChatCompletion:
    return ChatCompletion(completion, [ParsedMessage(choice.text, choice.thoughts) for choice in completion.choices])


def _as_chat_chunk(chunk: CompletionChunk) -> ChatChunk:
    return ChatChunk(chunk, [*([Thought(chunk.thoughts)] if chunk.thoughts else []), Text(chunk.text)])


class CompletionTask(Task[Model, str, CompletionResponse]):
    """A structured prediction by a completion, with the schema in the prompt."""

    def __init__(
        self,
        llm: ParadigmLLM,
        output_cls: type[Model],
        template: BasePromptTemplate,
        template_args: JsonObject,
        fields: JsonObject,
    ) -> None:
        self._llm, self._template, self._template_args = llm, template, template_args
        self._instruction = _SchemaInstruction(output_cls)
        request = llm._format_prompt(template, template_args, self._instruction)
        super().__init__(output_cls, template, template_args, request)
        self.schema_enforced, self.max_tokens = llm.constrain is not None, llm._max_tokens(fields)
        fields = {**fields, "formatted": True}
        self.ask, self.aask = partial(llm.complete, **fields), partial(llm.acomplete, **fields)
        self.stream, self.astream = partial(llm.stream_complete, **fields), partial(llm.astream_complete, **fields)

    def text_of(self, answer: CompletionResponse) -> str:
        """As in `Task`."""
        return answer.text

    def repair(self, answer: CompletionResponse, problem: str) -> str:
        """As in `Task`."""
        request = self._template.format(llm=self._llm, messages_to_prompt=_lines, **self._template_args)
        text = repair_prompt(request, answer.text, problem)
        return self._llm._format_prompt(PromptTemplate("{text}"), {"text": text}, self._instruction)


def _lines(messages: Sequence[ChatMessage]) -> str:
    default = MockLLM().messages_to_prompt  # of every LLM of LlamaIndex
    return default(list(map(readable, messages)))  # type: ignore[misc]  # it is never None


class _SchemaInstruction(BaseOutputParser):
    """Adds the schema to a prompt, or to one message of it, by LlamaIndex's rules for output parsers."""

    def __init__(self, output_cls: type[BaseModel]) -> None:
        self._schema = to_json(output_cls.model_json_schema())

    def format(self, query: str) -> str:
        # The instruction comes last: small models follow it better than a schema that comes last.
        instruction = "Output a valid JSON object, and do not repeat the schema."
        return f"{query}\n\nFollow this JSON schema:\n{self._schema}\n\n{instruction}"

    def parse(self, output: str) -> str:
        return output
