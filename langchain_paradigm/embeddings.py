"""`ParadigmEmbeddings` for LangChain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from langchain_core.embeddings import Embeddings
from pydantic import Field

from langchain_paradigm._component import LangChainComponent
from langchain_paradigm._errors import as_langchain
from paradigm_transport import EmbeddingParameters
from paradigm_transport import Embeddings as Reply
from paradigm_transport.embedder import DOCUMENT, QUERY, EmbedderFields, EmbeddingJob, aembed_many, embed_many
from paradigm_transport.endpoints.embeddings import EmbeddingCall


class ParadigmEmbeddings(EmbedderFields, LangChainComponent, Embeddings):
    """Embeddings of LightOn's Paradigm.

    The endpoint takes one text a request: many are sent concurrently, at most `max_concurrency` at once.

    Setup:
        ```bash
        pip install 'paradigm-llm[langchain]'
        export PARADIGM_API_KEY=…
        ```

    Key arguments:
        - `model`: the model's name, as the administrator set it up.
        - `query_prefix`, `document_prefix`: what the model was trained to see in front of texts; none by default. E5
          (`multilingual-e5-large`) needs `query: ` and `passage: `.
        - `dimensions`: how many numbers an embedding has, if the model can choose.
        - `batch_inputs`: the most texts of a request, 1 by default. A server that refuses lists is sent one text a
          request.
        - `api_key`, `base_url`: from PARADIGM_API_KEY and PARADIGM_BASE_URL if they are not given.

    Instantiate:
        ```python
        from langchain_paradigm import ParadigmEmbeddings

        embeddings = ParadigmEmbeddings(
            model="multilingual-e5-large", query_prefix="query: ", document_prefix="passage: "
        )
        ```

    Embed:
        ```python
        vectors = embeddings.embed_documents(["Paris is the capital of France.", "The sea is salty."])
        vector = embeddings.embed_query("What is the capital of France?")
        ```

    Async:
        ```python
        await embeddings.aembed_query("What is the capital of France?")
        ```

    Search:
        ```python
        from langchain_core.vectorstores import InMemoryVectorStore

        store = InMemoryVectorStore.from_texts(["Paris is the capital of France.", "The sea is salty."], embeddings)
        store.as_retriever(search_kwargs={"k": 1}).invoke("What is the capital of France?")
        ```

    Raises:
        InvalidParameterError: an argument is unknown, missing, of a wrong type or out of its range.
    """

    show_progress: bool = Field(default=False, description="Show a progress bar while many texts are embedded.")

    _argument_aliases: ClassVar[Mapping[str, str]] = {"model_name": "model"}

    @property
    def model_name(self) -> str:
        """Another name of `model`."""
        return self.model

    def embed_documents(self, texts: list[str], **kwargs: object) -> list[list[float]]:
        """Embed texts, with `document_prefix` in front of each; concurrently and in order.

        Args:
            texts: the texts.
            kwargs: the endpoint's fields; they win over the constructor's.

        Returns:
            An embedding for each text.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.embed`; a refusal of a text names its position. The
                first error stops the rest.
        """
        return self._embed(texts, self.document_prefix, DOCUMENT, kwargs)

    async def aembed_documents(self, texts: list[str], **kwargs: object) -> list[list[float]]:
        """As `embed_documents`."""
        return await self._aembed(texts, self.document_prefix, DOCUMENT, kwargs)

    def embed_query(self, text: str, **kwargs: object) -> list[float]:
        """Embed a query, with `query_prefix` in front of it.

        Args:
            text: the query.
            kwargs: as those of `embed_documents`.

        Returns:
            The embedding.

        Raises:
            ParadigmError: see `paradigm_transport.ParadigmClient.embed`.
        """
        return self._embed([text], self.query_prefix, QUERY, kwargs)[0]

    async def aembed_query(self, text: str, **kwargs: object) -> list[float]:
        """As `embed_query`."""
        return (await self._aembed([text], self.query_prefix, QUERY, kwargs))[0]

    def _embed(self, texts: list[str], prefix: str, label: str, fields: Mapping[str, object]) -> list[list[float]]:
        client = self.client

        def send(call: EmbeddingCall) -> Reply:
            self._acquire()
            return client.send(call)

        with as_langchain:
            job = self._job(texts, prefix, label, fields)
            return embed_many(send, job, client.settings.host, self.max_concurrency, self.show_progress).vectors

    async def _aembed(
        self, texts: list[str], prefix: str, label: str, fields: Mapping[str, object]
    ) -> list[list[float]]:
        client = self.async_client

        async def send(call: EmbeddingCall) -> Reply:
            await self._aacquire()
            return await client.send(call)

        with as_langchain:
            job = self._job(texts, prefix, label, fields)
            many = aembed_many(send, job, client.settings.host, self.max_concurrency, self.show_progress)
            return (await many).vectors

    def _job(self, texts: list[str], prefix: str, label: str, fields: Mapping[str, object]) -> EmbeddingJob:
        parameters = EmbeddingParameters.of(self, fields)
        place = (self.base_url, parameters.model)
        return EmbeddingJob(texts, prefix, label, parameters, self.batch_inputs, place, self._list_support)
