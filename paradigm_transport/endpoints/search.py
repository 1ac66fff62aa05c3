"""`POST /api/v3/search`: fields, reply and call of the search in the documents that Paradigm holds.

The form of a result has changed over time: missing, null and unknown fields are accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from paradigm_transport.arguments import Fields, encode_body
from paradigm_transport.calls import Call
from paradigm_transport.endpoints.parameters import CallParameters
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.json_object import JsonObject
from paradigm_transport.refusals import Origin, Redaction, unexpected_response

# Fields


def _as_list(value: object) -> object:
    if isinstance(value, (int, str)):
        return [value]
    return list(value) if isinstance(value, (tuple, set, frozenset)) else value


def _not_empty(value: object) -> object:
    if value == []:  # which a server may take for no filter at all
        raise ValueError("it is empty, and would select nothing; leave it out to search everywhere")
    return value


Ids = Annotated[list[int], BeforeValidator(_not_empty), BeforeValidator(_as_list)]
Words = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_not_empty), BeforeValidator(_as_list)]
MaxResults = Annotated[
    int | None, Field(ge=1, description="The most passages to return, 1 or more; servers allow 50 or 100 at most.")
]


class SearchFields(Fields):
    """The fields of the endpoint that a caller chooses, but for their number: declarations and checks only.

    A field left at None is not sent, so that the server's default holds. What the key may not read is never found.
    """

    workspace_id: Ids | None = Field(
        default=None, description="Search only these workspaces: an id or a list of ids. Not with `file_id`."
    )
    tag_id: Ids | None = Field(
        default=None, description="Search only documents with any of these tags: an id or ids. Not with `file_id`."
    )
    file_id: Ids | None = Field(default=None, description="Search only these files: an id or a list of ids.")
    content_type: Words | None = Field(
        default=None,
        description="Search only documents of any of these content types, or of one below them: `legal` selects "
        "`legal:contract`, too. `*` stands for any text.",
    )
    attribute: Words | None = Field(
        default=None,
        description="Search only documents with all of these attributes: `name`, `name:value`, `name:a|b`, "
        "`name:>=value`, `name:2023-06`, `name:*text*`.",
    )
    mode: Literal["text", "vision"] | None = Field(
        default=None, description="Search `text`, by words and by meaning, or `vision`, the images of pages."
    )
    relevance_scoring: Literal["none", "scoring_only", "scoring_and_filtering"] | None = Field(
        default=None,
        description="Score results by a model, 0 to 1, and leave out bad ones (`scoring_and_filtering`, the server's "
        "default) or not (`scoring_only`); `none` is fastest, and its scores have no upper bound.",
    )
    include_image: bool | None = Field(
        default=None,
        description="Return the image of each result's page, some 250 KB; without it, images are removed.",
    )
    include_bboxes: bool | None = Field(
        default=None,
        description="Return where on its pages a result stands, in PDF points. Only of PDF, in text mode.",
    )
    extra_body: dict[str, Any] | None = Field(default=None, description="Further fields of the server, sent as is.")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.file_id is not None:
            other = "workspace_id" if self.workspace_id is not None else "tag_id" if self.tag_id is not None else None
            if other is not None:
                raise ValueError(f"file_id and {other} cannot be combined; to drop one for a call, pass {other}=None")
        if self.include_bboxes and self.mode == "vision":
            raise ValueError("include_bboxes needs mode 'text'")
        for name in self.extra_body or ():
            if name == "query" or name in SearchParameters.model_fields:
                raise ValueError(f"extra_body holds {name}, which is an argument itself or is set by the client")
        return self


class SearchParameters(SearchFields, CallParameters):
    """The fields of one request.

    Raises:
        InvalidParameterError: a name is unknown, a value is of a wrong type or out of its range, or fields exclude each
            other.
    """

    max_results: MaxResults = None

    def body(self, query: str) -> bytes:
        """Return the JSON of the request: only what was set, and no nulls.

        Args:
            query: what to search for.

        Raises:
            InvalidParameterError: a field cannot be encoded as JSON.
        """
        names = ["max_results", *(name for name in SearchFields.model_fields if name != "extra_body")]
        fields = {name: value for name in names if (value := getattr(self, name)) is not None}
        return encode_body({"query": query, **fields, **(self.extra_body or {})})


# Replies


@dataclass(frozen=True)
class PageImage:
    """The image of a page. Its `repr` is short, so that it floods neither a prompt nor a log.

    Attributes:
        base64: the image, in base64.
        mime_type: `image/png`, `image/jpeg` or `image/webp`.
    """

    base64: str
    mime_type: str

    def __repr__(self) -> str:
        return f"PageImage({self.mime_type}, {len(self.base64) * 3 // 4000} KB)"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A passage of a document that answers a query.

    Attributes:
        text: the passage; empty if it is the image of a page.
        score: by what the results are ordered, higher is better; 0 to 1 only if `metadata["scores"]` has a `relevance`.
            None if the server sent none.
        id: the id of the passage; None if the server sent none.
        metadata: what the server says about it, without what is null: `score`, `scores` (by signal), `file_id`,
            `filename`, `title`, `mime_type`, `size_bytes`, `page_start` and `page_end` (from 1), `total_pages`,
            `workspace_id`, `workspace` (its name), `tag_ids`, `tags` (their names), `content_types`, `external_id`,
            `external_url`, `external_metadata`, `bboxes`, `warnings`, and what else a server says about the document.
        image: the image of its page, if it was asked for.
        raw: the entry as it arrived, without the image.
    """

    text: str
    score: float | None = None
    id: str | None = None
    metadata: JsonObject = field(default_factory=dict)
    image: PageImage | None = None
    raw: JsonObject = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class SearchResults:
    """The reply to a search.

    Attributes:
        results: the passages, best first.
        warnings: what the server could not do, such as `{"code": "relevance", "reason": "timeout"}`. The first of each
            code is also logged, and the first `MAX_SHARED_WARNINGS` are in the metadata of each result.
        request_id: the id of the HTTP request, if the server sent one.
        latency: seconds from the first request to the end of the reply.
        retries: the number of requests that failed before.
    """

    results: list[SearchResult]
    warnings: list[JsonObject] = field(default_factory=list)
    request_id: str | None = None
    latency: float | None = None
    retries: int = 0


MAX_SHARED_WARNINGS = 100
"""The most warnings of a reply in the metadata of each result: with all, memory would be results times warnings."""


def _read_result(entry: JsonObject, warnings: list[JsonObject], with_image: bool) -> SearchResult:
    raw = {name: value for name, value in entry.items() if name != "image"}
    score, scores = _read_scores(entry)
    content, chunk_id = entry.get("content"), entry.get("chunk_id")
    metadata = {
        **_read_source(_object(entry.get("source"))),
        "score": score,
        "scores": scores or None,
        **_read_workspace(_object(entry.get("workspace"))),
        "bboxes": entry.get("bboxes"),
        "warnings": [*warnings, *_read_warnings(entry.get("warnings"))] or None,
    }
    return SearchResult(
        text=content if isinstance(content, str) else "",
        score=score,
        id=None if chunk_id is None else str(chunk_id),
        metadata={name: value for name, value in metadata.items() if value is not None},
        image=_read_image(entry.get("image")) if with_image else None,
        raw=raw,
    )


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _read_scores(entry: JsonObject) -> tuple[float | None, dict[str, float]]:
    """Read what results are ordered by, and the score of each signal.

    Until the middle of 2026, `score` was an object with a `retrieval` and a `reranking`.
    """
    score = entry.get("score")
    signals = {**_object(score), **_object(entry.get("scores"))}
    scores = {name: number for name, value in signals.items() if (number := _read_number(value)) is not None}
    ordering = [_read_number(score), *(scores.get(name) for name in ("reranking", "relevance", "retrieval"))]
    return next((number for number in ordering if number is not None), None), scores


def _read_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # of an int with hundreds of digits
        return None
    return number if isfinite(number) else None


def _read_source(source: JsonObject) -> JsonObject:
    """Read what is known of the document."""
    external = _object(source.get("external_metadata"))
    tags = source.get("tags")
    tags = [_object(tag) for tag in tags] if isinstance(tags, list) else []
    read = {
        "tag_ids": [tag["id"] for tag in tags if tag.get("id") is not None] or None,
        "tags": [tag["name"] for tag in tags if tag.get("name") is not None] or None,
        "external_id": external.get("external_id"),
        "external_url": external.get("external_url"),
        "external_metadata": external.get("additional_metadata") or None,
        "content_types": source.get("content_types") or None,
    }
    return {**source, **read}


def _read_workspace(workspace: JsonObject) -> JsonObject:
    return {"workspace_id": workspace.get("id"), "workspace": workspace.get("name")}


_MIME_TYPES = {"/9j/": "image/jpeg", "UklGR": "image/webp"}
"""How images begin in base64; all others are PNG, as Paradigm writes them."""


def _read_image(image: object) -> PageImage | None:
    content = _object(image).get("b64_content")
    if not isinstance(content, str) or not content:  # empty if the page has no image
        return None
    kind = next((kind for start, kind in _MIME_TYPES.items() if content.startswith(start)), "image/png")
    return PageImage(content, kind)


def _read_warnings(warnings: object) -> list[JsonObject]:
    entries = warnings if isinstance(warnings, list) else []
    return [entry if isinstance(entry, dict) else {"code": str(entry)} for entry in entries]


# The call


class SearchCall(Call[SearchResults]):
    """A call that searches.

    Args:
        query: what to search for.
        parameters: the endpoint's fields.

    Raises:
        InvalidParameterError: the query is not a text, or empty.
    """

    path = "search"
    version = "v3"
    hints: ClassVar[Mapping[int, str]] = {
        403: "The key may read nothing of what workspace_id, tag_id and file_id select.",
        404: "Search needs version 3 of Paradigm's API (/api/v3), which this host may lack: ask its administrator, or "
        "check base_url (or PARADIGM_BASE_URL).",
    }

    def __init__(self, query: str, parameters: SearchParameters) -> None:
        if not isinstance(query, str):
            raise InvalidParameterError(f"query must be a string, not {type(query).__name__}")
        if not query.strip():
            raise InvalidParameterError("query is empty")
        self.query = query
        self.prompts = (query,)
        self.parameters = parameters
        self.extra_headers = parameters.extra_headers
        if "timeout" in parameters.model_fields_set:
            self.timeout = parameters.timeout

    def encode(self) -> bytes:
        """Return the body; see `Request.encode`."""
        return self.parameters.body(self.query)

    def read(self, body: object, origin: Origin) -> SearchResults:
        """Read the results; see `Call.read`."""
        entries = body.get("results") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(entries, list):
            raise unexpected_response(body, origin)
        if not all(isinstance(entry, dict) for entry in entries):
            raise unexpected_response(body, origin)
        warnings = _read_warnings(body.get("warnings"))
        shared = warnings[:MAX_SHARED_WARNINGS]
        self._log(shared, origin.redaction)
        results = [_read_result(entry, shared, bool(self.parameters.include_image)) for entry in entries]
        return SearchResults(results, warnings, origin.request_id, self.meter.end(None), self.retries)

    def _log(self, warnings: Iterable[JsonObject], redaction: Redaction) -> None:
        for warning in warnings:
            code = redaction.words(str(warning.get("code")))
            reason = redaction.words(str(warning.get("reason") or "no reason given"))
            message = "%s searched without one of its signals: %s (%s)."
            self.policy.warn_once(message, self.policy.host, code, reason, key=code)  # reasons may hold an id
