"""`ParadigmRetriever` for LangChain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from langchain_paradigm._batches import Configs, LimitedBatches
from langchain_paradigm._component import LangChainComponent
from langchain_paradigm._errors import as_langchain
from paradigm_transport import SearchParameters, SearchResult
from paradigm_transport.endpoints.search import MaxResults, SearchFields


class ParadigmRetriever(SearchFields, LangChainComponent, LimitedBatches[str, list[Document]], BaseRetriever):
    """A retriever over the documents that LightOn's Paradigm holds.

    It uses Paradigm's own search: by words and by meaning, reranked, and only in what the key may read.

    Setup:
        ```bash
        pip install 'paradigm-llm[langchain]'
        export PARADIGM_API_KEY=…
        ```

    Key arguments:
        - `k`: the most passages to return, 10 by default.
        - `workspace_id`, `tag_id`, `file_id`: search only these, each an id or a list of ids.
        - `content_type`, `attribute`: search only documents of these content types, with these attributes.
        - `relevance_scoring`: `none`, `scoring_only` or `scoring_and_filtering` (the server's default).
        - `mode`: `text` or `vision`.
        - `api_key`, `base_url`: from PARADIGM_API_KEY and PARADIGM_BASE_URL if they are not given.

    Instantiate:
        ```python
        from langchain_paradigm import ParadigmRetriever

        retriever = ParadigmRetriever(k=4)
        ```

    Invoke:
        ```python
        for document in retriever.invoke("How long is parental leave?"):
            print(document.metadata["filename"], document.metadata.get("page_start"), document.page_content)
        ```

    All but the access can be given for a call, too: `retriever.invoke(query, k=2, file_id=7)`; None drops what the
    constructor was given.

    Async:
        ```python
        documents = await retriever.ainvoke("How long is parental leave?")
        ```

    As a tool of an agent:
        ```python
        from langchain_core.tools import create_retriever_tool

        tool = create_retriever_tool(retriever, "search_documents", "Searches the company's documents.")
        ```

    A document has the passage as its `page_content`, which is empty in `vision` mode, and as its `metadata` what
    `paradigm_transport.SearchResult` lists, `source` (the file's name) and, with `include_image`, `image` (a
    `paradigm_transport.PageImage`).

    Raises:
        InvalidParameterError: an argument is unknown, missing, of a wrong type or out of its range, or arguments
            exclude each other.
    """

    k: MaxResults = 10

    _argument_aliases: ClassVar[Mapping[str, str]] = {"max_results": "k"}

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        with as_langchain:
            parameters = self._parameters(kwargs)
            self._acquire()
            return list(map(_document, self.client.search(query, parameters).results))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        with as_langchain:
            parameters = self._parameters(kwargs)
            await self._aacquire()
            return list(map(_document, (await self.async_client.search(query, parameters)).results))

    def batch(
        self, inputs: list[str], config: Configs = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> list[list[Document]]:
        """Search for many queries, each in its own run, concurrently and in order.

        Args:
            inputs: the queries.
            config: LangChain's config for all, or one for each; without `max_concurrency` in the first of them, the
                retriever's own applies.
            return_exceptions: return an error in the place of its documents; without, the first error is raised.
            kwargs: arguments of these calls, which win over the constructor's.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.search`.
        """
        configs = self._limited(config, len(inputs))
        return super().batch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self, inputs: list[str], config: Configs = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> list[list[Document]]:
        """As `batch`."""
        configs = self._limited(config, len(inputs))
        return await super().abatch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

    def _parameters(self, options: Mapping[str, Any]) -> SearchParameters:
        named = {"max_results" if name == "k" else name: value for name, value in options.items()}
        return SearchParameters.of(self, {"max_results": self.k, **named})


def _document(result: SearchResult) -> Document:
    known = result.metadata
    added = {"source": known.get("filename") or known.get("title"), "image": result.image, "chunk_id": result.id}
    metadata = known | {name: value for name, value in added.items() if value is not None}
    return Document(page_content=result.text, metadata=metadata, id=result.id)
