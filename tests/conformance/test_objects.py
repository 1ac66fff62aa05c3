"""Structured output and calls of tools, as the frameworks ask for them."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest
from langchain_core.exceptions import OutputParserException
from llama_index.core import PromptTemplate
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel

import langchain_paradigm
import llama_index_paradigm
from paradigm_transport import ParadigmError
from tests.conformance.paths import TEMPLATE
from tests.conformance.running import Running


class Letters(BaseModel):
    """Letters that no model writes by itself."""

    letters: Literal["qxj", "jxq"]


REQUEST = "Write letters."
FAILURES = (ParadigmError, OutputParserException, ValueError)

of_each_library = pytest.mark.parametrize(
    ("library", "is_async"), [("LangChain", False), ("LangChain", True), ("LlamaIndex", False), ("LlamaIndex", True)]
)


def arguments(server: Running, route: str, **fields: Any) -> dict[str, Any]:
    template = {"chat_template": TEMPLATE} if route == "template" else {}
    usual = {"model": server.model, "temperature": 0, "max_tokens": 40, "max_retries": 0}
    return {**usual, **server.address, **template, **fields}


def by_langchain(form: str, is_async: bool, fields: dict[str, Any]) -> Any:
    method = "function_calling" if form == "call" else "json_schema"
    with langchain_paradigm.ChatParadigm(**fields) as chat:
        ask = chat.with_structured_output(Letters, method=method)
        return asyncio.run(ask.ainvoke(REQUEST)) if is_async else ask.invoke(REQUEST)


def by_llama_index(form: str, is_async: bool, fields: dict[str, Any]) -> Any:
    mode = PydanticProgramMode.DEFAULT if form == "call" else PydanticProgramMode.LLM
    with llama_index_paradigm.ChatParadigm(**fields, pydantic_program_mode=mode) as llm:
        prompt = PromptTemplate(REQUEST)
        if is_async:
            return asyncio.run(llm.astructured_predict(Letters, prompt))
        return llm.structured_predict(Letters, prompt)


@of_each_library
@pytest.mark.parametrize("form", ["call", "answer"])
@pytest.mark.parametrize(("route", "constrain"), [("template", "vllm"), ("chat", "vllm"), ("chat", None)])
def test_object_fits_where_the_server_enforces_schemas(
    server: Running, library: str, is_async: bool, form: str, route: str, constrain: str | None
) -> None:
    predict = by_langchain if library == "LangChain" else by_llama_index
    try:
        predicted = predict(form, is_async, arguments(server, route, constrain=constrain))
    except FAILURES:
        outcome = "not enforced"
    else:
        assert isinstance(predicted, Letters)
        outcome = "enforced"
    assert outcome == server.expects(f"object by {form}, {route}, constrain={constrain}")
