"""Chat templates that a server lists: `chat_template="server"`, looked up when a model is first used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from paradigm_transport.access import Connected
from paradigm_transport.chat.templates import SERVER, AnyTemplate, JinjaTemplate
from paradigm_transport.chat.templates.reading import default_source
from paradigm_transport.endpoints.models import Model, PropertiesCall
from paradigm_transport.errors import InvalidParameterError, ParadigmError
from paradigm_transport.json_object import JsonObject
from paradigm_transport.messages import Message

_FIELDS = ("chat_template", "prompt_template", "start_messages_template")
"""Where entries of the model list may hold a template, the likeliest first."""

_PROBE = [Message("system", "A"), Message("user", "Question 1"), Message("assistant", "Answer 1"), Message("user", "B")]


class ServerTemplates:
    """The chat templates that a model's servers listed; each is asked for once. Copies of a model share them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], JinjaTemplate] = {}

    def known(self, template: AnyTemplate | None, model: str, access: Connected) -> AnyTemplate | None:
        """Return a template without a request; None if it is missing, or is the server's and was not looked up yet."""
        return template if template != SERVER else self._known.get((access.base_url, model))

    def find(self, template: AnyTemplate | None, model: str, access: Connected) -> AnyTemplate | None:
        """Return a template; look it up if it is the server's.

        Args:
            template: the template that was chosen; None for none.
            model: the model that it is for.
            access: reaches the server.

        Raises:
            InvalidParameterError: the server lists no template for the model.
            ParadigmError: it sends no model list; see `paradigm_transport.ParadigmClient.models`.
        """
        known = self.known(template, model, access)
        if template != SERVER or known:
            return known
        entry = _entry(access.client.models(), model)
        if not any(_sources_in(entry)):
            with suppress(ParadigmError):  # another server than llama.cpp's
                entry = access.client.send(PropertiesCall())
        return self._add(entry, model, access)

    async def afind(self, template: AnyTemplate | None, model: str, access: Connected) -> AnyTemplate | None:
        """As `find`."""
        known = self.known(template, model, access)
        if template != SERVER or known:
            return known
        entry = _entry(await access.async_client.models(), model)
        if not any(_sources_in(entry)):
            with suppress(ParadigmError):  # another server than llama.cpp's
                entry = await access.async_client.send(PropertiesCall())
        return self._add(entry, model, access)

    def _add(self, entry: JsonObject, model: str, access: Connected) -> JinjaTemplate:
        host, problems = access.client.settings.host, []
        eos_token = entry.get("eos_token")
        eos_token = eos_token if isinstance(eos_token, str) else ""
        for name, source in _sources_in(entry):
            try:
                template = JinjaTemplate(source=source, eos_token=eos_token)
                template.render_chat(_PROBE)
            except InvalidParameterError as problem:
                problems.append(f"; its {name} is not one: {problem}")
            else:
                return self._known.setdefault((access.base_url, model), template)
        raise InvalidParameterError(
            f"chat_template='server': {host} lists no chat template in Jinja for the model {model!r}"
            f"{''.join(problems)}; pass a name, Jinja source or the path of the model's tokenizer_config.json"
        )


def _entry(models: Iterable[Model], model: str) -> JsonObject:
    return next((each.raw for each in models if each.id == model), {})


def _sources_in(entry: JsonObject) -> Iterator[tuple[str, str]]:
    for name in _FIELDS:
        source = default_source(entry.get(name))
        if source is not None:
            yield name, source
