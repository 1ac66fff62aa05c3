"""The endpoint's contract: the fields of requests and replies, each defined once.

The server validates requests with these models, and the OpenAPI document is generated from them.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Json, StrictStr, ValidationError, model_validator
from pydantic_core import from_json

from paradigm_local.structural_tags import StructuralTag

API_PATH = "/api/v2"

NEXT_API_PATH = "/api/v3"
"""Where chats and embeddings are, too, as at Paradigm; completions and the list of models are not."""

JsonObject = dict[str, Any]

FieldErrors = dict[str, list[str]]
"""What is wrong with a request: messages for each field."""

WHOLE_BODY = "non_field_errors"
"""The key for messages about the whole body."""

MAX_CANDIDATES = 20
MAX_LOGPROBS = 20
MAX_STOPS = 4
MAX_CHOICES = 1000
MAX_INPUTS = 256


def _integer_of_float(value: object) -> object:
    """Turn 3.0 into 3, as JSON Schema counts it as an integer; leave other values to the strict validation."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_integer_of_float)]
NonEmpty = Annotated[StrictStr, Field(min_length=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
TokenId = Annotated[StrictStr, Field(pattern=r"^[0-9]{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]


class InvalidRequest(Exception):  # noqa: N818  the client's mistake
    """A request that violates the contract.

    Attributes:
        errors: messages by field.
    """

    def __init__(self, errors: FieldErrors) -> None:
        super().__init__(", ".join(sorted(errors)))
        self.errors = errors


class RequestPart(BaseModel):
    """Base of request bodies: values of another JSON type are refused, unknown fields ignored, as in vLLM."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield fields that are valid alone but not together, and those that this server does not support."""
        yield from ()


Body = TypeVar("Body", bound=RequestPart)


class StreamOptions(RequestPart):
    """Additional contents of a stream."""

    include_usage: bool = Field(False, description="Send the usage in a last chunk, without choices.")


class StructuredOutputs(RequestPart):
    """A constraint on the text: exactly one of the fields."""

    json_: JsonObject | None = Field(None, alias="json", description="A JSON schema.")
    regex: NonEmpty | None = Field(None, description="A regular expression for the whole text.")
    choice: list[NonEmpty] | None = Field(
        None, min_length=1, max_length=MAX_CHOICES, description="The texts to choose from."
    )
    grammar: NonEmpty | None = Field(None, description="A grammar in llama.cpp's GBNF.")
    structural_tag: Json[StructuralTag] | None = Field(None, description="A structural tag, as JSON text.")

    @model_validator(mode="after")
    def _exactly_one(self) -> "StructuredOutputs":
        given = [self.json_, self.regex, self.choice, self.grammar, self.structural_tag]
        if sum(value is not None for value in given) != 1:
            raise ValueError("Give exactly one of json, regex, choice, grammar and structural_tag.")
        return self


class JsonSchema(RequestPart):
    """The schema of a response format."""

    schema_: JsonObject = Field(alias="schema", description="A JSON schema.")


class ResponseFormat(RequestPart):
    """The format of the text."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = Field(None, description="Only for the type `json_schema`.")

    @model_validator(mode="after")
    def _schema_if_needed(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("Give json_schema if and only if the type is json_schema.")
        return self


class GenerationRequest(RequestPart):
    """What the bodies of both endpoints that generate text have in common."""

    model: StrictStr = Field(description="The id of the model.")
    temperature: float = Field(1.0, ge=0, le=2, description="Sampling temperature; 0 selects the likeliest token.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling.")
    n: Integer = Field(1, ge=1, le=MAX_CANDIDATES, description="Number of completions to return.")
    stream: bool = Field(False, description="Send the text as server-sent events while it is generated.")
    stream_options: StreamOptions | None = Field(None, description="Only with `stream`.")
    stop: NonEmpty | Annotated[list[NonEmpty], Field(max_length=MAX_STOPS)] = Field(
        [], description="Sequences that end the text, and are not returned."
    )
    presence_penalty: Penalty = Field(0.0, description="Penalizes tokens that occurred already.")
    frequency_penalty: Penalty = Field(0.0, description="Penalizes tokens by how often they occurred.")
    logit_bias: dict[TokenId, Bias] = Field(
        {}, description="Biases by token id; -100 bans a token.", json_schema_extra={"additionalProperties": False}
    )
    user: StrictStr = Field("", description="The end user; accepted and ignored.")
    seed: Integer | None = Field(None, ge=-(2**63), lt=2**63, description="The same seed gives the same text.")
    top_k: Integer = Field(
        0, ge=-1, le=2**31 - 1, description="Number of likeliest tokens to sample from; 0 or -1: all."
    )
    min_p: float = Field(0.0, ge=0, le=1, description="Minimum probability, relative to the likeliest token.")
    repetition_penalty: float = Field(1.0, ge=0.01, le=2, description="Penalizes repetition if above 1.")
    ignore_eos: bool = Field(False, description="Continue after the end-of-text token.")
    structured_outputs: StructuredOutputs | None = Field(None, description="A constraint on the text.")
    response_format: ResponseFormat = Field(ResponseFormat(type="text"), description="The format of the text.")

    @property
    def candidates(self) -> int:
        """Number of completions to generate, of which ``n`` are returned."""
        return self.n

    @property
    def stops(self) -> list[str]:
        """The stop sequences as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """As `RequestPart.contradictions`."""
        if self.stream_options is not None and not self.stream:
            yield "stream_options", "Only allowed with stream."
        if self.temperature == 0 and self.candidates > 1:
            yield "n", "Must be 1 with temperature 0, and so must best_of: all completions would be equal."
        if self.structured_outputs is not None and self.response_format.type != "text":
            yield "structured_outputs", "Cannot be combined with response_format."


class CompletionRequest(GenerationRequest):
    """The body of `POST /api/v2/completions`."""

    prompt: NonEmpty = Field(description="The text to complete, passed to the model unchanged.")
    max_tokens: Integer = Field(
        16, ge=0, le=2**31 - 1, description="Maximum number of tokens to generate; 0 only with `echo`."
    )
    best_of: Integer | None = Field(
        None,
        ge=1,
        le=MAX_CANDIDATES,
        description="Number of completions to generate; the `n` with the best mean log-probability are returned.",
    )
    logprobs: Integer | None = Field(
        None,
        ge=0,
        le=MAX_LOGPROBS,
        description="Report log-probabilities, with this number of likeliest tokens at each place.",
    )
    echo: bool = Field(False, description="Return the prompt in front of the completion.")
    suffix: StrictStr = Field("", description="Refused: this model cannot fill in text.", json_schema_extra={"not": {}})

    @property
    def candidates(self) -> int:
        """Number of completions to generate, of which ``n`` are returned."""
        return self.n if self.best_of is None else self.best_of

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """As `RequestPart.contradictions`."""
        yield from super().contradictions()
        if "suffix" in self.model_fields_set:
            yield "suffix", "This model cannot fill in text before a suffix."
        if self.max_tokens == 0 and not self.echo:
            yield "max_tokens", "0 is only allowed with echo."
        if self.candidates < self.n:
            yield "best_of", "Must be at least n."
        if self.stream and self.candidates > self.n:
            yield "best_of", "Cannot be streamed if it is greater than n."


class EmbeddingRequest(RequestPart):
    """The body of `POST /api/v2/embeddings`."""

    model: StrictStr = Field(description="The id of the model.")
    input: NonEmpty | Annotated[list[NonEmpty], Field(min_length=1, max_length=MAX_INPUTS)] = Field(
        description="The text or texts to embed, passed to the model as they are; no prefix is added."
    )
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="How numbers are written; `base64` is of 32-bit floats, little-endian."
    )
    dimensions: Integer | None = Field(
        None, ge=1, description="The number of numbers to return; the first ones, scaled to length 1 again."
    )
    user: StrictStr = Field("", description="The end user; accepted and ignored.")

    @property
    def texts(self) -> list[str]:
        """The texts as a list."""
        return [self.input] if isinstance(self.input, str) else self.input


class TokenLogprobs(BaseModel):
    """Log-probabilities: four arrays with one element per token."""

    tokens: list[str]
    token_logprobs: list[float | None] = Field(description="null for the first token of a prompt.")
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int] = Field(description="Start of the token, in characters.")


class Choice(BaseModel):
    """One completion, or a piece of one in a stream."""

    index: int
    text: str
    logprobs: TokenLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None = None


class Usage(BaseModel):
    """Tokens used; `completion_tokens` counts all completions that were generated, also for `best_of`."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """The reply, or a chunk of it in a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int = Field(description="Unix time in seconds.")
    model: str
    choices: list[Choice]
    usage: Usage | None = Field(None, description="In a stream only in the last chunk, if requested.")


class Embedding(BaseModel):
    """The embedding of one text."""

    object: Literal["embedding"] = "embedding"
    index: int = Field(description="The position of the text in the request.")
    embedding: list[float] | str = Field(description="Numbers, or base64 of them if that was requested.")


class EmbeddingUsage(BaseModel):
    """Tokens of the texts."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """The reply with the embeddings."""

    id: str
    object: Literal["list"] = "list"
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage


class Model(BaseModel):
    """A served model."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time in seconds.")
    owned_by: str = "paradigm-local"
    max_model_len: int = Field(description="Context in tokens, for prompt and completion together, or for a text.")


class ModelList(BaseModel):
    """The list of models."""

    object: Literal["list"] = "list"
    data: list[Model]


class Detail(BaseModel):
    """A refusal that is not about fields."""

    detail: str


def read_request(body: bytes, kind: type[Body]) -> Body:
    """Parse and validate the body of a request.

    Raises:
        InvalidRequest: it is not a JSON object, or violates the contract.
    """
    try:
        request = kind.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequest(_by_field(error, body)) from error
    errors: FieldErrors = {}
    for field, message in request.contradictions():
        errors.setdefault(field, []).append(message)
    if errors:
        raise InvalidRequest(errors)
    return request


def _by_field(error: ValidationError, body: bytes) -> FieldErrors:
    items = error.errors()
    if not items[0]["loc"]:  # not a JSON object
        return {WHOLE_BODY: [items[0]["msg"]]}
    value = from_json(body)
    errors: FieldErrors = {}
    for item in items:
        field, *inside = _path(item["loc"], value, is_missing=item["type"] == "missing")
        place = f"{'.'.join(inside)}: " if inside else ""
        errors.setdefault(field, []).append(place + item["msg"].removeprefix("Value error, "))
    return errors


def _path(places: Sequence[int | str], value: Any, *, is_missing: bool) -> list[str]:
    """Return the path to a mistake in a body, without the names that pydantic gives to alternatives."""
    path = []
    for place in places:
        if place in value if isinstance(value, dict) else isinstance(value, list) and isinstance(place, int):
            value = value[place]
            path.append(str(place))
    return [*path, str(places[-1])] if is_missing else path
