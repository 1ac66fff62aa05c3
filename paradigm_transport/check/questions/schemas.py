"""Questions about the fields by which servers hold a text to a JSON schema, which differ by server."""

from __future__ import annotations

from paradigm_transport.chat.dialects.structural import one_of, tag
from paradigm_transport.check.findings import Finding, Question, question
from paradigm_transport.check.prompts import COUNT
from paradigm_transport.check.routes import CHAT, COMPLETIONS, Route
from paradigm_transport.check.server import Server
from paradigm_transport.json_object import JsonObject

GROUP = "Schemas"

_SCHEMA = {
    "type": "object",
    "properties": {"is_even": {"type": "boolean"}},
    "required": ["is_even"],
    "additionalProperties": False,
}
_GRAMMAR = 'root ::= "{" [ ]? "\\"is_even\\":" [ ]? ("true" | "false") "}"'
_RESPONSE_FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA}}

FORMS: dict[str, JsonObject] = {
    "response_format": {"response_format": _RESPONSE_FORMAT},
    "structured_outputs": {"structured_outputs": {"json": _SCHEMA}},
    "structural_tag": {"structured_outputs": one_of([tag("<call>", _SCHEMA, "</call>")])},
    "guided_json": {"guided_json": _SCHEMA},
    "json_schema": {"json_schema": _SCHEMA},
    "grammar": {"grammar": _GRAMMAR},
}
"""The fields by the name of the form: of OpenAI; of vLLM, for an object and for calls; of older vLLM; of llama.cpp."""


def _ask(server: Server, route: Route, form: str) -> Finding:
    server.require(route)
    text = server.generate(COUNT, route, max_tokens=30, **FORMS[form]).contents[0].text
    return Finding("honoured") if text.lstrip().startswith(("{", "<call>")) else Finding("ignored")


def _question(route: Route, form: str) -> Question:
    def ask(server: Server) -> Finding:
        return _ask(server, route, form)

    ask.__doc__ = f"Whether {form} enforces a JSON schema ({route.name})."
    return question(f"{form} ({route.name})", GROUP)(ask)


QUESTIONS = (
    *(_question(COMPLETIONS, form) for form in FORMS),
    *(_question(CHAT, form) for form in ("response_format", "structured_outputs", "guided_json")),
)
