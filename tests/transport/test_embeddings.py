"""`POST /embeddings`: one call, and many texts over it."""

from __future__ import annotations

import asyncio
import struct
from base64 import b64encode
from typing import Any

import pytest

from paradigm_transport import (
    APIResponseError,
    AsyncParadigmClient,
    BadRequestError,
    EmbeddingParameters,
    InvalidParameterError,
    ParadigmClient,
    UnprocessableEntityError,
    Usage,
    get_paradigm_usage,
)
from paradigm_transport.embedder import DOCUMENT, EmbeddingJob, ListSupport, aembed_many, embed_many
from tests.transport.conftest import KEY, Api
from tests.wire import Request, Script, WireServer, embed, embeddings, inputs_of, pause, reply, vector_of

MODEL = "multilingual-e5-large"
TEXTS = [f"text number {number}" + "!" * number for number in range(20)]


def base64_of(*numbers: float) -> str:
    return b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


# One call


def test_text_is_sent_as_a_string_and_only_what_was_set(api: Api, wire: WireServer) -> None:
    wire.always(reply(embeddings([0.5, 1])))
    client = api.client(wire)
    found = client.embed("Hi", model=MODEL)
    assert found.vectors == [[0.5, 1.0]]
    assert all(type(number) is float for number in found.vectors[0])
    assert (found.model, found.usage, found.retries) == (MODEL, Usage(2, 0, 2), 0)
    client.embed("Hi", model=MODEL, encoding_format=None, dimensions=2, user="u", extra_body={"truncate": True})
    assert wire.requests[0].path == "/api/v2/embeddings"
    assert wire.bodies == [
        {"model": MODEL, "encoding_format": "float", "input": "Hi"},
        {"model": MODEL, "dimensions": 2, "user": "u", "input": "Hi", "truncate": True},
    ]


def test_list_of_one_text_is_sent_as_a_string(api: Api, wire: WireServer) -> None:
    wire.always(embed)
    assert api.client(wire).embed(["Hi"], model=MODEL).vectors == [vector_of("Hi")]
    assert wire.bodies[0]["input"] == "Hi"


def test_embeddings_are_ordered_by_their_index(api: Api, wire: WireServer) -> None:
    body = embeddings([0.0], [1.0], [2.0])
    body["data"].reverse()
    wire.script(reply(body))
    assert api.client(wire).embed(["a", "b", "c"], model=MODEL).vectors == [[0.0], [1.0], [2.0]]


def test_embeddings_without_an_index_keep_their_order(api: Api, wire: WireServer) -> None:
    wire.script(reply({"data": [{"embedding": [0.0]}, {"embedding": [1.0]}]}))
    found = api.client(wire).embed(["a", "b"], model=MODEL)
    assert (found.vectors, found.usage, found.model) == ([[0.0], [1.0]], None, None)


def test_base64_is_decoded_whether_asked_for_or_not(api: Api, wire: WireServer) -> None:
    wire.always(reply(embeddings(base64_of(0.5, -2.0))))
    client = api.client(wire)
    assert client.embed("a", model=MODEL).vectors == [[0.5, -2.0]]
    assert client.embed("a", model=MODEL, encoding_format="base64").vectors == [[0.5, -2.0]]
    assert [body["encoding_format"] for body in wire.bodies] == ["float", "base64"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (embeddings([1.0]), r"1 embeddings for 2 texts, none of texts\[1\]"),
        (embeddings([1.0], [1.0], [1.0]), "3 embeddings for 2 texts"),
        (embeddings(), r"0 embeddings for 2 texts, none of texts\[0\]"),
        ({"data": [{"index": 1, "embedding": [1.0]}] * 2}, r"none of texts\[0\]"),
        ({"data": [{"index": index, "embedding": [1.0]} for index in (0, 2)]}, r"none of texts\[1\]"),
        (embeddings([1.0], [float("nan")]), r"texts\[1\] with a number that is not finite"),
        (embeddings([1.0], [float("inf")]), r"texts\[1\] with a number that is not finite"),
        (embeddings([1.0], [10**400]), r"texts\[1\] with a number that is not finite"),
        (embeddings([1.0], base64_of(float("nan"))), r"texts\[1\] with a number that is not finite"),
        (embeddings([1.0], [None]), r"texts\[1\] that is not a list of numbers"),
        (embeddings([1.0], ["1.0"]), r"texts\[1\] that is not a list of numbers"),
        (embeddings([1.0], [True]), r"texts\[1\] that is not a list of numbers"),
        (embeddings([1.0], [[1.0]]), r"texts\[1\] that is not a list of numbers"),
        (embeddings([1.0], []), r"texts\[1\] that is not a list of numbers"),
        (embeddings([1.0], None), r"texts\[1\] that is not a list of numbers"),
        ({"data": [{"embedding": [1.0]}, "b"]}, r"texts\[1\] that is not a list of numbers"),
        (embeddings([1.0], "###"), r"texts\[1\] that is not base64"),
        (embeddings([1.0], "YWJj"), r"texts\[1\] that is not base64"),
        (embeddings([1.0], [1.0, 2.0]), r"2 numbers for texts\[1\], not 1 for texts\[0\]"),
        ({"data": {}}, "unexpected response"),
        ({"object": "list"}, "unexpected response"),
        ([], "unexpected response"),
    ],
)
def test_faulty_reply_raises_and_names_the_text(api: Api, wire: WireServer, body: Any, message: str) -> None:
    wire.script(reply(body))
    with pytest.raises(APIResponseError, match=message):
        api.client(wire).embed(["a", "b"], model=MODEL)


def test_faulty_reply_to_one_text_does_not_count_texts(api: Api, wire: WireServer) -> None:
    wire.script(reply(embeddings([None])), reply(embeddings([1.0])))
    client = api.client(wire)
    with pytest.raises(APIResponseError, match="an embedding of the text that is not a list of numbers"):
        client.embed("a", model=MODEL)
    with pytest.raises(APIResponseError, match="returned 1 numbers for the text, not the 2 of dimensions"):
        client.embed("a", model=MODEL, dimensions=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"texts": []}, "texts is empty"),
        ({"texts": ["a", 5]}, r"texts\[1\] must be a string, not int"),
        ({"texts": ["a", "\ud800"]}, r"texts\[1\] cannot be encoded"),
        ({"texts": "a", "dimensions": 0}, "dimensions"),
        ({"texts": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"texts": "a", "extra_body": {"input": "b"}}, "extra_body holds input"),
        ({"texts": "a", "extra_body": {"x": object()}}, "x cannot be encoded"),
        ({"texts": "a", "max_tokens": 5}, "unknown argument max_tokens"),
        ({"texts": "a", "output_dimensionality": 5}, "here it is dimensions"),
    ],
)
def test_wrong_argument_raises_and_nothing_is_sent(
    api: Api, wire: WireServer, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        api.client(wire).embed(**{"model": MODEL, **options})
    assert wire.requests == []


def test_headers_and_timeout_of_a_call_are_not_in_its_body(api: Api, wire: WireServer) -> None:
    wire.always(embed)
    client = api.client(wire)
    parameters = EmbeddingParameters(model=MODEL, timeout=30, extra_headers={"X-Team": "search"})
    client.embed("a", parameters, dimensions=3)
    assert wire.requests[0].headers["x-team"] == "search"
    assert wire.bodies[0] == {"model": MODEL, "encoding_format": "float", "dimensions": 3, "input": "a"}


def test_refused_texts_are_redacted_from_errors(api: Api, wire: WireServer) -> None:
    secret = ["the first secret text", "the second secret text"]
    wire.script(lambda request: reply({"detail": f"too long: {', '.join(inputs_of(request))}"}, 400))
    with pytest.raises(BadRequestError) as caught:
        api.client(wire).embed(secret, model=MODEL)
    assert "too long" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_embedding_is_retried_and_counted(api: Api, wire: WireServer) -> None:
    wire.script(reply({}, 503), embed)
    with get_paradigm_usage() as usage:
        found = api.client(wire).embed("a", model=MODEL)
    assert (found.retries, found.latency is not None, api.slept) == (1, True, [0.5])
    assert (usage.calls, usage.prompt_tokens, usage.completion_tokens, usage.errors) == (1, 2, 0, 0)
    assert usage.tokens_per_second is None  # which embeddings must not slow down


@pytest.mark.parametrize("end", ["/api/v2/embeddings", "/api/v2/", ""])
def test_address_of_the_endpoint_is_an_address_of_the_server(api: Api, wire: WireServer, end: str) -> None:
    wire.always(embed)
    api.client(base_url=f"http://{wire.host}{end}").embed("a", model=MODEL)
    assert wire.requests[0].path == "/api/v2/embeddings"


# Many texts


class Many:
    """Embeds many texts with the client of a fixture."""

    def __init__(self, wire: WireServer, is_async: bool) -> None:
        self._url = wire.url
        self._is_async = is_async
        self.support: ListSupport = {}

    def __call__(
        self, texts: Any, batch_inputs: int = 1, prefix: str = "", limit: int = 8, **fields: Any
    ) -> tuple[list[list[float]], Usage | None]:
        parameters = EmbeddingParameters(model=MODEL, **fields)
        job = EmbeddingJob(texts, prefix, DOCUMENT, parameters, batch_inputs, (self._url, MODEL), self.support)
        if self._is_async:
            return asyncio.run(self._aembed(job, limit), debug=True)
        with ParadigmClient(api_key=KEY, base_url=self._url) as client:
            return embed_many(client.send, job, "the-host", limit)

    async def _aembed(self, job: EmbeddingJob, limit: int) -> tuple[list[list[float]], Usage | None]:
        async with AsyncParadigmClient(api_key=KEY, base_url=self._url) as client:
            return await aembed_many(client.send, job, "the-host", limit)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def many(request: pytest.FixtureRequest, wire: WireServer) -> Many:
    return Many(wire, request.param)


def test_each_text_is_a_request_and_results_are_in_order(many: Many, wire: WireServer) -> None:
    def answer(request: Request) -> Script:  # the first come last
        return [pause(0.02), *embed(request)] if len(wire.requests) < 4 else embed(request)

    wire.always(answer)
    vectors, usage = many(TEXTS, prefix="passage: ")
    assert vectors == [vector_of("passage: " + text) for text in TEXTS]
    assert sorted(body["input"] for body in wire.bodies) == sorted("passage: " + text for text in TEXTS)
    assert usage == Usage(2 * len(TEXTS), 0, 2 * len(TEXTS))


def test_no_more_requests_than_the_limit_are_in_flight(many: Many, wire: WireServer) -> None:
    wire.always(embed)
    many(TEXTS * 3, limit=2)
    assert wire.connections <= 2


def test_no_text_is_no_request(many: Many, wire: WireServer) -> None:
    assert many([], batch_inputs=4) == ([], Usage(0, 0, 0))
    assert wire.requests == []


def test_empty_text_is_sent_as_it_is(many: Many, wire: WireServer) -> None:
    wire.always(embed)
    assert many(["", "a"])[0] == [vector_of(""), vector_of("a")]


def test_usage_of_texts_that_were_not_all_counted_is_absent(many: Many, wire: WireServer) -> None:
    wire.script(reply(embeddings([1.0], usage=None)))
    wire.always(reply(embeddings([1.0])))
    assert many(["a", "b"])[1] is None


def test_texts_go_in_lists(many: Many, wire: WireServer) -> None:
    wire.always(embed)
    assert many(TEXTS, batch_inputs=8)[0] == [vector_of(text) for text in TEXTS]
    assert sorted(len(inputs_of(request)) for request in wire.requests) == [4, 8, 8]
    assert set(many.support.values()) == {True}


def refusing_lists(status: int, message: str = "input: Not a valid string.") -> Any:
    def answer(request: Request) -> Script:
        return embed(request) if isinstance(request.body["input"], str) else reply({"detail": message}, status)

    return answer


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refused_list_is_tried_once_and_never_again(many: Many, wire: WireServer, status: int) -> None:
    wire.always(refusing_lists(status))
    assert many(TEXTS, batch_inputs=4)[0] == [vector_of(text) for text in TEXTS]
    assert many(TEXTS, batch_inputs=4)[0] == [vector_of(text) for text in TEXTS]
    assert [isinstance(body["input"], list) for body in wire.bodies] == [True, *[False] * 2 * len(TEXTS)]


@pytest.mark.parametrize("status", [401, 404])
def test_other_refusals_of_a_list_are_errors(many: Many, wire: WireServer, status: int) -> None:
    wire.always(refusing_lists(status))
    with pytest.raises(Exception, match=str(status)):
        many(TEXTS, batch_inputs=4)
    assert len(wire.requests) == 1


def refusing(bad: str, status: int = 400) -> Any:
    def answer(request: Request) -> Script:
        is_bad = any(bad in text for text in inputs_of(request))
        return reply({"detail": "maximum context length is 512"}, status) if is_bad else embed(request)

    return answer


@pytest.mark.parametrize("batch_inputs", [1, 4])
@pytest.mark.parametrize("position", [0, 2, 13])
def test_refused_text_is_named(many: Many, wire: WireServer, batch_inputs: int, position: int) -> None:
    texts = [*TEXTS[:position], "bad", *TEXTS[position:]]
    wire.always(refusing("bad", 422))
    with pytest.raises(UnprocessableEntityError, match=rf"It was about texts\[{position}\]\."):
        many(texts, batch_inputs=batch_inputs)


def test_refused_text_does_not_make_a_server_one_that_refuses_lists(many: Many, wire: WireServer) -> None:
    wire.always(refusing("bad"))
    with pytest.raises(BadRequestError):
        many(["bad", *TEXTS], batch_inputs=4)
    many(TEXTS, batch_inputs=10)
    # Requests of the first call may still arrive; they have at most 4 texts.
    assert [size for size in (len(inputs_of(request)) for request in wire.requests) if size > 4] == [10, 10]


def test_list_that_is_too_long_for_the_server_is_divided(many: Many, wire: WireServer) -> None:
    def answer(request: Request) -> Script:
        return reply({"detail": "too many tokens"}, 413) if len("".join(inputs_of(request))) > 60 else embed(request)

    wire.always(answer)
    texts = ["a", "b", "c" * 40, "d" * 40]
    assert many(texts, batch_inputs=2)[0] == [vector_of(text) for text in texts]


def test_embeddings_of_two_lengths_raise_and_name_the_text(many: Many, wire: WireServer) -> None:
    wire.always(lambda request: reply(embeddings([1.0] if request.body["input"] == TEXTS[7] else [1.0, 2.0])))
    with pytest.raises(APIResponseError, match=r"the-host returned 1 numbers for texts\[7\], not 2 for texts\[0\]"):
        many(TEXTS)


@pytest.mark.parametrize(
    ("texts", "message"), [("text", "not one string"), (["a", None], r"texts\[1\] must be a string, not NoneType")]
)
def test_texts_of_another_type_raise_before_anything_is_sent(
    many: Many, wire: WireServer, texts: Any, message: str
) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        many(texts)
    assert wire.requests == []


def test_first_error_stops_the_rest(many: Many, wire: WireServer) -> None:
    wire.always(refusing("number 0"))
    with pytest.raises(BadRequestError):
        many(TEXTS * 10, limit=1)
    assert len(wire.requests) < 20
