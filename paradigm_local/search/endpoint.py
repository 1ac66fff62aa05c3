"""`POST /api/v3/search`: a request in, a reply or a refusal in words out."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic.main import IncEx
from starlette.responses import Response

from paradigm_local.search import contract
from paradigm_local.search.contract import FieldError, SearchError, SearchReply, SearchRequest
from paradigm_local.search.filters import has_attributes, has_content_type
from paradigm_local.search.folder import File

if TYPE_CHECKING:
    from paradigm_local.search.index import Hit, Index

Fields = dict[str, list[FieldError]]

_PASSAGES = uuid.UUID("5b0a7c52-3d4e-4b7b-9a63-0d6f5a1f7a52")
"""The name space of the ids of passages: the same passage of the same file has the same id."""


def answer(body: bytes, index: Index | None) -> Response:
    """Answer a request.

    Args:
        body: the JSON of the request.
        index: the index; None without documents.
    """
    if index is None:
        return _refusal(404, "not_found", "This server has no documents: start it with --documents FOLDER.")
    try:
        request = SearchRequest.model_validate_json(body)
    except ValidationError as error:
        return _invalid(_by_field(error))
    contradictions = {name: [FieldError(error="invalid", detail=why)] for name, why in request.contradictions()}
    if contradictions:
        return _invalid(contradictions)
    if not any(_is_selected(document.file, request) for document in index.documents):
        return _refusal(403, "permission_denied", "No document has one of these ids.")
    hits = index.search(request.query, request.max_results, lambda file: _is_wanted(file, request))
    results = [_result(hit, request) for hit in hits]
    reply = SearchReply(results=results, warnings=_warnings(request) or None)
    return Response(reply.model_dump_json(exclude=_absent(reply, request)), media_type="application/json")


def _is_selected(file: File, request: SearchRequest) -> bool:
    """Return whether a file is among those that ids select."""
    return (
        (request.workspace_id is None or file.workspace_id in request.workspace_id)
        and (request.file_id is None or file.id in request.file_id)
        and (request.tag_id is None or not set(file.tag_ids).isdisjoint(request.tag_id))
    )


def _is_wanted(file: File, request: SearchRequest) -> bool:
    return (
        _is_selected(file, request)
        and (request.content_type is None or has_content_type(file.description, request.content_type))
        and (request.attribute is None or has_attributes(file.description, request.attribute))
    )


def _result(hit: Hit, request: SearchRequest) -> contract.Result:
    file, passage = hit.document.file, hit.passage
    return contract.Result(
        chunk_id=str(uuid.uuid5(_PASSAGES, f"{file.name}\n{hit.place}\n{passage.text}")),
        content=passage.text,
        score=hit.score,
        scores=contract.Scores(text=hit.text, keyword=hit.keyword),
        image=contract.Image() if request.include_image else None,
        source=_source(hit),
        workspace=contract.Workspace(id=file.workspace_id, name=file.workspace),
        bboxes=[] if request.include_bboxes else None,
    )


def _source(hit: Hit) -> contract.Source:
    file, stored, page = hit.document.file, hit.document.stored, hit.passage.page
    described = file.description
    return contract.Source(
        file_id=file.id,
        filename=file.path.name,
        title=described.title or stored.title,
        mime_type=file.kind,
        size_bytes=hit.document.size,
        page_start=page,
        page_end=page,
        total_pages=stored.total_pages,
        tags=[contract.Tag(id=number, name=name) for number, name in zip(file.tag_ids, described.tags, strict=True)],
        content_types=_content_types(file),
        external_metadata=_external(file),
    )


def _content_types(file: File) -> list[contract.ContentType]:
    attributes = [{"name": name, "value": value} for name, value in file.description.attributes.items()]
    return [
        contract.ContentType(path=path, label=path.rpartition(":")[2], attributes=attributes)
        for path in file.description.content_types
    ]


def _external(file: File) -> contract.ExternalMetadata | None:
    described = file.description
    if described.external_id is None:
        return None
    return contract.ExternalMetadata(
        external_id=described.external_id,
        external_url=described.external_url,
        additional_metadata=described.external_metadata,
    )


def _warnings(request: SearchRequest) -> list[contract.MissingSignal]:
    """Return what was asked for and is missing here."""
    missing = [
        ("relevance", request.relevance_scoring != "none"),
        ("vision", request.include_image),
    ]
    return [contract.MissingSignal(code=signal, reason="model_not_found") for signal, is_asked in missing if is_asked]


def _absent(reply: SearchReply, request: SearchRequest) -> IncEx:
    """Return the keys that a reply does not have, since they were not asked for."""
    asked = {"image": request.include_image, "bboxes": request.include_bboxes}
    of_each = {name for name, is_asked in asked.items() if not is_asked}
    absent: dict[str, IncEx | bool] = {"results": {"__all__": of_each}}
    if reply.warnings is None:
        absent["warnings"] = True
    return absent


def _by_field(error: ValidationError) -> Fields:
    fields: Fields = {}
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else "non_field_errors"
        detail = FieldError(error=problem["type"], detail=f"{problem['msg']}.")
        fields.setdefault(name, []).append(detail)
    return fields


def _invalid(fields: Fields) -> Response:
    return _refusal(422, "validation_error", "Some fields are wrong.", fields)


def _refusal(status: int, error: str, detail: str, fields: Fields | None = None) -> Response:
    body = SearchError(id=uuid.uuid4().hex, code=status, error=error, detail=detail, fields=fields)
    content = body.model_dump_json(exclude=None if fields else {"fields"})
    return Response(content, status, media_type="application/json")
