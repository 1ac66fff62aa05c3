"""The part of vLLM's `structural_tag` that this server enforces: formats of texts that contain values of schemas.

What it cannot enforce is refused, so unknown fields are, too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Style = Literal["json", "qwen_xml", "minimax_xml", "deepseek_xml", "glm_xml"]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class ConstString(_Part):
    """A text."""

    type: Literal["const_string"]
    value: str


class JsonSchemaValue(_Part):
    """A value of a JSON schema."""

    type: Literal["json_schema"]
    json_schema: dict[str, Any] = Field(description="The schema.")
    style: Style = Field("json", description="`json`, or how a model family tags the properties of an object.")


class Grammar(_Part):
    """A text of a grammar."""

    type: Literal["grammar"]
    grammar: str = Field(description="A grammar in llama.cpp's GBNF.")


class Sequence(_Part):
    """Formats one after another."""

    type: Literal["sequence"]
    elements: list[Format] = Field(min_length=1)


class Or(_Part):
    """One of several formats."""

    type: Literal["or"]
    elements: list[Format] = Field(min_length=1)


class Tag(_Part):
    """A format between two texts."""

    type: Literal["tag"] = "tag"
    begin: str
    content: Format
    end: str


class _Tags(_Part):
    tags: list[Tag] = Field(min_length=1)
    at_least_one: bool = Field(False, description="There must be a tag.")
    stop_after_first: bool = Field(False, description="The format ends with the first tag.")


class TagsWithSeparator(_Tags):
    """Tags one after another."""

    type: Literal["tags_with_separator"]
    separator: str = ""


class TriggeredTags(_Tags):
    """Text in which a trigger begins a tag."""

    type: Literal["triggered_tags"]
    triggers: list[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1, max_length=1, description="A text that all tags begin with."
    )


Format = Annotated[
    ConstString | JsonSchemaValue | Grammar | Sequence | Or | Tag | TagsWithSeparator | TriggeredTags,
    Field(discriminator="type"),
]


class StructuralTag(_Part):
    """A structural tag."""

    type: Literal["structural_tag"]
    format: Format
