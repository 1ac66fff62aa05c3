"""Findings in, constructor arguments out: code that a user can paste, for both frameworks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from paradigm_transport.check.findings import Finding
from paradigm_transport.check.runner import Answer

Arguments = dict[str, object]

_UNKNOWN = Finding("unknown")
_EMBEDDINGS = "ParadigmEmbeddings"
_TEXTS = 32
"""The texts of a request, if lists are taken."""
_FOR_TOOLS = " For tools, pass the path of the model's tokenizer_config.json as chat_template."


@dataclass(frozen=True, slots=True)
class Advice:
    """What is recommended.

    Attributes:
        langchain: code for LangChain.
        llama_index: code for LlamaIndex.
        notes: what else to know, in sentences.
    """

    langchain: str
    llama_index: str
    notes: list[str] = field(default_factory=list)


class Findings:
    """The findings by the names of their questions.

    Args:
        answers: all that was found.
    """

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._findings = {answer.question.name: answer.finding for answer in answers}

    def __getitem__(self, name: str) -> Finding:
        return self._findings.get(name, _UNKNOWN)

    def has(self, name: str) -> bool:
        """Whether something works or is honoured."""
        return self[name].is_good

    def lacks(self, name: str) -> bool:
        """Whether it was found out that something does not work or is not honoured."""
        return self[name].status in ("ignored", "refused", "missing", "failed")


def advise(model: str, answers: Sequence[Answer]) -> Advice | None:
    """Return what is recommended; None if no endpoint generates text.

    Args:
        model: the model that was asked about.
        answers: all that was found.
    """
    found = Findings(answers)
    if not (found.has("completions") or found.has("chat")):
        return None
    notes: list[str] = []
    objects = {"ChatParadigm": {"model": model, **_chat_arguments(found, notes)}}
    if found.has("completions"):
        objects["ParadigmLLM"] = {"model": model, **_llm_arguments(found)}
    if found.has("embeddings"):
        lists = {"batch_inputs": _TEXTS} if found.has("embeddings of lists") else {}
        objects[_EMBEDDINGS] = {"model": found["embeddings"].value, **lists}
    if found.has("search"):
        objects["ParadigmRetriever"] = {}
    if found.lacks("context window"):
        notes.append(
            "LlamaIndex fits prompts into context_window, which this server does not report: pass the model's."
        )
    return Advice(_code("langchain_paradigm", objects), _code("llama_index_paradigm", objects), notes)


def _llm_arguments(found: Findings) -> Arguments:
    template = found["chat template"].value
    named = {"chat_template": template} if template not in (None, "server") else {}
    return {**named, **_stream_arguments(found, "stream_options")}


def _chat_arguments(found: Findings, notes: list[str]) -> Arguments:
    template = found["chat template"].value
    calls_tools = not found.lacks("tools")
    if found.has("chat") and (calls_tools or not template or not found.has("completions")):
        if not calls_tools and found["tools"].value is None:
            notes.append("The chat endpoint does not call tools." + _FOR_TOOLS * found.has("completions"))
        return _arguments_of_chats(found)
    return _arguments_of_completions(found, template, notes)


def _arguments_of_chats(found: Findings) -> Arguments:
    """Arguments for the chat endpoint."""
    arguments: Arguments = {}
    for argument, name in (("tool_call_parser", "tools"), ("reasoning_parser", "thoughts")):
        if found[name].value is not None:
            arguments[argument] = found[name].value
    if found.lacks("response_format (chat)"):
        arguments["constrain"] = _constraint_of_chats(found)
    return {**arguments, **_stream_arguments(found, "stream_options (chat)")}


def _constraint_of_chats(found: Findings) -> str:
    forms = {"structured_outputs (chat)": "vllm", "guided_json (chat)": "guided_json"}
    return next((constraint for form, constraint in forms.items() if found.has(form)), "prompt")


def _arguments_of_completions(found: Findings, template: object, notes: list[str]) -> Arguments:
    """Arguments for chats over the completions endpoint."""
    arguments: Arguments = {"chat_template": template or "tokenizer_config.json"}
    if not template:
        notes.append("No chat template was found: take tokenizer_config.json from the model's repository.")
    if found.has("structured_outputs (completions)"):
        arguments["constrain"] = "vllm"
    return {**arguments, **_stream_arguments(found, "stream_options")}


def _stream_arguments(found: Findings, name: str) -> Arguments:
    return {"stream_usage": False} if found[name].status == "refused" else {}


def _code(package: str, objects: Mapping[str, Arguments]) -> str:
    names = {each: _name(package, each) for each in objects}
    lines = [f"from {package} import {', '.join(sorted(names.values()))}", ""]
    for each, arguments in objects.items():
        given = ", ".join(f"{argument}={_text(value)}" for argument, value in arguments.items())
        lines.append(f"{_VARIABLES[each]} = {names[each]}({given})")
    return "\n".join(lines)


_VARIABLES = {
    "ChatParadigm": "chat", "ParadigmLLM": "llm", _EMBEDDINGS: "embeddings", "ParadigmRetriever": "retriever"
}  # fmt: skip


def _name(package: str, name: str) -> str:
    return "ParadigmEmbedding" if (package, name) == ("llama_index_paradigm", _EMBEDDINGS) else name


def _text(value: object) -> str:
    """Write a value as the project's code is written: strings in double quotes."""
    if not isinstance(value, str):
        return repr(value)
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"' if value.isprintable() else repr(value)
