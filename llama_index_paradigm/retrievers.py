"""`ParadigmRetriever` for LlamaIndex."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from llama_index.core.schema import (
    ImageNode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    QueryType,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores import MetadataFilters
from pydantic import Field, model_validator
from typing_extensions import Self

from llama_index_paradigm._compat import RetrieverState, without_span
from llama_index_paradigm._filters import search_fields
from paradigm_transport import InvalidParameterError, SearchParameters, SearchResult
from paradigm_transport.access import Connected
from paradigm_transport.endpoints.search import MaxResults, SearchFields

SHOWN_TO_MODELS = ("file_name", "page_label")
"""What a prompt holds of the metadata, unless the user chooses otherwise."""


OF_THE_QUERY = ("score", "scores", "warnings")
"""What the metadata say of the search, and not of the passage."""


class _Passage(TextNode):
    """A passage whose hash is the same whatever the query: fusion knows by it what several queries find."""

    @property
    def hash(self) -> str:
        metadata = {name: value for name, value in self.metadata.items() if name not in OF_THE_QUERY}
        chunk_id = self.node_id if "id_" in self.model_fields_set else None  # which the server need not send
        return TextNode(text=self.text, metadata={**metadata, "chunk_id": chunk_id}).hash


class ParadigmRetriever(SearchFields, Connected, RetrieverState):
    """A retriever over the documents that LightOn's Paradigm holds.

    It uses Paradigm's own search: by words and by meaning, reranked, and only in what the key may read.

    Setup:
        ```bash
        pip install 'paradigm-llm[llama-index]'
        export PARADIGM_API_KEY=…
        ```

    Key arguments:
        - `similarity_top_k`: the most passages to return, 10 by default.
        - `workspace_id`, `tag_id`, `file_id`: search only these, each an id or a list of ids.
        - `content_type`, `attribute`: search only documents of these content types, with these attributes.
        - `filters`: LlamaIndex's `MetadataFilters`, over the same five names and those of attributes.
        - `relevance_scoring`: `none`, `scoring_only` or `scoring_and_filtering` (the server's default).
        - `mode`: `text` or `vision`.
        - `api_key`, `base_url` (or `api_base`): PARADIGM_API_KEY and PARADIGM_BASE_URL by default.

    Instantiate:
        ```python
        from llama_index_paradigm import ParadigmRetriever

        retriever = ParadigmRetriever(similarity_top_k=4)
        ```

    Retrieve:
        ```python
        for node in retriever.retrieve("How long is parental leave?"):
            print(node.score, node.metadata["file_name"], node.metadata.get("page_label"), node.text)
        ```

    All but the access can be given for a call, too: `retriever.retrieve(query, similarity_top_k=2, file_id=7)`; None
    drops what the constructor was given.

    Async:
        ```python
        nodes = await retriever.aretrieve("How long is parental leave?")
        ```

    Answer:
        ```python
        from llama_index.core.query_engine import CitationQueryEngine

        from llama_index_paradigm import ParadigmLLM

        llm = ParadigmLLM(model="alfred-4.2", chat_template="chatml", max_tokens=200)
        engine = CitationQueryEngine(retriever, llm=llm)
        print(engine.query("How long is parental leave?"))
        ```

    A node has the passage as its text, which is empty in `vision` mode, and as its metadata what
    `paradigm_transport.SearchResult` lists, `file_name` and `page_label`; prompts hold only the last two. Its source is
    the file. With `include_image` it is an `ImageNode`.

    Raises:
        InvalidParameterError: an argument is unknown, missing, of a wrong type or out of its range, arguments exclude
            each other, or the search has nothing like a filter.
    """

    similarity_top_k: MaxResults = 10
    filters: MetadataFilters | None = Field(
        default=None,
        description="Filters over `workspace_id`, `tag_id`, `file_id`, `content_type` and names of attributes. A "
        "content type selects those below it, too. What the search cannot express is refused.",
    )

    _argument_aliases: ClassVar[Mapping[str, str]] = {"api_base": "base_url", "max_results": "similarity_top_k"}
    _process_bound: ClassVar[tuple[str, ...]] = ("callback_manager", "object_map")

    @model_validator(mode="after")
    def _check_filters(self) -> Self:
        self._parameters({})
        return self

    @without_span
    def retrieve(self, str_or_query_bundle: QueryType, **kwargs: Any) -> list[NodeWithScore]:
        """Search for passages.

        Args:
            str_or_query_bundle: what to search for.
            kwargs: arguments of this call, which win over the constructor's; also `timeout` and `extra_headers`.

        Returns:
            The passages, best first.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.search`.
        """
        return super().retrieve(_with_options(str_or_query_bundle, kwargs))

    @without_span
    async def aretrieve(self, str_or_query_bundle: QueryType, **kwargs: Any) -> list[NodeWithScore]:
        """Search for passages; as `retrieve`."""
        return await super().aretrieve(_with_options(str_or_query_bundle, kwargs))

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        parameters = self._parameters(_options_of(query_bundle))
        return list(map(_node, self.client.search(query_bundle.query_str, parameters).results))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        parameters = self._parameters(_options_of(query_bundle))
        return list(map(_node, (await self.async_client.search(query_bundle.query_str, parameters)).results))

    def _parameters(self, options: Mapping[str, Any]) -> SearchParameters:
        chosen = {"similarity_top_k": self.similarity_top_k, "filters": self.filters, **options}
        chosen["max_results"] = options.get("max_results", chosen.pop("similarity_top_k"))
        filters = chosen.pop("filters")
        parameters = SearchParameters.of(self, chosen)
        if filters is None:
            return parameters
        selected = search_fields(filters)
        for name in selected:
            given = getattr(parameters, name)
            if given is not None and name != "attribute":
                raise InvalidParameterError(f"{name} is given both as an argument and in filters: pass one of them")
        attributes = [*(parameters.attribute or ()), *selected.get("attribute", ())]
        return SearchParameters.of(parameters, {**selected, "attribute": attributes or None})


@dataclass
class _Search(QueryBundle):
    """A query with the arguments of its call, which LlamaIndex hands on to the private methods."""

    options: dict[str, Any] = field(default_factory=dict)


def _with_options(query: QueryType, options: dict[str, Any]) -> QueryType:
    if not options:
        return query
    bundle = QueryBundle(query) if isinstance(query, str) else query
    return _Search(bundle.query_str, bundle.image_path, bundle.custom_embedding_strs, bundle.embedding, options)


def _options_of(bundle: QueryBundle) -> dict[str, Any]:
    return bundle.options if isinstance(bundle, _Search) else {}


def _node(result: SearchResult) -> NodeWithScore:
    metadata = {**result.metadata, "file_name": result.metadata.get("filename"), "page_label": _page_label(result)}
    metadata = {name: value for name, value in metadata.items() if value is not None}
    fields: dict[str, Any] = {
        "text": result.text,
        "metadata": metadata,
        "excluded_llm_metadata_keys": [name for name in metadata if name not in SHOWN_TO_MODELS],
        "excluded_embed_metadata_keys": list(metadata),
        **({"id_": result.id} if result.id is not None else {}),
    }
    image = result.image
    node = ImageNode(image=image.base64, image_mimetype=image.mime_type, **fields) if image else _Passage(**fields)
    if "file_id" in metadata:
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=str(metadata["file_id"]))
    return NodeWithScore(node=node, score=result.score)


def _page_label(result: SearchResult) -> str | None:
    """Return the pages of a passage as LlamaIndex's readers write them: `3`, or `3-4`."""
    first, last = result.metadata.get("page_start"), result.metadata.get("page_end")
    if first is None or last in (None, first):
        return None if first is None else str(first)
    return f"{first}-{last}"
