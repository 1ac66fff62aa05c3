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

ROUTES = [f"both routes, {chat}" for chat in ("plain", "several turns", "tools", "result")]

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
    "streams at once": "all end",
    "embeddings": "embedded",
    **dict.fromkeys(OBJECTS, "enforced"),
    **dict.fromkeys(ROUTES, "alike"),
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
        (IGNORED, "Its engine has no such field any more.", ["completions: best_of"]),
        (IGNORED, "`structured_outputs` has replaced it.", ["chat: guided_json"]),
        (
            "not enforced",
            'It holds arguments of calls to a schema only if the tool is strict; `constrain="vllm"` makes it so.',
            ["object by call, chat, constrain=None"],
        ),
        ("NotFoundError", "It serves one model, which generates.", ["embeddings"]),
    ),
)

LLAMA = Server(
    "llama-cpp-python",
    parallel=1,
    has_own_template=True,
    differences=_differences(
        (IGNORED, "It generates one completion a request.", [*_on_both("n"), "completions: best_of"]),
        (IGNORED, "Its name for it is `repeat_penalty`; pass that in `extra_body`.", _on_both("repetition_penalty")),
        (IGNORED, "It does not know the field.", [*_on_both("ignore_eos", "structured_outputs"), "chat: guided_json"]),
        (IGNORED, "It has it for chats alone.", ["completions: json_schema", "completions: json_object"]),
        (
            "fails with 500",
            "It has the form `json_object` alone, which takes a `schema`; an unknown form is a failure to it.",
            ["chat: json_schema"],
        ),
        (IGNORED, "It keeps no log-probabilities of prompts.", ["completions: logprobs of an echo"]),
        (HONOURED, "It writes the suffix into the prompt.", ["completions: suffix"]),
        ("answered", "It answers with the model that it has.", ["unknown model"]),
        ("ServerError", "Its own error handler takes a wrong field for a failure.", ["field of a wrong type"]),
        (
            "StreamInterruptedError",
            "It begins the stream, and ends it when it finds the prompt too long.",
            ["prompt beyond the context, streamed"],
        ),
        ("none", "It does not know `stream_options`.", ["usage of a stream"]),
        ("not listed", "Its model list has none: pass LlamaIndex `context_window`.", ["context window"]),
        (
            "some are cut",
            "A new request interrupts a stream; `--interrupt_requests false` lets it wait instead.",
            ["streams at once"],
        ),
        ("ServerError", "It embeds with a model that is loaded for that alone (`--embedding true`).", ["embeddings"]),
        (
            "not enforced",
            "It ignores the fields for schemas; a call that `tool_choice` names is held to its schema.",
            [name for name in OBJECTS if "template" in name or "answer" in name],
        ),
        ("does not", "For the same reason the small model's call is malformed.", ["agent, template"]),
        (
            "not alike",
            "The model's own template knows no tools: the server leaves them out, `ChatParadigm` writes them as text.",
            ["both routes, tools", "both routes, result"],
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
            ("BadRequestError", "Without a database it answers 400 to a key that it does not know.", ["wrong key"]),
            ("BadRequestError", "It answers 400 to a model that is not in its list.", ["unknown model"]),
            (
                "fails with 500",
                "It passes the field to a function that does not take it.",
                ["completions: json_schema", "completions: json_object"],
            ),
            (
                "not enforced",
                "Its provider `hosted_vllm` removes `strict` from tools; `json_schema` in place of a call is enforced.",
                ["object by call, chat, constrain=vllm"],
            ),
            ("does not", "For the same reason the small model's call is malformed.", ["agent, chat"]),
        ),
    },
)

SERVERS = {server.name: server for server in (LOCAL, VLLM, LLAMA, LITELLM)}
