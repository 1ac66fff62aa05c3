"""The questions, in the order in which they are asked."""

from paradigm_transport.check.questions import (
    chats,
    endpoints,
    fields,
    prompts,
    refusals,
    sampling,
    schemas,
    streams,
)

QUESTIONS = (
    *endpoints.QUESTIONS,
    *streams.QUESTIONS,
    *fields.QUESTIONS,
    *sampling.QUESTIONS,
    *schemas.QUESTIONS,
    *chats.QUESTIONS,
    *prompts.QUESTIONS,
    *refusals.QUESTIONS,
)
"""All of them."""
