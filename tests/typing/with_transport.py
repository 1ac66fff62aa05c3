"""What type checkers tell a user of the clients; `make package` runs mypy and pyright on the installed package.

Each line with an ignore is wrong on purpose: both checkers must say so, or the ignore itself becomes the error.
"""

from collections.abc import AsyncIterator

from pydantic import SecretStr
from typing_extensions import assert_type

from paradigm_transport import (
    AsyncParadigmClient,
    Completion,
    CompletionChunk,
    CompletionParameters,
    ParadigmClient,
    ParadigmUsage,
    RateLimitError,
    Settings,
    Usage,
    get_paradigm_usage,
)


def whole(client: ParadigmClient) -> str:
    completion = client.complete("Hi", model="m", max_tokens=5)
    assert_type(completion, Completion)
    assert_type(completion.usage, Usage | None)
    print(completion.usage.prompt_tokens)  # type: ignore[union-attr]  # pyright: ignore
    return completion.text


def streamed(client: ParadigmClient) -> str:
    with client.stream("Hi", model="m") as chunks:
        for chunk in chunks:
            assert_type(chunk, CompletionChunk)
    return "".join(chunk.text for chunk in client.stream("Hi", CompletionParameters(model="m")))


async def asynchronous(client: AsyncParadigmClient) -> AsyncIterator[str]:
    assert_type(await client.complete("Hi", model="m"), Completion)
    async for chunk in client.stream("Hi", model="m"):
        assert_type(chunk, CompletionChunk)
        yield chunk.text
    for _ in client.stream("Hi"):  # type: ignore[attr-defined]  # pyright: ignore
        pass


def settings() -> None:
    own = Settings(api_key="k", timeout=5.0)
    assert_type(own.api_key, SecretStr)
    Settings(api_key=SecretStr("k"))
    Settings(api_key=5)  # type: ignore[arg-type]  # pyright: ignore
    ParadigmClient(own)
    with get_paradigm_usage() as usage:
        assert_type(usage, ParadigmUsage)
    parameters = CompletionParameters(model="m", temperature=0.5, stop=["."])
    assert_type(parameters.temperature, float | None)
    CompletionParameters(model="m", temperature="hot")  # type: ignore[arg-type]  # pyright: ignore
    ParadigmClient().complete(5)  # type: ignore[arg-type]  # pyright: ignore


def wait(error: RateLimitError) -> float | None:
    return error.retry_after
