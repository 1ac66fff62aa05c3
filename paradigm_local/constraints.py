"""Constraints on the generated text, as grammars that llama.cpp enforces.

llama.cpp silently drops a grammar that it cannot read or that grows too complex, and some sizes keep it busy for ever.
So each grammar is checked before the generation, and each text is checked against it while it is generated.
"""

import json
from collections.abc import Callable, Mapping

from llguidance import LLMatcher, LLTokenizer, regex_to_lark
from llguidance.gbnf_to_lark import gbnf_to_lark

from paradigm_local.chat_contract import ChatCompletionRequest
from paradigm_local.contract import GenerationRequest, InvalidRequest, ResponseFormat, StructuredOutputs
from paradigm_local.schemas import json_expression
from paradigm_local.structural_grammar import structural_grammar
from paradigm_transport.chat.structured import call_schema, closed
from paradigm_transport.messages import Tool

_HEADER = "%llguidance {}\n"  # marks a Lark grammar for llama.cpp
_BYTES = LLTokenizer("byte")
_MAX_GRAMMAR_LENGTH = 100_000


class Constraint:
    """A grammar that the text must match.

    Args:
        field: the field of the request that asks for it.
        lark: the grammar in Lark's notation, as llguidance reads it.

    Attributes:
        field: the same.
        lark: the same.

    Raises:
        ValueError: the grammar is invalid or too long, or matches no text.
    """

    def __init__(self, field: str, lark: str) -> None:
        if len(lark) > _MAX_GRAMMAR_LENGTH:
            raise ValueError(f"As a grammar, this has more than {_MAX_GRAMMAR_LENGTH} characters.")
        complaint = LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(lark))
        if complaint:
            raise ValueError(complaint)
        self.field = field
        self.lark = lark
        matcher = self._matcher()
        matcher.compute_logit_bias()
        if matcher.is_error():
            raise ValueError("No text matches this.")

    def checker(self) -> Callable[[str], bool]:
        """Return a function that takes a text piece by piece, and returns whether each piece matches."""
        matcher = self._matcher()
        return lambda piece: bool(matcher.consume_tokens(list(piece.encode())))

    def violation(self) -> InvalidRequest:
        """Return the error for a text that does not match."""
        return InvalidRequest({self.field: ["The model did not follow this constraint, which may be too complex."]})

    def _matcher(self) -> LLMatcher:
        return LLMatcher(_BYTES, LLMatcher.grammar_from_lark(self.lark), log_level=0)


def read_constraint(request: GenerationRequest) -> Constraint | None:
    """Read the constraint that a request asks for. May take a second.

    Returns:
        The constraint, or None if the text is free.

    Raises:
        InvalidRequest: the schema, pattern or grammar is invalid, or cannot be enforced.
    """
    field, lark = "response_format", None
    try:
        if isinstance(request, ChatCompletionRequest) and request.requires_call:
            field = "tools"
            lark = _grammar_of_schema(_schema_of_call(request))
        elif isinstance(request, ChatCompletionRequest) and request.guided_json is not None:
            field = "guided_json"
            lark = _grammar_of_schema(request.guided_json)
        elif request.structured_outputs is not None:
            field = "structured_outputs"
            lark = _grammar_of_outputs(request.structured_outputs)
        else:
            lark = _grammar_of_format(request.response_format)
        return None if lark is None else Constraint(field, lark)
    except Exception as error:  # the converters raise bare exceptions
        raise InvalidRequest({field: [str(error)]}) from error


def _schema_of_call(request: ChatCompletionRequest) -> Mapping[str, object]:
    """Return the schema of the call that a chat requires: of its arguments if the tool is named."""
    tools = [Tool.from_openai(tool.model_dump()) for tool in request.offered_tools]
    return call_schema(tools) if isinstance(request.tool_choice, str) else closed(tools[0].parameters)


def _grammar_of_format(response_format: ResponseFormat) -> str | None:
    if response_format.json_schema is not None:
        return _grammar_of_schema(response_format.json_schema.schema_)
    return _grammar_of_schema({"type": "object"}) if response_format.type == "json_object" else None


def _grammar_of_outputs(outputs: StructuredOutputs) -> str:
    if outputs.json_ is not None:
        return _grammar_of_schema(outputs.json_)
    if outputs.regex is not None:
        return f"{_HEADER}start: /{regex_to_lark(outputs.regex)}/"
    if outputs.choice is not None:
        return f"{_HEADER}start: {' | '.join(map(json.dumps, outputs.choice))}"
    if outputs.structural_tag is not None:
        return f"{_HEADER}{structural_grammar(outputs.structural_tag)}"
    return gbnf_to_lark(outputs.grammar or "")


def _grammar_of_schema(schema: Mapping[str, object]) -> str:
    return f"{_HEADER}start: {json_expression(schema)}"
