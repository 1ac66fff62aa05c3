"""`ParadigmEmbedding` for LlamaIndex."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from itertools import count
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events import BaseEvent
from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import Self

from llama_index_paradigm._compat import acquired_for_batch, without_class_name, without_span
from paradigm_transport import EmbeddingParameters, Embeddings
from paradigm_transport.access import Connected, RateLimitHooks
from paradigm_transport.embedder import (
    DOCUMENT,
    QUERY,
    EmbeddedTexts,
    EmbedderFields,
    EmbeddingJob,
    aembed_many,
    embed_many,
)
from paradigm_transport.endpoints.embeddings import EmbeddingCall

_dispatcher = get_dispatcher(__name__)


class EmbeddingUsageEvent(BaseEvent):
    """The tokens of texts that were embedded, as the server counted them; in the span of the method that did.

    Attributes:
        model: the model that embedded them.
        prompt_tokens: the tokens of all texts, with their prefixes.
        total_tokens: the same number, under the name by which some handlers look for it.
    """

    model: str
    prompt_tokens: int
    total_tokens: int

    @classmethod
    def class_name(cls) -> str:
        """The name of the event."""
        return "EmbeddingUsageEvent"


class ParadigmEmbedding(EmbedderFields, Connected, BaseEmbedding):
    """Embeddings of LightOn's Paradigm.

    The endpoint takes one text a request: many are sent concurrently, at most `max_concurrency` at once.

    Setup:
        ```bash
        pip install 'paradigm-llm[llama-index]'
        export PARADIGM_API_KEY=…
        ```

    Key arguments:
        - `model` (or `model_name`): the model's name, as the administrator set it up.
        - `query_prefix`, `document_prefix`: what the model was trained to see in front of texts; none by default. E5
          (`multilingual-e5-large`) needs `query: ` and `passage: `.
        - `dimensions`: how many numbers an embedding has, if the model can choose.
        - `batch_inputs`: the most texts of a request, 1 by default. A server that refuses lists is sent one text a
          request.
        - `embed_batch_size`: texts that are embedded before the next event and step of progress, 512 by default.
        - `api_key`, `base_url` (or `api_base`): PARADIGM_API_KEY and PARADIGM_BASE_URL by default.

    Instantiate:
        ```python
        from llama_index_paradigm import ParadigmEmbedding

        embed_model = ParadigmEmbedding(
            model="multilingual-e5-large", query_prefix="query: ", document_prefix="passage: "
        )
        ```

    Embed:
        ```python
        vectors = embed_model.get_text_embedding_batch(["Paris is the capital of France.", "The sea is salty."])
        vector = embed_model.get_query_embedding("What is the capital of France?")
        ```

    Async:
        ```python
        await embed_model.aget_query_embedding("What is the capital of France?")
        ```

    Search:
        ```python
        from llama_index.core import Document, VectorStoreIndex

        documents = [Document(text="Paris is the capital of France."), Document(text="The sea is salty.")]
        index = VectorStoreIndex.from_documents(documents, embed_model=embed_model)
        index.as_retriever(similarity_top_k=1).retrieve("What is the capital of France?")
        ```

    Raises:
        InvalidParameterError: an argument is unknown, missing, of a wrong type or out of its range.
    """

    model_name: str = Field(default="", description="Another name of `model`.")
    embed_batch_size: int = Field(
        default=512,
        gt=0,
        le=2048,
        description="How many texts are embedded before the next event and step of progress, 1 to 2048.",
    )

    _argument_aliases: ClassVar[Mapping[str, str]] = {"api_base": "base_url", "model_name": "model"}
    _process_bound: ClassVar[tuple[str, ...]] = ("rate_limiter", "callback_manager", "embeddings_cache")

    _gates: _Gates = PrivateAttr(default_factory=lambda: _Gates())

    @classmethod
    def _named(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        if "model" in values and values["model"] == values.get("model_name"):  # `to_dict` writes both
            values = {name: value for name, value in values.items() if name != "model_name"}
        return super()._named(without_class_name(cls, values))

    @model_validator(mode="after")
    def _set_model_name(self) -> Self:
        self.model_name = self.model
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in ("model", "model_name"):
            twin = "model_name" if name == "model" else "model"
            super().__setattr__(twin, value)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "ParadigmEmbedding"

    @property
    def _rate_limit_hooks(self) -> RateLimitHooks | None:
        limiter = getattr(self, "rate_limiter", None)  # which the oldest LlamaIndex does not have
        return RateLimitHooks(limiter.acquire, limiter.async_acquire) if limiter is not None else None

    # What LlamaIndex calls, inside its events, cache and rate limiter

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embed([query], self.query_prefix, QUERY)[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return (await self._aembed([query], self.query_prefix, QUERY))[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._embed([text], self.document_prefix, "the text")[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aembed([text], self.document_prefix, "the text"))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embed(texts, self.document_prefix, f"{DOCUMENT} of the batch")

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        batches = _batches.get()
        if batches is not None:
            batches.join()
        return await self._aembed(texts, self.document_prefix, f"{DOCUMENT} of the batch", acquired_for_batch(self))

    @without_span
    async def aget_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: Any
    ) -> list[list[float]]:
        """Embed many texts, in batches of `embed_batch_size` that run concurrently.

        Args:
            texts: the texts.
            show_progress: show a progress bar, which needs tqdm.
            kwargs: as LlamaIndex's method takes them.

        Returns:
            The vectors, in the order of the texts.

        Raises:
            ParadigmError: of the first batch that fails; the others are cancelled.
        """
        batches = _Batches()
        token = _batches.set(batches)
        try:
            return await super().aget_text_embedding_batch(texts, show_progress, **kwargs)
        except BaseException:  # LlamaIndex lets the others go on
            await batches.cancel()
            raise
        finally:
            _batches.reset(token)

    # One batch

    def _embed(self, texts: Sequence[str], prefix: str, label: str) -> list[list[float]]:
        client, hooks, turns = self.client, self._rate_limit_hooks, count()

        def send(call: EmbeddingCall) -> Embeddings:
            if hooks is not None and next(turns) > 0:  # the first was LlamaIndex's
                hooks.acquire()
            return client.send(call)

        job, limit = self._job(texts, prefix, label), self.max_concurrency
        return self._report(embed_many(send, job, client.settings.host, limit))

    async def _aembed(self, texts: Sequence[str], prefix: str, label: str, acquired: int = 1) -> list[list[float]]:
        client, hooks, turns = self.async_client, self._rate_limit_hooks, count()
        gate = self._gates.of_running_loop(self.max_concurrency)  # LlamaIndex starts all batches at once

        async def send(call: EmbeddingCall) -> Embeddings:
            async with gate:
                if hooks is not None and next(turns) >= acquired:
                    await hooks.aacquire()
                return await client.send(call)

        job, limit = self._job(texts, prefix, label), self.max_concurrency
        return self._report(await aembed_many(send, job, client.settings.host, limit))

    def _job(self, texts: Sequence[str], prefix: str, label: str) -> EmbeddingJob:
        place = (self.base_url, self.model)
        parameters = EmbeddingParameters.of(self)
        return EmbeddingJob(texts, prefix, label, parameters, self.batch_inputs, place, self._list_support)

    def _report(self, embedded: EmbeddedTexts) -> list[list[float]]:
        usage = embedded.usage
        if usage is not None:
            tokens = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens}
            _dispatcher.event(EmbeddingUsageEvent(model=self.model, **tokens))
        return embedded.vectors


class _Batches:
    """The tasks of the batches of one call."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._are_cancelled = False

    def join(self) -> None:
        """Add the task that is running; end it if the others have been cancelled."""
        if self._are_cancelled:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)

    async def cancel(self) -> None:
        """Cancel the tasks, and wait for their end."""
        self._are_cancelled = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


_batches: ContextVar[_Batches | None] = ContextVar("paradigm_batches", default=None)


class _Gates:
    """Bounds the requests in flight of all batches together: a semaphore for each event loop. Copies begin anew."""

    def __init__(self) -> None:
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[int, asyncio.Semaphore]] = WeakKeyDictionary()

    def of_running_loop(self, limit: int) -> asyncio.Semaphore:
        """Return the semaphore of the running event loop."""
        loop = asyncio.get_running_loop()
        known = self._by_loop.get(loop)
        if known is None or known[0] != limit:
            known = self._by_loop[loop] = (limit, asyncio.Semaphore(limit))
        return known[1]

    def __reduce__(self) -> tuple[type[_Gates], tuple[()]]:
        return _Gates, ()
