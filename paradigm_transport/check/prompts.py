"""The prompts of all questions. They are public, and are removed from reports all the same: see `redaction`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is asked, for both endpoints.

    Attributes:
        text: a text that the model completes.
        message: what a user says in a chat.
    """

    text: str
    message: str


COUNT = Prompt(
    "Counting: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    "Count from 1 to 60 in digits, with spaces between them. Write nothing else.",
)
"""Is answered at length and evenly: for stops and lengths."""

STORY = Prompt(
    "Once upon a time, in a village by the sea, there lived",
    "Tell a story of a village by the sea. Begin with its first sentence.",
)
"""Is answered in many ways: for sampling."""

REPEAT = Prompt(
    "ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha ha",
    "Write the word ha sixty times, with spaces between. Write nothing else.",
)
"""Is answered with repetitions: for penalties."""

SYSTEM = "You answer in as few words as you can."
HELLO = "What is the capital of Norway?"
RIDDLE = "Which is heavier, two pounds of feathers or a pound of lead?"
WEATHER = "Find out what the weather in Oslo is like now."
QUERY = "opening hours"

ALL = (
    *(part for prompt in (COUNT, STORY, REPEAT) for part in (prompt.text, prompt.message)),
    *(SYSTEM, HELLO, RIDDLE, WEATHER, QUERY),
)
