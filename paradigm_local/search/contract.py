"""The contract of the search: the fields of a request and of its reply, as in Paradigm's API v3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from paradigm_local.contract import NEXT_API_PATH, Integer

SEARCH_PATH = f"{NEXT_API_PATH}/search"

MAX_QUERY = 4000
MAX_RESULTS = 100

Word = Annotated[StrictStr, Field(min_length=1)]


class SearchRequest(BaseModel):
    """The body of `POST /api/v3/search`; unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    query: StrictStr = Field(min_length=1, max_length=MAX_QUERY, pattern=r"\S", description="What to search for.")
    max_results: Integer = Field(10, ge=1, le=MAX_RESULTS, description="Maximum number of passages.")
    workspace_id: list[Integer] | None = Field(None, description="Workspaces to search; not with `file_id`.")
    tag_id: list[Integer] | None = Field(None, description="Tags, any of which a file has; not with `file_id`.")
    file_id: list[Integer] | None = Field(None, description="Files to search.")
    content_type: list[Word] | None = Field(
        None, description="Content types, any of which a file has, or one below it; `*` stands for any text."
    )
    attribute: list[Word] | None = Field(None, description="Attributes, all of which a file has.")
    mode: Literal["text", "vision"] = Field("text", description="Only `text`: there are no images of pages.")
    relevance_scoring: Literal["none", "scoring_only", "scoring_and_filtering"] = Field(
        "scoring_and_filtering", description="There is no scoring model: anything but `none` is answered by a warning."
    )
    include_image: bool = Field(False, description="Accepted; images are empty.")
    include_bboxes: bool = Field(False, description="Accepted; bounding boxes are empty.")

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield the fields that exclude each other or that this server does not support, and why."""
        if self.mode == "vision":
            yield "mode", "This server has no images of pages: it searches text only."
        if self.file_id is not None:
            for name in ("workspace_id", "tag_id"):
                if getattr(self, name) is not None:
                    yield name, "Cannot be combined with file_id."


class Scores(BaseModel):
    """The score of each signal; null for those that there are not."""

    text: float = Field(description="Similarity of meaning, 0 to 1.")
    vision: None = None
    keyword: float = Field(description="BM25 of the words; no upper bound.")
    multivector: None = None
    relevance: None = None


class Tag(BaseModel):
    """A tag of a file."""

    id: int
    name: str


class ContentType(BaseModel):
    """A content type of a file, with the values of its attributes."""

    path: str
    label: str
    attributes: list[dict[str, Any]]


class ExternalMetadata(BaseModel):
    """What another system says about a file."""

    external_id: str
    external_url: str | None
    additional_metadata: dict[str, Any]


class Source(BaseModel):
    """The file of a passage."""

    file_id: int
    filename: str
    title: str | None
    mime_type: str = Field(description="A short type, such as `pdf`.")
    size_bytes: int
    page_start: int
    page_end: int
    total_pages: int
    tags: list[Tag]
    content_types: list[ContentType]
    external_metadata: ExternalMetadata | None


class Workspace(BaseModel):
    """The workspace of a file."""

    id: int
    name: str


class Image(BaseModel):
    """The image of a page; always empty."""

    b64_content: Literal[""] = ""


class Result(BaseModel):
    """A passage."""

    chunk_id: str
    content: str
    score: float = Field(description="By what results are ordered; no upper bound.")
    scores: Scores
    image: Image | None = Field(None, description="Only with `include_image`.")
    source: Source
    workspace: Workspace
    bboxes: list[Any] | None = Field(None, description="Only with `include_bboxes`.")


class MissingSignal(BaseModel):
    """A signal that is missing."""

    code: str
    reason: str


class SearchReply(BaseModel):
    """The reply: passages, best first."""

    results: list[Result]
    warnings: list[MissingSignal] | None = Field(None, description="Only if a signal is missing.")


class FieldError(BaseModel):
    """What is wrong with a field."""

    error: str
    detail: str


class SearchError(BaseModel):
    """A refusal in the form of API v3."""

    id: str
    code: int
    error: str
    detail: str
    fields: dict[str, list[FieldError]] | None = Field(None, description="Only with 422.")
