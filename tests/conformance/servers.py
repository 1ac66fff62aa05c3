"""The servers that the suite runs against, and what each does in its own way; docs/servers.md shows both.

What a server does is one word or a few. A test finds it out, and compares it with what this table says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

HONOURED = "honoured"
IGNORED = "ignored"
REFUSED = "refused"

OBJECTS = [
    f"object by {form}, {route}, constrain={constrain}"
    for form, (route, constrain) in product(
        ("call", "answer"), (("template", "vllm"), ("chat", "vllm"), ("chat", None))
    )
]

AGENTS = ["agent, template", "agent, chat"]

LONG = ["prompt beyond the context", "prompt beyond the context, streamed"]

ROUTES = [f"both endpoints, {chat}" for chat in ("plain", "several turns", "tools", "result")]

USUAL: dict[str, str] = {
    "completions: suffix": REFUSED,
    "completions: unknown_field": IGNORED,
    "chat: unknown_field": IGNORED,
    "wrong key": "AuthenticationError",
    "unknown model": "NotFoundError",
    "field of a wrong type": "BadRequestError",
    **dict.fromkeys(LONG, "BadRequestError"),
    "usage of a stream": "counted",
    "context window": "listed",
    "concurrent streams": "all complete",
    "embeddings": "embedded",
    **dict.fromkeys(OBJECTS, "enforced"),
    **dict.fromkeys(ROUTES, "same"),
    **dict.fromkeys(AGENTS, "calls its tool"),
}
"""What servers do that do not differ; fields that are not named here are honoured."""


@dataclass(frozen=True)
class Difference:
    """What a server does in its own way.

    Attributes:
        found: what it does.
        why: the reason, and what to do.
    """

    found: str
    why: str


Differences = Mapping[str, Difference]


def _differences(*rows: tuple[str, str, list[str]]) -> Differences:
    """Return differences by behaviour, from rows of what is found, why, and the behaviours that this holds for."""
    return {behaviour: Difference(found, why) for found, why, behaviours in rows for behaviour in behaviours}


def _on_both(*fields: str) -> list[str]:
    return [f"{route}: {name}" for name in fields for route in ("completions", "chat")]


@dataclass(frozen=True, eq=False)
class Server:
    """A server.

    Attributes:
        name: its name, and that of the nox session that starts it.
        context: the context window that it is started with.
        parallel: how many completions it generates at once.
        has_own_template: whether it writes chats by the template in the model's file, not by the local Paradigm's.
        behind: the server that it passes requests on to, if it is a gateway.
        differences: what it does in its own way, by behaviour.
    """

    name: str
    context: int = 2048
    parallel: int = 4
    has_own_template: bool = False
    behind: str | None = None
    differences: Differences = field(default_factory=dict)

    def expects(self, behaviour: str) -> str:
        """Return what the server does, in the words of a test."""
        difference = self.differences.get(behaviour)
        return difference.found if difference else USUAL.get(behaviour, HONOURED)


LOCAL = Server("local", context=4096)

VLLM = Server(
    "vllm",
    parallel=8,
    differences=_differences(
        (IGNORED, "The engine no longer has this field.", ["completions: best_of"]),
        (IGNORED, "Replaced by `structured_outputs`.", ["chat: guided_json"]),
        (
            "not enforced",
            'Only calls of strict tools follow the schema; `constrain="vllm"` makes tools strict.',
            ["object by call, chat, constrain=None"],
        ),
        ("NotFoundError", "It serves one model, which generates text.", ["embeddings"]),
    ),
)

LLAMA = Server(
    "llama-cpp-python",
    parallel=1,
    has_own_template=True,
    differences=_differences(
        (IGNORED, "It generates one completion per request.", [*_on_both("n"), "completions: best_of"]),
        (IGNORED, "The field is called `repeat_penalty`; pass it in `extra_body`.", _on_both("repetition_penalty")),
        (IGNORED, "It does not know the field.", [*_on_both("ignore_eos", "structured_outputs"), "chat: guided_json"]),
        (IGNORED, "Supported for chats only.", ["completions: json_schema", "completions: json_object"]),
        (
            "fails with 500",
            "It supports only the type `json_object`, which takes a `schema`, and fails on others.",
            ["chat: json_schema"],
        ),
        (IGNORED, "It does not keep log-probabilities of prompts.", ["completions: logprobs of an echo"]),
        (HONOURED, "It writes the suffix into the prompt.", ["completions: suffix"]),
        ("answered", "It uses the model that it has loaded.", ["unknown model"]),
        (
            "ServerError",
            "Its error handler treats an invalid field as a failure of the server.",
            ["field of a wrong type"],
        ),
        (
            "StreamInterruptedError",
            "It begins the stream before it finds the prompt too long.",
            ["prompt beyond the context, streamed"],
        ),
        ("none", "It does not know `stream_options`.", ["usage of a stream"]),
        ("not listed", "Its model list lacks it: in LlamaIndex, pass `context_window`.", ["context window"]),
        (
            "some are cut",
            "A new request interrupts a stream; `--interrupt_requests false` lets it wait instead.",
            ["concurrent streams"],
        ),
        ("ServerError", "A model embeds only if it is loaded with `--embedding true`.", ["embeddings"]),
        (
            "not enforced",
            "It ignores the fields for schemas; only a call that `tool_choice` names follows its schema.",
            [name for name in OBJECTS if "template" in name or "answer" in name],
        ),
        ("does not", "For the same reason the small model's call is malformed.", ["agent, template"]),
        (
            "different",
            "The model's template lacks tools: the server leaves them out, `ChatParadigm` writes them as text.",
            ["both endpoints, tools", "both endpoints, result"],
        ),
    ),
)

LITELLM = Server(
    "litellm",
    parallel=8,
    behind="vllm",
    differences={
        **{behaviour: each for behaviour, each in VLLM.differences.items() if behaviour != "embeddings"},
        **_differences(
            ("BadRequestError", "Without a database, it refuses an unknown key with 400.", ["wrong key"]),
            ("BadRequestError", "It refuses a model that is not in its list with 400.", ["unknown model"]),
            (
                "fails with 500",
                "It passes the field to a function that does not take it.",
                ["completions: json_schema", "completions: json_object"],
            ),
            (
                "not enforced",
                "Its provider `hosted_vllm` removes `strict` from tools; `json_schema` is enforced.",
                ["object by call, chat, constrain=vllm"],
            ),
            ("does not", "For the same reason the small model's call is malformed.", ["agent, chat"]),
        ),
    },
)

SERVERS = {server.name: server for server in (LOCAL, VLLM, LLAMA, LITELLM)}
