"""The endpoint's contract: what a request may hold and what a reply looks like, each field once.

The server checks requests with these models, and the OpenAPI document is written from them.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictStr, ValidationError, model_validator

API_PATH = "/api/v2"

FieldErrors = dict[str, list[str]]
"""What is wrong with a request: messages for each field."""

WHOLE_BODY = "non_field_errors"
"""The key of messages that belong to no single field."""

MOST_CANDIDATES = 20
MOST_LOGPROBS = 20
MOST_STOPS = 4
MOST_CHOICES = 1000


def _whole(value: Any) -> Any:
    """In JSON 3.0 is the integer 3; `True` is none, whatever Python says."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_whole)]
NonEmpty = Annotated[StrictStr, Field(min_length=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
TokenId = Annotated[StrictStr, Field(pattern=r"^[0-9]{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]


class InvalidRequest(Exception):  # noqa: N818  named for what the client sent
    """A request that breaks the contract.

    Attributes:
        errors: the messages, by field.
    """

    def __init__(self, errors: FieldErrors) -> None:
        super().__init__(", ".join(sorted(errors)))
        self.errors = errors


class _RequestPart(BaseModel):
    """Values have their JSON type or are refused; unknown fields are ignored, as vLLM does."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class StreamOptions(_RequestPart):
    """What a stream holds beside text."""

    include_usage: bool = Field(False, description="Send usage in a last chunk, without choices.")


class StructuredOutputs(_RequestPart):
    """What the text must look like: exactly one of the fields."""

    json_: dict[str, Any] | None = Field(None, alias="json", description="A JSON schema.")
    regex: NonEmpty | None = Field(None, description="A regular expression for the whole text.")
    choice: list[NonEmpty] | None = Field(
        None, min_length=1, max_length=MOST_CHOICES, description="The texts to choose from."
    )
    grammar: NonEmpty | None = Field(None, description="A grammar in llama.cpp's GBNF.")

    @model_validator(mode="after")
    def _exactly_one(self) -> "StructuredOutputs":
        given = [self.json_, self.regex, self.choice, self.grammar]
        if sum(value is not None for value in given) != 1:
            raise ValueError("Give exactly one of json, regex, choice and grammar.")
        return self


class JsonSchema(_RequestPart):
    """The schema of a response format."""

    schema_: dict[str, Any] = Field(alias="schema", description="A JSON schema.")


class ResponseFormat(_RequestPart):
    """The form of the text."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = Field(None, description="For the type `json_schema` only.")

    @model_validator(mode="after")
    def _schema_where_needed(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("Give json_schema with the type json_schema, and only then.")
        return self


class CompletionRequest(_RequestPart):
    """The body of `POST /api/v2/completions`."""

    model: StrictStr = Field(description="The id of the model.")
    prompt: NonEmpty = Field(description="The text to complete, sent to the model as it is.")
    max_tokens: Integer = Field(
        16, ge=0, le=2**31 - 1, description="Most tokens to generate; 0 only together with `echo`."
    )
    temperature: float = Field(1.0, ge=0, le=2, description="Sampling temperature; 0 takes the likeliest token.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling.")
    n: Integer = Field(1, ge=1, le=MOST_CANDIDATES, description="Completions to return.")
    best_of: Integer | None = Field(
        None,
        ge=1,
        le=MOST_CANDIDATES,
        description="Completions to generate; the `n` with the best mean log-probability return.",
    )
    stream: bool = Field(False, description="Send the text as server-sent events, as it comes.")
    stream_options: StreamOptions | None = Field(None, description="Only together with `stream`.")
    logprobs: Integer | None = Field(
        None,
        ge=0,
        le=MOST_LOGPROBS,
        description="Report log-probabilities, with this many likeliest tokens at each place.",
    )
    echo: bool = Field(False, description="Give the prompt back in front of the completion.")
    stop: NonEmpty | Annotated[list[NonEmpty], Field(max_length=MOST_STOPS)] = Field(
        [], description="Where the text ends; the stop itself is not returned."
    )
    presence_penalty: Penalty = Field(0.0, description="Against tokens that are there already.")
    frequency_penalty: Penalty = Field(0.0, description="Against tokens, by how often they came.")
    logit_bias: dict[TokenId, Bias] = Field(
        {}, description="Token id to bias; -100 bans.", json_schema_extra={"additionalProperties": False}
    )
    user: StrictStr = Field("", description="The end user; accepted, and used for nothing here.")
    suffix: StrictStr = Field("", description="Refused: this model cannot fill in.", json_schema_extra={"not": {}})
    seed: Integer | None = Field(None, ge=-(2**63), lt=2**63, description="The same seed gives the same text.")
    top_k: Integer = Field(0, ge=-1, le=2**31 - 1, description="Likeliest tokens kept; 0 or -1: all.")
    min_p: float = Field(0.0, ge=0, le=1, description="Least probability, relative to the best.")
    repetition_penalty: float = Field(1.0, ge=0.01, le=2, description="Above 1: against repetition.")
    ignore_eos: bool = Field(False, description="Go on after the end-of-text token.")
    structured_outputs: StructuredOutputs | None = Field(None, description="Constrains the text.")
    response_format: ResponseFormat = Field(ResponseFormat(type="text"), description="The form of the text.")

    @property
    def candidates(self) -> int:
        """How many completions to generate, of which ``n`` are returned."""
        return self.n if self.best_of is None else self.best_of

    @property
    def stops(self) -> list[str]:
        """The stop sequences as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop


class TokenLogprobs(BaseModel):
    """Log-probabilities, one element a token in each of the four arrays."""

    tokens: list[str]
    token_logprobs: list[float | None] = Field(description="null where nothing came before.")
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int] = Field(description="Where the token begins, in characters.")


class Choice(BaseModel):
    """One completion, or in a stream a piece of one."""

    index: int
    text: str
    logprobs: TokenLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None = None


class Usage(BaseModel):
    """Tokens used; `completion_tokens` counts every completion generated, also for `best_of`."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """The reply, or in a stream a chunk of it."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int = Field(description="Unix time in seconds.")
    model: str
    choices: list[Choice]
    usage: Usage | None = Field(None, description="In a stream only on the last chunk, if asked.")


class Model(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time in seconds.")
    owned_by: str = "paradigm-local"
    max_model_len: int = Field(description="The context in tokens, for prompt and completion.")


class ModelList(BaseModel):
    """The models that are served."""

    object: Literal["list"] = "list"
    data: list[Model]


class Detail(BaseModel):
    """A refusal that belongs to no field."""

    detail: str


def read_request(body: bytes) -> CompletionRequest:
    """Read and check a request's body.

    Raises:
        InvalidRequest: it is no JSON object or breaks the contract.
    """
    try:
        request = CompletionRequest.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequest(_by_field(error)) from error
    errors: FieldErrors = {}
    for field, message in _contradictions(request):
        errors.setdefault(field, []).append(message)
    if errors:
        raise InvalidRequest(errors)
    return request


def _by_field(error: ValidationError) -> FieldErrors:
    errors: FieldErrors = {}
    for item in error.errors():
        field = str(item["loc"][0]) if item["loc"] else WHOLE_BODY
        errors.setdefault(field, []).append(item["msg"].removeprefix("Value error, "))
    return errors


def _contradictions(request: CompletionRequest) -> Iterator[tuple[str, str]]:
    """Fields that are right by themselves but not together, and what this server cannot do."""
    if "suffix" in request.model_fields_set:
        yield "suffix", "This model cannot fill in text before a suffix."
    if request.max_tokens == 0 and not request.echo:
        yield "max_tokens", "0 is for echo only."
    if request.stream_options is not None and not request.stream:
        yield "stream_options", "Only together with stream."
    if request.candidates < request.n:
        yield "best_of", "Must be at least n."
    if request.stream and request.candidates > request.n:
        yield "best_of", "Cannot be streamed when it is greater than n."
    if request.temperature == 0 and request.candidates > 1:
        yield "n", "Must be 1, and best_of too, with temperature 0: all completions would be equal."
    if request.structured_outputs is not None and request.response_format.type != "text":
        yield "structured_outputs", "Cannot be combined with response_format."
