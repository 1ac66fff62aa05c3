"""The contract of chats: the fields of requests and replies, each defined once."""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from paradigm_local.contract import MAX_LOGPROBS, GenerationRequest, Integer, JsonObject, NonEmpty, RequestPart, Usage


class Function(RequestPart):
    """A function that the model may call."""

    name: NonEmpty
    description: StrictStr = ""
    parameters: JsonObject = Field({"type": "object", "properties": {}}, description="A JSON schema of an object.")


class FunctionTool(RequestPart):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


class FunctionName(RequestPart):
    """The name of a function."""

    name: NonEmpty


class FunctionChoice(RequestPart):
    """The choice of one function."""

    type: Literal["function"]
    function: FunctionName


class ChatMessage(RequestPart):
    """A message of a chat."""

    model_config = ConfigDict(extra="allow")  # what templates may read, such as `reasoning_content`

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: StrictStr | list[JsonObject] | None = Field(None, description="A text, or a list of parts.")
    tool_calls: list[JsonObject] | None = Field(None, description="The calls of an assistant.")
    tool_call_id: StrictStr | None = Field(None, description="The call that a tool's message is the result of.")
    name: StrictStr | None = None


class ChatCompletionRequest(GenerationRequest):
    """The body of `POST /api/v2/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1, description="The chat, which the model's template writes.")
    max_tokens: Integer | None = Field(None, ge=1, le=2**31 - 1, description="Maximum number of tokens to generate.")
    max_completion_tokens: Integer | None = Field(
        None, ge=1, le=2**31 - 1, description="A newer name of `max_tokens`, over which it wins."
    )
    logprobs: bool = Field(False, description="Report log-probabilities.")
    top_logprobs: Integer | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description="Number of likeliest tokens at each place; only with `logprobs`."
    )
    tools: list[FunctionTool] = Field([], description="What the model may call.")
    tool_choice: Literal["auto", "none", "required"] | FunctionChoice = Field(
        "auto", description="Whether the model calls tools; `required` or a function makes sure of it."
    )
    parallel_tool_calls: bool = Field(True, description="Whether a message may hold several calls.")
    guided_json: JsonObject | None = Field(None, description="An older name of `structured_outputs` with `json`.")
    chat_template_kwargs: JsonObject = Field({}, description="Variables of the model's template.")

    @property
    def limit(self) -> int | None:
        """Maximum number of tokens to generate; None for as many as the context takes."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def offered_tools(self) -> list[FunctionTool]:
        """The tools that may be called."""
        if isinstance(self.tool_choice, FunctionChoice):
            name = self.tool_choice.function.name
            return [tool for tool in self.tools if tool.function.name == name]
        return [] if self.tool_choice == "none" else self.tools

    @property
    def requires_call(self) -> bool:
        """Whether the message must be a call."""
        return self.tool_choice not in ("auto", "none")

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """As `RequestPart.contradictions`."""
        yield from super().contradictions()
        if self.top_logprobs is not None and not self.logprobs:
            yield "top_logprobs", "Only allowed with logprobs."
        if self.requires_call and not self.offered_tools:
            yield "tool_choice", "There is no such tool in tools."
        is_constrained = self.structured_outputs is not None or self.response_format.type != "text"
        if self.guided_json is not None and is_constrained:
            yield "guided_json", "Cannot be combined with structured_outputs or response_format."
        if self.offered_tools and (is_constrained or self.guided_json is not None):
            yield "tools", "Cannot be combined with a constraint on the text, unless tool_choice is none."


class ChatLogprob(BaseModel):
    """The log-probability of a token."""

    token: str
    logprob: float
    bytes: list[int]


class ChatTokenLogprobs(ChatLogprob):
    """The log-probability of a token of the text, and those of the likeliest at its place."""

    top_logprobs: list[ChatLogprob]


class ChatLogprobs(BaseModel):
    """Log-probabilities of a message's text."""

    content: list[ChatTokenLogprobs]


class ChatReply(BaseModel):
    """A message, or a part of one in a stream."""

    role: Literal["assistant"] | None = Field("assistant", description="In a stream only in the first part.")
    content: str | None = None
    reasoning_content: str | None = Field(None, description="What the model thought, if its template marks it.")
    tool_calls: list[JsonObject] | None = Field(None, description="In a stream parts of calls, by their `index`.")


class ChatChoice(BaseModel):
    """One message, or a part of one in a stream."""

    index: int
    message: ChatReply | None = Field(None, description="Not in a stream.")
    delta: ChatReply | None = Field(None, description="Only in a stream.")
    logprobs: ChatLogprobs | None = None
    finish_reason: Literal["stop", "length", "tool_calls"] | None = None


class ChatCompletion(BaseModel):
    """The reply to a chat, or a chunk of it in a stream."""

    id: str
    object: Literal["chat.completion", "chat.completion.chunk"]
    created: int = Field(description="Unix time in seconds.")
    model: str
    choices: list[ChatChoice]
    usage: Usage | None = Field(None, description="In a stream only in the last chunk, if requested.")
