"""Many texts to embed: concurrently and in order, one text a request, or lists of them if the server takes lists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import NamedTuple

from pydantic import Field, PrivateAttr

from paradigm_transport.endpoints.embeddings import (
    REFUSED_INPUT,
    EmbeddingCall,
    EmbeddingFields,
    EmbeddingParameters,
    Embeddings,
    check_lengths,
)
from paradigm_transport.errors import APIStatusError, InvalidParameterError
from paradigm_transport.fan_out import afan_out, fan_out
from paradigm_transport.usage import Usage

ListSupport = dict[tuple[str, str], bool]
"""Whether a server takes lists of texts, by its address and the model; without an entry, it is not known yet."""


DOCUMENT, QUERY = "texts[{}]", "the query"
"""How errors name a document, with `{}` for its position, and a query."""


class EmbedderFields(EmbeddingFields):
    """How a class of a framework embeds texts: declarations and checks only."""

    batch_inputs: int = Field(
        default=1,
        ge=1,
        description="The most texts of a request, 1 or more. A server that refuses lists is sent one text a request.",
    )
    query_prefix: str = Field(default="", description="Text in front of each query; E5 was trained on `query: `.")
    document_prefix: str = Field(
        default="", description="Text in front of each document; E5 was trained on `passage: `."
    )

    _list_support: ListSupport = PrivateAttr(default_factory=dict)


class EmbeddedTexts(NamedTuple):
    """The embeddings of texts.

    Attributes:
        vectors: an embedding for each text, in order.
        usage: the tokens of all texts; None if the server did not count them all.
    """

    vectors: list[list[float]]
    usage: Usage | None


class EmbeddingJob:
    """Texts to embed: how they are divided into requests, and what the replies add up to; no I/O.

    A group is the range of the positions of the texts of one request. While it is not known whether the server takes
    lists, the first group goes alone, so that one request is refused and not all that are in flight. The server is
    remembered as refusing lists once it has embedded the same texts one by one: what it refused may have been a text.

    Args:
        texts: the texts.
        prefix: what to put in front of each.
        label: how errors name a text, with `{}` for its position.
        parameters: the endpoint's fields.
        batch_inputs: the most texts of a request.
        place: the address and the model.
        support: what is known about lists; the job adds what it learns.

    Raises:
        InvalidParameterError: `texts` is one string, or holds something that is not a string.
    """

    def __init__(
        self,
        texts: Sequence[str],
        prefix: str,
        label: str,
        parameters: EmbeddingParameters,
        batch_inputs: int,
        place: tuple[str, str],
        support: ListSupport,
    ) -> None:
        if isinstance(texts, str):
            raise InvalidParameterError("texts must be a list of strings, not one string")
        self._name = label.format
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise InvalidParameterError(f"{self._name(position)} must be a string, not {type(text).__name__}")
        self._texts, self._prefix, self._parameters = texts, prefix, parameters
        self._place, self._support = place, support
        self._takes_lists = support.get(place)
        self._size = 1 if self._takes_lists is False else batch_inputs
        self._done = 0

    @property
    def probe(self) -> range | None:
        """The group that goes first and alone, if there is need of one."""
        first = range(min(self._size, len(self._texts)))
        return first if len(first) > 1 and self._takes_lists is None else None

    def learn(self, takes_lists: bool) -> None:
        """Take what came of the first group."""
        self._takes_lists = takes_lists
        self._done, self._size = (self._size, self._size) if takes_lists else (0, 1)

    @property
    def groups(self) -> list[range]:
        """The groups that are left, which may go at once."""
        positions = range(len(self._texts))
        return [positions[start : start + self._size] for start in positions[self._done :: self._size]]

    def call(self, group: range) -> EmbeddingCall:
        """Return the call that embeds a group."""
        texts = [self._prefix + text for text in self._texts[group.start : group.stop]]
        return EmbeddingCall(texts, self._parameters, lambda place: self._name(group[place]))

    def result(self, replies: Sequence[Embeddings], host: str) -> EmbeddedTexts:
        """Return what all replies add up to.

        Args:
            replies: those of all groups, in order.
            host: the host that was called.

        Raises:
            APIResponseError: an embedding is longer or shorter than the first; names its text.
        """
        vectors = list(chain.from_iterable(reply.vectors for reply in replies))
        check_lengths(vectors, self._parameters.dimensions, self._name, host)
        if self._takes_lists is not None:
            self._support[self._place] = self._takes_lists
        counts = [reply.usage.prompt_tokens for reply in replies if reply.usage is not None]
        total = sum(counts)
        return EmbeddedTexts(vectors, Usage(total, 0, total) if len(counts) == len(replies) else None)


def may_be_for_the_list(group: range, error: APIStatusError) -> bool:
    """Return whether a group may have been refused because it was a list, or a text of it was."""
    return len(group) > 1 and error.status_code in REFUSED_INPUT


def embed_many(
    send: Callable[[EmbeddingCall], Embeddings], job: EmbeddingJob, host: str, limit: int, show_progress: bool = False
) -> EmbeddedTexts:
    """Embed the texts of a job. The first error stops the rest.

    Args:
        send: sends a call.
        job: the texts.
        host: the host that is called.
        limit: the most calls at once, 1 or more.
        show_progress: show a progress bar, which needs tqdm.

    Raises:
        ParadigmError: see `ParadigmClient.embed`; a refusal of a text names its position.
    """

    def embed(group: range) -> list[Embeddings]:
        try:
            return [send(job.call(group))]
        except APIStatusError as error:
            if not may_be_for_the_list(group, error):
                raise
        return [send(job.call(range(position, position + 1))) for position in group]

    replies = []
    if job.probe is not None:
        try:
            replies = [send(job.call(job.probe))]
        except APIStatusError as error:
            if not may_be_for_the_list(job.probe, error):
                raise
        job.learn(bool(replies))
    replies += chain.from_iterable(fan_out(embed, job.groups, limit, show_progress))
    return job.result(replies, host)


async def aembed_many(
    send: Callable[[EmbeddingCall], Awaitable[Embeddings]],
    job: EmbeddingJob,
    host: str,
    limit: int,
    show_progress: bool = False,
) -> EmbeddedTexts:
    """As `embed_many`."""

    async def embed(group: range) -> list[Embeddings]:
        try:
            return [await send(job.call(group))]
        except APIStatusError as error:
            if not may_be_for_the_list(group, error):
                raise
        return [await send(job.call(range(position, position + 1))) for position in group]

    replies = []
    if job.probe is not None:
        try:
            replies = [await send(job.call(job.probe))]
        except APIStatusError as error:
            if not may_be_for_the_list(job.probe, error):
                raise
        job.learn(bool(replies))
    replies += chain.from_iterable(await afan_out(embed, job.groups, limit, show_progress))
    return job.result(replies, host)
