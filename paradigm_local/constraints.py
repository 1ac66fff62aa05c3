"""What the text must look like, as a grammar that llama.cpp enforces.

llama.cpp goes on without a word where it cannot read such a grammar: so each one is checked here first, with the very
library that llama.cpp has built in.
"""

import json
from typing import Any

from llguidance import LLMatcher, regex_to_lark
from llguidance.gbnf_to_lark import gbnf_to_lark

from paradigm_local.contract import CompletionRequest, InvalidRequest, StructuredOutputs

_HEADER = "%llguidance {}\n"  # by this llama.cpp knows the notation


def grammar(request: CompletionRequest) -> str | None:
    """Give the grammar of the text, in Lark's notation; None where anything goes.

    Raises:
        InvalidRequest: the schema, pattern or grammar is wrong, or asks for what cannot be enforced.
    """
    field = "response_format" if request.structured_outputs is None else "structured_outputs"
    try:
        lark = _lark(request)
    except Exception as error:  # the converter raises plain ones
        raise InvalidRequest({field: [str(error)]}) from error
    if lark is None:
        return None
    complaint = LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(lark))
    if complaint:
        raise InvalidRequest({field: [complaint]})
    return lark


def _lark(request: CompletionRequest) -> str | None:
    if request.structured_outputs is not None:
        return _structured(request.structured_outputs)
    if request.response_format.json_schema is not None:
        return _json(request.response_format.json_schema.schema_)
    if request.response_format.type == "json_object":
        return _json({"type": "object"})
    return None


def _structured(outputs: StructuredOutputs) -> str:
    if outputs.json_ is not None:
        return _json(outputs.json_)
    if outputs.regex is not None:
        return f"{_HEADER}start: /{regex_to_lark(outputs.regex)}/"
    if outputs.choice is not None:
        return f"{_HEADER}start: {' | '.join(map(json.dumps, outputs.choice))}"
    return gbnf_to_lark(outputs.grammar or "")


def _json(schema: dict[str, Any]) -> str:
    return f"{_HEADER}start: %json {json.dumps(schema)}"
