"""Structured answers: ask for an object of a JSON schema, and ask once more if the answer does not fit."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from paradigm_transport.messages import Message, to_json


def schema_instruction(schema: Mapping[str, object]) -> str:
    """Return the instruction that asks for an object of a JSON schema."""
    return f"Answer with nothing but a JSON object of this JSON schema:\n{to_json(schema)}"


def explain(problem: ValueError) -> str:
    """Say what is wrong with an object to the model that wrote it, without the object's values."""
    if not isinstance(problem, ValidationError):
        return str(problem)
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, error["loc"])), error["msg"])))
        for error in problem.errors(include_input=False, include_url=False)
    )


def repair_messages(answer: str, problem: str) -> list[Message]:
    """Return what to add to a chat for another attempt at an answer that does not fit.

    Args:
        answer: what the model wrote.
        problem: what is wrong with it.
    """
    return [Message("assistant", answer), Message("user", _repair_request(problem))]


def repair_prompt(prompt: str, answer: str, problem: str) -> str:
    """Return a prompt for another attempt, with the words of `repair_messages`.

    Args:
        prompt: the prompt that was answered.
        answer: what the model wrote.
        problem: what is wrong with it.
    """
    return f"{prompt}\n\nThis was the answer:\n{answer}\n\n{_repair_request(problem)}"


def _repair_request(problem: str) -> str:
    return f"That cannot be used: {problem}. Correct this and answer again."
