"""LlamaIndex's metadata filters as fields of a search. What the server cannot express is refused, not left out."""

from __future__ import annotations

from typing import Any

from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from paradigm_transport import InvalidParameterError

IDS = ("workspace_id", "tag_id", "file_id")
SELECTING = (*IDS, "content_type")
"""Fields whose values are alternatives."""

NOT_SEARCHABLE = frozenset(
    ("bboxes", "chunk_id", "content_types", "external_id", "external_metadata", "external_url", "file_name",
     "filename", "mime_type", "page_end", "page_label", "page_start", "score", "scores", "size_bytes", "tag_ids",
     "tags", "title", "total_pages", "warnings", "workspace")
)  # fmt: skip
"""Metadata of results by which the server cannot select; as attributes, they would find nothing."""

_ANY_OF = ("==", "in", "any", "contains")
_COMPARISONS = (">", ">=", "<", "<=")

Selection = dict[str, list[Any]]
"""Values by the field of the search that takes them."""


def search_fields(filters: MetadataFilters) -> Selection:
    """Return the fields of a search that select what filters select.

    `workspace_id`, `tag_id`, `file_id` and `content_type` are the endpoint's own; any other key is the name of an
    attribute.

    Args:
        filters: the filters.

    Raises:
        InvalidParameterError: the server has no such selection; names the filter.
    """
    if filters.condition == FilterCondition.OR and len(filters.filters) > 1:
        return _select(_any_of(filters))
    if filters.condition not in (FilterCondition.AND, FilterCondition.OR, None):
        raise InvalidParameterError(f"filters: the search has no {filters.condition.value!r}")
    selection: Selection = {}
    for each in filters.filters:
        _add(selection, search_fields(each) if isinstance(each, MetadataFilters) else _select(each))
    return selection


def _any_of(filters: MetadataFilters) -> MetadataFilter:
    """Return alternatives as one filter; the server knows those of one key only."""
    plain = [each for each in filters.filters if isinstance(each, MetadataFilter) and each.operator.value in _ANY_OF]
    if len(plain) < len(filters.filters) or len({each.key for each in plain}) > 1:
        raise InvalidParameterError("filters: the search takes 'or' only between values of one key")
    alternatives = [value for each in plain for value in _values(each)]
    return MetadataFilter.model_construct(key=plain[0].key, value=alternatives, operator=FilterOperator.IN)


def _add(selection: Selection, more: Selection) -> None:
    """Narrow a selection further."""
    for name, values in more.items():
        if name == "attribute":
            selection[name] = [*selection.get(name, []), *values]
        elif selection.setdefault(name, values) != values:
            raise InvalidParameterError(f"filters: {name} is filtered twice, and the search cannot combine them")


def _select(each: MetadataFilter) -> Selection:
    key, operator = each.key, each.operator.value
    if key in NOT_SEARCHABLE:
        raise InvalidParameterError(
            f"filters: the search cannot select by {key}; it can by {', '.join(SELECTING)} and by attributes"
        )
    if key in SELECTING:
        if operator not in _ANY_OF:
            raise _unknown(each)
        return {key: _values(each)}
    return {"attribute": _attributes(each)}


def _attributes(each: MetadataFilter) -> list[str]:
    """Return the entries of `attribute` for a filter, all of which must hold."""
    values, operator = [_text(value, each.key) for value in _values(each)], each.operator.value
    if operator in _ANY_OF:
        return [f"{each.key}:{'|'.join(values)}"]
    if operator == "all":
        return [f"{each.key}:{value}" for value in values]
    if operator in _COMPARISONS and len(values) == 1:
        return [f"{each.key}:{operator}{values[0]}"]
    if operator == "text_match_insensitive":
        return [f"{each.key}:*{value}*" for value in values]
    raise _unknown(each)


def _values(each: MetadataFilter) -> list[Any]:
    values = each.value if isinstance(each.value, list) else [each.value]
    if not values or None in values:
        raise InvalidParameterError(f"filters: {each.key} has no value")
    return values


def _text(value: object, key: str) -> str:
    text = str(value)
    if any(mark in text for mark in "|,*") or text.startswith((">", "<")):
        raise InvalidParameterError(f"filters: a value of {key} holds one of | , * > <, which mean more to the search")
    return text


def _unknown(each: MetadataFilter) -> InvalidParameterError:
    return InvalidParameterError(f"filters: the search has no {each.operator.value!r} for {each.key}")
