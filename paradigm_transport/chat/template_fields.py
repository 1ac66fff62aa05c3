"""The fields that say how prompts are written for a chat model, and what of a model's fields is sent with a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from paradigm_transport.arguments import Fields
from paradigm_transport.endpoints.completions.fields import CompletionParameters, GenerationFields
from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.json_object import JsonObject

if TYPE_CHECKING:
    from paradigm_transport.chat.templates import AnyTemplate, Template
else:
    AnyTemplate = Any  # `read_template` checks it

Layer = GenerationFields | Mapping[str, Any]
"""Fields of the endpoint: a model's, or a call's; a later layer wins."""


class TemplateFields(Fields):
    """How prompts are written for a chat model: declarations and checks only."""

    parameters_kind: ClassVar[type[CompletionParameters]] = CompletionParameters
    """What holds the fields of a request to the completions endpoint."""

    chat_template: AnyTemplate | None = Field(
        default=None,
        description="How prompts and messages are written for the model: `alfred`, `chatml`, a ChatTemplate, Jinja "
        "source, a JinjaTemplate, or the path of a tokenizer_config.json or *.jinja file; None to send prompts as they "
        "are.",
    )
    chat_template_kwargs: JsonObject | None = Field(
        default=None,
        description='Variables of a chat template in Jinja, such as `{"enable_thinking": False}`.',
    )

    @field_validator("chat_template", mode="before")
    @classmethod
    def _read_template(cls, template: object) -> object:
        if template is None:
            return None
        from paradigm_transport.chat.templates import read_template  # prompts alone do without, which imports faster

        return read_template(template)

    @model_validator(mode="after")
    def _check_variables(self) -> Self:
        if self.chat_template_kwargs and not self._has_template_of_server and template_of(self) is None:
            raise ValueError("chat_template_kwargs needs a chat_template in Jinja, whose variables they are")
        return self

    @property
    def _has_template_of_server(self) -> bool:
        return False


def template_of(fields: TemplateFields) -> Template | None:
    """Return the chat template that was chosen, with its variables, if any.

    Raises:
        InvalidParameterError: the template has no variables, or sets one of that name itself.
    """
    if fields.chat_template is None:
        return None
    from paradigm_transport.chat.templates import find_template  # see `_read_template`

    return find_template(fields.chat_template).with_variables(fields.chat_template_kwargs or {})


def completion_parameters(
    template: Template | None,
    *layers: Layer,
    single: bool = False,
    kind: type[CompletionParameters] = CompletionParameters,
) -> CompletionParameters:
    """Merge the endpoint's fields for a prompt that a template wrote; the model's end mark becomes its first stop.

    Args:
        template: the template; None for a prompt as it is.
        layers: the fields.
        single: whether one completion is wanted, as in a stream.
        kind: what holds the fields, whose defaults apply.

    Raises:
        InvalidParameterError: a field is wrong.
    """
    parameters = kind.of(*layers)
    if single and (parameters.n or 1) > 1:
        raise InvalidParameterError("n must be 1 while streaming, since a stream is one text")
    if template is None:
        return parameters
    if template.is_exact:
        parameters = parameters.with_extra_body({"add_special_tokens": False})
    return parameters.with_stops(first=[template.stop] if template.stop else [])
